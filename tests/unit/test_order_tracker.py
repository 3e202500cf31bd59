"""The order tables: fills add up, execution ids count once, and what cannot be is told and moves nothing."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.order_tracker import Advance, Duplicate, Impossible, Order, OrderTracker
from protocol.orders import OrderStatus, OrderType, Report, Side
from protocol.records import OrderPlace, OrderReplace, OrderUpdate


def place(order_id: int, *, symbol_id: int = 0, side: Side = Side.BUY, quantity: int = 10, strategy: int = 16,
          limit_price: int = 0) -> OrderPlace:  # fmt: skip
    kind = OrderType.LIMIT if limit_price else OrderType.MARKET
    return OrderPlace(order_id, strategy, order_id, symbol_id, side, kind, quantity, limit_price)


def fill(order_id: int, execution_id: str, quantity: int, price: int = 100) -> OrderUpdate:
    return OrderUpdate(order_id, Report.FILL, execution_id, price, quantity)


def tracker_with(*places: OrderPlace) -> OrderTracker:
    tracker = OrderTracker()
    for item in places:
        assert tracker.add(item) is not None
    return tracker


def facts(order: Order) -> tuple[OrderStatus, int, int, int]:
    return order.status, order.filled, order.fill_product, order.fills


def test_a_new_order_is_new_open_and_found_by_symbol_and_strategy() -> None:
    tracker = tracker_with(place(1), place(2, symbol_id=1, strategy=17))
    assert tracker.orders[1].status is OrderStatus.NEW
    assert list(tracker.open_orders) == [1, 2]
    assert [order.order_id for order in tracker.open_in_symbol(1)] == [2]
    assert [order.order_id for order in tracker.open_of_strategy(16)] == [1]
    assert not list(tracker.open_in_symbol(9))


def test_an_order_id_is_used_once() -> None:
    tracker = tracker_with(place(1))
    assert tracker.add(place(1, quantity=99)) is None
    assert tracker.orders[1].quantity == 10


def test_the_next_order_id_is_above_all_placed_and_reserved_ones() -> None:
    tracker = OrderTracker()
    assert tracker.next_order_id == 1
    tracker.add(place(1))
    assert tracker.next_order_id == 2
    tracker.add(OrderPlace(5, 16, 5, 0, Side.BUY, OrderType.MARKET, 10, stop_loss_order_id=6, take_profit_order_id=7))
    assert tracker.next_order_id == 8
    tracker.add(place(3))
    assert tracker.next_order_id == 8


def test_fills_add_up_and_the_last_one_takes_the_order_from_the_open_tables() -> None:
    tracker = tracker_with(place(1, limit_price=120))
    order = tracker.orders[1]
    assert order.shown_price_micros == 120
    assert tracker.apply_update(OrderUpdate(1, Report.ACCEPT)) == Advance(order, OrderStatus.ACCEPTED)
    assert tracker.apply_update(fill(1, "a", 4, 100)) == Advance(order, OrderStatus.PARTIALLY_FILLED)
    assert tracker.open_quantities(0) == (6, 0)
    assert tracker.apply_update(fill(1, "b", 6, 105)) == Advance(order, OrderStatus.FILLED)
    assert facts(order) == (OrderStatus.FILLED, 10, 1030, 2)
    assert (order.average_price_micros, order.average_price_float) == (103, 0.000103)
    assert (order.shown_price_micros, order.shown_price_float) == (103, 0.000103)
    assert not tracker.open_orders
    assert not list(tracker.open_in_symbol(0))
    assert not list(tracker.open_of_strategy(16))


def test_open_quantities_count_what_is_left_on_each_side() -> None:
    tracker = tracker_with(place(1), place(2, side=Side.SELL, quantity=7), place(3), place(4, symbol_id=1))
    tracker.apply_update(fill(1, "a", 4))
    tracker.apply_update(OrderUpdate(3, Report.CANCEL))
    assert tracker.open_quantities(0) == (6, 7)


@pytest.mark.parametrize(
    "again", [fill(1, "a", 4), fill(1, "a", 6, 99), fill(2, "a", 4), fill(1, "a", 99)],
    ids=["the same", "other numbers", "another order", "too large"],
)  # fmt: skip
def test_an_execution_id_seen_before_is_a_duplicate_and_moves_nothing(again: OrderUpdate) -> None:
    tracker = tracker_with(place(1), place(2))
    tracker.apply_update(fill(1, "a", 4))
    before = [facts(order) for order in tracker.orders.values()]
    assert tracker.apply_update(again) == Duplicate(again.order_id, "a")
    assert [facts(order) for order in tracker.orders.values()] == before


def test_an_execution_id_is_remembered_after_its_order_is_final() -> None:
    tracker = tracker_with(place(1))
    tracker.apply_update(fill(1, "a", 10))
    assert tracker.apply_update(fill(1, "a", 10)) == Duplicate(1, "a")


@pytest.mark.parametrize(
    ("before", "update", "reason"),
    [
        ([], fill(9, "a", 1), "unknown_order"),
        ([], OrderUpdate(9, Report.ACCEPT), "unknown_order"),
        ([], fill(1, "", 1), "fill_without_execution_id"),
        ([], fill(1, "a", 1, price=0), "fill_without_price"),
        ([], fill(1, "a", 0), "empty_fill"),
        ([], fill(1, "a", 11), "overfill"),
        ([fill(1, "a", 4)], fill(1, "b", 7), "overfill"),
        ([fill(1, "a", 10)], fill(1, "b", 1), "fill_after_filled"),
        ([OrderUpdate(1, Report.CANCEL)], fill(1, "a", 1), "fill_after_canceled"),
        ([OrderUpdate(1, Report.ACCEPT)], OrderUpdate(1, Report.REJECT), "reject_after_accepted"),
        ([OrderUpdate(1, Report.ACCEPT)], OrderUpdate(1, Report.ACCEPT), "accept_after_accepted"),
        ([OrderUpdate(1, Report.EXPIRE)], fill(1, "a", 1), "fill_after_expired"),
        ([], OrderUpdate(1, Report.REPLACE, "5"), "replace_without_request"),
        ([OrderUpdate(1, Report.ACCEPT)], OrderUpdate(1, Report.REPLACE, "5"), "replace_without_request"),
        ([OrderUpdate(1, Report.ACCEPT)], OrderUpdate(1, Report.REPLACE_REJECT, "5"), "replace_without_request"),
        ([fill(1, "a", 10)], OrderUpdate(1, Report.REPLACE, "5"), "replace_after_filled"),
        ([], OrderUpdate(9, Report.REPLACE, "5"), "unknown_order"),
    ],
)
def test_an_impossible_report_is_returned_with_its_reason_and_moves_nothing(
    before: list[OrderUpdate], update: OrderUpdate, reason: str
) -> None:
    tracker = tracker_with(place(1))
    for earlier in before:
        assert isinstance(tracker.apply_update(earlier), Advance)
    was, ids = facts(tracker.orders[1]), set(tracker.execution_ids)
    assert tracker.apply_update(update) == Impossible(update.order_id, reason)
    assert facts(tracker.orders[1]) == was
    assert set(tracker.execution_ids) == ids


def asked(tracker: OrderTracker, **terms: int) -> Order:
    tracker.apply_update(OrderUpdate(1, Report.ACCEPT))
    order = tracker.orders[1]
    order.replace = OrderReplace(1, 16, 5, **terms)
    return order


DONE = OrderUpdate(1, Report.REPLACE, "5")
NOT_DONE = OrderUpdate(1, Report.REPLACE_REJECT, "5", reason="no")


def test_a_replace_that_is_asked_for_reserves_the_larger_quantity_and_changes_nothing_else() -> None:
    tracker = tracker_with(place(1))
    order = asked(tracker, quantity=15)
    assert (order.quantity, tracker.open_quantities(0)) == (10, (15, 0))
    order.replace = OrderReplace(1, 16, 5, 6)
    assert tracker.open_quantities(0) == (10, 0)
    tracker.apply_update(fill(1, "a", 7))
    assert tracker.open_quantities(0) == (3, 0)


@pytest.mark.parametrize("quantity", [4, 15])
def test_only_the_venues_answer_changes_the_order(quantity: int) -> None:
    for answer, left in ((DONE, quantity), (NOT_DONE, 10)):
        tracker = tracker_with(place(1))
        order = asked(tracker, quantity=quantity, limit_price=7)
        tracker.apply_update(fill(1, "a", 3))
        assert isinstance(tracker.apply_update(answer), Advance)
        assert (order.quantity, order.place.quantity, order.replace) == (left, left, None)
        assert order.limit_price == (7 if answer is DONE else 0)
        assert tracker.open_quantities(0) == (left - 3, 0)
        assert order.reason == answer.reason
        assert tracker.apply_update(answer) == Impossible(1, "replace_without_request")


def test_a_replace_below_what_is_filled_and_one_that_nobody_asked_for_are_impossible() -> None:
    tracker = tracker_with(place(1))
    asked(tracker, quantity=4)
    tracker.apply_update(fill(1, "a", 4))
    assert tracker.apply_update(DONE) == Impossible(1, "replace_below_filled")
    other = msgspec.structs.replace(NOT_DONE, execution_id="6")
    assert tracker.apply_update(other) == Impossible(1, "replace_without_request")


@pytest.mark.parametrize("report", [Report.CANCEL, Report.EXPIRE, Report.FILL])
def test_what_ends_an_order_answers_its_replace_and_the_venue_may_say_so_as_well(report: Report) -> None:
    tracker = tracker_with(place(1))
    order = asked(tracker, quantity=15)
    tracker.apply_update(fill(1, "a", 10) if report is Report.FILL else OrderUpdate(1, report))
    was = order.status
    assert (order.is_open, order.replace, tracker.open_quantities(0)) == (False, None, (0, 0))
    assert tracker.apply_update(NOT_DONE) == Advance(order, was)
    assert (order.status, order.reason, tracker.open_orders) == (was, "", {})
    assert tracker.apply_update(DONE) == Impossible(1, f"replace_after_{was.name.lower()}")


def test_examining_a_report_changes_nothing() -> None:
    tracker = tracker_with(place(1))
    verdict = tracker.examine(fill(1, "a", 10))
    assert verdict == Advance(tracker.orders[1], OrderStatus.FILLED)
    assert facts(tracker.orders[1]) == (OrderStatus.NEW, 0, 0, 0)
    assert not tracker.execution_ids


def test_a_rejected_order_that_the_venue_accepts_after_all_is_open_again() -> None:
    tracker = tracker_with(place(1))
    tracker.apply_update(OrderUpdate(1, Report.REJECT, reason="not_sent"))
    assert (tracker.open_quantities(0), tracker.orders[1].reason) == ((0, 0), "not_sent")
    assert isinstance(tracker.apply_update(OrderUpdate(1, Report.ACCEPT)), Advance)
    assert tracker.open_quantities(0) == (10, 0)
    assert list(tracker.open_of_strategy(16)) == [tracker.orders[1]]


def test_a_rejected_order_that_the_venue_filled_whole_is_filled_and_never_open() -> None:
    tracker = tracker_with(place(1))
    tracker.apply_update(OrderUpdate(1, Report.REJECT, reason="not_sent"))
    assert tracker.apply_update(fill(1, "a", 10)) == Advance(tracker.orders[1], OrderStatus.FILLED)
    assert facts(tracker.orders[1]) == (OrderStatus.FILLED, 10, 1000, 1)
    assert not tracker.open_orders


updates = st.builds(
    OrderUpdate,
    order_id=st.integers(0, 3),
    report=st.sampled_from(Report),
    execution_id=st.sampled_from(["", "a", "b", "c", "d", "e", "f"]),
    price=st.integers(0, 50),
    quantity=st.integers(-1, 8),
)


@given(st.lists(updates, max_size=60))
def test_whatever_a_venue_says_the_tables_agree_with_each_other(history: list[OrderUpdate]) -> None:
    tracker = tracker_with(place(1), place(2, side=Side.SELL), place(3, symbol_id=1, strategy=17))
    booked: dict[int, list[OrderUpdate]] = {1: [], 2: [], 3: []}
    for update in history:
        if isinstance(tracker.apply_update(update), Advance) and update.report is Report.FILL:
            booked[update.order_id].append(update)
    for order_id, order in tracker.orders.items():
        fills = booked[order_id]
        assert order.filled == sum(item.quantity for item in fills) <= order.quantity
        assert order.fills == len(fills)
        if fills:
            exact = Fraction(sum(item.price * item.quantity for item in fills), order.filled)
            assert order.average_price_micros == round(exact)
        is_open = order.is_open
        assert (order_id in tracker.open_orders) == is_open
        assert (order in tracker.open_in_symbol(order.symbol_id)) == is_open
        assert (order in tracker.open_of_strategy(order.strategy_id)) == is_open
    ids = [item.execution_id for fills in booked.values() for item in fills]
    assert len(ids) == len(set(ids))
    assert set(ids) == set(tracker.execution_ids)
