"""The binary broadcast against real SUB sockets: golden bytes, counts, subscriptions that come and go."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from actors.broadcaster import BroadcastCounters, Broadcaster
from protocol.errors import GatewayError
from protocol.topics import Topic

DEADLINE_S = 20.0
ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    with Broadcaster(ANY_PORT) as made:
        yield made


Subscribe = Callable[..., zmq.Socket[bytes]]


@pytest.fixture
def subscribe(broadcaster: Broadcaster, context: zmq.Context[zmq.Socket[bytes]]) -> Subscribe:
    """A connected SUB socket whose subscriptions have arrived: one of its own, made after them, has."""
    markers = (b"\xff" + bytes([number]) for number in range(256))

    def made(*prefixes: bytes) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        socket.setsockopt(zmq.RCVHWM, 0)
        for prefix in prefixes:
            socket.setsockopt(zmq.SUBSCRIBE, prefix)
        socket.connect(broadcaster.endpoint)
        marker = next(markers)
        socket.setsockopt(zmq.SUBSCRIBE, marker)
        wait_until(broadcaster, lambda: marker in broadcaster._prefixes.known)
        return socket

    return made


def wait_until(broadcaster: Broadcaster, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the subscription did not arrive"
        broadcaster.socket.poll(100)
        broadcaster.poll_subscriptions()


# name, arguments, the literal struct of the design's table (section 6), bytes, what an outsider unpacks
GOLDEN: list[tuple[str, tuple[int, ...], str, int, tuple[int, ...]]] = [
    ("tick", (7, 1_577_836_800_000_000, 1_121_230, 1_121_250), "<BIQqq", 29,
     (0, 7, 1_577_836_800_000_000, 1_121_230, 1_121_250)),
    ("bar", (7, 1440, 1_577_836_800_000_000, 4, 6, -3, 5, 1_000_000), "<BIHQqqqqq", 55,
     (1, 7, 1440, 1_577_836_800_000_000, 4, 6, -3, 5, 1_000_000)),
    ("trade", (2**63, 1, 5, -100_000_000, 1_121_230, -12_750_000), "<BQIQqqq", 45,
     (2, 2**63, 1, 5, -100_000_000, 1_121_230, -12_750_000)),
    ("order", (42, 1, 5, 0x43, 100_000_000, 1_121_230), "<BQIQBqq", 38, (3, 42, 1, 5, 0x43, 100_000_000, 1_121_230)),
    ("equity", (5, 1, -2, 3, 4), "<BQqqqq", 41, (4, 5, 1, -2, 3, 4)),
    ("margin", (5, 1, -2, 3), "<BQqqq", 33, (5, 5, 1, -2, 3)),
    ("position", (2**32 - 1, 5, -3_000_000, 150_500_000, 12_750_000), "<BIQqqq", 37,
     (6, 2**32 - 1, 5, -3_000_000, 150_500_000, 12_750_000)),
    ("account", (5, 1, 2, -3, 4), "<BQqqqq", 41, (7, 5, 1, 2, -3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "layout", "size", "fields"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_each_topic_arrives_in_the_layout_of_the_table(
    broadcaster: Broadcaster,
    subscribe: Subscribe,
    name: str,
    arguments: tuple[int, ...],
    layout: str,
    size: int,
    fields: tuple[int, ...],
) -> None:
    subscriber = subscribe(bytes([Topic[name.upper()]]))
    getattr(broadcaster, f"publish_{name}")(*arguments)
    frames = subscriber.recv_multipart()
    assert len(frames) == 1
    assert len(frames[0]) == size
    assert struct.unpack(layout, frames[0]) == fields
    assert (broadcaster.message_count, broadcaster.bytes_sent) == (1, size)


def test_a_tick_has_these_very_bytes(broadcaster: Broadcaster, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"")
    broadcaster.publish_tick(symbol_id=1, timestamp=2, bid=3, ask=-1)
    assert subscriber.recv().hex() == "00" "01000000" "0200000000000000" "0300000000000000" "ffffffffffffffff"


def test_a_subscriber_to_ticks_gets_ticks_only(broadcaster: Broadcaster, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"\x00")
    broadcaster.publish_margin(1, 2, 3, 4)
    broadcaster.publish_bar(1, 1, 1, 1, 1, 1, 1, 1)
    broadcaster.publish_tick(9, 1, 1, 1)
    assert subscriber.recv()[0] == Topic.TICK
    assert broadcaster.bytes_sent == 29
    assert broadcaster.message_count == 3


def test_a_subscriber_to_one_symbol_gets_that_symbol_only(broadcaster: Broadcaster, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"\x00\x02\x00\x00\x00")
    for symbol_id in (1, 2, 3, 2):
        broadcaster.publish_tick(symbol_id, 10 + symbol_id, 1, 1)
    assert [struct.unpack_from("<I", subscriber.recv(), 1)[0] for _ in range(2)] == [2, 2]


def test_what_nobody_subscribed_is_counted_and_not_sent(broadcaster: Broadcaster) -> None:
    for name, arguments, *_ in GOLDEN:
        getattr(broadcaster, f"publish_{name}")(*arguments)
    broadcaster.publish_tick_records(bytes(29) * 5)
    assert broadcaster.message_count == 13
    assert broadcaster.bytes_sent == 0
    assert broadcaster.topic_counts() == {topic: 6 if topic is Topic.TICK else 1 for topic in Topic}


def test_an_empty_subscription_means_every_topic(broadcaster: Broadcaster, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"")
    for name, arguments, *_ in GOLDEN:
        getattr(broadcaster, f"publish_{name}")(*arguments)
    assert [subscriber.recv()[0] for _ in GOLDEN] == list(range(8))


@pytest.mark.parametrize("leave", ["unsubscribe", "close"])
def test_a_topic_costs_nothing_again_when_its_last_subscriber_leaves(
    broadcaster: Broadcaster, subscribe: Subscribe, leave: str
) -> None:
    first, second = subscribe(b"\x00", b"\x05"), subscribe(b"\x00")
    if leave == "close":
        first.close()
    else:
        first.setsockopt(zmq.UNSUBSCRIBE, b"\x00")
        first.setsockopt(zmq.UNSUBSCRIBE, b"\x05")
    wait_until(broadcaster, lambda: not broadcaster.is_subscribed(Topic.MARGIN))
    assert broadcaster.is_subscribed(Topic.TICK)
    broadcaster.publish_tick(1, 2, 3, 4)
    assert second.recv()[0] == Topic.TICK
    second.close()
    wait_until(broadcaster, lambda: not broadcaster.is_subscribed(Topic.TICK))
    sent = broadcaster.bytes_sent
    broadcaster.publish_tick(1, 2, 3, 4)
    assert broadcaster.bytes_sent == sent


SUBSCRIBER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.SUBSCRIBE, b"")
socket.connect(sys.argv[1])
sys.stdin.read()
"""


def test_a_subscriber_that_is_killed_is_forgotten(broadcaster: Broadcaster) -> None:
    process = subprocess.Popen([sys.executable, "-c", SUBSCRIBER, broadcaster.endpoint], stdin=subprocess.PIPE)
    wait_until(broadcaster, lambda: broadcaster.is_subscribed(Topic.ACCOUNT))
    process.kill()
    process.communicate()
    wait_until(broadcaster, lambda: not broadcaster.is_subscribed(Topic.ACCOUNT))


def test_a_packed_batch_arrives_record_by_record(broadcaster: Broadcaster, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"")
    ticks = [struct.pack("<BIQqq", 0, index, 2, 3, 4) for index in range(100)]
    bars = [struct.pack("<BIHQqqqqq", 1, index, 1, 2, 3, 4, 5, 6, 7) for index in range(10)]
    padded = b"head" + b"".join(ticks) + b"tail"
    assert broadcaster.publish_tick_records(memoryview(padded)[4:-4]) == 100
    assert broadcaster.publish_bar_records(b"".join(bars)) == 10
    assert broadcaster.publish_tick_records(b"") == 0
    assert [subscriber.recv() for _ in range(110)] == ticks + bars
    assert broadcaster.message_count == 110
    assert broadcaster.bytes_sent == 100 * 29 + 10 * 55


@pytest.mark.parametrize("size", [1, 28, 30, 57])
def test_a_cut_off_batch_is_refused_and_not_counted(broadcaster: Broadcaster, size: int) -> None:
    with pytest.raises(ValueError, match="29-byte TICK"):
        broadcaster.publish_tick_records(bytes(size))
    assert broadcaster.message_count == 0


def test_a_subscriber_that_does_not_read_loses_messages_and_holds_nobody_up(
    broadcaster: Broadcaster, context: zmq.Context[zmq.Socket[bytes]], subscribe: Subscribe
) -> None:
    published = 300_000
    silent = context.socket(zmq.SUB)
    silent.setsockopt(zmq.RCVHWM, 1)
    silent.setsockopt(zmq.RCVBUF, 32_768)
    silent.setsockopt(zmq.SUBSCRIBE, b"\x00")
    silent.connect(broadcaster.endpoint)
    wait_until(broadcaster, lambda: broadcaster.is_subscribed(Topic.TICK))
    broadcaster.publish_tick_records(bytes(29) * published)
    reader = subscribe(b"\x05")
    broadcaster.publish_margin(1, 2, 3, 4)
    assert reader.recv()[0] == Topic.MARGIN
    # Once there is room again a later tick gets through; what came before it and did not arrive is lost.
    received = 0
    while True:
        broadcaster.publish_tick(1, 1, 1, 1)
        assert silent.poll(int(DEADLINE_S * 1000))
        if silent.recv()[1]:
            break
        received += 1
    assert 0 < received < published


def test_frames_that_are_no_subscription_change_nothing(
    broadcaster: Broadcaster, context: zmq.Context[zmq.Socket[bytes]], subscribe: Subscribe
) -> None:
    rude = context.socket(zmq.XSUB)
    rude.connect(broadcaster.endpoint)
    for frames in ([b"\x02hello"], [b"x"], [b"y", b"z"], [b""]):
        rude.send_multipart(frames)
    rude.send(b"\x01\x07")
    wait_until(broadcaster, lambda: broadcaster.is_subscribed(Topic.ACCOUNT))
    assert not broadcaster.is_subscribed(Topic.MARGIN)
    subscriber = subscribe(b"\x04")
    broadcaster.publish_equity(1, 2, 3, 4, 5)
    assert subscriber.recv()[0] == Topic.EQUITY


def test_a_subscription_behind_a_foreign_frame_counts(
    broadcaster: Broadcaster, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    rude = context.socket(zmq.XSUB)
    rude.connect(broadcaster.endpoint)
    rude.send_multipart([b"x", b"\x01\x05"])
    wait_until(broadcaster, lambda: broadcaster.is_subscribed(Topic.MARGIN))
    broadcaster.publish_margin(1, 2, 3, 4)
    assert rude.poll(int(DEADLINE_S * 1000))
    assert len(rude.recv()) == 33


def test_a_port_in_use_is_an_error_that_names_it(broadcaster: Broadcaster) -> None:
    second = Broadcaster(broadcaster.endpoint)
    with pytest.raises(GatewayError, match=broadcaster.endpoint):
        second.start()
    assert not second.is_running


@pytest.mark.parametrize("endpoint", ["", "tcp://", "tcp://127.0.0.1:port", "nonsense", "tcp://203.0.113.1:5555"])
def test_an_endpoint_that_cannot_be_bound_is_an_error(endpoint: str) -> None:
    with pytest.raises(GatewayError, match="cannot broadcast"):
        Broadcaster(endpoint).start()


def test_it_stops_and_starts_again_on_its_port_and_keeps_its_counts() -> None:
    counters = BroadcastCounters()
    broadcaster = Broadcaster(ANY_PORT, counters=counters)
    assert not broadcaster.is_running
    broadcaster.start()
    endpoint = broadcaster.endpoint
    broadcaster.start()
    broadcaster.publish_tick(1, 2, 3, 4)
    broadcaster.stop()
    broadcaster.stop()
    assert not broadcaster.is_running
    with pytest.raises(GatewayError, match="not running"):
        broadcaster.publish_tick(1, 2, 3, 4)
    with Broadcaster(endpoint, counters=counters) as successor:
        successor.publish_margin(1, 2, 3, 4)
        assert successor.is_running
        assert successor.message_count == 2


def test_a_shared_context_survives_it(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with Broadcaster("inproc://broadcast", context=context) as broadcaster:
        subscriber = context.socket(zmq.SUB)
        subscriber.connect("inproc://broadcast")
        subscriber.setsockopt(zmq.SUBSCRIBE, b"\x06")
        wait_until(broadcaster, lambda: broadcaster.is_subscribed(Topic.POSITION))
        broadcaster.publish_position(1, 2, 3, 4, 5)
        assert struct.unpack("<BIQqqq", subscriber.recv()) == (6, 1, 2, 3, 4, 5)
    assert not context.closed


def test_a_loop_may_take_in_the_subscriptions_itself(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with Broadcaster(ANY_PORT, drains_itself=False) as broadcaster:
        subscriber: Any = context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"\x00")
        subscriber.connect(broadcaster.endpoint)
        assert broadcaster.socket.poll(int(DEADLINE_S * 1000)) == zmq.POLLIN
        broadcaster.publish_tick(1, 2, 3, 4)
        assert broadcaster.bytes_sent == 0
        broadcaster.poll_subscriptions()
        broadcaster.publish_tick(1, 2, 3, 4)
        assert len(subscriber.recv()) == 29
