"""After HALT exposure never grows (H6), whatever was under way: risk's book, the router's rule and the paper venue."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from books import Desk, started
from fold_journals import BUY, SELL
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.routing import only_reduces
from actors.venues import Answer
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from protocol.messages import SIGNAL_CANCEL, SIGNAL_CLOSE, SIGNAL_ORDER, Intent
from protocol.orders import OrderType, Side
from protocol.records import OrderCancel, OrderPlace, OrderUpdate, Report
from protocol.topics import TICK
from protocol.units import MICROS

TERMS = {symbol_id: Terms(1) for symbol_id in range(2)}
VENUES = [Policies(TERMS), Policies(TERMS, latency_us=3)]
Step = tuple[str, int, int, Side, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "stop", "bracket", "close", "cancel", "tick", "tick", "tick", "fold"]),
        st.sampled_from([16, 17]), st.integers(0, 1), st.sampled_from(Side), st.integers(1, 15), st.integers(-4, 4),
    ), min_size=10, max_size=60,
)  # fmt: skip


class Engine:
    """What is placed stays under way until it is folded: the journal and the line take their time."""

    def __init__(self, policies: Policies, on_halt: str) -> None:
        self.desk: Desk = started(f'on_halt = "{on_halt}"')
        self.venue = PaperVenue(policies)
        self.halted = False
        self.now = 0
        for symbol_id in range(2):
            self.tick(symbol_id, 0)

    def tick(self, symbol_id: int, change: int) -> None:
        self.now += 1
        bid, ask = ((100 + change + half) * MICROS for half in (0, 1))
        self.desk.book.scopes.take_ticks(memoryview(TICK.pack(0, symbol_id, self.now, bid, ask)))
        self.take(self.venue.on_tick(symbol_id, self.now, bid, ask))

    def signal(self, number: int, step: Step) -> None:
        verb, strategy, symbol_id, side, quantity, change = step
        kind = {"close": SIGNAL_CLOSE, "cancel": SIGNAL_CANCEL}.get(verb, SIGNAL_ORDER)
        intent = Intent(strategy, number, 1, 0, b"", 302, kind, symbol_id, side=side, quantity=quantity * MICROS)
        price, far = (100 + change) * MICROS, (92 if side is BUY else 109) * MICROS
        if verb == "limit":
            intent = msgspec.structs.replace(intent, order_type=OrderType.LIMIT, limit_price=price)
        elif verb == "stop":
            intent = msgspec.structs.replace(intent, order_type=OrderType.STOP, stop_price=price)
        elif verb == "bracket":
            intent = msgspec.structs.replace(intent, stop_loss=far)
        elif verb == "cancel":
            mine = [order.order_id for order in self.desk.fold.tracker.open_of_strategy(strategy)]
            intent = msgspec.structs.replace(intent, order_id=mine[quantity % len(mine)] if mine else 0)
        self.desk.book.decide(intent, self.now)

    def fold(self) -> None:
        """What was appended comes back: orders are routed, cancels go out. As risk and order_routing do."""
        for record in self.desk.settle():
            if isinstance(record, OrderPlace):
                if self.halted and not only_reduces(self.desk.fold, record):
                    self.take([OrderUpdate(record.order_id, Report.REJECT, reason="trading_halted")])
                else:
                    self.take(self.venue.place(record, self.now))
            elif isinstance(record, OrderCancel):
                self.take(self.venue.cancel(record.order_id, self.now))

    def take(self, answers: list[Answer]) -> None:
        for answer in answers:
            self.desk.take(answer)
            self.desk.book.append_owed()
            if self.halted:
                self.desk.book.act_on_halt(pending=True)

    def halt(self) -> None:
        self.halted = self.desk.halted = True
        self.desk.book.act_on_halt(pending=True)

    def at_risk(self) -> dict[tuple[int, int], int]:
        """By (strategy, symbol): its position with the open orders of the worse side, those on their way too, and
        without what may only reduce it."""
        fold, left = self.desk.fold, defaultdict[tuple[int, int, Side], int](int)
        for order in fold.tracker.open_orders.values():
            if not order.reduce_only:
                left[order.strategy_id, order.symbol_id, order.side] += order.remaining
        return {
            (who, symbol_id): max(
                fold.account_of(who).position(symbol_id).quantity + left[who, symbol_id, BUY],
                left[who, symbol_id, SELL] - fold.account_of(who).position(symbol_id).quantity,
            )
            for who in (0, 16, 17)
            for symbol_id in range(2)
        }


@pytest.mark.parametrize("on_halt", ["cancel", "hold", "flatten"])
@pytest.mark.parametrize("policies", VENUES, ids=["at once", "latency"])
@settings(max_examples=40, deadline=None)
@given(history=steps, at=st.integers(0, 9))
def test_after_halt_exposure_never_grows(policies: Policies, on_halt: str, history: list[Step], at: int) -> None:
    engine = Engine(policies, on_halt)
    before: dict[tuple[int, int], int] | None = None
    for number, step in enumerate(history, 1):
        if number == len(history) - len(history) * at // 10:
            engine.halt()
            before = engine.at_risk()
        if step[0] == "tick":
            engine.tick(step[2], step[5])
        elif step[0] == "fold":
            engine.fold()
        else:
            engine.signal(number, step)
            engine.desk.book.append_owed()
        if before is not None:
            now = engine.at_risk()
            assert all(quantity <= before[key] for key, quantity in now.items())
            before = now
    if before is not None and on_halt != "hold":
        for _ in range(20):
            engine.fold()
            for symbol_id in range(2):
                engine.tick(symbol_id, 0)
        left = engine.desk.fold.tracker.open_orders.values()
        assert all(order.reduce_only for order in left), "all others are canceled"
        if on_halt == "flatten":
            net = [engine.desk.fold.account.position(symbol_id).quantity for symbol_id in range(2)]
            assert net == [0, 0]
