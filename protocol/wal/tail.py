"""Where entries are found again: recent segments in memory, older ones through a sparse index of the file, and
what lies before the last roll in sealed files.

Owns bounded memory for serving consumers. Works on bytes that wal has itself written or verified: steps from
entry to entry by their lengths and computes no CRC again; but sealed files, which it has not verified itself.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from protocol.errors import WalError
from protocol.logs import Log
from protocol.wal.batch import Segment
from protocol.wal.format import HEADER, BadEntry, decode_envelope, iterate_entries
from protocol.wal.scan import INDEX_EVERY, Readable
from protocol.wal.sealed import Content, SealedFile, list_sealed, open_sealed
from protocol.wal.storage import File, Storage

LENGTH: Final = struct.Struct("<5xI")
"""The length field of a header, alone."""
LSN_MAX: Final = 2**64 - 1
STEP_BYTES: Final = 64 * 1024
"""Read at a time while stepping to an entry."""

_log = Log()
_unpack_length = LENGTH.unpack_from
_first_lsn = itemgetter(0)


def cut_entries(payload: bytes, start: int, count_max: int, bytes_max: int) -> tuple[int, int]:
    """(count, end offset) of the whole entries from `start` within both limits; at least one, however large."""
    count, end, size, limit = 0, start, len(payload), start + bytes_max
    while count < count_max and end + HEADER.size <= size:
        after = end + HEADER.size + _unpack_length(payload, end)[0]
        if after > size or (count and after > limit):
            break
        count, end = count + 1, after
    return count, end


class RecentSegments:
    """The last segments, whole, up to `bytes_max` together (the newest always)."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._segments: deque[Segment] = deque()

    def add(self, segment: Segment) -> None:
        segments = self._segments
        segments.append(segment)
        self._bytes += len(segment.payload)
        while self._bytes > self._bytes_max and len(segments) > 1:
            self._bytes -= len(segments.popleft().payload)

    def read(self, from_lsn: int, to_lsn: int, bytes_max: int) -> tuple[int, bytes] | None:
        """(count, entries) from `from_lsn`, or None if that is no longer, or not yet, here.

        Whole segments as far as they fit; only one that must be is cut, for that means stepping through it.
        """
        segments = self._segments
        if not segments or not segments[0].first_lsn <= from_lsn <= segments[-1].last_lsn:
            return None
        number = len(segments) - 1  # nearly always: who follows closely wants the newest
        if from_lsn < segments[number].first_lsn:
            number = bisect_right(segments, from_lsn, key=_first_lsn) - 1
        lsn, room, parts = from_lsn, bytes_max, list[bytes]()
        while number < len(segments) and lsn <= to_lsn:
            first_lsn, last_lsn, payload = segments[number]
            if lsn > first_lsn or last_lsn > to_lsn or (len(payload) > room and not parts):
                payload, last_lsn = _part_of(payload, first_lsn, lsn, min(last_lsn, to_lsn), room)
            if len(payload) > room and parts:
                break
            parts.append(payload)
            room -= len(payload)
            lsn = last_lsn + 1
            if last_lsn < segments[number].last_lsn:
                break
            number += 1
        return lsn - from_lsn, b"".join(parts)


def _part_of(payload: bytes, first_lsn: int, from_lsn: int, to_lsn: int, bytes_max: int) -> tuple[bytes, int]:
    """The entries from_lsn..to_lsn of a batch within bytes_max, at least one, and the last LSN among them."""
    start = cut_entries(payload, 0, from_lsn - first_lsn, len(payload))[1]
    count, end = cut_entries(payload, start, to_lsn - from_lsn + 1, bytes_max)
    return payload[start:end], from_lsn + count - 1


class SparseIndex:
    """LSN -> offset of every so many entries; what lies between is stepped over."""

    def __init__(self, lsns: list[int], offsets: list[int]) -> None:
        self._lsns, self._offsets = lsns, offsets

    def add(self, lsn: int, offset: int) -> None:
        """A segment begins here; kept if the last point is far enough behind."""
        if not self._lsns or lsn - self._lsns[-1] >= INDEX_EVERY:
            self._lsns.append(lsn)
            self._offsets.append(offset)

    def offset_of(self, file: Readable, lsn: int) -> int:
        """Where the entry `lsn` begins, which must be in the file."""
        point = bisect_right(self._lsns, lsn) - 1
        at, offset = self._lsns[point], self._offsets[point]
        window, start = b"", offset
        while at < lsn:
            if offset + HEADER.size > start + len(window):
                window, start = file.read(offset, STEP_BYTES), offset
                if len(window) < HEADER.size:
                    raise WalError(f"LSN {lsn} is not in the file, which ends at byte {offset}")
            offset += HEADER.size + _unpack_length(window, offset - start)[0]
            at += 1
        return offset


class SealedEntries:
    """The entries of the sealed files in `directory`, by LSN; one file is open at a time."""

    def __init__(self, storage: Storage, directory: Path) -> None:
        self._storage = storage
        self._directory = directory
        self._listed: list[SealedFile] | None = None
        """As of the last look at the directory, with what the journal has sealed since; None: look before the next."""
        self._opened: _OpenSealed | None = None

    def read(self, from_lsn: int, to_lsn: int, bytes_max: int) -> tuple[int, bytes] | None:
        """(count, entries) from `from_lsn`, verified; None if they are no longer there, or damaged."""
        try:
            found = self._read(from_lsn, to_lsn, bytes_max)
        except (WalError, struct.error) as error:
            _log.warning("sealed_file_unreadable", lsn=from_lsn, error=str(error), advice="run `seawall wal verify`")
            found = None
        if found is None:
            self.close()
        return found

    def add(self, sealed: SealedFile) -> None:
        """journal.wal is called so now."""
        if self._listed is not None:
            self._listed.append(sealed)
        if self._opened is not None:
            self._opened.end_lsn = min(self._opened.end_lsn, sealed.first_lsn)

    def close(self) -> None:
        """No file is open, and the directory is looked at anew."""
        self._listed = None
        if self._opened is not None:
            self._opened.file.close()
            self._opened = None

    def _read(self, from_lsn: int, to_lsn: int, bytes_max: int) -> tuple[int, bytes] | None:
        for _ in range(2):
            try:
                opened = self._open(from_lsn)
                return opened and _read_sealed(opened.file, opened.index, from_lsn, to_lsn, bytes_max)
            except FileNotFoundError:  # it has been packed or removed since the directory was looked at
                self.close()
        return None

    def _open(self, lsn: int) -> _OpenSealed | None:
        """The file that has the entry, if there is one. Whoever reads on stays on the open file: the directory may hold
        thousands, and wal's loop waits meanwhile."""
        if self._opened is not None and self._opened.first_lsn <= lsn < self._opened.end_lsn:
            return self._opened
        if self._listed is None:
            self._listed = list_sealed(self._storage, self._directory)
        number = bisect_right(self._listed, lsn, key=_first_lsn) - 1
        if number < 0:
            return None
        sealed, later = self._listed[number], self._listed[number + 1 : number + 2]
        if self._opened is not None:
            self._opened.file.close()
            self._opened = None
        file, index = open_sealed(self._storage, sealed), SparseIndex([sealed.first_lsn], [0])
        self._opened = _OpenSealed(sealed.first_lsn, later[0].first_lsn if later else LSN_MAX, file, index)
        return self._opened


@dataclass(slots=True)
class _OpenSealed:
    first_lsn: int
    end_lsn: int
    """Where the next file begins; LSN_MAX while there is none."""
    file: File | Content
    index: SparseIndex


def _read_sealed(
    file: File | Content, index: SparseIndex, from_lsn: int, to_lsn: int, bytes_max: int
) -> tuple[int, bytes] | None:
    offset = index.offset_of(file, from_lsn)
    window = file.read(offset, max(bytes_max, HEADER.size))
    if len(window) < HEADER.size:
        return None
    whole = HEADER.size + _unpack_length(window)[0]
    if whole > len(window):
        window = file.read(offset, whole)
    count, end = cut_entries(window, 0, to_lsn - from_lsn + 1, max(bytes_max, whole))
    lsn = from_lsn
    for entry in iterate_entries(window[:end]):
        envelope = None if isinstance(entry, BadEntry) else decode_envelope(entry.data)
        if envelope is None or envelope.lsn != lsn:
            raise WalError(f"the entry at byte {offset + entry.offset} is not LSN {lsn}, or damaged")
        lsn += 1
    index.add(lsn, offset + end)
    return (count, window[:end]) if count else None
