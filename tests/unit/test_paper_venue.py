"""The paper venue: at which price, in which order, and that a restart neither loses nor repeats a fill."""

from __future__ import annotations

import pytest

from actors.order_tracker import OrderTracker
from actors.venues import Answer, Venue
from actors.venues.commission import Commission
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from protocol.orders import OrderType, Report, Side, TimeInForce
from protocol.records import OrderPlace, OrderUpdate

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT = OrderType.MARKET, OrderType.LIMIT
BID, ASK = 99, 101


def place(
    order_id: int, side: Side = BUY, limit_price: int = 0, *, symbol_id: int = 0, quantity: int = 10
) -> OrderPlace:
    return OrderPlace(order_id, 16, order_id, symbol_id, side, LIMIT if limit_price else MARKET, quantity, limit_price)


def accept(order_id: int, time: int = 5) -> OrderUpdate:
    return OrderUpdate(order_id, Report.ACCEPT, venue_time=time)


def fill(order_id: int, price: int, time: int = 5, *, quantity: int = 10, number: int = 1) -> OrderUpdate:
    return OrderUpdate(order_id, Report.FILL, f"{order_id}-{number}", price, quantity, venue_time=time)


def venue(*, quoted: bool = True, commission: int = 0, lot: int = 1) -> PaperVenue:
    made = PaperVenue(Policies({0: Terms(lot), 1: Terms(lot)}, Commission(commission)))
    if quoted:
        assert made.on_tick(0, 5, BID, ASK) == []
    return made


def updates(answers: list[Answer]) -> list[OrderUpdate]:
    return [answer for answer in answers if isinstance(answer, OrderUpdate)]


def test_it_is_a_venue() -> None:
    checked: Venue = venue()
    assert checked.cancel(1) == []


@pytest.mark.parametrize(
    ("side", "limit_price", "price"),
    [
        pytest.param(BUY, 0, ASK, id="a market buy at the ask"),
        pytest.param(SELL, 0, BID, id="a market sell at the bid"),
        pytest.param(BUY, ASK, ASK, id="a limit buy at the ask"),
        pytest.param(BUY, ASK + 5, ASK, id="a limit buy above the ask at the ask"),
        pytest.param(SELL, BID, BID, id="a limit sell at the bid"),
        pytest.param(SELL, BID - 5, BID, id="a limit sell below the bid at the bid"),
    ],
)
def test_a_marketable_order_is_accepted_and_fills_at_the_quote(side: Side, limit_price: int, price: int) -> None:
    assert venue().place(place(1, side, limit_price)) == [accept(1), fill(1, price)]


@pytest.mark.parametrize(
    ("side", "limit_price", "short_of", "reaching"),
    [
        pytest.param(BUY, 100, (99, 101), (98, 100), id="a buy is touched by the ask"),
        pytest.param(BUY, 100, (90, 101), (80, 82), id="a buy that the market jumps over"),
        pytest.param(SELL, 100, (99, 101), (100, 102), id="a sell is touched by the bid"),
        pytest.param(SELL, 100, (99, 120), (150, 152), id="a sell that the market jumps over"),
    ],
)
def test_a_resting_limit_fills_at_its_limit_when_the_market_reaches_it(
    side: Side, limit_price: int, short_of: tuple[int, int], reaching: tuple[int, int]
) -> None:
    made = venue()
    assert made.place(place(1, side, limit_price)) == [accept(1)]
    assert made.on_tick(0, 6, *short_of) == []
    assert made.on_tick(1, 7, *reaching) == [], "another symbol"
    assert made.on_tick(0, 8, *reaching) == [fill(1, limit_price, 8)]
    assert made.on_tick(0, 9, *reaching) == []


def test_a_market_order_without_a_quote_waits_for_the_first_one() -> None:
    made = venue(quoted=False)
    assert made.place(place(1, SELL)) == [accept(1, 0)]
    assert made.on_tick(1, 3, 50, 51) == []
    assert made.on_tick(0, 4, BID, ASK) == [fill(1, BID, 4)]


def test_orders_that_one_quote_reaches_fill_in_the_order_of_their_ids() -> None:
    made = venue()
    for order_id, price in ((5, 90), (2, 95), (9, 96), (3, 80)):
        assert made.place(place(order_id, BUY, price)) == [accept(order_id)]
    assert made.on_tick(0, 6, 88, 89) == [fill(2, 95, 6), fill(5, 90, 6), fill(9, 96, 6)]
    assert made.on_tick(0, 7, 78, 79) == [fill(3, 80, 7)]


def test_a_canceled_order_does_not_fill_and_is_canceled_once() -> None:
    made = venue()
    made.place(place(1, BUY, 90))
    assert made.cancel(1) == [OrderUpdate(1, Report.CANCEL, venue_time=5)]
    assert made.cancel(1) == []
    assert made.on_tick(0, 6, 80, 81) == []


def test_canceling_an_unknown_or_filled_order_says_nothing() -> None:
    made = venue()
    made.place(place(1))
    assert made.cancel(1) == []
    assert made.cancel(77) == []


def test_placing_a_working_order_again_says_nothing_and_doubles_nothing() -> None:
    made = venue()
    made.place(place(1, BUY, 90))
    assert made.place(place(1, BUY, 90)) == []
    assert made.on_tick(0, 6, 80, 81) == [fill(1, 90, 6)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (place(1, symbol_id=9), "unknown_symbol"),
        (place(1, quantity=0), "bad_quantity"),
        (OrderPlace(1, 16, 1, 0, BUY, OrderType.STOP, 10), "bad_price"),
        (OrderPlace(1, 16, 1, 0, BUY, LIMIT, 10), "bad_price"),
        (OrderPlace(1, 16, 1, 0, BUY, LIMIT, 10, 5, trail=5), "bad_price"),
        (OrderPlace(1, 16, 1, 0, BUY, MARKET, 10, time_in_force=TimeInForce.GTD, expire_us=5), "expired"),
        (OrderPlace(1, 16, 1, 0, BUY, MARKET, 10, oco=7), "oco_gone"),
        (OrderPlace(1, 16, 1, 0, BUY, MARKET, 10, reduce_only=True), "nothing_to_reduce"),
    ],
)
def test_what_the_model_cannot_do_is_rejected(bad: OrderPlace, reason: str) -> None:
    (update,) = updates(venue().place(bad))
    assert (update.report, update.reason) == (Report.REJECT, reason)


@pytest.mark.parametrize(
    ("per_lot", "lot", "quantity", "commission"),
    [
        pytest.param(0, 10, 30, 0, id="none"),
        pytest.param(7, 10, 30, 21, id="exact"),
        pytest.param(1, 2, 1, 0, id="half to even, down"),
        pytest.param(3, 2, 1, 2, id="half to even, up"),
        pytest.param(2, 3, 1, 1, id="nearest"),
    ],
)
def test_commission_is_charged_by_the_lot(per_lot: int, lot: int, quantity: int, commission: int) -> None:
    _, filled = updates(venue(commission=per_lot, lot=lot).place(place(1, quantity=quantity)))
    assert filled.commission == commission


def test_a_restored_order_fills_the_rest_under_the_next_execution_id() -> None:
    tracker = OrderTracker()
    order = tracker.add(place(4, BUY, 90))
    assert order is not None
    tracker.apply_update(accept(4))
    tracker.apply_update(fill(4, 90, quantity=3))
    made = venue()
    made.restore([order], {(16, 0): 3})
    assert made.on_tick(0, 6, 80, 81) == [fill(4, 90, 6, quantity=7, number=2)]


def test_a_place_without_an_answer_goes_to_the_model_again_under_the_same_execution_id() -> None:
    """V2: the first life filled, but nothing of it reached the journal."""
    assert [updates(venue().place(place(1)))[1].execution_id for _ in range(2)] == ["1-1", "1-1"]
