"""order_routing with the venue outside: sends approved orders over a line that may fail, and believes its books.

Owns the session with the venue (venues/session.py) and the reconciliation: no order leaves before the venue's orders,
fills and positions were compared with the fold, at the start and after every lost connection (V1). What differs is
journaled, and taken over or refused as `order_routing.reconcile` says. Until then new orders end here; those that only
reduce wait, as cancels do: a HALT that flattens must not be lost on a line that is down.

Talks to: wal (tail and appends), the venue, market_data (only where the feed is).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import zmq

from actors.base import Place
from actors.clock import monotonic_s
from actors.fold import CancelRequested, ImpossibleReport, OrderChanged, ReplaceRequested
from actors.frames import receive_all
from actors.market import MarketClient
from actors.reconciliation import ContradictionError, Difference, differences, external
from actors.routing import Router, only_reduces, refused
from actors.venues import Answer
from actors.venues.session import Phase, VenueSession
from protocol.errors import ExitCode, WireError
from protocol.messages import QueueDepth, decode_message, encode_message
from protocol.orders import OrderStatus
from protocol.pipeline import VENUE
from protocol.queues import ORDERS_HELD
from protocol.records import Adjust, EngineRun, OrderPlace, OrderReplace, OrderUpdate, Record
from protocol.wal.format import Envelope

LOOK_S: Final = 0.02
WAITING_MAX: Final = ORDERS_HELD.limit
"""Orders that wait for the venue; further ones end as `venue_lost` or `reconciling`."""
STOP_WAIT_SHARE: Final = 0.8
"""Of `supervisor.stop_timeout_s`, for the answers to the cancels of a stop, and for what waits to leave."""
IMPOSSIBLE_MAX: Final = 100
"""Reports that cannot be; with more the venue's books and the journal do not belong together."""
NOTHING_TO_REDUCE: Final = "nothing_to_reduce"
NAMED_MAX: Final = 10
_NEW: Final = OrderStatus.NEW
_UNANSWERED: Final = (OrderStatus.NEW, OrderStatus.PENDING_NEW)


class VenueRouting(Router):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.settings = self.config.order_routing
        self.market = MarketClient(self, self)
        self.market.keep_arrivals()
        self.session: VenueSession
        self.is_following = False
        """The fold is complete: what comes on the tail is new."""
        self.is_ready = False
        self.waiting: dict[int, OrderPlace] = {}
        """Orders that may only reduce, until the venue can be reached."""
        self.taken_seq = 0
        """Of the newest append of what the venue said: once it is back the fold knows all of it."""
        self.impossible = 0
        """Reports that cannot be, since the books were found the same."""
        self.refusal: list[str] = []
        """Why nobody may trade with this venue: a start is refused, a run halts and ends. Nothing more is taken."""
        self.waits_until_s = 0.0
        """At a stop."""
        self.cancels_at_stop = False
        self.canceled: set[int] = set()
        """At a stop, each once; the session says it again."""
        self.counters.update(differences=0, external_orders=0, venue_pipe_full=0)

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        self.latch.adopt_router(os.getpid())
        self.pipe = self.connect(VENUE)
        self.journal.start()

    def on_caught_up(self) -> None:
        fold, now_s = self.fold, monotonic_s()
        orders = list(fold.tracker.open_orders.values())
        doubts = [
            (order.order_id, 0, order.status is not _NEW)
            for order in orders
            if order.status in _UNANSWERED and not order.is_the_venues and not order.is_external
        ]
        self.sent.update(order_id for order_id, _, _ in doubts)  # perhaps; never again, anyhow
        doubts += [(order.order_id, order.replace.signal, False) for order in orders if order.replace is not None]
        self.session = VenueSession(
            self.journal.journal_id, fold.venue_seq, doubts, grace_s=self.settings.in_doubt_grace_s, now_s=now_s,
            log=self.log,
        )  # fmt: skip
        for order in orders:
            if order.cancel_requested:
                self.session.cancel(order.order_id, now_s)
        self.is_following = True
        self.market.start()
        self.loop.on_readable(self.pipe, self._read)
        self.loop.every(LOOK_S, self._look)
        self.loop.after(self.settings.reconcile_timeout_s, self._be_ready_without_it)
        self.loop.after_turn(self._turn)

    def _be_ready_without_it(self) -> None:
        """Cancels pass, new orders do not (design section 3)."""
        if not self.is_ready and not self.refusal:
            self.log.error("reconciling", waited_s=self.settings.reconcile_timeout_s,
                           hint="the venue does not answer: READY, but no order leaves")  # fmt: skip
            self._be_ready()

    def _be_ready(self) -> None:
        self.is_ready = True
        self.ready(self.journal.lsn)

    def stop(self, run: EngineRun | None) -> None:
        if self.is_following:
            self.waits_until_s = monotonic_s() + STOP_WAIT_SHARE * self.config.supervisor.stop_timeout_s
            self.cancels_at_stop = self.settings.on_stop == "cancel"
            for place in list(self.waiting.values()):
                if place.protects:  # it would rest where nobody looks
                    self._cancel(place.order_id)
        super().stop(run)

    def _own_open(self) -> set[int]:
        """What protects a position stays, as under HALT."""
        orders = self.fold.tracker.open_orders.values()
        return {order.order_id for order in orders if not (order.is_external or order.parent_id)}

    def _stop_when_drained(self) -> None:
        """Not before what must not be left behind has left, or ended; but not for ever, and not in silence."""
        left = self._own_open() if self.cancels_at_stop else set(self.waiting)
        if self.cancels_at_stop:
            self.session.is_stopping = not self.waiting
            for order_id in left - self.waiting.keys() - self.canceled:
                self.canceled.add(order_id)
                self._cancel(order_id)
        if left and monotonic_s() < self.waits_until_s:
            return
        if not left:
            super()._stop_when_drained()
        elif not self.journal.pending_count:
            self.fail(ExitCode.FAILURE, _left_behind(left, self.waiting), is_lasting=True)

    def peer(self, name: str) -> None:
        if name == "venue" and self.is_following:
            self.session.lose()  # a new life of it knows of no session
        else:
            super().peer(name)

    def queues(self) -> tuple[QueueDepth, ...]:
        return (*super().queues(), QueueDepth(ORDERS_HELD.name, "venue", len(self.waiting), WAITING_MAX))

    def outstanding(self) -> int:
        if not self.is_following:
            return self.journal.pending_count
        session = self.session
        said = session.unanswered + session.missing + (session.phase is not Phase.UP)
        return self.journal.pending_count + len(self.waiting) + said

    # The journal.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        for change in self.fold.apply(envelope, record):
            if type(change) is OrderChanged:
                self._take_order(change)
            elif type(change) is CancelRequested and self.is_following:
                self._cancel(change.order_id)
            elif type(change) is ReplaceRequested and self.is_following:
                order = self.fold.tracker.orders.get(change.request.order_id)
                if order is not None and order.is_open:
                    self.replace(change.request)
            elif type(change) is ImpossibleReport and self.is_following:
                self._doubt_the_books(change)

    def _doubt_the_books(self, change: ImpossibleReport) -> None:
        """What the venue says does not follow from what it said before."""
        self.impossible += 1
        self.session.compare_again(monotonic_s())
        if self.impossible > IMPOSSIBLE_MAX:
            what = f"the last is of order {change.order_id}, {change.reason}"
            self.refusal.append(f"the venue has said what cannot be more than {IMPOSSIBLE_MAX} times; {what}")

    def _take_order(self, change: OrderChanged) -> None:
        order = change.order
        if order.status is not _NEW:
            self.forget_answered(order)
            if self.is_following and not order.is_open:
                self.session.is_over(order.order_id)
        elif self.is_following and self.is_approved(order.place):
            self._route(order.place)

    def _route(self, place: OrderPlace) -> None:
        if place.reduce_only and self.is_held_up(place) and len(self.waiting) < WAITING_MAX:
            self.waiting[place.order_id] = place
        else:
            self.send(place)

    # Orders.

    def is_held_up(self, place: OrderPlace) -> str:
        return "" if self.session.phase is Phase.UP else self._held_up

    @property
    def _held_up(self) -> str:
        return "venue_lost" if self.session.phase is Phase.LOST else "reconciling"

    def give(self, place: OrderPlace) -> Sequence[Answer]:
        self.session.send(place, monotonic_s())
        self._flush()
        return ()

    def give_replace(self, request: OrderReplace) -> Sequence[Answer]:
        if self.session.phase is not Phase.UP:
            return [refused(request, self._held_up)]
        self.session.replace(request, monotonic_s())
        self._flush()
        return ()

    def _cancel(self, order_id: int) -> None:
        self.counters["cancels"] += 1
        self.waiting.pop(order_id, None)
        if not self.ends_unsent(order_id) and order_id in self.fold.tracker.open_orders:
            self.session.cancel(order_id, monotonic_s())

    # The venue.

    def _read(self) -> None:
        for frames in receive_all(self.pipe):
            try:
                message = decode_message(frames[-1])
            except WireError:
                self.session.counters["bad_messages"] += 1
                continue
            records = self.session.hear(message, monotonic_s())
            self._look_at_books()
            self._take(records)

    def _look(self) -> None:
        self._take(self.session.look(monotonic_s()))

    def _look_at_books(self) -> None:
        """Whether they are those that this journal has traded with, and it is all that has traded."""
        session, highest_id = self.session, self.fold.tracker.highest_id
        if self.refusal:
            return
        if session.refusal:
            self.refusal.append(session.refusal)
        elif session.highest_order_id > highest_id:
            self.refusal.append(
                f"the venue has order {session.highest_order_id} of this journal, which itself ends with order "
                f"{highest_id}: it is an older copy. Put the newer one back; if it is lost, begin a new run_dir with "
                f"these books of the venue: it takes over what they say"
            )

    def _turn(self) -> None:
        """Behind everything else that this turn brings."""
        is_folded = self.taken_seq < self.journal.oldest_pending_seq
        if self.refusal:
            if is_folded:
                self.fail(ExitCode.FAILURE, "; ".join(self.refusal), is_lasting=True)
        elif self.session.snapshot is not None and is_folded:
            self._reconcile()
        elif self.waiting and self.session.phase is Phase.UP and is_folded:
            self._send_waiting()
        self._flush()
        self.counters.update(self.session.counters, reconciling=int(self.session.phase is not Phase.UP))

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            if self.refusal:
                return
            if isinstance(record, OrderPlace):
                self._take_external(record)
            elif isinstance(record, OrderUpdate | Adjust):
                self.append([record])
            self.taken_seq = self.journal.last_seq

    def _take_external(self, place: OrderPlace) -> None:
        """By hand, say, or by another engine on the same account; one that is known was said before."""
        if place.order_id in self.fold.tracker.orders:
            return
        self.counters["external_orders"] += 1
        self._take_over(external(place))

    def _reconcile(self) -> None:
        snapshot = self.session.snapshot
        assert snapshot is not None
        try:
            found = list(differences(self.fold, snapshot))
        except WireError as error:
            self.refusal.append(f"the venue's open orders cannot be read: {error}")
            return
        except ContradictionError as error:
            self.refusal.append(str(error))
            return
        for difference in found:
            self._take_over(difference)
        if self.refusal:
            return
        if not found:
            self.impossible = 0
        self._take(self.session.settle())
        if not self.is_ready:
            self._be_ready()

    def _send_waiting(self) -> None:
        """Each is looked at again: the position may have been closed by others. What is rejected of risk's own orders
        it places anew, for as much as is left."""
        waiting, self.waiting = self.waiting, {}
        for place in waiting.values():
            if self._still_reduces(place):
                self.send(place)
            elif self.is_approved(place):
                self.reject(place.order_id, NOTHING_TO_REDUCE)

    def _still_reduces(self, place: OrderPlace) -> bool:
        """A strategy's own its own position; risk's the net one, by which it was placed."""
        if not place.signal:
            return only_reduces(self.fold, place)
        held = self.fold.account_of(place.strategy_id).position(place.symbol_id).quantity
        return held * place.side.sign < 0

    def _take_over(self, difference: Difference) -> None:
        self.counters["differences"] += 1
        refuses = self.settings.reconcile == "halt"
        self.log.error("reconciliation_difference", what=difference.text, action=self.settings.reconcile)
        self.taken_seq = self.journal.append(difference.violation)
        if refuses and not (self.is_ready or self.spec.is_restart):
            hint = 'order_routing.reconcile = "halt"; "adopt" takes over what the venue says'
            self.refusal.append(f"{difference.text} ({hint})")
            return
        for record in difference.adopted_by:
            if isinstance(record, OrderPlace):
                self.sent.add(record.order_id)  # it is there, and must not be sent, whosever it is
            self.taken_seq = self.journal.append(record)
        if refuses:  # what has happened while we trade cannot be refused
            self.latch.halt("order_routing", f"reconciliation: {difference.text}")
            self.latch.start_sync()

    def _flush(self) -> None:
        outbox = self.session.outbox
        for message in outbox:
            try:
                self.pipe.send(encode_message(message), zmq.NOBLOCK)
            except zmq.Again:
                self.counters["venue_pipe_full"] += 1  # as if the line had lost it
        outbox.clear()


def _left_behind(left: Collection[int], waiting: Collection[int]) -> str:
    """What the operator must know of the orders that a stop leaves."""
    hint = "the venue does not answer, and the next start asks it what has become of them"
    unsent, unknown = sorted(set(left) & set(waiting)), sorted(set(left) - set(waiting))
    parts = [f"never left, so that positions stay open: {_named(unsent)}"] if unsent else []
    parts += [f"left open at the venue, where they may fill: {_named(unknown)}"] if unknown else []
    return f"orders {'; '.join(parts)} ({hint})"


def _named(order_ids: Sequence[int]) -> str:
    more = len(order_ids) - NAMED_MAX
    return ", ".join(map(str, order_ids[:NAMED_MAX])) + (f" and {more} more" if more > 0 else "")
