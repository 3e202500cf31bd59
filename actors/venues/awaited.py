"""Converting symbols without a quote yet: what trades in money that only they convert waits for their first one.

An order there is accepted, expires and is cancelled as any other, but is not looked at before that quote: then it is
told (RESTATE), and acts with the next tick of its own symbol. Told, because a venue that is restarted knows the quote,
and must not act on ticks from before it. A symbol that converts its own money waits for nothing: its tick is the quote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from actors.venues.horizon import Horizon, SymbolBands, first_in
from actors.venues.policies import Terms

if TYPE_CHECKING:
    import numpy as np


class Awaited:
    def __init__(self, terms: Mapping[int, Terms]) -> None:
        self.waiting: Final[dict[int, list[int]]] = {}
        """Symbols, by the one whose quote they wait for: none in most engines, and soon none in all of them."""
        for symbol_id, one in terms.items():
            if one.route is not None and one.route.symbol_id != symbol_id:
                self.waiting.setdefault(one.route.symbol_id, []).append(symbol_id)

    def holds_up(self, symbol_id: int) -> bool:
        return any(symbol_id in waiting for waiting in self.waiting.values())

    def come(self, quoted: Iterable[int]) -> list[int]:
        """These symbols have quotes; those that need not wait any more."""
        return [symbol_id for one in quoted for symbol_id in self.waiting.pop(one, ())] if self.waiting else []

    def first_reached(
        self, horizon: Horizon, ticks: np.ndarray, volumes: np.ndarray | None, start: int, until: int | None,
        bands_in: Callable[[int], SymbolBands | None],
    ) -> int | None:  # fmt: skip
        """The index, from `start` and before `until` (None: the end), at which an order acts, or is told that it waits
        no more. Those that are freed before `start` act too; `bands_in` says at which prices."""
        end, told = len(ticks) if until is None else until, None
        for converting, waiting in self.waiting.items():
            bands = {symbol_id: found for symbol_id in waiting if (found := bands_in(symbol_id)) is not None}
            first = first_in(ticks[:end], converting) if bands else None
            if first is not None and first < start:
                horizon = horizon.extended(bands)
            elif first is not None:
                end = told = first
        found = horizon.first_reached(ticks[start:end], None if volumes is None else volumes[start:end], end - start)
        return told if found is None else start + found
