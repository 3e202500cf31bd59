"""Small journals for the tests of protocol/wal: twelve entries in five batches, and disks that watch or fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocol.errors import WalSyncError
from protocol.records import EngineRun, EntryType, Producer, RunEvent, SignalRefused, encode_record
from protocol.wal.journal import Journal, NewEntry
from protocol.wal.storage import Closeable, File, MemoryStorage, Storage

JOURNAL_ID = bytes(range(16))
DIRECTORY = Path("/run/wal")
BATCHES = (1, 3, 1, 4, 3)
"""Entries of each batch, each batch synced before the next: 12 in all, the first an ENGINE_RUN."""


def run_record(journal_id: bytes = JOURNAL_ID, event: RunEvent = RunEvent.START) -> EngineRun:
    return EngineRun(
        journal_id=journal_id, event=event, by="test", version="0.1.0", config_hash=b"h" * 16, boot_id=b"b" * 16,
        halt_token=0, balance=(10**16).to_bytes(16, "little"), currency="USD", leverage=100,
        symbols=(("EURUSD", 1_000_000),), strategies=("sma",),
    )  # fmt: skip


def first_entry(journal_id: bytes = JOURNAL_ID) -> NewEntry:
    return (EntryType.ENGINE_RUN, 1_000, Producer.SUPERVISOR, 1, encode_record(run_record(journal_id)))


def entry(number: int) -> NewEntry:
    """The entry with LSN `number` (from 2), from risk; sizes differ."""
    record = SignalRefused(16, number, 0, "stale", "x" * (number % 5))
    return (EntryType.SIGNAL_REFUSED, 1_000 * number, Producer.RISK, number - 1, encode_record(record))


def nobody_knows(journal_id: bytes) -> int:
    return 0


def knows(lsn: int) -> Callable[[bytes], int]:
    return lambda journal_id: lsn


def build(storage: Storage, directory: Path = DIRECTORY, *, sync_last: bool = True) -> None:
    """The twelve entries; the journal is left as a killed process leaves it: no close, no watermark."""
    journal = Journal(directory, storage=storage)
    journal.open(nobody_knows)
    journal.create(JOURNAL_ID, first_entry())
    lsn = 1
    for number, size in enumerate(BATCHES[1:], 2):
        journal.append_batch([entry(lsn + step + 1) for step in range(size)])
        lsn += size
        if sync_last or number < len(BATCHES):
            journal.sync()
    journal._release()  # what the death of the process does: locks and descriptors go, nothing is written


def journal_bytes(*, sync_last: bool = True) -> bytes:
    storage = MemoryStorage()
    build(storage, sync_last=sync_last)
    return bytes(storage.files[DIRECTORY / "journal.wal"])


def storage_with(content: bytes, name: str = "journal.wal") -> MemoryStorage:
    storage = MemoryStorage()
    storage.files[DIRECTORY / name] = bytearray(content)
    return storage


def durable_before(lsn: int) -> int:
    """The durable_lsn that the writer put into entry `lsn`: the end of the batch before its own."""
    end = 0
    for size in BATCHES:
        if lsn <= end + size:
            return end
        end += size
    raise ValueError(lsn)


class WatchedFile:
    def __init__(self, file: File, name: str, storage: WatchedStorage) -> None:
        self._file, self._name, self._storage = file, name, storage

    def size(self) -> int:
        return self._file.size()

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._storage.note(f"write {self._name} {offset}+{len(data)}")
        self._file.write(offset, data)

    def sync(self) -> None:
        self._storage.note(f"sync {self._name}")
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._storage.note(f"truncate {self._name} {size}")
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class WatchedStorage:
    """Memory that keeps the order of what changes it, and fails where it is told to."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.inner = storage or MemoryStorage()
        self.calls: list[str] = []
        self.fail_at: str | None = None
        """The first call that begins so raises WalSyncError; only that one."""

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self.fail_at is not None and call.startswith(self.fail_at):
            self.fail_at = None
            raise WalSyncError(f"{call}: no space left")

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:
        return WatchedFile(self.inner.open(path, create=create, read_only=read_only), path.name, self)

    def exists(self, path: Path) -> bool:
        return self.inner.exists(path)

    def rename(self, source: Path, target: Path) -> None:
        self.note(f"rename {source.name} {target.name}")
        self.inner.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.note(f"link {source.name} {target.name}")
        self.inner.link(source, target)

    def unlink(self, path: Path) -> None:
        self.note(f"unlink {path.name}")
        self.inner.unlink(path)

    def is_same_file(self, one: Path, other: Path) -> bool:
        return self.inner.is_same_file(one, other)

    def list_names(self, directory: Path) -> list[str]:
        return self.inner.list_names(directory)

    def make_directory(self, path: Path) -> None:
        self.inner.make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self.note("sync directory")
        self.inner.sync_directory(path)

    def lock(self, path: Path) -> Closeable:
        return self.inner.lock(path)
