"""The broadcast that waits: real SUB sockets that read late, or never, or die; nothing is lost and nothing blocks."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from streams import until

from actors.base import Loop
from actors.lossless import LosslessBroadcaster, Pace
from actors.marks import newest_quotes
from actors.page import HealthPage
from protocol.topics import TICK

ENDPOINT = "tcp://127.0.0.1:*"
TICKS = 200_000
"""More than all the buffers between two processes hold."""
READER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.rcvhwm = 100
socket.rcvbuf = 4096
socket.connect(sys.argv[1])
socket.subscribe(b"\\0")
socket.recv()
print("reads", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def broadcaster() -> Iterator[LosslessBroadcaster]:
    with LosslessBroadcaster(ENDPOINT, drains_itself=False) as made:
        made.socket.setsockopt(zmq.SNDBUF, 4096)
        yield made


@pytest.fixture
def subscriber(broadcaster: LosslessBroadcaster) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.SUB)
    made.setsockopt(zmq.RCVHWM, 100)
    made.setsockopt(zmq.RCVBUF, 4096)  # else the kernel lets it grow to about all that is sent
    made.connect(broadcaster.endpoint)
    made.subscribe(b"\0")
    until(lambda: broadcaster.has_subscriber, lambda: listen(broadcaster))
    yield made
    context.destroy(0)


def listen(broadcaster: LosslessBroadcaster) -> None:
    broadcaster.socket.poll(10)
    broadcaster.poll_subscriptions()


def records(count: int, first: int = 0) -> bytes:
    return b"".join(TICK.pack(0, 0, number, number, -number) for number in range(first, first + count))


def fill(broadcaster: LosslessBroadcaster) -> None:
    """Until there is room for nothing: a moment later there may be, while the sockets' own buffers fill."""
    full_s = time.monotonic()
    while time.monotonic() - full_s < 0.2:
        if broadcaster.flush():
            full_s = time.monotonic()
        assert broadcaster.waiting, "that is no slow subscriber"


def test_who_reads_late_gets_every_message_in_order(
    broadcaster: LosslessBroadcaster, subscriber: zmq.Socket[bytes]
) -> None:
    sent: list[str] = []
    broadcaster.publish_tick_records(records(TICKS))
    broadcaster.after_sent(lambda: sent.append("all"))
    broadcaster.publish_tick(0, TICKS, TICKS, -TICKS)
    fill(broadcaster)
    assert not sent, "its credit is not given back"
    got: list[bytes] = []

    def read() -> None:
        while subscriber.poll(0):
            got.append(subscriber.recv())
        if broadcaster.waiting:
            broadcaster.flush()

    until(lambda: len(got) == TICKS + 1, read)
    assert b"".join(got) == records(TICKS + 1)
    assert sent == ["all"]
    assert broadcaster.bytes_sent == 29 * (TICKS + 1)


def test_a_topic_without_a_subscriber_is_not_even_queued(
    broadcaster: LosslessBroadcaster, subscriber: zmq.Socket[bytes]
) -> None:
    broadcaster.publish_account(1, 2, 3, 4, 5)
    broadcaster.publish_bar_records(b"\1" * 55)
    assert (broadcaster.waiting, broadcaster.message_count) == (0, 2)


def test_a_subscriber_of_another_topic_holds_up_nobody(
    broadcaster: LosslessBroadcaster, subscriber: zmq.Socket[bytes]
) -> None:
    subscriber.unsubscribe(b"\0")
    subscriber.subscribe(b"\2")
    until(lambda: not broadcaster.is_subscribed(0), lambda: listen(broadcaster))  # type: ignore[arg-type]
    broadcaster.publish_tick_records(records(TICKS))
    assert broadcaster.waiting == 0


@pytest.mark.parametrize("end", ["is killed", "leaves"])
def test_who_hangs_stops_the_broadcast_until_it_is_gone(broadcaster: LosslessBroadcaster, end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER, broadcaster.endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        until(lambda: broadcaster.has_subscriber, lambda: listen(broadcaster))
        broadcaster.publish_tick_records(records(TICKS))
        broadcaster.flush()
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        fill(broadcaster)
        assert not broadcaster.flush()
        if end == "leaves":
            reader.communicate(b"\n")
        else:
            reader.send_signal(signal.SIGKILL)
        until(lambda: not broadcaster.waiting, broadcaster.flush)


# The pace of the market.


class Market:
    """What Pace calls of a MarketClient; the stream counts."""

    at_end = False
    epoch = b"e" * 16

    def __init__(self) -> None:
        self.stream = self
        self.held = 0

    def hold_credit(self) -> None:
        self.held += 1

    def release_credit(self, count: int) -> None:
        self.held -= count


class Log:
    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **facts: Any) -> None:
        self.events.append(event)

    warning = info


@pytest.fixture
def page(tmp_path: Path) -> HealthPage:
    return HealthPage.open(tmp_path / "page", writable=True)


def test_the_market_begins_with_the_first_subscription(page: HealthPage) -> None:
    began: list[str] = []
    loop, log = Loop(page), Log()
    with LosslessBroadcaster(ENDPOINT, drains_itself=False) as broadcaster:
        market: Any = Market()
        pace = Pace(broadcaster, market, loop, page, log, {})
        loop.on_readable(broadcaster.socket, broadcaster.poll_subscriptions)
        pace.start(lambda: began.append("market"))
        loop.turn()
        assert not began
        assert log.events == ["broadcast_awaits_subscriber"]
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.connect(broadcaster.endpoint)
            socket.subscribe(b"\2")
            until(lambda: began, loop.turn)
            for _ in range(3):
                loop.turn()
    assert began == ["market"]


def test_a_slow_subscriber_holds_the_credit_and_never_the_loop(
    page: HealthPage, broadcaster: LosslessBroadcaster, subscriber: zmq.Socket[bytes]
) -> None:
    counters: dict[str, int] = {}
    market: Any = Market()
    loop, log, ticked = Loop(page), Log(), []
    pace = Pace(broadcaster, market, loop, page, log, counters)
    pace.start(lambda: None)
    loop.every(0.01, lambda: ticked.append(1))
    for first in range(0, TICKS, 8192):
        broadcaster.publish_tick_records(records(8192, first))
        pace.hold_chunk(first)
    until(lambda: counters["broadcast_stalls"], loop.turn)
    assert log.events == ["broadcast_stalled"]
    assert 0 < market.held == pace.outstanding // 2 + pace.outstanding % 2
    assert ticked, "the loop went on turning"
    assert counters["broadcast_waits"] > 1
    assert not pace.is_over
    until(lambda: not market.held, loop.turn, lambda: subscriber.poll(0) and subscriber.recv())
    assert log.events[:2] == ["broadcast_stalled", "broadcast_goes_on"]
    market.at_end = True
    assert pace.is_over


# The marks.


def test_the_newest_quotes_are_those_that_a_walk_over_all_ticks_finds() -> None:
    ids = [0, 300, 44, *([1] * 5000), 2, *([1] * 5000), 300]  # 300 and 44 share their lowest byte
    ticks = b"".join(TICK.pack(0, symbol_id, n, n, n + 1) for n, symbol_id in enumerate(ids))
    walked = {symbol_id: (n, n + 1, n) for n, symbol_id in enumerate(ids)}
    assert newest_quotes(memoryview(ticks), 301) == walked
    assert newest_quotes(memoryview(ticks[:29]), 301) == {0: (0, 1, 0)}


def test_the_newest_quote_of_a_single_symbol_is_the_last_tick() -> None:
    assert newest_quotes(memoryview(records(100)), 1) == {0: (99, -99, 99)}
