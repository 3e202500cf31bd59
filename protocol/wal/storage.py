"""How the log and the journal reach the disk: a small interface, the real disk, and memory.

Owns every system call of the write-ahead log, so that a test can put another disk under it. Knows nothing of
entries. Positions are explicit (nothing appends by itself), so a rewrite in place and an append are one call.

A failed write or sync is final: after a failed fsync Linux may mark the pages clean, and a second try would
succeed falsely. A RealFile that has failed refuses every further write, sync and truncation.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final, NoReturn, Protocol

from protocol.durable import sync_directory
from protocol.errors import WalError, WalLockedError, WalNotAFileError, WalSyncError

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
"""The journal holds positions and orders: nobody else's business."""
DISK_FAILURES: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What the disk itself says: a new name that meets one of them is a failed write, not an operator's mistake."""
SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all, even when the power goes."""


class Closeable(Protocol):
    def close(self) -> None: ...


class File(Protocol):
    """An open file. Writes, syncs and truncations raise WalSyncError, and then never succeed again."""

    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """All of `data` stands at `offset`; on disk only after sync()."""
        ...

    def sync(self) -> None:
        """What was written is on disk (fdatasync: the data and the size, not the times)."""
        ...

    def truncate(self, size: int) -> None:
        """The file ends at `size`, and that is on disk."""
        ...

    def close(self) -> None: ...


class Storage(Protocol):
    """The calls that need a name. rename, link, unlink and new files are on disk only after sync_directory."""

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:
        """Raises: FileNotFoundError if the file is not there, WalSyncError if the disk has no place for a new one,
        WalError if it cannot be opened."""
        ...

    def exists(self, path: Path) -> bool: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def link(self, source: Path, target: Path) -> None:
        """`target` is a second name of the file `source`. Raises: WalSyncError, also if `target` is there already."""
        ...

    def unlink(self, path: Path) -> None: ...

    def is_same_file(self, one: Path, other: Path) -> bool:
        """Both names are there and name one file."""
        ...

    def list_names(self, directory: Path) -> list[str]:
        """The names in the directory, sorted; none if there is no such directory."""
        ...

    def make_directory(self, path: Path) -> None:
        """The directory is there, its parents too, each synced into its parent."""
        ...

    def sync_directory(self, path: Path) -> None: ...

    def lock(self, path: Path) -> Closeable:
        """Held until closed, or until the process ends. Raises: WalLockedError if someone else holds it."""
        ...


class RealFile:
    """A file descriptor. Short writes are completed; the first failure is kept and raised again."""

    __slots__ = ("_descriptor", "_failure", "_path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._failure: WalSyncError | None = None

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        try:
            while length > 0 and (part := os.pread(self._descriptor, length, offset)):
                parts.append(part)
                offset += len(part)
                length -= len(part)
        except OSError as error:
            raise WalError(f"{self._path}: cannot be read at byte {offset}: {error.strerror}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._refuse_after_failure()
        try:
            written = os.pwrite(self._descriptor, data, offset)
            if written < len(data):
                self._write_rest(offset + written, memoryview(data)[written:])
        except OSError as error:
            self._fail(f"{len(data)} bytes could not be written at byte {offset}", error)

    def sync(self) -> None:
        self._refuse_after_failure()
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._fail("fdatasync failed", error)

    def truncate(self, size: int) -> None:
        self._refuse_after_failure()
        try:
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)
        except OSError as error:
            self._fail(f"could not be cut to {size} bytes", error)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_rest(self, offset: int, rest: memoryview) -> None:
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            if written == 0:  # a disk that takes nothing and says nothing would hold us here for ever
                raise OSError(0, "the disk took none of the bytes")
            offset += written
            rest = rest[written:]

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise WalSyncError(self._failure.fact, self._failure.advice)

    def _fail(self, what: str, error: OSError) -> NoReturn:
        self._failure = disk_failure(self._path, what, error)
        raise self._failure from error


def disk_failure(path: Path, what: str, error: OSError) -> WalSyncError:
    return WalSyncError(
        f"{path}: {what}: {error.strerror or error}",
        "This process does not write the file again; what was acknowledged is safe. See to the disk (space, health), "
        "then start again.",
    )


class RealStorage:
    """The file system of this machine."""

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> RealFile:
        # O_NONBLOCK: a FIFO would hold the opener until somebody writes to it; to a file it means nothing.
        flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR) | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, FILE_MODE)
        except IsADirectoryError as error:
            raise WalNotAFileError(str(path), "a directory") from error
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not create:
                raise
            if create and error.errno in DISK_FAILURES:
                raise disk_failure(path, "could not be made", error) from error
            raise WalError(f"{path}: cannot be opened: {error.strerror}") from error
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise WalNotAFileError(str(path), "a directory" if stat.S_ISDIR(mode) else "a FIFO, a socket or a device")
        return RealFile(path, descriptor)

    def exists(self, path: Path) -> bool:
        return path.exists()

    def rename(self, source: Path, target: Path) -> None:
        try:
            os.rename(source, target)
        except OSError as error:
            raise disk_failure(source, f"could not be renamed to {target.name}", error) from error

    def link(self, source: Path, target: Path) -> None:
        try:
            os.link(source, target)
        except OSError as error:
            raise disk_failure(source, f"could not be linked to {target.name}", error) from error

    def unlink(self, path: Path) -> None:
        try:
            os.unlink(path)
        except IsADirectoryError as error:
            raise WalNotAFileError(str(path), "a directory") from error
        except OSError as error:
            raise disk_failure(path, "could not be removed", error) from error

    def is_same_file(self, one: Path, other: Path) -> bool:
        return one.exists() and other.exists() and one.samefile(other)

    def list_names(self, directory: Path) -> list[str]:
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WalError(f"{directory}: cannot be listed: {error.strerror}") from error

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        if path.parent != path:
            self.make_directory(path.parent)
        try:
            path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        except OSError as error:
            if error.errno in DISK_FAILURES:
                raise disk_failure(path, "the directory could not be made", error) from error
            raise WalError(f"{path}: the directory cannot be made: {error.strerror}") from error
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        try:
            sync_directory(path)
        except OSError as error:
            raise disk_failure(path, "the directory could not be synced", error) from error

    def lock(self, path: Path) -> Closeable:
        """flock on a file of its own that is never unlinked: a log may be renamed, its lock may not."""
        file = self.open(path, create=True)
        try:
            fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise WalLockedError(
                f"{path}: held by another writer. One at a time: end the process that has the log open."
            ) from error
        except OSError as error:
            file.close()
            raise WalError(f"{path}: cannot be locked: {error.strerror}") from error
        return file


class MemoryFile:
    """A file of a MemoryStorage; closing it keeps the content."""

    __slots__ = ("_content",)

    def __init__(self, content: bytearray) -> None:
        self._content = content

    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._content[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        if offset > len(self._content):  # a hole reads as zeros, as on disk
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass

    def truncate(self, size: int) -> None:
        del self._content[size:]

    def close(self) -> None:
        pass


class _MemoryLock:
    def __init__(self, held: set[Path], path: Path) -> None:
        self._held, self._path = held, path

    def close(self) -> None:
        self._held.discard(self._path)


class MemoryStorage:
    """Files in memory, for `wal.enabled = false`: sequencing without a disk; gone with the process."""

    def __init__(self) -> None:
        self.files: dict[Path, bytearray] = {}
        self._held: set[Path] = set()

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> MemoryFile:
        if path not in self.files:
            if not create:
                raise FileNotFoundError(str(path))
            self.files[path] = bytearray()
        return MemoryFile(self.files[path])

    def exists(self, path: Path) -> bool:
        return path in self.files

    def rename(self, source: Path, target: Path) -> None:
        self.files[target] = self.files.pop(source)

    def link(self, source: Path, target: Path) -> None:
        if target in self.files:
            raise WalSyncError(f"{target}: is there already")
        self.files[target] = self.files[source]

    def unlink(self, path: Path) -> None:
        del self.files[path]

    def is_same_file(self, one: Path, other: Path) -> bool:
        return one in self.files and self.files.get(one) is self.files.get(other)

    def list_names(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self.files if path.parent == directory)

    def make_directory(self, path: Path) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass

    def lock(self, path: Path) -> Closeable:
        if path in self._held:
            raise WalLockedError(f"{path}: held by another writer of this process")
        self._held.add(path)
        return _MemoryLock(self._held, path)
