"""What a console says aloud: one line for each thing that an operator would want to have heard of.

Pure: from an event of the telemetry to a notice, and a limit on how many of a kind come in a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from protocol.client.telemetry import Event, Gap, UnknownEvent
from protocol.orders import OrderStatus
from protocol.telemetry import (
    OrderUpdateEvent,
    RiskViolationEvent,
    SignalRefusedEvent,
    TradingStateEvent,
)

INFO: Final = "info"
WARNING: Final = "warning"
ERROR: Final = "error"
LEVELS: Final = (INFO, WARNING, ERROR)
KINDS: Final = {
    "halted": "trading is halted",
    "reducing": "only what reduces a position passes",
    "active": "trading goes on",
    "violation": "a limit was broken",
    "refused": "a signal was refused by a check",
    "rejected": "an order was rejected",
    "child": "a process died, hangs, is slow, parked, or came back",
    "warning": "what HEALTH warns of: a disk nearly full, a venue out of reach, keys",
    "missed": "telemetry was missed; the console has asked for everything anew",
    "unreachable": "the engine does not answer",
    "reachable": "it answers again",
}
"""Kind -> when it comes."""
IN_A_SECOND_MAX: Final = 20
"""Of one kind; the rest is counted and said in one line."""

_TRADING: Final = {"HALTED": ("halted", ERROR), "REDUCING": ("reducing", WARNING), "ACTIVE": ("active", INFO)}
_CHILD_LEVELS: Final = {"dead": ERROR, "hung": ERROR, "parked": ERROR, "slow": WARNING}
_SAID_OF_CHILDREN: Final = (*_CHILD_LEVELS, "ready")
_REJECTED: Final = OrderStatus.REJECTED.label


class Notice(msgspec.Struct, frozen=True):
    time_us: int
    level: str
    kind: str
    text: str


def notice_of(event: Event, now_us: int) -> Notice | None:
    """None: of this one hears otherwise, or it is of no note."""
    match event:
        case TradingStateEvent():
            kind, level = _TRADING.get(event.state, ("warning", WARNING))
            why = f": {event.reason}" if event.reason else ""
            return Notice(now_us, level, kind, f"{event.state} by {event.by}{why}")
        case RiskViolationEvent():
            text = f"{event.symbol or 'account'}: {event.reason}, {event.current_value:g} (limit {event.limit_value:g})"
            return Notice(now_us, ERROR, "violation", text)
        case SignalRefusedEvent():
            detail = f" ({event.detail})" if event.detail else ""
            text = f"{event.strategy}'s signal {event.signal} in {event.symbol}: {event.reason}{detail}"
            return Notice(now_us, WARNING, "refused", text)
        case OrderUpdateEvent() if event.status == _REJECTED:
            text = f"order {event.order_id}: {event.side} {event.quantity:g} {event.symbol}"
            return Notice(now_us, WARNING, "rejected", text)
        case Gap():
            missed = ", ".join(f"{count} {kind}" for kind, count in event.missed.items())
            return Notice(now_us, WARNING, "missed", missed or "the gateway has begun a new life")
        case UnknownEvent():
            return Notice(now_us, WARNING, "warning", f"telemetry of another version: {event.frame[:60]!r}")
    return None


def notice_of_child(before: Mapping[str, Any] | None, child: Mapping[str, Any], now_us: int) -> Notice | None:
    """Of a row of HEALTH and the one before it: a state that matters, or a life that ended in between."""
    if before is None or (before["state"], before["incarnation"]) == (child["state"], child["incarnation"]):
        return None
    if child["state"] not in _SAID_OF_CHILDREN:
        return None
    is_new_life = child["restarts"] > before["restarts"]
    level = _CHILD_LEVELS.get(child["state"], WARNING if is_new_life else INFO)
    why = f": {child['last_error']}" if child["last_error"] and (is_new_life or level is ERROR) else ""
    life = f", life {child['incarnation']}" if is_new_life else ""
    return Notice(now_us, level, "child", f"{child['name']} {child['state']}{life}{why}")


class Throttle:
    """At most IN_A_SECOND_MAX of a kind in a second of the clock; what came beyond is said when it is over."""

    def __init__(self) -> None:
        self._second = 0
        self._counts: Counter[str] = Counter()

    def take(self, notice: Notice | None, now_us: int) -> list[Notice]:
        """Those to be said now. None: only what is left over of a second that has ended."""
        said: list[Notice] = []
        if now_us // 1_000_000 != self._second:
            said = [
                Notice(now_us, WARNING, kind, f"and {count - IN_A_SECOND_MAX} more in that second")
                for kind, count in self._counts.items()
                if count > IN_A_SECOND_MAX
            ]
            self._second = now_us // 1_000_000
            self._counts.clear()
        if notice is not None:
            self._counts[notice.kind] += 1
            if self._counts[notice.kind] <= IN_A_SECOND_MAX:
                said.append(notice)
        return said
