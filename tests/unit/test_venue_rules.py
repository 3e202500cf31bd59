"""The paper venue's rules, each alone: commission, swap, prices, stops, lifetimes, participation, OCO, brackets."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.brackets import exits_of
from actors.venues.commission import Commission
from actors.venues.lifetime import day_end, expiry_of, is_undated
from actors.venues.oco import OcoGroups
from actors.venues.participation import budget, least_volume
from actors.venues.prices import is_limit_reached, quoted_price, slipped_price
from actors.venues.stops import is_triggered, moved_price, trailed_price
from actors.venues.swap import NO_SWAP, SwapRule, swap_product
from actors.venues.working import Working
from protocol.orders import OrderType, Side, TimeInForce
from protocol.records import OrderPlace
from protocol.units import MICROS

BUY, SELL = Side.BUY, Side.SELL
HOUR_US = 3_600_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICROS


# Commission.


def of_fill(rule: Commission, price: int, quantity: int, *, filled: int = 0, product: int = 0) -> int:
    return rule.of_fill(price, quantity, filled=filled, fill_product=product, lot_size=10, multiplier=2 * MICROS)


@pytest.mark.parametrize(
    ("rule", "due"),
    [
        pytest.param(Commission(), 0, id="none"),
        pytest.param(Commission(per_lot=7), 21, id="three lots"),
        # 50 x 30e-6 x multiplier 2 = 0.003 of value; a rate of 1 % is 30 micros.
        pytest.param(Commission(rate=10_000), 30, id="a rate of the value"),
        pytest.param(Commission(per_lot=7, rate=10_000), 51, id="both"),
        pytest.param(Commission(per_lot=7, minimum=21), 21, id="the minimum is just reached"),
        pytest.param(Commission(per_lot=7, minimum=22), 22, id="the minimum is not"),
        pytest.param(Commission(per_lot=7, minimum=22, is_per_fill=True), 22, id="nor per fill"),
    ],
)
def test_a_fill_costs_by_the_lot_and_by_its_value_and_a_minimum_at_least(rule: Commission, due: int) -> None:
    assert of_fill(rule, 50 * MICROS, 30) == due


@given(
    fills=st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)), min_size=1, max_size=5),
    rule=st.builds(Commission, st.integers(0, 99), st.integers(0, 99), st.integers(0, 10**6)),
)
def test_the_parts_of_an_order_cost_together_what_they_would_at_once(
    fills: list[tuple[int, int]], rule: Commission
) -> None:
    filled = product = paid = 0
    for price, quantity in fills:
        part = of_fill(rule, price, quantity, filled=filled, product=product)
        assert part >= 0
        paid, filled, product = paid + part, filled + quantity, product + price * quantity
    due = Fraction(rule.per_lot * filled, 10) + Fraction(rule.rate * product * 2 * MICROS, MICROS**3)
    assert paid == max(rule.minimum, round(due)), "rounded once, half to even"


def test_a_minimum_per_fill_is_due_for_each_and_one_per_order_once() -> None:
    for is_per_fill, second in ((True, 50), (False, 0)):
        rule = Commission(per_lot=1, minimum=50, is_per_fill=is_per_fill)
        assert of_fill(rule, 100, 30) == 50
        assert of_fill(rule, 100, 30, filled=30, product=3000) == second


# Swap.

WEDNESDAY_TRIPLE = SwapRule(22 * HOUR_US, 2)


@pytest.mark.parametrize(
    ("day", "nights"),
    [("2024-01-01", 1), ("2024-01-02", 1), ("2024-01-03", 3), ("2024-01-04", 1), ("2024-01-05", 1), ("2024-01-06", 0),
     ("2024-01-07", 0)],
)  # fmt: skip
def test_a_rollover_counts_one_night_the_triple_one_three_the_weekends_none(day: str, nights: int) -> None:
    """2024-01-01 was a Monday."""
    rollover = us(f"{day} 22:00:00")
    assert WEDNESDAY_TRIPLE.nights(rollover - 1, rollover) == nights
    assert WEDNESDAY_TRIPLE.nights(rollover, rollover + HOUR_US) == 0, "it has been counted"
    assert WEDNESDAY_TRIPLE.nights(rollover - HOUR_US, rollover - 1) == 0, "it has not come"
    assert SwapRule(22 * HOUR_US).nights(rollover - 1, rollover) == 1, "without a triple day every day counts"


def test_a_week_has_seven_nights_either_way() -> None:
    start = us("2024-01-01 00:00:00")
    for rule in (WEDNESDAY_TRIPLE, SwapRule(22 * HOUR_US)):
        assert rule.nights(start, start + 7 * 24 * HOUR_US) == 7


@pytest.mark.parametrize(
    ("after", "following"),
    [
        ("2024-01-04 21:59:59", "2024-01-04 22:00:00"),
        ("2024-01-04 22:00:00", "2024-01-05 22:00:00"),
        ("2024-01-05 22:00:00", "2024-01-08 22:00:00"),
        ("2024-01-07 12:00:00", "2024-01-08 22:00:00"),
    ],
)
def test_the_next_rollover_is_the_next_that_counts(after: str, following: str) -> None:
    assert WEDNESDAY_TRIPLE.next_rollover(us(after)) == us(following)


def test_without_a_rollover_there_is_no_swap() -> None:
    assert NO_SWAP.next_rollover(us("2024-01-01 00:00:00")) is None
    assert NO_SWAP.nights(0, us("2024-01-01 00:00:00")) == 0


def test_a_swap_is_the_rate_by_lots_and_nights_of_either_side() -> None:
    assert swap_product(-2 * MICROS, 30, 3, 10) == swap_product(-2 * MICROS, -30, 3, 10) == -18 * MICROS**2
    assert swap_product(1, 1, 1, 3) == 333_333, "rounded once, in 1e-12"


# Prices and stops.


@pytest.mark.parametrize(("is_buy", "quoted", "slipped"), [(True, 101, 104), (False, 99, 96)])
def test_slippage_is_on_the_side_that_hurts(is_buy: bool, quoted: int, slipped: int) -> None:
    assert quoted_price(is_buy, 99, 101) == quoted
    assert slipped_price(is_buy, 99, 101, 3) == slipped


def test_a_sell_never_slips_to_nothing() -> None:
    assert slipped_price(False, 2, 3, 5) == 1


@pytest.mark.parametrize(
    ("is_buy", "price", "limit", "stop"),
    [(True, 100, False, True), (True, 101, True, True), (True, 102, True, False), (False, 100, False, True),
     (False, 99, True, True), (False, 98, True, False)],
)  # fmt: skip
def test_limits_are_reached_from_one_side_and_stops_from_the_other(
    is_buy: bool, price: int, limit: bool, stop: bool
) -> None:
    assert is_limit_reached(is_buy, price, 99, 101) is limit
    assert is_triggered(is_buy, price, 99, 101) is stop


@pytest.mark.parametrize(
    ("is_buy", "stop", "step", "moved"),
    [(False, 88, 1, 89), (False, 89, 1, None), (False, 90, 1, None), (False, 86, 3, 89), (False, 87, 3, None),
     (True, 112, 1, 111), (True, 111, 1, None), (True, 110, 1, None), (True, 114, 3, 111), (True, 113, 3, None)],
)  # fmt: skip
def test_a_trailing_stop_follows_in_steps_and_never_back(is_buy: bool, stop: int, step: int, moved: int | None) -> None:
    assert trailed_price(is_buy, 10, 99, 101) == (111 if is_buy else 89)
    assert moved_price(is_buy, stop, 10, step, 99, 101) == moved


def test_a_trail_longer_than_the_price_stops_at_the_least_one() -> None:
    assert trailed_price(False, 200, 99, 101) == 1


# Lifetimes.


def test_a_day_ends_after_it_began_even_at_its_end() -> None:
    assert day_end(us("2024-01-01 23:59:59"), 0) == us("2024-01-02 00:00:00")
    assert day_end(us("2024-01-02 00:00:00"), 0) == us("2024-01-03 00:00:00")
    assert day_end(us("2024-01-02 21:00:00"), 22 * HOUR_US) == us("2024-01-02 22:00:00")
    assert day_end(us("2024-01-02 23:00:00"), 22 * HOUR_US) == us("2024-01-03 22:00:00")


@pytest.mark.parametrize(
    ("time_in_force", "expires", "undated"),
    [
        (TimeInForce.GTC, None, False),
        (TimeInForce.IOC, None, False),
        (TimeInForce.FOK, None, False),
        (TimeInForce.DAY, us("2024-01-02 00:00:00"), True),
        (TimeInForce.GTD, 77, False),
    ],
)
def test_an_order_ends_by_itself_as_its_time_in_force_says(
    time_in_force: TimeInForce, expires: int | None, undated: bool
) -> None:
    place = OrderPlace(1, 16, 1, 0, BUY, OrderType.MARKET, 10, time_in_force=time_in_force, expire_us=77)
    assert expiry_of(place, us("2024-01-01 09:00:00"), 0) == expires
    assert is_undated(place, 0) is undated
    assert not is_undated(place, 1)


# Participation.


@given(st.integers(0, 10**15), st.integers(1, MICROS), st.integers(1, 10**6))
def test_a_tick_fills_whole_lots_of_its_share_and_something_from_the_least_volume_on(
    volume: int, share: int, lot: int
) -> None:
    allowed = budget(volume, share, lot)
    assert allowed % lot == 0
    assert allowed * MICROS <= volume * share < (allowed + lot) * MICROS + MICROS
    assert (allowed > 0) == (volume >= least_volume(share, lot))


# Groups and brackets.


def working(order_id: int, *, signal: int = 0, oco: int = 0, strategy: int = 16, parent: int = 0) -> Working:
    place = OrderPlace(order_id, strategy, signal or order_id, 0, BUY, OrderType.LIMIT, 10, 5, oco=oco)
    return Working.of(place, parent)


def test_a_group_is_the_first_signal_and_those_that_name_it_of_one_strategy() -> None:
    groups, first = OcoGroups(), working(1)
    for order in (first, working(2, oco=1), working(3, oco=1), working(4), working(5, oco=1, strategy=17)):
        groups.add(order)
    assert groups.others(first) == [2, 3]
    assert groups.others(working(2, oco=1)) == [1, 3]
    assert groups.others(working(4)) == []


def test_exits_bear_their_parents_signal_and_are_in_no_group() -> None:
    groups = OcoGroups()
    groups.add(working(1))
    groups.add(working(2, signal=1, parent=1))
    assert groups.others(working(1)) == []
    assert groups.others(working(2, signal=1, parent=1)) == []


def test_a_group_is_gone_when_nothing_of_it_works() -> None:
    groups, first, second = OcoGroups(), working(1), working(2, oco=1)
    joining = working(3, oco=1).place
    assert groups.is_gone(joining)
    groups.add(first)
    groups.add(second)
    groups.remove(first)
    assert not groups.is_gone(joining)
    groups.remove(second)
    assert groups.is_gone(joining)
    assert not groups.is_gone(working(3).place), "one that joins nothing"


def test_the_exits_of_a_bracket_leave_what_was_entered() -> None:
    parent = OrderPlace(
        7, 16, 3, 1, SELL, OrderType.MARKET, 100, stop_loss=50, take_profit=30, stop_loss_order_id=8,
        take_profit_order_id=9, market_epoch=b"e", market_position=302,
    )  # fmt: skip
    stop_loss, take_profit = exits_of(parent, 40)
    assert stop_loss == OrderPlace(
        8, 16, 3, 1, BUY, OrderType.STOP, 40, stop_price=50, reduce_only=True, market_epoch=b"e", market_position=302
    )
    assert take_profit == OrderPlace(
        9, 16, 3, 1, BUY, OrderType.LIMIT, 40, 30, reduce_only=True, market_epoch=b"e", market_position=302
    )
