"""Converting symbols without a quote yet: what trades in money that only they convert waits for their first one.

An order there is accepted, expires and is cancelled as any other, but is not looked at: it acts with the first tick of
its own symbol behind that quote (P10). A symbol that converts its own money waits for nothing, its tick is the quote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from actors.venues.horizon import Horizon, SymbolBands, first_in
from actors.venues.policies import Terms

if TYPE_CHECKING:
    import numpy as np


class Awaited:
    """Empty, and so false, in most engines, and in all of them once every converting symbol has been quoted."""

    def __init__(self, terms: Mapping[int, Terms]) -> None:
        self._waiting: Final[dict[int, list[int]]] = {}
        """Symbols by the one whose quote they wait for."""
        for symbol_id, one in terms.items():
            if one.route is not None and one.route.symbol_id != symbol_id:
                self._waiting.setdefault(one.route.symbol_id, []).append(symbol_id)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def holds_up(self, symbol_id: int) -> bool:
        return any(symbol_id in waiting for waiting in self._waiting.values())

    def come(self, quoted: Iterable[int]) -> list[int]:
        """These symbols have quotes; those that need not wait any more."""
        return [symbol_id for one in quoted for symbol_id in self._waiting.pop(one, ())]

    def first_reached(
        self, horizon: Horizon, ticks: np.ndarray, volumes: np.ndarray | None, start: int, until: int | None,
        bands_in: Callable[[int], SymbolBands | None],
    ) -> int | None:
        """The index, from `start` and before `until` (None: the end), at which an order acts; so do those that wait for
        a quote among the ticks, behind it. `bands_in` says at which prices they will then."""
        end = len(ticks) if until is None else until
        quotes = ((first_in(ticks[:end], one), waiting) for one, waiting in self._waiting.items())
        for index, waiting in sorted((index, waiting) for index, waiting in quotes if index is not None):
            found = _reached(horizon, ticks, volumes, start, index + 1)
            if found is not None:
                return found
            start, horizon = max(start, index + 1), horizon.extended({key: bands_in(key) for key in waiting})
        return _reached(horizon, ticks, volumes, start, end)


def _reached(horizon: Horizon, ticks: np.ndarray, volumes: np.ndarray | None, start: int, end: int) -> int | None:
    if start >= end:
        return None
    found = horizon.first_reached(ticks[start:end], None if volumes is None else volumes[start:end], end - start)
    return None if found is None else start + found
