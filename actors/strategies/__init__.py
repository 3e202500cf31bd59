"""What a strategy's author writes against: the Strategy class and the values that its hooks get.

    from actors.strategies import Strategy

    class Breakout(Strategy):
        def on_tick(self, tick):
            if tick.bid > self.level:
                self.buy(tick.symbol, 100)

All hooks run in the strategy's own process, in its event loop, one after the other. An exception in a hook is
logged with what caused it and counts as a crash of this strategy alone. Floats are fine here: they are the
edge; the engine turns what you ask for into exact integers and refuses what it cannot represent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    import numpy as np


class Tick(msgspec.Struct, eq=False, gc=False):
    """One quote. `time` in seconds since the epoch. A struct: made millions of times, in a third of a class's time."""

    symbol: str
    bid: float
    ask: float
    time: float

    @property
    def datetime(self) -> datetime:
        """UTC."""
        return datetime.fromtimestamp(self.time, UTC)

    def __repr__(self) -> str:
        return f"Tick({self.symbol}, bid={self.bid}, ask={self.ask}, {self.datetime.isoformat()})"


@dataclass(frozen=True, slots=True)
class Bar:
    """A finished bar on bid prices; `time` is its open time in seconds, `timeframe` minutes."""

    symbol: str
    timeframe: int
    time: float
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def datetime(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)


@dataclass(slots=True)
class Signal:
    """What a call asked for. It becomes an order, or is refused: `on_order` tells; `order_id` is 0 until then."""

    number: int
    symbol: str
    side: str
    quantity: float
    order_id: int = 0
    group: int = 0
    """The number of the first signal of its OCO group, if it joined one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What `buy` and `sell` are told beyond symbol and quantity, as they are told it."""

    limit: float | None = None
    stop: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trail: float | None = None
    time_in_force: str = "GTC"
    expire: datetime | float | None = None
    oco: Signal | None = None


@dataclass(frozen=True, slots=True)
class OrderInfo:
    """An order of this strategy, or what became of a signal. id 0: the signal never became an order."""

    id: int
    signal: int
    symbol: str
    side: str
    status: str
    reason: str
    filled: float
    quantity: float = 0.0
    limit: float = 0.0
    stop: float = 0.0
    """Prices; 0: it has none."""


@dataclass(frozen=True, slots=True)
class Fill:
    """An execution. `profit` is what it realized of the own position, before commission, in the account's currency."""

    order_id: int
    symbol: str
    side: str
    price: float
    quantity: float
    profit: float


@dataclass(frozen=True, slots=True)
class PositionInfo:
    """What the strategy's own orders have left of a symbol; all zeros when flat. Others may trade it too: the position
    at the venue is the sum of all."""

    symbol: str
    quantity: float = 0.0
    average_price: float = 0.0
    realized_pnl: float = 0.0


class Runtime(Protocol):
    """What the strategy's process does for the strategy."""

    def place(self, symbol: str, side: str, quantity: float, terms: OrderTerms) -> Signal: ...

    def cancel(self, target: int | Signal) -> Signal: ...

    def modify(self, target: int | str, changes: dict[str, Any]) -> Signal: ...

    def close(self, symbol: str) -> Signal: ...

    def position(self, symbol: str) -> PositionInfo: ...

    def orders(self) -> list[OrderInfo]: ...

    def every(self, seconds: float, hook: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What the runtime gives to a strategy before `on_start`."""

    runtime: Runtime
    name: str
    symbols: tuple[str, ...]
    symbol_ids: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    seed: str = ""
    log: Any = None


class Strategy:
    """Base of all strategies. `params` of the config become attributes before `on_start`."""

    name: str
    symbols: tuple[str, ...]
    symbol_ids: dict[str, int]
    """Ids of the binary layouts and of `on_ticks`."""
    log: Any
    rng: random.Random
    """Seeded by the strategy's name: the same run draws the same numbers."""

    def attach(self, environment: Environment) -> None:
        """Called once by the runtime, before on_start."""
        self._runtime = environment.runtime
        self.name = environment.name
        self.symbols = environment.symbols
        self.symbol_ids = environment.symbol_ids
        self.log = environment.log
        self.rng = random.Random(environment.seed)
        for key, value in environment.params.items():
            if not hasattr(self, key):
                hint = "a slip of the pen? A default in the class, or in __init__, makes it one of its params"
                self.log.warning("param_without_default", param=key, hint=hint)
            setattr(self, key, value)

    # Hooks.

    def on_start(self) -> None:
        """Once in a life, before the first tick."""

    def on_tick(self, tick: Tick) -> None:
        """Every tick of this strategy's symbols."""

    def on_ticks(self, batch: np.ndarray) -> None:
        """Instead of on_tick, if overridden: slices of all ticks (fields symbol_id, timestamp, bid, ask; integers)."""

    def on_bar(self, bar: Bar) -> None:
        """Every finished bar of this strategy's symbols, before the tick that closed it."""

    def on_order(self, order: OrderInfo) -> None:
        """Whatever becomes of a signal, and every change of an order of this strategy."""

    def on_fill(self, fill: Fill) -> None:
        """Every execution of an order of this strategy, after on_order."""

    def on_position(self, position: PositionInfo) -> None:
        """After a fill changed the position in one of this strategy's symbols."""

    def on_halt(self, reason: str) -> None:
        """Once, when trading halts."""

    def on_stop(self) -> None:
        """At an ordered stop. Signals sent from here are refused."""

    def save(self) -> Any:
        """At checkpoints of the journal, between two hooks: the state that `load` takes back, as JSON-like values.

        None means that nothing is saved: a new life is then warmed by the ticks that the feed still has. What takes
        longer than some 50 ms is too late for the checkpoint, which then keeps the state of the one before.
        """
        return None

    def load(self, state: Any) -> None:
        """In a new life, also of a new run, before on_start, with what `save` returned at the last checkpoint.

        After on_start it is told what became of its orders since (on_order, on_fill), and fed the ticks since. Signals
        from on_start, from what it is told, and up to where the former life had come are suppressed: on_order says so.
        Sets and tuples come back as lists.
        """

    # Calls.

    def buy(
        self, symbol: str, quantity: float, *, limit: float | None = None, stop: float | None = None,
        stop_loss: float | None = None, take_profit: float | None = None, trail: float | None = None,
        time_in_force: str = "GTC", expire: datetime | float | None = None, oco: Signal | None = None,
    ) -> Signal:  # fmt: skip
        """A market order; with `limit`, `stop` or both a limit, stop or stop-limit order. All prices are absolute.

        `trail`: a stop order that follows the best price at this distance (from `stop`, or from the market).
        `stop_loss`, `take_profit`: two orders of their own, from the fill on, for what is filled; either cancels the
        other, and `on_order` tells of them under this signal.
        `time_in_force`: GTC, IOC, FOK, DAY or GTD; `expire` makes it GTD: a datetime (UTC if it is naive), or seconds
        since the epoch, as in `tick.time`.
        `oco`: an earlier signal; the first fill of either order cancels the other. It joins that one's group if it
        has one.
        """
        terms = OrderTerms(
            limit=limit, stop=stop, stop_loss=stop_loss, take_profit=take_profit, trail=trail,
            time_in_force=time_in_force, expire=expire, oco=oco,
        )  # fmt: skip
        return self._runtime.place(symbol, "Buy", quantity, terms)

    def sell(
        self, symbol: str, quantity: float, *, limit: float | None = None, stop: float | None = None,
        stop_loss: float | None = None, take_profit: float | None = None, trail: float | None = None,
        time_in_force: str = "GTC", expire: datetime | float | None = None, oco: Signal | None = None,
    ) -> Signal:  # fmt: skip
        """As `buy`, the other way."""
        terms = OrderTerms(
            limit=limit, stop=stop, stop_loss=stop_loss, take_profit=take_profit, trail=trail,
            time_in_force=time_in_force, expire=expire, oco=oco,
        )  # fmt: skip
        return self._runtime.place(symbol, "Sell", quantity, terms)

    def cancel(self, order: OrderInfo | Signal | int) -> Signal:
        """Asks for an order's end, also of a signal that is no order yet; repeated until it is answered."""
        return self._runtime.cancel(order.id if isinstance(order, OrderInfo) else order)

    def modify(self, order_or_symbol: OrderInfo | Signal | int | str, **changes: Any) -> Signal:
        """Asks for other terms of an order that stands: `quantity` (of the whole order), `limit`, `stop`, `trail`,
        `expire`; what is not named stays as it is.

        The order is what it was until the venue has answered; then `on_order` tells of it as it is, with the reason if
        the venue has refused. One change of an order at a time. A `quantity` at or below what is filled ends the order.

        Of a symbol: `stop_loss`, `take_profit`, `trail` of the strategy's position, at absolute prices. The exits that
        stand are moved, a bracket's too; those that are missing are made, reduce only, and follow the position's size.
        None or 0 removes one.
        """
        target: int | str
        if isinstance(order_or_symbol, OrderInfo):
            target = order_or_symbol.id
        elif isinstance(order_or_symbol, Signal):
            target = order_or_symbol.order_id
        else:
            target = order_or_symbol
        return self._runtime.modify(target, changes)

    def close(self, symbol: str) -> Signal:
        """Asks for a market order that makes the position in `symbol` flat."""
        return self._runtime.close(symbol)

    def position(self, symbol: str) -> PositionInfo:
        return self._runtime.position(symbol)

    def orders(self) -> list[OrderInfo]:
        """This strategy's open orders, and what it has asked for and not heard of (id 0)."""
        return self._runtime.orders()

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        """Calls `hook` every `seconds` of the feed's clock: wall time for live feeds, the data's for files."""
        self._runtime.every(seconds, hook)


__all__ = ["Bar", "Environment", "Fill", "OrderInfo", "OrderTerms", "PositionInfo", "Signal", "Strategy", "Tick"]
