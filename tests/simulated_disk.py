"""A disk in memory that keeps apart what was written and what was synced, and that may lose the difference.

It stands under the log and the journal as protocol.wal.storage.Storage. What it can do to them:

    power loss   `crash()` gives the disk as it may be found afterwards. Each write since its file's last sync is kept,
                 lost, torn at a byte, or torn at sectors, each for itself: a later one may be there without an earlier
                 one. What is missing reads as what was there before, or zeros. The file's size is as uncertain. Of the
                 creations, renames, links and unlinks since the directory's last sync, each is kept or undone for
                 itself; of a rename the new name may be there and the old one still. A file's sync says nothing of its
                 name.
    kill         `kill()` gives the disk to the next process: the page cache survives. Only the locks are free.
    death        `fail_at(n, Fault.DEATH)`: the nth call from now raises ProcessDied, having done nothing, a part (a
                 write may be short, a cut unsynced), or all of it. From then on every call does: who is dead does
                 nothing more. kill() or crash() comes next.
    errors       `fail_at(n, Fault.EIO)`, `Fault.ENOSPC`: the nth call from now fails as the interface says. A failed
                 write may have written a part. A failed sync may mark the pages clean: what was written still reads
                 back, later syncs succeed, and yet the disk may not hold it. A file that has failed fails for ever;
                 `retries` counts who tried.

Nothing here is random: `choose(n)` gives a number below n, and 0 is always the mildest outcome. So a history is a list
of numbers, which can be repeated and shrunk.

With `whole_sectors` every sector is as it stood after some write, and whole, as disks promise (SQLite calls it
powersafe overwrite). Without, the simulation is harsher: two writes into one sector are kept or lost each for itself,
and torn within it. Both are milder than a disk in this: directories are there at once, a truncation of the interface
is on disk when it returns, as promised, and all directories are synced with any one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from protocol.errors import WalError, WalLockedError, WalSyncError

SECTOR_BYTES: Final = 512

Choose = Callable[[int], int]
"""A number from 0 to n - 1."""
Part = tuple[int, bytes]
"""Offset and data, of a write or a part of one."""


class Fault(Enum):
    DEATH = "the process dies"
    EIO = "Input/output error"
    ENOSPC = "No space left on device"


class ProcessDied(BaseException):
    """The process under test ends here. No Exception, so that nobody catches it by mistake."""


class _Change(NamedTuple):
    """One change of a directory: a name that it gives, a name that it takes, or both (a rename)."""

    inode: _Inode
    gives: Path | None = None
    takes: Path | None = None


class _Inode:
    """A file's bytes: as they read, as they are on disk, and what lies between, in order."""

    __slots__ = ("content", "durable", "pending", "whole_sectors")

    def __init__(self, whole_sectors: bool, content: bytes | bytearray = b"") -> None:
        self.whole_sectors = whole_sectors
        self.content = bytearray(content)
        self.durable = bytearray(content)
        self.pending: list[Part | int] = []
        """A write, (offset, data), or a truncation, the size."""

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        if self.whole_sectors:
            end = offset + len(data)
            offset -= offset % SECTOR_BYTES
            data = bytes(self.content[offset : end - end % -SECTOR_BYTES])
        self.pending.append((offset, data))

    def write_part(self, offset: int, data: bytes, size: int) -> None:
        """A short write: at the end of the file of any size, within it of whole sectors."""
        end = offset + size
        if self.whole_sectors and end < len(self.content):
            end -= end % SECTOR_BYTES
        if end > offset:
            self.write(offset, data[: end - offset])

    def truncate(self, size: int) -> None:
        _resize(self.content, size)
        self.pending.append(size)

    def sync(self) -> None:
        self.durable = self._with_all()
        self.pending.clear()

    def forget_pending(self, choose: Choose) -> None:
        """A failed sync that marks the pages clean: some are on disk, the others will never be."""
        self.durable = self.survivor(choose, tear_size=False)
        self.pending.clear()

    def survivor(self, choose: Choose, *, tear_size: bool = True) -> bytearray:
        """What the disk may hold after a power loss now."""
        if not self.pending:
            return bytearray(self.durable)
        extent = choose(3)
        if extent == 0:
            return self._with_all()
        survivor = bytearray(self.durable)
        if extent == 1:
            return survivor
        for change in self.pending:
            if not isinstance(change, int):
                for offset, data in _torn(*change, choose, self.whole_sectors):
                    _put(survivor, offset, data)
            elif choose(2) == 0:
                _resize(survivor, change)
        if tear_size:
            self._tear_size(survivor, choose)
        return survivor

    def _with_all(self) -> bytearray:
        """All pending changes on disk. The size is the inode's and goes with any sync, even if data was lost before."""
        result = bytearray(self.durable)
        for change in self.pending:
            if isinstance(change, int):
                _resize(result, change)
            else:
                _put(result, *change)
        _resize(result, len(self.content))
        return result

    def _tear_size(self, survivor: bytearray, choose: Choose) -> None:
        """The size is as the data that came through says, or the newest, or anything between the old one and that."""
        how = choose(3)
        newest = max(len(survivor), len(self.content))
        if how == 1:
            _resize(survivor, newest)
        elif how == 2:
            oldest = min(len(survivor), len(self.durable))
            _resize(survivor, oldest + choose(newest - oldest + 1))


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):  # a hole reads as zeros
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _torn(offset: int, data: bytes, choose: Choose, whole_sectors: bool) -> list[Part]:
    """What came through of a write, whatever became of the others."""
    how = choose(3 if whole_sectors else 4)
    if how == 2:
        return [part for part in _by_sector(offset, data) if choose(2) == 0]
    return [(offset, data[: (len(data), 0, 0, choose(len(data) + 1) if how == 3 else 0)[how]])]


def _by_sector(offset: int, data: bytes) -> Iterator[Part]:
    start, end = offset, offset + len(data)
    while start < end:
        stop = min(start - start % SECTOR_BYTES + SECTOR_BYTES, end)
        yield start, data[start - offset : stop - offset]
        start = stop


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


class SimulatedFile:
    """An open file of a SimulatedDisk."""

    __slots__ = ("_disk", "_failed", "_inode", "_path")

    def __init__(self, disk: SimulatedDisk, path: Path, inode: _Inode) -> None:
        self._disk, self._path, self._inode = disk, path, inode
        self._failed = False

    def size(self) -> int:
        self._disk.check_alive()
        return len(self._inode.content)

    def read(self, offset: int, length: int) -> bytes:
        fault = self._disk.enter()
        if fault is not None:
            self._disk.fail(fault, f"read {self._path.name}", WalError)
        return bytes(self._inode.content[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._refuse_after_failure()
        data = bytes(data)
        fault = self._disk.enter()
        if fault is None:
            self._inode.write(offset, data)
            return
        self._inode.write_part(offset, data, self._disk.choose(len(data) + 1))
        self._fail(fault, "write")

    def sync(self) -> None:
        self._refuse_after_failure()
        fault = self._disk.enter()
        if fault is None:
            self._inode.sync()
            return
        self._interrupt_sync(fault)
        self._fail(fault, "sync")

    def truncate(self, size: int) -> None:
        self._refuse_after_failure()
        fault = self._disk.enter()
        if fault is None:
            self._inode.truncate(size)
            self._inode.sync()
            return
        if self._disk.choose(2):
            self._inode.truncate(size)
            self._interrupt_sync(fault)
        self._fail(fault, "truncate")

    def close(self) -> None:
        pass

    def _interrupt_sync(self, fault: Fault) -> None:
        """Dead in a sync: it may still have been done. Failed: the pages may be dirty as before, or be called clean."""
        if self._disk.choose(2):
            if fault is Fault.DEATH:
                self._inode.sync()
            else:
                self._inode.forget_pending(self._disk.choose)

    def _refuse_after_failure(self) -> None:
        if self._failed:
            self._disk.retries += 1
            raise WalSyncError(f"{self._path}: has failed before")

    def _fail(self, fault: Fault, call: str) -> NoReturn:
        self._failed = True
        self._disk.fail(fault, f"{call} {self._path.name}")


class _Lock:
    def __init__(self, held: set[Path], path: Path) -> None:
        self._held, self._path = held, path

    def close(self) -> None:
        self._held.discard(self._path)


class SimulatedDisk:
    def __init__(self, choose: Choose, *, whole_sectors: bool = False) -> None:
        self.choose = choose
        self.whole_sectors = whole_sectors
        self.calls = 0
        """How many calls could have failed so far."""
        self.faults = 0
        """How many calls have met one."""
        self.retries = 0
        """Writes, syncs and truncations of a file that had failed before."""
        self._names: dict[Path, _Inode] = {}
        self._durable_names: dict[Path, _Inode] = {}
        self._changes: list[_Change] = []
        self._held: set[Path] = set()
        self._fail_at_call = 0
        self._fault = Fault.DEATH
        self._dead = False

    # What a test does to it, and sees of it.

    def fail_at(self, call: int, fault: Fault) -> None:
        """The `call`th call from now (1: the next) meets the fault; only that one."""
        self._fail_at_call, self._fault = self.calls + call, fault

    def disarm(self) -> None:
        self._fail_at_call = 0

    def kill(self) -> SimulatedDisk:
        """The disk as the next process finds it. The process on this one is dead."""
        following = SimulatedDisk(self.choose, whole_sectors=self.whole_sectors)
        following._names, following._durable_names = self._names, self._durable_names
        following._changes = self._changes
        self._dead = True
        return following

    def crash(self) -> SimulatedDisk:
        """The disk as it may be found when the power is back. Nothing of it is uncertain any more."""
        following = SimulatedDisk(self.choose, whole_sectors=self.whole_sectors)
        found: dict[_Inode, _Inode] = {}
        for path, inode in self._surviving_names().items():
            if inode not in found:
                found[inode] = _Inode(self.whole_sectors, inode.survivor(self.choose))
            following._names[path] = found[inode]
        following._durable_names = dict(following._names)
        self._dead = True
        return following

    def content(self, path: Path) -> bytes | None:
        """What reads there, None if there is no such file."""
        return bytes(self._names[path].content) if path in self._names else None

    def contents(self) -> dict[Path, bytes]:
        return {path: bytes(inode.content) for path, inode in self._names.items()}

    def is_durable(self, path: Path) -> bool:
        """The file would be found after any power loss, under this name, as it reads now."""
        inode = self._names.get(path)
        if inode is None or inode.pending or inode.content != inode.durable:
            return False
        return self.has_durable_name(path)

    def has_durable_name(self, path: Path) -> bool:
        """The file would be found after any power loss under this name, whatever is in it."""
        return self._durable_names.get(path) is self._names.get(path) and not any(
            path in (change.gives, change.takes) for change in self._changes
        )

    def _surviving_names(self) -> dict[Path, _Inode]:
        extent = self.choose(3) if self._changes else 0
        if extent == 0:
            return self._names
        names = dict(self._durable_names)
        for inode, gives, takes in self._changes if extent == 2 else ():
            how = self.choose(3 if gives and takes else 2)
            if how != 1 and gives:
                names[gives] = inode
            if how == 0 and takes and names.get(takes) is inode:
                del names[takes]
        return names

    # For the files.

    def check_alive(self) -> None:
        if self._dead:
            raise ProcessDied("a dead process reached for its disk")

    def enter(self) -> Fault | None:
        """Another call that can fail: the fault that it meets, if this is the one."""
        self.check_alive()
        self.calls += 1
        if self.calls != self._fail_at_call:
            return None
        self.faults += 1
        return self._fault

    def fail(self, fault: Fault, call: str, error: type[WalError] = WalSyncError) -> NoReturn:
        if fault is Fault.DEATH:
            self._dead = True
            raise ProcessDied(call)
        raise error(f"simulated {call}: {fault.value}")

    # Storage.

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> SimulatedFile:
        fault = self.enter()
        inode = self._names.get(path)
        if inode is None:
            if not create and fault is None:
                raise FileNotFoundError(str(path))
            inode = _Inode(self.whole_sectors)
            if create and (fault is None or self.choose(2)):
                self._change(_Change(inode, gives=path))
        if fault is not None:
            self.fail(fault, f"open {path.name}", WalError)
        return SimulatedFile(self, path, inode)

    def exists(self, path: Path) -> bool:
        self.check_alive()
        return path in self._names

    def rename(self, source: Path, target: Path) -> None:
        if self.is_same_file(source, target):  # POSIX: then rename does nothing, and both names stay
            self._enter_or_fail(f"rename {source.name}")
            return
        self._change_by("rename", source, _Change(self._named(source), gives=target, takes=source))

    def link(self, source: Path, target: Path) -> None:
        if target in self._names:
            raise WalSyncError(f"{target}: is there already")
        self._change_by("link", source, _Change(self._named(source), gives=target))

    def unlink(self, path: Path) -> None:
        self._change_by("unlink", path, _Change(self._named(path), takes=path))

    def is_same_file(self, one: Path, other: Path) -> bool:
        self.check_alive()
        return one in self._names and self._names[one] is self._names.get(other)

    def list_names(self, directory: Path) -> list[str]:
        self._enter_or_fail(f"list {directory.name}")
        return sorted(path.name for path in self._names if path.parent == directory)

    def make_directory(self, path: Path) -> None:
        self._enter_or_fail(f"make {path.name}")

    def sync_directory(self, path: Path) -> None:
        fault = self.enter()
        if fault is None or (fault is Fault.DEATH and self.choose(2)):
            self._durable_names = dict(self._names)
            self._changes.clear()
        if fault is not None:
            self.fail(fault, f"sync directory {path.name}")

    def lock(self, path: Path) -> _Lock:
        self._enter_or_fail(f"lock {path.name}")
        if path in self._held:
            raise WalLockedError(f"{path}: held by another writer of this process")
        self._held.add(path)
        return _Lock(self._held, path)

    def _named(self, path: Path) -> _Inode:
        self.check_alive()
        if path not in self._names:
            raise WalSyncError(f"{path}: No such file")
        return self._names[path]

    def _enter_or_fail(self, call: str) -> None:
        fault = self.enter()
        if fault is not None:
            self.fail(fault, call, WalError)

    def _change_by(self, call: str, path: Path, change: _Change) -> None:
        fault = self.enter()
        if fault is None or (fault is Fault.DEATH and self.choose(2)):
            self._change(change)
        if fault is not None:
            self.fail(fault, f"{call} {path.name}")

    def _change(self, change: _Change) -> None:
        if change.takes:
            del self._names[change.takes]
        if change.gives:
            self._names[change.gives] = change.inode
        self._changes.append(change)
