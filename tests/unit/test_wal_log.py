"""WriteAheadLog: every method, recovery of the last entry, damage refused, and what happens when the disk fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from wal_journals import DIRECTORY, WatchedStorage
from wal_trades import write_trades

import protocol.wal
from protocol.errors import WalCorruptError, WalError, WalForeignError, WalLockedError, WalSyncError
from protocol.records import EntryType
from protocol.wal import WriteAheadLog
from protocol.wal.format import HEADER, MAGIC_BYTES, encode_entry
from protocol.wal.log import LENGTH_FIELD
from protocol.wal.sealed import sealed_path
from protocol.wal.storage import SECTOR_BYTES, MemoryStorage, RealStorage

PATH = DIRECTORY / "plain.wal"
PLACE, UPDATE, CHECKPOINT = EntryType.ORDER_PLACE, EntryType.ORDER_UPDATE, EntryType.CHECKPOINT
ENTRIES = [(PLACE, b"buy"), (UPDATE, b""), (CHECKPOINT, b"\0"), (PLACE, bytes(range(200))), (UPDATE, b"filled")]


def content_of(entries: list[tuple[EntryType, bytes]]) -> bytes:
    return b"".join(encode_entry(entry_type, data) for entry_type, data in entries)


def storage_with(content: bytes) -> MemoryStorage:
    storage = MemoryStorage()
    storage.files[PATH] = bytearray(content)
    return storage


def opened(content: bytes = b"", **options: int) -> WriteAheadLog:
    log = WriteAheadLog(PATH, storage=storage_with(content), **options)
    log.open()
    return log


def test_the_file_is_the_entries_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "plain.wal"
    with WriteAheadLog(path) as log:
        for entry_type, data in ENTRIES:
            log.append(entry_type, data)
        assert path.read_bytes() == content_of(ENTRIES)
        assert log.read_all() == ENTRIES
        assert (log.entry_count, log.bytes_written) == (5, len(content_of(ENTRIES)))
    assert not log.is_open
    assert content_of([(PLACE, b"buy")]).hex(" ") == "57 54 51 48 04 03 00 00 00 77 82 83 cf 62 75 79"


def test_what_was_appended_is_there_after_a_reopen_and_bytes_written_counts_from_open(tmp_path: Path) -> None:
    log = WriteAheadLog(str(tmp_path / "plain.wal"))
    for number in range(3):
        log.open()
        assert (log.is_open, log.entry_count, log.bytes_written) == (True, number, 0)
        log.append(PLACE, bytes([number]))
        assert log.bytes_written == HEADER.size + 1
        log.close()
    log.open()
    assert log.read_all() == [(PLACE, b"\0"), (PLACE, b"\1"), (PLACE, b"\2")]
    log.close()


def test_open_with_truncate_starts_empty_even_over_damage() -> None:
    log = WriteAheadLog(PATH, storage=storage_with(b"garbage that is no log"))
    log.open(truncate=True)
    assert (log.entry_count, log.read_all()) == (0, [])
    log.append(PLACE, b"first")
    assert log.read_all() == [(PLACE, b"first")]


def test_every_append_is_written_and_synced_when_it_returns() -> None:
    storage = WatchedStorage()
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    assert storage.calls[-2:] == ["sync plain.wal", "sync directory"]
    storage.calls.clear()
    log.append(PLACE, b"buy")
    assert storage.calls == ["write plain.wal 0+16", "sync plain.wal"]


def test_the_last_entry_is_written_again_and_synced_at_open() -> None:
    """R1: a life killed between its write and its sync leaves an entry that only the page cache has."""
    storage = WatchedStorage(storage_with(content_of(ENTRIES)))
    WriteAheadLog(PATH, storage=storage).open()
    size, last = len(content_of(ENTRIES)), HEADER.size + len(ENTRIES[-1][1])
    assert storage.calls == [f"write plain.wal {size - last}+{last}", "sync plain.wal", "sync directory"]


def test_read_uncommitted_gives_what_follows_the_last_checkpoint_or_all_if_there_is_none() -> None:
    log = opened()
    log.append(PLACE, b"1")
    assert log.read_uncommitted() == [(PLACE, b"1")]
    log.mark_checkpoint()
    assert log.read_uncommitted() == []
    log.append(PLACE, b"2")
    log.mark_checkpoint(b"state")
    log.append(PLACE, b"3")
    assert log.read_uncommitted() == [(PLACE, b"3")]
    assert [data for entry_type, data in log.read_all() if entry_type is CHECKPOINT] == [b"\0", b"state"]


def test_truncate_to_checkpoint_keeps_the_last_checkpoint_and_what_follows() -> None:
    storage = storage_with(content_of([(PLACE, b"0"), (CHECKPOINT, b"old"), *ENTRIES]))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    log.truncate_to_checkpoint()
    assert log.read_all() == ENTRIES[2:]
    assert (log.entry_count, log.bytes_written) == (3, 0)
    log.append(PLACE, b"more")
    log.close()
    log.open()
    assert log.read_all() == [*ENTRIES[2:], (PLACE, b"more")]


@pytest.mark.parametrize("entries", [[], [(PLACE, b"1")], [(CHECKPOINT, b"\0"), (PLACE, b"1")]])
def test_truncate_to_checkpoint_does_nothing_where_nothing_lies_before_one(
    entries: list[tuple[EntryType, bytes]],
) -> None:
    storage = WatchedStorage(storage_with(content_of(entries)))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    storage.calls.clear()
    log.truncate_to_checkpoint()
    assert (storage.calls, log.read_all()) == ([], entries)


def test_truncate_to_checkpoint_is_new_file_sync_rename_directory_sync() -> None:
    storage = WatchedStorage(storage_with(content_of(ENTRIES)))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    storage.calls.clear()
    log.truncate_to_checkpoint()
    size = len(content_of(ENTRIES[2:]))
    assert storage.calls == [
        "truncate plain.wal.new 0", f"write plain.wal.new 0+{size}", "sync plain.wal.new",
        "rename plain.wal.new plain.wal", "sync directory",
    ]  # fmt: skip


@pytest.mark.parametrize("call", ["truncate", "write", "sync plain.wal.new", "rename", "sync directory"])
def test_a_truncate_to_checkpoint_cut_short_leaves_the_old_log_or_the_new_one(call: str) -> None:
    storage = WatchedStorage(storage_with(content_of(ENTRIES)))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    storage.fail_at = call
    with pytest.raises(WalSyncError):
        log.truncate_to_checkpoint()
    with pytest.raises(WalSyncError):
        log.append(PLACE, b"after the failure")
    log.close()
    again = WriteAheadLog(PATH, storage=storage)
    again.open()
    assert again.read_all() == (ENTRIES[2:] if call == "sync directory" else ENTRIES)
    assert PATH.with_name("plain.wal.new") not in storage.inner.files


def test_clear_empties_the_log() -> None:
    log = opened(content_of(ENTRIES))
    log.clear()
    assert (log.entry_count, log.read_all(), log.read_uncommitted()) == (0, [], [])
    log.append(PLACE, b"new")
    assert log.read_all() == [(PLACE, b"new")]


def test_entries_of_any_size_up_to_the_limit_and_none_beyond() -> None:
    log = opened(length_max=1000)
    for size in (0, 1, 999, 1000):
        log.append(PLACE, b"x" * size)
    with pytest.raises(WalError, match="limit is 1000"):
        log.append(PLACE, b"x" * 1001)
    assert [len(data) for _, data in log.read_all()] == [0, 1, 999, 1000]


def test_a_type_that_is_none_is_refused_before_anything_is_written() -> None:
    log = opened()
    with pytest.raises(ValueError, match="99"):
        log.append(99, b"")  # type: ignore[arg-type]
    assert log.entry_count == 0


@pytest.mark.parametrize("data", ["buy 100", 5, None, [1, 2]])
def test_data_that_are_no_bytes_are_refused_before_anything_is_written(data: object) -> None:
    log = opened()
    with pytest.raises(TypeError, match=f"not {type(data).__name__}"):
        log.append(PLACE, data)  # type: ignore[arg-type]
    assert log.read_all() == []
    for good in (b"1", bytearray(b"2"), memoryview(b"3")):
        log.append(PLACE, good)  # type: ignore[arg-type]
    assert [data for _, data in log.read_all()] == [b"1", b"2", b"3"]


def test_the_errors_stand_beside_the_log() -> None:
    for kind in (WalError, WalCorruptError, WalForeignError, WalLockedError, WalSyncError):
        assert getattr(protocol.wal, kind.__name__) is kind


def test_what_was_kept_of_a_torn_tail_is_not_written_over() -> None:
    torn = content_of(ENTRIES[:1])[:-1]
    storage = storage_with(torn)
    for name in ("plain.wal.torn", "plain.wal.torn.1", "plain.wal.torn.2"):
        with WriteAheadLog(PATH, storage=storage):
            assert bytes(storage.files[PATH.with_name(name)]) == torn
        storage.files[PATH] = bytearray(torn)


def test_a_closed_log_refuses_everything_but_open() -> None:
    log = WriteAheadLog(PATH, storage=MemoryStorage())
    for action in (log.read_all, log.read_uncommitted, log.truncate_to_checkpoint, log.clear, log.mark_checkpoint):
        with pytest.raises(WalError, match="not open"):
            action()
    log.close()
    log.open()
    with pytest.raises(WalError, match="open already"):
        log.open()


@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_failed_write_or_sync_is_final_for_the_object(call: str) -> None:
    storage = WatchedStorage()
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    log.append(PLACE, b"good")
    storage.fail_at = call
    with pytest.raises(WalSyncError):
        log.append(PLACE, b"lost")
    storage.calls.clear()
    for action in (log.mark_checkpoint, log.clear, log.truncate_to_checkpoint):
        with pytest.raises(WalSyncError, match="no space left"):
            action()
    assert (storage.calls, log.entry_count, log.read_all()) == ([], 1, [(PLACE, b"good")])
    log.close()
    with pytest.raises(WalSyncError, match="no space left"):
        log.open()


def test_a_second_writer_is_refused_in_the_same_process_and_in_another(tmp_path: Path) -> None:
    path = tmp_path / "plain.wal"
    program = (
        "import sys; from protocol.wal import WriteAheadLog; from protocol.errors import WalLockedError\n"
        "try: WriteAheadLog(sys.argv[1]).open()\n"
        "except WalLockedError: sys.exit(42)"
    )
    other = [sys.executable, "-c", program, str(path)]
    with WriteAheadLog(path) as log:
        log.append(PLACE, b"1")
        log.mark_checkpoint()
        log.truncate_to_checkpoint()  # the file is another one now, the lock is not
        with pytest.raises(WalLockedError):
            WriteAheadLog(path).open()
        assert subprocess.run(other, check=False).returncode == 42
    assert subprocess.run(other, check=False).returncode == 0


# Recovery.


def test_an_incomplete_last_entry_is_copied_aside_and_cut_with_a_warning_wherever_the_file_ends() -> None:
    content = content_of(ENTRIES)
    boundaries = [len(content_of(ENTRIES[:number])) for number in range(len(ENTRIES) + 1)]
    for size in range(len(content)):
        whole = max(number for number, end in enumerate(boundaries) if end <= size)
        storage = storage_with(content[:size])
        log = WriteAheadLog(PATH, storage=storage)
        with capture_logs() as logs:
            log.open()
        assert log.read_all() == ENTRIES[:whole]
        torn = content[boundaries[whole] : size]
        assert [line["event"] for line in logs] == (["torn_tail_cut"] if torn else [])
        assert bytes(storage.files.get(PATH.with_name("plain.wal.torn"), b"")) == torn
        log.append(PLACE, b"goes on")
        log.close()
        log.open()
        assert log.read_all() == [*ENTRIES[:whole], (PLACE, b"goes on")]


def test_every_bit_flip_outside_the_type_byte_is_refused_and_changes_nothing() -> None:
    """The plain log's CRC covers the data only: another valid type passes, which is why the journal has envelopes."""
    content = content_of(ENTRIES)
    starts = [len(content_of(ENTRIES[:number])) for number in range(len(ENTRIES))]
    types = [start + 4 for start in starts]
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            if position in types and damaged[position] in list(EntryType):
                continue
            storage = storage_with(bytes(damaged))
            with pytest.raises(WalCorruptError) as error:
                WriteAheadLog(PATH, storage=storage).open()
            assert error.value.offset == max(start for start in starts if start <= position)
            assert {path: bytes(data) for path, data in storage.files.items()} == {PATH: bytes(damaged)}


def holed(content: bytes, start: int, kept: int) -> bytes:
    """What a power loss leaves of a write from `start`: of its sectors, those in the bit mask `kept`."""
    for number, sector in enumerate(range(start - start % SECTOR_BYTES, len(content), SECTOR_BYTES)):
        first, end = max(start, sector), min(sector + SECTOR_BYTES, len(content))
        if not kept >> number & 1:
            content = content[:first] + bytes(end - first) + content[end:]
    return content


@pytest.mark.parametrize("room", range(1, 60))
def test_a_last_entry_with_sectors_that_never_came_to_the_disk_is_cut_wherever_it_lies_among_them(room: int) -> None:
    """The file has its full size already: what was lost reads as zeros. `room` bytes of the entry lie before a
    sector's end."""
    before = [(PLACE, b"x" * (SECTOR_BYTES - HEADER.size - room))]
    start, content = SECTOR_BYTES - room, content_of([*before, (PLACE, b"y" * 600)])
    sectors = 3 if len(content) > 2 * SECTOR_BYTES else 2
    for kept in range(2**sectors - 1):
        if room in LENGTH_FIELD and kept & 1:
            continue  # append never leaves that: see the next test
        storage = storage_with(holed(content, start, kept))
        log = WriteAheadLog(PATH, storage=storage)
        log.open()
        assert log.read_all() == before
        assert storage.files[PATH.with_name("plain.wal.torn")] == holed(content, start, kept)[start:]


@pytest.mark.parametrize("room", range(1, 20))
def test_no_power_loss_within_an_append_leaves_an_empty_entry_in_its_place(room: int) -> None:
    """With length and CRC lost, magic and type read as an entry without data: so they come to the disk last."""
    storage = WatchedStorage()
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    log.append(PLACE, b"x" * (SECTOR_BYTES - HEADER.size - room))
    storage.calls.clear()
    log.append(PLACE, b"data")
    start, size = SECTOR_BYTES - room, HEADER.size + 4
    tail_first = [f"write plain.wal 512+{size - room}", "sync plain.wal"] if room in LENGTH_FIELD else []
    head = f"write plain.wal {start}+{room if tail_first else size}"
    assert storage.calls == [*tail_first, head, "sync plain.wal"]
    assert [len(data) for _, data in log.read_all()] == [499 - room, 4]
    log.append(PLACE, b"")


def test_a_sector_of_zeros_before_a_whole_entry_is_damage() -> None:
    entries = [(PLACE, b"x" * 2000), (PLACE, b"y")]
    content = holed(content_of(entries), 0, 0b11101)
    with pytest.raises(WalCorruptError):
        opened(content)


def test_zeros_are_no_excuse_for_damage_if_no_sector_is_all_zeros() -> None:
    content = bytearray(content_of([(PLACE, b"x" + bytes(400))]))
    content[13] ^= 1
    with pytest.raises(WalCorruptError):
        opened(bytes(content))


FOREIGN = {
    "a text": b"buy 100 EURUSD\n" * 100,
    "three bytes": b"buy",
    "a byte": b"b",
    "a latch page": b"QHLT\1" + bytes(4091),
    "a text that quotes the magic": b"# " + MAGIC_BYTES + b" is the magic",
    "zeros with a byte among them": bytes(100) + b"1" + bytes(900),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_log_is_refused_and_not_changed(content: bytes) -> None:
    storage = storage_with(content)
    with pytest.raises(WalForeignError, match="no log"):
        WriteAheadLog(PATH, storage=storage).open()
    assert {path: bytes(data) for path, data in storage.files.items()} == {PATH: content}


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("first", ["journal.wal", "sealed", "torn"])
def test_an_engines_journal_is_refused_and_not_changed(first: str, truncate: bool, tmp_path: Path) -> None:
    directory = write_trades(tmp_path)
    content = (sealed_path(directory, 1) if first == "sealed" else directory / "journal.wal").read_bytes()
    content = content[:-1] if first == "torn" else content
    storage = storage_with(content)
    with pytest.raises(WalForeignError, match="journal"):
        WriteAheadLog(PATH, storage=storage).open(truncate)
    assert {path: bytes(data) for path, data in storage.files.items()} == {PATH: content}


@pytest.mark.parametrize("size", [1, 4, 13, 512, 5000])
def test_zeros_are_what_a_lost_first_append_leaves(size: int) -> None:
    storage = storage_with(bytes(size))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    assert (log.entry_count, storage.files[PATH.with_name("plain.wal.torn")]) == (0, bytes(size))


def test_data_that_contains_the_magic_or_whole_entries_is_only_data() -> None:
    nested = [(PLACE, MAGIC_BYTES * 3), (UPDATE, content_of(ENTRIES)), (PLACE, MAGIC_BYTES)]
    content = content_of(nested)
    for size in range(len(content_of(nested[:1])), len(content)):
        assert opened(content[:size]).read_all() == nested[: 1 + (size >= len(content_of(nested[:2])))]


def test_damage_under_an_open_log_is_found_when_it_is_read() -> None:
    storage = storage_with(content_of(ENTRIES))
    log = WriteAheadLog(PATH, storage=storage)
    log.open()
    storage.files[PATH][14] ^= 1
    with pytest.raises(WalCorruptError):
        log.read_all()


def test_a_path_that_cannot_be_opened_is_one_readable_error(tmp_path: Path) -> None:
    with pytest.raises(WalError, match="cannot be opened: No such file"):
        WriteAheadLog(tmp_path / "missing" / "plain.wal").open()


# Against a list.


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(EntryType), st.binary(max_size=50)),
            st.sampled_from(["reopen", "checkpoint", "truncate_to_checkpoint", "clear"]),
        ),
        max_size=30,
    )
)
def test_a_log_is_the_list_of_what_was_appended(steps: list[tuple[EntryType, bytes] | str]) -> None:
    log = WriteAheadLog(PATH, storage=MemoryStorage())
    log.open()
    model: list[tuple[EntryType, bytes]] = []
    for step in steps:
        last = max((number for number, (kind, _) in enumerate(model) if kind is CHECKPOINT), default=-1)
        if isinstance(step, tuple):
            log.append(*step)
            model.append(step)
        elif step == "checkpoint":
            log.mark_checkpoint()
            model.append((CHECKPOINT, b"\0"))
        elif step == "truncate_to_checkpoint":
            log.truncate_to_checkpoint()
            model = model[max(last, 0) :]
        elif step == "clear":
            log.clear()
            model = []
        else:
            log.close()
            log.open()
        last = max((number for number, (kind, _) in enumerate(model) if kind is CHECKPOINT), default=-1)
        assert (log.read_all(), log.read_uncommitted()) == (model, model[last + 1 :])
        assert log.entry_count == len(model)


def test_the_real_storage_is_the_default(tmp_path: Path) -> None:
    with WriteAheadLog(tmp_path / "a.wal") as one, WriteAheadLog(tmp_path / "b.wal", storage=RealStorage()) as two:
        one.append(PLACE, b"x")
        two.append(PLACE, b"x")
    assert (tmp_path / "a.wal").read_bytes() == (tmp_path / "b.wal").read_bytes()
