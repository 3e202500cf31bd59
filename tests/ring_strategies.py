"""Strategies that do something at every turn, and everything differently if they see anything differently."""

from __future__ import annotations

from typing import Any

from actors.strategies import Strategy


class Busy(Strategy):
    """Acts at random, and on what it sees: whatever it is told too early, too late or in another order changes it."""

    rate = 0.3
    timer = 0.0

    def on_start(self) -> None:
        if self.timer:
            self.every(self.timer, self.on_timer)
        if not hasattr(self, "heard"):
            self.heard: list[str] = []
            self.act("start")

    def save(self) -> Any:
        return self.heard

    def load(self, state: Any) -> None:
        self.heard = state

    def act(self, *what: Any) -> None:
        seen = [(p.quantity, p.average_price, p.realized_pnl) for p in map(self.position, self.symbols)]
        orders = [(o.id, o.signal, o.status, o.filled) for o in self.orders()]
        self.heard.append(repr((what, seen, orders)))
        if self.rng.random() >= self.rate:
            return
        symbol = self.rng.choice(self.symbols)
        place = self.buy if self.rng.random() < 0.5 else self.sell
        kind = self.rng.randrange(8)
        price = round(100 + self.rng.randrange(-6, 7) / 100, 2)
        if kind < 3:
            place(symbol, float(self.rng.randrange(1, 4)))
        elif kind < 5:
            place(symbol, 1.0, limit=price)
        elif kind == 5:
            place(symbol, 1.0, stop=price)
        elif kind == 6 and self.orders():
            self.cancel(self.rng.choice(self.orders()))
        else:
            self.close(symbol)

    def on_timer(self) -> None:
        self.act("timer")

    def on_tick(self, tick: Any) -> None:
        self.act("tick", tick.symbol, tick.bid, tick.ask, tick.time)

    def on_bar(self, bar: Any) -> None:
        self.act("bar", bar.symbol, bar.close)

    def on_order(self, order: Any) -> None:
        self.act("order", order)

    def on_fill(self, fill: Any) -> None:
        self.act("fill", fill)

    def on_halt(self, reason: str) -> None:
        self.heard.append(repr(("halt", reason)))

    def on_stop(self) -> None:
        self.act("stop")


class Vector(Busy):
    def on_ticks(self, batch: Any) -> None:
        self.act("ticks", batch["timestamp"].tolist(), batch["bid"].tolist())
