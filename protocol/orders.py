"""The words of trading and the life of an order: closed sets and one literal transition table.

Everything here is a function of values. The numbers are wire values (journal and binary broadcast):
appended, never renumbered.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Side(IntEnum):
    BUY = 0
    SELL = 1

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def label(self) -> str:
        return "Buy" if self is Side.BUY else "Sell"


class OrderType(IntEnum):
    """ORDER's type nibble on the binary wire is `2 * type + side`."""

    MARKET = 0
    LIMIT = 1
    STOP = 2
    STOP_LIMIT = 3


END_OF_DATA: Final = "end_of_data"
"""The reason of what was on its way when the data ended, or was asked for behind that (P10)."""


class OrderStatus(IntEnum):
    NEW = 0
    PENDING_NEW = 1
    ACCEPTED = 2
    PARTIALLY_FILLED = 3
    FILLED = 4
    CANCELED = 5
    REJECTED = 6
    EXPIRED = 7

    @property
    def label(self) -> str:
        return STATUS_LABELS[self]

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


STATUS_LABELS: Final = {
    OrderStatus.NEW: "New",
    OrderStatus.PENDING_NEW: "PendingNew",
    OrderStatus.ACCEPTED: "Accepted",
    OrderStatus.PARTIALLY_FILLED: "PartiallyFilled",
    OrderStatus.FILLED: "Filled",
    OrderStatus.CANCELED: "Canceled",
    OrderStatus.REJECTED: "Rejected",
    OrderStatus.EXPIRED: "Expired",
}
FINAL_STATUSES: Final = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)


class TimeInForce(IntEnum):
    GTC = 0
    IOC = 1
    FOK = 2
    DAY = 3
    GTD = 4


class TradingMode(IntEnum):
    """The trading state of the engine."""

    ACTIVE = 0
    REDUCING = 1
    HALTED = 2


class Report(IntEnum):
    """What a venue can say of an order."""

    PENDING = 0
    ACCEPT = 1
    FILL = 2
    CANCEL = 3
    REJECT = 4
    EXPIRE = 5
    TRIGGER = 6
    """Its stop was reached, and it waits for its limit or for volume; a fill says so too."""
    RESTATE = 7
    """Its stop stands at `price` now: a trailing stop has moved. Without a price: a DAY order that was accepted before
    the market's time was known has its day."""
    REPLACE = 8
    """What the outstanding ORDER_REPLACE asked for holds from here on."""
    REPLACE_REJECT = 9
    """It does not, for a reason; the order is what it was."""


_S, _R = OrderStatus, Report
_FILL: Final = Report.FILL
_FILLED: Final = OrderStatus.FILLED
_OPEN: Final = (_S.NEW, _S.PENDING_NEW, _S.ACCEPTED, _S.PARTIALLY_FILLED)
_WORKING: Final = (_S.ACCEPTED, _S.PARTIALLY_FILLED)

# (status, report) -> next status. FILL is PARTIALLY_FILLED here; it becomes FILLED when nothing is left.
# A pair that is not in the table is an impossible report.
# REJECTED + ACCEPT / FILL: an order that ended as `not_sent` and of which the venue speaks later all the same
# revives (design section 3, seams V3).
# REPLACE_REJECT changes no status, and may cross with whatever ends the order, so it is possible in all of them.
TRANSITIONS: Final[dict[tuple[OrderStatus, Report], OrderStatus]] = {
    (_S.NEW, _R.PENDING): _S.PENDING_NEW,
    (_S.NEW, _R.ACCEPT): _S.ACCEPTED,
    (_S.PENDING_NEW, _R.ACCEPT): _S.ACCEPTED,
    (_S.REJECTED, _R.ACCEPT): _S.ACCEPTED,
    (_S.REJECTED, _R.FILL): _S.PARTIALLY_FILLED,
    **{(status, _R.FILL): _S.PARTIALLY_FILLED for status in _OPEN},
    **{(status, _R.CANCEL): _S.CANCELED for status in _OPEN},
    **{(status, _R.EXPIRE): _S.EXPIRED for status in _OPEN},
    (_S.NEW, _R.REJECT): _S.REJECTED,
    (_S.PENDING_NEW, _R.REJECT): _S.REJECTED,
    **{(status, report): status for status in _WORKING for report in (_R.TRIGGER, _R.RESTATE, _R.REPLACE)},
    **{(status, _R.REPLACE_REJECT): status for status in _S},
}

_NEXT: Final = tuple(tuple(TRANSITIONS.get((status, report)) for report in Report) for status in OrderStatus)
"""TRANSITIONS by number, [status][report]: to hash a pair of enums takes three times as long, at every report."""


def advance(
    status: OrderStatus, report: Report, quantity: int, filled: int, fill_quantity: int = 0
) -> OrderStatus | None:
    """The status after `report`, or None if the report is impossible (unknown pair, overfill, empty fill).

    Quantities are micros; `filled` is what was filled before this report.
    """
    following = _NEXT[status][report]
    if following is None or report is not _FILL:
        return following
    left = quantity - filled - fill_quantity
    if fill_quantity <= 0 or left < 0:
        return None
    return following if left else _FILLED
