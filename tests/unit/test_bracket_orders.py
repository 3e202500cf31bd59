"""Brackets, stops and swaps in the fold: what the venue must know again is there, and money follows its records."""

from __future__ import annotations

from typing import Any

import pytest
from fold_journals import BUY, OPENING, SELL, apply, checkpoint, envelope, fill, folded, place, settle, state

from actors.fold import BalanceAdjusted, Fold, FoldError, ImpossibleReport, OrderChanged, OrderRestated
from actors.order_tracker import OrderTracker
from protocol.orders import OrderStatus, OrderType, Report
from protocol.records import Adjust, AdjustKind, BalanceChange, OrderPlace, OrderUpdate
from protocol.units import product_to_bytes

P = product_to_bytes
BRACKET = OrderPlace(
    1, 16, 101, 0, BUY, OrderType.MARKET, 10, stop_loss=90, take_profit=110, stop_loss_order_id=2,
    take_profit_order_id=3,
)  # fmt: skip


def said(order_id: int, report: Report, **fields: Any) -> OrderUpdate:
    return OrderUpdate(order_id, report, venue_time=7, **fields)


def quantities(tracker: OrderTracker) -> dict[int, int]:
    return {order_id: order.quantity for order_id, order in tracker.open_orders.items()}


def test_a_fill_makes_the_exits_orders_and_tells_of_them_last() -> None:
    fold = folded(BRACKET)
    changes = apply(fold, fill(1, 100, 10))
    news = [change.order for change in changes[-2:] if isinstance(change, OrderChanged)]
    assert [(order.order_id, order.status, order.parent_id) for order in news] == [
        (2, OrderStatus.NEW, 1), (3, OrderStatus.NEW, 1),
    ]  # fmt: skip
    assert [(order.side, order.order_type, order.signal, order.reduce_only) for order in news] == [
        (SELL, OrderType.STOP, 101, True), (SELL, OrderType.LIMIT, 101, True),
    ]  # fmt: skip
    assert fold.next_order_id == 4


def test_exits_grow_with_their_parent_and_lose_what_the_other_fills() -> None:
    fold = folded(BRACKET, fill(1, 100, 4))
    settle(fold)
    assert quantities(fold.tracker) == {1: 10, 2: 4, 3: 4}
    apply(fold, fill(1, 101, 5))
    settle(fold)
    assert quantities(fold.tracker) == {1: 10, 2: 9, 3: 9}
    apply(fold, fill(3, 110, 2))
    settle(fold)
    assert quantities(fold.tracker) == {1: 10, 2: 7, 3: 9}
    assert fold.tracker.orders[2].place.quantity == 7
    apply(fold, fill(2, 90, 7))
    assert quantities(fold.tracker) == {1: 10, 3: 2}
    assert fold.tracker.orders[3].remaining == 0


def test_an_exit_that_was_canceled_is_not_made_again() -> None:
    fold = folded(BRACKET, fill(1, 100, 4), said(2, Report.CANCEL))
    settle(fold)
    record, new = checkpoint(fold), Fold()
    lsn = fold.lsn + 1
    for one in (fold, new):
        one.apply(envelope(lsn, record), record)
        apply(one, fill(1, 101, 5))
        assert quantities(one.tracker) == {1: 10, 3: 9}
    assert state(fold) == state(new)


def test_exits_take_no_exposure_and_leave_the_position_to_be_closed() -> None:
    fold = folded(BRACKET, fill(1, 100, 10), place(4, SELL, 3))
    assert fold.tracker.open_quantities(0) == (0, 3)


def test_a_checkpoint_keeps_exits_stops_and_the_venues_times() -> None:
    stop = OrderPlace(4, 16, 104, 0, SELL, OrderType.STOP, 5, stop_price=80, trail=10)
    limit = OrderPlace(5, 16, 105, 0, SELL, OrderType.STOP_LIMIT, 5, 70, 80)
    fold = folded(BRACKET, fill(1, 100, 4), said(2, Report.ACCEPT), stop, said(4, Report.ACCEPT), limit)
    apply(fold, said(4, Report.RESTATE, price=85), said(5, Report.ACCEPT), said(5, Report.TRIGGER))
    settle(fold)
    record, new = checkpoint(fold), Fold()
    new.apply(envelope(fold.lsn + 1, record), record)
    orders = new.tracker.orders
    assert (orders[2].parent_id, orders[2].quantity, orders[2].status) == (1, 4, OrderStatus.ACCEPTED)
    assert (orders[4].stop_price, orders[4].accepted_us) == (85, 7)
    assert orders[5].is_triggered
    assert (new.venue_us, new.run_venue_us) == (7, 7)


def test_a_stop_that_moves_or_is_triggered_changes_no_status() -> None:
    stop = OrderPlace(1, 16, 101, 0, SELL, OrderType.STOP, 5, stop_price=80, trail=10)
    fold = folded(stop, said(1, Report.ACCEPT))
    order = fold.tracker.orders[1]
    for report in (said(1, Report.RESTATE, price=85), said(1, Report.TRIGGER)):
        assert apply(fold, report) == [OrderRestated(order, 7)]
        assert order.status is OrderStatus.ACCEPTED
    assert (order.stop_price, order.is_triggered) == (85, True)


def test_a_day_order_accepted_before_any_tick_counts_from_its_restatement() -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT))
    assert (fold.tracker.orders[1].accepted_us, fold.venue_us) == (0, 0)
    apply(fold, said(1, Report.RESTATE))
    assert (fold.tracker.orders[1].accepted_us, fold.tracker.orders[1].stop_price) == (7, 0)


def test_a_start_of_the_engine_begins_a_new_time_of_the_run() -> None:
    fold = folded(place(1), said(1, Report.ACCEPT))
    assert fold.run is not None
    apply(fold, fold.run)
    assert (fold.venue_us, fold.run_venue_us) == (7, 0)


def test_an_adjust_moves_the_balance_and_owes_a_balance_change_that_names_it() -> None:
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    balance, realized = fold.account.balance, dict(fold.account.realized)
    swap = Adjust(AdjustKind.SWAP, 0, P(-5), 10, 1, 9)
    assert apply(fold, swap) == [BalanceAdjusted(0, -5, 9)]
    lsn = fold.lsn
    assert list(fold.owed) == [BalanceChange(lsn, 0, P(-5), P(0), P(balance - 5))]
    settle(fold)
    assert (fold.account.balance, fold.account.realized, fold.venue_us) == (balance - 5, realized, 9)


def test_an_adjust_of_nothing_owes_nothing_and_one_of_no_symbol_is_refused() -> None:
    fold = folded()
    apply(fold, Adjust(AdjustKind.SWAP, 0, P(0), 10, 1, 9))
    assert not fold.owed
    with pytest.raises(FoldError, match="ADJUST in symbol 9"):
        apply(fold, Adjust(AdjustKind.SWAP, 9, P(1)))


def test_an_adjust_that_the_balance_cannot_hold_moves_nothing() -> None:
    fold = folded()
    changes = apply(fold, Adjust(AdjustKind.SWAP, 0, P(2**127 - 1)))
    assert [type(change) for change in changes] == [ImpossibleReport]
    assert (fold.account.balance, list(fold.owed)) == (OPENING, [])
