"""A health page per child, RUN_DIR/pages/NAME.page: what a child's main loop last said of itself, without a message.

Written by the child's main loop only; read by the supervisor (is it alive, is it hung, what is it doing) and by wal
(what was certainly acknowledged). Owns the layout. It decides nothing: deadlines and verdicts belong to its readers.
A page of garbage reads as zeros, since a reader must not fall with the writer.

    word  0  magic and version                  5  activity (Activity)
          1  incarnation                        6  that activity since, monotonic ns
          2  pid; stored last in a new life     7  last progress, monotonic ns
          3  the process's start, clock ticks   8  queue depth
          4  turns of the main loop
    byte  512  the acknowledged record, in one 512-byte sector of its own (R3): two slots, written in turn, each
               [journal_id:16][lsn:8][crc32 of the entry:4][crc32 of the foregoing:4]
    byte 1024  market position (word 128), market epoch (16 bytes)

Words as in mapped.py. `since` is stored before `activity` and read after it, so a reader never takes the new activity
for as old as the one before. A torn slot reads as none: power loss cannot tear it (one sector), and a process killed
in mid-store leaves the other slot whole. The market epoch changes only while the position is 0.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from actors.mapped import PAGE_BYTES, SECTOR_BYTES, MappedPage, create_page, process_lives, process_start

MAGIC: Final = int.from_bytes(b"SWPAGE01", "little")
ACKNOWLEDGED: Final = slice(SECTOR_BYTES, 2 * SECTOR_BYTES)
SLOT: Final = struct.Struct("<16sQI")
SLOT_CRC: Final = struct.Struct("<I")
SLOT_BYTES: Final = SLOT.size + SLOT_CRC.size
MARKET_POSITION_WORD: Final = 2 * SECTOR_BYTES // 8
MARKET_EPOCH: Final = slice(2 * SECTOR_BYTES + 8, 2 * SECTOR_BYTES + 24)
EPOCH_BYTES: Final = 16
KNOWN_BY: Final = ("risk", "order_routing", "gateway")
"""Whose pages prove that a record was acknowledged (design section 4)."""
READ_TRIES: Final = 3
"""Of epoch and position together; an epoch changes once in a life."""

_MAGIC, _INCARNATION, _PID, _START, _LOOPS, _ACTIVITY, _SINCE, _PROGRESS, _DEPTH = range(9)


class Activity(IntEnum):
    """What the main loop is in the middle of; each has its own deadline with the supervisor."""

    STARTING = 0
    FOLDING = 1
    IDLE = 2
    """Waiting in the poller."""
    WORKING = 3
    SYNCING = 4
    VENUE_CALL = 5
    HOOK = 6
    """In a strategy author's code."""
    STOPPING = 7


class Acknowledged(NamedTuple):
    """The last record that its producer, or its reader, knows to be on disk."""

    journal_id: bytes
    lsn: int
    crc: int


NOTHING: Final = Acknowledged(bytes(16), 0, 0)


class Health(NamedTuple):
    """A page as it stood at one moment; all zeros if it cannot be read."""

    incarnation: int = 0
    pid: int = 0
    process_start: int = 0
    loops: int = 0
    activity: Activity = Activity.STARTING
    since_ns: int = 0
    progress_ns: int = 0
    queue_depth: int = 0
    market_epoch: bytes = b""
    market_position: int = 0
    acknowledged: Acknowledged = NOTHING

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote the page is there, and not one that got its pid later."""
        return process_lives(self.pid, self.process_start)


class HealthPage:
    """One child's page, open. One writer, any number of readers."""

    def __init__(self, page: MappedPage) -> None:
        self._page = page
        self._words = page.words
        self._slot = 0
        self._acknowledged = NOTHING
        self._epoch = b""
        self._load()

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> HealthPage:
        """The page at `path`. A writer finds a fresh one where there was none, or garbage.

        Raises: FileNotFoundError for a reader if there is none; ValueError for a reader if it is no page in length.
        """
        if writable:
            if path.exists() and not _is_page(path):
                path.unlink()
            if not path.exists():
                create_page(path, MAGIC.to_bytes(8, "little"))
        return cls(MappedPage(path, writable=writable))

    def close(self) -> None:
        self._page.close()

    # The writer's side.

    def begin_life(self, incarnation: int, pid: int) -> None:
        """The page speaks of this life from here on; what was acknowledged and the market position stay.

        It is on disk when this returns, so that incarnations grow over a power loss too.
        """
        words = self._words
        words[_PID] = 0
        words[_START] = process_start(pid)
        words[_LOOPS] = words[_DEPTH] = 0
        words[_PROGRESS] = time.monotonic_ns()
        self.set_activity(Activity.STARTING)
        words[_INCARNATION] = incarnation
        words[_PID] = pid
        self._page.sync()

    def loop(self) -> None:
        """One more turn of the main loop: that is progress."""
        words = self._words
        words[_LOOPS] += 1
        words[_PROGRESS] = time.monotonic_ns()

    def progress(self) -> None:
        """Progress within a turn, for long work such as a fold."""
        self._words[_PROGRESS] = time.monotonic_ns()

    def set_activity(self, activity: Activity) -> None:
        words = self._words
        words[_SINCE] = time.monotonic_ns()
        words[_ACTIVITY] = activity

    def set_queue_depth(self, depth: int) -> None:
        self._words[_DEPTH] = depth

    def set_market(self, epoch: bytes, position: int) -> None:
        """The child has done everything up to `position` of the market stream `epoch`."""
        words = self._words
        if epoch != self._epoch:
            words[MARKET_POSITION_WORD] = 0
            self._page.bytes[MARKET_EPOCH] = _sixteen(epoch)
            self._epoch = epoch
        words[MARKET_POSITION_WORD] = position

    def acknowledge(self, journal_id: bytes, lsn: int, crc: int) -> None:
        """The record `lsn`, whose entry has `crc`, was seen on the tail: it is on disk.

        Only while WELCOME says `sync = always` (R3). Never goes down within a journal: a child that folds again from
        the start has not forgotten what it knew.
        """
        known = self._acknowledged
        is_other = journal_id != known.journal_id
        if lsn <= (self.acknowledged(journal_id) if is_other else known.lsn):
            return
        self._acknowledged = Acknowledged(journal_id, lsn, crc)
        self._store_slot()
        if is_other:
            # Nothing of the other journal stays, or the next life might take it for the newest.
            self._store_slot()

    def zero_and_sync(self) -> None:
        """Nothing is acknowledged any more, and that is on disk (R2, R6). The child's life is left alone.

        Raises: OSError.
        """
        self._page.bytes[ACKNOWLEDGED] = bytes(SECTOR_BYTES)
        self._acknowledged = NOTHING
        self._page.sync()

    # Both sides.

    @property
    def next_incarnation(self) -> int:
        """The number for the next life: above every one that was begun on this page."""
        return self.read().incarnation + 1

    def acknowledged(self, journal_id: bytes) -> int:
        """The highest LSN known of `journal_id`, 0 if the page speaks of another; b"" means of any journal."""
        return _known(self._page.bytes, journal_id)

    def market(self) -> tuple[bytes, int]:
        """(epoch, position); b"" and 0 if nothing was said."""
        return _market(self._page.bytes, self._words) if self._words[_MAGIC] == MAGIC else (b"", 0)

    def read(self) -> Health:
        return _decode(self._page.bytes)

    def _store_slot(self) -> None:
        self._slot = 1 - self._slot
        self._page.bytes[_slot_slice(self._slot)] = _encode_slot(self._acknowledged)

    def _load(self) -> None:
        """Goes on where the last life ended, so that a new one lowers nothing."""
        if self._words[_MAGIC] != MAGIC:
            return
        self._epoch = self.market()[0]
        slots = _slots(self._page.bytes)
        if slots:
            self._slot, self._acknowledged = max(slots, key=lambda slot: slot[1].lsn)


def read_health(path: Path) -> Health:
    """The page at `path` once, without keeping it open; zeros if there is none or it is garbage."""
    return _decode(memoryview(_read_bytes(path)))


def is_alive(path: Path) -> bool:
    """Whether the process that last began a life on the page at `path` is alive."""
    return read_health(path).is_alive


def known_lsn(pages_dir: Path, names: Iterable[str], journal_id: bytes) -> int:
    """The highest LSN of `journal_id` that any of these children had seen acknowledged; b"" means of any journal.

    A page that is missing or garbage says 0. Raises: OSError if a page is there and cannot be read: to go on as if
    nothing were known could take a corrupt journal for a torn one.
    """
    return max((_known(memoryview(_read_bytes(pages_dir / f"{name}.page")), journal_id) for name in names), default=0)


def forget_acknowledged(pages_dir: Path, names: Iterable[str]) -> None:
    """No page of these children says that anything was acknowledged, and that is on disk (R2). Raises: OSError."""
    for name in names:
        path = pages_dir / f"{name}.page"
        if path.exists():
            page = HealthPage.open(path, writable=True)
            page.zero_and_sync()
            page.close()


def _read_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(PAGE_BYTES)
    except FileNotFoundError:
        return b""


def _is_page(path: Path) -> bool:
    return path.stat().st_size == PAGE_BYTES and _has_magic(memoryview(_read_bytes(path)))


def _has_magic(view: memoryview) -> bool:
    return len(view) == PAGE_BYTES and int.from_bytes(view[:8], "little") == MAGIC


def _decode(view: memoryview) -> Health:
    if not _has_magic(view):
        return Health()
    words = view.cast("Q")
    number = words[_ACTIVITY]
    epoch, position = _market(view, words)
    slots = _slots(view)
    return Health(
        incarnation=words[_INCARNATION],
        pid=words[_PID],
        process_start=words[_START],
        loops=words[_LOOPS],
        activity=Activity(number) if number <= Activity.STOPPING else Activity.STARTING,
        since_ns=words[_SINCE],
        progress_ns=words[_PROGRESS],
        queue_depth=words[_DEPTH],
        market_epoch=epoch,
        market_position=position,
        acknowledged=max((slot for _, slot in slots), key=lambda slot: slot.lsn, default=NOTHING),
    )


def _market(view: memoryview, words: memoryview) -> tuple[bytes, int]:
    """Epoch and position that belong together, or position 0 if the writer keeps changing the epoch."""
    for _ in range(READ_TRIES):
        epoch = bytes(view[MARKET_EPOCH])
        position = words[MARKET_POSITION_WORD]
        if bytes(view[MARKET_EPOCH]) == epoch:
            return epoch if any(epoch) else b"", position
    return b"", 0


def _known(view: memoryview, journal_id: bytes) -> int:
    if not _has_magic(view):
        return 0
    return max((slot.lsn for _, slot in _slots(view) if journal_id in (b"", slot.journal_id)), default=0)


def _slots(view: memoryview) -> list[tuple[int, Acknowledged]]:
    """(index, record) of each whole slot."""
    whole = []
    for index in range(2):
        slot = bytes(view[_slot_slice(index)])
        if SLOT_CRC.unpack_from(slot, SLOT.size)[0] == crc32(slot[: SLOT.size]):
            whole.append((index, Acknowledged._make(SLOT.unpack_from(slot))))
    return whole


def _encode_slot(record: Acknowledged) -> bytes:
    body = SLOT.pack(*record)
    return body + SLOT_CRC.pack(crc32(body))


def _slot_slice(index: int) -> slice:
    start = ACKNOWLEDGED.start + index * SLOT_BYTES
    return slice(start, start + SLOT_BYTES)


def _sixteen(epoch: bytes) -> bytes:
    return epoch[:EPOCH_BYTES].ljust(EPOCH_BYTES, b"\0")
