"""The watermark: how far the journal is known to be on disk, kept outside the journal.

Owns one file of two slots, each alone in a 512-byte sector, written in turn: a write that tears leaves the
other slot whole. Written only after the journal's own sync, so it never says more than the disk holds. The
journal id stands in it, so that it cannot speak of another journal (R3).

    slot  [magic "SWMK":4][sequence:8][journal_id:16][lsn:8][entry_crc:4][crc32 of the foregoing:4], zeros to 512
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from protocol.logs import Log
from protocol.wal.storage import SECTOR_BYTES, File, Storage

SLOTS: Final = 2
SLOT: Final = struct.Struct("<4sQ16sQI")
SLOT_CRC: Final = struct.Struct("<I")
SLOT_MAGIC: Final = b"SWMK"
EMPTY: Final = bytes(SECTOR_BYTES)

_log = Log()


@dataclass(frozen=True, slots=True)
class Mark:
    """The entry `lsn` of the journal `journal_id`, whose crc32 is `crc`, is on disk, and all before it."""

    journal_id: bytes
    lsn: int
    crc: int


def encode_slot(sequence: int, mark: Mark) -> bytes:
    body = SLOT.pack(SLOT_MAGIC, sequence, mark.journal_id, mark.lsn, mark.crc)
    return (body + SLOT_CRC.pack(crc32(body))).ljust(SECTOR_BYTES, b"\0")


def decode_slot(sector: bytes) -> tuple[int, Mark] | None:
    """(sequence, mark), or None if the sector is empty, torn or damaged."""
    if len(sector) != SECTOR_BYTES:
        return None
    body, (crc,) = sector[: SLOT.size], SLOT_CRC.unpack_from(sector, SLOT.size)
    if crc32(body) != crc:
        return None
    magic, sequence, journal_id, lsn, entry_crc = SLOT.unpack(body)
    return (sequence, Mark(journal_id, lsn, entry_crc)) if magic == SLOT_MAGIC else None


class Watermark:
    """The file at `path`. Every failure is the journal's: WalSyncError, final."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage
        self._file: File | None = None
        self._sequence = 0
        self.is_damaged = False
        """read() found both slots written, and neither whole."""

    def read(self) -> Mark | None:
        """The newest whole mark, None if there is none. Writes nothing."""
        try:
            file = self._storage.open(self._path, read_only=True)
        except FileNotFoundError:
            return None
        content = file.read(0, SLOTS * SECTOR_BYTES)
        file.close()
        sectors = [content[start : start + SECTOR_BYTES] for start in range(0, len(content), SECTOR_BYTES)]
        slots = [slot for sector in sectors if (slot := decode_slot(sector))]
        if not slots:
            # One torn slot beside an empty one is a first write that power cut short; both damaged is not.
            if sum(any(sector) for sector in sectors) == SLOTS:
                self.is_damaged = True
                _log.warning("watermark_unreadable", file=str(self._path), advice="run `seawall wal verify`")
            return None
        self._sequence, mark = max(slots, key=lambda slot: slot[0])
        return mark

    def write(self, mark: Mark) -> None:
        """`mark` is on disk, in the slot that does not hold the newest one."""
        file = self._open()
        self._sequence += 1
        file.write(self._sequence % SLOTS * SECTOR_BYTES, encode_slot(self._sequence, mark))
        file.sync()

    def reset(self) -> None:
        """Nothing is known any more, and that is on disk (R2, R6)."""
        file = self._open()
        file.write(0, EMPTY * SLOTS)
        file.sync()
        self._sequence = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> File:
        if self._file is None:
            self._file = self._storage.open(self._path, create=True)
            if self._file.size() != SLOTS * SECTOR_BYTES:
                self._file.write(0, EMPTY * SLOTS)
                self._file.sync()
                self._storage.sync_directory(self._path.parent)
        return self._file
