"""Histories for the paper venue's tests: every kind of order, and an engine in small that folds what the venue says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from fold_journals import START, envelope, run
from hypothesis import strategies as st

from actors.fold import Fold, ImpossibleReport
from actors.protection import Request, requests_of
from actors.venues import Answer
from actors.venues.commission import Commission
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from actors.venues.swap import SwapRule
from protocol.conversion import Route
from protocol.orders import OrderStatus, OrderType, Side, TimeInForce
from protocol.records import OrderCancel, OrderPlace, OrderReplace, PositionModify, Record
from protocol.topics import TICK_DTYPE
from protocol.units import DAY_US, MICROS

Tick = tuple[int, int, int, int, int]
"""symbol id, timestamp, bid, ask, volume"""
LOT = 2
TERMS = {0: Terms(LOT, swap_long=-3 * MICROS, swap_short=MICROS), 1: Terms(LOT, tick_size=2)}


CONVERTED = {
    0: dataclasses.replace(TERMS[0], route=Route(1, divides=False)),
    1: dataclasses.replace(TERMS[1], route=Route(1, divides=True)),
}
"""Each symbol in another currency: the second converts its own money, and that of the first."""


def policies(**changes: Any) -> Policies:
    usual: dict[str, Any] = {
        "terms": TERMS,
        "commission": Commission(per_lot=3, rate=20_000, minimum=7),
        "swap": SwapRule(DAY_US // 2, 2),
        "slippage_ticks": 1,
        "day_end_us": DAY_US // 4,
    }
    return Policies(**(usual | changes))


KINDS = [
    policies(),
    policies(latency_us=DAY_US // 5),
    policies(max_participation=MICROS // 2),
    policies(max_participation=MICROS // 2, latency_us=DAY_US // 5, trail_step_ticks=3),
    policies(terms=CONVERTED),
    policies(terms=CONVERTED, max_participation=MICROS // 2, latency_us=DAY_US // 5),
]
IDS = ["plain", "latency", "participation", "both", "converted", "converted, both"]
prices = st.integers(95, 105)  # few, so that they often meet exactly
times = st.sampled_from([1, 1000, DAY_US // 20, DAY_US // 3])
ticks = st.tuples(st.sampled_from([0, 0, 0, 1]), times, prices, st.integers(0, 3), st.integers(0, 30))
"""(symbol id, time since the last one, bid, spread, volume)"""


@st.composite
def order_terms(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of an OrderPlace but its ids: any kind that risk lets pass."""
    kind, side = draw(st.sampled_from(OrderType)), draw(st.sampled_from(Side))
    fields: dict[str, Any] = {"order_type": kind, "side": side, "quantity": LOT * draw(st.integers(1, 6))}
    if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        fields["limit_price"] = draw(prices)
    if kind in (OrderType.STOP, OrderType.STOP_LIMIT):
        fields["stop_price"] = draw(prices)
    if kind is OrderType.STOP and draw(st.booleans()):
        fields["trail"] = draw(st.integers(1, 5))
        fields["stop_price"] = draw(st.sampled_from([0, fields["stop_price"]]))
    fields["time_in_force"] = draw(st.sampled_from([*[TimeInForce.GTC] * 4, *TimeInForce]))
    if fields["time_in_force"] is TimeInForce.GTD:
        fields["expire_us"] = draw(st.sampled_from([0, DAY_US // 10, DAY_US]))  # from when it is sent
    if draw(st.booleans()):
        far, near = draw(st.integers(92, 99)), draw(st.integers(101, 108))
        exits = (far, near) if side is Side.BUY else (near, far)
        fields["stop_loss"], fields["take_profit"] = draw(st.sampled_from([exits, (exits[0], 0), (0, exits[1])]))
    fields["oco"] = draw(st.sampled_from([0, 0, -1]))
    fields["reduce_only"] = draw(st.integers(0, 9)) == 9
    return fields


@st.composite
def order_changes(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of an OrderReplace but its ids; of them those are asked for that the order has."""
    return {
        "quantity": draw(st.sampled_from([0, LOT, 2 * LOT, 5 * LOT])),
        "limit_price": draw(st.sampled_from([0, 97, 100, 103])),
        "stop_price": draw(st.sampled_from([0, 97, 100, 103])), "trail": draw(st.sampled_from([0, 0, 2])),
        "expire_us": draw(st.sampled_from([0, DAY_US // 10])),
    }  # fmt: skip


exits = st.sampled_from([0, 1, 4, -1])
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("tick"), ticks)] * 8,
        *[st.tuples(st.just("place"), st.tuples(st.sampled_from([0, 0, 0, 1]), order_terms()))] * 5,
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        *[st.tuples(st.just("protect"), st.tuples(st.sampled_from([0, 0, 1]), exits, exits))] * 2,
        *[st.tuples(st.just("replace"), st.tuples(st.integers(0, 20), order_changes()))] * 3,
        *[st.tuples(st.just("restart"), st.just(None))] * 2,
    ),
    min_size=10,
    max_size=40,
)


class PlainVenue(PaperVenue):
    """Looks at every order at every tick: no bands, no waking times."""

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> list[Answer]:
        if timestamp <= self._deaf_until_us:
            self.know({symbol_id: (timestamp, bid, ask)})
            return []
        self._quotes[symbol_id] = (timestamp, bid, ask)
        self._time_us = timestamp
        return self._step(symbol_id, timestamp, bid, ask, volume)


class Engine:
    """order_routing and risk in small: what is sent and what is answered is folded; a restart keeps the fold."""

    def __init__(self, kind: Policies, make: type[PaperVenue] = PaperVenue) -> None:
        self.policies, self.make = kind, make
        self.venue = make(kind)
        self.fold = Fold()
        self.ticks: list[Tick] = []
        self.sent: list[tuple[Request, int]] = []
        self.log: list[Record] = []
        self._apply(run(quote_currencies=("JPY", "CHF")) if kind.terms is CONVERTED else START)

    def run(self, history: Sequence[tuple[str, Any]], *, restarts: bool = True) -> None:
        for verb, what in history:
            if verb == "tick":
                symbol_id, since_us, bid, spread, volume = what
                self.tick((symbol_id, self.time_us + since_us, bid, bid + spread, volume))
            elif verb == "place":
                self.place(*what)
            elif verb == "cancel" and self.fold.tracker.orders:
                ids = list(self.fold.tracker.orders)
                self.cancel(ids[what % len(ids)])
            elif verb == "replace" and self.fold.tracker.open_orders:
                ids = list(self.fold.tracker.open_orders)
                self.replace(ids[what[0] % len(ids)], what[1])
            elif verb == "protect":
                self.protect(*what)
            elif verb == "restart" and restarts:
                self.restart()

    @property
    def time_us(self) -> int:
        return self.ticks[-1][1] if self.ticks else DAY_US

    def tick(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self._take(self.venue.on_tick(*tick))

    def place(self, symbol_id: int, fields: dict[str, Any]) -> None:
        order_id, tracker = self.fold.next_order_id, self.fold.tracker
        fields = dict(fields)
        if fields["oco"]:
            fields["oco"] = max((order.signal for order in tracker.open_orders.values()), default=0)
        if fields["time_in_force"] is TimeInForce.GTD:
            fields["expire_us"] += self.time_us
        if fields.get("stop_loss"):
            fields["stop_loss_order_id"] = order_id + 1
        if fields.get("take_profit"):
            fields["take_profit_order_id"] = order_id + 1 + bool(fields.get("stop_loss"))
        place = OrderPlace(order_id=order_id, strategy_id=16, signal=100 + order_id, symbol_id=symbol_id, **fields)
        self._apply(place)
        self._send(place)

    def cancel(self, order_id: int) -> None:
        cancel = OrderCancel(order_id, 16, 0, "strategy")
        self._apply(cancel)
        self._send(cancel)

    def replace(self, order_id: int, changes: dict[str, Any]) -> None:
        """As risk lets it pass."""
        order = self.fold.tracker.orders[order_id]
        place, fields = order.place, dict(changes)
        if order.parent_id:
            fields["quantity"] = 0
        if not place.limit_price:
            fields["limit_price"] = 0
        if place.order_type not in (OrderType.STOP, OrderType.STOP_LIMIT):
            fields["stop_price"] = 0
        if place.order_type is not OrderType.STOP:
            fields["trail"] = 0
        fields["expire_us"] = self.time_us + fields["expire_us"] if place.time_in_force is TimeInForce.GTD else 0
        if order.replace is not None or not any(fields.values()):
            return
        request = OrderReplace(order_id, 16, 1000 + len(self.sent), **fields)
        self._apply(request)
        self._send(request)

    def protect(self, symbol_id: int, stop: int, limit: int) -> None:
        """Exits so far from 100; -1: removed, 0: as it is."""
        held = self.fold.account_of(16).position(symbol_id).quantity
        sign = 1 if held > 0 else -1
        prices = stop if stop <= 0 else 100 - sign * stop, limit if limit <= 0 else 100 + sign * limit
        side = Side.SELL if held > 0 else Side.BUY
        standing = [
            order for order in self.fold.tracker.exits_of(16, symbol_id)
            if order.side is side and not order.cancel_requested
        ]  # fmt: skip
        stops, limits = (
            tuple(order.order_id for order in standing if order.order_type is kind)
            for kind in (OrderType.STOP, OrderType.LIMIT)
        )
        group = next((order.place.protects for order in standing if order.place.protects), self.fold.next_order_id)
        made = self.fold.next_order_id + 1
        record = PositionModify(
            16, symbol_id, 1000 + len(self.sent), prices[0], prices[1], 0, side, abs(held), group,
            made if prices[0] > 0 and not stops else 0, made + 1 if prices[1] > 0 and not limits else 0,
            stops if prices[0] else (), limits if prices[1] else (),
        )  # fmt: skip
        requests = requests_of(record)
        if not held or not requests or any(order.replace is not None for order in standing):
            return
        self._apply(record)
        for request in requests:
            self._send(request)

    def _send(self, request: Request) -> None:
        self.sent.append((request, self.time_us))
        self._give(request, self.time_us)

    def _give(self, request: Request, sent_us: int) -> None:
        if isinstance(request, OrderPlace):
            self._take(self.venue.place(request, sent_us))
        elif isinstance(request, OrderReplace):
            self._take(self.venue.replace(request, sent_us))
        else:
            self._take(self.venue.cancel(request.order_id, sent_us))

    def end(self) -> None:
        self._take(self.venue.end())

    def restart(self) -> None:
        """A new life: the fold, the last quotes, some ticks that were seen before, and what has no answer again."""
        self.venue, fold = self.make(self.policies), self.fold
        quotes = {symbol_id: (time_us, bid, ask) for symbol_id, time_us, bid, ask, _ in self.ticks}
        held = fold.owned_positions()
        orders = fold.tracker.open_orders.values()
        times = {"venue_us": fold.venue_us, "run_venue_us": fold.run_venue_us}
        self._take(self.venue.restore(orders, held, quotes=quotes, **times))
        for sent, sent_us in self.sent:
            order = self.fold.tracker.orders[sent.order_id]
            is_new = isinstance(sent, OrderPlace) and order.status is OrderStatus.NEW
            is_asked = isinstance(sent, OrderReplace) and order.replace == sent
            if is_new or is_asked or (isinstance(sent, OrderCancel) and order.is_open):
                self._give(sent, sent_us)
        for tick in self.ticks[-5:]:
            self._take(self.venue.on_tick(*tick))

    def _take(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._apply(answer)
            while self.fold.owed:
                self._apply(self.fold.owed[0])

    def _apply(self, record: Record) -> None:
        changes = self.fold.apply(envelope(self.fold.lsn + 1, record), record)
        assert not any(isinstance(change, ImpossibleReport) for change in changes), (record, changes)
        self.log.append(record)


def tick_array(rows: Sequence[tuple[int, int, int, int, int]], from_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Ticks (symbol id, time since the last one, bid, spread, volume) as a consumer holds them, and their volumes."""
    array = np.zeros(len(rows), dtype=TICK_DTYPE)
    time_us = from_us
    for index, (symbol_id, since_us, bid, spread, _) in enumerate(rows):
        time_us += since_us
        array[index] = (0, symbol_id, time_us, bid, bid + spread)
    return array, np.array([row[4] for row in rows], dtype="<i8")
