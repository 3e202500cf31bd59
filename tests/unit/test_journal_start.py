"""A journal client that begins with a CHECKPOINT, and how it answers a BARRIER: to a wal written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streams import EPOCH, TRANSPORTS, Wire, note, open_wire, until

from actors.journal import JournalClient
from protocol.messages import Barrier, Data, Hello, Message, SayHello, State, Welcome, decode_message, encode_message
from protocol.records import Checkpoint, Producer, Record, encode_record, entry_type_of
from protocol.wal.format import ENVELOPE, encode_entry, iterate_payload


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


class Starting:
    """A client of a wal written by hand, whose journal begins with a CHECKPOINT at LSN 8."""

    def __init__(self, wire: Wire, state: bytes | None = b"state") -> None:
        self.crc = 0xABCD
        self.payloads: list[bytes] = []
        self.add(Checkpoint(b"j" * 16, b"", 1, (), ()), 8)
        for lsn in (9, 10):
            self.add(note(lsn), lsn)
        self.socket, self.seen = wire.router(), list[int]()
        self.loop, self.state = wire.loop(), state
        self.client = JournalClient(
            self.loop, wire.dealer("risk#1"), wire.page("risk"), name="risk", incarnation=1, producer=Producer.RISK,
            on_record=lambda envelope, record: self.seen.append(envelope.lsn), on_caught_up=lambda: None,
            take_state=lambda: self.state,
        )  # fmt: skip
        self.heard: list[list[bytes]] = []
        self.client.start()
        until(lambda: self.heard, self.turn, what="HELLO")
        self.say(Welcome(EPOCH, 8, 10, 4, b"boot", True, b"", 1))

    def add(self, record: Record, lsn: int) -> None:
        kind = entry_type_of(record)
        data = ENVELOPE.pack(kind, lsn, lsn - 1, self.crc, 1, Producer.GATEWAY, lsn) + encode_record(record)
        self.payloads.append(encode_entry(kind, data))
        _, self.crc, _ = next(iterate_payload(self.payloads[-1]))

    def turn(self) -> None:
        self.loop.turn()
        while self.socket.poll(0):
            self.heard.append(self.socket.recv_multipart())

    def say(self, message: Message, *payload: bytes) -> None:
        self.socket.send_multipart([b"risk#1", encode_message(message), *payload])

    def data(self, first: int, last: int) -> None:
        self.say(Data(EPOCH, first, last - first + 1, 10), b"".join(self.payloads[first - 8 : last - 7]))
        until(lambda: self.client.lsn == last, self.turn)

    def states(self) -> list[tuple[Message, bytes]]:
        found = [(decode_message(frames[1]), frames[-1]) for frames in self.heard]
        return [(message, payload) for message, payload in found if isinstance(message, State)]

    def settle(self) -> None:
        """All that was said has been heard: a HELLO goes out behind it."""
        hellos = self.client.stream.counters["hellos"]
        self.say(SayHello())
        until(lambda: self.client.stream.counters["hellos"] > hellos, self.turn)
        until(lambda: isinstance(decode_message(self.heard[-1][1]), Hello), self.turn)


def test_a_fold_may_begin_with_a_checkpoint_whatever_its_number_and_what_it_follows(wire: Wire) -> None:
    start = Starting(wire)
    start.data(8, 10)
    assert (start.seen, start.client.caught_up, start.client.last_seq) == ([8, 9, 10], True, 4)


def test_a_barrier_is_answered_at_exactly_its_lsn(wire: Wire) -> None:
    start = Starting(wire)
    start.say(Barrier(5, 10))
    start.data(8, 9)
    start.settle()
    assert start.states() == []
    start.say(Welcome(EPOCH, 10, 10, 4, b"boot", True, b"", 2))
    start.data(10, 10)
    until(start.states, start.turn, what="the state")
    assert start.states() == [(State(5, 1, 10), b"state")]


@pytest.mark.parametrize(
    ("barrier", "state"),
    [(Barrier(5, 9), b"state"), (Barrier(5, 10), None)],
    ids=["the fold is beyond it", "there is no saying it now"],
)
def test_a_barrier_that_cannot_be_answered_is_not(wire: Wire, barrier: Barrier, state: bytes | None) -> None:
    start = Starting(wire, state)
    start.data(8, 10)
    start.say(barrier)
    start.settle()
    assert start.states() == []
