"""What runs in the halt bench's engines: one that is silent, one that never stops asking, one that never comes back."""

from __future__ import annotations

import time

from actors.strategies import OrderInfo, Strategy, Tick

FLOODED, LOOPS = "bench_flooded", "bench_loops"
FULL = "signals_full"
"""How a reason begins that says: refused by the strategy's own process, too many are unanswered."""


class Silent(Strategy):
    """Sends no signal."""


class Flood(Strategy):
    """`each` signals at every tick, buys and sales by turns. Says at its stop how many that were a second."""

    each: int = 10

    def __init__(self) -> None:
        self.asked = self.full = 0
        self.begun = 0.0

    def on_tick(self, tick: Tick) -> None:
        self.begun = self.begun or time.monotonic()
        for number in range(self.each):
            (self.sell if number % 2 else self.buy)(tick.symbol, 1)
        self.asked += self.each

    def on_order(self, order: OrderInfo) -> None:
        self.full += order.reason.startswith(FULL)

    def on_stop(self) -> None:
        seconds = time.monotonic() - self.begun
        self.log.info(FLOODED, asked_s=self.asked / seconds, full_s=self.full / seconds)


class Endless(Strategy):
    """Loops in a hook from its hundredth tick on."""

    def __init__(self) -> None:
        self.ticks = 0

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        if self.ticks == 100:
            self.log.info(LOOPS)
            while True:
                pass
