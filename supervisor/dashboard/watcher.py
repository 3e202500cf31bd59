"""A thread that watches one engine from outside and keeps a Picture of it, for a page, a terminal, metrics, alerts.

Owns its sockets: it asks HEALTH once a second, finds the feeds by it, and takes in what they bring. An engine that is
away, hangs or has restarted is waited for. Whoever is too slow for the market's feed sees the newest quotes only; it
never makes the engine wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import urlsplit

import zmq

from actors.clock import now_us
from protocol.client.broadcast import decode_broadcast
from protocol.client.subscribing import Subscriber
from protocol.client.telemetry import EventReader, UnknownEvent, prefixes_of
from protocol.errors import SeawallError
from protocol.topics import Topic
from supervisor.cli.naming import Target
from supervisor.dashboard.notices import Notice
from supervisor.dashboard.picture import Picture

ASK_S: Final = 1.0
"""Between two HEALTHs."""
TIMEOUT_S: Final = 2.0
TURN_MS: Final = 50
"""What came meanwhile is taken in at once: a hundred thousand ticks a second are no hundred thousand turns."""
FRAMES_PER_TURN: Final = 2000
"""Of the market; the rest of a turn's is dropped by ZeroMQ, which keeps as many."""
EVENTS_PER_TURN: Final = 20_000
"""What ZeroMQ keeps is five turns of these; beyond that the heartbeat tells what was missed."""
TOPICS: Final = (Topic.TICK, Topic.TRADE)
ANY_HOST: Final = ("0.0.0.0", "*", "[::]", "::")


class Watcher(threading.Thread):
    """`start` it; `read` the picture; `stop` and join it."""

    def __init__(self, target: Target, on_notice: Callable[[Notice], None] = lambda notice: None) -> None:
        super().__init__(name="watcher", daemon=True)
        self._target = target
        self._picture = Picture(on_notice)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._reader = EventReader()
        self._endpoints = ("", "")
        self._feeds = ExitStack()
        self._telemetry: Subscriber | None = None
        self._broadcast: Subscriber | None = None

    def read(self, reading: Callable[[Picture], Any]) -> Any:
        """What `reading` makes of the picture, which stands still meanwhile; it must keep none of its parts."""
        with self._lock:
            return reading(self._picture)

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        asked_s = float("-inf")
        try:
            while not self._stopping.is_set():
                try:
                    if time.monotonic() - asked_s >= ASK_S:
                        asked_s = time.monotonic()
                        self._ask_health()
                    self._take_in()
                except Exception as error:  # out of descriptors, say: it is said, and tried again
                    with self._lock:
                        self._picture.take_silence(f"the console itself has failed: {error!r}", now_us())
                    self._stopping.wait(ASK_S)
        finally:
            self._feeds.close()

    # The command socket.

    def _ask_health(self) -> None:
        try:
            health = self._asked("HEALTH")
            with self._lock:
                self._picture.take_health(health, now_us())
                snapshot, orders = self._picture.wants_snapshot, self._picture.wants_orders
        except (SeawallError, OSError) as error:
            with self._lock:
                self._picture.take_silence(str(error), now_us())
            return
        try:
            self._follow(health["telemetry"], health["broadcast"])
            if snapshot:
                self._ask_snapshot()
            elif orders:
                reply = self._asked("ORDERS")
                with self._lock:
                    self._picture.take_orders(reply, now_us())
        except (SeawallError, OSError) as error:  # it is asked again in a second; the panels' ages say so meanwhile
            with self._lock:
                self._picture.note_trouble(str(error), now_us())

    def _ask_snapshot(self) -> None:
        status, orders, account, symbols = map(self._asked, ("STATUS", "ORDERS", "ACCOUNT", "SYMBOLS"))
        with self._lock:
            self._picture.take_snapshot(status, orders, account, symbols, now_us())

    def _asked(self, verb: str) -> dict[str, Any]:
        """Raises: SeawallError, also for a reply that is an error: there are only verbs here that none answers so."""
        with self._target.client(TIMEOUT_S) as client:
            reply = client.request(verb)
        if reply.get("status") != "ok":
            raise SeawallError(f"{verb}: {reply.get('response', reply)}")
        return reply

    # The feeds.

    def _follow(self, telemetry: str, broadcast: str) -> None:
        if (telemetry, broadcast) == self._endpoints:
            return
        self._feeds.close()
        self._telemetry = self._broadcast = None
        self._endpoints = ("", "")
        self._reader = EventReader()
        keys = self._target.keys()
        if telemetry:
            self._telemetry = self._feeds.enter_context(
                Subscriber(self._reachable(telemetry), prefixes_of(None), keys)
            )
        if broadcast:
            topics = [bytes([topic]) for topic in TOPICS]
            self._broadcast = self._feeds.enter_context(
                Subscriber(self._reachable(broadcast), topics, keys, queue_max=FRAMES_PER_TURN)
            )
        self._endpoints = (telemetry, broadcast)
        with self._lock:
            self._picture.hears_from_us = now_us() if telemetry else 0
            self._picture.hears_market_from_us = now_us() if broadcast else 0

    def _reachable(self, endpoint: str) -> str:
        """An engine that listens everywhere does so at the host at which it was asked."""
        found, asked = urlsplit(endpoint), urlsplit(self._target.endpoint)
        if found.scheme != "tcp" or found.netloc.rpartition(":")[0] not in ANY_HOST:
            return endpoint
        host = asked.netloc.rpartition(":")[0] if asked.scheme == "tcp" else "127.0.0.1"
        return f"tcp://{host}:{found.netloc.rpartition(':')[2]}"

    def _take_in(self) -> None:
        """Waits for a turn; telemetry first, for a fill's order is known by it."""
        self._stopping.wait(TURN_MS / 1000)
        events = [event for frame in _frames(self._telemetry, EVENTS_PER_TURN) for event in self._reader.read(frame)]
        records = [decode_broadcast(frame) for frame in _frames(self._broadcast, FRAMES_PER_TURN)]
        now = now_us()
        with self._lock:
            for event in events:
                self._picture.take_event(event, now)
            for record in records:
                if not isinstance(record, UnknownEvent):
                    self._picture.take_record(record, now)
            self._picture.turn(now)


def _frames(subscriber: Subscriber | None, frames_max: int) -> list[bytes]:
    """Those that are here."""
    found: list[bytes] = []
    if subscriber is not None:
        receive = subscriber.socket.recv
        try:
            while len(found) < frames_max:
                found.append(receive(zmq.NOBLOCK))
        except zmq.Again:
            pass
    return found
