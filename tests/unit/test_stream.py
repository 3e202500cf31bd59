"""The stream protocol, both ends on real sockets, over inproc and ipc alike; the other end by hand to misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streams import EPOCH, TRANSPORTS, Clock, Lossy, Peer, Producer, Reader, Wire, open_wire, until

from actors.stream import HELLO_REPEAT_S, SILENCE_S, TAIL_EVERY_S
from protocol import messages
from protocol.messages import Append, Credit, Data, Hello, Reset, SayHello, Welcome, decode_message, encode_message

EVERY_MESSAGE = [kind for kind in messages.Message.__subclasses__() if kind is not messages.ChildState]


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Hand:
    """A producer written by hand, facing one Reader."""

    def __init__(self, wire: Wire, credit: int = 4) -> None:
        self.socket = wire.router()
        self.reader = Reader(wire.loop(), wire.dealer("reader#1"), credit=credit)
        self.heard: list[messages.Message] = []
        self.reader.stream.start()

    def turn(self) -> None:
        self.reader.turn()
        while self.socket.poll(0):
            self.heard.append(decode_message(self.socket.recv_multipart()[1]))

    def hellos(self) -> list[Hello]:
        return [message for message in self.heard if isinstance(message, Hello)]

    def credits(self) -> list[Credit]:
        return [message for message in self.heard if isinstance(message, Credit)]

    def say(self, message: messages.Message, *payload: bytes) -> None:
        self.socket.send_multipart([b"reader#1", encode_message(message), *payload])

    def data(self, position: int) -> None:
        self.say(Data(EPOCH, position, 1, 100), b"item %d" % position)

    def welcome(self, first: int = 1, grant: int = 1) -> None:
        """Answers the HELLO, once it is there."""
        until(self.hellos, self.turn, what="a HELLO")
        self.say(Welcome(EPOCH, first, 100, 0, b"boot", True, b"", grant))
        until(lambda: self.reader.stream.welcomed, self.turn, what="the WELCOME to arrive")


# HELLO and WELCOME (J3).


def test_hello_is_repeated_until_welcome(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    for count in (1, 2, 3):
        until(lambda count=count: len(hand.hellos()) == count, hand.turn, what=f"HELLO number {count}")
        clock.advance(HELLO_REPEAT_S)
    hand.welcome()
    before = hand.reader.stream.counters["hellos"]
    clock.advance(SILENCE_S * 0.9)
    hand.turn()
    assert hand.reader.stream.counters["hellos"] == before, "welcome, and not silent for a second yet"


def test_hello_is_said_again_after_a_second_of_silence(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    hand.welcome()
    before = hand.reader.stream.counters["hellos"]
    for position in (1, 2, 3):
        clock.advance(SILENCE_S * 0.9)
        hand.data(position)
        until(lambda position=position: hand.reader.seen[-1:] == [position], hand.turn)
    assert hand.reader.stream.counters["hellos"] == before, "whoever hears something is not silent"
    clock.advance(SILENCE_S)
    until(lambda: hand.reader.stream.counters["hellos"] == before + 1, hand.turn, what="the HELLO after silence")
    until(lambda: hand.hellos()[-1].from_position == 4, hand.turn, what="HELLO from the position after the last")


def test_a_hello_names_the_epoch_and_the_position_after_the_last_consumed(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    hand.welcome()
    hand.data(1)
    hand.data(2)
    until(lambda: hand.reader.seen == [1, 2], hand.turn)
    hand.say(SayHello())
    until(lambda: hand.hellos()[-1].from_position == 3, hand.turn, what="the HELLO that was asked for")
    assert hand.hellos()[-1] == Hello("reader", 1, EPOCH, 3, 4)


def test_the_producer_tells_its_tail_every_quarter_second_to_those_that_hear_nothing(wire: Wire, clock: Clock) -> None:
    producer, peer = Producer(wire.router(), tail=2), Peer(wire, "peer")
    peer.hello()
    until(lambda: len(peer.chunks()) == 2, producer.turn)
    for count in (1, 2, 3):
        clock.advance(TAIL_EVERY_S)
        until(lambda count=count: len(peer.of(Data)) == 2 + count, producer.turn, what=f"tail number {count}")
    assert peer.of(Data)[-1] == Data(EPOCH, 3, 0, 2)
    clock.advance(TAIL_EVERY_S * 0.9)
    producer.turn()
    producer.backlog.tail_position = 3
    until(lambda: peer.chunks()[-1].first_position == 3, producer.turn)
    assert len(peer.of(Data)) == 6, "no tail before its time"


def test_a_consumer_without_credit_hears_the_tail_and_does_not_take_slowness_for_a_loss(
    wire: Wire, clock: Clock
) -> None:
    producer, reader = Producer(wire.router(), tail=50), Reader(wire.loop(), wire.dealer("reader#1"), credit=4)
    reader.holds = True
    reader.stream.start()
    until(lambda: len(reader.seen) == 4, producer.turn, reader.turn)
    for _ in range(12):
        clock.advance(TAIL_EVERY_S)
        now = clock.now_s
        until(lambda now=now: reader.stream._heard_s == now, producer.turn, reader.turn, what="a tail without credit")
    assert (len(producer.hellos), reader.seen) == (1, [1, 2, 3, 4])


# Incarnations (J2).


def test_what_an_older_incarnation_says_is_dropped_from_the_newer_hello_on(wire: Wire, clock: Clock) -> None:
    producer = Producer(wire.router())
    old, new = Peer(wire, "risk", 1, producer=2), Peer(wire, "risk", 2, producer=2)
    old.hello(credit=1)
    until(lambda: old.chunks(), producer.turn)
    old.append(1, b"before")
    until(lambda: producer.appends, producer.turn)
    new.hello(credit=1)
    until(lambda: new.chunks(), producer.turn)

    stale = producer.server.counters["stale_messages"]
    sent = len(old.of(Data))
    old.append(2, b"after")
    old.say(Credit(1, old.of(Welcome)[-1].grant))
    old.hello(credit=1)
    until(lambda: producer.server.counters["stale_messages"] == stale + 3, producer.turn)
    assert [payload for _, _, payload in producer.appends] == [b"before"]
    assert len(producer.hellos) == 2
    assert [consumer.incarnation for consumer in producer.server.consumers.values()] == [2]
    new.say(Credit(1, new.of(Welcome)[-1].grant))
    until(lambda: len(new.chunks()) == 2, producer.turn)
    assert (len(old.of(Data)), old.of(SayHello)) == (sent, []), "nothing for the dead, not even a question"


def test_a_peer_that_the_producer_has_not_met_is_told_to_say_hello(wire: Wire, clock: Clock) -> None:
    producer = Producer(wire.router())
    peer = Peer(wire, "risk", 3, producer=2)
    peer.say(Credit(1))
    peer.append(7, b"of another life of the producer")
    until(lambda: len(peer.of(SayHello)) == 2, producer.turn)
    assert (producer.appends, producer.server.counters["stale_messages"]) == ([], 2)


@pytest.mark.parametrize("identity", ["risk", "risk#", "risk#-1", "risk#\u00b2", "#1", "risk#1#x"])
def test_an_identity_that_is_none_of_ours_harms_nobody(wire: Wire, clock: Clock, identity: str) -> None:
    producer, odd = Producer(wire.router(), tail=1), wire.dealer(identity)
    odd.send(encode_message(Credit(1)))
    until(lambda: producer.server.counters["stale_messages"], producer.turn)
    peer = Peer(wire, "peer")
    peer.hello()
    until(lambda: peer.chunks(), producer.turn)


def test_a_producer_that_has_forgotten_everybody_feeds_on_where_it_was(wire: Wire, clock: Clock) -> None:
    router = wire.router()
    first, reader = Producer(router, tail=10), Reader(wire.loop(), wire.dealer("reader#1"))
    reader.stream.start()
    until(lambda: len(reader.seen) == 10, first.turn, reader.turn)
    second = Producer(router, tail=20)
    clock.advance(SILENCE_S)
    until(lambda: len(reader.seen) == 20, second.turn, reader.turn)
    assert reader.seen == list(range(1, 21))


# DATA.


def test_data_at_or_below_the_position_is_ignored_and_credited(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    hand.welcome(grant=9)
    for position in (1, 2, 3, 1, 2, 3, 4):
        hand.data(position)
    until(lambda: len(hand.credits()) == 7, hand.turn)
    assert hand.reader.seen == [1, 2, 3, 4]
    assert set(hand.credits()) == {Credit(1, 9)}


def test_data_of_another_epoch_is_ignored(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    until(hand.hellos, hand.turn)
    hand.say(Data(EPOCH, 1, 1, 100), b"before any WELCOME")
    hand.welcome()
    hand.say(Data(b"another history!", 1, 1, 100), b"of another history")
    hand.data(1)
    until(lambda: hand.reader.seen, hand.turn)
    assert (hand.reader.seen, hand.reader.stream.counters["hellos"]) == ([1], 1)


def test_a_gap_leads_to_one_hello_from_the_item_that_is_missing(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    hand.welcome()
    hand.data(1)
    for position in (3, 4, 5):  # 2 was lost on the way, and these were under way behind it
        hand.data(position)
    until(lambda: len(hand.hellos()) == 2, hand.turn, what="the HELLO after a gap")
    hand.say(Welcome(EPOCH, 2, 100, 0, b"boot", True))
    for position in (2, 3):
        hand.data(position)
    until(lambda: hand.reader.seen == [1, 2, 3], hand.turn)
    hand.turn()
    assert [hello.from_position for hello in hand.hellos()] == [0, 2]


def test_a_loss_at_the_end_is_noticed_by_the_next_tail(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire)
    hand.welcome()
    hand.data(1)
    hand.say(Data(EPOCH, 2, 0, 1))  # nothing is missing
    hand.say(Data(EPOCH, 3, 0, 2))  # 2 was sent, and lost
    until(lambda: len(hand.hellos()) == 2, hand.turn, what="the HELLO after a loss")
    assert [hello.from_position for hello in hand.hellos()] == [0, 2]


def test_reset_reaches_the_owner_and_the_producer_forgets_the_consumer(wire: Wire, clock: Clock) -> None:
    producer, reader = Producer(wire.router()), Reader(wire.loop(), wire.dealer("reader#1"))
    producer.welcomes = False
    reader.stream.start()
    until(lambda: producer.server.consumers, producer.turn, reader.turn)
    (consumer,) = producer.server.consumers.values()
    producer.server.reset(consumer, "too old")
    until(lambda: reader.resets == ["too old"], reader.turn)
    assert not producer.server.consumers


# Credit.


def test_no_more_is_sent_than_there_is_credit_for(wire: Wire, clock: Clock) -> None:
    producer, peer = Producer(wire.router()), Peer(wire, "peer")
    peer.hello(credit=5)
    until(lambda: len(peer.chunks()) == 5, producer.turn)
    grant = peer.of(Welcome)[-1].grant
    for count in (2, 1, 0, -3):
        before = len(peer.chunks())
        peer.say(Credit(count, grant))
        producer.backlog.tail_position += 1  # a marker: the next tail says that the CREDIT was read
        clock.advance(TAIL_EVERY_S)
        tail = producer.backlog.tail_position
        until(lambda tail=tail: peer.of(Data)[-1].tail_position == tail, producer.turn)
        until(lambda before=before, count=count: len(peer.chunks()) == before + max(0, count), producer.turn)
    assert [data.first_position for data in peer.chunks()] == list(range(1, 9))


def test_credit_beyond_what_is_under_way_counts_for_nothing(wire: Wire, clock: Clock) -> None:
    producer, peer = Producer(wire.router()), Peer(wire, "peer")
    peer.hello(credit=3)
    until(lambda: len(peer.chunks()) == 3, producer.turn)
    peer.say(Credit(1_000, peer.of(Welcome)[-1].grant))
    until(lambda: len(peer.chunks()) == 6, producer.turn)
    producer.turn()
    (consumer,) = producer.server.consumers.values()
    assert (consumer.credit, len(consumer.sent), len(peer.chunks())) == (0, 3, 6)


def test_repeated_hellos_do_not_inflate_the_credit(wire: Wire, clock: Clock) -> None:
    producer, peer = Producer(wire.router()), Peer(wire, "peer")
    for count in (1, 2, 3):
        peer.hello(credit=4)
        until(lambda count=count: len(peer.chunks()) == 4 * count, producer.turn)
    first, second, third = (welcome.grant for welcome in peer.of(Welcome))
    for grant in (first, first, second, second):
        peer.say(Credit(2, grant))
    peer.say(Credit(1, third))
    until(lambda: len(peer.chunks()) == 13, producer.turn)
    producer.turn()
    (consumer,) = producer.server.consumers.values()
    assert (len(peer.chunks()), consumer.acknowledged) == (13, 2), "only what the last WELCOME began counts"


def test_a_slow_consumer_that_says_hello_again_is_not_acknowledged_what_it_holds(wire: Wire, clock: Clock) -> None:
    producer, reader = Producer(wire.router()), Reader(wire.loop(), wire.dealer("reader#1"), credit=4)
    reader.holds = True
    reader.stream.start()
    until(lambda: len(reader.seen) == 4, producer.turn, reader.turn)
    for seen in (8, 12):
        reader.stream.say_hello()
        until(lambda seen=seen: len(reader.seen) == seen, producer.turn, reader.turn)
    reader.stream.release_credit(8)  # what it held before the last HELLO
    clock.advance(TAIL_EVERY_S)
    heard = reader.stream._heard_s
    until(lambda: reader.stream._heard_s > heard, producer.turn, reader.turn)
    (consumer,) = producer.server.consumers.values()
    assert (len(reader.seen), consumer.acknowledged) == (12, 9)
    reader.stream.release_credit(1)
    until(lambda: len(reader.seen) == 13, producer.turn, reader.turn)


# A pipe that loses, and peers that go.


@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(losses=st.lists(st.booleans(), max_size=120), tail=st.integers(1, 30), credit=st.integers(1, 6))
def test_a_pipe_that_loses_messages_loses_no_item_and_doubles_none(
    transport: str, tmp_path: Path, losses: list[bool], tail: int, credit: int
) -> None:
    fate = iter(losses)
    with pytest.MonkeyPatch.context() as patch, open_wire(transport, tmp_path) as wire:
        clock = Clock(patch)
        producer = Producer(wire.router(), tail=tail)
        reader = Reader(wire.loop(), wire.dealer("reader#1"), credit=credit)
        producer.server._socket = Lossy(producer.server._socket, fate)  # type: ignore[assignment]
        reader.stream._socket = Lossy(reader.stream._socket, fate)  # type: ignore[assignment]
        reader.loop.on_readable(reader.stream._socket._socket, reader.stream.receive)  # type: ignore[attr-defined]
        reader.loop.every(HELLO_REPEAT_S, reader.stream.check)
        reader.stream.say_hello()
        until(
            lambda: len(reader.seen) >= tail,
            producer.turn, reader.turn, lambda: clock.advance(0.01), what="every item",
        )  # fmt: skip
        assert reader.seen == list(range(1, tail + 1))


def test_a_peer_that_is_gone_is_forgotten_and_harms_nobody(wire: Wire, clock: Clock) -> None:
    producer = Producer(wire.router(), tail=0)
    gone, here = Peer(wire, "gone"), Peer(wire, "here")
    gone.hello()
    here.hello()
    until(lambda: len(producer.server.consumers) == 2, producer.turn)
    gone.close()
    # Whether it is gone shows only when something is sent.
    until(lambda: producer.server.counters["peers_lost"], producer.turn, lambda: clock.advance(TAIL_EVERY_S))
    producer.backlog.tail_position = 3
    until(lambda: len(here.chunks()) == 3, producer.turn)
    assert [consumer.name for consumer in producer.server.consumers.values()] == ["here"]


# Garbage.

FRAMES = st.lists(st.binary(max_size=40), max_size=4)
ANY_MESSAGE = st.sampled_from(EVERY_MESSAGE).flatmap(lambda kind: st.from_type(kind))
FROM_OUTSIDE = st.one_of(
    FRAMES,
    st.tuples(ANY_MESSAGE, FRAMES).map(lambda pair: [encode_message(pair[0]), *pair[1]]),
    st.tuples(ANY_MESSAGE, st.integers(0, 60)).map(lambda pair: [encode_message(pair[0])[: pair[1]]]),
)
INT64 = st.integers(-(2**63), 2**63 - 1)
st.register_type_strategy(int, INT64)
IDENTITIES = st.one_of(
    st.binary(min_size=1, max_size=20).filter(lambda identity: identity[0] != 0),
    st.tuples(st.sampled_from(("risk", "gateway", "wal")), st.text(max_size=4)).map("#".join).map(str.encode),
)


@settings(max_examples=150)
@given(sent=st.lists(FROM_OUTSIDE, min_size=1, max_size=8), identity=IDENTITIES)
def test_garbage_harms_no_producer(sent: list[list[bytes]], identity: bytes) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.bind("inproc://stream")
        producer = Producer(router, tail=3)
        with context.socket(zmq.DEALER) as vandal, context.socket(zmq.DEALER) as honest:
            vandal.setsockopt(zmq.IDENTITY, identity)
            vandal.connect("inproc://stream")
            for frames in sent:
                vandal.send_multipart(frames or [b""])
            honest.setsockopt(zmq.IDENTITY, b"honest#1")
            honest.connect("inproc://stream")
            honest.send(encode_message(Hello("honest", 1, b"", 0, 8)))
            until(lambda: any(hello.name == "honest" for hello in producer.hellos), producer.turn)
            heard = [decode_message(honest.recv_multipart()[0]) for _ in range(4)]
            assert [type(message) for message in heard] == [Welcome, Data, Data, Data]


@settings(max_examples=150)
@given(sent=st.lists(FROM_OUTSIDE, min_size=1, max_size=8))
def test_garbage_harms_no_consumer(sent: list[list[bytes]]) -> None:
    with pytest.MonkeyPatch.context() as patch, zmq.Context() as context:
        Clock(patch)
        with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
            router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            router.setsockopt(zmq.LINGER, 0)
            router.bind("inproc://stream")
            dealer.setsockopt(zmq.IDENTITY, b"reader#1")
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect("inproc://stream")
            reader = _BareReader(dealer)
            reader.stream.say_hello()
            router.recv_multipart()
            for frames in sent:
                router.send_multipart([b"reader#1", *(frames or [b""])])
            router.send_multipart([b"reader#1", encode_message(Welcome(b"fresh", 1, 2, 0, b"", True))])
            for position in (1, 2):
                data = encode_message(Data(b"fresh", position, 1, 2))
                router.send_multipart([b"reader#1", data, b"item %d" % position])
            until(lambda: reader.seen[-2:] == [1, 2], reader.stream.receive)


class _BareReader(Reader):
    """Without a loop; whatever epoch it is welcomed to, it begins anew there."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        super().__init__(None, socket)  # type: ignore[arg-type]

    def _on_welcome(self, welcome: Welcome) -> None:
        self.stream.epoch, self.stream.position = welcome.epoch, 0

    def _on_data(self, data: Data, payload: bytes) -> int | None:
        if data.first_position != self.stream.position + 1:
            return None
        self.seen.append(data.first_position)
        return data.first_position


GARBAGE: list[tuple[str, list[bytes]]] = [
    ("an empty frame", [b""]),
    ("bytes that are no MessagePack", [b"\xc1\xff"]),
    ("a message cut short", [encode_message(Hello("risk", 1, b"", 0, 8))[:-2]]),
    ("an unknown tag", [b"\x91\x63"]),
    ("text that is no UTF-8", [b"\x92\x06\xa1\xff"]),
    ("nesting without end", [b"\x94\x04\x01\x01" + b"\x91" * 100_000]),
    ("a message that only the producer sends", [encode_message(SayHello())]),
    ("a RESET from a consumer", [encode_message(Reset("no"))]),
    ("APPEND without its payload", [encode_message(Append(1, 1, 1))]),
    ("APPEND with too many frames", [encode_message(Append(1, 1, 1)), b"", b""]),
]


@pytest.mark.parametrize(("what", "frames"), GARBAGE, ids=[what for what, _ in GARBAGE])
def test_garbage_is_counted(wire: Wire, clock: Clock, what: str, frames: list[bytes]) -> None:
    producer, peer = Producer(wire.router(), tail=1), Peer(wire, "risk", producer=2)
    peer.hello()
    until(lambda: peer.chunks(), producer.turn)
    peer.socket.send_multipart(frames)
    until(lambda: producer.server.counters["bad_messages"], producer.turn, what=f"{what} to be counted")
    producer.backlog.tail_position = 2
    until(lambda: len(peer.chunks()) == 2, producer.turn)
    assert (producer.server.counters["bad_messages"], producer.appends) == (1, [])
