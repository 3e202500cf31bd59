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
)

INFO: Final = "info"
WARNING: Final = "warning"
ERROR: Final = "error"
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
_Trading = tuple[str, str, str]
"""State, by, reason."""
_CHILD_LEVELS: Final = {"dead": ERROR, "hung": ERROR, "parked": ERROR, "slow": WARNING}
_SAID_OF_CHILDREN: Final = (*_CHILD_LEVELS, "ready")
HALTED_REASON: Final = "trading_halted"
"""Of every signal under HALT: they are counted, and would hide who has halted."""
_REJECTED: Final = OrderStatus.REJECTED.label


class Notice(msgspec.Struct, frozen=True):
    time_us: int
    level: str
    kind: str
    text: str


def notice_of(event: Event, now_us: int) -> Notice | None:
    """None: of this one hears otherwise, or it is of no note."""
    match event:
        case RiskViolationEvent():
            text = f"{event.symbol or 'account'}: {event.reason}, {event.current_value:g} (limit {event.limit_value:g})"
            return Notice(now_us, ERROR, "violation", text)
        case SignalRefusedEvent() if event.reason != HALTED_REASON:
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


class Changes:
    """What is new about the trading state and the processes, whoever tells of it, and whenever one looks."""

    def __init__(self) -> None:
        self._trading: _Trading = ("ACTIVE", "", "")
        self._children: dict[str, Mapping[str, Any]] = {}
        """Name -> the row that was said last, or that was found first."""

    def of_trading(self, state: str, by: str, reason: str, now_us: int) -> Notice | None:
        before, self._trading = self._trading, (state, by, reason)
        if self._trading == before:
            return None
        kind, level = _TRADING.get(state, ("warning", WARNING))
        return Notice(now_us, level, kind, state + (f" by {by}" if by else "") + (f": {reason}" if reason else ""))

    def new_run(self) -> None:
        """Of the engine: its processes have nothing to do with those before."""
        self._children.clear()

    def of_child(self, child: Mapping[str, Any], now_us: int) -> Notice | None:
        """Of a row of HEALTH: a state that matters, or a life that has ended since the row that was said last."""
        name, state = child["name"], child["state"]
        before = self._children.setdefault(name, child)
        if (before["state"], before["incarnation"]) == (state, child["incarnation"]) or state not in _SAID_OF_CHILDREN:
            return None
        self._children[name] = child
        is_new_life = child["restarts"] > before["restarts"]
        level = _CHILD_LEVELS.get(state, WARNING if is_new_life else INFO)
        why = f": {child['last_error']}" if child["last_error"] and (is_new_life or level is ERROR) else ""
        life = f", life {child['incarnation']}" if is_new_life else ""
        return Notice(now_us, level, "child", f"{name} {state}{life}{why}")


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
