"""The paper venue order kind by order kind: what it says at which tick, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from actors.venues import Answer
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from actors.venues.swap import SwapRule
from protocol.orders import OrderType, Report, Side, TimeInForce
from protocol.records import Adjust, AdjustKind, OrderPlace, OrderUpdate
from protocol.topics import TICK_DTYPE
from protocol.units import DAY_US, MICROS, product_to_bytes

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, STOP, STOP_LIMIT = OrderType
GTC, IOC, FOK, DAY, GTD = TimeInForce
BID, ASK = 99, 101


def venue(**changes: Any) -> PaperVenue:
    made = PaperVenue(Policies({0: Terms(10), 1: Terms(10)}, **changes))
    assert made.on_tick(0, 5, BID, ASK, 1000) == []
    return made


def place(
    order_id: int, side: Side = BUY, kind: OrderType = MARKET, *, quantity: int = 100, **fields: Any
) -> OrderPlace:
    return OrderPlace(order_id, 16, order_id, 0, side, kind, quantity, **fields)


def said(answers: Sequence[Answer]) -> list[tuple[Any, ...]]:
    """(order id, report, price, quantity, reason) of each, from the right without what is not there."""
    rows = []
    for answer in answers:
        assert isinstance(answer, OrderUpdate)
        row: list[Any] = [answer.order_id, answer.report, answer.price, answer.quantity, answer.reason]
        while not row[-1]:
            row.pop()
        rows.append(tuple(row))
    return rows


ACCEPT, FILL, CANCEL, REJECT, EXPIRE, TRIGGER, RESTATE = (
    Report.ACCEPT, Report.FILL, Report.CANCEL, Report.REJECT, Report.EXPIRE, Report.TRIGGER, Report.RESTATE,
)  # fmt: skip


# Stops.


@pytest.mark.parametrize(
    ("side", "stop", "short_of", "reaching", "price"),
    [
        pytest.param(BUY, 105, (102, 104), (103, 105), 105, id="a buy stop is triggered by the ask"),
        pytest.param(BUY, 105, (104, 104), (120, 122), 122, id="a gap through it fills at the gap's ask"),
        pytest.param(SELL, 95, (96, 98), (95, 97), 95, id="a sell stop is triggered by the bid"),
        pytest.param(SELL, 95, (96, 96), (80, 82), 80, id="a gap through it fills at the gap's bid"),
    ],
)
def test_a_stop_fills_at_the_quote_that_triggers_it(
    side: Side, stop: int, short_of: tuple[int, int], reaching: tuple[int, int], price: int
) -> None:
    made = venue()
    assert said(made.place(place(1, side, STOP, stop_price=stop))) == [(1, ACCEPT)]
    assert made.on_tick(0, 6, *short_of) == []
    assert said(made.on_tick(0, 7, *reaching)) == [(1, FILL, price, 100)]


def test_a_stop_that_is_reached_when_it_arrives_fills_at_once() -> None:
    assert said(venue().place(place(1, BUY, STOP, stop_price=101))) == [(1, ACCEPT), (1, FILL, 101, 100)]


def test_slippage_makes_market_and_stop_fills_worse_and_leaves_limits_alone() -> None:
    made = venue(slippage_ticks=2)
    assert said(made.place(place(1)))[1] == (1, FILL, ASK + 2, 100)
    assert said(made.place(place(2, SELL)))[1] == (2, FILL, BID - 2, 100)
    assert said(made.place(place(3, BUY, LIMIT, limit_price=ASK)))[1] == (3, FILL, ASK, 100)
    made.place(place(4, BUY, STOP, stop_price=105))
    assert said(made.on_tick(0, 6, 105, 107)) == [(4, FILL, 109, 100)]


def test_a_stop_limit_is_triggered_and_then_fills_no_worse_than_its_limit() -> None:
    made = venue()
    made.place(place(1, BUY, STOP_LIMIT, stop_price=105, limit_price=106))
    made.place(place(2, BUY, STOP_LIMIT, stop_price=105, limit_price=108))
    assert said(made.on_tick(0, 6, 105, 107)) == [(1, TRIGGER), (2, FILL, 107, 100)]
    assert said(made.on_tick(0, 7, 90, 92)) == [(1, FILL, 106, 100)], "it rests: at its limit"


def test_a_trailing_stop_follows_the_best_price_and_tells_each_move() -> None:
    made = venue()
    assert said(made.place(place(1, SELL, STOP, trail=10))) == [(1, ACCEPT), (1, RESTATE, 89)]
    assert made.on_tick(0, 6, 95, 97) == []
    assert made.on_tick(0, 7, 99, 101) == []
    assert said(made.on_tick(0, 8, 100, 102)) == [(1, RESTATE, 90)]
    assert said(made.on_tick(0, 9, 120, 122)) == [(1, RESTATE, 110)]
    assert made.on_tick(0, 10, 111, 113) == []
    assert said(made.on_tick(0, 11, 108, 110)) == [(1, FILL, 108, 100)]


def test_a_trailing_stop_starts_at_its_stop_and_moves_by_steps() -> None:
    made = venue(trail_step_ticks=5)
    assert said(made.place(place(1, BUY, STOP, stop_price=120, trail=10))) == [(1, ACCEPT), (1, RESTATE, 111)]
    assert made.on_tick(0, 6, 95, 97) == []
    assert said(made.on_tick(0, 7, 94, 96)) == [(1, RESTATE, 106)]
    assert said(made.on_tick(0, 8, 104, 106)) == [(1, FILL, 106, 100)]


def test_a_trailing_stop_without_a_quote_starts_with_the_first() -> None:
    made = PaperVenue(Policies({0: Terms(10)}))
    assert said(made.place(place(1, SELL, STOP, trail=10))) == [(1, ACCEPT)]
    assert said(made.on_tick(0, 5, BID, ASK)) == [(1, RESTATE, 89)]


# Time in force.


@pytest.mark.parametrize("time_in_force", [IOC, FOK])
def test_what_cannot_fill_at_once_is_canceled(time_in_force: TimeInForce) -> None:
    made, name = venue(), time_in_force.name.lower()
    missed = place(1, BUY, LIMIT, limit_price=100, time_in_force=time_in_force)
    assert said(made.place(missed)) == [(1, ACCEPT), (1, CANCEL, 0, 0, name)]
    assert said(made.place(place(2, BUY, LIMIT, limit_price=101, time_in_force=time_in_force))) == [
        (2, ACCEPT), (2, FILL, 101, 100),
    ]  # fmt: skip


def test_an_immediate_stop_is_decided_when_it_is_triggered() -> None:
    made = venue()
    made.place(place(1, BUY, STOP_LIMIT, stop_price=105, limit_price=105, time_in_force=IOC))
    assert said(made.on_tick(0, 6, 106, 108)) == [(1, CANCEL, 0, 0, "ioc")]


def test_an_immediate_order_without_a_quote_is_decided_at_the_first_one() -> None:
    made = PaperVenue(Policies({0: Terms(10)}))
    assert said(made.place(place(1, BUY, LIMIT, limit_price=100, time_in_force=IOC))) == [(1, ACCEPT)]
    assert said(made.on_tick(0, 5, BID, ASK)) == [(1, CANCEL, 0, 0, "ioc")]


def test_a_day_order_ends_with_the_day_and_one_with_a_date_at_it() -> None:
    made = venue(day_end_us=DAY_US // 2)
    made.place(place(1, BUY, LIMIT, limit_price=90, time_in_force=DAY))
    made.place(place(2, BUY, LIMIT, limit_price=90, time_in_force=GTD, expire_us=70))
    made.place(place(3, BUY, LIMIT, limit_price=90))
    assert made.on_tick(0, 69, BID, ASK) == []
    assert said(made.on_tick(1, 70, 1, 1)) == [(2, EXPIRE)], "a tick of any symbol ends it"
    assert made.on_tick(0, DAY_US // 2 - 1, BID, ASK) == []
    assert said(made.on_tick(0, DAY_US // 2, 80, 82)) == [(1, EXPIRE), (3, FILL, 90, 100)], "expiries come first"


def test_a_day_order_from_before_the_first_tick_ends_with_the_first_ticks_day() -> None:
    made = PaperVenue(Policies({0: Terms(10)}))
    made.place(place(1, BUY, LIMIT, limit_price=90, time_in_force=DAY))
    assert said(made.on_tick(0, 3 * DAY_US - 1, BID, ASK)) == [(1, RESTATE)]
    assert said(made.on_tick(0, 3 * DAY_US, BID, ASK)) == [(1, EXPIRE)]


# OCO and brackets.


def test_a_fill_cancels_the_alternatives() -> None:
    made = venue()
    made.place(place(1, BUY, LIMIT, limit_price=95))
    made.place(place(2, SELL, LIMIT, limit_price=105, oco=1))
    made.place(place(3, BUY, STOP, stop_price=120, oco=1))
    assert said(made.on_tick(0, 6, 105, 107)) == [
        (2, FILL, 105, 100), (1, CANCEL, 0, 0, "oco"), (3, CANCEL, 0, 0, "oco"),
    ]  # fmt: skip
    assert said(made.place(place(4, BUY, LIMIT, limit_price=90, oco=1))) == [(4, REJECT, 0, 0, "oco_gone")]


def bracket(order_id: int = 1, side: Side = BUY, **fields: Any) -> OrderPlace:
    exits = (90, 110) if side is BUY else (110, 90)
    return place(
        order_id, side, stop_loss=exits[0], take_profit=exits[1], stop_loss_order_id=order_id + 1,
        take_profit_order_id=order_id + 2, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("quote", "filled", "canceled", "price"),
    [((90, 92), 2, 3, 90), ((80, 82), 2, 3, 80), ((110, 112), 3, 2, 110), ((130, 132), 3, 2, 110)],
)
def test_a_fill_arms_the_exits_and_one_of_them_cancels_the_other(
    quote: tuple[int, int], filled: int, canceled: int, price: int
) -> None:
    made = venue()
    assert said(made.place(bracket())) == [(1, ACCEPT), (1, FILL, 101, 100), (2, ACCEPT), (3, ACCEPT)]
    assert made.on_tick(0, 6, 95, 97) == []
    assert said(made.on_tick(0, 7, *quote))[0] == (filled, FILL, price, 100)
    assert made.on_tick(0, 8, 70, 72) == made.on_tick(0, 9, 130, 132) == []
    assert made.cancel(canceled) == []


def test_exits_work_from_the_tick_after_the_fill() -> None:
    made = venue()
    made.place(bracket(kind=LIMIT, limit_price=100))
    gap = (80, 82)
    assert said(made.on_tick(0, 6, *gap)) == [(1, FILL, 100, 100), (2, ACCEPT), (3, ACCEPT)]
    assert said(made.on_tick(0, 6, *gap))[0] == (2, FILL, 80, 100)


def test_exits_grow_with_their_parent_and_what_one_fills_the_other_loses() -> None:
    made = venue(max_participation=MICROS // 10)
    made.place(bracket(kind=LIMIT, limit_price=105, quantity=300))
    assert said(made.on_tick(0, 6, BID, ASK, 400)) == [(1, FILL, 105, 40), (2, ACCEPT), (3, ACCEPT)]
    assert said(made.on_tick(0, 7, BID, ASK, 600)) == [(1, FILL, 105, 60)]
    # 100 are held: the take profit fills 70 of them, which ends what is left of the entry.
    assert said(made.on_tick(0, 8, 110, 112, 700)) == [(3, FILL, 110, 70), (1, CANCEL, 0, 0, "bracket")]
    assert said(made.on_tick(0, 9, 80, 82, 10_000)) == [
        (2, FILL, 80, 30), (3, CANCEL, 0, 0, "nothing_to_reduce"),
    ]  # fmt: skip


def test_a_position_that_is_closed_takes_its_exits_with_it() -> None:
    made = venue()
    made.place(bracket())
    assert said(made.place(place(4, SELL, reduce_only=True))) == [
        (4, ACCEPT), (4, FILL, 99, 100), (2, CANCEL, 0, 0, "nothing_to_reduce"), (3, CANCEL, 0, 0, "nothing_to_reduce"),
    ]  # fmt: skip


def test_an_exit_takes_no_more_than_is_held() -> None:
    made = venue()
    made.place(bracket())
    made.place(place(4, SELL, quantity=60))
    assert said(made.on_tick(0, 6, 90, 92)) == [
        (2, FILL, 90, 40), (2, CANCEL, 0, 0, "nothing_to_reduce"), (3, CANCEL, 0, 0, "nothing_to_reduce"),
    ]  # fmt: skip


def test_a_canceled_exit_leaves_the_other() -> None:
    made = venue()
    made.place(bracket(side=SELL))
    assert said(made.cancel(2)) == [(2, CANCEL)]
    assert said(made.on_tick(0, 6, 88, 90)) == [(3, FILL, 90, 100)]


def test_an_exit_that_finds_nothing_to_reduce_ends() -> None:
    """Another strategy is short: together they hold nothing, and a sell would open."""
    made = venue()
    made.place(place(9, SELL))
    assert (2, ACCEPT) in said(made.place(bracket()))
    assert said(made.on_tick(0, 6, 90, 92)) == [(2, CANCEL, 0, 0, "nothing_to_reduce")]


# Latency.


def test_with_latency_an_order_meets_the_first_tick_at_or_after_its_arrival() -> None:
    made = venue(latency_us=10)
    assert made.place(place(1), 5) == []
    assert made.on_tick(0, 14, 104, 106) == []
    assert said(made.on_tick(1, 15, 50, 51)) == [(1, ACCEPT), (1, FILL, 106, 100)], "of any symbol; at its own quote"


def test_with_latency_cancels_are_on_their_way_too_and_all_arrive_in_the_order_of_their_sending() -> None:
    made = venue(latency_us=10)
    made.place(place(2, BUY, LIMIT, limit_price=90), 5)
    made.cancel(2, 6)
    made.place(place(1, BUY, LIMIT, limit_price=100), 6)
    assert said(made.on_tick(0, 15, BID, ASK)) == [(2, ACCEPT)]
    assert said(made.on_tick(0, 16, 88, 90)) == [(2, CANCEL), (1, ACCEPT), (1, FILL, 90, 100)]
    assert made.cancel(2, 16) == []
    assert made.on_tick(0, 26, BID, ASK) == []


def test_at_the_end_what_is_on_its_way_is_rejected_and_what_rests_stays() -> None:
    made = venue(latency_us=10)
    made.place(place(1, BUY, LIMIT, limit_price=90), 5)
    made.on_tick(0, 15, BID, ASK)
    made.place(place(2), 15)
    made.cancel(1, 15)
    assert said(made.end()) == [(2, REJECT, 0, 0, "end_of_data")]
    assert said(made.place(place(3), 16)) == [(3, REJECT, 0, 0, "end_of_data")]
    assert said(made.cancel(1, 16)) == [(1, CANCEL)]


# Participation.


def test_orders_share_a_ticks_volume_in_their_order() -> None:
    made = venue(max_participation=MICROS // 2)
    assert said(made.place(place(2, quantity=30))) == [(2, ACCEPT)], "what was traded before is not there for it"
    made.place(place(1, BUY, LIMIT, limit_price=101))
    assert said(made.on_tick(0, 6, BID, ASK, 250)) == [(1, FILL, 101, 100), (2, FILL, 101, 20)]
    assert made.on_tick(0, 7, BID, ASK, 19) == [], "less than a lot"
    assert said(made.on_tick(0, 8, BID, ASK, 20)) == [(2, FILL, 101, 10)]


def test_an_immediate_order_takes_what_there_is_or_all_or_nothing() -> None:
    made = venue(max_participation=MICROS // 2)
    made.place(place(1, quantity=50, time_in_force=FOK))
    made.place(place(2, quantity=50, time_in_force=IOC))
    made.place(place(3, quantity=10, time_in_force=FOK))
    assert said(made.on_tick(0, 6, BID, ASK, 80)) == [
        (1, CANCEL, 0, 0, "fok"), (2, FILL, 101, 40), (2, CANCEL, 0, 0, "ioc"), (3, CANCEL, 0, 0, "fok"),
    ]  # fmt: skip


def test_a_triggered_stop_fills_by_parts_whatever_the_price_does() -> None:
    made = venue(max_participation=MICROS)
    made.place(place(1, SELL, STOP, stop_price=95))
    assert said(made.on_tick(0, 6, 94, 96, 0)) == [(1, TRIGGER)]
    assert said(made.on_tick(0, 7, 98, 100, 40)) == [(1, FILL, 98, 40)]
    assert said(made.on_tick(0, 8, 97, 99, 80)) == [(1, FILL, 97, 60)]


# Swap.


def test_the_first_tick_after_the_rollover_charges_what_was_held_before_it() -> None:
    terms = Terms(10, swap_long=-3 * MICROS, swap_short=2 * MICROS)
    made = PaperVenue(Policies({0: terms, 1: terms}, swap=SwapRule(DAY_US // 2)))
    made.on_tick(0, 5, BID, ASK)
    made.on_tick(1, 5, BID, ASK)
    made.place(place(1, quantity=20))
    made.place(OrderPlace(2, 16, 2, 1, SELL, MARKET, 10))
    made.place(place(3, BUY, LIMIT, limit_price=90))
    assert made.on_tick(0, DAY_US // 2 - 1, BID, ASK) == []
    long, short = -6 * MICROS**2, 2 * MICROS**2
    time_us = DAY_US // 2
    assert made.on_tick(0, time_us, 88, 90)[:2] == [
        Adjust(AdjustKind.SWAP, 0, product_to_bytes(long), 20, 1, time_us),
        Adjust(AdjustKind.SWAP, 1, product_to_bytes(short), -10, 1, time_us),
    ]
    assert made.on_tick(0, time_us + 1, 95, 97) == []
    later = made.on_tick(1, time_us + 3 * DAY_US, BID, ASK)
    assert [answer.nights for answer in later if isinstance(answer, Adjust)] == [3, 3]


def test_a_restart_charges_the_nights_since_the_journals_last_time_and_no_night_twice() -> None:
    terms = {0: Terms(10, swap_long=-MICROS)}
    noon = DAY_US // 2
    cases = ((noon - 1, noon, 1), (noon, noon + 1, 0), (noon, 3 * noon, 1), (5 * noon, noon, 0))
    for venue_us, first_us, nights in cases:
        made = PaperVenue(Policies(terms, swap=SwapRule(noon)))
        assert made.restore([], {(16, 0): 20}, venue_us=venue_us) == []
        charged = made.on_tick(0, first_us, BID, ASK)
        assert [answer.nights for answer in charged if isinstance(answer, Adjust)] == [nights] * (nights > 0)


# The horizon.


def test_the_horizon_of_nothing_is_nothing() -> None:
    made, none = venue(), np.zeros(0, dtype=TICK_DTYPE)
    assert made.next_act(none) is None
    made.skip(none)
    made.place(place(1, BUY, LIMIT, limit_price=90))
    assert made.next_act(none) is None


def test_the_horizon_lies_where_only_the_last_of_many_ticks_reaches() -> None:
    made = venue()
    made.place(place(1, BUY, LIMIT, limit_price=90))
    ticks = np.array([(0, 0, 10 + index, BID, ASK) for index in range(20_000)], dtype=TICK_DTYPE)
    assert made.next_act(ticks) is None
    ticks["ask"][-1] = 90
    assert made.next_act(ticks) == 19_999
    ticks["symbol_id"][-1] = 1
    assert made.next_act(ticks) is None
