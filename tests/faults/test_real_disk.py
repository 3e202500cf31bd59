"""The real disk under faults: strace at the calls of both logs (a part of real_disk.py), and a disk that is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_history import JOURNAL_ID, first_record, record, refused
from disks import tiny_disk
from real_disk import FAULTS, HISTORIES, StraceMissingError, cases, count_calls, run_cases

from protocol.errors import WalError, WalSyncError
from protocol.records import EntryType
from protocol.wal import Journal, WriteAheadLog
from protocol.wal.history import read_history

EVERY = 6
"""Of the calls, for each fault others; `python -m tests.faults.real_disk` takes all."""
BATCH = 5


@pytest.mark.parametrize("history", HISTORIES)
def test_a_process_that_is_killed_or_fails_at_a_call_has_lost_nothing_that_it_acknowledged(
    history: str, tmp_path: Path
) -> None:
    try:
        calls = count_calls(history, tmp_path)
    except StraceMissingError as missing:
        pytest.skip(f"{missing}: nothing else makes a call fail from outside")
    chosen = list(cases(history, calls, tuple(FAULTS), every=EVERY))
    assert {case.fault for case in chosen} == set(FAULTS)
    assert run_cases(chosen, tmp_path, workers=2) == []


def fill_log(path: Path) -> tuple[WriteAheadLog, list[bytes]]:
    """The log on a disk that is full now, and what was acknowledged."""
    log = WriteAheadLog(path)
    log.open()
    acknowledged: list[bytes] = []

    def append_all() -> None:
        for number in range(60, 1000):
            log.append(EntryType.ORDER_PLACE, record(number))
            acknowledged.append(record(number))

    with pytest.raises(WalSyncError, match="No space left"):
        append_all()
    return log, acknowledged


def test_a_log_on_a_full_disk_keeps_what_it_acknowledged_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 64) as disk:
        path = disk.path / "orders.wal"
        log, acknowledged = fill_log(path)
        assert acknowledged
        assert refused(lambda: log.append(EntryType.ORDER_PLACE, b""), log.clear, log.truncate_to_checkpoint)
        written = sum(13 + len(data) for data in acknowledged)
        assert path.stat().st_size > written, "a part of the last entry went in: a short write, then ENOSPC"
        log.close()
        with pytest.raises(WalSyncError, match="No space left"):
            WriteAheadLog(path).open()  # no room to copy the torn tail aside, so it is not cut
        disk.resize(128)
        with WriteAheadLog(path) as log:
            assert [data for _, data in log.read_all()] == acknowledged
            log.append(EntryType.ORDER_PLACE, b"there is room again")
        with WriteAheadLog(path) as log:
            assert log.entry_count == len(acknowledged) + 1


def fill_journal(directory: Path) -> Journal:
    """The journal on a disk that is full now."""
    journal = Journal(directory)
    journal.open(lambda journal_id: 0)
    journal.create(JOURNAL_ID, (12, 1, 5, 1, first_record()))

    def append_all() -> None:
        for first in range(2, 1000, BATCH):
            journal.append_batch((13, lsn, 2, lsn, record(lsn)) for lsn in range(first, first + BATCH))
            journal.sync()

    with pytest.raises(WalSyncError, match="No space left"):
        append_all()
    return journal


def entries(directory: Path) -> list[bytes]:
    return [data for _, _, data in read_history(directory)]


def test_a_journal_on_a_full_disk_keeps_what_it_acknowledged_and_goes_on_in_a_copy_when_there_is_room(
    tmp_path: Path,
) -> None:
    with tiny_disk(tmp_path / "disk", 64) as disk:
        journal = fill_journal(disk.path)
        known = journal.durable_lsn
        assert known > BATCH
        late = [(13, 1, 2, 1, b"late")]
        assert refused(lambda: journal.append_batch(late), journal.sync, journal.write_watermark)
        journal.close()
        size = (disk.path / "journal.wal").stat().st_size
        with pytest.raises(WalSyncError, match="No space left"):
            Journal(disk.path).open(lambda journal_id: known, fresh_file=True)
        assert sorted(path.name for path in disk.path.iterdir()) == ["journal.wal", "journal.wal.lock", "watermark"]
        disk.resize(256)
        again = Journal(disk.path)
        recovery = again.open(lambda journal_id: known, fresh_file=True)
        assert recovery.kept is not None
        assert recovery.kept.stat().st_size == size, "the old file is kept as it was"
        assert again.tail_lsn >= known
        again.append_batch([(13, 1, 2, 1, record(again.tail_lsn + 1))])
        again.close()
        assert entries(disk.path) == [first_record(), *map(record, range(2, again.tail_lsn + 1))]


def test_a_checkpoint_that_does_not_fit_is_dropped_and_the_journal_goes_on(tmp_path: Path) -> None:
    def roll(journal: Journal) -> int:
        return journal.checkpoint(1, [("risk", journal.tail_lsn, bytes(8 * 1024))])

    with tiny_disk(tmp_path / "disk", 64) as disk:
        journal = Journal(disk.path)
        journal.open(lambda journal_id: 0)
        journal.create(JOURNAL_ID, (12, 1, 5, 1, first_record()))
        disk.fill(leave=4 * 1024)
        with pytest.raises(WalError, match="no checkpoint") as error:
            roll(journal)
        assert not isinstance(error.value, WalSyncError)
        assert disk.free == 4 * 1024, "what it had written is gone again"
        journal.append_batch([(13, 1, 2, 2, record(2))])
        journal.sync()
        disk.make_room()
        assert roll(journal) == 3
        journal.close()
        assert entries(disk.path)[:2] == [first_record(), record(2)]


def test_a_full_disk_refuses_a_new_journal_for_good_and_leaves_nothing_that_the_next_start_minds(
    tmp_path: Path,
) -> None:
    with tiny_disk(tmp_path / "disk", 64) as disk:
        disk.fill()
        journal = Journal(disk.path / "wal")
        with pytest.raises(WalSyncError):
            new_journal(journal)
        journal.close()
        disk.make_room()
        new_journal(again := Journal(disk.path / "wal"))
        again.close()
        assert entries(disk.path / "wal") == [first_record()]


def new_journal(journal: Journal) -> None:
    journal.open(lambda journal_id: 0)
    journal.create(JOURNAL_ID, (12, 1, 5, 1, first_record()))
