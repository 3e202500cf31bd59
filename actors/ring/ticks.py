"""The ticks that a part of the ring holds, by number: columns to look things up in, oldest first.

Bounded by the market pipe: whoever holds ticks has not given their credit back (P12).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from protocol.codec import MarketPayload
from protocol.topics import TICK_DTYPE

DTYPE: Final = np.dtype(TICK_DTYPE)
MERGED_MAX: Final = 8192
"""Ticks of a piece that is put together from smaller ones, as bars cut them: what is held is few pieces, whatever is
held. 28,000 of them, of minute data with minute bars, once took most of a run's time."""


class Piece(NamedTuple):
    """`ticks[0]` is the tick `first`."""

    first: int
    ticks: Any
    """Structured array of TICK_DTYPE."""
    volumes: Any
    """i64 micros by tick, or None."""
    times: Any
    """u64 microseconds by tick, contiguous."""

    @property
    def last(self) -> int:
        return self.first + len(self.ticks) - 1


class HeldTicks:
    """Ticks in a row. `last` is the newest; `end` the tick after the last of the feed, once that is known."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.last = 0
        self.end: int | None = None

    def begin(self, tick: int) -> None:
        """The first tick to come is `tick`."""
        self.last = tick - 1

    def add(self, first: int, payload: MarketPayload) -> None:
        """Raises: ValueError if `first` does not follow."""
        if first != self.last + 1:
            raise ValueError(f"expected tick {self.last + 1}, got {first}")
        ticks = np.frombuffer(payload.records, dtype=DTYPE)
        volumes = None if payload.volumes is None else np.frombuffer(payload.volumes, dtype="<i8")
        piece = Piece(first, ticks, volumes, np.ascontiguousarray(ticks["timestamp"]))
        self.last = piece.last
        while self._pieces and len(self._pieces[-1].ticks) <= len(piece.ticks) <= MERGED_MAX // 2:
            piece = _joined([self._pieces.pop(), piece])  # with its like: every tick is copied a few times at most
        self._pieces.append(piece)

    def add_end(self) -> None:
        self.end = self.last + 1

    @property
    def holds_all(self) -> bool:
        return self.end is not None

    def time_of(self, tick: int) -> int:
        """Of a held tick; 0 before the first, and that of the last for the end (P1, P10)."""
        if tick <= 0:
            return 0
        tick = min(tick, self.last)
        for piece in reversed(self._pieces):
            if tick >= piece.first:
                return int(piece.times[tick - piece.first])
        raise LookupError(f"tick {tick} is not held any more")

    def first_at(self, time_us: int, after: int) -> int | None:
        """The first tick beyond `after` whose time is `time_us` or later; None if no held one is."""
        for piece in self._pieces:
            if piece.last <= after or piece.times[-1] < time_us:
                continue
            start = max(0, after + 1 - piece.first)
            return piece.first + max(start, int(np.searchsorted(piece.times, time_us)))
        return None

    def cut(self, after: int, to: int) -> Iterator[Piece]:
        """The ticks after + 1 .. to, all held, as views of the pieces in which they lie."""
        for piece in self._pieces:
            if piece.last > after and piece.first <= to:
                start, stop = max(0, after + 1 - piece.first), to + 1 - piece.first
                volumes = None if piece.volumes is None else piece.volumes[start:stop]
                yield Piece(piece.first + start, piece.ticks[start:stop], volumes, piece.times[start:stop])

    def drop(self, to: int) -> int:
        """Forgets whole pieces up to the tick `to`, the newest apart. Returns how many."""
        dropped = 0
        while len(self._pieces) > 1 and self._pieces[0].last <= to:
            self._pieces.popleft()
            dropped += 1
        return dropped


def _joined(pieces: list[Piece]) -> Piece:
    volumes = None if pieces[0].volumes is None else np.concatenate([piece.volumes for piece in pieces])
    ticks, times = (np.concatenate([piece[field] for piece in pieces]) for field in (1, 3))
    return Piece(pieces[0].first, ticks, volumes, times)


__all__ = ["DTYPE", "HeldTicks", "Piece"]
