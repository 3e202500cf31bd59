"""P6's horizon: the first of many ticks at which something acts, found without stepping.

What a symbol's orders wait for comes down to a few prices, its bands: the ask at or below, the ask at or above, the bid
at or below, the bid at or above, or any tick at all. They hold for all orders together, so one tick costs the venue
four comparisons, and a search over ticks as many passes, however many orders rest; they are computed again when an
order of the symbol changes. Under a participation limit, what only fills needs volume too and has bands of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from actors.venues.working import Working

if TYPE_CHECKING:
    import numpy as np

NEVER_LOW: Final = -1
"""No ask or bid is at or below it: prices are above 0."""
NEVER_HIGH: Final = 2**63 - 1
FIRST_CHUNK: Final = 512
"""Ticks searched first; each further piece is four times as long, for the next act is mostly near."""


class Bands(NamedTuple):
    """A tick acts if its ask is at or below `ask_low`, or at or above `ask_high`, and so on. Micros."""

    ask_low: int = NEVER_LOW
    ask_high: int = NEVER_HIGH
    bid_low: int = NEVER_LOW
    bid_high: int = NEVER_HIGH
    is_any: bool = False
    """Every tick acts."""

    def reached(self, bid: int, ask: int) -> bool:
        return (
            ask <= self.ask_low or ask >= self.ask_high or bid <= self.bid_low or bid >= self.bid_high or self.is_any
        )


class SymbolBands(NamedTuple):
    free: Bands
    by_volume: Bands | None
    """What acts only at a tick with a volume of `least_volume` or more."""
    least_volume: int

    def may_act(self, bid: int, ask: int) -> bool:
        """False: on no account."""
        return self.free.reached(bid, ask) or (self.by_volume is not None and self.by_volume.reached(bid, ask))


def bands_of(orders: Iterable[Working], trail_step: int, least_volume: int) -> SymbolBands:
    """The bands of one symbol's orders. `least_volume` 0: size is not modelled."""
    free, by_volume = _Collector(), _Collector()
    for order in orders:
        if order.waits_for_stop:
            free.add_stop(order, trail_step)
        elif order.is_immediate:
            free.is_any = True
        else:
            (by_volume if least_volume else free).add_limit(order)
    return SymbolBands(free.bands(), by_volume.bands() if least_volume else None, least_volume)


class _Collector:
    def __init__(self) -> None:
        self.ask_low = self.bid_low = NEVER_LOW
        self.ask_high = self.bid_high = NEVER_HIGH
        self.is_any = False

    def add_stop(self, order: Working, trail_step: int) -> None:
        """It is triggered, or, if it trails, moves."""
        stop, trail = order.stop_price, order.place.trail
        if not stop:
            self.is_any = True
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
            self.is_any = True
        elif order.is_buy:
            self.ask_low = max(self.ask_low, order.limit_price)
        else:
            self.bid_high = min(self.bid_high, order.limit_price)

    def bands(self) -> Bands:
        return Bands(self.ask_low, self.ask_high, self.bid_low, self.bid_high, self.is_any)


def first_at_or_after(timestamps: np.ndarray, time_us: int) -> int | None:
    """The index of the first of them that is `time_us` or later; they need not be sorted."""
    import numpy as np

    if not len(timestamps):
        return None
    late = timestamps >= np.uint64(max(time_us, 0))
    index = int(late.argmax())
    return index if late[index] else None


def first_reached(
    ticks: np.ndarray, volumes: np.ndarray | None, bands: Mapping[int, SymbolBands], end: int
) -> int | None:
    """The index of the first tick before `end` at which an order of its symbol acts."""
    start, size = 0, FIRST_CHUNK
    while start < end and bands:
        stop = min(start + size, end)
        piece = ticks[start:stop]
        found = _search(piece, None if volumes is None else volumes[start:stop], bands)
        if found is not None:
            return start + found
        start, size = stop, size * 4
    return None


def _search(ticks: np.ndarray, volumes: np.ndarray | None, bands: Mapping[int, SymbolBands]) -> int | None:
    """Symbol by symbol, each only up to what the one before has found."""
    found: int | None = None
    symbol_ids = ticks["symbol_id"]
    for symbol_id, one in bands.items():
        end = len(ticks) if found is None else found
        acts = _acts(ticks[:end], one.free)
        if one.by_volume is not None and volumes is not None:
            more = _acts(ticks[:end], one.by_volume)
            if more is not None:
                more = more & (volumes[:end] >= one.least_volume)
                acts = more if acts is None else acts | more
        if acts is None:
            continue
        acts = acts & (symbol_ids[:end] == symbol_id)
        index = int(acts.argmax()) if end else 0
        if end and acts[index]:
            found = index
    return found


def _acts(ticks: np.ndarray, bands: Bands) -> np.ndarray | None:
    """Where the bands are reached, whatever the symbol; None: nowhere."""
    import numpy as np

    if bands.is_any:
        return np.ones(len(ticks), bool)
    acts: np.ndarray | None = None
    for name, low, high in (("ask", bands.ask_low, bands.ask_high), ("bid", bands.bid_low, bands.bid_high)):
        if low != NEVER_LOW:
            reached = ticks[name] <= low
            acts = reached if acts is None else acts | reached
        if high != NEVER_HIGH:
            reached = ticks[name] >= high
            acts = reached if acts is None else acts | reached
    return acts
