"""A journal verified whole: journal.wal by the table, every sealed file and link; and one that moves meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_wal_history import three_files
from test_wal_roll import opened, rolled
from wal_journals import DIRECTORY, JOURNAL_ID, WatchedStorage, build, entry, knows, nobody_knows, storage_with

from protocol.errors import WalCorruptError
from protocol.wal.journal import Journal
from protocol.wal.recovery import Kind, Row
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import File, MemoryStorage, RealStorage
from protocol.wal.verify import Examination, check_file, check_journal

JOURNAL = DIRECTORY / "journal.wal"
FIRST, SECOND = sealed_path(DIRECTORY, 1), sealed_path(DIRECTORY, 13)


def check(storage: MemoryStorage, known: int = 0, *, is_live: bool = False) -> Examination:
    before = {path: bytes(content) for path, content in storage.files.items()}
    result = check_journal(storage, DIRECTORY, knows(known), is_live=is_live)
    assert {path: bytes(content) for path, content in storage.files.items()} == before, "nothing is written"
    return result


def test_a_whole_journal_is_clean_over_all_its_files() -> None:
    result = check(three_files(), known=17)
    assert (result.kind, result.verdict.row, result.damages) == (Kind.CLEAN, Row.NOTHING_BAD, ())
    assert [(one.path, one.first_lsn, one.last_lsn, one.entries) for one in result.files] == [
        (FIRST, 1, 12, 12), (SECOND, 13, 16, 4), (JOURNAL, 17, 17, 1),
    ]  # fmt: skip
    assert (result.entries, result.durable_lsn) == (17, 17)
    assert {one.journal_id for one in result.files} == {JOURNAL_ID}


def test_packed_files_are_verified_like_plain_ones(tmp_path: Path) -> None:
    storage = RealStorage()
    rolled(storage, tmp_path)._release()
    packed = pack_sealed(storage, list_sealed(storage, tmp_path)[0]).path
    result = check_journal(storage, tmp_path, nobody_knows)
    assert (result.kind, [one.entries for one in result.files]) == (Kind.CLEAN, [12, 4])
    assert result.files[0].bytes == packed.stat().st_size
    packed.write_bytes(packed.read_bytes()[:-20])
    result = check_journal(storage, tmp_path, nobody_knows)
    assert (result.kind, result.damages[0].path, result.damages[0].lsn) == (Kind.CORRUPT, packed, 1)


def cut(storage: MemoryStorage, path: Path) -> None:
    del storage.files[path][-1]


def flip(storage: MemoryStorage, path: Path) -> None:
    storage.files[path][-1] ^= 1


def empty(storage: MemoryStorage, path: Path) -> None:
    storage.files[path].clear()


@pytest.mark.parametrize("damage", [cut, flip, empty])
@pytest.mark.parametrize("path", [FIRST, SECOND], ids=["oldest", "newest"])
def test_damage_in_a_sealed_file_is_corrupt_though_the_engine_can_start(
    damage: Callable[[MemoryStorage, Path], None], path: Path
) -> None:
    storage = three_files()
    damage(storage, path)
    result = check(storage, known=17)
    assert (result.kind, result.verdict.kind) == (Kind.CORRUPT, Kind.CLEAN)
    (found,) = result.damages
    first_lsn = 1 if path == FIRST else 13
    last = first_lsn if damage is empty else {1: 12, 13: 16}[first_lsn]
    assert (found.path, found.lsn) == (path, last)
    opened(storage, known=17)


def test_a_missing_sealed_file_is_a_named_gap_and_a_missing_oldest_one_is_none() -> None:
    storage = three_files()
    storage.unlink(FIRST)
    assert check(storage).kind is Kind.CLEAN, "it may be kept no longer"
    storage = three_files()
    storage.unlink(SECOND)
    result = check(storage)
    assert [str(one) for one in result.damages] == [
        f"{JOURNAL} at byte 0 (LSN 13): expected LSN 13, for {FIRST.name} ends with 12, "
        "found LSN 17: 13..16 are missing"
    ]


def test_a_sealed_file_of_another_journal_is_named() -> None:
    storage, other = three_files(), MemoryStorage()
    build(other)
    journal = Journal(DIRECTORY, storage=other)
    journal.open(nobody_knows)
    journal.append_batch([entry(lsn) for lsn in range(13, 16)])
    journal.sync()
    journal.checkpoint(16_000, ())
    storage.files[FIRST] = other.files[FIRST]
    (damage,) = check(storage).damages
    assert (damage.path, damage.lsn) == (SECOND, 16)


def test_a_file_whose_name_says_another_lsn_is_named() -> None:
    storage = three_files()
    storage.files[sealed_path(DIRECTORY, 12)] = storage.files.pop(SECOND)
    assert [(one.path, one.lsn) for one in check(storage).damages] == [(sealed_path(DIRECTORY, 12), 12)]


def test_the_verdict_is_that_of_the_start() -> None:
    """The same file, the same knowledge: verify says what Journal.open would do."""
    whole = bytes(three_files().files[JOURNAL])
    sizes = [0, 7, len(whole) // 2, len(whole) - 1, len(whole)]
    for size in sizes:
        for known in (0, 16, 17, 18):
            storage = three_files()
            storage.files[JOURNAL] = bytearray(whole[:size])
            verdict = check(storage, known).verdict
            if verdict.kind is Kind.CORRUPT:
                with pytest.raises(WalCorruptError, match=rf"\[{verdict.row}\]"):
                    opened(storage, known=known)
            else:
                opened(storage, known=known)._release()


def test_a_missing_journal_is_corrupt_only_if_something_is_known() -> None:
    assert check(MemoryStorage()).verdict.row is Row.NOTHING_BAD
    assert check(MemoryStorage(), known=3).verdict.row is Row.MISSING
    storage = three_files()
    storage.unlink(JOURNAL)
    result = check(storage)
    assert (result.verdict.row, result.kind, [one.last_lsn for one in result.files]) == (
        Row.MISSING, Kind.CORRUPT, [12, 16],
    )  # fmt: skip


def test_an_entry_that_the_engine_is_writing_is_not_torn() -> None:
    storage = three_files()
    whole = bytes(storage.files[JOURNAL])
    opened(storage).append_batch([entry(18)])
    grown = bytes(storage.files[JOURNAL])
    for size in range(len(whole) + 1, len(grown)):
        storage.files[JOURNAL] = bytearray(grown[:size])
        assert (check(storage, 17).kind, check(storage, 17).is_growing) == (Kind.TORN, False)
        live = check(storage, 17, is_live=True)
        assert (live.kind, live.is_growing, live.verdict.lsn) == (Kind.CLEAN, True, 17)
        assert check(storage, 18, is_live=True).kind is Kind.CORRUPT, "18 was acknowledged"
    storage.files[JOURNAL] = bytearray(grown)
    storage.files[JOURNAL][-1] ^= 1
    assert check(storage, 17, is_live=True).kind is Kind.TORN, "nobody writes a wrong crc32"


def test_the_second_name_of_a_roll_that_was_cut_short_is_no_sealed_file() -> None:
    """R5: the next start removes it."""
    storage = MemoryStorage()
    build(storage)
    storage.link(JOURNAL, FIRST)
    result = check(storage)
    assert (result.kind, result.sealed) == (Kind.CLEAN, ())


class Rolling(WatchedStorage):
    """Does something to the files when a path is opened for the n-th time."""

    def __init__(self, storage: MemoryStorage, path: Path, number: int, act: Callable[[], object]) -> None:
        super().__init__(storage)
        self.path, self.number, self.act = path, number, act

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:
        if path == self.path:
            self.number -= 1
            if self.number == 0:
                self.act()
        return super().open(path, create=create, read_only=read_only)


@pytest.mark.parametrize("number", [1, 2])
def test_a_roll_during_verification_makes_no_damage(number: int) -> None:
    inner = MemoryStorage()
    journal = rolled(inner)
    storage = Rolling(inner, JOURNAL, number, lambda: journal.checkpoint(17_000, ()))
    result = check_journal(storage, DIRECTORY, lambda journal_id: journal.tail_lsn, is_live=True)
    assert (result.kind, result.verdict.row) == (Kind.CLEAN, Row.NOTHING_BAD)
    assert storage.number <= 0
    assert result.files[-1].last_lsn == 17


def test_a_roll_after_the_journal_was_read_adds_no_file_twice() -> None:
    inner = MemoryStorage()
    journal = rolled(inner)
    storage = Rolling(inner, FIRST, 1, lambda: journal.checkpoint(17_000, ()))
    result = check_journal(storage, DIRECTORY, nobody_knows, is_live=True)
    assert (result.kind, [one.first_lsn for one in result.files]) == (Kind.CLEAN, [1, 13])


def test_files_that_are_packed_or_removed_meanwhile_make_no_damage() -> None:
    inner = three_files()
    pack_first = Rolling(inner, FIRST, 1, lambda: pack_sealed(inner, list_sealed(inner, DIRECTORY)[0]))
    result = check_journal(pack_first, DIRECTORY, nobody_knows, is_live=True)
    assert (result.kind, [one.entries for one in result.files]) == (Kind.CLEAN, [12, 4, 1])

    inner = three_files()

    def remove_both() -> None:
        inner.unlink(FIRST)
        inner.unlink(SECOND)

    result = check_journal(Rolling(inner, SECOND, 1, remove_both), DIRECTORY, nobody_knows, is_live=True)
    assert (result.kind, [one.first_lsn for one in result.files]) == (Kind.CLEAN, [17])


def test_kept_copies_are_listed() -> None:
    storage = three_files()
    for name in ("journal.wal.torn-4", "journal.wal.damaged-9.1", "journal.wal.lock", "journal.wal.new"):
        storage.files[DIRECTORY / name] = bytearray()
    assert [path.name for path in check(storage).kept_copies] == ["journal.wal.damaged-9.1", "journal.wal.torn-4"]


def test_a_watermark_that_says_nothing_is_told() -> None:
    storage = three_files()
    assert not check(storage).mark_is_damaged
    storage.files[DIRECTORY / "watermark"] = bytearray(b"x" * 1024)
    assert check(storage).mark_is_damaged


def test_one_file_alone_is_judged_with_nothing_known() -> None:
    storage = three_files()
    content = bytes(storage.files[SECOND])
    whole = len(content)
    for size, kind, sealed_kind in (
        (whole, Kind.CLEAN, Kind.CLEAN), (whole - 1, Kind.TORN, Kind.CORRUPT), (0, Kind.CLEAN, Kind.CORRUPT)
    ):  # fmt: skip
        file = storage_with(content[:size]).open(JOURNAL)
        assert check_file(file, SECOND, is_sealed=False).kind is kind
        file = storage_with(content[:size]).open(JOURNAL)
        assert check_file(file, SECOND, is_sealed=True).kind is sealed_kind
