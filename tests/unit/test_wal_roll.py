"""Checkpoint and roll: the order of syncs and renames, what a crash in between leaves, and serving across files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wal_journals import DIRECTORY, JOURNAL_ID, WatchedStorage, build, entry, first_entry, knows, nobody_knows

from protocol.errors import WalCorruptError, WalError, WalSyncError
from protocol.records import Checkpoint, EntryType, Producer, decode_record
from protocol.wal.format import iterate_payload
from protocol.wal.history import read_history
from protocol.wal.journal import Journal
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import MemoryStorage, RealStorage, Storage
from protocol.wal.watermark import Mark

STATES = (("strategy.sma", 9, b"older"), ("risk", 12, b"state"))
SEALED = sealed_path(DIRECTORY, 1).name


def opened(storage: Storage, directory: Path = DIRECTORY, known: int = 0) -> Journal:
    journal = Journal(directory, storage=storage)
    journal.open(knows(known))
    return journal


def rolled(storage: Storage, directory: Path = DIRECTORY) -> Journal:
    """Twelve entries, a CHECKPOINT with LSN 13, and three more."""
    build(storage, directory)
    journal = opened(storage, directory)
    assert journal.checkpoint(13_000, STATES) == 13
    journal.append_batch([entry(lsn) for lsn in (14, 15, 16)])
    journal.sync()
    return journal


def lsns(payload: bytes) -> list[int]:
    return [envelope.lsn for envelope, _, _ in iterate_payload(payload)]


def read_all(journal: Journal, from_lsn: int, bytes_max: int) -> Iterator[int]:
    while True:
        _, count, payload = journal.read(from_lsn, bytes_max)
        if not count:
            return
        yield from lsns(payload)
        from_lsn += count


def test_a_roll_syncs_links_and_renames_in_the_designs_order() -> None:
    storage = WatchedStorage()
    build(storage)
    journal = opened(storage)
    storage.calls.clear()
    journal.checkpoint(13_000, STATES)
    size = storage.inner.open(DIRECTORY / "journal.wal").size()
    assert storage.calls == [
        "truncate journal.wal.new 0",
        f"write journal.wal.new 0+{size}",
        "sync journal.wal.new",
        f"link journal.wal {SEALED}",
        "sync directory",
        "rename journal.wal.new journal.wal",
        "sync directory",
    ]


def test_a_checkpoint_has_the_next_lsn_links_to_the_sealed_file_and_holds_what_a_start_needs() -> None:
    storage = MemoryStorage()
    journal = rolled(storage)
    first, count, payload = journal.read(0, 1 << 20)
    assert (first, count, journal.first_lsn, journal.tail_lsn, journal.durable_lsn) == (13, 4, 13, 16, 16)
    envelope, _, data = next(iterate_payload(payload))
    assert (envelope.entry_type, envelope.lsn, envelope.durable_lsn) == (EntryType.CHECKPOINT, 13, 12)
    record = decode_record(EntryType.CHECKPOINT, data)
    assert isinstance(record, Checkpoint)
    assert record.journal_id == JOURNAL_ID
    assert record.run == first_entry()[4]
    assert record.run_lsn == 1
    assert record.producers == ((Producer.WAL, 1), (Producer.RISK, 11), (Producer.SUPERVISOR, 1))
    assert record.states == (("risk", 12, b"state"), ("strategy.sma", 9, b"older"))
    history = list(read_history(DIRECTORY, storage=storage))
    assert [envelope.lsn for envelope, _, _ in history] == list(range(1, 17))


def test_the_next_life_goes_on_from_the_checkpoint() -> None:
    storage = MemoryStorage()
    rolled(storage)._release()
    journal = opened(storage)
    assert (journal.first_lsn, journal.tail_lsn, journal.journal_id) == (13, 16, JOURNAL_ID)
    assert journal.last_producer_seq == {Producer.WAL: 1, Producer.RISK: 15, Producer.SUPERVISOR: 1}
    assert journal.last_run is not None
    assert journal.last_run_lsn == 1
    assert journal.checkpoint_states == {"risk": (12, b"state"), "strategy.sma": (9, b"older")}
    assert journal.checkpoint(17_000, ()) == 17
    assert [file.first_lsn for file in list_sealed(storage, DIRECTORY)] == [1, 13]


@pytest.mark.parametrize("bytes_max", [1, 150, 1 << 20])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["same life", "next life"])
def test_consumers_are_served_across_files(bytes_max: int, is_restarted: bool) -> None:
    storage = MemoryStorage()
    journal = rolled(storage)
    journal.checkpoint(17_000, STATES)
    if is_restarted:
        journal._release()
        journal = opened(storage)
    for from_lsn in (1, 5, 12, 13, 16, 17):
        assert list(read_all(journal, from_lsn, bytes_max)) == list(range(from_lsn, 18))


def test_what_was_removed_or_is_damaged_is_not_served() -> None:
    storage = MemoryStorage()
    rolled(storage)._release()
    content = storage.files[DIRECTORY / SEALED]
    content[-1] ^= 1
    journal = opened(storage)
    assert journal.read(11, 1)[1] == 1
    assert journal.read(12, 1)[1] == 0, "its CRC is wrong"
    storage.unlink(DIRECTORY / SEALED)
    assert journal.read(11, 1)[1] == 0
    assert journal.read(13, 1)[1] == 1


def test_a_packed_sealed_file_is_served_and_read_like_a_plain_one(tmp_path: Path) -> None:
    storage = RealStorage()
    journal = rolled(storage, tmp_path)
    before = list(read_history(tmp_path))
    packed = pack_sealed(storage, list_sealed(storage, tmp_path)[0])
    assert packed.path.name == SEALED + ".zst"
    assert [file.path for file in list_sealed(storage, tmp_path)] == [packed.path]
    assert list(read_history(tmp_path)) == before
    journal._release()
    assert list(read_all(opened(storage, tmp_path), 1, 100)) == list(range(1, 17))


def test_a_checkpoint_that_does_not_fit_is_dropped_and_the_journal_goes_on() -> None:
    storage = WatchedStorage()
    build(storage)
    journal = opened(storage)
    storage.fail_at = "write journal.wal.new"
    with pytest.raises(WalError) as raised:
        journal.checkpoint(13_000, STATES)
    assert not isinstance(raised.value, WalSyncError)
    journal.append_batch([entry(13)])
    journal.sync()
    assert journal.checkpoint(14_000, STATES) == 14


@pytest.mark.parametrize("call", ["link", "sync directory", "rename"])
def test_a_disk_that_fails_in_mid_roll_is_final_and_the_next_life_has_everything(call: str) -> None:
    storage = WatchedStorage()
    build(storage)
    journal = opened(storage)
    storage.fail_at = call
    with pytest.raises(WalSyncError):
        journal.checkpoint(13_000, STATES)
    with pytest.raises(WalSyncError):
        journal.append_batch([entry(13)])
    journal._release()
    again = opened(storage, known=12)
    assert again.tail_lsn in (12, 13)
    again.append_batch([entry(again.tail_lsn + 1)])
    again.sync()
    again._release()
    assert opened(storage).tail_lsn == again.tail_lsn


def test_a_second_name_and_a_new_file_left_by_a_crash_are_removed_at_open() -> None:
    """R5: else the sealed file would go on growing with the journal."""
    storage = MemoryStorage()
    build(storage)
    storage.link(DIRECTORY / "journal.wal", DIRECTORY / SEALED)
    storage.files[DIRECTORY / "journal.wal.new"] = bytearray(b"half a checkpoint")
    storage.files[DIRECTORY / "journal-00000000000000000001.wal.zst.new"] = bytearray(b"half")
    opened(storage)
    assert storage.list_names(DIRECTORY) == ["journal.wal", "watermark"]


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100], ids=["no file", "empty", "garbage"])
def test_a_sealed_file_without_a_journal_is_corrupt(content: bytes | None) -> None:
    """W1: power may not take a journal whose roll was on disk."""
    storage = MemoryStorage()
    rolled(storage)._release()
    storage.files.pop(DIRECTORY / "watermark", None)
    if content is None:
        storage.unlink(DIRECTORY / "journal.wal")
    else:
        storage.files[DIRECTORY / "journal.wal"] = bytearray(content)
    with pytest.raises(WalCorruptError, match="a sealed file exists"):
        opened(storage)


def test_a_watermark_of_before_the_roll_neither_hides_damage_nor_refuses_the_start() -> None:
    storage = MemoryStorage()
    build(storage)
    journal = opened(storage)
    journal.write_watermark()
    journal.checkpoint(13_000, STATES)
    journal._release()
    again = opened(storage)
    assert (again.tail_lsn, again._watermark.read()) == (13, Mark(JOURNAL_ID, 12, _crc_of(storage, 12)))
    again._release()
    wrong = storage.files[DIRECTORY / "journal.wal"]
    wrong[0] ^= 1
    with pytest.raises(WalCorruptError):
        opened(storage)


def _crc_of(storage: Storage, lsn: int) -> int:
    return next(crc for envelope, crc, _ in read_history(DIRECTORY, storage=storage) if envelope.lsn == lsn)


def test_a_checkpoint_waits_for_the_disk() -> None:
    storage = MemoryStorage()
    build(storage)
    journal = opened(storage)
    journal.append_batch([entry(13)])
    with pytest.raises(WalError, match="on disk"):
        journal.checkpoint(1, ())
    new = Journal(Path("/other"), storage=storage)
    new.open(nobody_knows)
    with pytest.raises(WalError):
        new.checkpoint(1, ())


def test_history_refuses_a_gap_and_a_file_that_does_not_follow() -> None:
    storage = MemoryStorage()
    rolled(storage)
    journal = opened_copy(storage)
    journal.checkpoint(17_000, ())
    journal._release()
    middle = sealed_path(DIRECTORY, 13)
    assert [e.lsn for e, _, _ in read_history(DIRECTORY, from_lsn=14, storage=storage)] == [14, 15, 16, 17]
    content = storage.files.pop(middle)
    with pytest.raises(WalCorruptError, match="LSN 13"):
        list(read_history(DIRECTORY, storage=storage))
    storage.files[middle] = content
    del storage.files[DIRECTORY / SEALED][-60:]
    with pytest.raises(WalCorruptError):
        list(read_history(DIRECTORY, storage=storage))
    storage.unlink(DIRECTORY / SEALED)
    assert [e.lsn for e, _, _ in read_history(DIRECTORY, storage=storage)] == [13, 14, 15, 16, 17], "kept no longer"


def opened_copy(storage: MemoryStorage) -> Journal:
    storage._held.clear()
    return opened(storage)
