"""A change of an order, from the signal to the venue's answer: in risk's book, the fold and the paper venue."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from books import Desk, started
from fold_journals import apply, checkpoint, envelope, folded, place
from test_checks import TICK, change

from actors.checks import ApprovedReplace, check_signal
from actors.fold import Fold, OrderReplaced, ReplaceRequested, SignalAnswered
from actors.order_fields import ImpossibleOrderError, change_fields
from actors.order_tracker import Order
from actors.venues import Answer
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from protocol.messages import SIGNAL_MODIFY, SIGNAL_ORDER, Intent
from protocol.orders import OrderStatus, OrderType, Report, Side, TimeInForce
from protocol.records import OrderCancel, OrderPlace, OrderReplace, OrderUpdate, SignalRefused
from protocol.units import MICROS

# The fold.

REPLACE = OrderReplace(1, 16, 5, 15, 90)


def test_a_replace_is_asked_for_answers_its_signal_and_is_told_when_the_venue_answers() -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT))
    assert apply(fold, REPLACE) == [SignalAnswered(16, 5, 1), ReplaceRequested(REPLACE)]
    order = fold.tracker.orders[1]
    assert apply(fold, OrderUpdate(1, Report.REPLACE, "5", venue_time=9)) == [OrderReplaced(order, 9)]
    assert (order.quantity, order.limit_price, order.status) == (15, 90, OrderStatus.ACCEPTED)
    apply(fold, msgspec.structs.replace(REPLACE, signal=6))
    refused = OrderUpdate(1, Report.REPLACE_REJECT, "6", reason="no", venue_time=9)
    assert apply(fold, refused) == [OrderReplaced(order, 9)]
    assert (order.replace, order.reason) == (None, "no")


def test_a_replace_of_what_has_ended_is_no_request() -> None:
    fold = folded(place(1), OrderUpdate(1, Report.CANCEL))
    assert apply(fold, REPLACE) == [SignalAnswered(16, 5, 1), ReplaceRequested(REPLACE)]
    assert fold.tracker.orders[1].replace is None
    assert apply(fold, OrderUpdate(1, Report.REPLACE_REJECT, "5")) == []


def test_a_replace_that_is_not_answered_is_in_the_checkpoint() -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT), REPLACE)
    other = Fold()
    other.apply(envelope(fold.lsn + 1, checkpoint(fold)), checkpoint(fold))
    assert other.tracker.orders[1].replace == REPLACE
    assert other.tracker.open_quantities(0) == (15, 0)


# risk.


def test_an_approved_change_is_what_the_strategy_asked_for() -> None:
    given = change(place={"time_in_force": TimeInForce.GTD, "expire_us": 3}, quantity=50, limit_price=TICK, expire_us=7)
    assert check_signal(given, 12) == ApprovedReplace(OrderReplace(4, 16, 9, 50, TICK, 0, 0, 7))


def intent(number: int, kind: int = SIGNAL_MODIFY, **fields: Any) -> Intent:
    return Intent(16, number, 1, 0, b"", 0, kind, 0, **fields)


def ask(desk: Desk, *intents: Intent) -> list[Any]:
    """What risk says to them, before anything of it is back."""
    for one in intents:
        assert not desk.book.is_repeated(one)
        desk.book.decide(one, 0)
    return desk.said


def test_what_is_asked_for_takes_exposure_before_it_is_back_and_until_it_is_answered() -> None:
    desk = started("max_position_per_symbol = 10.0")
    limit = {"order_type": OrderType.LIMIT, "limit_price": MICROS}
    ask(desk, intent(1, SIGNAL_ORDER, quantity=4 * MICROS, **limit))
    desk.settle()
    desk.take(OrderUpdate(1, Report.ACCEPT))
    for step in range(4):
        if step == 0:  # pending
            assert ask(desk, intent(2, order_id=1, quantity=9 * MICROS)) == [OrderReplace(1, 16, 2, 9 * MICROS)]
        elif step == 1:  # in the journal
            desk.settle()
        elif step == 2:  # by the checkpoint alone
            fold = Fold()
            fold.apply(envelope(desk.fold.lsn + 1, checkpoint(desk.fold)), checkpoint(desk.fold))
            desk = Desk(desk.book._config, fold)
            desk.book.scopes.take_run()
            desk.book.begin()
        else:
            desk.take(OrderUpdate(1, Report.REPLACE_REJECT, "2", reason="no"))
        exposure = desk.book.scopes.exposure(0, 0)
        assert exposure.open_buy == (4 if step == 3 else 9) * MICROS
        said = ask(desk, intent(10 + step, SIGNAL_ORDER, quantity=2 * MICROS, **limit))
        assert isinstance(said.pop(), OrderPlace if step == 3 else SignalRefused)
        desk.book.pending_orders.clear()


def test_one_change_at_a_time_and_none_of_what_is_being_canceled() -> None:
    desk = started()
    ask(desk, intent(1, SIGNAL_ORDER, quantity=4 * MICROS), intent(2, order_id=1, quantity=9 * MICROS))
    said = ask(desk, intent(3, order_id=1, quantity=8 * MICROS))
    assert (said[-1].reason, desk.book.scopes.exposure(0, 0).open_buy) == ("change_under_way", 9 * MICROS)
    desk.settle()
    assert ask(desk, intent(4, order_id=1, quantity=8 * MICROS))[-1].reason == "change_under_way"
    desk.take(OrderUpdate(1, Report.ACCEPT), OrderUpdate(1, Report.REPLACE, "2"), OrderCancel(1, 2, 0, "operator"))
    assert ask(desk, intent(5, order_id=1, quantity=8 * MICROS))[-1].reason == "order_ended"
    assert ask(desk, intent(6, order_id=9, quantity=8 * MICROS))[-1].reason == "unknown_order"


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"price": 1}, "bad_change"), ({"limit": 0}, "bad_change"), ({"quantity": -1}, "bad_change"),
     ({"quantity": 1e-9}, "not_representable")],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused_by_the_desk(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ImpossibleOrderError, match=says):
        change_fields(changes)


def test_what_is_not_named_is_not_asked_for() -> None:
    fields = {"quantity": 0, "limit_price": 0, "stop_price": 1_500_000, "trail": 0, "expire_us": 7_000_000}
    assert change_fields({"stop": 1.5, "expire": 7.0, "limit": None}) == fields


# The paper venue.

LIMIT = OrderPlace(1, 16, 4, 0, Side.BUY, OrderType.LIMIT, 100, 90)
STOP = OrderPlace(1, 16, 4, 0, Side.SELL, OrderType.STOP, 100, 0, 90)


def venue(*, latency_us: int = 0, participation: int = 0) -> PaperVenue:
    made = PaperVenue(Policies({0: Terms(1)}, latency_us=latency_us, max_participation=participation))
    made.on_tick(0, 1000, 99, 101)
    return made


def told(answers: list[Answer]) -> list[tuple[Any, ...]]:
    return [(a.report.name, a.price, a.quantity, a.reason) for a in answers if isinstance(a, OrderUpdate)]


CASES = [
    ("another quantity", LIMIT, {"quantity": 60}, [("REPLACE", 90, 60, "")], [("FILL", 90, 60, "")]),
    ("another price", LIMIT, {"limit_price": 80}, [("REPLACE", 80, 100, "")], []),
    ("through the market", LIMIT, {"limit_price": 105}, [("REPLACE", 105, 100, ""), ("FILL", 101, 100, "")], []),
    ("another stop", STOP, {"stop_price": 80}, [("REPLACE", 80, 100, "")], []),
    ("a stop above the market", STOP, {"stop_price": 100}, [("REPLACE", 100, 100, ""), ("FILL", 99, 100, "")], []),
    ("a stop that trails from now on", STOP, {"trail": 5},
     [("REPLACE", 90, 100, ""), ("RESTATE", 94, 0, "")], [("FILL", 85, 100, "")]),
    ("expired", msgspec.structs.replace(LIMIT, time_in_force=TimeInForce.GTD, expire_us=5000), {"expire_us": 1000},
     [("REPLACE_REJECT", 0, 0, "expired")], [("FILL", 90, 100, "")]),
    ("to live shorter", msgspec.structs.replace(LIMIT, time_in_force=TimeInForce.GTD, expire_us=5000),
     {"expire_us": 1500}, [("REPLACE", 90, 100, "")], [("EXPIRE", 0, 0, "")]),
]  # fmt: skip


@pytest.mark.parametrize(("order", "changes", "now", "later"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_venue_changes_an_order_in_place_and_looks_at_the_quote(
    order: OrderPlace, changes: dict[str, int], now: list[Any], later: list[Any]
) -> None:
    made = venue()
    made.place(order)
    assert told(made.replace(OrderReplace(1, 16, 5, **changes))) == now
    assert told(made.on_tick(0, 2000, 85, 87)) == later


def test_no_more_than_is_filled_ends_the_order() -> None:
    made = venue(participation=MICROS // 2)
    made.place(msgspec.structs.replace(LIMIT, limit_price=105))
    assert told(made.on_tick(0, 2000, 99, 101, 80)) == [("FILL", 105, 40, "")]
    assert told(made.replace(OrderReplace(1, 16, 5, 40))) == [("CANCEL", 0, 0, "replaced")]
    assert made.replace(OrderReplace(1, 16, 6, 50)) == []


def test_a_stop_that_was_triggered_has_no_stop_to_move() -> None:
    made = venue(participation=MICROS // 2)
    made.place(STOP)
    assert told(made.on_tick(0, 2000, 80, 82)) == [("TRIGGER", 0, 0, "")]
    assert told(made.replace(OrderReplace(1, 16, 5, stop_price=70))) == [("REPLACE_REJECT", 0, 0, "triggered")]
    assert told(made.replace(OrderReplace(1, 16, 6, 50))) == [("REPLACE", 90, 50, "")]


def test_a_change_is_under_way_as_an_order_is_and_meets_what_is_there_when_it_arrives() -> None:
    made = venue(latency_us=10)
    made.place(LIMIT, 1000)
    assert made.replace(OrderReplace(1, 16, 5, limit_price=80), 1005) == []
    assert told(made.on_tick(0, 1010, 99, 101)) == [("ACCEPT", 0, 0, "")]
    assert told(made.on_tick(0, 1015, 85, 87)) == [("REPLACE", 80, 100, "")]
    made.replace(OrderReplace(1, 16, 6, limit_price=70), 1015)
    assert told(made.on_tick(0, 1020, 70, 72)) == [("FILL", 80, 100, "")]
    assert made.on_tick(0, 1030, 70, 72) == []  # it came too late, and the fill has said so


def test_a_change_that_is_under_way_when_the_data_end_is_refused() -> None:
    made = venue(latency_us=10)
    made.place(LIMIT, 1000)
    made.on_tick(0, 1010, 99, 101)
    made.replace(OrderReplace(1, 16, 5, limit_price=80), 1010)
    assert told(made.end()) == [("REPLACE_REJECT", 0, 0, "end_of_data")]
    assert told(made.replace(OrderReplace(1, 16, 6, limit_price=80), 1010)) == [("REPLACE_REJECT", 0, 0, "end_of_data")]


def test_a_new_life_of_the_venue_has_the_order_as_it_was_replaced() -> None:
    order = Order.of(STOP)
    order.status, order.stop_price = OrderStatus.ACCEPTED, 95
    order.replace = OrderReplace(1, 16, 5, 60, stop_price=80)
    order.end_replace(is_done=True)
    made = PaperVenue(Policies({0: Terms(1)}))
    made.restore([order], {(16, 0): 100})
    assert made.on_tick(0, 2000, 81, 82) == []
    assert told(made.on_tick(0, 3000, 80, 82)) == [("FILL", 80, 60, "")]
