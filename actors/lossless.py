"""A broadcast that loses nothing (replay, `gateway.broadcast_lossless`): the market waits for its subscribers.

    market chunk -> published: queued here -> sent as far as every subscriber has room -> the chunk's credit goes back

XPUB then drops nothing: where one subscriber of a message has no room, the message waits, and all behind it. The
gateway's loop never does: it tries again in a moment, and serves commands, HALT and STOP meanwhile. The feed waits for
the gateway's credit, and everybody else for the feed. So who does not read stops the run, visibly; who leaves or dies
sets it free.

What waits is bounded by the market: no chunk is under way beyond that pipe's credit, and no order beyond the chunks.
Source: ZMQ_XPUB_NODROP in zmq_setsockopt(3). XPUB is always "writable" to a poller, so there is no event to wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import length_hint
from typing import Any, Final, NamedTuple

import zmq

from actors.base import Loop
from actors.broadcaster import Broadcaster, plain_send
from actors.clock import monotonic_s
from actors.market import MarketClient
from actors.page import HealthPage
from protocol.queues import BROADCAST

RETRY_S: Final = 0.001
"""Between two tries: a subscriber that is merely slower has 100 ms of messages before it."""
TURN_S: Final = 0.005
"""At most about so long, and a STEP, goes by between two looks at the commands."""
STEP: Final = 4096
"""Messages sent at a time: some 4 ms."""
STALL_S: Final = 1.0
"""Without one message taken: said in the log."""
LOSSLESS_QUEUE_MAX: Final = 100_000
"""Messages for a subscriber that reads later: the fewer times that both wait for each other the better. 7 MB each."""
PIECES_MAX: Final = BROADCAST.limit
"""Beyond it what is only now and then said (the account) is not said at all; the rest is bounded by the market."""

_NOBLOCK: Final = zmq.NOBLOCK


class Piece(NamedTuple):
    messages: Iterator[tuple[bytes]]
    sent: Callable[[], None] | None
    """Called when all of them are."""


class LosslessBroadcaster(Broadcaster):
    """What is published is queued; `flush` sends it."""

    queue_max = LOSSLESS_QUEUE_MAX

    def __init__(self, endpoint: str, **options: Any) -> None:
        super().__init__(endpoint, **options)
        self._pieces: deque[Piece] = deque()
        self._refused = b""
        """The message that had no room; it goes before what is left of the first piece."""

    def start(self) -> None:
        super().start()
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)

    @property
    def waiting(self) -> int:
        """Pieces that are not wholly sent."""
        return len(self._pieces)

    @property
    def has_subscriber(self) -> bool:
        return any(self._wanted)

    def after_sent(self, handler: Callable[[], None]) -> None:
        """`handler` is called when everything that was published before is sent."""
        self._pieces.append(Piece(iter(()), handler))

    def flush(self) -> bool:
        """Sends of the first piece as much as there is room for, STEP at most. False: there is room for nothing."""
        send, refused = plain_send(self.socket), self._refused
        messages, sent = self._pieces[0]
        message = refused
        try:
            if refused:
                send(refused, _NOBLOCK)
            for (message,) in islice(messages, STEP):
                send(message, _NOBLOCK)
        except zmq.Again:
            self._refused = message
            return message is not refused
        self._refused = b""
        if length_hint(messages):
            return True
        self._pieces.popleft()
        if sent is not None:
            sent()
        return True

    def _send(self, message: bytes) -> None:
        self._send_each(iter([(message,)]), len(message))

    def _send_each(self, messages: Iterable[tuple[bytes]], size: int) -> None:
        self._pieces.append(Piece(iter(messages), None))
        self.counters.bytes_sent += size


class Pace:
    """The gateway's market goes as fast as the subscribers of its broadcast, and begins with the first of them."""

    def __init__(
        self, broadcaster: LosslessBroadcaster, market: MarketClient, loop: Loop, page: HealthPage, log: Any,
        counters: dict[str, int],
    ) -> None:  # fmt: skip
        self._broadcaster = broadcaster
        self._market = market
        self._loop = loop
        self._page = page
        self._log = log
        self._counters = counters
        counters.update(broadcast_waits=0, broadcast_stalls=0)
        self._begin: Callable[[], None] | None = None
        self._is_asleep = self._is_stalled = False
        self._moved_s = 0.0

    def start(self, begin: Callable[[], None]) -> None:
        """`begin` starts the market, once somebody has subscribed to something."""
        self._begin = begin
        self._loop.after_turn(self._go_on)
        if not self._broadcaster.has_subscriber:
            hint = "gateway.broadcast_lossless: the market begins with the first subscription"
            self._log.info("broadcast_awaits_subscriber", endpoint=self._broadcaster.endpoint, hint=hint)

    def hold_chunk(self, last_position: int) -> None:
        """Its credit goes back when it is sent."""
        self._market.stream.hold_credit()
        self._broadcaster.after_sent(lambda: self._end_chunk(last_position))

    def _end_chunk(self, last_position: int) -> None:
        self._market.stream.release_credit(1)
        self._page.set_market(self._market.epoch, last_position)

    @property
    def is_full(self) -> bool:
        return self._broadcaster.waiting >= PIECES_MAX

    @property
    def outstanding(self) -> int:
        return self._broadcaster.waiting

    @property
    def is_over(self) -> bool:
        """The data have ended, and all of it was sent: what subscribers have not taken in yet is worth waiting for."""
        return self._market.at_end and not self._broadcaster.waiting

    # The loop's turns.

    def _go_on(self) -> None:
        if self._begin is not None and self._broadcaster.has_subscriber:
            begin, self._begin = self._begin, None
            begin()
        if not self._is_asleep and self._broadcaster.waiting:
            self._send_some()

    def _send_some(self) -> None:
        until_s = monotonic_s() + TURN_S
        while self._broadcaster.waiting:
            if not self._broadcaster.flush():
                self._wait()
                return
            now_s = monotonic_s()
            self._move(now_s)
            if now_s >= until_s:
                self._loop.after(0, _nothing)  # the next turn comes at once
                return

    def _wait(self) -> None:
        self._is_asleep = True
        self._counters["broadcast_waits"] += 1
        self._loop.after(RETRY_S, self._wake)
        if not self._is_stalled and monotonic_s() - self._moved_s >= STALL_S:
            self._is_stalled = True
            self._counters["broadcast_stalls"] += 1
            hint = "a subscriber of gateway.broadcast does not read: the run goes on when it reads or leaves"
            self._log.warning("broadcast_stalled", waiting=self._broadcaster.waiting, hint=hint)

    def _wake(self) -> None:
        self._is_asleep = False

    def _move(self, now_s: float) -> None:
        if self._is_stalled:
            self._is_stalled = False
            self._log.info("broadcast_goes_on", stalled_ms=round(1000 * (now_s - self._moved_s)))
        self._moved_s = now_s


def _nothing() -> None: ...
