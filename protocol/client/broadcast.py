"""The binary broadcast as typed records, or in batches for those who read fast.

    with BroadcastSubscriber("tcp://127.0.0.1:5555", [Topic.TICK]) as ticks:
        for tick in ticks:
            print(tick.symbol_id, tick.bid_micros / 1e6)

Owns one SUB socket, which connects again by itself. It counts what came by topic (`counts`): the heartbeat of the
telemetry says how many were sent (`broadcast_counts`), so whoever hears both knows what he missed. Names of symbol ids:
ControlClient.symbols().
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zmq

from protocol.client.subscribing import Subscriber, poll_ms
from protocol.client.telemetry import UnknownEvent
from protocol.keys import ClientKeys
from protocol.topics import ACCOUNT, BAR, EQUITY, MARGIN, ORDER, POSITION, TICK, TICK_DTYPE, TRADE, Topic

if TYPE_CHECKING:
    import numpy as np

BATCH_MAX: Final = 10_000
"""Records of one batch."""


class TickRecord(NamedTuple):
    symbol_id: int
    time_us: int
    bid_micros: int
    ask_micros: int


class BarRecord(NamedTuple):
    symbol_id: int
    timeframe_minutes: int
    time_us: int
    open_micros: int
    high_micros: int
    low_micros: int
    close_micros: int
    volume_micros: int


class TradeRecord(NamedTuple):
    ticket: int
    """The order's id."""
    symbol_id: int
    time_us: int
    volume_micros: int
    price_micros: int
    profit_micros: int
    """What this fill realized, before commission."""


class OrderRecord(NamedTuple):
    ticket: int
    symbol_id: int
    time_us: int
    type_and_status: int
    """Low four bits: 2 x order type + side; high four bits: the status (protocol/README.md, section 3)."""
    volume_micros: int
    price_micros: int


class EquityRecord(NamedTuple):
    time_us: int
    balance_micros: int
    equity_micros: int
    margin_micros: int
    margin_free_micros: int


class MarginRecord(NamedTuple):
    time_us: int
    margin_micros: int
    margin_free_micros: int
    margin_level_micros: int
    """Percent."""


class PositionRecord(NamedTuple):
    symbol_id: int
    time_us: int
    net_volume_micros: int
    average_price_micros: int
    realized_micros: int


class AccountRecord(NamedTuple):
    time_us: int
    balance_micros: int
    equity_micros: int
    profit_micros: int
    margin_level_micros: int
    """Percent."""


BroadcastRecord = (
    TickRecord | BarRecord | TradeRecord | OrderRecord | EquityRecord | MarginRecord | PositionRecord | AccountRecord
)
_LAYOUTS: Final[dict[int, tuple[Any, Any]]] = {
    Topic.TICK: (TICK, TickRecord), Topic.BAR: (BAR, BarRecord), Topic.TRADE: (TRADE, TradeRecord),
    Topic.ORDER: (ORDER, OrderRecord), Topic.EQUITY: (EQUITY, EquityRecord), Topic.MARGIN: (MARGIN, MarginRecord),
    Topic.POSITION: (POSITION, PositionRecord), Topic.ACCOUNT: (ACCOUNT, AccountRecord),
}  # fmt: skip


def decode_broadcast(frame: bytes) -> BroadcastRecord | UnknownEvent:
    """The record in one message; UnknownEvent for one of a newer engine, or garbage."""
    layout, record = _LAYOUTS.get(frame[0] if frame else -1, (None, None))
    if layout is None or len(frame) != layout.size:
        return UnknownEvent(frame=frame)
    return record(*layout.unpack(frame)[1:])


class BroadcastSubscriber(Subscriber):
    """An iterator over records, without end. A context manager; `close` ends it.

    topics: None: all. keys: as ControlClient's.
    """

    def __init__(self, endpoint: str, topics: Sequence[Topic] | None = None, *, keys: ClientKeys | None = None) -> None:
        """Raises: GatewayError if the endpoint is none."""
        self.counts: Counter[Topic] = Counter()
        """Records received so far."""
        super().__init__(endpoint, prefixes_of(topics), keys)

    def receive(self, timeout_s: float | None = None) -> BroadcastRecord | UnknownEvent | None:
        """The next record, or None if there is none within `timeout_s` (None: waits for ever)."""
        if not self.socket.poll(poll_ms(timeout_s)):
            return None
        frame = self.socket.recv()
        record = decode_broadcast(frame)
        if not isinstance(record, UnknownEvent):
            self.counts[Topic(frame[0])] += 1
        return record

    def receive_ticks(self, timeout_s: float | None = None, ticks_max: int = BATCH_MAX) -> np.ndarray | None:
        """All ticks that are here, as one structured array (TICK_DTYPE: symbol_id, timestamp, bid, ask; micros and
        microseconds), or None if there is none within `timeout_s`. Other records that come in between are dropped:
        subscribe to Topic.TICK alone. Needs NumPy.
        """
        import numpy as np

        if not self.socket.poll(poll_ms(timeout_s)):
            return None
        receive, frames, size = self.socket.recv, [], TICK.size
        try:
            while len(frames) < ticks_max:
                frame = receive(zmq.NOBLOCK)
                if len(frame) == size and frame[0] == Topic.TICK:
                    frames.append(frame)
        except zmq.Again:
            pass
        self.counts[Topic.TICK] += len(frames)
        return np.frombuffer(b"".join(frames), dtype=TICK_DTYPE)

    def __iter__(self) -> Iterator[BroadcastRecord | UnknownEvent]:
        while (record := self.receive()) is not None:
            yield record


def prefixes_of(topics: Sequence[Topic] | None) -> list[bytes]:
    return [b""] if topics is None else [bytes([topic]) for topic in topics]
