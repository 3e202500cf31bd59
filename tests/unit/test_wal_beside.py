"""What stands beside journal.wal and is none of its own: another journal's files, and files under a sealed name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog.testing
from test_wal_history import three_files
from test_wal_roll import opened, rolled
from wal_journals import DIRECTORY, build, entry, first_entry, journal_bytes, nobody_knows

from protocol.errors import WalCorruptError, WalError, WalNotAFileError, WalSyncError
from protocol.wal.beside import is_in_the_way
from protocol.wal.journal import Journal
from protocol.wal.recovery import Kind, Row
from protocol.wal.repair import NothingToRepairError, plan_repair
from protocol.wal.sealed import SealedFile, pack_sealed, packed_path, sealed_path
from protocol.wal.storage import MemoryStorage, RealStorage
from protocol.wal.verify import Examination, check_journal

JOURNAL = DIRECTORY / "journal.wal"
WATERMARK = DIRECTORY / "watermark"
OTHER_ID = b"another journal!"


def other_journal() -> bytes:
    """Of one entry."""
    storage = MemoryStorage()
    journal = Journal(DIRECTORY, storage=storage)
    journal.open(nobody_knows)
    journal.create(OTHER_ID, first_entry(OTHER_ID))
    return bytes(storage.files[JOURNAL])


def check(storage: MemoryStorage) -> Examination:
    return check_journal(storage, DIRECTORY, nobody_knows)


# Another journal's file.


@pytest.mark.parametrize("beside", ["watermark", "sealed", "packed"])
def test_another_journals_file_in_its_place_is_refused_by_open_verify_and_repair(tmp_path: Path, beside: str) -> None:
    storage = RealStorage()
    journal = rolled(storage, tmp_path)
    journal.close() if beside == "watermark" else journal._release()
    (tmp_path / "journal.wal").write_bytes(other_journal())
    if beside == "packed":
        pack_sealed(storage, SealedFile(1, sealed_path(tmp_path, 1)))
    result = check_journal(storage, tmp_path, nobody_knows)
    assert (result.kind, result.verdict.row) == (Kind.CORRUPT, Row.OTHER_HISTORY)
    with pytest.raises(NothingToRepairError, match=f"of journal {OTHER_ID.hex()}, and the .* of journal 000"):
        plan_repair(result, storage.list_names(tmp_path))
    with pytest.raises(WalCorruptError, match=f"found journal {OTHER_ID.hex()}"):
        opened(storage, tmp_path)
    assert (tmp_path / "journal.wal").read_bytes() == other_journal()


def test_a_sealed_file_that_cannot_be_read_says_nothing_of_whose_journal_it_is() -> None:
    storage = three_files()
    storage.files[sealed_path(DIRECTORY, 13)][:] = b"x" * 100
    assert opened(storage).tail_lsn == 17


# A file where a roll seals.


@pytest.mark.parametrize("name", [sealed_path(DIRECTORY, 1), packed_path(sealed_path(DIRECTORY, 1))])
def test_a_file_where_a_roll_would_seal_drops_the_checkpoint_and_ends_no_journal(name: Path) -> None:
    storage = MemoryStorage()
    build(storage)
    journal = opened(storage)
    storage.files[name] = bytearray(b"somebody's")
    with pytest.raises(WalError, match=rf"{name.name} is there.*moved away"):
        journal.checkpoint(13_000, [])
    assert journal.path.with_name("journal.wal.new") not in storage.files
    journal.append_batch([entry(13)])
    journal.sync()
    del storage.files[name]
    assert journal.checkpoint(14_000, []) == 14


@pytest.mark.parametrize("size", [0, 100, None])
@pytest.mark.parametrize("packed", [False, True])
def test_a_copy_of_the_journal_under_its_sealed_name_is_removed_at_open(
    tmp_path: Path, size: int | None, packed: bool
) -> None:
    """As a copied directory has it, where a roll was cut short and the names were one file."""
    storage, name = RealStorage(), sealed_path(tmp_path, 1)
    build(storage, tmp_path)
    name.write_bytes(journal_bytes()[:size])
    if packed:
        pack_sealed(storage, SealedFile(1, name))
    assert not check_journal(storage, tmp_path, nobody_knows).damages
    journal = opened(storage, tmp_path)
    assert not name.exists()
    assert not packed_path(name).exists()
    assert journal.checkpoint(13_000, []) == 13


@pytest.mark.parametrize("first_lsn", [13, 15, 40])
def test_any_other_file_from_the_journals_first_lsn_on_is_named_and_left(first_lsn: int) -> None:
    storage = MemoryStorage()
    rolled(storage)._release()
    name = sealed_path(DIRECTORY, first_lsn)
    storage.files[name] = bytearray(journal_bytes() + b"more")
    result = check(storage)
    assert (result.kind, result.verdict.kind) == (Kind.CORRUPT, Kind.CLEAN)
    assert [(damage.path, damage.lsn) for damage in result.damages] == [(name, first_lsn)]
    with structlog.testing.capture_logs() as logs:
        assert opened(storage).tail_lsn == 16
    assert [log["file"] for log in logs if log["event"] == "sealed_file_in_the_way"] == [str(name)]
    assert name in storage.files


def test_what_a_roll_has_just_linked_is_not_in_the_way() -> None:
    storage = MemoryStorage()
    build(storage)
    name = sealed_path(DIRECTORY, 1)
    storage.link(JOURNAL, name)
    assert not is_in_the_way(storage, SealedFile(1, name))
    storage.files[name] = bytearray(storage.files[name])
    assert is_in_the_way(storage, SealedFile(1, name))


# What another hand does to it.


@pytest.mark.parametrize("size", [0, 100, 5_000])
def test_a_journal_whose_size_another_hand_has_changed_is_written_no_more(tmp_path: Path, size: int) -> None:
    """An append would leave a hole, which the next roll would seal."""
    build(RealStorage(), tmp_path)
    journal = opened(RealStorage(), tmp_path)
    os.truncate(journal.path, size)
    with pytest.raises(WalSyncError, match=f"is {size} bytes long, and was left at"):
        journal.append_batch([entry(13)])
    with pytest.raises(WalSyncError):
        journal.checkpoint(13_000, [])
    assert journal.path.stat().st_size == size
    journal._release()


@pytest.mark.parametrize("kind", ["directory", "FIFO"])
def test_verify_names_what_is_no_file_under_a_sealed_name_and_a_start_goes_on(tmp_path: Path, kind: str) -> None:
    storage = RealStorage()
    rolled(storage, tmp_path)._release()
    name = sealed_path(tmp_path, 1)
    name.unlink()
    name.mkdir() if kind == "directory" else os.mkfifo(name)
    result = check_journal(storage, tmp_path, nobody_knows)
    assert result.verdict.kind is Kind.CLEAN
    assert (result.damages[0].path, result.damages[0].expected) == (name, "a sealed file")
    assert kind in result.damages[0].found
    assert opened(storage, tmp_path).tail_lsn == 16


def test_a_directory_where_a_new_file_is_made_is_named_at_open(tmp_path: Path) -> None:
    build(RealStorage(), tmp_path)
    (tmp_path / "journal.wal.new").mkdir()
    with pytest.raises(WalNotAFileError, match=r"journal\.wal\.new: expected a file, found a directory.*move it away"):
        opened(RealStorage(), tmp_path)
