"""Bars from ticks: pure, fed batch by batch, every bar put before the tick that closed it (seams P1).

A bar covers one interval of the clock (multiples of its timeframe since the epoch), is built on bid prices,
bears the time at which it opened, and sums the volumes of its ticks; a tick without a volume counts one. It is
finished when a tick of its symbol arrives in a later interval, or at the end of the feed. An interval without a
tick has no bar. Bars that one tick finishes are in order of timeframe; those at the end in order of closing time,
symbol and timeframe.

Ticks are gathered into a *piece* that lies within one interval of every timeframe, and pieces are added to the
bars: the work for a tick does not grow with the number of timeframes. Large batches are gathered by columns
(bar_columns.py). A tick older than its symbol's last one (a live feed's clock may err) counts in the bar that is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Final, Literal

from actors.sources.batch import TICK_VOLUME, TickBatch
from protocol.codec import VOLUME, MarketKind
from protocol.topics import BAR, TICK, Topic
from protocol.units import MICROS_MAX

if TYPE_CHECKING:
    from actors.bar_columns import Group

MINUTE_US: Final = 60_000_000
COLUMNS_TICKS_MIN: Final = 256
"""From so many ticks on a batch is gathered by columns (from there on it is faster); before, NumPy is not imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarBatch:
    records: bytes
    """`count` BAR records (55 bytes each)."""
    count: int
    before_tick: int
    """Index, within the batch that was split, of the tick that closed them; 0 at the end of the feed."""
    kind: Literal[MarketKind.BARS] = field(default=MarketKind.BARS, init=False)


class BarBuilder:
    def __init__(self, timeframes_minutes: Sequence[int]) -> None:
        self._timeframes: Final = tuple(sorted(timeframes_minutes))
        self._spans_us: Final = _boundaries_us(self._timeframes)
        self._pieces: dict[int, _Piece] = {}
        self._bars: dict[int, list[_Bar]] = {}

    def split(self, batch: TickBatch) -> list[BarBatch | TickBatch]:
        """The batch, cut where bars finish, with those bars between; without timeframes the batch as it is."""
        if not self._timeframes:
            return [batch]
        if batch.count >= COLUMNS_TICKS_MIN:
            from actors.bar_columns import group_ticks

            groups = group_ticks(batch, self._spans_us)
            if groups is not None:
                return self._split_by_groups(batch, groups)
        return self._split_by_ticks(batch)

    def _split_by_groups(self, batch: TickBatch, groups: list[Group]) -> list[BarBatch | TickBatch]:
        parts: list[BarBatch | TickBatch] = []
        pieces, start = self._pieces, 0
        for index, symbol_id, time_us, opened, high, low, close, volume in groups:
            piece = pieces.get(symbol_id)
            if piece is not None and time_us < piece.until_us:
                piece.volume += volume
            else:
                start = self._finish(parts, batch, start, index, symbol_id, time_us)
                piece = pieces[symbol_id] = self._open_piece(symbol_id, time_us, opened, volume)
            piece.high, piece.low, piece.close = max(piece.high, high), min(piece.low, low), close
        parts.append(batch.slice(start, batch.count))
        return parts

    def _split_by_ticks(self, batch: TickBatch) -> list[BarBatch | TickBatch]:
        parts: list[BarBatch | TickBatch] = []
        pieces, start = self._pieces, 0
        ticks = zip(TICK.iter_unpack(batch.records), _volumes(batch), strict=False)
        for index, ((_, symbol_id, time_us, bid, _), volume) in enumerate(ticks):
            piece = pieces.get(symbol_id)
            if piece is not None and time_us < piece.until_us:
                piece.add(bid, volume)
                continue
            start = self._finish(parts, batch, start, index, symbol_id, time_us)
            pieces[symbol_id] = self._open_piece(symbol_id, time_us, bid, volume)
        parts.append(batch.slice(start, batch.count))
        return parts

    def _finish(
        self,
        parts: list[BarBatch | TickBatch],
        batch: TickBatch,
        start: int,
        index: int,
        symbol_id: int,
        time_us: int,
    ) -> int:
        """The ticks from `start` on and the bars that tick `index` closes join `parts`; where the next ticks begin."""
        finished = self._close_piece(symbol_id, time_us)
        if not finished:
            return start
        if index > start:
            parts.append(batch.slice(start, index))
        parts.append(BarBatch(records=b"".join(finished), count=len(finished), before_tick=index))
        return index

    def flush(self) -> BarBatch:
        """The bars still open, at the end of the feed (perhaps none); the builder is empty afterwards."""
        finished: list[tuple[int, int, int, bytes]] = []
        for symbol_id, piece in self._pieces.items():
            for bar in self._bars[symbol_id]:
                bar.add(piece)
                finished.append((bar.until_us, symbol_id, bar.minutes, bar.encode(symbol_id)))
        self._pieces, self._bars = {}, {}
        records = b"".join([record for *_, record in sorted(finished)])
        return BarBatch(records=records, count=len(finished), before_tick=0)

    def _close_piece(self, symbol_id: int, time_us: int) -> list[bytes]:
        """Adds the symbol's piece to its bars; the records of those that end by `time_us`."""
        piece = self._pieces.get(symbol_id)
        if piece is None:
            return []
        finished: list[bytes] = []
        still_open: list[_Bar] = []
        for bar in self._bars[symbol_id]:
            bar.add(piece)
            if time_us >= bar.until_us:
                finished.append(bar.encode(symbol_id))
            else:
                still_open.append(bar)
        self._bars[symbol_id] = still_open
        return finished

    def _open_piece(self, symbol_id: int, time_us: int, bid: int, volume: int) -> _Piece:
        """A piece that begins with this tick, and bars for the timeframes that have none open."""
        still_open = {bar.minutes: bar for bar in self._bars.get(symbol_id, ())}
        bars = [still_open.get(minutes) or _Bar(minutes, time_us, bid) for minutes in self._timeframes]
        self._bars[symbol_id] = bars
        return _Piece(min(bar.until_us for bar in bars), bid, volume)


class _Piece:
    """What was seen of a symbol since a bar of it last opened or finished."""

    __slots__ = ("close", "high", "low", "until_us", "volume")

    def __init__(self, until_us: int, bid: int, volume: int) -> None:
        self.until_us = until_us
        self.high = self.low = self.close = bid
        self.volume = volume

    def add(self, bid: int, volume: int) -> None:
        if bid > self.high:
            self.high = bid
        elif bid < self.low:
            self.low = bid
        self.close = bid
        self.volume += volume


class _Bar:
    __slots__ = ("close", "high", "low", "minutes", "open", "open_us", "until_us", "volume")

    def __init__(self, minutes: int, time_us: int, bid: int) -> None:
        span_us = minutes * MINUTE_US
        self.minutes = minutes
        self.open_us = time_us - time_us % span_us
        self.until_us = self.open_us + span_us
        self.open = self.high = self.low = self.close = bid
        self.volume = 0

    def add(self, piece: _Piece) -> None:
        self.high = max(self.high, piece.high)
        self.low = min(self.low, piece.low)
        self.close = piece.close
        self.volume += piece.volume

    def encode(self, symbol_id: int) -> bytes:
        volume = min(self.volume, MICROS_MAX)  # a sum may outgrow what one row could say
        return BAR.pack(
            Topic.BAR, symbol_id, self.minutes, self.open_us, self.open, self.high, self.low, self.close, volume
        )


def _boundaries_us(timeframes: Sequence[int]) -> list[int]:
    """The timeframes whose intervals' ends are all there are: a multiple of another one adds none."""
    return [
        minutes * MINUTE_US
        for minutes in timeframes
        if not any(minutes % other == 0 for other in timeframes if other < minutes)
    ]


def _volumes(batch: TickBatch) -> Iterable[int]:
    if not batch.volumes:
        return repeat(TICK_VOLUME)
    return (volume for (volume,) in VOLUME.iter_unpack(batch.volumes))
