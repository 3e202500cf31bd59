"""Reading a journal's file from its start, entry by entry, and verifying each against the one before.

Owns what makes an entry of the journal good: header, CRC, envelope type = header type, the next LSN, and the
link to the entry before by its CRC. Reads through windows of bounded size and never writes. What a bad entry
means is decided elsewhere (recovery.py).

The first entry of a journal is an ENGINE_RUN with LSN 1 and previous crc 0; that of a file after a roll is a
CHECKPOINT, whose LSN and previous crc go on where the sealed file ended. The journal id stands in either.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from zlib import crc32

from protocol.errors import WalCorruptError, WalTornTailError, WireError
from protocol.records import Checkpoint, EngineRun, EntryType, Record, decode_record
from protocol.wal.format import (
    ENVELOPE,
    HEADER,
    JOURNAL_HEAD,
    LENGTH_MAX,
    MAGIC,
    MAGIC_BYTES,
    BadEntry,
    Envelope,
)
from protocol.wal.storage import RealStorage, Storage

WINDOW_BYTES: Final = 128 * 1024
"""Read at a time: large enough that the calls do not count, small enough to stay in the processor's cache with all that
is taken from it (a scan by 4 MiB took half as long again)."""
INDEX_EVERY: Final = 512
"""Entries between two points of the sparse index: 16 bytes for some 60 KB of file."""

GoodEntry = tuple[Envelope, int, int]
"""(envelope, crc, end in its window)."""
_ENGINE_RUN: Final = int(EntryType.ENGINE_RUN)
_CHECKPOINT: Final = int(EntryType.CHECKPOINT)


class Readable(Protocol):
    def read(self, offset: int, length: int) -> bytes: ...


class Run(NamedTuple):
    """Good entries that follow each other from the start of `window`, which stands at `offset` in the file."""

    offset: int
    window: bytes
    entries: list[GoodEntry]


def iterate_runs(
    file: Readable,
    size: int,
    length_max: int = LENGTH_MAX,
    *,
    start: int = 0,
    before: tuple[int, int] | None = None,
) -> Generator[Run, None, BadEntry | None]:
    """All good entries of the first `size` bytes, run by run; returns what stopped them, if anything.

    To go on where reading ended, `start` is the offset and `before` (LSN, crc32) of the entry before it.
    """
    offset, wanted = start, WINDOW_BYTES
    last_lsn, last_crc = before or _before_first(file, size)
    while offset < size:
        asked = min(wanted, size - offset)
        window = file.read(offset, asked)
        if len(window) < asked:  # a live file was cut under the reader
            size = offset + len(window)
        entries = _take_good(window, length_max, last_lsn, last_crc)
        end = entries[-1][2] if entries else 0
        if entries:
            last_lsn, last_crc = entries[-1][0].lsn, entries[-1][1]
            yield Run(offset, window, entries)
        offset += end
        rest = memoryview(window)[end:]
        wanted = _bytes_wanted(rest, size - offset, length_max)
        if not wanted:
            return _explain(rest, offset, length_max, last_lsn, last_crc) if offset < size else None
    return None


def _take_good(window: bytes, length_max: int, last_lsn: int, last_crc: int) -> list[GoodEntry]:
    """The entries at the head of `window` that are whole and good, after the one before.

    The hot loop of every start: what is wrong with the entry at which it stops is for _explain to find out.
    """
    unpack, header_size, magic, least = JOURNAL_HEAD.unpack_from, HEADER.size, MAGIC, ENVELOPE.size
    entries: list[GoodEntry] = []
    take, at, available = entries.append, 0, len(window)
    last_start = available - JOURNAL_HEAD.size
    while at <= last_start:
        found, kind, length, crc, envelope_kind, lsn, durable_lsn, previous, time_us, producer, seq = unpack(window, at)
        start = at + header_size
        end = start + length
        if found != magic or not least <= length <= length_max or end > available:
            break
        if crc32(window[start:end]) != crc or kind != envelope_kind or lsn != last_lsn + 1 or previous != last_crc:
            break
        take((Envelope(kind, lsn, durable_lsn, previous, time_us, producer, seq), crc, end))
        last_lsn, last_crc, at = lsn, crc, end
    return entries


def _before_first(file: Readable, size: int) -> tuple[int, int]:
    """(LSN, crc32) of the entry before the file's first: only a CHECKPOINT may follow something."""
    head = file.read(0, JOURNAL_HEAD.size) if size >= JOURNAL_HEAD.size else b""
    if len(head) == JOURNAL_HEAD.size:
        _, kind, _, _, envelope_kind, lsn, _, previous, _, _, _ = JOURNAL_HEAD.unpack(head)
        if kind == envelope_kind == _CHECKPOINT and lsn > 1:
            return lsn - 1, previous
    return 0, 0


def _bytes_wanted(rest: memoryview, remaining: int, length_max: int) -> int:
    """How much must be read to judge the entry at the head of `rest`; 0 if `rest` is enough, or all there is."""
    if len(rest) >= remaining:
        return 0
    if len(rest) < HEADER.size:
        return WINDOW_BYTES
    magic, _, length, _ = HEADER.unpack_from(rest)
    if magic != MAGIC or length > length_max or HEADER.size + length <= len(rest):
        return 0
    return max(WINDOW_BYTES, HEADER.size + length)


def _explain(rest: memoryview, offset: int, length_max: int, last_lsn: int, last_crc: int) -> BadEntry:
    """What is wrong with the entry at the head of `rest`, in the order in which one reads it."""

    def bad(expected: str, found: str, *, incomplete: bool = False) -> BadEntry:
        return BadEntry(offset, expected, found, incomplete)

    if len(rest) < HEADER.size:
        return bad("a header of 13 bytes", f"{len(rest)} bytes: {bytes(rest).hex(' ')}", incomplete=True)
    magic, kind, length, crc = HEADER.unpack_from(rest)
    data = rest[HEADER.size : HEADER.size + length]
    if magic != MAGIC:
        return bad(f"magic {MAGIC:#010x}", f"{magic:#010x}")
    if not ENVELOPE.size <= length <= length_max:
        return bad(f"a length of {ENVELOPE.size} to {length_max}", str(length))
    if len(data) < length:
        return bad(f"{length} bytes of data", str(len(data)), incomplete=True)
    if crc32(data) != crc:
        return bad(f"crc32 {crc:#010x}", f"{crc32(data):#010x}")
    envelope = Envelope(*ENVELOPE.unpack_from(data))
    if envelope.entry_type != kind:
        return bad(f"type {kind} in the envelope, as in the header", str(envelope.entry_type))
    if envelope.lsn != last_lsn + 1:
        return bad(f"LSN {last_lsn + 1}", f"LSN {envelope.lsn}")
    return bad(f"the previous entry's crc32 {last_crc:#010x}", f"{envelope.previous_crc:#010x}")


class JournalScan:
    """One pass over a journal's file: all that Journal needs to go on, and all that the recovery table asks."""

    def __init__(self, file: Readable, size: int, *, length_max: int = LENGTH_MAX, mark_lsn: int = 0) -> None:
        self.size = size
        self.bad: BadEntry | None = None
        self.end = 0
        """Offset behind the last good entry."""
        self.first_bytes = self.first_lsn = self.entries = self.tail_lsn = self.tail_crc = self.tail_durable_lsn = 0
        self.mark_crc: int | None = None
        """CRC of the entry `mark_lsn`, None if it is neither among the good ones nor just before the first."""
        self.journal_id = b""
        self.checkpoint: Checkpoint | None = None
        """The first entry, if it is one."""
        self.last_run: EngineRun | None = None
        self.last_run_lsn = 0
        self.last_producer_seq: dict[int, int] = {}
        self.index_lsns: list[int] = []
        self.index_offsets: list[int] = []
        self._scan(iterate_runs(file, size, length_max), mark_lsn)

    def _scan(self, runs: Generator[Run, None, BadEntry | None], mark_lsn: int) -> None:
        while self.bad is None:
            try:
                self._take_run(next(runs), mark_lsn)
            except StopIteration as stop:
                self.bad = stop.value
                break
        runs.close()
        self.entries = self.tail_lsn - self.first_lsn + 1 if self.first_lsn else 0

    def _take_run(self, run: Run, mark_lsn: int) -> None:
        """The run's entries are taken in, up to one that must be readable and is not."""
        sequence, taken, at = self.last_producer_seq, None, 0
        next_point = self.index_lsns[-1] + INDEX_EVERY if self.index_lsns else run.entries[0][0].lsn
        for entry in run.entries:
            envelope, crc, end = entry
            lsn = envelope.lsn
            if envelope.entry_type == _ENGINE_RUN or not self.first_lsn:
                self.bad = self._keep(run.offset + at, envelope, run.window[at + JOURNAL_HEAD.size : end])
                if self.bad:
                    break
                if not self.first_lsn:
                    self.first_lsn, self.first_bytes = lsn, end
                    self.mark_crc = envelope.previous_crc if mark_lsn == lsn - 1 else None
            if lsn == next_point:
                self.index_lsns.append(lsn)
                self.index_offsets.append(run.offset + at)
                next_point += INDEX_EVERY
            if lsn == mark_lsn:
                self.mark_crc = crc
            sequence[envelope.producer] = envelope.producer_seq
            taken, at = entry, end
        if taken is not None:
            self.end = run.offset + at
            self.tail_lsn, self.tail_crc, self.tail_durable_lsn = taken[0].lsn, taken[1], taken[0].durable_lsn

    def _keep(self, offset: int, envelope: Envelope, record: bytes) -> BadEntry | None:
        """The ENGINE_RUN or the CHECKPOINT is kept; a first entry that is neither, or cannot be read, is a bad one."""
        kind = envelope.entry_type
        try:
            if kind == _CHECKPOINT:
                self._keep_checkpoint(decode_record(kind, record))
            elif kind == _ENGINE_RUN:
                self._keep_run(decode_record(kind, record), envelope.lsn)
            else:
                return BadEntry(offset, "an ENGINE_RUN or a CHECKPOINT with the journal id", f"type {kind}", False)
        except WireError as error:
            return BadEntry(offset, f"a readable {EntryType(kind).name}", str(error), False)
        return None

    def _keep_checkpoint(self, record: Record) -> None:
        assert isinstance(record, Checkpoint)
        self.checkpoint = record
        self.last_producer_seq.update(record.producers)
        self._keep_run(decode_record(_ENGINE_RUN, record.run), record.run_lsn)

    def _keep_run(self, record: Record, lsn: int) -> None:
        assert isinstance(record, EngineRun)
        self.last_run, self.last_run_lsn = record, lsn
        self.journal_id = self.journal_id or record.journal_id


def first_lsn_of(file: Readable) -> int:
    """Of the first entry; 0 if it cannot be read, which the reader of the file then says."""
    head = file.read(0, JOURNAL_HEAD.size)
    if len(head) < JOURNAL_HEAD.size or not head.startswith(MAGIC_BYTES):
        return 0
    return JOURNAL_HEAD.unpack(head)[5]


def journal_id_of(file: Readable) -> bytes:
    """By the first entry alone; b"" if it cannot be read (R3)."""
    head = file.read(0, HEADER.size)
    if len(head) < HEADER.size:
        return b""
    magic, _, length, _ = HEADER.unpack(head)
    readable = magic == MAGIC and length <= LENGTH_MAX
    return JournalScan(file, HEADER.size + length).journal_id if readable else b""


def read_journal(
    path: Path, *, storage: Storage | None = None, length_max: int = LENGTH_MAX
) -> Iterator[tuple[Envelope, int, bytes]]:
    """(envelope, crc, record data) of every entry of one file, verified; never locks, never writes.

    The file may belong to a live engine: what stands there when reading begins is read. history.py reads on from
    file to file.

    Raises, at the end of what is good: WalTornTailError if the file ends within an entry (a live engine may just
    be writing it), WalCorruptError for anything else that is wrong. FileNotFoundError if there is no file.
    """
    file = (storage or RealStorage()).open(path, read_only=True)
    try:
        yield from iterate_records(file, file.size(), path, length_max=length_max)
    finally:
        file.close()


def iterate_records(
    file: Readable, size: int, path: Path, *, length_max: int = LENGTH_MAX
) -> Iterator[tuple[Envelope, int, bytes]]:
    """read_journal on an open file; `path` is for the errors."""
    for run in read_runs(file, size, path, length_max=length_max):
        yield from records_of(run)


def records_of(run: Run, from_lsn: int = 0) -> Iterator[tuple[Envelope, int, bytes]]:
    """(envelope, crc, record data) of the run's entries from `from_lsn` on."""
    window, at, head_size = run.window, 0, JOURNAL_HEAD.size
    for envelope, crc, end in run.entries:
        if envelope.lsn >= from_lsn:
            yield envelope, crc, window[at + head_size : end]
        at = end


def read_runs(file: Readable, size: int, path: Path, *, length_max: int = LENGTH_MAX) -> Iterator[Run]:
    """iterate_runs, with what is wrong behind the good entries raised as read_journal says."""
    runs, lsn = iterate_runs(file, size, length_max), 0
    while True:
        try:
            run = next(runs)
        except StopIteration as stop:
            bad: BadEntry | None = stop.value
            break
        yield run
        lsn = run.entries[-1][0].lsn
    if bad is None:
        return
    if bad.incomplete:
        raise WalTornTailError(
            f"{path} at byte {bad.offset} (LSN {lsn + 1}): expected {bad.expected}, found {bad.found}. "
            "The next start of the engine decides whether that is a torn tail."
        )
    raise WalCorruptError(str(path), bad.offset, lsn=lsn + 1, expected=bad.expected, found=bad.found)
