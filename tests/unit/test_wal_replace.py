"""A journal whose write or sync has failed goes on in a new file, and the old one is kept as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from wal_journals import (
    BATCHES,
    DIRECTORY,
    WatchedStorage,
    build,
    entry,
    journal_bytes,
    knows,
    nobody_knows,
    storage_with,
)

from protocol.errors import WalCorruptError, WalError, WalSyncError
from protocol.wal.journal import Journal, Recovery, read_journal
from protocol.wal.recovery import Kind
from protocol.wal.replace import put_in_place
from protocol.wal.storage import MemoryFile, MemoryStorage, RealStorage, Storage

ENTRIES = sum(BATCHES)
JOURNAL = DIRECTORY / "journal.wal"
NEW = DIRECTORY / "journal.wal.new"
FAILED = DIRECTORY / f"journal.wal.failed-{ENTRIES}"
"""Of a journal whose last entry is torn."""
WHOLE = journal_bytes()
TORN = WHOLE[:-7]


def opened_fresh(storage: Storage, known_lsn: int = 0) -> tuple[Journal, Recovery]:
    journal = Journal(DIRECTORY, storage=storage)
    return journal, journal.open(knows(known_lsn), fresh_file=True)


def contents(storage: MemoryStorage) -> dict[str, bytes]:
    return {path.name: bytes(data) for path, data in storage.files.items()}


def test_the_good_part_goes_on_in_a_new_file_and_the_old_one_is_kept_tail_and_all() -> None:
    storage = storage_with(TORN)
    old = storage.files[JOURNAL]
    with capture_logs() as logs:
        journal, recovery = opened_fresh(storage, 9)
    assert (recovery.verdict.kind, recovery.kept, recovery.tail_copy) == (Kind.TORN, FAILED, None)
    assert contents(storage) == {"journal.wal": TORN[: recovery.bytes], FAILED.name: TORN}
    assert storage.files[FAILED] is old
    assert [(line["event"], line["lost_bytes"]) for line in logs] == [
        ("journal_copied_after_failure", len(TORN) - recovery.bytes)
    ]
    assert (journal.tail_lsn, journal.durable_lsn, journal.size) == (ENTRIES - 1, ENTRIES - 1, recovery.bytes)
    journal.append_batch([entry(ENTRIES)])
    journal.close()
    assert [envelope.lsn for envelope, _, _ in read_journal(JOURNAL, storage=storage)] == list(range(1, ENTRIES + 1))
    assert bytes(old) == TORN, "not a byte of it was written again"


def test_a_journal_that_lost_nothing_is_copied_whole() -> None:
    storage = storage_with(WHOLE)
    journal, recovery = opened_fresh(storage, ENTRIES)
    assert (recovery.verdict.kind, recovery.bytes, journal.tail_lsn) == (Kind.CLEAN, len(WHOLE), ENTRIES)
    assert contents(storage) == {"journal.wal": WHOLE, f"journal.wal.failed-{ENTRIES + 1}": WHOLE}


def test_the_new_file_is_on_disk_before_it_has_the_name_and_the_old_one_has_another_before_that() -> None:
    storage = WatchedStorage(storage_with(TORN))
    _, recovery = opened_fresh(storage)
    assert storage.calls == [
        "truncate journal.wal.new 0",
        f"write journal.wal.new 0+{recovery.bytes}",
        "sync journal.wal.new",
        f"link journal.wal {FAILED.name}",
        "sync directory",
        "rename journal.wal.new journal.wal",
        "sync directory",
    ]


def calls_of_a_fresh_open() -> list[str]:
    storage = WatchedStorage(storage_with(TORN))
    opened_fresh(storage)
    return storage.calls


class FailingAt(WatchedStorage):
    """Fails at the call number `at`, and at each one after it: the process is as good as dead."""

    def __init__(self, storage: MemoryStorage, at: int) -> None:
        super().__init__(storage)
        self.at = at

    def note(self, call: str) -> None:
        super().note(call)
        if len(self.calls) > self.at:
            raise WalSyncError(f"{call}: input/output error")


@pytest.mark.parametrize("at", range(7), ids=calls_of_a_fresh_open())
def test_a_copy_that_is_cut_short_at_any_step_is_done_again_and_loses_nothing(at: int) -> None:
    storage = storage_with(TORN)
    with pytest.raises(WalSyncError):
        opened_fresh(FailingAt(storage, at))
    before = contents(storage)
    assert TORN in before.values(), "the damaged original is there under one name or another"
    journal, recovery = opened_fresh(storage, 9)
    assert journal.tail_lsn == ENTRIES - 1
    after = contents(storage)
    assert NEW.name not in after
    assert after["journal.wal"] == TORN[: recovery.bytes]
    assert TORN in [data for name, data in after.items() if name.startswith("journal.wal.failed-")]
    kept = [storage.files[path] for path in storage.files if path.name.startswith("journal.wal.failed-")]
    assert not [file for file in kept if file is storage.files[JOURNAL]], "none of them goes on growing (R5)"


@pytest.mark.parametrize("content", [TORN, WHOLE], ids=["torn", "clean"])
def test_an_ordinary_open_takes_leftovers_away(content: bytes) -> None:
    storage = storage_with(content)
    storage.files[NEW] = bytearray(b"half a copy")
    storage.link(JOURNAL, FAILED)
    storage.files[DIRECTORY / "journal.wal.failed-3"] = bytearray(b"an older failure")
    Journal(DIRECTORY, storage=storage).open(nobody_knows)
    left = sorted(name for name in contents(storage) if "torn" not in name)
    assert left == ["journal.wal", "journal.wal.failed-3"]


def test_a_leftover_copy_beside_no_journal_goes_too() -> None:
    storage = storage_with(b"half a copy", NEW.name)
    Journal(DIRECTORY, storage=storage).open(nobody_knows)
    assert contents(storage) == {}


def test_of_a_corrupt_journal_nothing_is_copied_and_nothing_removed() -> None:
    storage = storage_with(WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]))
    storage.files[NEW] = bytearray(b"half a copy")
    before = contents(storage)
    with pytest.raises(WalCorruptError):
        opened_fresh(storage, ENTRIES)
    assert contents(storage) == before


def test_a_copy_for_which_there_is_no_room_is_removed_again() -> None:
    storage = WatchedStorage(storage_with(TORN))
    storage.fail_at = "write journal.wal.new"
    with pytest.raises(WalSyncError, match="no space left"):
        opened_fresh(storage)
    assert contents(storage.inner) == {"journal.wal": TORN}


def test_a_checkpoint_for_which_there_is_no_room_leaves_nothing_and_the_journal_goes_on() -> None:
    """What it had written would be missing where there is least."""
    storage = WatchedStorage(storage_with(WHOLE))
    journal = Journal(DIRECTORY, storage=storage)
    journal.open(nobody_knows)
    storage.fail_at = "write journal.wal.new"
    with pytest.raises(WalError, match="no checkpoint"):
        journal.checkpoint(1, [("risk", ENTRIES, b"state")])
    assert contents(storage.inner) == {"journal.wal": WHOLE}
    journal.append_batch([entry(ENTRIES + 1)])
    journal.sync()
    assert journal.durable_lsn == ENTRIES + 1


class Forgetful(MemoryStorage):
    """When the copy begins the cache has gone: the journal reads as it did before its last sync."""

    def __init__(self, seen: bytes, then: bytes) -> None:
        super().__init__()
        self.files[JOURNAL] = bytearray(seen)
        self._then = then

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> MemoryFile:
        if path == NEW:  # after the scan, before the copy
            self.files[JOURNAL][:] = self._then
        return super().open(path, create=create, read_only=read_only)


def test_a_disk_that_gives_other_bytes_to_the_copy_than_to_the_scan_is_not_gone_on_with() -> None:
    """After a failed sync Linux may drop the pages; what was read from the cache then stands nowhere."""
    storage = Forgetful(WHOLE, TORN + bytes(7))
    with pytest.raises(WalSyncError, match="different entries"):
        opened_fresh(storage)
    assert bytes(storage.files[JOURNAL]) == TORN + bytes(7)


def test_on_the_real_disk_too(tmp_path: Path) -> None:
    build(RealStorage(), tmp_path)
    path = tmp_path / "journal.wal"
    inode = path.stat().st_ino
    journal = Journal(tmp_path)
    recovery = journal.open(nobody_knows, fresh_file=True)
    journal.append_batch([entry(ENTRIES + 1)])
    journal.close()
    assert recovery.kept is not None
    assert (recovery.kept.stat().st_ino, recovery.kept.read_bytes()) == (inode, WHOLE)
    assert path.stat().st_nlink == recovery.kept.stat().st_nlink == 1
    assert len(list(read_journal(path))) == ENTRIES + 1
    assert not (tmp_path / "journal.wal.new").exists()


def test_without_a_name_to_keep_it_as_the_old_file_is_gone() -> None:
    storage = storage_with(b"old")
    storage.files[NEW] = bytearray(b"new")
    put_in_place(storage, NEW, JOURNAL)
    assert contents(storage) == {"journal.wal": b"new"}
