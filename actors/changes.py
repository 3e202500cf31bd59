"""What a record changed, as the fold tells it: values for whoever must act on it or show it.

They hold the live Order: read it before the next record is applied.
"""

from __future__ import annotations

from typing import Final

import msgspec

from actors.order_tracker import Order
from protocol.conversion import PARITY, Rate
from protocol.orders import OrderStatus, TradingMode
from protocol.records import EngineRun, Operation, OrderReplace, RiskViolation

STOPPED: Final = "stopped"
"""The reason of a state that an ordered stop has made ACTIVE; checkpoints hold it."""
ENDED_HALT: Final = "an ordered stop ended the halt"


class TradingStatus(msgspec.Struct, frozen=True):
    """The trading state: since when, by whom and why."""

    mode: TradingMode = TradingMode.ACTIVE
    by: str = ""
    reason: str = ""
    token: int = 0
    since_us: int = 0

    @property
    def why(self) -> str:
        """For people: of the end of a halt, `reason` has one word of the journal's."""
        is_end_of_halt = self.mode is TradingMode.ACTIVE and self.token and self.reason == STOPPED
        return ENDED_HALT if is_end_of_halt else self.reason


class Change(msgspec.Struct, frozen=True, gc=False):
    """Base of what a record changed."""


class OrderChanged(Change, frozen=True):
    """An order is new (status and previous status New), or its status or filled quantity changed.

    A bracket's exit is new at its parent's fill, after what the fill changed."""

    order: Order
    previous_status: OrderStatus
    time_us: int
    """The venue's clock where it gave one, else the record's."""


class FillBooked(Change, frozen=True):
    """A fill is in the ledger. Micros; what was realized are products in the account's currency, before commission."""

    order: Order
    execution_id: str
    price: int
    quantity: int
    commission: int
    realized: int
    """By the net position."""
    own_realized: int
    """By the position of the order's strategy."""
    time_us: int
    rate: Rate = PARITY
    """At which what it realized, in the symbol's quote currency, became the account's money."""


class PositionChanged(Change, frozen=True):
    """The net position, and that of the strategy whose order was filled."""

    symbol_id: int
    strategy_id: int
    time_us: int


class TradingStateChanged(Change, frozen=True):
    previous: TradingMode
    state: TradingStatus


class SignalAnswered(Change, frozen=True):
    """What became of a strategy's signal: an order placed, or asked to be canceled or replaced (`order_id`), or
    refused."""

    strategy_id: int
    signal: int
    order_id: int | None
    symbol_id: int = 0
    """Of a refused signal."""
    reason: str = ""
    detail: str = ""


class OrderRestated(Change, frozen=True):
    """Its stop was reached or has moved; its status is what it was."""

    order: Order
    time_us: int


class BalanceAdjusted(Change, frozen=True):
    """An ADJUST is booked; `amount` is a product."""

    symbol_id: int
    """-1: of no symbol."""
    amount: int
    time_us: int
    is_deposit: bool = False
    """Neither won nor lost."""


class CancelRequested(Change, frozen=True):
    order_id: int
    by: str


class ReplaceRequested(Change, frozen=True):
    request: OrderReplace


class OrderReplaced(Change, frozen=True):
    """The venue has answered the replace that was asked for: the order is as it is now, or as it was (`reason`)."""

    order: Order
    time_us: int


class CommandGiven(Change, frozen=True):
    """risk is to carry it out."""

    lsn: int
    command: Operation


class ViolationRecorded(Change, frozen=True):
    violation: RiskViolation


class RunChanged(Change, frozen=True):
    run: EngineRun
    time_us: int


class DuplicateExecution(Change, frozen=True):
    """The venue repeated an execution; it was booked once, before."""

    order_id: int
    execution_id: str


UNBOOKED: Final = {
    "not_representable": "a fill that cannot be represented in 0.000001",
    "conversion_rate": "a fill whose conversion rate means nothing",
}
"""Reasons of an ImpossibleReport for which trading halts: the venue has filled what the ledger does not know."""


class ImpossibleReport(Change, frozen=True):
    """The venue said what cannot be, or what cannot be booked exactly. Nothing moved; somebody must look."""

    order_id: int
    reason: str
