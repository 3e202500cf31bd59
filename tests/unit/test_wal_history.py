"""The journal's files read as one: where reading begins, what is missing, and what changes while it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_wal_roll import opened_copy, rolled
from wal_journals import DIRECTORY, JOURNAL_ID, WatchedStorage, first_entry, nobody_knows

from protocol.errors import WalCorruptError, WalTornTailError
from protocol.wal.history import first_lsn_since, read_history
from protocol.wal.journal import Journal
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import File, MemoryStorage, RealStorage, Storage

JOURNAL = DIRECTORY / "journal.wal"


def three_files() -> MemoryStorage:
    """LSN 1..12 and 13..16 sealed, 17 in journal.wal."""
    storage = MemoryStorage()
    rolled(storage)
    journal = opened_copy(storage)
    journal.checkpoint(17_000, ())
    journal._release()
    return storage


def lsns_and_error(storage: Storage) -> tuple[list[int], str]:
    read: list[int] = []
    try:
        for envelope, _, _ in read_history(DIRECTORY, storage=storage):
            read.append(envelope.lsn)
    except (WalCorruptError, WalTornTailError) as error:
        return read, str(error)
    return read, ""


def test_what_is_sealed_is_read_and_the_missing_journal_named() -> None:
    storage = three_files()
    storage.unlink(JOURNAL)
    read, error = lsns_and_error(storage)
    assert read == list(range(1, 17))
    assert "expected a file that begins with LSN 17, found none" in error


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"torn"], ids=["empty", "zeros", "too short"])
def test_what_is_sealed_is_read_before_a_journal_whose_first_entry_cannot_be(content: bytes) -> None:
    storage = three_files()
    storage.files[JOURNAL] = bytearray(content)
    read, error = lsns_and_error(storage)
    assert read == list(range(1, 17))
    assert str(DIRECTORY) in error


def test_a_missing_file_in_the_middle_is_named_also_before_a_journal_that_cannot_be_read() -> None:
    storage = three_files()
    storage.unlink(sealed_path(DIRECTORY, 13))
    assert "found a file that begins with LSN 17" in lsns_and_error(storage)[1]
    storage.files[JOURNAL] = bytearray(b"\0" * 100)
    read, error = lsns_and_error(storage)
    assert (read, "magic" in error) == (list(range(1, 13)), True)


@pytest.mark.parametrize(("first_lsn", "read"), [(1, []), (13, list(range(1, 13)))])
def test_an_empty_sealed_file_is_damage_and_does_not_hold_the_reader(first_lsn: int, read: list[int]) -> None:
    storage = three_files()
    storage.files[sealed_path(DIRECTORY, first_lsn)].clear()
    found, error = lsns_and_error(storage)
    assert found == read
    assert f"(LSN {first_lsn}): expected entries in a sealed file, found an empty file" in error


def test_without_any_file_there_is_nothing_to_read() -> None:
    with pytest.raises(FileNotFoundError):
        list(read_history(DIRECTORY, storage=MemoryStorage()))


class Watching(WatchedStorage):
    """Packs the first sealed file between the look at the directory and the opening."""

    packed = False

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:
        if path == sealed_path(DIRECTORY, 1) and not self.packed:
            self.packed = True
            pack_sealed(self.inner, list_sealed(self.inner, DIRECTORY)[0])
        return super().open(path, create=create, read_only=read_only)


def test_a_file_that_is_packed_under_the_reader_is_found_again() -> None:
    storage = Watching(three_files())
    assert lsns_and_error(storage) == (list(range(1, 18)), "")
    assert storage.packed


def test_reading_begins_with_the_file_that_was_the_journal_then(tmp_path: Path) -> None:
    storage = RealStorage()
    journal = rolled(storage, tmp_path)
    journal.checkpoint(17_000, ())
    journal._release()
    pack_sealed(storage, list_sealed(storage, tmp_path)[0])
    begins = {0: 1, 1_000: 1, 12_999: 1, 13_000: 13, 16_999: 13, 99_999: 13}
    assert {since_us: first_lsn_since(tmp_path, since_us) for since_us in begins} == begins
    assert first_lsn_since(tmp_path / "nowhere", 5) == 1


class ListedStorage(MemoryStorage):
    """Counts how often the directory is listed."""

    listed = 0

    def list_names(self, directory: Path) -> list[str]:
        self.listed += 1
        return super().list_names(directory)


def many_files(count: int) -> tuple[ListedStorage, Journal]:
    """So many sealed files, each of one entry and a CHECKPOINT before it (but the first)."""
    storage = ListedStorage()
    journal = Journal(DIRECTORY, storage=storage, recent_bytes_max=0)
    journal.open(nobody_knows)
    journal.create(JOURNAL_ID, first_entry())
    for _ in range(count):
        journal.checkpoint(1_000, ())
    storage.listed = 0
    return storage, journal


def test_the_directory_is_listed_once_for_a_pass_and_once_at_its_end_however_many_files_there_are() -> None:
    storage, journal = many_files(50)
    journal._release()
    assert [envelope.lsn for envelope, _, _ in read_history(DIRECTORY, storage=storage)] == list(range(1, 52))
    assert storage.listed == 2


def test_a_consumer_that_is_served_from_sealed_files_lists_the_directory_once() -> None:
    storage, journal = many_files(50)
    for lsn in range(1, 30):
        assert journal.read(lsn, 1 << 20)[1] == 1
    journal.checkpoint(2_000, ())
    for lsn in range(30, 53):
        assert journal.read(lsn, 1 << 20)[1] == 1
    assert storage.listed == 1
    storage.unlink(sealed_path(DIRECTORY, 1))
    assert journal.read(1, 1 << 20)[1] == 0
    assert journal.read(2, 1 << 20)[1] == 1
