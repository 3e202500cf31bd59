"""What a strategy's author sees: values that read well, calls that reach the runtime as they were meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.strategies import Bar, Environment, OrderInfo, OrderTerms, PositionInfo, Signal, Strategy, Tick

NEW_YEAR_S = 1_704_067_200.25
NEW_YEAR = datetime(2024, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
ORDER = OrderInfo(7, 3, "EURUSD", "Buy", "Accepted", "", 0.0, 100.0)


class Recorder:
    """A runtime that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer = Signal(1, "EURUSD", "Buy", 100.0)

    def place(self, symbol: str, side: str, quantity: float, terms: OrderTerms) -> Signal:
        self.asked.append(("place", symbol, side, quantity, terms))
        return self.answer

    def cancel(self, target: int | Signal) -> Signal:
        self.asked.append(("cancel", target))
        return self.answer

    def modify(self, target: int | str, changes: dict[str, Any]) -> Signal:
        self.asked.append(("modify", target, changes))
        return self.answer

    def close(self, symbol: str) -> Signal:
        self.asked.append(("close", symbol))
        return self.answer

    def position(self, symbol: str) -> PositionInfo:
        return PositionInfo(symbol)

    def orders(self) -> list[OrderInfo]:
        return [ORDER]

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        self.asked.append(("every", seconds, hook))


class Plain(Strategy):
    window = 10
    other = "as written"


def attached(seed: str = "1:plain", **params: Any) -> tuple[Plain, Recorder]:
    strategy, runtime = Plain(), Recorder()
    strategy.attach(Environment(runtime, "plain", ("EURUSD",), {"EURUSD": 4}, params, seed))
    return strategy, runtime


def test_a_tick_tells_its_time_in_seconds_and_in_utc() -> None:
    tick = Tick("EURUSD", 1.1, 1.2, NEW_YEAR_S)
    assert (tick.symbol, tick.bid, tick.ask, tick.time, tick.datetime) == ("EURUSD", 1.1, 1.2, NEW_YEAR_S, NEW_YEAR)
    assert repr(tick) == "Tick(EURUSD, bid=1.1, ask=1.2, 2024-01-01T00:00:00.250000+00:00)"


def test_a_bar_has_the_documented_fields() -> None:
    bar = Bar("EURUSD", 5, NEW_YEAR_S, 1.0, 4.0, 0.5, 2.0, 9.0)
    assert (bar.symbol, bar.timeframe, bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume) == (
        "EURUSD", 5, NEW_YEAR_S, 1.0, 4.0, 0.5, 2.0, 9.0,
    )  # fmt: skip
    assert bar.datetime == NEW_YEAR


def test_a_flat_position_is_all_zeros() -> None:
    position = attached()[0].position("EURUSD")
    assert (position.symbol, position.quantity, position.average_price, position.realized_pnl) == ("EURUSD", 0, 0, 0)


def test_params_become_attributes_over_those_of_the_class() -> None:
    strategy, _ = attached(window=20)
    assert (strategy.window, strategy.other) == (20, "as written")
    assert (strategy.name, strategy.symbols, strategy.symbol_ids) == ("plain", ("EURUSD",), {"EURUSD": 4})


def test_the_same_seed_draws_the_same_numbers_and_another_others() -> None:
    drawn = [[attached(seed)[0].rng.random() for _ in range(3)] for seed in ("1:a", "1:a", "2:a", "1:b")]
    assert drawn[0] == drawn[1]
    assert len({numbers[0] for numbers in drawn}) == 3


SIGNAL = Signal(3, "EURUSD", "Buy", 1.0)
ORDERS = [
    (lambda s: s.buy("EURUSD", 100), ("place", "EURUSD", "Buy", 100, OrderTerms())),
    (lambda s: s.sell("EURUSD", 100), ("place", "EURUSD", "Sell", 100, OrderTerms())),
    (
        lambda s: s.buy("EURUSD", 1, limit=1.0, stop=2.0, stop_loss=3.0, take_profit=4.0),
        ("place", "EURUSD", "Buy", 1, OrderTerms(limit=1.0, stop=2.0, stop_loss=3.0, take_profit=4.0)),
    ),
    (
        lambda s: s.sell("EURUSD", 1, take_profit=4.0, stop_loss=3.0, stop=2.0, limit=1.0),
        ("place", "EURUSD", "Sell", 1, OrderTerms(limit=1.0, stop=2.0, stop_loss=3.0, take_profit=4.0)),
    ),
    (
        lambda s: s.buy("EURUSD", 1, trail=0.5, time_in_force="DAY", expire=5.0, oco=SIGNAL),
        ("place", "EURUSD", "Buy", 1, OrderTerms(trail=0.5, time_in_force="DAY", expire=5.0, oco=SIGNAL)),
    ),
    (
        lambda s: s.sell("EURUSD", 1, oco=SIGNAL, expire=NEW_YEAR, time_in_force="GTD", trail=0.5),
        ("place", "EURUSD", "Sell", 1, OrderTerms(trail=0.5, time_in_force="GTD", expire=NEW_YEAR, oco=SIGNAL)),
    ),
    (lambda s: s.close("EURUSD"), ("close", "EURUSD")),
    (lambda s: s.cancel(ORDER), ("cancel", 7)),
    (lambda s: s.cancel(7), ("cancel", 7)),
    (lambda s: s.cancel(SIGNAL), ("cancel", SIGNAL)),
    (lambda s: s.modify(ORDER, limit=1.5), ("modify", 7, {"limit": 1.5})),
    (lambda s: s.modify(Signal(3, "EURUSD", "Buy", 1.0, order_id=7), quantity=5), ("modify", 7, {"quantity": 5})),
    (lambda s: s.modify(7, limit=1.5), ("modify", 7, {"limit": 1.5})),
    (lambda s: s.modify("EURUSD", stop_loss=1.5), ("modify", "EURUSD", {"stop_loss": 1.5})),
]


@pytest.mark.parametrize(("call", "asked"), ORDERS)
def test_a_call_reaches_the_runtime_as_it_was_meant(call: Callable[[Strategy], Signal], asked: tuple[Any, ...]) -> None:
    strategy, runtime = attached()
    assert call(strategy) is runtime.answer
    assert runtime.asked == [asked]


@pytest.mark.parametrize("call", [lambda s: s.buy("EURUSD", 100, 1.0), lambda s: s.sell("EURUSD", 100, 1.0)])
def test_prices_are_named_so_that_none_is_taken_for_another(call: Callable[[Strategy], Signal]) -> None:
    with pytest.raises(TypeError):
        call(attached()[0])


def test_a_strategy_that_overrides_nothing_hears_everything_in_silence() -> None:
    strategy, runtime = attached()
    for hook, argument in [
        (strategy.on_tick, Tick("EURUSD", 1, 1, 0)), (strategy.on_order, ORDER), (strategy.on_halt, "why"),
        (strategy.load, {"a": 1}), (strategy.on_position, PositionInfo("EURUSD")),
    ]:  # fmt: skip
        hook(argument)
    for hook in (strategy.on_start, strategy.on_stop):
        hook()
    assert strategy.save() is None
    assert runtime.asked == []
