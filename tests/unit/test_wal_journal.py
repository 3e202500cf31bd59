"""Journal: recovery, group commit, serving, and what happens when the disk fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from wal_journals import (
    BATCHES,
    DIRECTORY,
    JOURNAL_ID,
    WatchedStorage,
    build,
    durable_before,
    entry,
    first_entry,
    journal_bytes,
    knows,
    nobody_knows,
    run_record,
    storage_with,
)

from protocol.errors import (
    WalCorruptError,
    WalError,
    WalLockedError,
    WalSyncError,
    WalTornTailError,
    WireError,
)
from protocol.records import EntryType, Producer, RunEvent, encode_record
from protocol.wal.format import ENVELOPE, HEADER, LENGTH_MAX, Envelope, iterate_payload
from protocol.wal.journal import Journal, read_journal
from protocol.wal.recovery import Kind, Row
from protocol.wal.storage import MemoryStorage, RealStorage, Storage
from protocol.wal.watermark import Mark, encode_slot

ENTRIES = sum(BATCHES)
JOURNAL = DIRECTORY / "journal.wal"
WATERMARK = DIRECTORY / "watermark"


def opened(storage: Storage, known_lsn: int = 0, *, length_max: int = LENGTH_MAX) -> Journal:
    journal = Journal(DIRECTORY, storage=storage, length_max=length_max)
    journal.open(knows(known_lsn))
    return journal


def created(storage: Storage, *, sync: str = "always", recent_bytes_max: int = 1 << 20) -> Journal:
    journal = Journal(DIRECTORY, storage=storage, sync=sync, recent_bytes_max=recent_bytes_max)
    journal.open(nobody_knows)
    journal.create(JOURNAL_ID, first_entry())
    return journal


def lsns_of(payload: bytes) -> list[int]:
    return [envelope.lsn for envelope, _, _ in iterate_payload(payload)]


def all_of(storage: Storage) -> list[tuple[Envelope, int, bytes]]:
    return list(read_journal(JOURNAL, storage=storage))


# Opening.


def test_a_new_journal_and_its_directory_are_synced_before_create_returns_and_the_old_watermark_before_that() -> None:
    storage = WatchedStorage(storage_with(encode_slot(1, Mark(b"another journal!", 0, 0)) + bytes(512), "watermark"))
    journal = opened(storage)
    assert journal.is_new
    storage.calls.clear()
    journal.create(JOURNAL_ID, first_entry())
    size = len(storage.inner.files[JOURNAL])
    assert storage.calls == [
        "write watermark 0+1024", "sync watermark",
        f"write journal.wal 0+{size}", "sync journal.wal", "sync directory",
    ]  # fmt: skip
    assert (journal.is_new, journal.journal_id, journal.tail_lsn, journal.durable_lsn) == (False, JOURNAL_ID, 1, 1)


def test_create_refuses_a_first_entry_that_does_not_carry_the_journal_id() -> None:
    journal = opened(MemoryStorage())
    for wrong in (entry(2), first_entry(b"x" * 16)):
        with pytest.raises(ValueError, match="ENGINE_RUN"):
            journal.create(JOURNAL_ID, wrong)
    assert journal.is_new


def test_an_opened_journal_knows_where_it_stands() -> None:
    storage = MemoryStorage()
    build(storage)
    journal = opened(storage, ENTRIES)
    *_, (envelope, crc, _) = all_of(storage)
    assert (journal.tail_lsn, journal.durable_lsn, journal.last_crc) == (ENTRIES, ENTRIES, crc)
    assert journal.last_producer_seq == {Producer.SUPERVISOR: 1, Producer.RISK: ENTRIES - 1}
    assert (journal.last_run, journal.last_run_lsn, journal.journal_id) == (run_record(), 1, JOURNAL_ID)
    assert envelope.lsn == ENTRIES


def test_the_latest_engine_run_is_kept_when_it_is_appended_and_when_it_is_read() -> None:
    storage = MemoryStorage()
    journal = created(storage)
    stop = run_record(event=RunEvent.STOP)
    journal.append_batch([entry(2), (EntryType.ENGINE_RUN, 9, Producer.SUPERVISOR, 2, encode_record(stop))])
    assert (journal.last_run, journal.last_run_lsn) == (stop, journal.tail_lsn)
    journal.close()
    again = opened(storage)
    assert (again.last_run, again.last_run_lsn) == (stop, again.tail_lsn)


def test_the_chain_links_every_entry_and_says_how_far_the_disk_was() -> None:
    storage = MemoryStorage()
    build(storage)
    previous = 0
    for number, (envelope, crc, _) in enumerate(all_of(storage), 1):
        assert (envelope.lsn, envelope.previous_crc, envelope.durable_lsn) == (number, previous, durable_before(number))
        previous = crc


def test_good_entries_above_the_last_durable_lsn_are_rewritten_and_synced_before_anything_else() -> None:
    """R1: written by a life that was killed before its sync, found clean by this one."""
    storage = MemoryStorage()
    build(storage, sync_last=False)
    content = bytes(storage.files[JOURNAL])
    watched = WatchedStorage(storage)
    journal = Journal(DIRECTORY, storage=watched)
    recovery = journal.open(nobody_knows)
    last_batch = sum(len(data) + HEADER.size + ENVELOPE.size for _, _, data in all_of(storage)[-BATCHES[-1] :])
    assert watched.calls == [
        f"write journal.wal {len(content) - last_batch}+{last_batch}", "sync journal.wal", "sync directory",
    ]  # fmt: skip
    assert recovery.rewritten_bytes == last_batch
    assert bytes(storage.files[JOURNAL]) == content
    assert journal.durable_lsn == ENTRIES


def test_a_torn_tail_is_copied_aside_cut_and_warned_of_and_the_journal_goes_on() -> None:
    whole = journal_bytes()
    storage = storage_with(whole[:-7])
    journal = Journal(DIRECTORY, storage=storage)
    with capture_logs() as logs:
        recovery = journal.open(knows(9))
    assert (recovery.verdict.kind, recovery.verdict.row, recovery.entries) == (Kind.TORN, Row.TORN_TAIL, ENTRIES - 1)
    assert recovery.tail_copy == DIRECTORY / f"journal.wal.torn-{ENTRIES}"
    assert storage.files[DIRECTORY / f"journal.wal.torn-{ENTRIES}"] == whole[recovery.bytes : -7]
    assert [line["event"] for line in logs] == ["torn_tail_cut"]
    journal.append_batch([entry(ENTRIES)])
    journal.close()
    assert [envelope.lsn for envelope, _, _ in all_of(storage)] == list(range(1, ENTRIES + 1))


def test_the_torn_tail_is_safe_in_its_copy_before_it_is_cut() -> None:
    watched = WatchedStorage(storage_with(journal_bytes()[:-7]))
    recovery = Journal(DIRECTORY, storage=watched).open(nobody_knows)
    name = f"journal.wal.torn-{ENTRIES}"
    assert watched.calls[2:5] == [f"sync {name}", "sync directory", f"truncate journal.wal {recovery.bytes}"]


def test_a_second_torn_tail_at_the_same_place_gets_a_name_of_its_own() -> None:
    storage = storage_with(journal_bytes()[:-7])
    storage.files[DIRECTORY / f"journal.wal.torn-{ENTRIES}"] = bytearray(b"earlier")
    recovery = Journal(DIRECTORY, storage=storage).open(nobody_knows)
    assert recovery.tail_copy == DIRECTORY / f"journal.wal.torn-{ENTRIES}.1"


def test_recovery_of_a_recovered_journal_changes_nothing() -> None:
    storage = storage_with(journal_bytes()[:-7])
    opened(storage)._release()
    before = {path: bytes(data) for path, data in storage.files.items()}
    recovery = Journal(DIRECTORY, storage=storage).open(nobody_knows)
    assert recovery.verdict.kind is Kind.CLEAN
    assert {path: bytes(data) for path, data in storage.files.items()} == before


def test_a_torn_first_entry_that_nobody_acknowledged_makes_a_new_journal() -> None:
    storage = storage_with(journal_bytes()[:20])
    journal = opened(storage)
    assert journal.is_new
    journal.create(JOURNAL_ID, first_entry())
    journal.close()
    assert len(all_of(storage)) == 1


def test_the_watermark_counts_as_known() -> None:
    storage = MemoryStorage()
    build(storage)
    opened(storage).close()
    del storage.files[JOURNAL][-7:]
    with pytest.raises(WalCorruptError, match="W3"):
        opened(storage)


@pytest.mark.parametrize("cut", [0, 7])
def test_a_journal_beside_the_watermark_of_another_is_refused_torn_or_not(cut: int) -> None:
    content = journal_bytes()
    storage = storage_with(content[: len(content) - cut])
    storage.files[WATERMARK] = bytearray(encode_slot(1, Mark(b"another journal!", ENTRIES, 1)) + bytes(512))
    before = dict(storage.files)
    with pytest.raises(WalCorruptError, match=r"as the watermark is, found journal 000102.*\[W5\]"):
        opened(storage)
    assert {path: bytes(file) for path, file in storage.files.items()} == {path: bytes(f) for path, f in before.items()}


def test_the_watermark_finds_another_history_under_the_same_id() -> None:
    storage = storage_with(journal_bytes())
    storage.files[WATERMARK] = bytearray(encode_slot(1, Mark(JOURNAL_ID, 5, 1)) + bytes(512))
    with pytest.raises(WalCorruptError, match="W5"):
        opened(storage)


def test_the_watermark_never_says_more_than_the_last_sync() -> None:
    storage = MemoryStorage()
    journal = created(storage)
    durable_crc = journal.last_crc
    journal.append_batch([entry(2)])
    journal.write_watermark()
    assert encode_slot(1, Mark(JOURNAL_ID, 1, durable_crc)) in bytes(storage.files[WATERMARK])


# Writing.


def test_a_batch_is_one_write_and_nothing_is_released_before_its_sync() -> None:
    storage = WatchedStorage()
    journal = created(storage)
    storage.calls.clear()
    journal.append_batch([entry(2), entry(3), entry(4)])
    assert [call.split()[0] for call in storage.calls] == ["write"]
    assert (journal.tail_lsn, journal.durable_lsn, journal.release_lsn) == (4, 1, 1)
    assert journal.read(2, 1 << 20)[1] == 0
    assert journal.read(2, 1 << 20, to_lsn=4)[1] == 0
    journal.sync()
    assert lsns_of(journal.read(2, 1 << 20)[2]) == [2, 3, 4]


@pytest.mark.parametrize("mode", ["interval", "off"])
def test_without_sync_always_records_may_leave_at_once(mode: str) -> None:
    journal = created(MemoryStorage(), sync=mode)
    journal.append_batch([entry(2)])
    assert (journal.durable_lsn, journal.release_lsn, journal.read(2, 100)[1]) == (1, 2, 1)


def test_a_batch_with_an_entry_that_cannot_be_written_is_refused_whole() -> None:
    journal = opened(storage_with(journal_bytes()), length_max=400)
    state = (journal.tail_lsn, journal.last_crc, dict(journal.last_producer_seq), journal.size)
    too_large = (EntryType.SIGNAL_REFUSED, 1, Producer.RISK, 99, b"x" * 400)
    with pytest.raises(WalError, match="limit"):
        journal.append_batch([entry(13), too_large])
    with pytest.raises(WireError):
        journal.append_batch([entry(13), (EntryType.ENGINE_RUN, 1, Producer.SUPERVISOR, 2, b"\xc1")])
    assert (journal.tail_lsn, journal.last_crc, journal.last_producer_seq, journal.size) == state


@pytest.mark.parametrize("call", ["write journal.wal", "sync journal.wal", "write watermark", "sync watermark"])
def test_after_a_failed_write_or_sync_everything_further_is_refused(call: str) -> None:
    storage = WatchedStorage()
    journal = created(storage)

    def commit() -> None:
        journal.append_batch([entry(2)])
        journal.sync()
        journal.write_watermark()

    storage.fail_at = call
    with pytest.raises(WalSyncError, match="no space left"):
        commit()
    storage.calls.clear()
    durable_lsn = journal.durable_lsn
    for action in (lambda: journal.append_batch([entry(3)]), journal.sync, journal.write_watermark):
        with pytest.raises(WalSyncError, match="no space left"):
            action()
    journal.close()
    assert (storage.calls, journal.durable_lsn) == ([], durable_lsn)


@pytest.mark.parametrize("call", ["write journal.wal", "sync journal.wal", "sync directory", "truncate"])
def test_a_disk_that_fails_during_recovery_ends_the_start_and_frees_the_lock(call: str) -> None:
    inner = storage_with(journal_bytes(sync_last=False)[:-7])
    storage = WatchedStorage(inner)
    storage.fail_at = call
    journal = Journal(DIRECTORY, storage=storage)
    with pytest.raises(WalSyncError):
        journal.open(nobody_knows)
    with pytest.raises(WalSyncError):
        journal.open(nobody_knows)
    assert opened(inner, 9).tail_lsn == ENTRIES - 1


def test_close_syncs_writes_the_watermark_and_frees_the_lock() -> None:
    storage = WatchedStorage()
    journal = created(storage)
    journal.append_batch([entry(2)])
    storage.calls.clear()
    journal.close()
    assert storage.calls == ["sync journal.wal", "write watermark 512+512", "sync watermark"]
    assert not journal.is_open
    assert opened(storage).tail_lsn == 2


def test_a_second_writer_in_another_process_is_refused(tmp_path: Path) -> None:
    build(RealStorage(), tmp_path)
    journal = Journal(tmp_path)
    journal.open(nobody_knows)
    program = (
        "import sys; from pathlib import Path; from protocol.errors import WalLockedError\n"
        "from protocol.wal import Journal\n"
        "try: Journal(Path(sys.argv[1])).open(lambda journal_id: 0)\n"
        "except WalLockedError: sys.exit(42)"
    )
    other = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(other, check=False).returncode == 42
    with pytest.raises(WalLockedError):
        Journal(tmp_path).open(nobody_knows)
    journal.close()
    assert subprocess.run(other, check=False).returncode == 0


# Serving.


@pytest.mark.parametrize("recent_bytes_max", [0, 1000, 1 << 20], ids=["file", "file and memory", "memory"])
def test_every_position_and_size_gives_whole_entries_in_order_within_the_limits(recent_bytes_max: int) -> None:
    storage = MemoryStorage()
    journal = created(storage, recent_bytes_max=recent_bytes_max)
    lsn, ends = 1, {1}
    for size in (3, 1, 4, 1, 5, 9, 2, 6):
        journal.append_batch([entry(lsn + step + 1) for step in range(size)])
        lsn += size
        ends.add(lsn)
        journal.sync()
    content = bytes(storage.files[JOURNAL])
    sizes = {envelope.lsn: HEADER.size + ENVELOPE.size + len(data) for envelope, _, data in all_of(storage)}
    for from_lsn in range(1, lsn + 1):
        start = sum(size for number, size in sizes.items() if number < from_lsn)
        for bytes_max in (1, 100, 250, 1000, 10_000):
            for to_lsn in (from_lsn, from_lsn + 4, lsn + 10):
                first, count, payload = journal.read(from_lsn, bytes_max, to_lsn=to_lsn)
                assert (first, lsns_of(payload)) == (from_lsn, list(range(from_lsn, from_lsn + count)))
                assert content[start : start + len(payload)] == payload
                assert 1 <= count <= to_lsn - from_lsn + 1
                assert len(payload) <= bytes_max or count == 1
                # As many as fit; only where the next batch would have to be cut it may end sooner, in memory.
                following = sizes.get(from_lsn + count, 1 << 30)
                is_full = from_lsn + count > min(to_lsn, lsn) or len(payload) + following > bytes_max
                assert is_full or (recent_bytes_max and from_lsn + count - 1 in ends)


def test_position_0_means_the_first_entry_and_the_tail_has_nothing_behind_it() -> None:
    journal = opened(storage_with(journal_bytes()))
    assert journal.read(0, 1)[:2] == (1, 1)
    assert journal.read(ENTRIES + 1, 1000) == (ENTRIES + 1, 0, b"")


@pytest.mark.parametrize("recent_bytes_max", [0, 60_000, 1 << 20], ids=["file", "file and memory", "memory"])
def test_entries_are_found_far_from_the_points_of_the_index(recent_bytes_max: int) -> None:
    storage = MemoryStorage()
    journal = created(storage, recent_bytes_max=recent_bytes_max)
    journal.append_batch([entry(number) for number in range(2, 1500)])
    journal.append_batch([entry(number) for number in range(1500, 3000)])
    journal.sync()
    if not recent_bytes_max:  # as a new life finds them
        journal.close()
        journal = opened(storage)
    for lsn in (1, 2, 511, 512, 513, 514, 1025, 1499, 1500, 2011, 2012, 2048, 2999):
        assert lsns_of(journal.read(lsn, 1)[2]) == [lsn]
        _, count, payload = journal.read(lsn, 1 << 20)
        assert lsns_of(payload) == list(range(lsn, lsn + count))


# The read-only reader.


def test_the_reader_ends_with_torn_at_an_incomplete_entry_and_with_corrupt_at_a_bad_one() -> None:
    content = journal_bytes()
    for damaged, good, error in (
        (content[:-7], ENTRIES - 1, WalTornTailError),
        (content[:-1] + bytes([content[-1] ^ 1]), ENTRIES - 1, WalCorruptError),
        (content + b"\0" * 100, ENTRIES, WalCorruptError),
    ):
        reader = read_journal(JOURNAL, storage=storage_with(damaged))
        seen: list[int] = []
        with pytest.raises(error):
            seen.extend(envelope.lsn for envelope, _, _ in reader)
        assert seen == list(range(1, good + 1))


def test_the_reader_works_beside_a_writer_and_touches_nothing(tmp_path: Path) -> None:
    build(RealStorage(), tmp_path)
    journal = Journal(tmp_path)
    journal.open(nobody_knows)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert len(list(read_journal(tmp_path / "journal.wal"))) == ENTRIES
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    journal.close()


def test_entries_larger_than_a_window_and_many_windows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.wal.scan.WINDOW_BYTES", 64)
    storage = storage_with(journal_bytes())
    assert [envelope.lsn for envelope, _, _ in all_of(storage)] == list(range(1, ENTRIES + 1))
    assert opened(storage).tail_lsn == ENTRIES


# Against a list.


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.lists(st.binary(max_size=60), max_size=5),
            st.sampled_from(["sync", "close", "kill", "watermark"]),
        ),
        max_size=25,
    )
)
def test_a_journal_is_the_list_of_what_was_appended(steps: list[list[bytes] | str]) -> None:
    """Without a power loss nothing that was written goes, whether it was closed or killed."""
    storage = MemoryStorage()
    journal = created(storage)
    written, synced = [first_entry()[4]], 1
    for step in steps:
        if isinstance(step, list):
            start = len(written)
            journal.append_batch((13, 0, Producer.RISK, start + number, data) for number, data in enumerate(step))
            written += step
        elif step == "sync":
            journal.sync()
            synced = len(written)
        elif step == "watermark":
            journal.write_watermark()
        else:
            journal.close() if step == "close" else journal._release()
            journal = opened(storage, synced)
            synced = len(written)
        assert (journal.tail_lsn, journal.durable_lsn) == (len(written), synced)
        assert [data for _, _, data in all_of(storage)] == written
        _, count, payload = journal.read(1, 1 << 20)
        assert [bytes(data) for _, _, data in iterate_payload(payload)] == written[:count]
        assert count == synced
