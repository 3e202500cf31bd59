"""The journal as an actor sees it: fold the tail, append with numbers, keep what has not come back.

The fold at start is complete when it reaches WELCOME's tail (J1, J2). A record seen on one's own tail is the
acknowledgement of its append; until then it is pending, and decisions use fold and pending together. Appends
are sent again from last + 1 after every WELCOME, so that nothing is lost with a wal that died; wal drops what
it has already, so that nothing is doubled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import zmq

from actors.base import Loop
from actors.clock import monotonic_s, now_us
from actors.page import HealthPage
from actors.stream import SILENCE_S, StreamClient
from protocol.codec import encode_append
from protocol.errors import FoldError, SeawallError, WireError
from protocol.messages import Append, Barrier, Data, Done, Grant, State, Welcome
from protocol.pipeline import JOURNAL
from protocol.queues import APPENDS
from protocol.records import EntryType, Record, decode_record, encode_record, entry_type_of
from protocol.wal.format import Envelope, iterate_payload

PENDING_MAX: Final = APPENDS.limit
"""Own appends that have not come back; above it `is_full`, and decisions are refused or wait."""
APPEND_MAX: Final = 2_000
"""Records in one APPEND."""


class JournalLostError(SeawallError):
    """wal no longer has what this actor has folded (`sync` is not "always"): start again."""


class Pending(NamedTuple):
    producer_seq: int
    entry_type: EntryType
    time_us: int
    data: bytes
    appended_s: float


RecordHandler = Callable[[Envelope, Record], None]


class JournalClient:
    """One actor's connection to the journal stream.

    on_record(envelope, record) is called for every record in order, in the actor's loop; on_caught_up() once, when
    the fold is complete. Until then records change state and have no effects. on_batch() is called after each DATA,
    for what is done once a batch. take_state() answers a BARRIER: the state as of the last record, b"" for nothing to
    keep, None if it cannot be said just now; only those have it who hold state.
    """

    def __init__(
        self,
        loop: Loop,
        socket: zmq.Socket[bytes],
        page: HealthPage,
        *,
        name: str,
        incarnation: int,
        on_record: RecordHandler,
        on_caught_up: Callable[[], None],
        producer: int = 0,
        on_batch: Callable[[], None] | None = None,
        take_state: Callable[[], bytes | None] | None = None,
        on_token: Callable[[Grant | Done], None] | None = None,
    ) -> None:
        self._loop = loop
        self._page = page
        self._incarnation = incarnation
        self._producer = producer
        self._on_record = on_record
        self._on_caught_up = on_caught_up
        self._on_batch = on_batch
        self._take_state = take_state
        self._on_token = on_token
        self._tokens: deque[Grant | Done] = deque()
        """Heard, and behind records that have not come yet."""
        self._own_token: Grant | Done | None = None
        """Said, and not sent yet: it goes behind all that was appended before it."""
        self._barrier: Barrier | None = None
        self._pending: deque[Pending] = deque()
        self._unsent = 0
        self._next_seq = 0
        self._last_crc: int | None = None
        """Of the last record; None before the first, which may be a CHECKPOINT that goes on from a sealed file."""
        self._target = -1
        self._durable = False
        self._boot = b""
        self.caught_up = False
        self.stream = StreamClient(
            loop,
            socket,
            name=name,
            incarnation=incarnation,
            credit=JOURNAL.limit,
            on_data=self._take_data,
            on_welcome=self._take_welcome,
            on_reset=self._take_reset,
            on_barrier=self._take_barrier,
            on_token=self._take_token,
            producer=producer,
        )

    def start(self) -> None:
        self.stream.start()
        self._loop.every(SILENCE_S / 4, self._check_pending)
        self._loop.after_turn(self._flush_token)

    @property
    def lsn(self) -> int:
        return self.stream.position

    @property
    def journal_id(self) -> bytes:
        return self.stream.epoch

    @property
    def disk_low(self) -> bool:
        """The journal's disk is nearly full: nothing new may be begun, what is under way is ended."""
        return self.stream.disk_low

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= PENDING_MAX

    @property
    def last_seq(self) -> int:
        """The number of the newest append."""
        return self._next_seq - 1

    @property
    def oldest_pending_seq(self) -> int:
        """All appends below this number are back."""
        return self._pending[0].producer_seq if self._pending else self._next_seq

    def append(self, record: Record, time_us: int | None = None) -> int:
        """Puts `record` into the journal; it is on disk when it comes back on the tail. Returns its number."""
        if not self.caught_up:
            raise AssertionError("an append before the fold is complete")
        seq = self._next_seq
        self._next_seq += 1
        kind = entry_type_of(record)
        self._pending.append(
            Pending(seq, kind, now_us() if time_us is None else time_us, encode_record(record), monotonic_s())
        )
        self._unsent += 1
        return seq

    def flush(self) -> None:
        """Sends what this turn has appended, many in a message."""
        if not self._unsent or not self.stream.welcomed:
            return
        pending = self._pending
        start = len(pending) - self._unsent
        while start < len(pending):
            batch = [pending[i] for i in range(start, min(start + APPEND_MAX, len(pending)))]
            head = Append(self._incarnation, batch[0].producer_seq, len(batch))
            payload = encode_append([(item.entry_type, item.time_us, item.data) for item in batch])
            start += len(batch)
            token = self._own_token if start == len(pending) else None
            if not self.stream.send(head, payload, token):
                start -= len(batch)
                break
            if token is not None:
                self._own_token = None
        self._unsent = len(pending) - start

    def say_token(self, token: Grant | Done) -> None:
        """Replay: `token` goes to wal behind all that was appended so far, in the same message if it can."""
        assert self._own_token is None, "one at a time: it is the pen"
        self._own_token = token
        self._flush_token()

    def _flush_token(self) -> None:
        self.flush()
        if self._own_token is not None and not self._unsent and self.stream.send(self._own_token):
            self._own_token = None

    def _take_token(self, token: Grant | Done) -> None:
        self._tokens.append(token)
        self._hear_tokens()

    def _hear_tokens(self) -> None:
        """on_token: when every record before it has been."""
        while self._tokens and self._on_token is not None and self._tokens[0].lsn <= self.stream.position:
            self._on_token(self._tokens.popleft())

    def _take_welcome(self, welcome: Welcome) -> None:
        stream = self.stream
        if stream.epoch and stream.epoch != welcome.epoch:
            raise JournalLostError(f"wal serves journal {welcome.epoch.hex()}, this fold is of {stream.epoch.hex()}")
        if welcome.tail_position < stream.position:
            raise JournalLostError(f"wal ends at LSN {welcome.tail_position}, this fold at {stream.position}")
        stream.epoch = welcome.epoch
        self._durable = welcome.durable
        self._boot = welcome.boot
        if self._target < 0:
            self._target = welcome.tail_position
            self._next_seq = welcome.last_producer_seq + 1
            stream.position = welcome.first_position - 1  # a CHECKPOINT stands there, or LSN 1 (J4)
        # Everything after `last_producer_seq` may be lost: send it again. What is up to it comes on the tail.
        self._unsent = sum(1 for item in self._pending if item.producer_seq > welcome.last_producer_seq)
        self._check_caught_up()

    def _take_reset(self, reason: str) -> None:
        raise JournalLostError(reason)

    def _take_data(self, data: Data, payload: bytes) -> int | None:
        stream = self.stream
        lsn = stream.position
        if data.first_position != lsn + 1:
            return None
        on_record, crc, own, pending = self._on_record, self._last_crc, self._producer, self._pending
        for envelope, entry_crc, body in iterate_payload(payload):
            if envelope.previous_crc != crc and crc is not None:
                raise JournalLostError(f"LSN {envelope.lsn} does not follow the fold's LSN {lsn}")
            lsn, crc = envelope.lsn, entry_crc
            stream.position = lsn
            if pending and envelope.producer == own:
                self._acknowledge(envelope.producer_seq)
            try:
                record = decode_record(envelope.entry_type, body)
            except WireError as error:
                # What this version cannot read must end the fold, not be counted and passed over.
                raise FoldError(lsn, str(error)) from error
            on_record(envelope, record)
        assert crc is not None, "DATA with a count has entries"
        self._last_crc = crc
        if self._durable:
            self._page.acknowledge(stream.epoch, lsn, crc)
        if self._on_batch is not None:
            self._on_batch()
        self._check_caught_up()
        self._answer_barrier(lsn)
        self._hear_tokens()
        return lsn

    def _take_barrier(self, barrier: Barrier) -> None:
        self._barrier = barrier
        self._answer_barrier(self.stream.position)

    def _answer_barrier(self, lsn: int) -> None:
        """The state as of exactly the barrier's LSN, or no answer: wal does without, or tries again."""
        barrier = self._barrier
        if barrier is None or lsn < barrier.lsn or not self.caught_up:
            return
        self._barrier = None
        state = self._take_state() if lsn == barrier.lsn and self._take_state is not None else None
        if state is not None:
            self.stream.send(State(barrier.number, self._incarnation, lsn), state)

    def _acknowledge(self, seq: int) -> None:
        pending = self._pending
        while pending and pending[0].producer_seq <= seq:
            pending.popleft()
        self._unsent = min(self._unsent, len(pending))

    def _check_caught_up(self) -> None:
        if not self.caught_up and 0 <= self._target <= self.stream.position:
            self.caught_up = True
            self._on_caught_up()

    def _check_pending(self) -> None:
        """J3: an append that does not come back is said again, by way of HELLO."""
        if self.stream.welcomed and self._pending and monotonic_s() - self._pending[0].appended_s > SILENCE_S:
            oldest = self._pending.popleft()
            self._pending.appendleft(oldest._replace(appended_s=monotonic_s()))
            self.stream.say_hello()
