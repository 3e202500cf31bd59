"""What sends orders to a venue, wherever that stands: the only place from which one leaves, and the checks around it.

An order leaves only when its ORDER_PLACE has come back on the tail (it is on disk), was never sent before, and the
latch is open at that very moment (H4). Around every send stand the latch's two counters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from actors.base import Place
from actors.clock import monotonic_us
from actors.fold import Fold
from actors.folding import FoldingActor
from actors.market import MarketClient
from actors.order_tracker import Order
from actors.page import Activity
from actors.venues import Answer
from protocol.latency import TICK_TO_ORDER, LatencyCounters
from protocol.orders import OrderStatus, Report
from protocol.records import OrderPlace, OrderReplace, OrderUpdate, Producer


class Router(FoldingActor):
    market: MarketClient

    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.ORDER_ROUTING)
        self.sent: set[int] = set()
        """Orders given to the venue in this life, and not answered in the fold yet."""
        self.ended: set[int] = set()
        """Orders that ended here without being sent, and whose end is not in the fold yet."""
        self.counters = {"sent": 0, "refused_by_latch": 0, "not_approved": 0, "fills": 0, "cancels": 0, "replaces": 0}
        self.latency = LatencyCounters(self.counters, TICK_TO_ORDER)

    @abstractmethod
    def give(self, place: OrderPlace) -> Sequence[Answer]:
        """The venue has the order; what it says of it at once. Between the latch's counters."""

    @abstractmethod
    def give_replace(self, request: OrderReplace) -> Sequence[Answer]:
        """The venue has the change of an order; what it says of it at once. Between the latch's counters."""

    def is_held_up(self, place: OrderPlace) -> str:
        """Why no order may leave now, latch apart; "": nothing."""
        return ""

    def forget_answered(self, order: Order) -> None:
        """The fold says what became of it."""
        self.sent.discard(order.order_id)
        self.ended.discard(order.order_id)

    def send(self, place: OrderPlace) -> None:
        """The only place from which an order leaves (H4: the counters stand around it, whatever happens)."""
        if not self.is_approved(place):
            self.counters["not_approved"] += 1
            self.log.error("order_not_sent", order_id=place.order_id, reason="not what was approved, or sent before")
            return
        if reason := self.is_held_up(place):
            self.reject(place.order_id, reason)
            return
        with self._sending() as is_open:
            may_leave = is_open or only_reduces(self.fold, place)
            answers: Sequence[Answer] = ()
            if may_leave:
                self.sent.add(place.order_id)
                self.counters["sent"] += 1
                self._note_latency(place)
                answers = self.give(place)
        if may_leave:
            self.append(answers)
        else:
            self.counters["refused_by_latch"] += 1
            self.reject(place.order_id, "trading_halted")

    def _note_latency(self, place: OrderPlace) -> None:
        if place.market_epoch == self.market.epoch and (arrived_us := self.market.arrival_us(place.market_position)):
            self.latency.note(monotonic_us() - arrived_us)

    def replace(self, request: OrderReplace) -> None:
        """A change leaves as an order does; none passes the latch, for what it would raise is not looked at."""
        with self._sending() as is_open:
            answers = self.give_replace(request) if is_open else [refused(request, "trading_halted")]
        self.counters["replaces" if is_open else "refused_by_latch"] += 1
        self.append(answers)

    @contextmanager
    def _sending(self) -> Iterator[bool]:
        """Between the latch's two counters, whatever happens (H4); whether it is open.

        The fold may know of a halt that the page has lost; then nothing must leave either.
        """
        self.page.set_activity(Activity.VENUE_CALL)
        try:
            yield self.latch.begin_send() and not self.fold.halted(self.latch.halt_token)
        finally:
            self.latch.end_send()
            self.page.set_activity(Activity.WORKING)

    def reject(self, order_id: int, reason: str) -> None:
        """It ends here, and never leaves."""
        self.ended.add(order_id)
        self.append([OrderUpdate(order_id, Report.REJECT, reason=reason)])

    def ends_unsent(self, order_id: int) -> bool:
        """Whether the order never left; now it never will."""
        order = self.fold.tracker.orders.get(order_id)
        if order is None or not self.is_approved(order.place):
            return False
        self.ended.add(order_id)
        self.append([OrderUpdate(order_id, Report.CANCEL)])
        return True

    def is_approved(self, place: OrderPlace) -> bool:
        """Compares what leaves with what was approved (the check whose lack cost Knight Capital, SEC 34-70694)."""
        order = self.fold.tracker.orders.get(place.order_id)
        return (
            order is not None
            and order.place == place
            and order.status is OrderStatus.NEW
            and not order.is_the_venues
            and not order.is_external
            and place.order_id not in self.sent
            and place.order_id not in self.ended
        )

    def append(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self.counters["fills"] += isinstance(answer, OrderUpdate) and answer.report is Report.FILL
            self.journal.append(answer)


def refused(request: OrderReplace, reason: str) -> OrderUpdate:
    return OrderUpdate(request.order_id, Report.REPLACE_REJECT, str(request.signal), reason=reason)


def only_reduces(fold: Fold, place: OrderPlace) -> bool:
    """H6: by this fold, and whatever else of its side is open of ours fills too, it takes the net position toward 0.

    What others have at the venue raises exposure by itself, if it does, and must not keep the kill switch from closing.
    """
    if not place.reduce_only or not fold.may_reduce(place.symbol_id, place.side):
        return False
    same_side = (
        order.reserved
        for order in fold.tracker.open_in_symbol(place.symbol_id)
        if order.side is place.side
        and not (order.parent_id or order.cancel_requested or order.is_external)
    )
    return sum(same_side) <= abs(fold.account.position(place.symbol_id).quantity)
