"""Commands (`gateway.command` and the control socket): a request is one frame of text, the reply one of JSON.

Verbs are case-sensitive, after white space around the request is trimmed. What a verb may change, and on
which socket it is offered, stands in VERBS. protocol/README.md has the keys of every reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

REQUEST_BYTES_MAX: Final = 4096
"""A longer request is refused with a reply; one above four times this is cut off by ZeroMQ itself."""
SHOWN_MAX: Final = 200
"""Characters of a foreign request that an error reply repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    name: str
    arguments: str
    """How the arguments are written; empty if there are none."""
    changes: bool
    help: str


VERBS: Final = {
    verb.name: verb
    for verb in (
        Verb(name="PING", arguments="", changes=False, help="does the gateway answer"),
        Verb(name="STATUS", arguments="", changes=False, help="halted or not, and every position"),
        Verb(name="HALT", arguments="[reason]", changes=True, help="kill switch: no send begins after the reply"),
        Verb(name="HEALTH", arguments="", changes=False, help="children, trading state, lags, versions"),
        Verb(name="ORDERS", arguments="", changes=False, help="open orders"),
        Verb(name="SYMBOLS", arguments="", changes=False, help="symbol ids of the binary broadcast"),
        Verb(name="ACCOUNT", arguments="", changes=False, help="balance, equity, margin"),
    )
}


@dataclass(frozen=True, slots=True)
class Command:
    verb: str
    argument: str


@dataclass(frozen=True, slots=True)
class BadCommand:
    """A request that is no command; `response` is what the client is told."""

    response: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all replies; `status` is the first key."""

    status: str = "ok"


class TextReply(Reply, frozen=True, kw_only=True):
    response: str


class HaltReply(Reply, frozen=True, kw_only=True):
    response: str
    in_flight: int | msgspec.UnsetType = msgspec.UNSET
    """1: a send was under way and did not end within the wait."""
    unsynced: int | msgspec.UnsetType = msgspec.UNSET
    """1: the latch page did not reach the disk within the wait."""


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    net_quantity: float
    average_price: float
    realized_pnl: float


class StatusReply(Reply, frozen=True, kw_only=True):
    halted: bool
    positions: list[PositionRow]


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    order_id: int
    symbol: str
    side: str
    order_type: str
    status: str
    quantity: float
    filled_quantity: float
    limit_price: float
    average_price: float
    strategy: str
    signal: int
    stop_price: float


class OrdersReply(Reply, frozen=True, kw_only=True):
    orders: list[OrderRow]


class SymbolRow(msgspec.Struct, frozen=True, kw_only=True):
    symbol_id: int
    symbol: str


class SymbolsReply(Reply, frozen=True, kw_only=True):
    symbols: list[SymbolRow]


class AccountReply(Reply, frozen=True, kw_only=True):
    currency: str
    balance: float
    equity: float
    profit: float
    margin: float
    margin_free: float
    margin_level: float


class TradingStateRow(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    by: str
    reason: str
    since_us: int


class ChildRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    pid: int
    incarnation: int
    restarts: int
    cpu_percent: float
    memory_bytes: int
    lsn: int
    journal_lag: int
    """Records between the gateway's tail and the child's."""
    market_position: int
    counters: dict[str, int]


class HealthReply(Reply, frozen=True, kw_only=True):
    engine: str
    version: str
    mode: str
    boot_id: str
    time_us: int
    trading_state: TradingStateRow
    lsn: int
    market_position: int
    children: list[ChildRow]
    disk_low: bool = False
    """The journal's disk is nearly full: new orders are refused."""
    warnings: list[str] = []
    """What an operator should see to, in plain words; empty if there is nothing."""


_ENCODER: Final = msgspec.json.Encoder()


def encode_reply(reply: Reply) -> bytes:
    return _ENCODER.encode(reply)


def error_reply(response: str) -> TextReply:
    return TextReply(status="error", response=response)


def parse_command(frames: list[bytes]) -> Command | BadCommand:
    """The command in a request's frames, or what is wrong with it. Never raises."""
    if len(frames) != 1:
        return BadCommand(f"A request is one frame, this one has {len(frames)}")
    frame = frames[0]
    if len(frame) > REQUEST_BYTES_MAX:
        return BadCommand(f"A request has at most {REQUEST_BYTES_MAX} bytes, this one has {len(frame)}")
    try:
        text = frame.decode("utf-8").strip()
    except UnicodeDecodeError:
        return BadCommand("A request is UTF-8 text")
    if not text:
        return BadCommand("Empty request")
    verb, _, argument = text.partition(" ")
    known = VERBS.get(verb)
    if known is None or (argument and not known.arguments):
        return BadCommand(f"Unknown command: {text[:SHOWN_MAX]}")
    return Command(verb, argument.strip())
