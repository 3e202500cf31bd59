"""What runs in the page bench's engine."""

from __future__ import annotations

from actors.strategies import Strategy, Tick


class Steady(Strategy):
    """Buys and sells by turns, at every so many ticks."""

    period: int = 10

    def __init__(self) -> None:
        self.ticks = 0

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        turn, rest = divmod(self.ticks, self.period)
        if not rest:
            (self.sell if turn % 2 else self.buy)(tick.symbol, 1)
