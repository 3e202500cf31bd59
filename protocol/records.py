"""The records of the journal: one frozen struct a type, fields in wire order.

Owns the *data* after the envelope (protocol/wal/format.py): one MessagePack array of int, str, bin,
bool and nil (id tables are arrays of such rows). Fields are appended, never reordered; every field that is
appended later has a default, so that old journals stay readable. protocol/README.md has the table for
outsiders, and a test holds the two together.

Units: prices, quantities and commissions in micros (1e-6), `*_product` and costs as 16-byte signed
little-endian products (1e-12), times in microseconds since the epoch. 0 stands for "none" in prices.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from protocol.errors import WireError
from protocol.orders import OrderStatus, OrderType, Report, Side, TimeInForce, TradingMode
from protocol.units import MICROS


class EntryType(IntEnum):
    """The type byte of a log entry (design section 4)."""

    POSITION_OPEN = 1
    POSITION_CLOSE = 2
    POSITION_MODIFY = 3
    ORDER_PLACE = 4
    ORDER_CANCEL = 5
    BALANCE_CHANGE = 6
    CHECKPOINT = 7
    ORDER_UPDATE = 8
    TRADING_STATE = 9
    RISK_VIOLATION = 10
    STRATEGY_STATE = 11
    ENGINE_RUN = 12
    SIGNAL_REFUSED = 13
    ORDER_REPLACE = 14
    COMMAND = 15
    ADJUST = 16


class Producer(IntEnum):
    """Who appended a record; strategies have FIRST_STRATEGY and up, by ENGINE_RUN's table."""

    WAL = 1
    RISK = 2
    ORDER_ROUTING = 3
    GATEWAY = 4
    SUPERVISOR = 5
    MARKET_DATA = 6


FIRST_STRATEGY: Final = 16
NOBODY: Final = 0
"""The strategy id of what no strategy asked for."""
FIRST_EXTERNAL: Final = 1 << 52
"""Order ids from here on are orders at the venue that did not come from this journal: this and the venue's own number,
so that an order has the same id at every restart. Like all ids they are exact as a double, which JSON is read into."""


class RunEvent(IntEnum):
    START = 0
    STOP = 1


class AdjustKind(IntEnum):
    SWAP = 0
    DEPOSIT = 1
    """By an operator; a withdrawal is below 0. No profit and no loss."""


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all records. They hold values, so no cycle can begin in one: the collector need not look at them."""


class PositionOpen(Record, frozen=True):
    """Derived (F1): a fill opened or increased a position."""

    cause_lsn: int
    symbol_id: int
    order_id: int
    quantity: int
    """What the fill added, signed."""
    price: int
    net_quantity: int
    """After the fill, signed."""
    open_cost: bytes
    """Product in the quote currency after the fill, of the sign of net_quantity."""


class PositionClose(Record, frozen=True):
    """Derived (F1): a fill reduced or closed a position."""

    cause_lsn: int
    symbol_id: int
    order_id: int
    quantity: int
    price: int
    net_quantity: int
    open_cost: bytes
    realized: bytes
    """Product in the account's currency that this close realized, before commission."""


class OrderPlace(Record, frozen=True):
    """risk's decision: nothing reaches a venue before this is on disk."""

    order_id: int
    strategy_id: int
    signal: int
    symbol_id: int
    side: Side
    order_type: OrderType
    quantity: int
    limit_price: int = 0
    stop_price: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    stop_loss: int = 0
    take_profit: int = 0
    stop_loss_order_id: int = 0
    take_profit_order_id: int = 0
    reduce_only: bool = False
    market_epoch: bytes = b""
    market_position: int = 0
    """Of the tick that caused the signal (P1: 3 x tick + phase)."""
    trail: int = 0
    """A STOP's distance from the best price since it works; 0: it stands still."""
    expire_us: int = 0
    """GTD: the market's time from which it works no more."""
    oco: int = 0
    """The number of the strategy's signal with whose order this one shares an OCO group; 0: none, or the group's
    first."""
    protects: int = 0
    """An exit of the strategy's position in the symbol, whose size it follows: the number of those that do, an order id
    that no order has. 0: it is none."""


class OrderCancel(Record, frozen=True):
    """A wish to cancel; what becomes of it is told by ORDER_UPDATE."""

    order_id: int
    strategy_id: int
    signal: int
    by: str


class OrderReplace(Record, frozen=True):
    """A wish to change an order that stands; what becomes of it is told by ORDER_UPDATE. 0: as it is."""

    order_id: int
    strategy_id: int
    signal: int
    quantity: int = 0
    """Of the whole order, what is filled included; at or below that, the rest of the order is canceled."""
    limit_price: int = 0
    stop_price: int = 0
    trail: int = 0
    expire_us: int = 0


class PositionModify(Record, frozen=True):
    """What is to protect a strategy's position from here on; what becomes of it is told by ORDER_UPDATEs of its exits.

    All that it comes down to stands in it (actors/protection.py): orders that it makes, changes and cancels of others.
    """

    strategy_id: int
    symbol_id: int
    signal: int
    stop_loss: int
    """0, here and below: as it is; -1: there is to be none."""
    take_profit: int
    trail: int
    side: Side
    """Of the exits."""
    quantity: int
    """That was held, above 0."""
    group: int = 0
    """`protects` of the orders that it makes."""
    stop_loss_order_id: int = 0
    """Of a new order, here and below; 0: none is made."""
    take_profit_order_id: int = 0
    stop_losses: tuple[int, ...] = ()
    """Order ids of those that stand, and are changed or canceled."""
    take_profits: tuple[int, ...] = ()
    market_epoch: bytes = b""
    market_position: int = 0


class BalanceChange(Record, frozen=True):
    """Derived (F1): what a fill or an ADJUST did to the balance."""

    cause_lsn: int
    order_id: int
    """0: an ADJUST."""
    profit: bytes
    commission: bytes
    balance: bytes
    """After the change."""


class OrderUpdate(Record, frozen=True):
    """What the venue said of an order: everything that money needs."""

    order_id: int
    report: Report
    execution_id: str = ""
    """Of a fill; REPLACE, REPLACE_REJECT: the number of the signal that asked for it."""
    price: int = 0
    """Of this fill; RESTATE: where the stop stands now, or 0; REPLACE: the limit price now, else the stop price."""
    quantity: int = 0
    """Of this fill; REPLACE: of the whole order now."""
    commission: int = 0
    conversion_rate: int = MICROS
    """Account currency per quote currency is conversion_rate / conversion_base."""
    reason: str = ""
    venue_time: int = 0
    """The market's clock, microseconds."""
    venue_seq: int = 0
    """The report's number in an external venue's books; 0: it has none, or did not come from there."""
    conversion_base: int = MICROS


class TradingState(Record, frozen=True):
    """The trading state changed; a second one with the same token is ignored (H7)."""

    state: TradingMode
    by: str
    reason: str
    token: int


class RiskViolation(Record, frozen=True):
    """A limit was breached after a trade."""

    symbol_id: int
    reason: str
    current_value: bytes
    limit_value: bytes
    strategy_id: int = 0
    """Whose limit it is; 0: the engine's."""
    day: int = 0
    """A loss: days since the epoch, by the market's clock."""


class EngineRun(Record, frozen=True):
    """The engine started or stopped. The first of a journal carries the opening balance."""

    journal_id: bytes
    event: RunEvent
    by: str
    """START: who started; STOP: "operator", "end_of_data" or "escalation"."""
    version: str
    config_hash: bytes
    boot_id: bytes
    halt_token: int
    """The latch token that is cleared from here on (H2): a STOP by an operator carries the one that it saw,
    every other record the one of the record before."""
    balance: bytes
    currency: str
    leverage: int
    symbols: tuple[tuple[str, int], ...]
    """(name, multiplier in micros); the id is the index."""
    strategies: tuple[str, ...]
    """The id is FIRST_STRATEGY + index."""
    quote_currencies: tuple[str, ...] = ()
    """By symbol id; where they end, the account's."""

    @property
    def currencies(self) -> dict[str, str]:
        """The quote currency of each symbol, in the order of ids."""
        names = [name for name, _ in self.symbols]
        return dict.fromkeys(names, self.currency) | dict(zip(names, self.quote_currencies, strict=False))


class Checkpoint(Record, frozen=True):
    """All that matters as of the LSN before this one: whoever starts here needs nothing older."""

    journal_id: bytes
    run: bytes
    """The last ENGINE_RUN, as its record."""
    run_lsn: int
    producers: tuple[tuple[int, int], ...]
    """(producer, its last number), by producer."""
    states: tuple[tuple[str, int, bytes], ...]
    """(who, LSN that the state is as of, state), by name; "risk" is everyone's start (F3), in state.py's layout.
    That of a strategy that was late is older (F5)."""

    def state_of(self, name: str) -> tuple[int, bytes] | None:
        """(LSN, state)."""
        return next(((lsn, state) for owner, lsn, state in self.states if owner == name), None)


class Operation(Record, frozen=True):
    """COMMAND: what an operator asked for; and, from risk, that it has been done (H1)."""

    token: str
    """What the operator gave as id=; "": nothing."""
    verb: str
    argument: str
    by: str
    ends_lsn: int = 0
    """Of the COMMAND that has been carried out; 0: this is one."""
    outcome: str = ""
    """What became of it, for people."""


class Adjust(Record, frozen=True):
    """Money that no fill moved: the venue charged or credited it, or an operator."""

    kind: AdjustKind
    symbol_id: int
    """-1: of no symbol."""
    amount: bytes
    """Product in the account's currency, added to the balance."""
    quantity: int = 0
    """The position that it was reckoned on, signed."""
    nights: int = 0
    """SWAP: how many it was reckoned for."""
    venue_time: int = 0
    command_lsn: int = 0
    """Of the COMMAND that asked for it, and ends with it."""
    venue_seq: int = 0
    """As in ORDER_UPDATE."""


class SignalRefused(Record, frozen=True):
    """risk refused a signal, and why."""

    strategy_id: int
    signal: int
    symbol_id: int
    reason: str
    """A reason code, snake_case."""
    detail: str = ""


RECORD_TYPES: Final[dict[EntryType, type[Record]]] = {
    EntryType.POSITION_OPEN: PositionOpen,
    EntryType.POSITION_CLOSE: PositionClose,
    EntryType.POSITION_MODIFY: PositionModify,
    EntryType.ORDER_PLACE: OrderPlace,
    EntryType.ORDER_CANCEL: OrderCancel,
    EntryType.BALANCE_CHANGE: BalanceChange,
    EntryType.CHECKPOINT: Checkpoint,
    EntryType.ORDER_UPDATE: OrderUpdate,
    EntryType.TRADING_STATE: TradingState,
    EntryType.RISK_VIOLATION: RiskViolation,
    EntryType.ENGINE_RUN: EngineRun,
    EntryType.SIGNAL_REFUSED: SignalRefused,
    EntryType.ORDER_REPLACE: OrderReplace,
    EntryType.COMMAND: Operation,
    EntryType.ADJUST: Adjust,
}
"""The record types that this version writes and reads."""

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a peer's bytes may raise: text that is no UTF-8, and nesting without end, are no MsgspecError."""

APPENDABLE: Final = {
    Producer.RISK: frozenset(
        {
            EntryType.POSITION_OPEN, EntryType.POSITION_CLOSE, EntryType.BALANCE_CHANGE, EntryType.ORDER_PLACE,
            EntryType.ORDER_CANCEL, EntryType.TRADING_STATE, EntryType.RISK_VIOLATION, EntryType.SIGNAL_REFUSED,
            EntryType.COMMAND, EntryType.ADJUST, EntryType.ORDER_REPLACE, EntryType.POSITION_MODIFY,
        }
    ),
    Producer.ORDER_ROUTING: frozenset(
        {EntryType.ORDER_UPDATE, EntryType.ADJUST, EntryType.ORDER_PLACE, EntryType.RISK_VIOLATION}
    ),
    Producer.GATEWAY: frozenset({EntryType.TRADING_STATE, EntryType.COMMAND}),
}  # fmt: skip
"""What each producer may append; ENGINE_RUN is written by wal itself."""

_ENTRY_TYPES: Final = {record: entry for entry, record in RECORD_TYPES.items()}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODE: Final = {int(entry): msgspec.msgpack.Decoder(record).decode for entry, record in RECORD_TYPES.items()}


def entry_type_of(record: Record) -> EntryType:
    return _ENTRY_TYPES[type(record)]


encode_record = _ENCODER.encode


def decode_record(entry_type: int, data: bytes | memoryview) -> Record:
    """The record in `data`. Raises: WireError for a type or fields that this version does not know."""
    try:
        return _DECODE[entry_type](data)
    except KeyError:
        raise WireError(f"record type {entry_type} is not known to this version") from None
    except UNREADABLE as error:
        raise WireError(f"record type {entry_type}: {error}") from error


__all__ = [
    "APPENDABLE",
    "FIRST_EXTERNAL",
    "FIRST_STRATEGY",
    "NOBODY",
    "RECORD_TYPES",
    "Adjust",
    "AdjustKind",
    "BalanceChange",
    "Checkpoint",
    "EngineRun",
    "EntryType",
    "Operation",
    "OrderCancel",
    "OrderPlace",
    "OrderReplace",
    "OrderStatus",
    "OrderUpdate",
    "PositionClose",
    "PositionModify",
    "PositionOpen",
    "Producer",
    "Record",
    "RiskViolation",
    "RunEvent",
    "SignalRefused",
    "TradingState",
    "decode_record",
    "encode_record",
    "entry_type_of",
]
