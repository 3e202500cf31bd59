"""The moving averages of sma_cross.py over whole slices of ticks with NumPy: one look, at most one signal a slice.

    [[strategies]]
    class = "actors.strategies.vector_cross:VectorCross"
    params = { fast = 20, slow = 50, quantity = 100.0 }
    slice = 100

What happened within a slice is seen at its end: the side taken is the last one of the slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.strategies.sma_cross import Reversing, check_windows


class VectorCross(Reversing):
    fast: int = 20
    slow: int = 50

    def __init__(self) -> None:
        super().__init__()
        self._recent: dict[str, np.ndarray] = {}
        """The last slow - 1 prices of each symbol: what the next slice's first windows begin with."""
        self._sides: dict[str, int] = {}

    def on_start(self) -> None:
        check_windows(self.fast, self.slow)

    def on_ticks(self, batch: np.ndarray) -> None:
        """batch: fields symbol_id, timestamp, bid, ask; prices in micros."""
        for symbol in self.symbols:
            ticks = batch[batch["symbol_id"] == self.symbol_ids[symbol]]
            if len(ticks):
                self._look(symbol, ticks["bid"] + ticks["ask"])
            self.steer(symbol)

    def save(self) -> Any:
        return {symbol: [self._sides.get(symbol, 0), *prices.tolist()] for symbol, prices in self._recent.items()}

    def load(self, state: Any) -> None:
        for symbol, (side, *prices) in state.items():
            self._sides[symbol] = side
            self._recent[symbol] = np.array(prices, dtype=np.int64)

    def _look(self, symbol: str, prices: np.ndarray) -> None:
        former = self._recent.get(symbol)
        if former is not None:
            prices = np.concatenate((former, prices))
        self._recent[symbol] = prices[max(0, len(prices) - self.slow + 1) :].copy()
        side = last_side(prices, self.fast, self.slow)
        if side not in (0, self._sides.get(symbol, 0)):
            self._sides[symbol] = side
            self.aim(symbol, side)


def last_side(prices: np.ndarray, fast: int, slow: int) -> int:
    """+1 or -1: where the fast average last was off the slow one; 0 if nowhere, or the slow window is not full.

    In integers: a sum over 65,536 prices up to 1e12 micros, times a window of 100, stays within 64 bits.
    """
    if len(prices) < slow:
        return 0
    sums = np.concatenate(([0], np.cumsum(prices)))
    differences = (sums[slow:] - sums[slow - fast : -fast]) * slow - (sums[slow:] - sums[:-slow]) * fast
    off = np.flatnonzero(differences)
    return int(np.sign(differences[off[-1]])) if len(off) else 0
