"""The messages inside the pipes: one frozen struct each, as tagged MessagePack arrays, fields in wire order.

A message is one frame; DATA and APPEND are followed by one payload frame. Nothing of this leaves the
engine: outsiders see topics.py, telemetry.py and commands.py. Fields are appended, never reordered.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from protocol.errors import WireError
from protocol.orders import OrderType, Side, TimeInForce
from protocol.records import UNREADABLE, EngineRun

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Limit of one frame in a pipe; a larger one is the peer's mistake."""


HEAD: Final = -1
"""Hello.from_position: only what comes from now on (live feeds)."""


class Message(msgspec.Struct, array_like=True, frozen=True):
    """Base of all messages."""


# The stream protocol (market and journal; ROUTER at the producer, DEALER at the consumer).


class Hello(Message, frozen=True, tag=1):
    """A consumer asks to be fed from `from_position`; repeated until WELCOME (J3)."""

    name: str
    incarnation: int
    epoch: bytes
    """The epoch that from_position belongs to; empty if none is known."""
    from_position: int
    """The first position wanted; 0: the last CHECKPOINT (J4), or the first that a feed still has; HEAD: what is new."""
    credit: int
    """How many DATA the consumer takes before it says CREDIT."""
    producer: int = 0
    """The consumer's producer number in the journal; 0 if it appends nothing."""


class Welcome(Message, frozen=True, tag=2):
    """The producer's answer: last_producer_seq and tail are one snapshot (J1)."""

    epoch: bytes
    first_position: int
    """Where DATA will begin."""
    tail_position: int
    last_producer_seq: int
    boot: bytes
    """The producer's own life: a new one means that appends must be sent again."""
    durable: bool
    """journal: `sync = "always"` (R3) · market: the feed is lossless."""
    snapshot: bytes = b""
    """market: the last TICK of every symbol before first_position, concatenated."""
    grant: int = 0
    """The number of the credit that begins with this WELCOME."""


class Data(Message, frozen=True, tag=3):
    """`count` items from `first_position`, in the payload frame; count 0 tells the tail, and where DATA go on."""

    epoch: bytes
    first_position: int
    count: int
    tail_position: int
    gap: int = 0
    """Items dropped for this consumer just before (live feeds only)."""
    disk_low: bool = False
    """journal: the disk is nearly full, new orders are refused (protocol/wal/reserve.py)."""


class Credit(Message, frozen=True, tag=4):
    """`count` DATA are done with; those sent before the WELCOME that began `grant` do not count."""

    count: int
    grant: int = 0


class Append(Message, frozen=True, tag=5):
    """Records for the journal, numbered from first_producer_seq, in the payload frame (codec.py)."""

    incarnation: int
    first_producer_seq: int
    count: int


class Reset(Message, frozen=True, tag=6):
    """The position cannot be served: drop the state and start again."""

    reason: str


class SayHello(Message, frozen=True, tag=7):
    """The producer does not know this peer in its present life: say HELLO."""


class Barrier(Message, frozen=True, tag=8):
    """wal holds appends back for a moment: who holds state says it, as of `lsn`."""

    number: int
    """Of this attempt; answers to another are ignored (F4)."""
    lsn: int


class State(Message, frozen=True, tag=9):
    """The answer to BARRIER; the state is the payload frame, empty if there is nothing to keep."""

    barrier: int
    incarnation: int
    lsn: int


# The replay ring (seams P): tokens in the journal and signals pipes.


class Grant(Message, frozen=True, tag=10):
    """order_routing -> wal -> risk and all strategies: the venue has done everything up to `venue`; go to `horizon`."""

    venue: int
    horizon: int
    lsn: int = 0
    """wal: of the last record before it; whoever hears it has folded up to here."""


class Done(Message, frozen=True, tag=11):
    """risk -> wal -> order_routing: what was to be appended up to `position` is; the venue may go there."""

    position: int
    lsn: int = 0


# Signals (strategy -> risk).


class SignalHello(Message, frozen=True, tag=16):
    name: str
    incarnation: int


class SignalWelcome(Message, frozen=True, tag=17):
    """risk's present life. What was sent to an earlier one and is not answered up to `lsn` is lost."""

    incarnation: int
    lsn: int


OTHER_INCARNATION: Final = "other_incarnation"
"""risk's reason to refuse what was sent to an earlier life of it."""


class Intent(Message, frozen=True, tag=18):
    """A signal: what a strategy wants. `number` is unique over all its lives."""

    strategy_id: int
    number: int
    risk_incarnation: int
    sent_us: int
    market_epoch: bytes
    market_position: int
    kind: int
    """SIGNAL_ORDER, SIGNAL_CANCEL, SIGNAL_CLOSE or SIGNAL_MODIFY, of which what is 0 stays as it is."""
    symbol_id: int
    side: Side = Side.BUY
    order_type: OrderType = OrderType.MARKET
    quantity: int = 0
    limit_price: int = 0
    stop_price: int = 0
    stop_loss: int = 0
    take_profit: int = 0
    order_id: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_us: int = 0
    trail: int = 0
    oco: int = 0
    seen_lsn: int = 0
    """live: what its sender's fold knew; risk decides when it knows that too, or it would refuse a change because of an
    answer that it has yet to read."""


class Reached(Message, frozen=True, tag=19):
    """Replay: the answer to a GRANT; all hooks up to `position` have returned, their signals stand before this."""

    position: int


SIGNAL_ORDER: Final = 0
SIGNAL_CANCEL: Final = 1
SIGNAL_CLOSE: Final = 2
SIGNAL_MODIFY: Final = 3


# Control (supervisor <-> every child).


class Loaded(Message, frozen=True, tag=32):
    """The child has imported and checked its part of the config; it waits for GO."""

    name: str
    incarnation: int
    pid: int


class Failed(Message, frozen=True, tag=33):
    """The child cannot start, or cannot go on; `exit_code` says why (ExitCode)."""

    exit_code: int
    message: str
    is_lasting: bool = False
    """Every other life would fail in the same way."""


class Go(Message, frozen=True, tag=34):
    """Everything before you in the boot order is READY: begin. `run` is the run's record; wal completes it."""

    run: EngineRun | None = None
    resume_tick: int = 0
    """A replay goes on behind this tick, where wal has found its checkpoint; 0: from the start."""


class Ready(Message, frozen=True, tag=35):
    lsn: int
    run: EngineRun | None = None
    """wal: the run's record as it stands in the journal, with the id tables that all others get with GO."""
    resume_tick: int = 0
    """wal: what GO tells the others."""


class Stop(Message, frozen=True, tag=36):
    """Drain, answer STOPPED, end. wal gets the stop's record with it (H3)."""

    run: EngineRun | None = None


class Stopped(Message, frozen=True, tag=37):
    lsn: int


class Detach(Message, frozen=True, tag=38):
    part: str


class Detached(Message, frozen=True, tag=39):
    part: str
    lsn: int


class Ask(Message, frozen=True, tag=40):
    """The supervisor asks for STATISTICS now."""


class QueueDepth(msgspec.Struct, frozen=True, array_like=True):
    """One queue of a child (queues.QUEUES)."""

    name: str
    peer: str
    """For whom it waits; "" where that is no question."""
    depth: int
    limit: int


class Statistics(Message, frozen=True, tag=41):
    """What a child says of itself: for HEALTH, and to find out that nothing is outstanding."""

    lsn: int
    market_position: int
    at_end: bool
    outstanding: int
    """Signals, appends, owed records or venue answers that have not come back."""
    counters: dict[str, int]
    queues: tuple[QueueDepth, ...] = ()


class Peer(Message, frozen=True, tag=42):
    """Another child is READY in a new life: say HELLO to it again."""

    name: str
    incarnation: int


class ChildState(Message, frozen=True):
    """One child as the supervisor sees it."""

    name: str
    state: str
    pid: int
    incarnation: int
    restarts: int
    cpu_percent: float
    memory_bytes: int
    lsn: int
    market_position: int
    counters: dict[str, int]
    started_us: int = 0
    last_error: str = ""
    queues: tuple[QueueDepth, ...] = ()


class Children(Message, frozen=True, tag=43):
    """The supervisor tells the gateway of all children."""

    children: tuple[ChildState, ...]


class Parked(Message, frozen=True, tag=44):
    """A strategy stays down: it died too often, or says of itself that it may not go on without a saved state. risk
    cancels its orders, market_data waits for it no longer."""

    strategy: str
    incarnation: int = 0
    """Of its life that is over; what that one says counts no more."""


class SteerVerb(StrEnum):
    RESTART = "restart"
    PARK = "park"
    UNPARK = "unpark"


class Steer(Message, frozen=True, tag=45):
    """An operator's word, by the gateway, to the supervisor."""

    verb: SteerVerb
    child: str


# order_routing and a venue outside it. The venue numbers every entry of its books; order ids are the journal's.


class VenueLogon(Message, frozen=True, tag=50):
    """order_routing wants a session; repeated until the answer."""

    journal_id: bytes


class VenueLoggedOn(Message, frozen=True, tag=51):
    session: int
    """Never 0. What is said in another session is not heard."""
    last_seq: int
    """Of the newest entry in the venue's books."""
    base_seq: int
    """The number before that of their first entry; no other books have it."""


VENUE_HEARTBEAT_S: Final = 0.1


class VenueHeartbeat(Message, frozen=True, tag=52):
    """Every VENUE_HEARTBEAT_S, in a session."""

    session: int
    last_seq: int


class VenueOrder(Message, frozen=True, tag=53):
    session: int
    place: bytes
    """An ORDER_PLACE."""


class VenueCancel(Message, frozen=True, tag=54):
    session: int
    order_id: int
    is_stopping: bool = False
    """The engine stops: no tick comes any more with which it, or what is still on its way, could arrive."""


class VenueReplace(Message, frozen=True, tag=61):
    session: int
    request: bytes
    """An ORDER_REPLACE."""


class VenueReport(Message, frozen=True, tag=55):
    session: int
    seq: int
    entry_type: int
    """ORDER_UPDATE, ADJUST, ORDER_PLACE (an order that came from elsewhere); 0: this journal's own order arrived."""
    data: bytes
    """The record; of an own order its id alone (MessagePack)."""


class VenueQuestion(StrEnum):
    OPEN_ORDERS = "open_orders"
    POSITIONS = "positions"
    EXECUTIONS = "executions"
    ORDER = "order"
    BAR = "bar"
    """As ORDER, and what is unknown is refused from then on: the cancel by client id of the design."""


class VenueQuery(Message, frozen=True, tag=56):
    session: int
    number: int
    what: VenueQuestion
    argument: int = 0
    """executions: after this seq; order, bar: its id."""
    signal: int = 0
    """order, bar: of a change of that order; 0: of the order itself."""


class VenueOpenOrders(Message, frozen=True, tag=57):
    number: int
    as_of: int
    """The newest entry that is in it."""
    orders: tuple[tuple[bytes, int], ...]
    """(ORDER_PLACE, filled)."""


class VenuePositions(Message, frozen=True, tag=58):
    number: int
    as_of: int
    positions: tuple[tuple[int, int, int], ...]
    """(symbol id, net quantity, average price), micros; those that are not flat."""


class VenueExecutions(Message, frozen=True, tag=59):
    number: int
    as_of: int
    reports: tuple[tuple[int, int, bytes], ...]
    """(seq, entry type, record), in order; the rest is to be asked for."""


class VenueOrderKnown(Message, frozen=True, tag=60):
    number: int
    order_id: int
    is_known: bool
    is_barred: bool
    """It was unknown, and is refused from now on should it arrive."""
    signal: int = 0


type_union = (
    Hello | Welcome | Data | Credit | Append | Reset | SayHello | Barrier | State | Grant | Done
    | SignalHello | SignalWelcome | Intent | Reached
    | Loaded | Failed | Go | Ready | Stop | Stopped | Detach | Detached | Ask | Statistics | Peer | Children | Parked
    | Steer
    | VenueLogon | VenueLoggedOn | VenueHeartbeat | VenueOrder | VenueCancel | VenueReplace | VenueReport | VenueQuery
    | VenueOpenOrders | VenuePositions | VenueExecutions | VenueOrderKnown
)  # fmt: skip

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(type_union)

encode_message = _ENCODER.encode


def decode_message(frame: bytes | memoryview) -> Message:
    """Raises: WireError if the frame is no message of this protocol."""
    try:
        return _DECODER.decode(frame)
    except UNREADABLE as error:
        raise WireError(str(error)) from error
