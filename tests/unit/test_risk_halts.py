"""What risk's book does of itself: closing orders that must be placed again, commands that meet."""

from __future__ import annotations

import msgspec
import pytest
from books import Desk, started
from fold_journals import BUY, SELL, fill, place

from actors.risk_book import CLOSED_AGAIN_MAX
from protocol.orders import TradingMode
from protocol.records import Operation, OrderCancel, OrderPlace, OrderUpdate, Report, TradingState
from protocol.units import MICROS


def holding() -> Desk:
    """Ten units long, and halted."""
    desk = started('on_halt = "flatten"')
    desk.take(place(1, BUY, 10 * MICROS), fill(1, 100 * MICROS, 10 * MICROS))
    desk.settle()
    desk.book.begin()
    desk.halted = True
    return desk


def closes(desk: Desk) -> list[OrderPlace]:
    return [record for record in desk.settle() if isinstance(record, OrderPlace)]


def test_a_closing_order_that_ends_without_closing_is_placed_again_and_not_for_ever() -> None:
    desk = holding()
    desk.book.act_on_halt(pending=True)
    placed = 0
    while found := closes(desk):
        [close] = found
        placed += 1
        assert (close.quantity, close.reduce_only) == (10 * MICROS, True)
        desk.take(OrderUpdate(close.order_id, Report.REJECT, reason="not_sent"))
        if desk.book.may_close_again(desk.fold.tracker.orders[close.order_id]):
            desk.book.act_on_halt(pending=True)
    assert placed == 1 + CLOSED_AGAIN_MAX


def test_a_closing_order_that_has_closed_is_not_placed_again() -> None:
    desk = holding()
    desk.book.act_on_halt(pending=True)
    [close] = closes(desk)
    desk.take(fill(close.order_id, 100 * MICROS, 10 * MICROS))
    assert not desk.book.may_close_again(desk.fold.tracker.orders[close.order_id])
    desk.book.act_on_halt(pending=True)
    assert closes(desk) == []


def test_of_a_parked_strategy_what_protects_its_position_or_closes_it_stays() -> None:
    desk = started()
    exits = {"stop_loss": 90 * MICROS, "stop_loss_order_id": 2}
    desk.take(msgspec.structs.replace(place(1, BUY, 10 * MICROS), **exits), fill(1, 100 * MICROS, 10 * MICROS))
    desk.settle()
    desk.take(place(3, BUY, MICROS), msgspec.structs.replace(place(4, SELL, MICROS), reduce_only=True))
    desk.book.cancel_orders_of("sma")
    assert [record.order_id for record in desk.settle() if isinstance(record, OrderCancel)] == [3]
    assert set(desk.fold.tracker.open_orders) == {2, 3, 4}


@pytest.mark.parametrize(("verbs", "mode"), [
    (("REDUCE", "RESUME"), TradingMode.ACTIVE), (("REDUCE", "RESUME", "REDUCE"), TradingMode.REDUCING),
])  # fmt: skip
def test_of_commands_that_come_before_the_first_is_back_each_finds_what_the_one_before_has_left(
    verbs: tuple[str, ...], mode: TradingMode
) -> None:
    desk = started()
    for lsn, verb in enumerate(verbs, 100):
        desk.book.carry_out(lsn, Operation("", verb, "", "operator"), 0)
    assert desk.book.mode is mode
    said = desk.settle()
    assert [record.verb for record in said if isinstance(record, Operation)] == list(verbs)
    assert len([record for record in said if isinstance(record, TradingState)]) == len(verbs)
    assert desk.book.mode is mode is desk.fold.trading.mode
