"""venue: a market in a process of its own, with books of its own and a line that may be bad (`order_routing.line`).

Owns the sockets around venues/exchange.py, and a desk at which orders can be placed by hand, as by somebody else on the
same account (venues/desk.py).

Talks to: order_routing (the venue pipe), market_data (the quotes it trades on).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import repeat
from typing import Final, NamedTuple

import msgspec
import zmq

from actors.base import Actor, Place
from actors.clock import monotonic_s, now_us
from actors.frames import receive_all
from actors.market import MarketClient
from actors.peers import Peers, speaker_of
from actors.venues.books import Books
from actors.venues.desk import Cut, DeskError, ManualCancel, ManualOrder, Transfer, read_request
from actors.venues.exchange import Exchange
from actors.venues.line import Line
from actors.venues.paper import PaperVenue
from actors.venues.policies import policies_of
from protocol.codec import VOLUME, MarketPayload
from protocol.errors import ExitCode, NotRepresentableError, WalError, WireError
from protocol.messages import (
    VENUE_HEARTBEAT_S,
    Message,
    Statistics,
    VenueHeartbeat,
    VenueLogon,
    Welcome,
    decode_message,
    encode_message,
)
from protocol.pipeline import VENUE, VENUE_DESK
from protocol.records import EngineRun
from protocol.topics import TICK

BOOKS_NAME: Final = "venue.log"
"""In the run_dir."""
LOOK_S: Final = 0.005
ORDER_ROUTING: Final = "order_routing"
"""Who trades here."""


class Sent(NamedTuple):
    """What is on its way to a client."""

    client: bytes
    frame: bytes
    is_beat: bool
    """There is always one on a slow line."""


class SimulatedVenue(Actor):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.market = MarketClient(self, self, on_welcome=self._on_market_welcome)
        self.converting: frozenset[int] = frozenset()
        """Symbols whose quotes convert money, until those known before this life are."""
        self.books: Books | None = None
        self.exchange: Exchange
        self.line: Line[Sent] = Line(self.config.order_routing.line, monotonic_s())
        self.peers = Peers(self.run_dir, self.config)
        self.counters = {"said": 0, "unheard": 0, "bad_messages": 0, "by_hand": 0}

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        self.symbols = [name for name, _ in run.symbols]
        multipliers = {symbol_id: multiplier for symbol_id, (_, multiplier) in enumerate(run.symbols)}
        path, policies = self.run_dir / BOOKS_NAME, policies_of(self.config, dict(enumerate(self.symbols)))
        try:
            self.books = Books(path, self.spec.boot_id, self.symbols, multipliers, now_us())
        except WalError as error:  # another life would find the same
            self.fail(ExitCode.FAILURE, str(error), is_lasting=True)
            return
        self.exchange = Exchange(lambda: PaperVenue(policies), self.books)
        self.converting = policies.converting
        self.pipe = self.bind(VENUE)
        self.desk = self.socket(zmq.REP, VENUE_DESK.limit)
        self.desk.bind(self.spec.control_endpoint)
        self.loop.on_readable(self.pipe, self._read)
        self.loop.on_readable(self.desk, self._read_desk)
        self.loop.every(VENUE_HEARTBEAT_S, self._beat)
        self.loop.every(LOOK_S, self._send_due)
        self.loop.after_turn(self._tell_news)
        self.market.start()
        self.ready(0)

    def release(self) -> None:
        if self.books is not None:
            self.books.close()

    def peer(self, name: str) -> None:
        if name == "market_data":
            self.market.stream.say_hello()

    def statistics(self) -> Statistics:
        outstanding = sum(not sent.is_beat for sent in self.line.on_its_way)
        counters = {**self.counters, **self.exchange.counters, "lost": self.line.lost}
        return Statistics(0, self.market.position, self.market.at_end, outstanding, counters)

    # The line.

    def _read(self) -> None:
        for identity, *frames in receive_all(self.pipe):
            if self.line.is_cut(monotonic_s()):
                self.counters["unheard"] += 1
                continue
            try:
                answer = self._hear(identity, decode_message(b"".join(frames)))
            except WireError:
                self.counters["bad_messages"] += 1
                continue
            if answer is not None:
                self._say(answer)

    def _hear(self, identity: bytes, message: Message) -> Message | None:
        if isinstance(message, VenueLogon):
            name, incarnation = speaker_of(identity)
            if name != ORDER_ROUTING or not self.peers.may_speak(name, incarnation):
                raise WireError(f"{identity!r} trades here for nobody")
        return self.exchange.hear(identity, message, now_us())

    def _tell_news(self) -> None:
        """What has been booked in this turn."""
        for report in self.exchange.news():
            self._say(report)
        self._send_due()

    def _beat(self) -> None:
        if (beat := self.exchange.beat()) is not None:
            self._say(beat)

    def _say(self, message: Message) -> None:
        is_beat = isinstance(message, VenueHeartbeat)
        self.line.put(Sent(self.exchange.client, encode_message(message), is_beat), monotonic_s())

    def _send_due(self) -> None:
        for sent in self.line.take(monotonic_s()):
            with suppress(zmq.ZMQError):  # it has gone, or reads too slowly: it asks again
                self.pipe.send_multipart([sent.client, sent.frame], zmq.NOBLOCK)
                self.counters["said"] += 1

    # The market.

    def _on_market_welcome(self, welcome: Welcome) -> None:
        wanted, self.converting = self.converting, frozenset()  # as order_routing, for its paper venue
        self.exchange.know(self.market.former_quotes(welcome, wanted))

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        on_tick = self.exchange.on_tick
        volumes = repeat((0,)) if payload.volumes is None else VOLUME.iter_unpack(payload.volumes)
        for (_, *quote), (volume,) in zip(TICK.iter_unpack(payload.records), volumes, strict=False):
            symbol_id, timestamp, bid, ask = quote
            on_tick(symbol_id, timestamp, bid, ask, volume)

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None: ...

    def on_end(self) -> None:
        self.exchange.end()

    # The desk.

    def _read_desk(self) -> None:
        for frames in receive_all(self.desk):
            try:
                reply = {"status": "ok", "response": self._do(read_request(b"".join(frames), self.symbols))}
            except (DeskError, NotRepresentableError) as error:
                reply = {"status": "error", "response": str(error)}
            with suppress(zmq.Again):  # who asked has gone
                self.desk.send(msgspec.json.encode(reply), zmq.NOBLOCK)

    def _do(self, request: ManualOrder | ManualCancel | Transfer | Cut) -> str:
        self.counters["by_hand"] += 1
        if isinstance(request, ManualOrder):
            return f"order {self.exchange.place_by_hand(request.place)}"
        if isinstance(request, ManualCancel):
            if not self.exchange.cancel(request.number):
                raise DeskError(f"no order {request.number} is open here")
        elif isinstance(request, Transfer):
            self.exchange.transfer(request.symbol_id, request.quantity, request.price)
        else:
            self.line.cut(monotonic_s(), request.seconds, is_deaf=request.is_deaf)
        return "done"
