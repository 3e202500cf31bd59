"""The two example strategies against a plain reference, and what they ask for while answers are late or bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.strategies import Environment, OrderInfo, OrderTerms, PositionInfo, Signal, Strategy, Tick
from actors.strategies.sma_cross import Averages, SmaCross
from actors.strategies.vector_cross import VectorCross, last_side
from protocol.topics import TICK_DTYPE

SYMBOL_IDS = {"EURUSD": 3, "USDJPY": 7}


class Desk:
    """A runtime that notes what is asked for; the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []
        self.held: dict[str, float] = {}

    def place(self, symbol: str, side: str, quantity: float, terms: OrderTerms) -> Signal:
        assert terms == OrderTerms()
        self.asked.append((symbol, side, quantity))
        return Signal(len(self.asked), symbol, side, quantity)

    def fill(self, strategy: Strategy) -> None:
        """The last order is accepted, then filled."""
        symbol, side, quantity = self.asked[-1]
        self.held[symbol] = self.held.get(symbol, 0.0) + (quantity if side == "Buy" else -quantity)
        for status in ("New", "Accepted", "Filled"):
            strategy.on_order(self.answer(status))

    def answer(self, status: str) -> OrderInfo:
        symbol, side, quantity = self.asked[-1]
        return OrderInfo(len(self.asked), len(self.asked), symbol, side, status, "", 0.0, quantity)

    def position(self, symbol: str) -> PositionInfo:
        return PositionInfo(symbol, self.held.get(symbol, 0.0))

    def cancel(self, target: int | Signal) -> Signal:
        raise AssertionError("not asked for")

    def modify(self, target: int | str, changes: dict[str, Any]) -> Signal:
        raise AssertionError("not asked for")

    def close(self, symbol: str) -> Signal:
        raise AssertionError("not asked for")

    def orders(self) -> list[OrderInfo]:
        raise AssertionError("not asked for")

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        raise AssertionError("not asked for")


def make(kind: type[Strategy], state: Any = None, **params: Any) -> tuple[Any, Desk]:
    desk, strategy = Desk(), kind()
    params = {"fast": 2, "slow": 4, "quantity": 10.0} | params
    strategy.attach(
        Environment(runtime=desk, name="x", symbols=tuple(SYMBOL_IDS), symbol_ids=SYMBOL_IDS, params=params)
    )
    if state is not None:
        strategy.load(json.loads(json.dumps(state)))
    strategy.on_start()
    return strategy, desk


def feed(strategy: Strategy, prices: list[int], symbol: str = "EURUSD") -> None:
    for price in prices:
        strategy.on_tick(Tick(symbol, price / 1e6, price / 1e6, 0.0))


def batch(prices: list[int], symbol: str = "EURUSD") -> np.ndarray:
    rows = [(0, SYMBOL_IDS[symbol], 0, price, price) for price in prices]
    return np.array(rows, dtype=np.dtype(TICK_DTYPE))


def reference_sides(prices: list[int], fast: int, slow: int) -> list[int]:
    """The side after each price, by the definition and nothing else."""
    side, sides = 0, []
    for end in range(1, len(prices) + 1):
        if end >= slow:
            difference = sum(prices[end - fast : end]) * slow - sum(prices[end - slow : end]) * fast
            side = (difference > 0) - (difference < 0) or side
        sides.append(side)
    return sides


PRICES = st.lists(st.integers(1, 12), max_size=60)
WINDOWS = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(prices=PRICES, windows=WINDOWS)
def test_running_sums_say_what_the_definition_says(prices: list[int], windows: tuple[int, int]) -> None:
    averages = Averages(*windows)
    sides = []
    for price in prices:
        before = averages.side
        assert averages.add(price) is (averages.side != before)
        sides.append(averages.side)
    assert sides == reference_sides(prices, *windows)


@given(prices=PRICES, windows=WINDOWS, slice_size=st.integers(1, 20))
def test_slices_of_any_size_end_on_the_side_that_ticks_end_on(
    prices: list[int], windows: tuple[int, int], slice_size: int
) -> None:
    strategy, _ = make(VectorCross, fast=windows[0], slow=windows[1])
    sides = reference_sides(prices, *windows)
    for begin in range(0, len(prices), slice_size):
        part = prices[begin : begin + slice_size]
        strategy.on_ticks(batch(part))
        assert strategy._sides.get("EURUSD", 0) == sides[begin + len(part) - 1]


@pytest.mark.parametrize("kind", [SmaCross, VectorCross])
def test_it_goes_long_above_and_reverses_below(kind: type[Strategy]) -> None:
    strategy, desk = make(kind)
    steps = [([1, 1, 1, 2], ("EURUSD", "Buy", 10.0)), ([1, 1], ("EURUSD", "Sell", 20.0)),
             ([9], ("EURUSD", "Buy", 20.0))]  # fmt: skip
    for prices, order in steps:
        if kind is SmaCross:
            feed(strategy, prices)
        else:
            strategy.on_ticks(batch(prices))
        assert desk.asked[-1] == order
        desk.fill(strategy)
    assert len(desk.asked) == 3
    assert desk.held == {"EURUSD": 10.0}


def test_symbols_are_on_their_own() -> None:
    strategy, desk = make(SmaCross)
    feed(strategy, [1, 1, 1, 2])
    feed(strategy, [5, 5, 5, 4], "USDJPY")
    assert desk.asked == [("EURUSD", "Buy", 10.0), ("USDJPY", "Sell", 10.0)]
    vectorised, desk = make(VectorCross)
    vectorised.on_ticks(np.concatenate((batch([1, 1, 1, 2]), batch([5, 5, 5, 4], "USDJPY"))))
    assert desk.asked == [("EURUSD", "Buy", 10.0), ("USDJPY", "Sell", 10.0)]


def test_nothing_is_traded_twice_while_an_answer_is_late() -> None:
    strategy, desk = make(SmaCross)
    feed(strategy, [1, 1, 1, 2, 1, 1])
    assert desk.asked == [("EURUSD", "Buy", 10.0)]
    desk.fill(strategy)
    feed(strategy, [1])
    assert desk.asked[1:] == [("EURUSD", "Sell", 20.0)]
    desk.fill(strategy)
    assert desk.held == {"EURUSD": -10.0}


def test_a_signal_that_is_never_answered_does_not_end_the_trading() -> None:
    strategy, desk = make(SmaCross)
    feed(strategy, [1, 1, 1, 2, 1, 1])
    assert len(desk.asked) == 1
    feed(strategy, [9])
    assert desk.asked[1:] == [("EURUSD", "Buy", 10.0)]
    desk.fill(strategy)
    feed(strategy, [1, 1, 1])
    assert desk.asked[2:] == [("EURUSD", "Sell", 20.0)]


@pytest.mark.parametrize("status", ["Rejected", "Canceled", "Expired"])
def test_a_refused_order_is_not_tried_again_before_the_next_cross(status: str) -> None:
    strategy, desk = make(SmaCross)
    feed(strategy, [1, 1, 1, 2])
    strategy.on_order(desk.answer(status))
    feed(strategy, [3, 4, 5])
    assert len(desk.asked) == 1
    feed(strategy, [1, 1])
    assert desk.asked[1:] == [("EURUSD", "Sell", 10.0)]


def test_a_refusal_within_the_call_leaves_the_symbol_free() -> None:
    strategy, desk = make(SmaCross)
    place = desk.place

    def refuse_at_once(*arguments: Any) -> Signal:
        signal = place(*arguments)
        strategy.on_order(desk.answer("Rejected"))
        return signal

    desk.place = refuse_at_once  # type: ignore[method-assign]
    feed(strategy, [1, 1, 1, 2, 1, 1])
    assert [side for _, side, _ in desk.asked] == ["Buy", "Sell"]


def test_the_difference_of_two_floats_is_still_a_quantity() -> None:
    strategy, desk = make(SmaCross, quantity=0.1)
    desk.held["EURUSD"] = -0.2
    feed(strategy, [1, 1, 1, 2])
    assert desk.asked == [("EURUSD", "Buy", 0.3)]


@pytest.mark.parametrize("kind", [SmaCross, VectorCross])
@given(prices=PRICES, cut=st.integers(0, 60), windows=WINDOWS)
@settings(max_examples=50)
def test_a_life_that_loads_goes_on_where_the_last_one_saved(
    kind: type[Strategy], prices: list[int], cut: int, windows: tuple[int, int]
) -> None:
    params = {"fast": windows[0], "slow": windows[1]}
    whole, _ = make(kind, **params)
    first, _ = make(kind, **params)
    give(whole, prices)
    give(first, prices[:cut])
    second, _ = make(kind, state=first.save(), **params)
    give(second, prices[cut:])
    assert second.save() == whole.save()


def give(strategy: Strategy, prices: list[int]) -> None:
    if isinstance(strategy, SmaCross):
        feed(strategy, prices)
    elif prices:
        strategy.on_ticks(batch(prices))


@pytest.mark.parametrize("kind", [SmaCross, VectorCross])
@pytest.mark.parametrize(("fast", "slow"), [(0, 5), (5, 5), (6, 5), (-1, 5), (2.5, 5)])
def test_windows_that_are_none_end_the_start(kind: type[Strategy], fast: float, slow: int) -> None:
    with pytest.raises(ValueError, match="fast"):
        make(kind, fast=fast, slow=slow)


def test_no_side_where_the_averages_never_part() -> None:
    assert last_side(np.full(50, 7, dtype=np.int64), 2, 5) == 0
    assert last_side(np.arange(4, dtype=np.int64), 2, 5) == 0
    assert last_side(np.arange(5, dtype=np.int64), 2, 5) == 1


def test_sums_of_the_largest_slice_stay_exact() -> None:
    prices = np.full(65_536, 10**12, dtype=np.int64)
    prices[-1] += 1
    assert last_side(prices, 20, 100) == 1
