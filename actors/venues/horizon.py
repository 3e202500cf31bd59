"""P6's horizon: the first of many ticks at which something acts, found without stepping.

What a symbol's orders wait for comes down to a few prices, its bands: the ask at or below, the ask at or above, the bid
at or below, the bid at or above, or any tick at all. They hold for all orders together, so one tick costs the venue
four comparisons, and a search over ticks as many passes, however many orders rest; they are computed again when an
order of the symbol changes. Under a participation limit, what only fills needs volume too and has bands of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors.venues.working import Working

if TYPE_CHECKING:
    import numpy as np

NEVER_LOW: Final = -1
"""No ask or bid is at or below it: prices are above 0."""
NEVER_HIGH: Final = 2**63 - 1
EVERY_LOW: Final = 2**63 - 1
"""Every ask and bid is at or below it."""
FIRST_CHUNK: Final = 512
"""Ticks searched first; each further piece is four times as long, for the next act is mostly near."""
SINGLY_MAX: Final = 1
"""So many symbols are searched one by one; more by a look into tables, which costs what two do, however many."""
LAST_CHUNK: Final = 64
"""Ticks at the end among which the last one of every symbol mostly is."""


class Bands(NamedTuple):
    """A tick acts if its ask is at or below `ask_low`, or at or above `ask_high`, and so on. Micros."""

    ask_low: int = NEVER_LOW
    ask_high: int = NEVER_HIGH
    bid_low: int = NEVER_LOW
    bid_high: int = NEVER_HIGH

    def reached(self, bid: int, ask: int) -> bool:
        return ask <= self.ask_low or ask >= self.ask_high or bid <= self.bid_low or bid >= self.bid_high


_COLUMNS: Final = (("ask", "ask_low", "ask_high"), ("bid", "bid_low", "bid_high"))


class SymbolBands(NamedTuple):
    free: Bands = Bands()
    by_volume: Bands = Bands()
    """What acts only at a tick with a volume of `least_volume` or more."""
    least_volume: int = 0

    def may_act(self, bid: int, ask: int) -> bool:
        """False: on no account."""
        return self.free.reached(bid, ask) or self.by_volume.reached(bid, ask)


def bands_of(orders: Iterable[Working], trail_step: int, least_volume: int) -> SymbolBands:
    """The bands of one symbol's orders. `least_volume` 0: size is not modelled."""
    free, by_volume = _Collector(), _Collector()
    for order in orders:
        if order.waits_for_stop:
            free.add_stop(order, trail_step)
        elif order.is_immediate:
            free.ask_low = EVERY_LOW
        else:
            (by_volume if least_volume else free).add_limit(order)
    return SymbolBands(free.bands(), by_volume.bands(), least_volume)


class _Collector:
    def __init__(self) -> None:
        self.ask_low = self.bid_low = NEVER_LOW
        self.ask_high = self.bid_high = NEVER_HIGH

    def add_stop(self, order: Working, trail_step: int) -> None:
        """It is triggered, or, if it trails, moves."""
        stop, trail = order.stop_price, order.place.trail
        if not stop:
            self.ask_low = EVERY_LOW
        elif order.is_buy:
            self.ask_high = min(self.ask_high, stop)
            if trail:
                self.ask_low = max(self.ask_low, stop - trail - trail_step)
        else:
            self.bid_low = max(self.bid_low, stop)
            if trail:
                self.bid_high = min(self.bid_high, stop + trail + trail_step)

    def add_limit(self, order: Working) -> None:
        if not order.limit_price:
            self.ask_low = EVERY_LOW
        elif order.is_buy:
            self.ask_low = max(self.ask_low, order.limit_price)
        else:
            self.bid_high = min(self.bid_high, order.limit_price)

    def bands(self) -> Bands:
        return Bands(self.ask_low, self.ask_high, self.bid_low, self.bid_high)


class Horizon:
    """The bands of all symbols in which orders work."""

    def __init__(self) -> None:
        self._bands: Final[dict[int, SymbolBands]] = {}
        self._tables: _Tables | None = None

    def put(self, symbol_id: int, bands: SymbolBands | None) -> None:
        """None: nothing works in the symbol."""
        self._tables = None
        if bands is None:
            self._bands.pop(symbol_id, None)
        else:
            self._bands[symbol_id] = bands

    def extended(self, bands: Mapping[int, SymbolBands]) -> Horizon:
        """Another one, in which these hold besides."""
        horizon = Horizon()
        for symbol_id, one in {**self._bands, **bands}.items():
            horizon.put(symbol_id, one)
        return horizon

    def get(self, symbol_id: int) -> SymbolBands | None:
        return self._bands.get(symbol_id)

    def first_reached(self, ticks: np.ndarray, volumes: np.ndarray | None, end: int) -> int | None:
        """The index of the first tick before `end` at which an order of its symbol acts."""
        start, size = 0, FIRST_CHUNK
        while start < end and self._bands:
            stop = min(start + size, end)
            found = self._search(ticks[start:stop], None if volumes is None else volumes[start:stop])
            if found is not None:
                return start + found
            start, size = stop, size * 4
        return None

    def _search(self, ticks: np.ndarray, volumes: np.ndarray | None) -> int | None:
        if len(self._bands) > SINGLY_MAX:
            if self._tables is None:
                self._tables = _Tables(self._bands)
            return _first(self._tables.acts(ticks, volumes))
        found: int | None = None
        for symbol_id, bands in self._bands.items():
            end = len(ticks) if found is None else found
            index = _first(_acts(ticks[:end], None if volumes is None else volumes[:end], symbol_id, bands))
            found = found if index is None else index
        return found


class _Tables:
    """The bands as arrays by symbol id; the last row stands for all symbols in which nothing works."""

    def __init__(self, bands: Mapping[int, SymbolBands]) -> None:
        import numpy as np

        self._last = max(bands) + 1
        rows = [bands.get(symbol_id, SymbolBands()) for symbol_id in range(self._last + 1)]
        self._free, self._by_volume = (
            {name: np.array([getattr(getattr(row, kind), name) for row in rows], "i8") for name in Bands._fields}
            for kind in ("free", "by_volume")
        )
        self._least_volume = np.array([row.least_volume for row in rows], "i8")

    def acts(self, ticks: np.ndarray, volumes: np.ndarray | None) -> np.ndarray | None:
        import numpy as np

        rows = np.minimum(ticks["symbol_id"], self._last).astype(np.intp)
        acts = self._reached(ticks, rows, self._free)
        if volumes is None:
            return acts
        more = self._reached(ticks, rows, self._by_volume)
        return _either(acts, None if more is None else more & (volumes >= self._least_volume[rows]))

    @staticmethod
    def _reached(ticks: np.ndarray, rows: np.ndarray, tables: Mapping[str, np.ndarray]) -> np.ndarray | None:
        acts: np.ndarray | None = None
        for name, low, high in _COLUMNS:
            if tables[low].max() != NEVER_LOW:
                acts = _either(acts, ticks[name] <= tables[low][rows])
            if tables[high].min() != NEVER_HIGH:
                acts = _either(acts, ticks[name] >= tables[high][rows])
        return acts


def first_at_or_after(timestamps: np.ndarray, time_us: int, start: int = 0) -> int | None:
    """The index, from `start`, of the first of them that is `time_us` or later; they need not be sorted."""
    import numpy as np

    found = _first(timestamps[start:] >= np.uint64(max(time_us, 0)))
    return None if found is None else start + found


def first_in(ticks: np.ndarray, symbol_id: int) -> int | None:
    """The index of the symbol's first tick."""
    return _first(ticks["symbol_id"] == symbol_id)


def last_of_each(ticks: np.ndarray, symbols: int) -> Iterator[Any]:
    """The last tick of every symbol among them, as records; there are `symbols` at most that matter."""
    import numpy as np

    for piece in (ticks[-LAST_CHUNK:], ticks):
        symbol_ids = piece["symbol_id"]
        last = np.full(int(symbol_ids.max(initial=0)) + 1, -1)
        last[symbol_ids] = np.arange(len(piece))  # of a repeated index the last assignment stays
        found = last[last >= 0]
        if len(found) >= symbols or len(piece) == len(ticks):
            return map(piece.__getitem__, found)
    raise AssertionError("the second piece is all of them")


def _first(acts: np.ndarray | None) -> int | None:
    if acts is None or not len(acts):
        return None
    index = int(acts.argmax())
    return index if acts[index] else None


def _acts(ticks: np.ndarray, volumes: np.ndarray | None, symbol_id: int, bands: SymbolBands) -> np.ndarray | None:
    """Where an order of the symbol acts; None: nowhere."""
    acts = _reached(ticks, bands.free)
    if volumes is not None and (more := _reached(ticks, bands.by_volume)) is not None:
        acts = _either(acts, more & (volumes >= bands.least_volume))
    return None if acts is None else acts & (ticks["symbol_id"] == symbol_id)


def _reached(ticks: np.ndarray, bands: Bands) -> np.ndarray | None:
    acts: np.ndarray | None = None
    for name, low, high in _COLUMNS:
        if (price := getattr(bands, low)) != NEVER_LOW:
            acts = _either(acts, ticks[name] <= price)
        if (price := getattr(bands, high)) != NEVER_HIGH:
            acts = _either(acts, ticks[name] >= price)
    return acts


def _either(acts: np.ndarray | None, more: np.ndarray | None) -> np.ndarray | None:
    return more if acts is None else acts if more is None else acts | more
