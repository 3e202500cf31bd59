"""The reserve: room on the journal's disk that is kept for the day when there is no other.

Owns DIRECTORY/reserve, a file of `reserve_bytes` that holds its blocks and nothing in them, and the verdict on the
disk. It refuses nothing itself: wal tells everyone that the disk is low, and risk then takes only what reduces a
position; cancels, fills and their derived records go on, and they are what the reserve is for.

With R = reserve_bytes and `free` = what statvfs says an ordinary process may still take, beside the reserve:

    state   holds while                     what follows
    ok      the reserve is held, free >= R  nothing
    low     it is held, free < R            new orders are refused; ends at free >= 1.5 R
    spent   it is not held                  the same; the file is gone, its blocks are the journal's

    held -> given up   free < R / 8 + what is about to be written
    given up -> held   free >= R + R / 4

The numbers. An order costs the journal some 420 bytes from ORDER_PLACE to BALANCE_CHANGE, a cancel 150. The default R,
16 MB, is some 35,000 orders until `low` is `spent`, and as many again behind that: hours of what is let through then,
time for an operator to make room. R / 8 (2 MB) is more than is written between two looks. Both ways back ask for more
than the way there, so that neither the alarm nor the file comes and goes with every record.

A look costs 1.5 microseconds: one every LOOK_EVERY_S while NEAR_BYTES or more are free, one before every write when it
is less. Whoever takes the reserve too, once it is given up, still makes a write fail; that is final, as ever.

Limits: a file system that copies on write (btrfs, ZFS) may need room to give room back. Quotas are not seen until the
reserve cannot be made; that counts as spent.
"""

from __future__ import annotations

import contextlib
import os
from enum import StrEnum
from pathlib import Path
from typing import Final

from protocol.wal.storage import FILE_MODE

RESERVE_NAME: Final = "reserve"
NEAR_BYTES: Final = 1024 * 1024 * 1024
LOOK_EVERY_S: Final = 0.1
"""Nobody takes NEAR_BYTES in that time: it would need more than 10 GB/s."""
MAKE_EVERY_S: Final = 1.0
"""Between two tries to make the file, where statvfs says that there is room and the disk says that there is none."""


class DiskState(StrEnum):
    OK = "ok"
    LOW = "low"
    SPENT = "spent"


class DiskReserve:
    """The reserve in `directory`; used by one thread. reserve_bytes 0: none is kept, and the disk is always `ok`."""

    def __init__(self, directory: Path, reserve_bytes: int) -> None:
        self.path: Final = directory / RESERVE_NAME
        self.reserve_bytes: Final = reserve_bytes
        self.state = DiskState.OK
        self.free_bytes = 0
        """At the last look, the reserve not counted."""
        self._is_held = False
        self._looked_s = self._tried_s = float("-inf")

    @property
    def is_low(self) -> bool:
        return self.state is not DiskState.OK

    @property
    def wanted_bytes(self) -> int:
        """Free beside the reserve (before it is made again, together with it), from which on the state is `ok`."""
        r = self.reserve_bytes
        return {DiskState.OK: r, DiskState.LOW: r + r // 2, DiskState.SPENT: 2 * r + r // 2}[self.state]

    def counters(self) -> dict[str, int]:
        """For HEALTH; none if none is kept."""
        if not self.reserve_bytes:
            return {}
        free_mb, wanted_mb = self.free_bytes >> 20, -(-self.wanted_bytes >> 20)
        return {"disk_low": int(self.is_low), "disk_free_mb": free_mb, "disk_wanted_mb": wanted_mb}

    def room(self) -> dict[str, str | int]:
        """For the log."""
        return {
            "directory": str(self.path.parent), "free_mb": self.free_bytes >> 20,
            "wanted_mb": -(-self.wanted_bytes >> 20), "reserve_mb": self.reserve_bytes >> 20,
        }  # fmt: skip

    def open(self, now_s: float, about_to_write: int = 0) -> None:
        """What an earlier life has left is taken over, made or removed, as the setting and the disk will have it."""
        self.state, self._tried_s = DiskState.OK, float("-inf")
        self._is_held = self.reserve_bytes > 0 and self._is_whole()
        if not self._is_held:
            self._give_up()
        self.look(now_s, about_to_write)

    def look(self, now_s: float, about_to_write: int = 0) -> bool:
        """The state is that of this moment; True if it was another before. The reserve is given up, or made again."""
        if not self.reserve_bytes:
            return False
        before, self._looked_s = self.state, now_s
        self.free_bytes = self._free()
        if self._is_held and self.free_bytes < self.reserve_bytes // 8 + about_to_write:
            self._give_up()
        elif not self._is_held and self.free_bytes >= self.reserve_bytes + self.reserve_bytes // 4:
            self._make(now_s)
        self.state = self._judge()
        return self.state is not before

    def is_due(self, now_s: float) -> bool:
        """Whether to look before the next write."""
        is_near = self.is_low or self.free_bytes < NEAR_BYTES
        return self.reserve_bytes > 0 and (is_near or now_s - self._looked_s >= LOOK_EVERY_S)

    def _judge(self) -> DiskState:
        if not self._is_held:
            return DiskState.SPENT
        enough = self.reserve_bytes * 3 // 2 if self.is_low else self.reserve_bytes
        return DiskState.OK if self.free_bytes >= enough else DiskState.LOW

    def _free(self) -> int:
        """Bytes. A disk that cannot say counts as full."""
        try:
            status = os.statvfs(self.path.parent)
        except OSError:
            return 0
        return status.f_bavail * status.f_frsize

    def _is_whole(self) -> bool:
        """The file has the size, and its blocks with it: a copy of a run_dir may have neither."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return status.st_size == self.reserve_bytes and status.st_blocks * 512 >= self.reserve_bytes

    def _make(self, now_s: float) -> None:
        if now_s - self._tried_s < MAKE_EVERY_S:
            return
        self._tried_s = now_s
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, self.reserve_bytes)
            self._is_held = True
            self.free_bytes = self._free()
        except OSError:
            self._give_up()
        finally:
            os.close(descriptor)

    def _give_up(self) -> None:
        """Its blocks are free. Not synced: after a power loss the next start finds the file, and gives it up again."""
        self._is_held = False
        with contextlib.suppress(OSError):
            self.path.unlink()
            self.free_bytes = self._free()
