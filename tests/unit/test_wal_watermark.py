"""The watermark: two slots in turn, of which one always survives."""

from __future__ import annotations

from zlib import crc32

from structlog.testing import capture_logs
from wal_journals import DIRECTORY

from protocol.wal.storage import MemoryStorage
from protocol.wal.watermark import SECTOR_BYTES, Mark, Watermark, encode_slot

PATH = DIRECTORY / "watermark"


def mark(lsn: int) -> Mark:
    return Mark(b"journal id 16 by", lsn, lsn * 7)


def read(storage: MemoryStorage) -> Mark | None:
    return Watermark(PATH, storage).read()


def test_the_newest_mark_is_read_back_by_this_life_and_by_the_next() -> None:
    storage = MemoryStorage()
    assert read(storage) is None
    for lives in range(3):
        watermark = Watermark(PATH, storage)
        watermark.read()
        for step in range(3):
            watermark.write(mark(10 * lives + step))
            assert read(storage) == mark(10 * lives + step)
    assert len(storage.files[PATH]) == 2 * SECTOR_BYTES


def test_a_write_torn_at_any_byte_leaves_the_mark_before() -> None:
    storage = MemoryStorage()
    watermark = Watermark(PATH, storage)
    watermark.write(mark(1))
    watermark.write(mark(2))
    before = bytes(storage.files[PATH])
    watermark.write(mark(3))
    after = bytes(storage.files[PATH])
    assert sum(before[start : start + 512] != after[start : start + 512] for start in (0, 512)) == 1
    for size in range(SECTOR_BYTES):
        torn = before[:512] + after[512 : 512 + size] + before[512 + size :]
        storage.files[PATH][:] = torn
        assert read(storage) == mark(3 if torn == after else 2)


def test_reset_forgets_everything() -> None:
    storage = MemoryStorage()
    watermark = Watermark(PATH, storage)
    watermark.write(mark(1))
    watermark.write(mark(2))
    watermark.reset()
    assert read(storage) is None
    assert not any(storage.files[PATH])


def test_two_damaged_slots_are_no_mark_and_are_warned_of() -> None:
    storage = MemoryStorage()
    watermark = Watermark(PATH, storage)
    watermark.write(mark(1))
    watermark.write(mark(2))
    for position in (20, 532):
        storage.files[PATH][position] ^= 1
    with capture_logs() as logs:
        assert read(storage) is None
    assert [line["event"] for line in logs] == ["watermark_unreadable"]


def test_a_slot_is_fixed_to_the_byte() -> None:
    body = b"SWMK" + bytes([3, 0, 0, 0, 0, 0, 0, 0]) + b"journal id 16 by" + bytes([9] + [0] * 7) + bytes([63, 0, 0, 0])
    assert encode_slot(3, mark(9)) == body + crc32(body).to_bytes(4, "little") + bytes(512 - 44)
