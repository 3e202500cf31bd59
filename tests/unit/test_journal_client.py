"""The journal client against a wal written by hand, and against the real one over pipes that lose, lives that end."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streams import EPOCH, TRANSPORTS, Clock, Lossy, WalUnderTest, Wire, note, open_wire, run_record, until

from actors.journal import APPEND_MAX, PENDING_MAX, JournalClient, JournalLostError
from actors.stream import HELLO_REPEAT_S, SILENCE_S
from protocol.codec import decode_append
from protocol.errors import FoldError, SeawallError
from protocol.messages import (
    Append,
    Data,
    Hello,
    Message,
    Reset,
    SayHello,
    Welcome,
    decode_message,
    encode_message,
)
from protocol.records import (
    EntryType,
    Producer,
    Record,
    SignalRefused,
    decode_record,
    encode_record,
    entry_type_of,
)
from protocol.wal.format import ENVELOPE, Envelope, encode_entry, iterate_payload


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Entries:
    """A journal's bytes, entry by entry, as wal would hand them out."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.crc = 0
        self.add(run_record(), Producer.SUPERVISOR, 1)

    def add(self, record: Record, producer: int = Producer.GATEWAY, seq: int = 1) -> None:
        kind = entry_type_of(record)
        lsn = len(self.entries) + 1
        envelope = ENVELOPE.pack(kind, lsn, lsn - 1, self.crc, 1, producer, seq)
        self.entries.append(encode_entry(kind, envelope + encode_record(record)))
        _, self.crc, _ = next(iterate_payload(self.entries[-1]))

    def payload(self, first: int, last: int) -> bytes:
        return b"".join(self.entries[first - 1 : last])


class Fold:
    """What a client has seen, and what it was told."""

    def __init__(self, loop: Any, socket: zmq.Socket[bytes], page: Any, incarnation: int = 1) -> None:
        self.seen: list[Record] = []
        self.caught_up_at: list[int] = []
        self.client = JournalClient(
            loop, socket, page, name="risk", incarnation=incarnation, producer=Producer.RISK,
            on_record=self._on_record, on_caught_up=lambda: self.caught_up_at.append(self.client.lsn),
        )  # fmt: skip
        self.turn = loop.turn

    def _on_record(self, envelope: Envelope, record: Record) -> None:
        assert envelope.lsn == len(self.seen) + 1
        self.seen.append(record)

    def notes(self) -> list[int]:
        return [record.signal for record in self.seen if isinstance(record, SignalRefused)]


class Hand:
    """A wal written by hand, and the client that faces it."""

    def __init__(self, wire: Wire, tail: int = 3, last_seq: int = 0, durable: bool = True) -> None:
        self.journal = Entries()
        for number in range(2, tail + 1):
            self.journal.add(note(number), seq=number)
        self.socket = wire.router()
        self.page = wire.page("risk")
        self.fold = Fold(wire.loop(), wire.dealer("risk#1"), self.page)
        self.client = self.fold.client
        self.heard: list[tuple[Message, bytes]] = []
        self.client.start()
        until(lambda: self.of(Hello), self.turn, what="the first HELLO")
        self.welcome(tail, last_seq, durable=durable)

    def turn(self) -> None:
        self.fold.turn()
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            self.heard.append((decode_message(frames[1]), frames[2] if len(frames) > 2 else b""))

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message, _ in self.heard if isinstance(message, kind)]

    def say(self, message: Message, *payload: bytes) -> None:
        self.socket.send_multipart([b"risk#1", encode_message(message), *payload])

    def welcome(self, tail: int, last_seq: int, boot: bytes = b"boot", durable: bool = True) -> None:
        before = self.client.stream._grant
        grant = before + 1
        self.say(Welcome(EPOCH, self.client.lsn + 1, tail, last_seq, boot, durable, b"", grant))
        until(lambda: self.client.stream._grant == grant, self.turn, what="the WELCOME to arrive")

    def data(self, first: int, last: int, epoch: bytes = EPOCH) -> None:
        self.say(Data(epoch, first, last - first + 1, last), self.journal.payload(first, last))

    def caught_up(self) -> Hand:
        self.data(1, len(self.journal.entries))
        until(lambda: self.client.caught_up, self.turn, what="the fold to be complete")
        return self

    def appended(self) -> list[tuple[int, list[int]]]:
        """(first number, numbers of the notes) of each APPEND."""
        found = []
        for message, payload in self.heard:
            if isinstance(message, Append):
                records = [decode_record(kind, data) for kind, _, data in decode_append(payload)]
                found.append((message.first_producer_seq, [record.signal for record in records]))  # type: ignore[attr-defined]
        return found


# The fold at start (J1).


def test_the_fold_is_complete_at_the_tail_of_the_welcome_and_not_before(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire, tail=4)
    hand.data(1, 3)
    until(lambda: hand.client.lsn == 3, hand.turn)
    assert (hand.fold.caught_up_at, hand.client.caught_up) == ([], False)
    with pytest.raises(AssertionError, match="before the fold is complete"):
        hand.client.append(note(9))
    hand.data(4, 4)
    until(lambda: hand.client.caught_up, hand.turn)
    hand.journal.add(note(5))
    hand.data(5, 5)
    until(lambda: hand.client.lsn == 5, hand.turn)
    assert hand.fold.caught_up_at == [4], "once"


def test_a_later_welcome_does_not_move_the_target_of_the_fold(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire, tail=3)
    for number in (4, 5):
        hand.journal.add(note(number))
    hand.welcome(5, 0)
    hand.data(1, 3)
    until(lambda: hand.client.caught_up, hand.turn, what="complete at the tail of the first WELCOME")
    assert hand.fold.caught_up_at == [3]


# Appends.


def test_appends_are_numbered_from_the_welcomes_last_and_many_go_in_one_message(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire, last_seq=40).caught_up()
    assert [hand.client.append(note(number)) for number in range(10, 13)] == [41, 42, 43]
    assert (hand.client.last_seq, hand.client.oldest_pending_seq, hand.client.pending_count) == (43, 41, 3)
    until(hand.appended, hand.turn)
    assert hand.appended() == [(41, [10, 11, 12])]
    for _ in range(APPEND_MAX + 1):
        hand.client.append(note(7))
    until(lambda: len(hand.appended()) == 3, hand.turn)
    assert [(first, len(notes)) for first, notes in hand.appended()[1:]] == [(44, APPEND_MAX), (44 + APPEND_MAX, 1)]


def test_an_append_is_acknowledged_by_its_own_record_on_the_tail_and_by_no_other(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    for number in (10, 11):
        hand.client.append(note(number))
    hand.journal.add(note(99), Producer.GATEWAY, seq=2)
    hand.data(4, 4)
    until(lambda: hand.client.lsn == 4, hand.turn)
    assert (hand.client.pending_count, hand.client.oldest_pending_seq) == (2, 1)
    hand.journal.add(note(10), Producer.RISK, seq=1)
    hand.data(5, 5)
    until(lambda: hand.client.lsn == 5, hand.turn)
    assert (hand.client.pending_count, hand.client.oldest_pending_seq) == (1, 2)


def test_appends_wait_for_the_welcome_and_are_sent_again_from_last_plus_one(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    for number in (10, 11, 12):
        hand.client.append(note(number))
    until(hand.appended, hand.turn)
    hand.say(SayHello())  # a wal that does not know this peer: a new life
    until(lambda: not hand.client.stream.welcomed, hand.turn)
    hand.client.append(note(13))
    until(lambda: len(hand.of(Hello)) == 2, hand.turn)
    assert len(hand.appended()) == 1, "nothing is appended to a wal that has not said what it has"
    hand.welcome(3, 1, boot=b"new life")
    until(lambda: len(hand.appended()) == 2, hand.turn)
    assert hand.appended()[1] == (2, [11, 12, 13])


def test_what_the_welcome_says_is_accepted_is_not_sent_again(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    hand.client.append(note(10))
    until(hand.appended, hand.turn)
    hand.welcome(4, 1)
    hand.client.append(note(11))
    until(lambda: len(hand.appended()) == 2, hand.turn)
    assert hand.appended()[1] == (2, [11])
    assert hand.client.pending_count == 2, "accepted is not yet seen"


def test_an_append_that_does_not_come_back_within_a_second_says_hello(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    hand.client.append(note(10))
    hello = len(hand.of(Hello))
    for _ in range(3):  # not silence: tails arrive all the time
        clock.advance(SILENCE_S * 0.3)
        hand.say(Data(EPOCH, 4, 0, 3))
        until(lambda: hand.client.stream._heard_s == clock.now_s, hand.turn)
    assert len(hand.of(Hello)) == hello
    heard_s, said = clock.now_s, hand.client.stream.counters["hellos"]
    until(
        lambda: hand.client.stream.counters["hellos"] > said, hand.turn, lambda: clock.advance(0.01),
        what="HELLO for an append that is not answered",
    )  # fmt: skip
    assert clock.now_s - heard_s < SILENCE_S * 0.5, "it is the append that asks, not the silence"
    until(lambda: len(hand.of(Hello)) == hello + 1, hand.turn, what="that HELLO to arrive")
    hand.welcome(3, 0)
    until(lambda: len(hand.appended()) == 2, hand.turn)
    assert hand.appended() == [(1, [10]), (1, [10])]


def test_pending_has_a_limit(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    for _ in range(PENDING_MAX - 1):
        hand.client.append(note(1))
    assert not hand.client.is_full
    hand.client.append(note(1))
    assert hand.client.is_full


# What must end this life.


@pytest.mark.parametrize(
    ("what", "message", "reason"),
    [
        ("RESET", Reset("the journal ends at LSN 2"), "ends at LSN 2"),
        ("a tail before the fold", Welcome(EPOCH, 4, 2, 0, b"boot", True), "wal ends at LSN 2, this fold at 3"),
        ("another journal", Welcome(b"f" * 16, 1, 9, 0, b"boot", True), "this fold is of"),
    ],
)
def test_a_wal_that_no_longer_has_what_was_folded_ends_this_life(
    wire: Wire, clock: Clock, what: str, message: Message, reason: str
) -> None:
    hand = Hand(wire).caught_up()
    hand.say(message)
    with pytest.raises(JournalLostError, match=reason):
        until(lambda: False, hand.turn, what=f"{what} to be noticed")
    assert len(hand.fold.seen) == 3


def test_a_record_that_does_not_follow_by_its_crc_is_not_folded(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    hand.journal.crc ^= 1
    hand.journal.add(note(4))
    hand.data(4, 4)
    with pytest.raises(JournalLostError, match="LSN 4 does not follow the fold's LSN 3"):
        until(lambda: False, hand.turn)
    assert len(hand.fold.seen) == 3


def test_a_record_of_a_type_that_is_not_known_ends_the_fold(wire: Wire, clock: Clock) -> None:
    hand = Hand(wire).caught_up()
    body = ENVELOPE.pack(EntryType.ADJUST, 4, 3, hand.journal.crc, 1, Producer.RISK, 1) + b"\x90"
    hand.say(Data(EPOCH, 4, 1, 4), encode_entry(EntryType.ADJUST, body))
    with pytest.raises(FoldError, match="LSN 4"):
        until(lambda: False, hand.turn)


@settings(max_examples=100)
@given(payload=st.binary(max_size=200))
def test_a_payload_of_garbage_is_never_folded(payload: bytes) -> None:
    """Whether it is passed over or ends this life: the fold is what it was."""
    fold = Fold.__new__(Fold)
    fold.seen, fold.caught_up_at = [], []
    with pytest.MonkeyPatch.context() as patch:
        Clock(patch)
        fold.client = JournalClient(
            None, _Silent(), None, name="risk", incarnation=1, producer=Producer.RISK,  # type: ignore[arg-type]
            on_record=fold._on_record, on_caught_up=lambda: None,
        )  # fmt: skip
        journal = Entries()
        stream = fold.client.stream
        stream._take([encode_message(Welcome(EPOCH, 1, 9, 0, b"boot", False))])
        stream._take([encode_message(Data(EPOCH, 1, 1, 9)), journal.payload(1, 1)])
        with suppress(SeawallError, struct.error):  # cut short, or not what follows: the next life folds anew
            stream._take([encode_message(Data(EPOCH, 2, 1, 9)), payload])
        assert len(fold.seen) == 1


class _Silent:
    """A socket that takes everything."""

    def send(self, frame: bytes, flags: int = 0) -> None: ...


# The health page (R3).


@pytest.mark.parametrize(("durable", "acknowledged"), [(True, 3), (False, 0)])
def test_the_page_says_what_is_on_disk_and_only_where_that_is_promised(
    wire: Wire, clock: Clock, durable: bool, acknowledged: int
) -> None:
    hand = Hand(wire, durable=durable).caught_up()
    assert hand.page.acknowledged(EPOCH) == acknowledged
    if durable:
        assert hand.page.read().acknowledged.crc == hand.journal.crc


# The real wal, pipes that lose, lives that end.


@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(losses=st.lists(st.booleans(), max_size=60), counts=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_a_pipe_that_loses_messages_loses_no_append_and_doubles_none(
    transport: str, tmp_path_factory: pytest.TempPathFactory, losses: list[bool], counts: list[int]
) -> None:
    fate = iter(losses)
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, open_wire(transport, directory) as wire:
        clock = Clock(patch)
        wal = WalUnderTest(wire).begin()
        fold = Fold(wire.loop(), wire.dealer("risk#1"), wire.page("risk"))
        client = fold.client
        client.start()
        until(lambda: client.caught_up, wal.turn, fold.turn)
        client.stream._socket = Lossy(client.stream._socket, fate)  # type: ignore[assignment]
        wal.actor.server._socket = Lossy(wal.actor.server._socket, fate)  # type: ignore[assignment]
        numbers = iter(range(1_000))
        expected: list[int] = []
        fold_turn = _turn_by_hand(fold, client)
        for count in counts:
            for _ in range(count):
                expected.append(next(numbers))
                client.append(note(expected[-1]))
            fold_turn()
            wal.turn()
            clock.advance(0.05)
        until(
            lambda: not client.pending_count and client.lsn == wal.journal.tail_lsn,
            fold_turn, wal.turn, lambda: clock.advance(0.05), what="every append to come back",
        )  # fmt: skip
        assert fold.notes() == wal.notes() == expected
        wal.die()


def _turn_by_hand(fold: Fold, client: JournalClient) -> Any:
    """The loop polls the socket itself, which knows nothing of fate; so it is read here."""

    def turn() -> None:
        client.stream.receive()
        fold.turn()

    return turn


@pytest.mark.parametrize("sync", ["always", "interval", "off"])
def test_appends_outlive_the_lives_of_wal_and_are_never_doubled(
    tmp_path: Path, clock: Clock, sync: str
) -> None:
    """Over ipc: a thread cannot be killed, and an inproc socket does not reconnect."""
    with open_wire("ipc", tmp_path) as wire:
        extra = f'[wal]\nsync = "{sync}"\n'
        wal = WalUnderTest(wire, extra=extra).begin()
        fold = Fold(wire.loop(), wire.dealer("risk#1"), wire.page("risk"))
        client = fold.client
        client.start()
        until(lambda: client.caught_up, wal.turn, fold.turn)
        expected: list[int] = []
        for life in range(2, 8):
            for number in range(life * 10, life * 10 + 3):
                client.append(note(number))
                expected.append(number)
            fold.turn()  # they are under way, or in the dead wal's hands, or on its disk
            for _ in range(life % 3):
                wal.turn()
            wal.die()
            wal = WalUnderTest(wire, incarnation=life, extra=extra).begin()
            if life % 2:
                client.stream.say_hello()  # the supervisor's PEER; else silence says it
        until(
            lambda: not client.pending_count, wal.turn, fold.turn, lambda: clock.advance(HELLO_REPEAT_S),
            what="every append to come back",
        )  # fmt: skip
        assert fold.notes() == wal.notes() == expected
        assert wal.journal.last_producer_seq[Producer.RISK] == len(expected)
        wal.die()


def test_a_new_life_sees_what_its_former_appended_before_it_is_complete(wire: Wire, clock: Clock) -> None:
    """J1: risk was READY before an ORDER_PLACE of its former life became visible."""
    wal = WalUnderTest(wire).begin()
    former = Fold(wire.loop(), wire.dealer("risk#1"), wire.page("risk"))
    former.client.start()
    until(lambda: former.client.caught_up, wal.turn, former.turn)
    for number in (1, 2, 3):
        former.client.append(note(number))
    # Sent, and then it dies: wal has accepted them, and nothing of them is written yet.
    until(lambda: wal.actor.last_seq.get(Producer.RISK) == 3, former.turn, wal.actor.server.receive)
    assert wal.notes() == []
    new = Fold(wire.loop(), wire.dealer("risk#2"), wire.page("risk"), incarnation=2)
    new.client.start()
    until(lambda: new.client.caught_up, wal.turn, new.turn)
    assert new.notes() == [1, 2, 3]
    assert new.client.append(note(4)) == 4
    former.client.append(note(666))
    former.client.stream.send(Append(1, 4, 1), b"")
    former.turn()
    until(lambda: not new.client.pending_count, wal.turn, new.turn)
    assert wal.notes() == [1, 2, 3, 4]
