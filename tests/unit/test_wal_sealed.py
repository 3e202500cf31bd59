"""Sealed files: packed without ever being lost, removed by `wal.keep` from the oldest on."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest
import structlog
from simulated_disk import Fault, ProcessDied, SimulatedDisk
from structlog.testing import capture_logs
from wal_journals import build, entry, nobody_knows

from actors.sealing import Sealing
from protocol.errors import ConfigError, WalCorruptError, WalError, WalSyncError
from protocol.settings import Keep, WalSettings, parse_config
from protocol.wal import sealed as sealed_module
from protocol.wal.history import read_history
from protocol.wal.journal import Journal
from protocol.wal.replace import read_parts
from protocol.wal.sealed import Content, SealedFile, list_sealed, open_sealed, pack_sealed, sealed_path, tidy_sealed
from protocol.wal.storage import RealStorage, Storage

HOUR_US = 3_600_000_000
LARGE_BYTES = 16 * 1024 * 1024
DISK = RealStorage()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    seal_four(DISK, tmp_path)
    return tmp_path


def seal_four(storage: Storage, directory: Path) -> None:
    """Four sealed files, sealed at 1, 2, 3 and 4 hours; the journal has been closed."""
    build(storage, directory)
    journal = Journal(directory, storage=storage)
    journal.open(nobody_knows)
    for hour in (1, 2, 3, 4):
        journal.checkpoint(hour * HOUR_US, ())
        journal.append_batch([entry(journal.tail_lsn + 1)])
        journal.sync()
    journal.close()


def names(directory: Path) -> list[tuple[int, bool]]:
    """(first LSN, whether it is packed)."""
    return [(file.first_lsn, file.is_packed) for file in list_sealed(DISK, directory)]


def tidy(directory: Path, files_max: int | None = None, age_max_s: int | None = None, now_h: float = 5) -> None:
    tidy_sealed(DISK, directory, files_max=files_max, age_max_s=age_max_s, now_us=int(now_h * HOUR_US))


def test_all_but_the_newest_are_packed_and_the_history_is_what_it_was(directory: Path) -> None:
    before = list(read_history(directory))
    tidy(directory)
    assert names(directory) == [(1, True), (13, True), (15, True), (17, False)]
    assert list(read_history(directory)) == before
    tidy(directory)
    assert names(directory) == [(1, True), (13, True), (15, True), (17, False)]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"files_max": 2}, [15, 17]),
        ({"files_max": 0}, []),
        ({"files_max": 9}, [1, 13, 15, 17]),
        ({"age_max_s": 3 * 3600}, [13, 15, 17]),
        ({"age_max_s": 3600 // 2}, []),
        ({"age_max_s": 100 * 3600}, [1, 13, 15, 17]),
        ({"files_max": 3, "age_max_s": 2 * 3600}, [15, 17]),
    ],
    ids=str,
)
def test_the_oldest_go_by_number_and_by_age(
    directory: Path, rule: dict[str, int], kept: list[int], is_packed: bool
) -> None:
    if is_packed:
        tidy(directory)
    tidy(directory, **rule)
    assert [first for first, _ in names(directory)] == kept
    assert next(read_history(directory))[0].lsn == (kept[0] if kept else 19)


def test_an_age_that_cannot_be_told_removes_nothing(directory: Path) -> None:
    path = list_sealed(DISK, directory)[1].path
    path.write_bytes(b"garbage" + path.read_bytes())
    tidy(directory, age_max_s=1)
    assert [first for first, _ in names(directory)] == [1, 13, 15, 17]


def test_without_the_extra_files_stay_plain_and_packed_ones_are_an_error_that_says_what_to_install(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_sealed(DISK, list_sealed(DISK, directory)[0])

    def missing() -> Any:
        raise WalError("compressed sealed files need the extra `zstd`: pip install 'seawall[zstd]'")

    monkeypatch.setattr(sealed_module, "_zstandard", missing)
    tidy(directory)
    assert names(directory) == [(1, True), (13, False), (15, False), (17, False)]
    with pytest.raises(WalError, match=r"seawall\[zstd\]"):
        open_sealed(DISK, packed)


class Crash(Exception):
    """The process ends here."""


def crash_at(number: int) -> tuple[RealStorage, Callable[[], bool]]:
    """A disk on which the `number`th change never happens, and whether it came to that."""
    calls = 0

    class Crashing(RealStorage):
        def _count(self) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Crash

        def rename(self, source: Path, target: Path) -> None:
            self._count()
            super().rename(source, target)

        def unlink(self, path: Path) -> None:
            self._count()
            super().unlink(path)

        def sync_directory(self, path: Path) -> None:
            self._count()
            super().sync_directory(path)

        def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> Any:
            if create:
                self._count()
            return super().open(path, create=create, read_only=read_only)

    return Crashing(), lambda: calls >= number


def test_a_crash_at_any_step_of_packing_leaves_the_history_whole(directory: Path) -> None:
    before = list(read_history(directory))
    number = 0
    for number in range(1, 100):
        disk, has_crashed = crash_at(number)
        with suppress(Crash):
            tidy_sealed(disk, directory, files_max=None, age_max_s=None, now_us=0)
        assert list(read_history(directory)) == before
        if not has_crashed():
            break
    assert number > 3
    assert [packed for _, packed in names(directory)] == [True, True, True, False]
    journal = Journal(directory)
    journal.open(nobody_knows)
    journal.close()
    assert not [name for name in os.listdir(directory) if name.endswith(".new")], "a leftover goes at the next open"


@pytest.mark.parametrize("seed", range(10))
def test_a_power_loss_in_mid_pass_leaves_no_hole_even_if_the_pass_before_could_not_sync(seed: int) -> None:
    directory = Path("/run/wal")
    for failing, last_call in product(range(1, 5), range(1, 10)):
        disk = SimulatedDisk(Random(seed).randrange)
        seal_four(disk, directory)
        disk.fail_at(failing, Fault.EIO)
        with suppress(WalError):
            tidy_sealed(disk, directory, files_max=3, age_max_s=None, now_us=0)
        disk.fail_at(last_call, Fault.DEATH)
        with suppress(ProcessDied):
            tidy_sealed(disk, directory, files_max=1, age_max_s=None, now_us=0)
        *_, (last, _, _) = read_history(directory, storage=disk.crash())
        assert last.lsn == 20


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: data[:100] + b"\xff" + data[101:], lambda data: b""],
    ids=["cut", "changed", "empty"],
)  # fmt: skip
def test_a_packed_file_that_is_damaged_is_corrupt(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    packed = pack_sealed(DISK, list_sealed(DISK, directory)[0])
    packed.path.write_bytes(damage(packed.path.read_bytes()))
    with pytest.raises(WalCorruptError):
        list(read_history(directory))


@pytest.fixture
def large(tmp_path: Path) -> SealedFile:
    """Half of it cannot be compressed, so that both the packed and the plain file are large."""
    path = sealed_path(tmp_path, 1)
    path.write_bytes(b"".join(os.urandom(LARGE_BYTES // 64) + bytes(LARGE_BYTES // 64) for _ in range(32)))
    return SealedFile(1, path)


@contextmanager
def peak_below(bytes_max: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bytes_max
    finally:
        tracemalloc.stop()


def test_a_file_is_packed_and_read_back_in_pieces(large: SealedFile) -> None:
    plain = large.path.read_bytes()
    with peak_below(LARGE_BYTES // 2):
        packed = pack_sealed(DISK, large)
    assert LARGE_BYTES // 3 < packed.path.stat().st_size < LARGE_BYTES
    with peak_below(LARGE_BYTES // 2), closing(open_sealed(DISK, packed)) as content:
        size = content.size()
        checksum = 0
        for part in read_parts(content, 0, size):
            checksum = crc32(part, checksum)
    assert (size, checksum) == (len(plain), crc32(plain))


def test_what_is_packed_can_be_read_at_any_place_in_any_order(large: SealedFile) -> None:
    plain = large.path.read_bytes()
    content = open_sealed(DISK, pack_sealed(DISK, large))
    end = len(plain)
    for offset in (0, 5_000_000, 4_999_000, 3_000_000, end - 10, 7, end - 100_000, end, end + 5, 0):
        assert content.read(offset, 70_000) == plain[offset : offset + 70_000]
    assert content.read(0, 2 * end) == plain
    content.close()


def test_the_head_of_a_packed_file_is_read_without_the_rest(large: SealedFile) -> None:
    plain = large.path.read_bytes()[:100]
    packed = pack_sealed(DISK, large).path
    packed.write_bytes(packed.read_bytes()[:-1_000_000])
    with closing(open_sealed(DISK, SealedFile(1, packed))) as content:
        assert content.read(0, 100) == plain
        with pytest.raises(WalCorruptError, match="the rest of a zstd frame"):
            content.size()


def test_a_packed_file_that_reads_back_differently_is_not_put_in_place(
    large: SealedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = large.path.read_bytes()
    sound = Content.parts
    monkeypatch.setattr(Content, "parts", lambda content: (b"x" + part for part in sound(content)))
    with pytest.raises(WalError, match="reads back differently"):
        pack_sealed(DISK, large)
    assert [path.read_bytes() for path in large.path.parent.iterdir()] == [plain]


def test_a_plain_file_and_its_packed_copy_are_one_and_go_together(directory: Path) -> None:
    """A crash between the rename and the unlink of packing."""
    first = list_sealed(DISK, directory)[0]
    content = first.path.read_bytes()
    pack_sealed(DISK, first)
    first.path.write_bytes(content)
    assert names(directory)[0] == (1, False)
    tidy(directory, files_max=3)
    assert not list(directory.glob("journal-00000000000000000001*"))


def test_other_names_are_none_of_ours(directory: Path) -> None:
    for name in ("journal-1.wal", "journal-00000000000000000099.wal.bak", "journal.wal.torn-3"):
        (directory / name).write_bytes(b"x")
    assert [first for first, _ in names(directory)] == [1, 13, 15, 17]
    assert SealedFile(1, directory / "a.wal.zst").is_packed


# What is told of failures that end nothing.


def full(path: Path, data: bytes, offset: int = 0) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_cannot_be_packed_asks_nobody_to_start_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs() as logs:
        sealing = Sealing(directory, Keep(None, None), 0, structlog.get_logger())
        monkeypatch.setattr(os, "pwrite", full)
        sealing.start()
        sealing.wait(20.0)
    (told,) = logs
    assert (told["event"], "No space left" in told["error"]) == ("sealed_files_left", True)
    assert "start again" not in told["error"] + told["hint"]
    assert names(directory) == [(1, False), (13, False), (15, False), (17, False)]


def test_a_checkpoint_that_has_no_room_asks_nobody_to_start_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(directory)
    journal.open(nobody_knows)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(WalError, match=r"no checkpoint: .*No space left") as error:
            journal.checkpoint(6 * HOUR_US, ())
    assert "start again" not in str(error.value)
    journal.append_batch([entry(journal.tail_lsn + 1)])
    journal.sync()
    journal.close()


def test_a_write_that_ends_the_journal_says_what_to_do(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(directory)
    journal.open(nobody_knows)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(2):
            with pytest.raises(WalSyncError, match=r"No space left on device.*See to the disk.*start again"):
                journal.append_batch([entry(journal.tail_lsn + 1)])
    journal.close()


# The setting.

CONFIG = """
[engine]
name = "x"
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[wal]
"""


@pytest.mark.parametrize(
    ("keep", "rule"),
    [
        ('"all"', (None, None)),
        ("0", (0, None)),
        ("20", (20, None)),
        ('"30d"', (None, 30 * 86_400)),
        ('"12h"', (None, 12 * 3_600)),
        ('"90m"', (None, 90 * 60)),
    ],
)
def test_keep_is_a_number_an_age_or_all(keep: str, rule: tuple[int | None, int | None]) -> None:
    assert parse_config(f"{CONFIG}keep = {keep}\n").wal.keep_rule == rule
    assert WalSettings().keep_rule == (None, None)


@pytest.mark.parametrize("keep", ["-1", '"none"', '"12"', '"0d"', '"1.5h"', '"90s"', "1.5", '""', "true"])
def test_keep_is_nothing_else(keep: str) -> None:
    with pytest.raises(ConfigError, match=r"wal\.keep") as error:
        parse_config(f"{CONFIG}keep = {keep}\n")
    assert "decimal" not in str(error.value)
    assert keep in ("1.5", "true") or 'an age in d, h or m: "30d"' in str(error.value)


@pytest.mark.parametrize("key", ["checkpoint_records", "checkpoint_mb"])
def test_checkpoints_come_at_numbers_that_make_sense(key: str) -> None:
    assert getattr(parse_config(f"{CONFIG}{key} = 0\n").wal, key) == 0
    with pytest.raises(ConfigError, match=rf"wal\.{key} = -1: at least 0"):
        parse_config(f"{CONFIG}{key} = -1\n")


SKIPPABLE = bytes.fromhex("502a4d18") + (8).to_bytes(4, "little") + b"whatever"
END = "the end of the file, behind its one zstd frame"
START = "a zstd frame: 28 b5 2f fd"
BEHIND: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "bytes behind the frame": (lambda frame: frame + b"more", END, "4 bytes more"),
    "two frames": (lambda frame: frame + frame, END, " bytes more"),
    "a skippable frame": (lambda frame: SKIPPABLE + frame, START, "50 2a 4d 18"),
    "an empty file": (lambda frame: b"", START, "an empty file"),
}


@pytest.mark.parametrize("what", BEHIND)
def test_a_packed_file_is_one_zstd_frame_and_nothing_else(directory: Path, what: str) -> None:
    sealed = pack_sealed(DISK, list_sealed(DISK, directory)[0])
    change, expected, found = BEHIND[what]
    sealed.path.write_bytes(change(sealed.path.read_bytes()))
    with closing(open_sealed(DISK, sealed)) as file, pytest.raises(WalCorruptError) as error:
        file.size()
    assert error.value.expected == expected
    assert found in error.value.found


def test_what_would_unpack_to_more_than_the_limit_is_damaged_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer = pytest.importorskip("zstandard").ZstdCompressor().compressobj()
    bomb = sealed_path(tmp_path, 1).with_suffix(".wal.zst")
    bomb.write_bytes(b"".join(packer.compress(bytes(LARGE_BYTES)) for _ in range(32)) + packer.flush())
    monkeypatch.setattr(sealed_module, "UNPACKED_BYTES_MAX", 8 * LARGE_BYTES)
    tracemalloc.start()
    with closing(open_sealed(DISK, SealedFile(1, bomb))) as file, pytest.raises(WalCorruptError, match="at most 1342"):
        file.size()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * LARGE_BYTES, "a few of the largest pieces"


def test_a_file_that_has_grown_beyond_the_limit_stays_plain(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_module, "UNPACKED_BYTES_MAX", 10)
    tidy(directory)
    assert not any(is_packed for _, is_packed in names(directory))
