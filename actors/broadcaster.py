"""The binary broadcast: fixed records on a PUB-like socket, for anyone who subscribes (design section 6).

Usable alone (`Broadcaster(endpoint).start()`), and by the gateway, which registers `socket` in its loop and calls
`poll_subscriptions` when it is readable. It binds where it is told: what may be bound beyond loopback is the
engine's rule, not this module's. Sends never block; a slow subscriber loses messages (10,000 wait for it). The
layouts stand in protocol/topics.py; prices, volumes, money and percentages are integers in 1e-6, times are
microseconds since the epoch.

The socket is an XPUB, so it knows what is subscribed: a topic without a subscriber is counted and not sent. In its
default mode XPUB reports each prefix once, when its first subscriber comes and when its last one leaves or vanishes,
so a set of prefixes is exact without counting (ZMQ_XPUB_VERBOSER would need counts). Source: zmq_setsockopt(3),
ZMQ_XPUB_VERBOSE. Not thread-safe: one thread publishes.

Known limit: a peer that speaks ZMTP by hand can cancel a subscription that it never made, and libzmq 4.3.5 reports it
as if the last subscriber had gone (counting would be fooled alike). The topic then rests until someone subscribes to
it anew. libzmq's own sockets never send such a cancel.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, Self

import zmq

from protocol.errors import GatewayError
from protocol.topics import ACCOUNT, BAR, EQUITY, MARGIN, ORDER, POSITION, TICK, TRADE, Topic

SEND_QUEUE_MAX: Final = 10_000
"""Messages that wait for one subscriber; more are lost to it."""
SUBSCRIPTION_BYTES_MAX: Final = 128
"""A longer frame from a subscriber is no subscription to any record: ZeroMQ cuts that peer off. Under CURVE longer ones
pass (security.HANDSHAKE_BYTES)."""
SUBSCRIBED_BYTES_MAX: Final = 8 * 1024
"""Of all different prefixes together: the ticks of 1,300 single symbols. XPUB keeps a node for each byte, and walks
all of them for each subscriber that leaves: 170 ns a node, so 0.7 s where 500 leave at once; 10 s with 64 KiB
(measured)."""
SUBSCRIPTION_QUEUE_MAX: Final = 2
"""Of one subscriber. XPUB takes in what is queued before it does anything else; with the usual 1,000 a peer that
subscribes without end never let it come back (26 s measured), with 1 it did within 50 ms.
Under CURVE the user id takes a place, for good (libzmq counts it as written and never as read): with 1 nobody could
subscribe."""
HANDSHAKE_MS: Final = 2_000
"""A peer that connects and does not complete its handshake is cut off."""
SUBSCRIPTIONS_PER_POLL: Final = 100
"""A peer that floods with subscriptions does not hold up the loop, nor gets far beyond SUBSCRIBED_BYTES_MAX."""

_SUBSCRIBE: Final = b"\x01"
_UNSUBSCRIBE: Final = b"\x00"
_TICK_SLICES: Final = Struct(f"{TICK.size}s")
_BAR_SLICES: Final = Struct(f"{BAR.size}s")
_NOBLOCK: Final = zmq.NOBLOCK


@dataclass(slots=True)
class BroadcastCounters:
    """What was published; may outlive a broadcaster, so that switching it off and on loses no count."""

    by_topic: list[int] = field(default_factory=lambda: [0] * len(Topic))
    """Calls (records) by topic, subscribed or not."""
    bytes_sent: int = 0
    """Of messages handed to the socket: those of subscribed topics."""


class Prefixes:
    """What is subscribed at an XPUB in its default mode, as its frames say."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.size_bytes = 0
        """Of all together; one more for each, so that the empty one counts too."""

    def take(self, frame: bytes) -> bool:
        """Whether it was a subscription or its end; anything else a peer may send is nothing to us."""
        kind, prefix = frame[:1], frame[1:]
        if kind == _SUBSCRIBE and prefix not in self.known:
            self.known.add(prefix)
            self.size_bytes += len(prefix) + 1
        elif kind == _UNSUBSCRIBE and prefix in self.known:
            self.known.remove(prefix)
            self.size_bytes -= len(prefix) + 1
        return kind in (_SUBSCRIBE, _UNSUBSCRIBE)


def why_not_bound(error: zmq.ZMQError) -> str:
    """For people, with what to do where that is known."""
    hint = "; two engines on one machine need endpoints of their own" if error.errno == errno.EADDRINUSE else ""
    return f"{error.strerror or error}{hint}"


class Broadcaster:
    """Publishes the eight topics at `endpoint` from `start` to `stop`."""

    def __init__(
        self,
        endpoint: str,
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        counters: BroadcastCounters | None = None,
        drains_itself: bool = True,
        protect: Callable[[zmq.Socket[bytes]], None] | None = None,
    ) -> None:
        """
        context: ZeroMQ's, shared with the caller; one of its own if None.
        drains_itself: every publish first takes in new subscriptions (1.5 microseconds measured); False if the caller's
            loop calls `poll_subscriptions` whenever `socket` is readable.
        protect: called with the socket before it is bound: who may connect.
        """
        self.endpoint = endpoint
        """As given; after `start` as bound (a port `*` is then a number)."""
        self.counters = counters if counters is not None else BroadcastCounters()
        self._counts = self.counters.by_topic
        self._given_context = context
        self._drains_itself = drains_itself
        self._protect = protect
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._prefixes = Prefixes()
        self._wanted = [False] * len(Topic)

    # Life.

    queue_max = SEND_QUEUE_MAX
    """Messages that may wait for one subscriber."""

    def start(self) -> None:
        """The socket is bound. Does nothing if it is already. Raises: GatewayError naming the endpoint."""
        if self._socket is not None:
            return
        context = self._given_context or zmq.Context()
        made: zmq.Socket[bytes] = context.socket(zmq.XPUB)
        made.setsockopt(zmq.SNDHWM, self.queue_max)
        made.setsockopt(zmq.RCVHWM, SUBSCRIPTION_QUEUE_MAX)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.MAXMSGSIZE, SUBSCRIPTION_BYTES_MAX)
        made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        if self._protect is not None:
            self._protect(made)
        try:
            made.bind(self.endpoint)
        except zmq.ZMQError as error:
            made.close()
            if self._given_context is None:
                context.term()
            raise GatewayError(f"cannot broadcast at {self.endpoint}: {why_not_bound(error)}") from error
        self.endpoint = made.getsockopt_string(zmq.LAST_ENDPOINT)
        self._context, self._socket = context, made

    def stop(self, linger_ms: int = 0) -> None:
        """The endpoint is free. Does nothing if it is not running.

        linger_ms: how long the end of the context waits for subscribers to take what is sent; then it is dropped.
        """
        if self._socket is None:
            return
        self._socket.close(linger=linger_ms)
        if self._given_context is None and self._context is not None:
            self._context.term()
        self._socket = self._context = None
        self._prefixes = Prefixes()
        self._wanted = [False] * len(Topic)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._socket is not None

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The XPUB socket, to be polled for subscriptions. Raises: GatewayError if it is not running."""
        if self._socket is None:
            raise GatewayError(f"the broadcast at {self.endpoint} is not running; start() comes first")
        return self._socket

    # Counts.

    @property
    def message_count(self) -> int:
        """Records published, subscribed or not."""
        return sum(self._counts)

    @property
    def bytes_sent(self) -> int:
        return self.counters.bytes_sent

    def topic_counts(self) -> dict[Topic, int]:
        return {topic: self._counts[topic] for topic in Topic}

    # Subscriptions.

    def is_subscribed(self, topic: Topic) -> bool:
        """Whether anyone wants some message of `topic`, as far as `poll_subscriptions` knows."""
        return self._wanted[topic]

    def subscribed_bytes(self) -> int:
        """Of all different prefixes, each a little more than its length."""
        return self._prefixes.size_bytes

    def poll_subscriptions(self) -> None:
        """Takes in what subscribers have asked for since the last call; never blocks.

        Frame by frame: to ZeroMQ each part of a peer's message may be a subscription.
        """
        receive = self.socket.recv
        changed = False
        for _ in range(SUBSCRIPTIONS_PER_POLL):
            try:
                frame = receive(_NOBLOCK)
            except zmq.Again:
                break
            changed |= self._prefixes.take(frame)
        if changed:
            known = self._prefixes.known
            first_bytes = {prefix[0] for prefix in known if prefix}
            self._wanted = [b"" in known or topic in first_bytes for topic in Topic]

    # The eight topics; fields as in the table of design section 6, integers all.

    def publish_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int) -> None:
        if self._counted(0):
            self._send(TICK.pack(0, symbol_id, timestamp, bid, ask))

    def publish_bar(
        self, symbol_id: int, timeframe: int, timestamp: int, open: int, high: int, low: int, close: int, volume: int
    ) -> None:
        """timeframe: minutes."""
        if self._counted(1):
            self._send(BAR.pack(1, symbol_id, timeframe, timestamp, open, high, low, close, volume))

    def publish_trade(
        self, ticket: int, symbol_id: int, timestamp: int, volume: int, price: int, profit: int
    ) -> None:
        """profit: what this fill realized, before commission."""
        if self._counted(2):
            self._send(TRADE.pack(2, ticket, symbol_id, timestamp, volume, price, profit))

    def publish_order(self, ticket: int, symbol_id: int, timestamp: int, type: int, volume: int, price: int) -> None:
        """type: protocol.topics.order_type_byte."""
        if self._counted(3):
            self._send(ORDER.pack(3, ticket, symbol_id, timestamp, type, volume, price))

    def publish_equity(self, timestamp: int, balance: int, equity: int, margin: int, margin_free: int) -> None:
        if self._counted(4):
            self._send(EQUITY.pack(4, timestamp, balance, equity, margin, margin_free))

    def publish_margin(self, timestamp: int, margin: int, margin_free: int, margin_level: int) -> None:
        if self._counted(5):
            self._send(MARGIN.pack(5, timestamp, margin, margin_free, margin_level))

    def publish_position(
        self, symbol_id: int, timestamp: int, net_volume: int, average_price: int, realized_profit: int
    ) -> None:
        if self._counted(6):
            self._send(POSITION.pack(6, symbol_id, timestamp, net_volume, average_price, realized_profit))

    def publish_account(self, timestamp: int, balance: int, equity: int, profit: int, margin_level: int) -> None:
        if self._counted(7):
            self._send(ACCOUNT.pack(7, timestamp, balance, equity, profit, margin_level))

    # Packed batches, as they stand in the market stream: nothing is encoded again.

    def publish_tick_records(self, records: bytes | memoryview) -> int:
        """Each of the packed TICK records is published by itself; returns how many. Raises: ValueError if cut off."""
        return self._publish_records(0, _TICK_SLICES, records)

    def publish_bar_records(self, records: bytes | memoryview) -> int:
        """As publish_tick_records, for BAR records."""
        return self._publish_records(1, _BAR_SLICES, records)

    def _publish_records(self, topic: int, slices: Struct, records: bytes | memoryview) -> int:
        count, rest = divmod(len(records), slices.size)
        if rest:
            raise ValueError(f"{len(records)} bytes are not a whole number of {slices.size}-byte {Topic(topic).name}s")
        if self._counted(topic, count):
            self._send_each(slices.iter_unpack(records), len(records))
        return count

    def _counted(self, topic: int, count: int = 1) -> bool:
        """Counts `count` records; whether they are to be sent."""
        socket = self.socket
        # Reading EVENTS is cheaper than a receive that fails.
        if self._drains_itself and socket.get(zmq.EVENTS) & zmq.POLLIN:  # type: ignore[operator]
            self.poll_subscriptions()
        self._counts[topic] += count
        return self._wanted[topic]

    def _send(self, message: bytes) -> None:
        self.socket.send(message, _NOBLOCK)
        self.counters.bytes_sent += len(message)

    def _send_each(self, messages: Iterable[tuple[bytes]], size: int) -> None:
        """size: of all together, in bytes."""
        send = plain_send(self.socket)
        for (message,) in messages:
            send(message, _NOBLOCK)
        self.counters.bytes_sent += size


def plain_send(socket: zmq.Socket[bytes]) -> Callable[[bytes, int], object]:
    """`send` without pyzmq's Python layer (routing ids, groups), which took 0.2 of 0.4 microseconds."""
    return super(zmq.Socket, socket).send
