"""What the replay bench runs: the work of a strategy that looks at every tick, and of one that looks at slices.

Each says in the log when it begins and when its data have ended: the bench measures between these lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.strategies import Strategy, Tick
from tests.bench.replay_market import FIRST_MID

BEGAN, ENDED = "bench_began", "bench_ended"


class Timed(Strategy):
    def on_start(self) -> None:
        self.log.info(BEGAN)

    def on_stop(self) -> None:
        self.log.info(ENDED)


class EmaCross(Timed):
    """Two exponential averages of bid + ask, in plain Python; `on_cross` where they cross."""

    fast: int = 20
    slow: int = 60
    quantity: float = 1000.0

    def __init__(self) -> None:
        self.fast_average = self.slow_average = 2 * FIRST_MID / 1e6
        self.is_above = False

    def on_start(self) -> None:
        super().on_start()
        self.fast_share, self.slow_share = 2 / (self.fast + 1), 2 / (self.slow + 1)

    def on_tick(self, tick: Tick) -> None:
        price = tick.bid + tick.ask
        fast, slow = self.fast_average, self.slow_average
        self.fast_average = fast = fast + self.fast_share * (price - fast)
        self.slow_average = slow = slow + self.slow_share * (price - slow)
        if (fast > slow) is not self.is_above:
            self.is_above = not self.is_above
            self.on_cross(tick)

    def on_cross(self, tick: Tick) -> None:
        """Does not trade."""


class MarketFlips(EmaCross):
    """Long above, short below: one market order a cross. The rival's is the same (replay_rival.py)."""

    def __init__(self) -> None:
        super().__init__()
        self.flips = 0

    def on_cross(self, tick: Tick) -> None:
        order = self.buy if self.is_above else self.sell
        order(tick.symbol, self.quantity if not self.flips else 2 * self.quantity)
        self.flips += 1


class RestingLimits(EmaCross):
    """A limit order a cross at the near side of the spread: it rests, and fills when the market comes to it.

    Few are still open at the next cross; they are canceled, for the market may never come back.
    """

    def on_cross(self, tick: Tick) -> None:
        for order in self.orders():
            self.cancel(order)
        if self.position(tick.symbol).quantity > 0:
            self.sell(tick.symbol, self.quantity, limit=tick.ask)
        else:
            self.buy(tick.symbol, self.quantity, limit=tick.bid)


class Brackets(EmaCross):
    """A market order with both exits at each cross, when the one before is over."""

    distance: float = 0.00015

    def on_cross(self, tick: Tick) -> None:
        if self.orders() or self.position(tick.symbol).quantity:
            return
        below, above = round(tick.bid - self.distance, 5), round(tick.ask + self.distance, 5)
        if self.is_above:
            self.buy(tick.symbol, self.quantity, stop_loss=below, take_profit=above)
        else:
            self.sell(tick.symbol, self.quantity, stop_loss=above, take_profit=below)


class EmaCrosses(Timed):
    """EmaCross over any number of symbols."""

    def on_start(self) -> None:
        super().on_start()
        self.averages = {symbol: [2 * FIRST_MID / 1e6] * 2 for symbol in self.symbols}
        self.crosses = 0

    def on_tick(self, tick: Tick) -> None:
        averages, price = self.averages[tick.symbol], tick.bid + tick.ask
        fast, slow = averages
        was_above = fast > slow
        averages[0] = fast = fast + 0.1 * (price - fast)
        averages[1] = slow = slow + 0.03 * (price - slow)
        if (fast > slow) is not was_above:
            self.crosses += 1


class VectorCrosses(Timed):
    """Where two simple averages cross, counted over whole slices with NumPy."""

    fast: int = 20
    slow: int = 60

    def __init__(self) -> None:
        self.recent = np.empty(0, np.int64)
        self.crosses = 0

    def on_ticks(self, batch: np.ndarray[Any, Any]) -> None:
        prices = np.concatenate((self.recent, batch["bid"] + batch["ask"]))
        self.recent = prices[-self.slow :]
        sums = np.cumsum(prices)
        fast = sums[self.slow :] - sums[self.slow - self.fast : -self.fast]
        above = fast * self.slow > (sums[self.slow :] - sums[: -self.slow]) * self.fast
        self.crosses += int(np.count_nonzero(above[1:] != above[:-1]))
