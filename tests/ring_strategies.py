"""Strategies that do something at every turn, and everything differently if they see anything differently."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import Any

from actors.strategies import OrderInfo, Signal, Strategy

KINDS = ("market", "market", "limit", "limit", "stop", "stop limit", "trail", "stop trail")
LIFETIMES = ("GTC", "GTC", "GTC", "GTC", "GTC", "IOC", "FOK", "DAY", "GTD")
REACH = 6
"""Steps from the last bid within which its prices lie."""


class Busy(Strategy):
    """Acts at random, and on what it sees: whatever it is told too early, too late or in another order changes it."""

    rate = 0.3
    timer = 0.0
    step = 0.01
    """Between the prices that it asks for: the tick size, or a multiple of it."""
    lot = 1.0
    open_max = 1000
    """With so many open orders it only cancels and closes."""
    span = 0.0001
    """Seconds: its GTD orders live up to some of them."""

    def __init__(self) -> None:
        self.bids: dict[str, float] = {}
        self.clock = 0.0
        self.partner: list[int] = []
        """Number and OCO group of an earlier signal."""

    def on_start(self) -> None:
        if self.timer:
            self.every(self.timer, self.on_timer)
        if not hasattr(self, "heard"):
            self.heard: list[str] = []
            self.act("start")

    def save(self) -> Any:
        return [self.heard, self.bids, self.clock, self.partner]

    def load(self, state: Any) -> None:
        self.heard, self.bids, self.clock, self.partner = state

    def act(self, *what: Any) -> None:
        seen = [(p.quantity, p.average_price, p.realized_pnl) for p in map(self.position, self.symbols)]
        orders = [(o.id, o.signal, o.status, o.filled) for o in self.orders()]
        self.hear(repr((what, seen, orders)))
        rate = self.rate / 5 if what[0] in ("order", "fill") else self.rate  # else orders would breed orders for ever
        if self.rng.random() < rate:
            self.ask(self.dice())

    def hear(self, what: str) -> None:
        self.heard.append(what)

    def dice(self) -> Random:
        return self.rng

    def ask(self, dice: Random) -> None:
        symbol, orders = dice.choice(self.symbols), self.orders()
        kind = dice.randrange(12 if len(orders) < self.open_max else 2)
        if kind == 0:
            self.close(symbol)
        elif kind == 1 and orders:
            self.cancel(orders[dice.randrange(len(orders))])
        elif kind == 2 and orders:
            order = orders[dice.randrange(len(orders))]
            self.modify(order, **self.changes(dice, order))
        elif kind == 4:
            self.modify(symbol, **self.exits(dice, symbol))
        else:
            side = dice.choice((1, -1))
            place = self.buy if side > 0 else self.sell
            signal = place(symbol, dice.randrange(1, 4) * self.lot, **self.terms(dice, symbol, side))
            self.partner = [signal.number, signal.group]
            if kind == 3:
                self.cancel(signal)

    def changes(self, dice: Random, order: OrderInfo) -> dict[str, Any]:
        symbol = order.symbol
        drawn = {
            "quantity": dice.randrange(1, 5) * self.lot, "limit": self.price(symbol, dice.randint(-REACH, REACH)),
            "stop": self.price(symbol, dice.randint(-REACH, REACH)),
            "trail": round(dice.randint(1, REACH) * self.step, 6),
            "expire": self.clock + dice.randint(0, 4) * self.span,
        }  # fmt: skip
        fitting = ["quantity", *["limit"] * bool(order.limit), *["stop"] * bool(order.stop)]
        names = dice.sample(fitting, dice.randint(1, len(fitting)))
        if dice.random() < 0.2:
            names.append(dice.choice(("trail", "expire", "limit", "stop")))
        return {name: drawn[name] for name in names}

    def exits(self, dice: Random, symbol: str) -> dict[str, Any]:
        """For what it holds, where it holds something."""
        side = -1 if self.position(symbol).quantity < 0 else 1
        drawn = {
            "stop_loss": dice.choice((None, *(self.price(symbol, -side * dice.randint(1, REACH)) for _ in "123"))),
            "take_profit": dice.choice((0, *(self.price(symbol, side * dice.randint(1, REACH)) for _ in "123"))),
            "trail": round(dice.randint(1, REACH) * self.step, 6),
        }
        return {name: drawn[name] for name in dice.sample(sorted(drawn), dice.choice((1, 2)))}

    def terms(self, dice: Random, symbol: str, side: int) -> dict[str, Any]:
        kind, terms, entry = dice.choice(KINDS), {}, self.price(symbol, dice.randint(-REACH, REACH))
        if "limit" in kind:
            terms["limit"] = entry
        if "stop" in kind:
            terms["stop"] = self.price(symbol, dice.randint(-REACH, REACH))
        if "trail" in kind:
            terms["trail"] = round(dice.randint(1, REACH) * self.step, 6)
        if dice.random() < 0.5:
            if dice.random() < 0.7:
                terms["stop_loss"] = self.price(symbol, -side * dice.randint(1, 2 * REACH))
            if dice.random() < 0.7:
                terms["take_profit"] = self.price(symbol, side * dice.randint(1, 2 * REACH))
        lifetime = dice.choice(LIFETIMES)
        if lifetime == "GTD":
            terms["expire"] = self.clock + dice.randint(1, 4) * self.span
        else:
            terms["time_in_force"] = lifetime
        if self.partner and dice.random() < 0.3:
            number, group = self.partner
            terms["oco"] = Signal(number, symbol, "Buy", 0.0, group=group)
        return terms

    def price(self, symbol: str, steps: int) -> float:
        return round((round(self.bids.get(symbol, 100.0) / self.step) + steps) * self.step, 6)

    def on_timer(self) -> None:
        self.act("timer")

    def on_tick(self, tick: Any) -> None:
        self.bids[tick.symbol], self.clock = tick.bid, tick.time
        self.act("tick", tick.symbol, tick.bid, tick.ask, tick.time)

    def on_bar(self, bar: Any) -> None:
        self.act("bar", bar)

    def on_order(self, order: Any) -> None:
        self.act("order", order)

    def on_fill(self, fill: Any) -> None:
        self.act("fill", fill)

    def on_halt(self, reason: str) -> None:
        self.hear(repr(("halt", reason)))

    def on_stop(self) -> None:
        self.act("stop")


class Vector(Busy):
    def on_ticks(self, batch: Any) -> None:
        for symbol_id, timestamp, bid in zip(*(batch[key].tolist() for key in ("symbol_id", "timestamp", "bid")),
                                             strict=True):  # fmt: skip
            self.clock = timestamp / 1_000_000
            self.bids |= {symbol: bid / 1_000_000 for symbol, own in self.symbol_ids.items() if own == symbol_id}
        self.act("ticks", batch["timestamp"].tolist(), batch["bid"].tolist())


class Hashed(Busy):
    """For long runs: of what it heard it keeps a hash, and from that it draws what it does."""

    open_max = 10

    def __init__(self) -> None:
        super().__init__()
        self.sum = 0
        """Of all its ticks, in order."""

    def save(self) -> Any:
        return [*super().save(), self.sum]

    def load(self, state: Any) -> None:
        *rest, self.sum = state
        super().load(rest)

    def hear(self, what: str) -> None:
        self.heard[:] = [blake2b("".join([*self.heard, what]).encode(), digest_size=16).hexdigest()]

    def dice(self) -> Random:
        return Random(f"{self.heard} {self.rng.random()}")

    def on_tick(self, tick: Any) -> None:
        """It looks around only where it acts: most ticks cost next to nothing."""
        self.bids[tick.symbol], self.clock = tick.bid, tick.time
        self.sum = (self.sum * 31 + round((tick.bid + 3 * tick.ask + tick.time) * 1e6)) % 2**61
        if self.rng.random() < self.rate:
            self.act("tick", self.sum)
            self.ask(self.dice())


class HashedVector(Hashed, Vector):
    pass


class Forgetful(Hashed):
    """Its next life is warmed by running again from the start."""

    def save(self) -> Any:
        return None
