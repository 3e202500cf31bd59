"""The other side of wal: producers that append as fast or as often as they are told, and readers of the whole tail.

Each runs in a process of its own and speaks the journal stream as JournalClient does, but cheaply, for the machine may
have two cores: payloads are encoded once, and what comes back is counted by its bytes. That works because all records
of a run are of one size, that of an ORDER_PLACE.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import numpy as np
import zmq

from protocol.codec import encode_append
from protocol.messages import (
    Append,
    Credit,
    Data,
    Hello,
    Message,
    Reset,
    SayHello,
    Welcome,
    decode_message,
    encode_message,
)
from protocol.orders import Report, TradingMode
from protocol.pipeline import JOURNAL
from protocol.records import EntryType, OrderUpdate, Producer, TradingState, encode_record
from protocol.wal.format import HEADER, JOURNAL_HEAD
from tests.bench.traffic import place_record

PLACE: Final = place_record(1_000_000)
ENTRY_BYTES: Final = JOURNAL_HEAD.size + len(PLACE)
IN_FLIGHT_MAX: Final = 50_000
"""Records of one producer that have not come back, as in actors/journal.py."""
SILENCE_MS: Final = 20_000
"""Without a word from wal for so long the run has failed."""
ENTRY: Final = np.dtype(
    {
        "names": ["length", "time_us", "producer"],
        "formats": ["<u4", "<u8", "u1"],
        "offsets": [5, HEADER.size + 21, HEADER.size + 29],
        "itemsize": ENTRY_BYTES,
    }
)
"""What is looked at of an entry; all entries of a run are as long as this."""


def record_of(producer: Producer) -> tuple[EntryType, bytes]:
    """What this producer may append, of exactly the size of PLACE."""
    if producer is Producer.RISK:
        return EntryType.ORDER_PLACE, PLACE
    for filler in range(len(PLACE)):
        if producer is Producer.ORDER_ROUTING:
            update = OrderUpdate(1_000_000, Report.FILL, "1000000-1", 1_100_000, 100_000_000, reason="x" * filler)
            kind, data = EntryType.ORDER_UPDATE, encode_record(update)
        else:
            state = TradingState(TradingMode.HALTED, "bench", "x" * filler, 7)
            kind, data = EntryType.TRADING_STATE, encode_record(state)
        if len(data) == len(PLACE):
            return kind, data
    raise AssertionError(f"no record of {len(PLACE)} bytes")


class Peer:
    """One end of the journal stream, welcome; what lies before the load is consumed."""

    def __init__(self, endpoint: str, name: str, producer: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 2 * JOURNAL.limit)
        self.socket.setsockopt(zmq.RCVHWM, 2 * JOURNAL.limit)
        self.socket.setsockopt(zmq.IDENTITY, f"{name}#1".encode())
        self.socket.connect(endpoint)
        self.say(Hello(name, 1, b"", 0, JOURNAL.limit, producer))
        welcome, _ = self.hear()
        assert isinstance(welcome, Welcome), welcome
        self.position = welcome.first_position - 1
        self.next_seq = welcome.last_producer_seq + 1
        self._credit = encode_message(Credit(1, welcome.grant))
        while self.position < welcome.tail_position:
            self.take()

    def say(self, message: Message, *payload: bytes) -> None:
        self.socket.send_multipart([encode_message(message), *payload])

    def hear(self) -> tuple[Message, bytes]:
        if not self.socket.poll(SILENCE_MS):
            raise TimeoutError("wal is silent")
        frames = self.socket.recv_multipart()
        return decode_message(frames[0]), frames[-1]

    def take(self) -> bytes:
        """The next DATA's payload, credited; b"" for one that tells the tail only."""
        message, payload = self.hear()
        if isinstance(message, Reset | SayHello) or not isinstance(message, Data):
            raise AssertionError(f"{message} in the middle of a run")
        if not message.count:
            return b""
        assert message.first_position == self.position + 1, "the tail has a gap"
        self.position += message.count
        self.socket.send(self._credit)
        return payload

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()


def entries_of(payload: bytes) -> np.ndarray[Any, Any]:
    entries = np.frombuffer(payload, ENTRY)
    assert (entries["length"] == ENTRY_BYTES - HEADER.size).all(), "records of one size only"
    return entries


@dataclass(slots=True)
class Told:
    """What a process of the load says at its end."""

    name: str
    first_s: float
    """CLOCK_MONOTONIC, which all processes share: the first append, or the first DATA."""
    last_s: float
    records: int
    latencies_us: list[int] = field(default_factory=list)
    behind_us: float = 0.0
    """Of a paced producer: how late the last record was offered."""


def produce(endpoint: str, producer: Producer, records: int, batch: int, ready: Barrier, told: Any) -> None:
    """Appends `records`, `batch` in a message, as fast as they come back."""
    peer = Peer(endpoint, producer.name.lower(), producer)
    kind, data = record_of(producer)
    payload = encode_append([(kind, time.time_ns() // 1000, data)] * batch)
    ready.wait()
    first_s, sent, back = time.monotonic(), 0, 0
    while back < records:
        while sent < records and sent - back + batch <= IN_FLIGHT_MAX:
            peer.say(Append(1, peer.next_seq + sent, batch), payload)
            sent += batch
            if peer.socket.poll(0):
                break
        back += int(np.count_nonzero(entries_of(peer.take())["producer"] == producer))
    told.put(Told(producer.name.lower(), first_s, time.monotonic(), back))
    peer.close()


def read_tail(endpoint: str, name: str, records: int, ready: Barrier, told: Any, *, is_timed: bool = False) -> None:
    """Takes in everything that is appended, and with `is_timed` how long after its append each record came."""
    peer = Peer(endpoint, name)
    ready.wait()
    end = peer.position + records
    latencies: list[np.ndarray[Any, Any]] = []
    first_s = 0.0
    while peer.position < end:
        payload = peer.take()
        first_s = first_s or time.monotonic()
        if payload and is_timed:
            latencies.append(time.time_ns() // 1000 - entries_of(payload)["time_us"].astype(np.int64))
    last_s = time.monotonic()
    values = np.concatenate(latencies).tolist() if latencies else []
    told.put(Told(name, first_s, last_s, records, values))
    peer.close()


def produce_paced(endpoint: str, rate: int, seconds: float, ready: Barrier, told: Any) -> None:
    """As risk, appends `rate` records a second, evenly: each turn sends what is due, as JournalClient does."""
    peer = Peer(endpoint, "risk", Producer.RISK)
    kind, data = record_of(Producer.RISK)
    records, sent = int(rate * seconds), 0
    end = peer.position + records
    ready.wait()
    first_s = time.monotonic()
    while sent < records:
        due = min(records, int((time.monotonic() - first_s) * rate) + 1)
        if due > sent:
            now_us = time.time_ns() // 1000
            payload = encode_append([(kind, now_us, data)] * (due - sent))
            peer.say(Append(1, peer.next_seq + sent, due - sent), payload)
            sent = due
        while peer.socket.poll(0):
            peer.take()
        time.sleep(max(0.0, first_s + sent / rate - time.monotonic()))
    last_s = time.monotonic()
    while peer.position < end:
        peer.take()
    told.put(Told("risk", first_s, last_s, sent, behind_us=1e6 * (last_s - first_s - (records - 1) / rate)))
    peer.close()


__all__ = ["ENTRY_BYTES", "IN_FLIGHT_MAX", "PLACE", "Told", "produce", "produce_paced", "read_tail"]
