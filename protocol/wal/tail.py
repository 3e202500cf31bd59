"""Where entries are found again: recent batches in memory, older ones through a sparse index of the file.

Owns bounded memory for serving consumers. Works on bytes that wal has itself written or verified: steps from
entry to entry by their lengths and computes no CRC again.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from operator import itemgetter
from typing import Final

from protocol.wal.format import HEADER
from protocol.wal.scan import INDEX_EVERY, Readable

LENGTH: Final = struct.Struct("<5xI")
"""The length field of a header, alone."""
STEP_BYTES: Final = 64 * 1024
"""Read at a time while stepping to an entry."""

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


class RecentBatches:
    """The last batches, whole, up to `bytes_max` together (the newest always)."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._batches: deque[tuple[int, int, bytes]] = deque()

    def add(self, first_lsn: int, last_lsn: int, payload: bytes) -> None:
        batches = self._batches
        batches.append((first_lsn, last_lsn, payload))
        self._bytes += len(payload)
        while self._bytes > self._bytes_max and len(batches) > 1:
            self._bytes -= len(batches.popleft()[2])

    def read(self, from_lsn: int, to_lsn: int, bytes_max: int) -> tuple[int, bytes] | None:
        """(count, entries) from `from_lsn`, or None if that is no longer, or not yet, here."""
        batches = self._batches
        if not batches or not batches[0][0] <= from_lsn <= batches[-1][1]:
            return None
        parts: list[bytes] = []
        number, lsn, room = bisect_right(batches, from_lsn, key=_first_lsn) - 1, from_lsn, bytes_max
        while number < len(batches) and lsn <= to_lsn:
            first_lsn, last_lsn, payload = batches[number]
            if lsn > first_lsn or last_lsn > to_lsn or len(payload) > room:
                payload, last_lsn = _part_of(payload, first_lsn, lsn, min(last_lsn, to_lsn), room)
                if parts and len(payload) > room:
                    break
            parts.append(payload)
            room -= len(payload)
            if last_lsn < batches[number][1]:
                lsn = last_lsn + 1
                break
            number, lsn = number + 1, last_lsn + 1
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
        """A batch begins here; kept if the last point is far enough behind."""
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
            offset += HEADER.size + _unpack_length(window, offset - start)[0]
            at += 1
        return offset
