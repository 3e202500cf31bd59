"""venue: a market in a process of its own, with books of its own and a line that may be bad (`order_routing.line`).

Owns the paper model, the books (venues/books.py) and a desk at which orders can be placed by hand, as by somebody else
on the same account. What it says has a number and is on its disk before it is said. It knows nothing of the journal:
order_routing must find out by asking, whatever either of them has lost.

Talks to: order_routing (the venue pipe), market_data (the quotes it trades on).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from typing import Final

import zmq

from actors.base import Actor, Place, receive_all
from actors.clock import monotonic_s, now_us
from actors.market import MarketClient
from actors.venues import Answer
from actors.venues.books import Books
from actors.venues.desk import Cut, DeskError, ManualCancel, ManualOrder, Transfer, read_request
from actors.venues.line import Line
from actors.venues.paper import PaperVenue
from actors.venues.policies import policies_of
from actors.venues.session import BAR, EXECUTIONS, HEARTBEAT_S, OPEN_ORDERS, ORDER, POSITIONS
from protocol.codec import VOLUME, MarketPayload
from protocol.errors import WireError
from protocol.messages import (
    Message,
    Statistics,
    VenueCancel,
    VenueExecutions,
    VenueHeartbeat,
    VenueLoggedOn,
    VenueLogon,
    VenueOpenOrders,
    VenueOrder,
    VenueOrderKnown,
    VenuePositions,
    VenueQuery,
    VenueReport,
    decode_message,
    encode_message,
)
from protocol.pipeline import VENUE, VENUE_DESK
from protocol.records import EngineRun, EntryType, OrderPlace, decode_record
from protocol.topics import TICK

BOOKS_NAME: Final = "venue.log"
"""In the run_dir."""
LOOK_S: Final = 0.005
REPORTS_MAX: Final = 500
"""In one answer."""


class SimulatedVenue(Actor):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.market = MarketClient(self, self)
        self.model: PaperVenue
        self.books: Books | None = None
        self.line = Line(self.config.order_routing.line, monotonic_s())
        self.client = b""
        """The identity that has the session."""
        self.journal_id = b""
        self.session = 0
        self.told = 0
        """The number of the newest entry that was said in this session."""
        self.market_us = 0
        self.counters = {"orders": 0, "refused": 0, "said": 0, "lost": 0, "bad_messages": 0, "manual": 0}

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        self.symbols = [name for name, _ in run.symbols]
        multipliers = {symbol_id: multiplier for symbol_id, (_, multiplier) in enumerate(run.symbols)}
        self.books = Books(self.run_dir / BOOKS_NAME, self.spec.boot_id, self.symbols, multipliers)
        self.model = PaperVenue(policies_of(self.config, dict(enumerate(self.symbols))))
        tracker = self.books.tracker
        self.books.book(
            self.model.restore(
                tracker.open_orders.values(), self.books.owned_positions(), venue_us=self.books.venue_us,
                run_venue_us=self.books.run_venue_us,
            )
        )  # fmt: skip
        for order in list(tracker.open_orders.values()):  # that had arrived, and got no answer (V2)
            if not order.parent_id:
                self.books.book(self.model.place(order.place, self.market_us))
        self.pipe = self.bind(VENUE)
        self.desk = self.socket(zmq.REP, VENUE_DESK.limit)
        self.desk.bind(self.endpoint(VENUE_DESK))
        self.loop.on_readable(self.pipe, self._read)
        self.loop.on_readable(self.desk, self._read_desk)
        self.loop.every(HEARTBEAT_S, self._beat)
        self.loop.every(LOOK_S, self._send_due)
        self.loop.after_turn(self._turn)
        self.market.start()
        self.ready(0)

    def release(self) -> None:
        if self.books is not None:
            self.books.close()

    def peer(self, name: str) -> None:
        if name == "market_data":
            self.market.stream.say_hello()

    def statistics(self) -> Statistics:
        return Statistics(0, self.market.position, self.market.at_end, 0, dict(self.counters))

    # The line.

    def _read(self) -> None:
        for identity, *frames in receive_all(self.pipe):
            if self.line.is_cut(monotonic_s()):
                self.counters["lost"] += 1
                continue
            try:
                message = decode_message(frames[-1])
                self._take(identity, message)
            except (WireError, IndexError):
                self.counters["bad_messages"] += 1

    def _take(self, identity: bytes, message: Message) -> None:
        if isinstance(message, VenueLogon):
            self._log_on(identity, message)
        elif identity != self.client or getattr(message, "session", 0) != self.session:
            self.counters["refused"] += 1
        elif isinstance(message, VenueOrder):
            self._take_order(message)
        elif isinstance(message, VenueCancel):
            self._cancel(self._books.number_of(self.journal_id, message.order_id))
        elif isinstance(message, VenueQuery):
            self._say(self._answer(message))
        else:
            raise WireError(f"a {type(message).__name__} is nothing that a client says")

    def _log_on(self, identity: bytes, message: VenueLogon) -> None:
        """The newest that asks has the session."""
        self.client, self.journal_id = identity, message.journal_id
        self.session = max(self.session + 1, now_us())
        self.told = self._books.last_seq
        self._say(VenueLoggedOn(self.session, self.told))

    def _take_order(self, message: VenueOrder) -> None:
        place = decode_record(EntryType.ORDER_PLACE, message.place)
        if not isinstance(place, OrderPlace):
            raise WireError("no order")
        client = self.journal_id, place.order_id
        if self._books.number(client) is not None or self._books.is_barred(client):
            self.counters["refused"] += 1  # it is here already, or comes too late
            return
        self.counters["orders"] += 1
        self._book(self.model.place(self._books.arrive(client, place), self.market_us))

    def _cancel(self, number: int | None) -> None:
        if number is not None:
            self._book(self.model.cancel(number, self.market_us))

    def _answer(self, query: VenueQuery) -> Message:
        books, journal_id, number = self._books, self.journal_id, query.number
        if query.what == OPEN_ORDERS:
            return VenueOpenOrders(number, books.last_seq, books.open_orders(journal_id))
        if query.what == POSITIONS:
            return VenuePositions(number, books.last_seq, books.positions())
        if query.what == EXECUTIONS:
            reports = tuple(books.since(journal_id, query.argument, REPORTS_MAX))
            return VenueExecutions(number, books.last_seq, reports)
        if query.what in (ORDER, BAR):
            client = journal_id, query.argument
            if query.what == BAR and books.number(client) is None:
                books.bar(client)
            is_known = books.number(client) is not None
            return VenueOrderKnown(number, query.argument, is_known, books.is_barred(client))
        raise WireError(f"nobody can be asked for {query.what!r}")

    def _turn(self) -> None:
        """What has been booked in this turn is said."""
        last = self._books.last_seq
        while self.session and self.told < last:
            self.told += 1
            self._say(VenueReport(self.session, self.told, *self._books.entry(self.journal_id, self.told)))
        self._send_due()

    def _beat(self) -> None:
        if self.session:
            self._say(VenueHeartbeat(self.session, self._books.last_seq))

    def _say(self, message: Message) -> None:
        self.line.put(encode_message(message), monotonic_s())

    def _send_due(self) -> None:
        for frame in self.line.take(monotonic_s()):
            with suppress(zmq.ZMQError):  # it has gone, or reads too slowly: it asks again
                self.pipe.send_multipart([self.client, frame], zmq.NOBLOCK)
                self.counters["said"] += 1

    # The market.

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        on_tick = self.model.on_tick
        volumes = repeat((0,)) if payload.volumes is None else VOLUME.iter_unpack(payload.volumes)
        for (_, symbol_id, timestamp, bid, ask), (volume,) in zip(
            TICK.iter_unpack(payload.records), volumes, strict=False
        ):
            self.market_us = timestamp
            self._book(on_tick(symbol_id, timestamp, bid, ask, volume))

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None: ...

    def on_end(self) -> None:
        self._book(self.model.end())

    def _book(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._books.book(answers)

    @property
    def _books(self) -> Books:
        assert self.books is not None, "they are open from `begin` on"
        return self.books

    # The desk.

    def _read_desk(self) -> None:
        for frames in receive_all(self.desk):
            try:
                reply = self._do(read_request(b"".join(frames), self.symbols))
            except DeskError as error:
                reply = f"error: {error}"
            self.desk.send(reply.encode(), zmq.NOBLOCK)

    def _do(self, request: ManualOrder | ManualCancel | Transfer | Cut) -> str:
        self.counters["manual"] += 1
        if isinstance(request, ManualOrder):
            place = self._books.arrive(None, request.place)
            self._book(self.model.place(place, self.market_us))
            return f"ok: order {place.order_id}"
        if isinstance(request, ManualCancel):
            self._cancel(request.number)
            return "ok"
        if isinstance(request, Transfer):
            self._books.transfer(request.symbol_id, request.quantity, request.price)
            return "ok"
        self.line.cut(monotonic_s(), request.seconds, is_deaf=request.is_deaf)
        return "ok"


