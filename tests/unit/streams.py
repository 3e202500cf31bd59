"""Both ends of the stream protocol on real sockets, driven by hand: no threads, no processes, a clock that is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import pytest
import zmq

from actors.base import ChildSpec, Loop, Place
from actors.latch import LATCH_NAME, Latch
from actors.page import HealthPage
from actors.stream import Chunk, Consumer, StreamClient, StreamServer
from actors.wal import Wal
from protocol.codec import encode_append
from protocol.messages import Append, Data, Hello, Message, Welcome, decode_message, encode_message
from protocol.pipeline import CONTROL, JOURNAL, Pipe, pipe_endpoint
from protocol.records import EngineRun, EntryType, RunEvent, SignalRefused, decode_record, encode_record
from protocol.settings import Config, parse_config
from protocol.units import product_to_bytes
from protocol.wal.journal import Journal, read_journal
from protocol.wal.reserve import DiskReserve

M = TypeVar("M", bound=Message)

ENGINE: Final = "streams"
EPOCH: Final = b"e" * 16
DEADLINE_S: Final = 20.0
"""For whatever must happen; far above what it takes."""
TRANSPORTS: Final = ("inproc", "ipc")

CONFIG: Final = f"""
[engine]
name = "{ENGINE}"
run_dir = "RUN_DIR"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "sma"
class = "actors.strategies.sma_cross:SmaCross"
symbols = ["EURUSD"]
[gateway]
command = ""
telemetry = ""
broadcast = ""
"""


class Clock:
    """What every module of actors/ takes for the monotonic clock; it goes only when told to."""

    MODULES: Final = ("base", "stream", "journal", "wal", "market_data")

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        for name in self.MODULES:
            patch.setattr(f"actors.{name}.monotonic_s", lambda: self.now_s)
        patch.setattr("actors.base.POLL_MAX_MS", 0)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def until(condition: Callable[[], Any], *turns: Callable[[], Any], what: str = "the condition") -> None:
    """Runs `turns` in turn until `condition` holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        for turn in turns:
            turn()


@contextmanager
def open_wire(transport: str, run_dir: Path) -> Iterator[Wire]:
    """A wire of this transport; nothing of it is left afterwards."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with TemporaryDirectory(prefix="seawall-") as directory:  # pytest's own are too long for a socket's path
        wire = Wire(context, run_dir, None if transport == "inproc" else Path(directory))
        # The supervisor's end, which nobody reads: a connection to an inproc name that is not bound when its context
        # ends is connected by zmq_ctx_term beside the reaper's thread, and now and then that crashes (libzmq #4544).
        wire.router(CONTROL)
        try:
            yield wire
        finally:
            context.destroy(0)


@dataclass
class Wire:
    """Where the two ends meet: a context, and a directory of sockets unless it is inproc."""

    context: zmq.Context[zmq.Socket[bytes]]
    run_dir: Path
    ipc_dir: Path | None

    def endpoint(self, pipe: Pipe) -> str:
        return pipe_endpoint(pipe, self.ipc_dir, ENGINE)

    def router(self, pipe: Pipe = JOURNAL) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.ROUTER)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)
        made.setsockopt(zmq.ROUTER_HANDOVER, 1)
        made.bind(self.endpoint(pipe))
        return made

    def dealer(self, identity: str, pipe: Pipe = JOURNAL) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.DEALER)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.RECONNECT_IVL, 1)
        made.setsockopt(zmq.IDENTITY, identity.encode())
        made.connect(self.endpoint(pipe))
        return made

    def page(self, name: str) -> HealthPage:
        return HealthPage.open(self.run_dir / "pages" / f"{name}.page", writable=True)

    def loop(self) -> Loop:
        return Loop(self.page("test"))

    def place(self, name: str, incarnation: int = 1, config: Config | None = None) -> Place:
        """What an actor needs to live in this thread; the latch page stands, as the supervisor leaves it."""
        Latch.create_or_open(self.run_dir / LATCH_NAME).close()
        spec = ChildSpec(
            name=name,
            incarnation=incarnation,
            boot_id=b"b" * 16,
            parent_pid=0,
            ipc_dir=None if self.ipc_dir is None else str(self.ipc_dir),
            ends_after=(),
            control_endpoint="",
            config=config or self.config(),
        )
        return Place(spec, self.context, is_process=False)

    def config(self, extra: str = "") -> Config:
        return parse_config(CONFIG.replace("RUN_DIR", str(self.run_dir)) + extra)


class Peer:
    """A consumer written by hand: it says what it is told to, whether or not that is wise."""

    def __init__(self, wire: Wire, name: str, incarnation: int = 1, pipe: Pipe = JOURNAL, producer: int = 0) -> None:
        self.name, self.incarnation, self.producer = name, incarnation, producer
        self.socket = wire.dealer(f"{name}#{incarnation}", pipe)
        self.heard: list[Message] = []
        self.payloads: list[bytes] = []
        """Beside each message, b"" where there is none."""

    def say(self, message: Message, *payload: bytes) -> None:
        self.socket.send_multipart([encode_message(message), *payload])

    def hello(self, from_position: int = 0, *, epoch: bytes = b"", credit: int = 64) -> None:
        self.say(Hello(self.name, self.incarnation, epoch, from_position, credit, self.producer))

    def append(self, first_seq: int, payload: bytes, count: int = 1, incarnation: int | None = None) -> None:
        self.say(Append(self.incarnation if incarnation is None else incarnation, first_seq, count), payload)

    def listen(self) -> None:
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            self.heard.append(decode_message(frames[0]))
            self.payloads.append(frames[1] if len(frames) > 1 else b"")

    def of(self, kind: type[M]) -> list[M]:
        """What it has heard of one kind, by now."""
        self.listen()
        return [message for message in self.heard if isinstance(message, kind)]

    def chunks(self) -> list[Data]:
        """DATA that carry something."""
        return [data for data in self.of(Data) if data.count]

    def close(self) -> None:
        self.socket.close(0)


class Lossy:
    """A socket, but for the messages that fate takes, whole; when the losses are used up it is sound."""

    def __init__(self, socket: zmq.Socket[bytes], fate: Iterator[bool]) -> None:
        self._socket, self._fate = socket, fate
        self._is_lost: bool | None = None
        """The message whose first frame was sent and whose last was not."""

    def send(self, frame: bytes, flags: int = 0, *, copy: bool = True) -> None:
        is_lost = next(self._fate, False) if self._is_lost is None else self._is_lost
        self._is_lost = None
        if not is_lost:
            self._socket.send(frame, flags, copy=copy)
        if flags & zmq.SNDMORE:
            self._is_lost = is_lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Numbers:
    """A backlog of one item a position: 1 .. tail."""

    def __init__(self, tail: int, epoch: bytes = EPOCH) -> None:
        self.epoch = epoch
        self.tail_position = tail

    def read(self, consumer: str, position: int) -> Chunk | None:
        position = max(1, position)
        if position > self.tail_position:
            return None
        return Chunk(position, position + 1, 1, b"item %d" % position)


class Producer:
    """A StreamServer over Numbers that welcomes everybody, and says HELLO's position back."""

    def __init__(self, socket: zmq.Socket[bytes], tail: int = 100, epoch: bytes = EPOCH) -> None:
        self.backlog = Numbers(tail, epoch)
        self.hellos: list[Hello] = []
        self.appends: list[tuple[str, Append, bytes]] = []
        self.welcomes = True
        self.server = StreamServer(socket, self.backlog, self._on_hello, self._on_append)

    def turn(self) -> None:
        self.server.receive()
        self.server.pump()

    def _on_hello(self, consumer: Consumer, hello: Hello) -> None:
        self.hellos.append(hello)
        if self.welcomes:
            first, backlog = max(1, hello.from_position), self.backlog
            self.server.welcome(consumer, Welcome(backlog.epoch, first, backlog.tail_position, 0, b"boot", True))

    def _on_append(self, consumer: Consumer, append: Append, payload: bytes) -> None:
        self.appends.append((consumer.name, append, payload))


class Reader:
    """A StreamClient that keeps what it consumes; it takes only what follows on its position."""

    def __init__(self, loop: Loop, socket: zmq.Socket[bytes], *, credit: int = 4, incarnation: int = 1) -> None:
        self.loop = loop
        self.seen: list[int] = []
        self.resets: list[str] = []
        self.holds = False
        self.stream = StreamClient(
            loop, socket, name="reader", incarnation=incarnation, credit=credit,
            on_data=self._on_data, on_welcome=self._on_welcome, on_reset=self.resets.append,
        )  # fmt: skip

    def turn(self) -> None:
        self.loop.turn()

    def _on_welcome(self, welcome: Welcome) -> None:
        self.stream.epoch = welcome.epoch

    def _on_data(self, data: Data, payload: bytes) -> int | None:
        if data.first_position != self.stream.position + 1:
            return None
        assert payload == b"item %d" % data.first_position
        self.seen.append(data.first_position)
        if self.holds:
            self.stream.hold_credit()
        return data.first_position


# Records and runs.


def run_record(boot_id: bytes = b"b" * 16, event: RunEvent = RunEvent.START, by: str = "operator") -> EngineRun:
    return EngineRun(
        b"", event, by, "0.1.0", b"h" * 16, boot_id, 0, product_to_bytes(10**16), "USD", 100,
        (("EURUSD", 1_000_000),), ("sma",),
    )  # fmt: skip


def note(number: int, text: str = "") -> SignalRefused:
    """A record that changes nothing, told from others by its number."""
    return SignalRefused(16, number, 0, "stale", text)


def notes_payload(numbers: Sequence[int]) -> bytes:
    """An APPEND's payload with one note for each number."""
    return encode_append([(EntryType.SIGNAL_REFUSED, 1, encode_record(note(number))) for number in numbers])


class WalUnderTest:
    """The wal actor in this thread, on a real file; `turn` is one turn of its loop."""

    def __init__(
        self, wire: Wire, incarnation: int = 1, extra: str = "", boot_id: bytes = b"b" * 16, reserve_bytes: int = 0
    ) -> None:
        self.actor = Wal(wire.place("wal", incarnation, wire.config(extra)))
        self.actor.reserve = DiskReserve(wire.run_dir / "wal", reserve_bytes)
        self.boot_id = boot_id

    def begin(self) -> WalUnderTest:
        self.actor.begin(run_record(self.boot_id))
        return self

    def turn(self) -> None:
        self.actor.loop.turn()

    @property
    def journal(self) -> Journal:
        return self.actor.journal

    def die(self) -> None:
        """As SIGKILL: nothing is written, locks and sockets go."""
        self.journal._release()
        self.actor.close_sockets()

    def notes(self) -> list[int]:
        """The numbers of all notes in the file, in its order."""
        records = [decode_record(envelope.entry_type, data) for envelope, _, data in read_journal(self.journal.path)]
        return [record.signal for record in records if isinstance(record, SignalRefused)]


def csv_market(directory: Path, rows: int, bars: str = "[]") -> str:
    """A [market_data] section over a file with one tick a second; all prices differ."""
    lines = [f"2024-01-01T00:{i // 60:02}:{i % 60:02},{1.1 + i / 1e5:.5f},{1.2 + i / 1e5:.5f}" for i in range(rows)]
    path = directory / f"rows-{rows}.csv"
    path.write_text("\n".join(["timestamp,bid,ask", *lines]) + "\n", encoding="utf-8")
    return f'[market_data]\nsource = "csv"\npath = "{path}"\nsymbol = "EURUSD"\nbars = {bars}\n'
