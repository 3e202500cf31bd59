"""Histories for the paper venue's tests: every kind of order, and an engine in small that folds what the venue says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from fold_journals import START, envelope, run
from hypothesis import strategies as st

from actors.fold import Fold, ImpossibleReport
from actors.venues import Answer
from actors.venues.commission import Commission
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from actors.venues.swap import DAY_US, SwapRule
from protocol.conversion import Route
from protocol.orders import OrderStatus, OrderType, Side, TimeInForce
from protocol.records import OrderCancel, OrderPlace, Record
from protocol.topics import TICK_DTYPE
from protocol.units import MICROS

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


steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("tick"), ticks)] * 8,
        *[st.tuples(st.just("place"), st.tuples(st.sampled_from([0, 0, 0, 1]), order_terms()))] * 5,
        st.tuples(st.just("cancel"), st.integers(0, 20)),
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
        self.sent: list[tuple[OrderPlace | OrderCancel, int]] = []
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
        self.sent.append((place, self.time_us))
        self._take(self.venue.place(place, self.time_us))

    def cancel(self, order_id: int) -> None:
        cancel = OrderCancel(order_id, 16, 0, "strategy")
        self._apply(cancel)
        self.sent.append((cancel, self.time_us))
        self._take(self.venue.cancel(order_id, self.time_us))

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
            if isinstance(sent, OrderPlace) and order.status is OrderStatus.NEW:
                self._take(self.venue.place(sent, sent_us))
            elif isinstance(sent, OrderCancel) and order.is_open:
                self._take(self.venue.cancel(sent.order_id, sent_us))
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
