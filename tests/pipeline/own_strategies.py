"""Strategies as a user has them beside the config: the tests copy this file into the engine's working directory.

What their hooks see they write into the log, event `seen`, where the tests read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.strategies import Bar, Fill, OrderInfo, PositionInfo, Signal, Strategy, Tick


class Resting(Strategy):
    """Holds 100, with two limit orders that no market reaches; `more` adds another in this life."""

    more: int = 0

    def __init__(self) -> None:
        self.begun = False

    def on_tick(self, tick: Tick) -> None:
        if self.begun:
            return
        self.begun = True
        if not self.orders():
            self.buy(tick.symbol, 100)
            self.buy(tick.symbol, 200, limit=0.5)
            self.sell(tick.symbol, 300, limit=2.0)
        for _ in range(self.more):
            self.buy(tick.symbol, 400, limit=0.6)


class Churn(Strategy):
    """Buys and closes without end: in a market that stands still each round costs the spread."""

    def __init__(self) -> None:
        self.waits = False

    def on_tick(self, tick: Tick) -> None:
        if self.waits:
            return
        self.waits = True
        if self.position(tick.symbol).quantity:
            self.close(tick.symbol)
        else:
            self.buy(tick.symbol, 100)

    def on_order(self, order: OrderInfo) -> None:
        self.waits = order.status in ("New", "Accepted")


class Witness(Strategy):
    """Trades nothing; says what it sees."""

    def on_start(self) -> None:
        self.ticks = 0
        self.log.info("seen", hook="on_start", symbols=list(self.symbols), ids=self.symbol_ids)
        self.every(60, self.on_minute)

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1

    def on_minute(self) -> None:
        self.log.info("seen", hook="on_minute", ticks=self.ticks)

    def on_bar(self, bar: Bar) -> None:
        self.log.info(
            "seen", hook="on_bar", symbol=bar.symbol, timeframe=bar.timeframe, time=bar.time,
            prices=[bar.open, bar.high, bar.low, bar.close], volume=bar.volume,
        )  # fmt: skip

    def on_halt(self, reason: str) -> None:
        self.log.info("seen", hook="on_halt", reason=reason)

    def on_stop(self) -> None:
        self.log.info("seen", hook="on_stop", ticks=self.ticks)


class Tour(Strategy):
    """Uses every call once, each when the one before has been answered."""

    def __init__(self) -> None:
        self.far: Signal | None = None
        self.near: Signal | None = None
        self.closing: Signal | None = None
        self.refused: list[Signal] = []
        self.tick: Tick | None = None
        self.timer_calls = 0

    def on_start(self) -> None:
        self.every(0.001, self.on_timer)

    def on_timer(self) -> None:
        if not self.timer_calls:
            self.see("on_timer")
        self.timer_calls += 1

    def on_tick(self, tick: Tick) -> None:
        self.tick = tick
        if self.far is None:
            self.far = self.buy(tick.symbol, 200, limit=0.5)
        elif self.near is None and [order.status for order in self.orders()] == ["Accepted"]:
            limit = round(tick.bid - 0.0002, 5)
            self.see("orders", ids=[order.id for order in self.orders()], far=self.far.order_id, limit=limit)
            self.near = self.buy(tick.symbol, 100, limit=limit)

    def on_order(self, order: OrderInfo) -> None:
        self.see(
            "on_order", id=order.id, name=self.name_of(order.signal), status=order.status, reason=order.reason,
            filled=order.filled, quantity=order.quantity,
        )  # fmt: skip
        if len(self.refused) == 4 and order.signal == self.refused[-1].number:
            self.see("tour_done")
        if self.far is None or self.tick is None:
            return
        if order.id == self.far.order_id and order.status == "Canceled":
            self.closing = self.close(self.tick.symbol)
        if self.closing is not None and order.signal == self.closing.number and order.status == "Filled":
            symbol = self.tick.symbol
            self.refused.append(self.buy(symbol, 0.5))
            self.refused.append(self.buy(symbol, 1e6))
            self.refused.append(self.sell(symbol, 1, limit=1.000001))
            self.refused.append(self.modify(symbol, stop_loss=1.0))

    def on_fill(self, fill: Fill) -> None:
        self.see("on_fill", id=fill.order_id, side=fill.side, price=fill.price, quantity=fill.quantity)
        if self.near is not None and fill.order_id == self.near.order_id and self.far is not None:
            self.cancel(self.far)

    def on_position(self, position: PositionInfo) -> None:
        self.see("on_position", quantity=position.quantity, realized=position.realized_pnl)

    def name_of(self, number: int) -> str:
        signals = {"far": self.far, "near": self.near, "closing": self.closing}
        return next((name for name, signal in signals.items() if signal and signal.number == number), "")

    def see(self, hook: str, **facts: Any) -> None:
        self.log.info("seen", hook=hook, **facts)


class Raises(Strategy):
    """Buys at every tick; its handler of HALT raises, in its first life."""

    def on_tick(self, tick: Tick) -> None:
        self.buy(tick.symbol, 1)

    def on_halt(self, reason: str) -> None:
        if not Path("raised").exists():
            Path("raised").touch()
            raise RuntimeError("the handler raises")
