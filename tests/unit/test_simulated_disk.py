"""The simulated disk does lose, tear, reorder and undo; and it keeps what was synced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from random import Random

import pytest
from simulated_disk import SECTOR_BYTES, Choose, Fault, ProcessDied, SimulatedDisk, SimulatedFile

from protocol.errors import WalError, WalLockedError, WalSyncError

DIRECTORY = Path("/run")
FILE, OTHER, NEW, SEALED = (DIRECTORY / name for name in ("file", "other", "new", "sealed"))
Build = Callable[[SimulatedDisk], object]
Contents = dict[str, bytes]


def mildest(_: int) -> int:
    return 0


def choosing(numbers: Iterable[int]) -> Choose:
    """The numbers in turn, the mildest outcome after them."""
    left = iter(numbers)
    return lambda limit: min(next(left, 0), limit - 1)


def synced(disk: SimulatedDisk, path: Path = FILE, content: bytes = b"old") -> SimulatedFile:
    """A file that is on disk with its name."""
    file = disk.open(path, create=True)
    file.write(0, content)
    file.sync()
    disk.sync_directory(DIRECTORY)
    return file


def outcomes(build: Build, *, whole_sectors: bool = False) -> list[Contents]:
    """What was found after a power loss, in many random ones."""
    found: list[Contents] = []
    for seed in range(2000):
        disk = SimulatedDisk(Random(seed).randrange, whole_sectors=whole_sectors)
        build(disk)
        contents = {path.name: content for path, content in disk.crash().contents().items()}
        if contents not in found:
            found.append(contents)
    return found


def files_after(build: Build) -> set[bytes]:
    return {contents["file"] for contents in outcomes(build)}


# Writes.


def test_what_was_synced_is_there_after_every_power_loss() -> None:
    assert outcomes(synced) == [{"file": b"old"}]


def test_an_unsynced_write_is_kept_lost_torn_at_a_byte_or_a_hole_of_zeros() -> None:
    def build(disk: SimulatedDisk) -> None:
        synced(disk).write(3, b"new!")

    found = files_after(build)
    assert {b"oldnew!", b"old", b"oldn", b"oldne\0\0", b"old\0\0\0\0", b"old\0"} <= found
    assert all(len(content) <= 7 and content.startswith(b"old") for content in found)
    assert all(byte in (0, expected) for content in found for byte, expected in zip(content, b"oldnew!", strict=False))


def test_an_overwritten_place_has_the_old_bytes_or_the_new_ones_of_each_sector() -> None:
    def build(disk: SimulatedDisk) -> None:
        synced(disk, content=b"o" * 3 * SECTOR_BYTES).write(0, b"n" * 3 * SECTOR_BYTES)

    by_sector = {
        b"".join(letter * SECTOR_BYTES for letter in letters) for letters in product((b"o", b"n"), repeat=3)
    }
    found = files_after(build)
    assert by_sector < found  # a later sector without an earlier one among them; and torn at bytes
    assert {contents["file"] for contents in outcomes(build, whole_sectors=True)} == by_sector


def test_of_two_writes_the_later_may_be_there_without_the_earlier() -> None:
    def build(disk: SimulatedDisk) -> None:
        file = synced(disk)
        file.write(3, b"one")
        file.write(6, b"two")

    assert {b"oldonetwo", b"old\0\0\0two", b"oldone", b"oldone\0\0\0"} <= files_after(build)


def test_a_killed_process_loses_nothing_that_it_had_written_until_the_power_goes() -> None:
    def build(disk: SimulatedDisk) -> SimulatedDisk:
        synced(disk).write(3, b"new")
        return disk.kill()

    following = build(SimulatedDisk(mildest))
    assert following.content(FILE) == b"oldnew"
    assert not following.is_durable(FILE)
    assert {build(SimulatedDisk(Random(seed).randrange)).crash().content(FILE) for seed in range(100)} >= {
        b"old", b"oldnew", b"old\0\0\0", b"oldn",
    }  # fmt: skip


def test_after_a_power_loss_nothing_is_uncertain_any_more() -> None:
    for seed in range(50):
        disk = SimulatedDisk(Random(seed).randrange)
        synced(disk).write(3, b"new")
        disk.rename(FILE, OTHER)
        found = disk.crash()
        assert all(found.is_durable(path) for path in found.contents())
        assert found.crash().contents() == found.contents()


def test_a_truncation_is_on_disk_when_it_returns_with_all_that_was_written() -> None:
    def build(disk: SimulatedDisk) -> None:
        file = synced(disk)
        file.write(1, b"xyz")
        file.truncate(2)

    assert outcomes(build) == [{"file": b"ox"}]


# Names.


def test_a_files_sync_says_nothing_of_its_name() -> None:
    def build(disk: SimulatedDisk) -> None:
        file = disk.open(FILE, create=True)
        file.write(0, b"data")
        file.sync()

    assert {bool(contents) for contents in outcomes(build)} == {True, False}
    assert {contents["file"] for contents in outcomes(build) if contents} == {b"data"}


def test_a_rename_without_a_directory_sync_is_done_undone_or_half_done() -> None:
    def build(disk: SimulatedDisk) -> None:
        synced(disk)
        synced(disk, NEW, b"new")
        disk.rename(NEW, FILE)

    found = outcomes(build)
    assert len(found) == 3
    assert all(outcome in found for outcome in (
        {"file": b"new"}, {"file": b"old", "new": b"new"}, {"file": b"new", "new": b"new"},
    ))  # fmt: skip


def test_a_later_rename_may_be_there_without_an_earlier_link_and_the_old_file_is_gone() -> None:
    """Why a roll syncs the directory between the link and the rename."""

    def build(disk: SimulatedDisk) -> None:
        synced(disk)
        synced(disk, NEW, b"new")
        disk.link(FILE, SEALED)
        disk.rename(NEW, FILE)

    found = outcomes(build)
    assert {"file": b"new"} in found
    assert {"file": b"new", "sealed": b"old"} in found
    assert {"file": b"old", "new": b"new"} in found


def test_an_unlink_without_a_directory_sync_may_be_undone() -> None:
    def build(disk: SimulatedDisk) -> None:
        synced(disk)
        disk.unlink(FILE)

    assert all(outcome in outcomes(build) for outcome in ({}, {"file": b"old"}))


def test_what_the_directory_sync_saw_stays() -> None:
    def build(disk: SimulatedDisk) -> None:
        synced(disk)
        disk.rename(FILE, OTHER)
        disk.link(OTHER, SEALED)
        disk.sync_directory(DIRECTORY)

    assert outcomes(build) == [{"other": b"old", "sealed": b"old"}]


def test_two_names_of_one_file_are_one_file_after_a_power_loss_too() -> None:
    disk = SimulatedDisk(mildest)
    synced(disk)
    disk.link(FILE, OTHER)
    disk.sync_directory(DIRECTORY)
    found = disk.crash()
    assert found.is_same_file(FILE, OTHER)
    found.open(FILE).write(0, b"new")
    assert found.content(OTHER) == b"new"
    found.rename(FILE, OTHER)  # POSIX: does nothing
    assert found.list_names(DIRECTORY) == ["file", "other"]


# Faults.


def history(disk: SimulatedDisk) -> Iterator[str]:
    """One of each call that can fail, named before it is made."""
    yield "make"
    disk.make_directory(DIRECTORY)
    yield "lock"
    disk.lock(DIRECTORY / "lock")
    yield "open"
    file = disk.open(FILE, create=True)
    yield "write"
    file.write(0, b"0123456789")
    yield "sync"
    file.sync()
    yield "read"
    file.read(0, 1)
    yield "truncate"
    file.truncate(5)
    yield "link"
    disk.link(FILE, OTHER)
    yield "rename"
    disk.rename(OTHER, NEW)
    yield "unlink"
    disk.unlink(NEW)
    yield "list"
    disk.list_names(DIRECTORY)
    yield "sync directory"
    disk.sync_directory(DIRECTORY)


CALLS = list(history(SimulatedDisk(mildest)))


@pytest.mark.parametrize("number", range(1, len(CALLS) + 1), ids=CALLS)
def test_every_call_can_be_the_one_that_fails_and_the_one_at_which_the_process_dies(number: int) -> None:
    for fault in Fault:
        for seed in range(8):
            disk = SimulatedDisk(Random(seed).randrange)
            disk.fail_at(number, fault)
            begun: list[str] = []
            with pytest.raises(ProcessDied if fault is Fault.DEATH else WalError) as raised:
                begun.extend(history(disk))
            final = CALLS[number - 1] not in ("make", "lock", "open", "read", "list")
            assert fault is Fault.DEATH or isinstance(raised.value, WalSyncError) == final
            if fault is Fault.DEATH:
                with pytest.raises(ProcessDied):
                    disk.exists(FILE)


def test_who_dies_in_a_write_leaves_any_part_of_it() -> None:
    def part(seed: int) -> bytes:
        disk = SimulatedDisk(Random(seed).randrange)
        file = disk.open(FILE, create=True)
        disk.fail_at(1, Fault.DEATH)
        with pytest.raises(ProcessDied):
            file.write(0, b"12345")
        return disk.kill().content(FILE) or b""

    assert {part(seed) for seed in range(100)} == {b"12345"[:size] for size in range(6)}


def test_a_failed_sync_that_marks_pages_clean_reads_back_and_is_lost_though_later_syncs_succeed() -> None:
    disk = SimulatedDisk(choosing([1, 1]))  # the pages are called clean; nothing of them is on disk
    file = synced(disk)
    file.write(3, b"new")
    disk.fail_at(1, Fault.EIO)
    with pytest.raises(WalSyncError):
        file.sync()
    again = disk.open(FILE)
    again.sync()
    assert (again.read(0, 9), disk.is_durable(FILE)) == (b"oldnew", False)
    assert disk.crash().content(FILE) == b"old\0\0\0"  # the size went with the second sync


def test_what_is_written_again_after_a_failed_sync_is_on_disk_with_the_next_one() -> None:
    disk = SimulatedDisk(choosing([1, 1]))
    file = synced(disk)
    file.write(3, b"new")
    disk.fail_at(1, Fault.EIO)
    with pytest.raises(WalSyncError):
        file.sync()
    again = disk.open(FILE)
    again.write(3, b"new")
    again.sync()
    assert disk.is_durable(FILE)


def test_a_file_that_has_failed_fails_for_ever_and_who_tries_is_counted() -> None:
    disk = SimulatedDisk(mildest)
    file = synced(disk)
    disk.fail_at(1, Fault.ENOSPC)
    with pytest.raises(WalSyncError, match="No space"):
        file.write(3, b"new")
    for attempt in (lambda: file.write(3, b"new"), file.sync, lambda: file.truncate(0)):
        with pytest.raises(WalSyncError, match="failed before"):
            attempt()
    assert disk.retries == 3


def test_a_lock_is_free_when_its_holder_is_dead() -> None:
    disk = SimulatedDisk(mildest)
    disk.lock(FILE)
    with pytest.raises(WalLockedError):
        disk.lock(FILE)
    disk.kill().lock(FILE)


def test_a_file_that_is_not_there_is_not_opened_and_no_name_is_given_twice() -> None:
    disk = SimulatedDisk(mildest)
    with pytest.raises(FileNotFoundError):
        disk.open(FILE)
    synced(disk)
    synced(disk, OTHER)
    with pytest.raises(WalSyncError):
        disk.link(FILE, OTHER)
    with pytest.raises(WalSyncError):
        disk.rename(NEW, FILE)
