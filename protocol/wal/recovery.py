"""The recovery table: what a journal's file is, given what was found in it and what is known of it.

Pure: decides, touches nothing. The rows, in the order in which they are tried (the first that fits is it):

    W1  no file, or its first entry bad, though known > 0 or a sealed file exists             corrupt
    W2  a bad entry at LSN n, and a later chain-linked entry with durable_lsn >= n            corrupt
    W3  a bad entry at LSN n <= known                                                        corrupt
    W4  no bad entry, but the tail < known                                                   corrupt
    W5  another history: the watermark, or the newest sealed file, is of another journal;    corrupt
        or the entry at the watermark's LSN has another CRC
    W6  a bad entry otherwise                                                                torn tail
    W7  none                                                                                 clean

`known` is the highest LSN certainly acknowledged: the larger of the watermark's and the health pages', for the
same journal id; with the first entry unreadable any LSN above 0 counts (R3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple
from zlib import crc32

from protocol.wal.format import ENVELOPE, HEADER, JOURNAL_HEAD, LENGTH_MAX, MAGIC, MAGIC_BYTES, BadEntry, Envelope
from protocol.wal.scan import Readable, iterate_runs
from protocol.wal.watermark import Mark

SEARCH_BYTES: Final = 1024 * 1024
"""Read at a time when looking for later entries."""


class Kind(Enum):
    CLEAN = "clean"
    TORN = "torn"
    CORRUPT = "corrupt"


class Row(StrEnum):
    """The row of the table that decided."""

    MISSING = "W1"
    CONTRADICTED = "W2"
    KNOWN_BAD = "W3"
    TAIL_SHORT = "W4"
    OTHER_HISTORY = "W5"
    TORN_TAIL = "W6"
    NOTHING_BAD = "W7"


class LaterEntry(NamedTuple):
    """A good entry behind a bad place."""

    offset: int
    lsn: int
    durable_lsn: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan of the file says."""

    exists: bool
    tail_lsn: int
    """Of the last good entry before the bad place or the end; 0 if there is none."""
    end: int
    """Offset behind that entry."""
    bad: BadEntry | None = None
    later: LaterEntry | None = None
    """From find_later_entry."""
    mark_crc: int | None = None
    """CRC of the good entry at Known.mark_lsn."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from outside the file."""

    lsn: int = 0
    mark_lsn: int = 0
    """The watermark's part of it, if it is of this journal."""
    mark_crc: int = 0
    sealed_exists: bool = False
    other: Other | None = None


class Other(NamedTuple):
    """What stands beside the file and is of another journal. A new one is created over neither (R2)."""

    what: str
    its_id: bytes
    journal_id: bytes
    """Of the file itself."""
    first_lsn: int


def combine_known(
    pages_lsn: int, mark: Mark | None, *, journal_id: bytes, first_lsn: int, sealed_exists: bool, sealed_id: bytes
) -> Known:
    """What the health pages and the watermark say of the journal `journal_id`; b"" if its first entry is unreadable.

    sealed_id: of the newest sealed file, b"" if there is none or it cannot be told.
    """
    if mark is not None and journal_id not in (b"", mark.journal_id):
        other = Other("the watermark", mark.journal_id, journal_id, first_lsn)
        return Known(pages_lsn, sealed_exists=sealed_exists, other=other)
    if sealed_id and journal_id not in (b"", sealed_id):
        other = Other("the newest sealed file", sealed_id, journal_id, first_lsn)
        return Known(pages_lsn, sealed_exists=sealed_exists, other=other)
    if mark is None:
        return Known(pages_lsn, sealed_exists=sealed_exists)
    comparable = mark.lsn >= first_lsn - 1  # an older one speaks of a sealed file
    return Known(max(pages_lsn, mark.lsn), mark.lsn if comparable else 0, mark.crc, sealed_exists)


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Kind
    row: Row
    offset: int = 0
    lsn: int = 0
    expected: str = ""
    found: str = ""


def decide(found: Found, known: Known) -> Verdict:
    """The verdict of the table's first row that fits."""
    bad, bad_lsn = found.bad, found.tail_lsn + 1
    if found.tail_lsn == 0 and (known.lsn > 0 or known.sealed_exists):
        since = f"up to LSN {known.lsn} was acknowledged" if known.lsn else "a sealed file exists"
        what = f"{bad.found} (expected {bad.expected})" if bad else "an empty file" if found.exists else "no file"
        return Verdict(Kind.CORRUPT, Row.MISSING, found.end, 1, f"a first entry, for {since}", what)
    if bad and found.later and found.later.durable_lsn >= bad_lsn:
        later = f"LSN {found.later.lsn} at byte {found.later.offset}"
        reason = f"{bad.found}; {later} says that LSN {found.later.durable_lsn} was on disk"
        return Verdict(Kind.CORRUPT, Row.CONTRADICTED, bad.offset, bad_lsn, bad.expected, reason)
    if bad and bad_lsn <= known.lsn:
        reason = f"{bad.found}; up to LSN {known.lsn} was acknowledged"
        return Verdict(Kind.CORRUPT, Row.KNOWN_BAD, bad.offset, bad_lsn, bad.expected, reason)
    if found.tail_lsn < known.lsn:
        expected = f"entries up to LSN {known.lsn}, which was acknowledged"
        return Verdict(Kind.CORRUPT, Row.TAIL_SHORT, found.end, bad_lsn, expected, "the end of the file")
    if known.other:
        what, other_id, journal_id, first_lsn = known.other
        expected = f"an entry of journal {other_id.hex()}, as {what} is"
        return Verdict(Kind.CORRUPT, Row.OTHER_HISTORY, 0, first_lsn, expected, f"journal {journal_id.hex()}")
    if known.mark_lsn and found.mark_crc != known.mark_crc:
        expected = f"crc32 {known.mark_crc:#010x}, as the watermark says"
        actual = "no such entry" if found.mark_crc is None else f"{found.mark_crc:#010x}: another history"
        return Verdict(Kind.CORRUPT, Row.OTHER_HISTORY, 0, known.mark_lsn, expected, actual)
    if bad:
        return Verdict(Kind.TORN, Row.TORN_TAIL, bad.offset, bad_lsn, bad.expected, bad.found)
    return Verdict(Kind.CLEAN, Row.NOTHING_BAD, found.end, found.tail_lsn)


def find_later_entry(
    file: Readable, size: int, bad_offset: int, bad_lsn: int, length_max: int = LENGTH_MAX
) -> LaterEntry | None:
    """The first good entry behind the bad place whose durable_lsn contradicts a torn tail, if there is one.

    Payloads may contain the magic, even whole entries: a candidate counts only if it is linked with another entry
    (the one behind it, or a good one just before it) or ends the file.
    """
    before = _Candidate(0, 0, 0, 0, 0, 0)
    for candidate in _candidates(file, size, bad_offset, bad_lsn, length_max):
        if candidate.durable_lsn >= bad_lsn and _is_linked(file, candidate, before, size):
            return LaterEntry(candidate.offset, candidate.lsn, candidate.durable_lsn)
        before = candidate
    return None


def iterate_later(
    file: Readable, size: int, bad_offset: int, bad_lsn: int, length_max: int = LENGTH_MAX
) -> Iterator[tuple[int, Envelope, int, bytes]]:
    """(offset, envelope, crc, record data) of all that can still be read behind the bad place, over any number more."""
    while True:
        candidates = _candidates(file, size, bad_offset, bad_lsn, length_max)
        nothing = _Candidate(0, 0, 0, 0, 0, 0)
        first = next((one for one in candidates if _is_linked(file, one, nothing, size)), None)
        if first is None:
            return
        before = (first.lsn - 1, first.previous_crc)
        for offset, window, entries in iterate_runs(file, size, length_max, start=first.offset, before=before):
            at = 0
            for envelope, crc, end in entries:
                yield offset + at, envelope, crc, window[at + JOURNAL_HEAD.size : end]
                at = end
            bad_offset, bad_lsn = offset + at - 1, entries[-1][0].lsn


class _Candidate(NamedTuple):
    offset: int
    end: int
    lsn: int
    durable_lsn: int
    crc: int
    previous_crc: int


def _candidates(file: Readable, size: int, bad_offset: int, bad_lsn: int, length_max: int) -> Iterator[_Candidate]:
    """What looks like an entry behind the bad place; none lies within another."""
    position = bad_offset + 1
    while (offset := _find_magic(file, position, size)) is not None:
        candidate = _read_candidate(file, offset, size, bad_lsn, length_max)
        position = offset + 1 if candidate is None else candidate.end
        if candidate is not None:
            yield candidate


def _find_magic(file: Readable, position: int, size: int) -> int | None:
    while position < size:
        window = file.read(position, min(SEARCH_BYTES, size - position))
        found = window.find(MAGIC_BYTES)
        if found >= 0:
            return position + found
        if len(window) < SEARCH_BYTES:
            return None
        position += len(window) - len(MAGIC_BYTES) + 1
    return None


def _read_candidate(file: Readable, offset: int, size: int, bad_lsn: int, length_max: int) -> _Candidate | None:
    """The entry at `offset`, or None if it is none. The cheap tests come first: the magic may stand in any payload."""
    head = file.read(offset, JOURNAL_HEAD.size)
    if len(head) < JOURNAL_HEAD.size:
        return None
    _, kind, length, crc, envelope_kind, lsn, durable_lsn, previous, _, _, _ = JOURNAL_HEAD.unpack(head)
    end = offset + HEADER.size + length
    if kind != envelope_kind or not ENVELOPE.size <= length <= length_max or end > size:
        return None
    if not bad_lsn < lsn or durable_lsn >= lsn or crc32(file.read(offset + HEADER.size, length)) != crc:
        return None
    return _Candidate(offset, end, lsn, durable_lsn, crc, previous)


def _is_linked(file: Readable, entry: _Candidate, before: _Candidate, size: int) -> bool:
    if entry.end == size:
        return True
    if before.lsn + 1 == entry.lsn and before.crc == entry.previous_crc:
        return True
    head = file.read(entry.end, JOURNAL_HEAD.size)
    if len(head) < JOURNAL_HEAD.size:
        return False
    magic, _, _, _, _, lsn, _, previous, _, _, _ = JOURNAL_HEAD.unpack(head)
    return magic == MAGIC and lsn == entry.lsn + 1 and previous == entry.crc
