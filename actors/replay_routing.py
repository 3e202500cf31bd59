"""order_routing in a replay: the shell of the ring's router (ring/router.py). The venue is simulated.

Talks to: wal (tail, appends, tokens), market_data (ticks).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from actors.base import Place
from actors.replay import ReplayActor
from actors.ring.router import RouterCore
from actors.venues import Answer
from actors.venues.paper import PaperVenue
from actors.venues.policies import policies_of
from protocol.codec import MarketPayload
from protocol.errors import WireError
from protocol.messages import Done, Grant
from protocol.orders import OrderStatus, Report
from protocol.records import Checkpoint, EngineRun, OrderPlace, OrderUpdate, Producer, Record
from protocol.ring_state import ROUTER, RouterRing, decode_ring, encode_ring
from protocol.wal.format import Envelope


class ReplayRouting(ReplayActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.ORDER_ROUTING)
        self.core: RouterCore
        self.counters = {"sent": 0, "not_approved": 0, "fills": 0, "cancels": 0, "turns": 0}
        self._sent: set[int] = set()

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        self.venue = PaperVenue(policies_of(self.config, {index: name for index, (name, _) in enumerate(run.symbols)}))
        self.core = RouterCore(
            self.venue, self.fold, quantum=self.config.replay.quantum,
            latency_us=self.config.order_routing.latency_us, send=self._send, cancel=self._cancel,
            replace=self.venue.replace, append=self._append, grant=self._grant,
        )  # fmt: skip
        self.latch.adopt_router(os.getpid())
        self.journal.start()

    def take_record(self, envelope: Envelope, record: Record) -> None:
        self.core.take_record(envelope, record)

    def resume(self, envelope: Envelope, record: Checkpoint) -> None:
        self.core.take_record(envelope, record)
        found = record.state_of(ROUTER)
        if found is None:
            raise WireError("a CHECKPOINT without the venue's part")
        positions = self.fold.owned_positions()
        self.venue.put_state(self.fold.tracker.open_orders, positions, decode_ring(found[1], RouterRing))
        self.core.resume(self.resume_tick)

    def take_state(self) -> bytes:
        return encode_ring(self.venue.take_state())

    def on_caught_up(self) -> None:
        self.market.start(max(0, self.resume_tick - 1))  # the time of the last tick is still asked for
        self.ready(self.journal.lsn)

    def on_token(self, token: Grant | Done) -> None:
        if isinstance(token, Done):
            self.core.done(token.position)
            self.keep_page(self.core.position)

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        self.core.take_ticks(first_tick, payload)

    def on_end(self) -> None:
        self.core.take_end()

    def go_on(self) -> None:
        self.core.go_on()
        self.keep_page(self.core.position)

    def is_over(self) -> bool:
        return self.core.is_over

    def _grant(self, venue: int, horizon: int) -> None:
        self.counters["turns"] += 1
        self.journal.say_token(Grant(venue, horizon))

    def _append(self, record: Record, time_us: int) -> None:
        self.counters["fills"] += isinstance(record, OrderUpdate) and record.report is Report.FILL
        self.journal.append(record, time_us)

    def _send(self, place: OrderPlace, sent_us: int) -> Iterable[Answer]:
        """Compares what leaves with what was approved (SEC 34-70694), as in a live engine."""
        order = self.fold.tracker.orders.get(place.order_id)
        if order is None or order.place != place or order.status is not OrderStatus.NEW or place.order_id in self._sent:
            self.counters["not_approved"] += 1
            self.log.error("order_not_sent", order_id=place.order_id, reason="not what was approved, or sent before")
            return []
        self._sent.add(place.order_id)
        self.counters["sent"] += 1
        return self.venue.place(place, sent_us)

    def _cancel(self, order_id: int, sent_us: int) -> Iterable[Answer]:
        self.counters["cancels"] += 1
        return self.venue.cancel(order_id, sent_us)
