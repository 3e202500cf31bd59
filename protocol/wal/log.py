"""The plain log: one file of typed entries, the data opaque, every append on disk when it returns.

Usable alone, outside the engine. Owns the file and its lock `PATH.lock`; knows nothing of LSNs or envelopes (that is
journal.py). Entries stand as in format.py. Because each append is synced before the next begins, only the last entry
can ever be incomplete: that one is cut at open, anything else wrong is damage. Incomplete is what a crash leaves of a
write: the file ends within the entry, or whole sectors of it never came to the disk and read as zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from zlib import crc32

from protocol.errors import WalCorruptError, WalError, WalForeignError, WalSyncError
from protocol.logs import Log
from protocol.records import EntryType
from protocol.wal.format import (
    HEADER,
    LENGTH_MAX,
    MAGIC_BYTES,
    BadEntry,
    Entry,
    encode_entry,
    is_journal_head,
    iterate_entries,
)
from protocol.wal.names import free_path, lock_path, new_path
from protocol.wal.replace import put_in_place, write_new
from protocol.wal.storage import SECTOR_BYTES, Closeable, File, RealStorage, Storage

LENGTH_FIELD_MAX: Final = 2**32 - 1
LENGTH_FIELD: Final = range(5, 9)
"""Its bytes within the header."""
_ENTRY_TYPES: Final = frozenset(map(int, EntryType))
_log = Log()


class WriteAheadLog:
    """A log at `path`, for one writer and one thread at a time.

        with WriteAheadLog("orders.wal") as log:               # the file is made, or recovered
            log.append(EntryType.ORDER_PLACE, b"buy 100")      # on disk when this returns
            log.mark_checkpoint()
            log.append(EntryType.ORDER_UPDATE, b"filled")
            print(log.read_uncommitted())                      # [(EntryType.ORDER_UPDATE, b'filled')]

    length_max: limit of one entry's data, bytes. storage: the disk (protocol.wal.storage).
    A failed write or sync is final: this object then refuses to write (WalSyncError), and only lets go.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, length_max: int = LENGTH_MAX, storage: Storage | None = None
    ) -> None:
        if not 0 <= length_max <= LENGTH_FIELD_MAX:
            raise ValueError(f"length_max = {length_max}: 0 to {LENGTH_FIELD_MAX}")
        self._path: Final = Path(path)
        self._length_max: Final = length_max
        self._storage = storage or RealStorage()
        self._file: File | None = None
        self._lock: Closeable | None = None
        self._failure: str | None = None
        self._end = 0
        self._entry_count = 0
        self._bytes_written = 0

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def entry_count(self) -> int:
        """Entries in the file, checkpoints included."""
        return self._entry_count

    @property
    def bytes_written(self) -> int:
        """Bytes appended since open, headers included."""
        return self._bytes_written

    def open(self, truncate: bool = False) -> None:
        """The log is open and whole, and all that it holds is on disk; with `truncate` it is empty.

        An incomplete last entry is copied to `PATH.torn` (or `.torn.1` ...), cut, and warned of.

        Raises: WalLockedError (another writer has it open), WalCorruptError (damage; nothing was changed),
        WalForeignError (no log, or an engine's journal; nothing was changed, and `truncate` empties only the former),
        WalSyncError (the disk failed), WalError (the file cannot be opened, or is open already).
        """
        if self.is_open:
            raise WalError(f"{self._path}: is open already")
        self._refuse_after_failure()
        try:
            self._lock = self._storage.lock(lock_path(self._path))
            self._file = self._storage.open(self._path, create=True)
            self._recover(self._file, truncate)
        except BaseException as error:
            self._note_failure(error)
            self._release()
            raise
        self._bytes_written = 0

    def close(self) -> None:
        """The file and its lock are free. Nothing needs writing: every append was on disk already."""
        self._release()

    def __enter__(self) -> Self:
        if not self.is_open:
            self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, entry_type: EntryType, data: bytes) -> None:
        """The entry is in the file and on disk.

        Raises: WalError if the data is longer than the limit, ValueError for a type that is none, TypeError for data
        that are no bytes (nothing was written), WalSyncError if the disk failed: whether the entry is there is known
        after the next open.
        """
        file, entry_type = self._writable(), EntryType(entry_type)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"an entry's data are bytes, not {type(data).__name__}")
        data = bytes(data)
        if len(data) > self._length_max:
            raise WalError(f"{self._path}: an entry of {len(data)} bytes; the limit is {self._length_max}")
        entry = encode_entry(entry_type, data)
        try:
            self._write_synced(file, self._end, entry)
        except WalSyncError as error:
            self._note_failure(error)
            raise
        self._end += len(entry)
        self._entry_count += 1
        self._bytes_written += len(entry)

    def mark_checkpoint(self, data: bytes = b"\0") -> None:
        """A CHECKPOINT entry is on disk: what lies before it is done with."""
        self.append(EntryType.CHECKPOINT, data)

    def read_all(self) -> list[tuple[EntryType, bytes]]:
        """All entries in order, read and verified again. Raises: WalCorruptError."""
        return [(EntryType(entry.entry_type), entry.data) for entry in self._read_entries(self._opened())]

    def read_uncommitted(self) -> list[tuple[EntryType, bytes]]:
        """The entries after the last checkpoint; all, if there is none. Raises: WalCorruptError."""
        entries = self.read_all()
        types = [entry_type for entry_type, _ in entries]
        if EntryType.CHECKPOINT not in types:
            return entries
        return entries[len(types) - types[::-1].index(EntryType.CHECKPOINT) :]

    def truncate_to_checkpoint(self) -> None:
        """What lay before the last checkpoint is gone; the checkpoint and what follows stay. All or nothing.

        Without a checkpoint, or with nothing before it, nothing happens.
        """
        file = self._writable()
        entries = list(self._read_entries(file))
        checkpoints = [number for number, entry in enumerate(entries) if entry.entry_type == EntryType.CHECKPOINT]
        if not checkpoints or checkpoints[-1] == 0:
            return
        kept = entries[checkpoints[-1] :]
        try:
            self._file = self._replace_file(file.read(kept[0].offset, self._end - kept[0].offset))
        except WalSyncError as error:
            self._note_failure(error)
            raise
        file.close()
        self._end -= kept[0].offset
        self._entry_count = len(kept)

    def clear(self) -> None:
        """The log is empty, on disk too."""
        try:
            self._writable().truncate(0)
        except WalSyncError as error:
            self._note_failure(error)
            raise
        self._end = self._entry_count = 0

    # Recovery.

    def _recover(self, file: File, truncate: bool) -> None:
        content = file.read(0, file.size())
        if is_journal_head(content):
            raise WalForeignError(f"{self._path}: an engine's journal, which the plain log does not open")
        if truncate:
            file.truncate(0)
            content = b""
        if is_foreign(content, self._length_max):
            begin = content[: len(MAGIC_BYTES)].hex(" ")
            raise WalForeignError(f"{self._path}: no log: it begins with {begin}; nothing was changed")
        last, self._entry_count, self._end = 0, 0, 0
        for entry in iterate_entries(content, 0, self._length_max):
            bad = entry if isinstance(entry, BadEntry) else self._unknown_type(entry)
            if bad:
                self._refuse_damage(content, bad)
                self._cut_tail(file, content, bad)
                break
            assert isinstance(entry, Entry)
            last, self._end = self._end, entry.offset + HEADER.size + len(entry.data)
            self._entry_count += 1
        leftover = new_path(self._path)
        if self._storage.exists(leftover):  # a truncate_to_checkpoint that a crash cut short
            self._storage.unlink(leftover)
        # The last entry may have been written but not synced by a process that was killed (seams R1): it is read
        # from the page cache, and a power loss could still take it back. Written again, it cannot.
        self._write_synced(file, last, content[last : self._end])
        self._storage.sync_directory(self._path.parent)

    def _refuse_damage(self, content: bytes, bad: BadEntry) -> None:
        """Returns if `bad` is an incomplete last entry. Raises: WalCorruptError.

        A length that a bit flip made too long looks the same; but then the stored CRC is that of the data up to
        where the entry really ended: at the end of the file, or where the next one begins.
        """
        if not bad.incomplete:
            if _has_lost_sector(content, bad.offset) and not _is_entry_behind(content, bad.offset, self._length_max):
                return
            raise WalCorruptError(str(self._path), bad.offset, lsn=None, expected=bad.expected, found=bad.found)
        if len(content) - bad.offset < HEADER.size:
            return
        _, _, length, crc = HEADER.unpack_from(content, bad.offset)
        start = at = bad.offset + HEADER.size
        running = 0
        while at <= len(content):
            found = content.find(MAGIC_BYTES, at)
            end = found if found >= 0 else len(content)
            running = crc32(content[start:end], running)
            if running == crc:
                raise WalCorruptError(
                    str(self._path), bad.offset, lsn=None, found=f"{length}",
                    expected=f"a length of {end - bad.offset - HEADER.size}, by the entry's crc32",
                )  # fmt: skip
            if found < 0:
                return
            start, at = end, end + 1

    def _unknown_type(self, entry: Entry) -> BadEntry | None:
        if entry.entry_type in _ENTRY_TYPES:
            return None
        return BadEntry(entry.offset, "a known entry type", str(entry.entry_type), incomplete=False)

    def _cut_tail(self, file: File, content: bytes, bad: BadEntry) -> None:
        """The incomplete entry stands in a file of its own, on disk, before it goes from the log."""
        copy_path = free_path(self._path.with_name(self._path.name + ".torn"), self._storage.exists)
        copy = self._storage.open(copy_path, create=True)
        copy.write(0, content[bad.offset :])
        copy.sync()
        copy.close()
        self._storage.sync_directory(self._path.parent)
        file.truncate(bad.offset)
        _log.warning(
            "torn_tail_cut", file=str(self._path), offset=bad.offset, lost_bytes=len(content) - bad.offset,
            expected=bad.expected, found=bad.found, copy=str(copy_path),
        )  # fmt: skip

    # Helpers.

    def _write_synced(self, file: File, offset: int, entry: bytes) -> None:
        """The entry is on disk. A crash before that leaves nothing of it that reads as another entry.

        With its length and CRC lost, an entry would read as an empty one. So where a sector ends just before or within
        the length, the header's beginning goes last, after a sync: for some 4 in 512 entries, two syncs instead of one.
        """
        rest = SECTOR_BYTES - offset % SECTOR_BYTES
        if rest in LENGTH_FIELD and len(entry) > HEADER.size:
            file.write(offset + rest, entry[rest:])
            file.sync()
            entry = entry[:rest]
        file.write(offset, entry)
        file.sync()

    def _replace_file(self, content: bytes) -> File:
        """`content` is the log, atomically: a crash leaves the old file or the new one."""
        path = new_path(self._path)
        new = write_new(self._storage, path, (content,))
        try:
            put_in_place(self._storage, path, self._path)
        except BaseException:
            new.close()
            raise
        return new

    def _read_entries(self, file: File) -> Iterator[Entry]:
        for entry in iterate_entries(file.read(0, self._end), 0, self._length_max):
            bad = entry if isinstance(entry, BadEntry) else self._unknown_type(entry)
            if bad:
                raise WalCorruptError(str(self._path), bad.offset, lsn=None, expected=bad.expected, found=bad.found)
            assert isinstance(entry, Entry)
            yield entry

    def _opened(self) -> File:
        if self._file is None:
            raise WalError(f"{self._path}: not open")
        return self._file

    def _writable(self) -> File:
        self._refuse_after_failure()
        return self._opened()

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise WalSyncError(self._failure)

    def _note_failure(self, error: BaseException) -> None:
        if isinstance(error, WalSyncError):
            self._failure = str(error)

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def is_foreign(content: bytes, length_max: int = LENGTH_MAX) -> bool:
    """Whether `content` is no log's at all: it does not begin like one, and nothing in it says that it ever did.

    A first sector of zeros may be an append's that never came to the disk. A damaged log shows itself by an entry
    behind the damage, or by the CRC of its first.
    """
    head = content[: len(MAGIC_BYTES)]
    if MAGIC_BYTES.startswith(head) or not any(content[:SECTOR_BYTES]):
        return False
    first = next(iterate_entries(MAGIC_BYTES + content[len(MAGIC_BYTES) :], 0, length_max))
    fits = isinstance(first, Entry) and first.data
    return not fits and not _is_entry_behind(content, 0, length_max)


def _is_entry_behind(content: bytes, offset: int, length_max: int) -> bool:
    """A whole entry begins behind `offset`: so what stands there is not the last one."""
    while (offset := content.find(MAGIC_BYTES, offset + 1)) >= 0:
        if isinstance(next(iterate_entries(content, offset, length_max)), Entry):
            return True
    return False


def _has_lost_sector(content: bytes, start: int) -> bool:
    """Of the sectors from `start` on, the first perhaps begun before it, one holds nothing but zeros."""
    while start < len(content):
        end = start + SECTOR_BYTES - start % SECTOR_BYTES
        if not any(content[start:end]):
            return True
        start = end
    return False
