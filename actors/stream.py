"""The one stream protocol, both sides: ROUTER at the producer, DEALER at the consumer.

    consumer  HELLO(name, incarnation, epoch, from_position, credit)   repeated until WELCOME (J3)
    producer  WELCOME(epoch, tail, ...)
    producer  DATA(epoch, first_position, count) + payload             while the consumer has credit
    consumer  CREDIT(n)                                                when it has done with n DATA

A WELCOME begins a grant of its own: CREDITs for what was sent before it count for nothing, so that however often
HELLO is said no more is under way than was granted.
A consumer keeps its own position; DATA at or below it is ignored, so that a producer may repeat itself and
nothing is ever seen twice. What is sent comes from a Backlog: the journal's file, or a feed's window.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import zmq

from actors.base import Loop
from actors.clock import monotonic_s
from actors.frames import RECEIVE_MAX, receive_all, send_frames
from actors.peers import speaker_of
from protocol.errors import WireError
from protocol.messages import (
    Append,
    Barrier,
    Credit,
    Data,
    Done,
    Grant,
    Hello,
    Message,
    QueueDepth,
    Reset,
    SayHello,
    State,
    Welcome,
    decode_message,
    encode_message,
)

HELLO_REPEAT_S: Final = 0.1
"""Between two HELLOs without a WELCOME."""
SILENCE_S: Final = 1.0
"""After this long without a word, or with an append unanswered, HELLO again (J3)."""
CREDIT_SHARE: Final = 8
"""Credit is given back by this part of all that was granted: one CREDIT for each DATA costs as much as the DATA."""
STARVED_MAX: Final = 4
"""Tails in a row that tell of more without DATA: one second, like any silence (J3)."""
CHUNKS_PER_TURN: Final = 16
"""To one consumer; its CREDITs wake the loop for more, so that who is far behind holds up nobody else."""
NAMES_MAX: Final = 1024
"""Whose newest life is remembered; above it of those alone that are connected."""
TAIL_EVERY_S: Final = 0.25
"""The producer tells its tail to those that it has sent nothing (J3)."""


class Chunk(NamedTuple):
    """What one DATA carries."""

    first_position: int
    next_position: int
    items: int
    payload: bytes
    gap: int = 0
    message: zmq.Frame | None = None
    """The payload once more, as a message that goes to many consumers without being copied for each."""


class Backlog(Protocol):
    """Where a producer's DATA come from."""

    @property
    def epoch(self) -> bytes: ...

    @property
    def tail_position(self) -> int: ...

    def read(self, consumer: str, position: int) -> Chunk | None:
        """The chunk that begins at `position` or later, or None while there is none."""
        ...


@dataclass(slots=True)
class Consumer:
    identity: bytes
    name: str
    incarnation: int
    producer: int
    cursor: int
    credit: int
    credit_max: int
    sent: deque[int] = field(default_factory=deque)
    """The next_position of each DATA that is not credited yet."""
    acknowledged: int = 0
    """The position below which everything is credited."""
    told_s: float = 0.0
    grant: int = 0


class StreamServer:
    """The producer's side. The owner answers HELLOs by `welcome`, feeds `append`, and calls `pump`.

    may_speak(name, incarnation, producer): whose HELLOs are taken (peers.py).
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        backlog: Backlog,
        on_hello: Callable[[Consumer, Hello], None],
        on_append: Callable[[Consumer, Append, bytes], None] | None = None,
        on_state: Callable[[Consumer, State, bytes], None] | None = None,
        may_speak: Callable[[str, int, int], bool] = lambda name, incarnation, producer: True,
        on_token: Callable[[Consumer, Grant | Done], None] | None = None,
    ) -> None:
        self._socket = socket
        self._backlog = backlog
        self._on_hello = on_hello
        self._on_append = on_append
        self._on_state = on_state
        self._on_token = on_token
        self._may_speak = may_speak
        self._newest: dict[str, int] = {}
        # Random, so that a CREDIT for what a former life of the producer sent is known for one.
        self._grants = itertools.count(secrets.randbits(48))
        self.consumers: dict[bytes, Consumer] = {}
        self.disk_low = False
        self.counters = {"data_sent": 0, "bad_messages": 0, "stale_messages": 0, "peers_lost": 0}

    def receive(self, limit: int = RECEIVE_MAX) -> bool:
        """Takes in what is queued, up to `limit` messages, and says whether that was all; HELLOs and appends go to the
        owner."""
        messages = receive_all(self._socket, limit)
        for frames in messages:
            try:
                self._take(frames)
            except WireError:
                self.counters["bad_messages"] += 1
        return len(messages) < limit

    def _take(self, frames: list[bytes]) -> None:
        if len(frames) < 2:
            raise WireError("a message without a body")
        identity, message = frames[0], decode_message(frames[1])
        if isinstance(message, Hello):
            self._take_hello(identity, message)
            return
        consumer = self.consumers.get(identity)
        if consumer is None:
            # A life that this one has not met, or one that a newer has replaced (J2).
            self.counters["stale_messages"] += 1
            if not self._is_replaced(identity):
                self._send(identity, SayHello())
        elif isinstance(message, Credit):
            self._take_credit(consumer, message)
        elif isinstance(message, Append) and self._on_append is not None and len(frames) == 3:
            self._on_append(consumer, message, frames[2])
        elif isinstance(message, Append) and self._on_token is not None and len(frames) == 4:
            self._on_append_and_token(consumer, message, frames)
        elif isinstance(message, State) and self._on_state is not None and len(frames) == 3:
            self._on_state(consumer, message, frames[2])
        elif isinstance(message, Grant | Done) and self._on_token is not None:
            self._on_token(consumer, message)
        else:
            raise WireError(f"{type(message).__name__} does not belong here")

    def _on_append_and_token(self, consumer: Consumer, append: Append, frames: list[bytes]) -> None:
        token = decode_message(frames[3])
        if not isinstance(token, Grant | Done) or self._on_append is None or self._on_token is None:
            raise WireError(f"{type(token).__name__} does not belong behind an APPEND")
        self._on_append(consumer, append, frames[2])
        self._on_token(consumer, token)

    def _take_hello(self, identity: bytes, hello: Hello) -> None:
        if identity != f"{hello.name}#{hello.incarnation}".encode():
            raise WireError("a HELLO under another's identity")
        if not self._may_speak(hello.name, hello.incarnation, hello.producer):
            raise WireError("a HELLO of no child's life")
        newest = self._newest.get(hello.name, 0)
        if hello.incarnation < newest:
            self.counters["stale_messages"] += 1
            return
        self._newest[hello.name] = hello.incarnation
        if len(self._newest) > NAMES_MAX:
            self._newest = {consumer.name: consumer.incarnation for consumer in self.consumers.values()}
            self._newest[hello.name] = hello.incarnation
        for other in [c for c in self.consumers.values() if c.name == hello.name and c.identity != identity]:
            del self.consumers[other.identity]
        consumer = Consumer(
            identity, hello.name, hello.incarnation, hello.producer, hello.from_position, 0, max(1, hello.credit)
        )
        self.consumers[identity] = consumer
        self._on_hello(consumer, hello)

    def _take_credit(self, consumer: Consumer, credit: Credit) -> None:
        if credit.grant != consumer.grant:
            return
        count = min(max(0, credit.count), len(consumer.sent))
        consumer.credit += count
        for _ in range(count):
            consumer.acknowledged = consumer.sent.popleft()

    def _is_replaced(self, identity: bytes) -> bool:
        name, incarnation = speaker_of(identity)
        return 0 <= incarnation < self._newest.get(name, 0)

    def welcome(self, consumer: Consumer, welcome: Welcome) -> None:
        """From here on the consumer is fed from `welcome.first_position`."""
        if self.consumers.get(consumer.identity) is not consumer:
            return
        consumer.grant = next(self._grants)
        consumer.cursor = welcome.first_position
        consumer.acknowledged = welcome.first_position
        consumer.credit = consumer.credit_max
        consumer.sent.clear()
        self._send(consumer.identity, msgspec.structs.replace(welcome, grant=consumer.grant))

    def depths(self, name: str) -> tuple[QueueDepth, ...]:
        """What each consumer was sent and has not credited, in DATA."""
        return tuple(
            QueueDepth(name, consumer.name, len(consumer.sent), consumer.credit_max)
            for consumer in self.consumers.values()
        )

    def reset(self, consumer: Consumer, reason: str) -> None:
        self._send(consumer.identity, Reset(reason))
        self.consumers.pop(consumer.identity, None)

    def set_disk_low(self, disk_low: bool) -> None:
        """Every DATA says so from here on, and everybody is told with the next pump."""
        self.disk_low = disk_low
        for consumer in self.consumers.values():
            consumer.told_s = 0.0

    def tell(self, consumer: Consumer, message: Message) -> bool:
        """False if it cannot be told now, or has gone."""
        return self._send(consumer.identity, message)

    def pump(self) -> None:
        """Sends to every consumer what it has credit for, and the tail to those that heard nothing for a while."""
        now = monotonic_s()
        for consumer in list(self.consumers.values()):
            self.feed(consumer, now)
            # Without credit too: a slow consumer must not take the silence for a loss (J3).
            if now - consumer.told_s >= TAIL_EVERY_S:
                consumer.told_s = now
                tail = Data(
                    self._backlog.epoch, consumer.cursor, 0, self._backlog.tail_position, disk_low=self.disk_low
                )
                self._send(consumer.identity, tail)

    def feed(self, consumer: Consumer, now_s: float, behind: Message | None = None) -> bool:
        """Sends what it has credit for, then `behind`: with the last DATA if that is one, so that who hears of both
        wakes once. False: `behind` could not be told.
        """
        for _ in range(min(consumer.credit, CHUNKS_PER_TURN)):
            chunk = self._backlog.read(consumer.name, consumer.cursor)
            if chunk is None:
                break
            with_it = behind if chunk.next_position > self._backlog.tail_position else None
            if not self._send_chunk(consumer, chunk, with_it):
                break
            consumer.told_s = now_s
            if with_it is not None:
                return True
        return behind is None or self.tell(consumer, behind)

    def _send_chunk(self, consumer: Consumer, chunk: Chunk, behind: Message | None = None) -> bool:
        head = Data(
            self._backlog.epoch, chunk.first_position, chunk.items, self._backlog.tail_position, chunk.gap,
            self.disk_low,
        )  # fmt: skip
        if not self._send(consumer.identity, head, chunk.message or chunk.payload, behind):
            return False
        consumer.cursor = chunk.next_position
        consumer.credit -= 1
        consumer.sent.append(chunk.next_position)
        self.counters["data_sent"] += 1
        return True

    def _send(
        self, identity: bytes, message: Message, payload: bytes | zmq.Frame | None = None,
        behind: Message | None = None,
    ) -> bool:  # fmt: skip
        frames: list[bytes | zmq.Frame] = [identity, encode_message(message)]
        if payload is not None:
            frames.append(payload)
        if behind is not None:
            frames.append(encode_message(behind))
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            # Gone; it says HELLO again when it is back.
            self.consumers.pop(identity, None)
            self.counters["peers_lost"] += 1
            return False
        return True


class StreamClient:
    """The consumer's side: says HELLO until it is welcome, keeps the position, gives credit.

    on_data(first_position, count, payload, gap) returns the position of the last item that it has consumed,
    or None if the chunk does not belong (a gap: the client says HELLO again). It may call `hold_credit`
    before it returns; `release_credit` then says when the next DATA may come.
    """

    def __init__(
        self,
        loop: Loop,
        socket: zmq.Socket[bytes],
        *,
        name: str,
        incarnation: int,
        credit: int,
        on_data: Callable[[Data, bytes], int | None],
        on_welcome: Callable[[Welcome], None],
        on_reset: Callable[[str], None],
        on_barrier: Callable[[Barrier], None] | None = None,
        on_token: Callable[[Grant | Done], None] | None = None,
        producer: int = 0,
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._name = name
        self._incarnation = incarnation
        self._credit = credit
        self._producer = producer
        self._on_data = on_data
        self._on_welcome = on_welcome
        self._on_reset = on_reset
        self._on_barrier = on_barrier
        self._on_token = on_token
        self.epoch = b""
        self.position = 0
        """The last item consumed."""
        self.start_position = 0
        """What is asked for while nothing is consumed."""
        self.tail_position = 0
        self.welcomed = False
        self.disk_low = False
        """The producer's last word on its disk; wal's only."""
        self._heard_s = 0.0
        self._hello_s = float("-inf")
        self._starved = 0
        """Tails in a row that told of more, while no DATA came and none was held."""
        self._grant = 0
        self._held: deque[int] = deque()
        """The grants of the DATA that are consumed and not done with."""
        self._credit_owed = 0
        """DATA of the present grant that are done with, and not credited yet."""
        self.counters = {"hellos": 0, "gap_items": 0, "bad_messages": 0}

    def start(self) -> None:
        self._loop.on_readable(self._socket, self.receive)
        self._loop.every(HELLO_REPEAT_S, self.check)
        self.say_hello()

    def say_hello(self) -> None:
        """Asks to be fed from the position after the last one consumed."""
        self.welcomed = False
        self._hello_s = self._heard_s = monotonic_s()
        self._starved = 0
        self.counters["hellos"] += 1
        from_position = self.position + 1 if self.position else self.start_position
        self.send(Hello(self._name, self._incarnation, self.epoch, from_position, self._credit, self._producer))

    def check(self) -> None:
        """J3: repeat the HELLO, or say it anew after silence."""
        now = monotonic_s()
        if not self.welcomed:
            if now - self._hello_s >= HELLO_REPEAT_S:
                self.say_hello()
        elif now - self._heard_s >= SILENCE_S and not int(self._socket.get(zmq.EVENTS)) & int(zmq.POLLIN):
            self.say_hello()  # else it is this side that has not listened

    def receive(self) -> None:
        for frames in receive_all(self._socket):
            try:
                self._take(frames)
            except WireError:
                self.counters["bad_messages"] += 1

    def _take(self, frames: list[bytes]) -> None:
        message = decode_message(frames[0])
        self._heard_s = monotonic_s()
        if isinstance(message, Data):
            if message.epoch == self.epoch and self.epoch:
                self._take_data(message, frames)
            if len(frames) == 3 and self._on_token is not None:
                self._take_token(decode_message(frames[2]))
        elif isinstance(message, Welcome):
            self.welcomed = True
            self._grant, self._credit_owed = message.grant, 0
            self.tail_position = message.tail_position
            self._on_welcome(message)
        elif isinstance(message, SayHello):
            if self.welcomed:
                self.say_hello()
        elif isinstance(message, Reset):
            self._on_reset(message.reason)
        elif isinstance(message, Barrier) and self._on_barrier is not None:
            self._on_barrier(message)
        else:
            self._take_token(message)

    def _take_token(self, message: Message) -> None:
        if not isinstance(message, Grant | Done) or self._on_token is None:
            raise WireError(f"{type(message).__name__} does not belong here")
        self._on_token(message)

    def _take_data(self, data: Data, frames: list[bytes]) -> None:
        self.tail_position = max(self.tail_position, data.tail_position)
        self.disk_low = data.disk_low
        if data.count == 0:
            # It came behind all that was sent: what lies before first_position and is not here was lost. And where
            # there is more that does not come though nothing is held, the credit was lost, here or on its way.
            is_starved = data.tail_position >= data.first_position and not self._held
            self._starved = self._starved + 1 if is_starved else 0
            if self.welcomed and (data.first_position > self.position + 1 or self._starved >= STARVED_MAX):
                self.say_hello()
            return
        self._starved = 0
        if len(frames) != 2 and (self._on_token is None or len(frames) != 3):
            raise WireError("DATA without its payload")
        if data.first_position <= self.position:
            self._give_credit(self._grant)
            return
        held = len(self._held)
        consumed = self._on_data(data, frames[1])
        if consumed is None:
            if self.welcomed:  # else it is said already: what is under way behind the gap asks for nothing more
                self.say_hello()
            return
        self.position = consumed
        self.counters["gap_items"] += data.gap
        if len(self._held) == held:
            self._give_credit(self._grant)

    def hold_credit(self) -> None:
        """The DATA now being consumed is not credited until `release_credit`."""
        self._held.append(self._grant)

    def release_credit(self, count: int) -> None:
        """The oldest `count` of the held DATA are done with."""
        for _ in range(min(count, len(self._held))):
            self._give_credit(self._held.popleft())

    def _give_credit(self, grant: int) -> None:
        if grant != self._grant:
            return
        self._credit_owed += 1
        if CREDIT_SHARE * self._credit_owed >= self._credit:
            self.send(Credit(self._credit_owed, grant))
            self._credit_owed = 0

    def send(self, message: Message, payload: bytes | None = None, behind: Message | None = None) -> bool:
        """False if the pipe is full; the protocol says it again later."""
        frames: list[Any] = [encode_message(message)]
        if payload is not None:
            frames.append(payload)
        if behind is not None:
            frames.append(encode_message(behind))
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            return False
        return True
