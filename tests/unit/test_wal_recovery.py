"""The recovery table, row by row, and against every flip and every cut of a small journal."""

from __future__ import annotations

from zlib import crc32

import pytest
from wal_journals import BATCHES, DIRECTORY, durable_before, journal_bytes, knows, nobody_knows, storage_with

from protocol.errors import WalCorruptError
from protocol.wal.format import ENVELOPE, HEADER, MAGIC, BadEntry, encode_entry
from protocol.wal.journal import Journal
from protocol.wal.recovery import Found, Kind, Known, LaterEntry, Row, decide, find_later_entry
from protocol.wal.scan import JournalScan
from protocol.wal.storage import MemoryFile

BAD = BadEntry(700, "crc32 0x1", "0x2", incomplete=False)
ENTRIES = sum(BATCHES)


@pytest.mark.parametrize(
    ("row", "found", "known"),
    [
        (Row.MISSING, Found(False, 0, 0), Known(1)),
        (Row.MISSING, Found(True, 0, 0), Known(1)),
        (Row.MISSING, Found(True, 0, 0, BadEntry(0, "", "", True)), Known(1)),
        (Row.MISSING, Found(False, 0, 0), Known(0, sealed_exists=True)),
        (Row.MISSING, Found(True, 0, 0, BadEntry(0, "", "", True)), Known(0, sealed_exists=True)),
        (Row.CONTRADICTED, Found(True, 9, 700, BAD, LaterEntry(900, 12, 10)), Known(0)),
        (Row.CONTRADICTED, Found(True, 0, 0, BAD, LaterEntry(900, 2, 1)), Known(0)),
        (Row.KNOWN_BAD, Found(True, 9, 700, BAD), Known(10)),
        (Row.KNOWN_BAD, Found(True, 9, 700, BAD, LaterEntry(900, 12, 9)), Known(10)),
        (Row.TAIL_SHORT, Found(True, 9, 700), Known(10)),
        (Row.OTHER_HISTORY, Found(True, 9, 700, mark_crc=5), Known(9, 9, 6)),
        (Row.OTHER_HISTORY, Found(True, 9, 700, BAD, mark_crc=5), Known(8, 8, 6)),
        (Row.TORN_TAIL, Found(True, 9, 700, BAD), Known(9)),
        (Row.TORN_TAIL, Found(True, 9, 700, BAD, LaterEntry(900, 12, 9)), Known(9)),
        (Row.TORN_TAIL, Found(True, 9, 700, BAD, mark_crc=6), Known(9, 9, 6)),
        (Row.TORN_TAIL, Found(True, 0, 0, BadEntry(0, "", "", True)), Known(0)),
        (Row.NOTHING_BAD, Found(False, 0, 0), Known(0)),
        (Row.NOTHING_BAD, Found(True, 0, 0), Known(0)),
        (Row.NOTHING_BAD, Found(True, 9, 700, mark_crc=6), Known(9, 9, 6)),
    ],
)
def test_each_row_of_the_table_decides_its_case(row: Row, found: Found, known: Known) -> None:
    verdict = decide(found, known)
    kinds = {Row.TORN_TAIL: Kind.TORN, Row.NOTHING_BAD: Kind.CLEAN}
    assert (verdict.row, verdict.kind) == (row, kinds.get(row, Kind.CORRUPT))
    places = {Row.OTHER_HISTORY: known.mark_lsn, Row.NOTHING_BAD: found.tail_lsn}
    assert verdict.lsn == places.get(row, found.tail_lsn + 1)


def offsets_of(content: bytes) -> list[int]:
    """Where each entry begins, and the end."""
    offsets = [0]
    while offsets[-1] < len(content):
        offsets.append(offsets[-1] + HEADER.size + HEADER.unpack_from(content, offsets[-1])[2])
    return offsets


def verdict_of(content: bytes, known_lsn: int) -> tuple[Kind, int]:
    """The verdict, and the LSN of the last good entry before the bad place or the end."""
    file = MemoryFile(bytearray(content))
    scan = JournalScan(file, len(content))
    later = find_later_entry(file, len(content), scan.bad.offset, scan.tail_lsn + 1) if scan.bad else None
    found = Found(True, scan.tail_lsn, scan.end, scan.bad, later)
    return decide(found, Known(known_lsn)).kind, scan.tail_lsn


def test_every_single_bit_flip_gets_the_verdict_of_the_table() -> None:
    content = journal_bytes()
    offsets = offsets_of(content)
    assert len(offsets) == ENTRIES + 1
    last_durable = durable_before(ENTRIES)
    for position in range(len(content)):
        bad_lsn = sum(offset <= position for offset in offsets)
        corrupt_alone = bad_lsn < ENTRIES and last_durable >= bad_lsn
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            for known_lsn in (0, 6):
                expected = Kind.CORRUPT if corrupt_alone or bad_lsn <= known_lsn else Kind.TORN
                assert verdict_of(bytes(damaged), known_lsn) == (expected, bad_lsn - 1), (position, bit, known_lsn)


def test_every_truncation_gets_the_verdict_of_the_table() -> None:
    content = journal_bytes()
    offsets = offsets_of(content)
    for size in range(len(content)):
        good = sum(offset <= size for offset in offsets[1:])
        at_boundary = size in offsets
        for known_lsn in (0, 1, 6, ENTRIES):
            expected = Kind.CORRUPT if good < known_lsn else Kind.CLEAN if at_boundary else Kind.TORN
            assert verdict_of(content[:size], known_lsn) == (expected, good), (size, known_lsn)


def test_corruption_changes_nothing_and_names_the_place() -> None:
    third = offsets_of(journal_bytes())[2]
    content = bytearray(journal_bytes())
    content[third + HEADER.size] ^= 1
    storage = storage_with(bytes(content))
    with pytest.raises(WalCorruptError) as error:
        Journal(DIRECTORY, storage=storage).open(nobody_knows)
    assert (error.value.offset, error.value.lsn) == (third, 3)
    assert error.value.expected.startswith("crc32")
    assert "W2" in error.value.found
    assert {path.name: bytes(data) for path, data in storage.files.items()} == {"journal.wal": bytes(content)}


def test_an_unreadable_first_entry_is_corrupt_if_any_journal_was_ever_acknowledged() -> None:
    """R3: the journal id is unknown, so any LSN above 0 counts."""
    asked: list[bytes] = []

    def any_page(journal_id: bytes) -> int:
        asked.append(journal_id)
        return 1

    with pytest.raises(WalCorruptError, match="W1"):
        Journal(DIRECTORY, storage=storage_with(journal_bytes()[:20])).open(any_page)
    assert asked == [b""]


def test_a_missing_file_is_corrupt_if_any_journal_was_ever_acknowledged() -> None:
    with pytest.raises(WalCorruptError, match="no file"):
        Journal(DIRECTORY, storage=storage_with(b"", "other")).open(knows(4))


def entry_bytes(lsn: int, durable_lsn: int, previous_crc: int, payload: bytes = b"\x90") -> bytes:
    return encode_entry(13, ENVELOPE.pack(13, lsn, durable_lsn, previous_crc, 0, 2, lsn) + payload)


def crc_of(entry: bytes) -> int:
    return crc32(entry[HEADER.size :])


def later_in(tail: bytes, bad_lsn: int = 5) -> LaterEntry | None:
    """Of a file whose bad entry begins at 0 with a byte of garbage."""
    content = b"\xff" + tail
    return find_later_entry(MemoryFile(bytearray(content)), len(content), 0, bad_lsn)


def test_a_later_entry_counts_if_it_ends_the_file() -> None:
    assert later_in(entry_bytes(7, 5, 1)) == LaterEntry(1, 7, 5)


def test_a_later_entry_counts_if_the_next_one_links_to_it() -> None:
    one = entry_bytes(7, 5, 1)
    assert later_in(one + entry_bytes(8, 5, crc_of(one))[:-1]) == LaterEntry(1, 7, 5)


def test_a_later_entry_counts_if_it_links_to_a_good_one_before() -> None:
    one = entry_bytes(7, 4, 1)
    assert later_in(one + entry_bytes(8, 6, crc_of(one)) + b"cut") == LaterEntry(1 + len(one), 8, 6)


@pytest.mark.parametrize(
    "tail",
    [
        entry_bytes(7, 5, 1) + b"garbage",
        entry_bytes(7, 5, 1) + entry_bytes(8, 5, 99)[:-1],
        entry_bytes(7, 4, 1),
        entry_bytes(5, 5, 1),
        entry_bytes(7, 5, 1)[:-1] + b"\0",
        HEADER.pack(MAGIC, 13, 2**31, 0) + b"x" * 100,
        b"",
    ],
    ids=["unlinked", "wrong link", "durable_lsn below", "LSN not later", "wrong crc", "wild length", "nothing"],
)
def test_what_only_looks_like_a_later_entry_does_not_count(tail: bytes) -> None:
    assert later_in(tail) is None


def test_a_whole_entry_inside_a_torn_payload_does_not_make_the_tail_corrupt() -> None:
    """Payloads may contain the magic: what a strategy or an operator wrote is no evidence."""
    content = journal_bytes()
    inner = entry_bytes(ENTRIES + 5, ENTRIES + 1, 7)
    last = offsets_of(content)[-2]
    outer = entry_bytes(ENTRIES + 1, ENTRIES, crc_of(content[last:]), b"pad" + inner + b"more of the payload")
    for cut in range(1, len(outer)):
        kind, tail_lsn = verdict_of(content + outer[:-cut], known_lsn=ENTRIES)
        nested_ends_the_file = outer[:-cut].endswith(inner)
        assert (kind, tail_lsn) == (Kind.CORRUPT if nested_ends_the_file else Kind.TORN, ENTRIES)


@pytest.mark.parametrize(
    ("kind", "lsn", "wrong_link", "expected"),
    [
        (13, ENTRIES + 1, 1, "the previous entry's crc32"),
        (13, ENTRIES + 2, 0, f"LSN {ENTRIES + 1}"),
        (13, ENTRIES, 0, f"LSN {ENTRIES + 1}"),
        (4, ENTRIES + 1, 0, "type 4 in the envelope"),
    ],
    ids=["not linked", "a gap", "a repetition", "another type"],
)
def test_an_entry_with_a_good_crc_is_bad_if_it_does_not_follow(
    kind: int, lsn: int, wrong_link: int, expected: str
) -> None:
    content = journal_bytes()
    last_crc = crc_of(content[offsets_of(content)[-2] :])
    following = bytearray(entry_bytes(lsn, ENTRIES, last_crc ^ wrong_link))
    following[4] = kind
    whole = content + following
    scan = JournalScan(MemoryFile(bytearray(whole)), len(whole))
    assert scan.tail_lsn == ENTRIES
    assert scan.bad is not None
    assert (scan.bad.offset, scan.bad.incomplete) == (len(content), False)
    assert scan.bad.expected.startswith(expected)


def test_an_entry_that_follows_is_good() -> None:
    content = journal_bytes()
    last_crc = crc_of(content[offsets_of(content)[-2] :])
    whole = content + entry_bytes(ENTRIES + 1, ENTRIES, last_crc)
    assert JournalScan(MemoryFile(bytearray(whole)), len(whole)).tail_lsn == ENTRIES + 1


def test_a_removed_entry_is_corrupt_wherever_it_was() -> None:
    content = journal_bytes()
    offsets = offsets_of(content)
    for number in range(ENTRIES - 1):
        damaged = content[: offsets[number]] + content[offsets[number + 1] :]
        expected = Kind.CORRUPT if durable_before(ENTRIES) > number else Kind.TORN
        assert verdict_of(damaged, 0) == (expected, number)


def test_a_file_cut_under_its_reader_ends_the_reading() -> None:
    content = journal_bytes()
    for size in (0, 5, 60, len(content) - 7):
        scan = JournalScan(MemoryFile(bytearray(content[:size])), len(content))
        assert scan.end <= size
