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
from typing import Final, Protocol
from zlib import crc32

from protocol.errors import WalCorruptError, WalTornTailError, WireError
from protocol.records import Checkpoint, EngineRun, EntryType, Record, decode_record
from protocol.wal.format import ENVELOPE, HEADER, JOURNAL_HEAD, LENGTH_MAX, MAGIC, BadEntry, Envelope
from protocol.wal.storage import RealStorage, Storage

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Read at a time: large enough that the calls do not count, small enough for a start in bounded memory."""
INDEX_EVERY: Final = 512
"""Entries between two points of the sparse index: 16 bytes for some 60 KB of file."""

Fields = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""JOURNAL_HEAD: magic, type, length, crc, then the envelope."""
_ENGINE_RUN: Final = int(EntryType.ENGINE_RUN)
_CHECKPOINT: Final = int(EntryType.CHECKPOINT)


class Readable(Protocol):
    def read(self, offset: int, length: int) -> bytes: ...


def iterate_chain(
    file: Readable,
    size: int,
    length_max: int = LENGTH_MAX,
    *,
    start: int = 0,
    before: tuple[int, int] | None = None,
) -> Generator[tuple[int, Fields, memoryview], None, BadEntry | None]:
    """(offset, fields, data) of each good entry of the first `size` bytes; returns what stopped it, if anything.

    `data` is envelope and record. It views a window that stays alive as long as the view. To go on where reading
    ended, `start` is the offset and `before` (LSN, crc32) of the entry before it.
    """
    unpack, header_size, least = JOURNAL_HEAD.unpack_from, HEADER.size, JOURNAL_HEAD.size
    offset, wanted = start, WINDOW_BYTES
    last_lsn, last_crc = before or _before_first(file, size)
    while offset < size:
        asked = min(wanted, size - offset)
        window = memoryview(file.read(offset, asked))
        available, at = len(window), 0
        if available < asked:  # a live file was cut under the reader
            size = offset + available
        while available - at >= least:
            fields = unpack(window, at)
            magic, kind, length, crc, envelope_kind, lsn, _, previous, _, _, _ = fields
            end = at + header_size + length
            if magic != MAGIC or length > length_max or end > available or length < ENVELOPE.size:
                break
            data = window[at + header_size : end]
            if crc32(data) != crc or kind != envelope_kind or lsn != last_lsn + 1 or previous != last_crc:
                break
            yield offset + at, fields, data
            last_lsn, last_crc, at = lsn, crc, end
        offset += at
        wanted = _bytes_wanted(window[at:], size - offset, length_max)
        if not wanted:
            return _explain(window[at:], offset, length_max, last_lsn, last_crc) if offset < size else None
    return None


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
    envelope = Envelope._make(ENVELOPE.unpack_from(data))
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
        self.first_lsn = self.entries = self.tail_lsn = self.tail_crc = self.tail_durable_lsn = 0
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
        self._scan(iterate_chain(file, size, length_max), mark_lsn)

    def _scan(self, chain: Generator[tuple[int, Fields, memoryview], None, BadEntry | None], mark_lsn: int) -> None:
        sequence = self.last_producer_seq
        next_point, offset, fields = 0, 0, None
        while True:
            try:
                offset, fields, data = next(chain)
            except StopIteration as stop:
                self.bad = self.bad or stop.value
                break
            _, kind, length, crc, _, lsn, durable_lsn, previous, _, producer, producer_seq = fields
            if kind == _ENGINE_RUN or not self.first_lsn:
                self.bad = self._keep(offset, kind, lsn, data)
                if self.bad:
                    chain.close()
                    break
                if not self.first_lsn:
                    self.first_lsn = next_point = lsn
                    self.mark_crc = previous if mark_lsn == lsn - 1 else None
            if lsn == next_point:
                self.index_lsns.append(lsn)
                self.index_offsets.append(offset)
                next_point += INDEX_EVERY
            if lsn == mark_lsn:
                self.mark_crc = crc
            sequence[producer] = producer_seq
            self.tail_lsn, self.tail_crc, self.tail_durable_lsn = lsn, crc, durable_lsn
            self.end = offset + HEADER.size + length
        self.entries = self.tail_lsn - self.first_lsn + 1 if self.first_lsn else 0

    def _keep(self, offset: int, kind: int, lsn: int, data: memoryview) -> BadEntry | None:
        """The ENGINE_RUN or the CHECKPOINT is kept; a first entry that is neither, or cannot be read, is a bad one."""
        try:
            if kind == _CHECKPOINT:
                self._keep_checkpoint(decode_record(kind, data[ENVELOPE.size :]))
            elif kind == _ENGINE_RUN:
                self._keep_run(decode_record(kind, data[ENVELOPE.size :]), lsn)
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
    chain = iterate_chain(file, size, length_max)
    lsn = 0
    while True:
        try:
            _, fields, data = next(chain)
        except StopIteration as stop:
            bad: BadEntry | None = stop.value
            break
        lsn = fields[5]
        yield Envelope._make(fields[4:]), fields[3], bytes(data[ENVELOPE.size :])
    if bad is None:
        return
    if bad.incomplete:
        raise WalTornTailError(
            f"{path} at byte {bad.offset} (LSN {lsn + 1}): expected {bad.expected}, found {bad.found}. "
            "The next start of the engine decides whether that is a torn tail."
        )
    raise WalCorruptError(str(path), bad.offset, lsn=lsn + 1, expected=bad.expected, found=bad.found)
