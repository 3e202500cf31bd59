"""The paper venue over random histories: restarts change nothing, the fold follows, and its horizon is exact."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_histories import IDS, KINDS, LOT, Engine, PlainVenue, Tick, order_terms, steps, tick_array, ticks

from actors.protection import requests_of
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies
from protocol.orders import Report, Side
from protocol.records import OrderPlace, OrderUpdate, PositionModify

History = list[tuple[str, Any]]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@settings(max_examples=100)
@given(history=steps)
def test_a_venue_restarted_at_any_moment_says_what_one_that_never_stopped_says(
    kind: Policies, history: History
) -> None:
    restarted, steady = Engine(kind), Engine(kind, PlainVenue)
    restarted.run(history)
    steady.run(history, restarts=False)
    assert restarted.log == steady.log


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@settings(max_examples=100)
@given(history=steps)
def test_orders_fill_on_their_side_within_their_limit_and_reduce_only_ones_only_reduce(
    kind: Policies, history: History
) -> None:
    engine = Engine(kind)
    engine.run(history)
    held = {0: 0, 1: 0}
    quoted = {tick[1]: tick for tick in engine.ticks}
    limits: dict[int, int] = {}
    for record in engine.log:
        for place in (record, *(requests_of(record) if isinstance(record, PositionModify) else ())):
            if isinstance(place, OrderPlace):
                limits[place.order_id] = place.limit_price
                limits[place.take_profit_order_id] = place.take_profit  # 0 if there is none, as no order's id is
        if isinstance(record, OrderUpdate) and record.report is Report.REPLACE and limits.get(record.order_id):
            limits[record.order_id] = record.price
        if not isinstance(record, OrderUpdate) or record.report is not Report.FILL:
            continue
        order = engine.fold.tracker.orders[record.order_id]
        change = record.quantity * order.side.sign
        if order.reduce_only:
            assert held[order.symbol_id] * change < 0
            assert abs(change) <= abs(held[order.symbol_id])
        held[order.symbol_id] += change
        limit = limits.get(order.order_id, order.limit_price)
        if limit:
            assert (limit - record.price) * order.side.sign >= 0
        tick = quoted.get(record.venue_time)
        if tick is not None and tick[0] == order.symbol_id and not limit:
            quote = tick[3] if order.side is Side.BUY else tick[2]
            assert (record.price - quote) * order.side.sign >= 0, "slippage never helps"


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@given(history=steps)
def test_the_fold_and_the_venue_agree_on_what_every_order_may_still_fill(kind: Policies, history: History) -> None:
    engine = Engine(kind)
    for step in history:
        engine.run([step])
        held = engine.fold.account_of(16)
        for working in engine.venue._book.orders.values():
            order = engine.fold.tracker.open_orders[working.order_id]
            assert working.remaining == order.remaining
            assert (working.limit_price, working.place.trail) == (order.limit_price, order.place.trail)
            if order.place.protects:
                assert order.remaining == -order.side.sign * held.position(order.symbol_id).quantity


@settings(max_examples=100)
@given(history=steps)
def test_what_fills_at_a_tick_is_at_most_its_share_of_the_volume(history: History) -> None:
    engine = Engine(KINDS[2])
    engine.run(history, restarts=False)
    filled: dict[int, int] = {}
    for record in engine.log:
        if isinstance(record, OrderUpdate) and record.report is Report.FILL:
            filled[record.venue_time] = filled.get(record.venue_time, 0) + record.quantity
    volumes = {time_us: volume for _, time_us, _, _, volume in engine.ticks}
    for time_us, quantity in filled.items():
        assert quantity <= volumes[time_us] // 2
        assert quantity % LOT == 0 or quantity < LOT


many_ticks = st.lists(st.one_of(ticks, ticks.map(lambda tick: (tick[0], 0, *tick[2:]))), min_size=5, max_size=30)


def spoken_first(venue: PaperVenue, rows: list[Tick]) -> int | None:
    """By stepping, without the bands that the horizon is made of."""
    venue.__class__ = PlainVenue
    for index, tick in enumerate(rows):
        if venue.on_tick(*tick):
            return index
    return None


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@settings(max_examples=120)
@given(history=steps, ahead=many_ticks, restart=st.booleans(), more=st.lists(order_terms(), max_size=3))
def test_the_horizon_is_the_first_tick_at_which_stepping_says_something(
    kind: Policies, history: History, ahead: list[Any], restart: bool, more: list[dict[str, Any]]
) -> None:
    engine = Engine(kind)
    engine.run(history)
    if restart:
        engine.restart()
    for number, fields in enumerate(more):
        engine.place(number % 2, fields)
    array, volumes = tick_array(ahead, engine.time_us - (restart and 1000))
    rows: list[Tick] = [
        (*(int(row[name]) for name in ("symbol_id", "timestamp", "bid", "ask")), int(volume))  # type: ignore[misc]
        for row, volume in zip(array, volumes, strict=True)
    ]
    before = copy.deepcopy(engine.venue)
    found = engine.venue.next_act(array, volumes)
    assert found == spoken_first(copy.deepcopy(engine.venue), rows)
    assert found == before.next_act(array, volumes)
    # And what lies before it may be passed over at once.
    skipped, stepped = engine.venue, before
    skipped.skip(array[:found])
    for tick in rows[:found]:
        assert stepped.on_tick(*tick) == []
    for tick in rows[len(rows) if found is None else found :]:
        assert skipped.on_tick(*tick) == stepped.on_tick(*tick)
    far = np.array([(0, symbol_id, engine.time_us + 10**12, 95, 96) for symbol_id in (0, 1)], dtype=array.dtype)
    assert skipped.next_act(far) == stepped.next_act(far)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@given(history=steps)
def test_after_the_end_nothing_is_on_its_way_and_all_that_rests_is_still_there(
    kind: Policies, history: History
) -> None:
    engine = Engine(kind)
    engine.run(history)
    resting = {order.order_id for order in engine.fold.tracker.open_orders.values() if order.status}
    engine.end()
    assert {order.order_id for order in engine.fold.tracker.open_orders.values()} == resting
