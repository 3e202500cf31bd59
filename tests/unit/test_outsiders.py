"""What outsiders may take, without an engine: XPUB sockets in a loop, real subscribers, limits drawn tight."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
import zmq

from actors import outsiders
from actors.base import Loop
from actors.broadcaster import SUBSCRIBED_BYTES_MAX, Broadcaster, Prefixes
from actors.outsiders import Outsiders
from actors.page import HealthPage
from protocol.settings import ProcessLimits, SupervisorSettings

DEADLINE_S = 20.0


class Watched:
    """A broadcast that is watched, as the gateway's."""

    def __init__(self, page: HealthPage, context: zmq.Context[zmq.Socket[bytes]], memory_mb: int = 0) -> None:
        self.loop = Loop(page)
        self.context = context
        self.broadcaster = Broadcaster("tcp://127.0.0.1:*", context=context, drains_itself=False)
        self.broadcaster.start()
        self.counters: dict[str, int] = {}
        limits = ProcessLimits(memory_mb=memory_mb)
        self.outsiders = Outsiders(self.loop, self.counters, structlog.get_logger(), limits, is_process=True)
        self.outsiders.watch("broadcast", self.broadcaster.socket, self.broadcaster.subscribed_bytes)
        self.loop.on_readable(self.broadcaster.socket, self._take)
        self.outsiders.begin()

    def _take(self) -> None:
        self.broadcaster.poll_subscriptions()
        self.outsiders.look_at_subscriptions()

    def subscribe(self, *prefixes: bytes) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.SUB)
        made.setsockopt(zmq.RECONNECT_IVL, 10)
        for prefix in prefixes:
            made.setsockopt(zmq.SUBSCRIBE, prefix)
        made.connect(self.broadcaster.endpoint)
        return made

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, what
            self.loop.turn()

    def publish_until(self, subscriber: zmq.Socket[bytes]) -> None:
        def is_here() -> bool:
            self.broadcaster.publish_tick(1, 2, 3, 4)
            return bool(subscriber.poll(0))

        self.until(is_here, "a tick")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[HealthPage]:
    made = HealthPage.open(tmp_path / "page", writable=True)
    yield made
    made.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def watched(page: HealthPage, context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Watched]:
    made = Watched(page, context)
    yield made
    made.outsiders.release()
    made.broadcaster.stop()


def test_too_many_prefixes_cut_off_all_who_subscribe_there_and_who_comes_back_gets_its_data(watched: Watched) -> None:
    honest = watched.subscribe(b"\x00")
    watched.publish_until(honest)
    greedy = watched.subscribe(*(number.to_bytes(100, "big") for number in range(SUBSCRIBED_BYTES_MAX // 100 + 1)))
    watched.until(lambda: watched.counters["outsiders_cut"], "the cut")
    greedy.close(0)
    watched.until(lambda: not watched.broadcaster.subscribed_bytes(), "what was subscribed to be forgotten")
    while honest.poll(0):
        honest.recv()
    watched.publish_until(honest)


def test_a_cut_that_frees_no_memory_is_not_tried_again_and_again(
    page: HealthPage, context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway itself has grown: nobody outside is to suffer for it."""
    taken = 10 << 20
    monkeypatch.setattr(Outsiders, "_memory_bytes", lambda _: (taken, 0))
    watched = Watched(page, context, memory_mb=100)
    taken = 90 << 20
    watched.until(lambda: watched.counters["outsiders_cut"], "the cut")
    watched.publish_until(watched.subscribe(b""))
    assert watched.counters["outsiders_cut"] == 1
    watched.outsiders.release()
    watched.broadcaster.stop()


def test_while_others_have_the_ports_one_timer_tries_again_and_then_all_are_bound(
    page: HealthPage, context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 10 << 20
    monkeypatch.setattr(Outsiders, "_memory_bytes", lambda _: (taken, 0))
    monkeypatch.setattr(outsiders, "BIND_AGAIN_S", 0.01)
    watched = Watched(page, context, memory_mb=100)
    endpoints = [watched.broadcaster.endpoint]
    for name in ("command", "telemetry"):
        made = context.socket(zmq.XPUB)
        made.bind("tcp://127.0.0.1:*")
        endpoints.append(made.getsockopt_string(zmq.LAST_ENDPOINT))
        watched.outsiders.watch(name, made)
    before = len(watched.loop._timers)
    taken = 90 << 20
    watched.until(lambda: watched.counters["outsiders_cut"], "the cut")
    with ExitStack() as stack, structlog.testing.capture_logs() as lines:
        for endpoint in endpoints:  # no turn meanwhile: they are unbound
            thief = stack.enter_context(socket.socket())
            _bind(thief, int(endpoint.rpartition(":")[2]))
            thief.listen()
        watched.until(lambda: len(lines) >= 30, "ten tries of three sockets")
        assert {line["event"] for line in lines} == {"bind_failed"}
        assert len(watched.loop._timers) <= before + 1
    watched.publish_until(watched.subscribe(b""))
    watched.outsiders.release()
    watched.broadcaster.stop()


def _bind(thief: socket.socket, port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return thief.bind(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline, "libzmq lets go of its port"


def test_who_comes_and_who_fails_to_is_counted(watched: Watched) -> None:
    watched.publish_until(watched.subscribe(b""))
    with socket.create_connection(("127.0.0.1", int(watched.broadcaster.endpoint.rpartition(":")[2]))) as stranger:
        stranger.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NONE" + bytes(48))  # a greeting of no known mechanism
        watched.until(lambda: watched.counters["handshakes_failed"], "a handshake that fails")
    assert watched.counters["connections"] == 2


def test_a_prefix_counts_once_and_no_more_when_it_is_gone() -> None:
    prefixes = Prefixes()
    for frame in (b"\x01ab", b"\x01ab", b"\x01", b"\x02ab", b"\x00xy", b""):
        prefixes.take(frame)
    assert prefixes.size_bytes == 3 + 1
    for frame in (b"\x00ab", b"\x00ab", b"\x00"):
        prefixes.take(frame)
    assert prefixes.size_bytes == 0


def test_the_gateway_alone_has_a_memory_cap_that_nobody_named() -> None:
    settings = SupervisorSettings(limits={"gateway": ProcessLimits(files=100)})
    assert settings.limits_of("gateway") == ProcessLimits(memory_mb=1024, files=100)
    assert settings.limits_of("risk") == ProcessLimits()
    assert SupervisorSettings(limits={"gateway": ProcessLimits(memory_mb=300)}).limits_of("gateway").memory_mb == 300
