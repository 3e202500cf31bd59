"""What those in the replay ring add to a CHECKPOINT (P11): where the run goes on, byte for byte, after a crash.

Owns their bytes, as state.py does: MessagePack arrays, fields in order, and the same state gives the same bytes. They
are of the version that wrote them: a replay is resumed by the same version, or begun again.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from protocol.errors import WireError
from protocol.records import UNREADABLE, Record, decode_record, encode_record
from protocol.settings import Config
from protocol.state import AskedState, encode_state, encode_with_saved
from protocol.wal.format import ENVELOPE, LENGTH_MAX, Envelope

RING: Final = "ring"
"""The name under which wal says the tick, as an integer."""
ROUTER: Final = "order_routing"
RISK_RING: Final = "risk.ring"
"""What risk adds to the fold that is everyone's start."""

T = TypeVar("T")


class HeldRecord(msgspec.Struct, array_like=True, frozen=True):
    """A record that was heard and whose time has not come."""

    envelope: bytes
    data: bytes

    @classmethod
    def of(cls, envelope: Envelope, record: Record) -> HeldRecord:
        return cls(ENVELOPE.pack(*msgspec.structs.astuple(envelope)), encode_record(record))

    def read(self) -> tuple[Envelope, Record]:
        envelope = Envelope(*ENVELOPE.unpack(self.envelope))
        return envelope, decode_record(envelope.entry_type, self.data)


class ThrottleState(msgspec.Struct, array_like=True, frozen=True):
    buckets: tuple[tuple[int, int] | None, ...]
    """(level, as of when) of orders and of messages; None: there is no such limit."""
    placed: tuple[tuple[int, tuple[int, ...]], ...]
    """(when, what) of the orders within the window."""


class RiskRing(msgspec.Struct, array_like=True, frozen=True):
    fold: bytes
    """What risk knows, as a FoldState, where it is behind the journal (latency); else empty."""
    fold_lsn: int
    unfolded: tuple[HeldRecord, ...]
    news: tuple[tuple[int, int], ...]
    violated: tuple[int, ...]
    """Symbols whose violation was said."""
    quotes: tuple[tuple[int, int, int, int], ...] = ()
    """(symbol id, bid, ask, timestamp), where limits need them."""
    throttles: tuple[tuple[int, ThrottleState], ...] = ()
    """By strategy id; 0 is the engine's."""


class RouterRing(msgspec.Struct, array_like=True, frozen=True):
    venue_us: int
    quotes: tuple[tuple[int, int, int, int], ...]
    """(symbol id, timestamp, bid, ask), by symbol."""
    under_way: tuple[tuple[int, int, int], ...]
    """(order id, what: 0 the order, 1 its cancel, 2 its change, when it was sent), in the order of sending."""


class StrategyRing(msgspec.Struct, array_like=True, frozen=True):
    saved: Any
    """What `save()` gave: JSON-like values."""
    view: bytes
    """Its fold, as a FoldState with the orders that have ended."""
    time_us: int
    last_number: int
    rng: tuple[int, tuple[int, ...], float | None]
    timers_us: tuple[int, ...]
    """When each timer is due, in the order in which on_start made them."""
    asked: tuple[AskedState, ...]
    waits: tuple[tuple[int, int, int, int], ...]
    """(signal, when it acts, position of the act, when its answer is due)."""
    own_orders: tuple[int, ...]
    cancels: tuple[tuple[int, int, int, bool], ...]
    """(order, time, LSN, whether it was asked for here) of their first cancels."""
    heard: tuple[tuple[int, int, HeldRecord], ...]
    """(due, signal, record)."""
    crossing: tuple[HeldRecord, ...]
    slice: bytes
    """TICK records of the partial slice (P9)."""
    source: bytes = b""
    """A hash of the file in which the strategy's class stands."""
    is_others_fill: bool = False
    """The newest report, but of what reduces nothing any more, was another's fill: such an end is then his doing."""


class RiskAnswer(msgspec.Struct, array_like=True, frozen=True):
    """risk's answer to a BARRIER: two states, which wal keeps under two names."""

    fold: bytes
    ring: bytes


def state_bytes_max(config: Config) -> int:
    """Of one strategy's state: they share half of what an entry may hold, for whose state counts must not depend on
    the others'."""
    return LENGTH_MAX // 2 // max(1, len(config.traders))


def encode_ring(state: RiskRing | RouterRing | StrategyRing | RiskAnswer) -> bytes:
    """Raises: TypeError, for the strategy's author, if what `save` gave cannot be written."""
    return encode_with_saved(state, state.saved) if isinstance(state, StrategyRing) else encode_state(state)


def decode_ring(data: bytes, kind: type[T]) -> T:
    """Raises: WireError."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except UNREADABLE as error:
        raise WireError(f"the {kind.__name__} state in a CHECKPOINT: {error}") from error
