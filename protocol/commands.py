"""Commands (`gateway.command` and the control socket): a request is one frame of text, the reply one of JSON.

Verbs are case-sensitive, after white space around the request is trimmed. What a verb may change, and on
which socket it is offered, stands in VERBS. protocol/README.md has the keys of every reply.
"""

from __future__ import annotations

import re
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
    anywhere: bool = True
    """On every socket; else on the control socket alone (design section 8)."""
    is_operation: bool = False
    """It becomes a COMMAND in the journal, and the reply says where."""


VERBS: Final = {
    verb.name: verb
    for verb in (
        Verb(name="PING", arguments="", changes=False, help="does the gateway answer"),
        Verb(name="STATUS", arguments="", changes=False, help="halted or not, and every position"),
        Verb(name="HALT", arguments="[reason]", changes=True,
             help="kill switch: no send that can raise exposure begins after the reply"),
        Verb(name="HEALTH", arguments="", changes=False, help="children, trading state, lags, versions"),
        Verb(name="ORDERS", arguments="", changes=False, help="open orders"),
        Verb(name="SYMBOLS", arguments="", changes=False, help="symbol ids of the binary broadcast"),
        Verb(name="ACCOUNT", arguments="", changes=False, help="balance, equity, margin"),
        Verb(name="LIMITS", arguments="", changes=False, help="the limits that are set, and how far each is used"),
        Verb(name="REDUCE", arguments="[reason]", changes=True, is_operation=True,
             help="from now on only what reduces a position"),
        Verb(name="RESUME", arguments="[reason]", changes=True, is_operation=True, anywhere=False,
             help="ends REDUCING; a halt it does not end"),
        Verb(name="CANCEL", arguments="id or ALL", changes=True, is_operation=True, anywhere=False,
             help="cancels one open order, or all of them"),
        Verb(name="FLATTEN", arguments="[symbol]", changes=True, is_operation=True, anywhere=False,
             help="cancels, and closes the position in the symbol, or every one"),
        Verb(name="DEPOSIT", arguments="amount [reason]", changes=True, is_operation=True, anywhere=False,
             help="adds to the balance, or takes from it; a correction"),
        Verb(name="RESTART", arguments="child", changes=True, anywhere=False,
             help="ends a process; its next life goes on where it stood"),
        Verb(name="PARK", arguments="strategy", changes=True, anywhere=False,
             help="a strategy stays down, and its orders are cancelled"),
        Verb(name="UNPARK", arguments="strategy", changes=True, anywhere=False,
             help="a parked strategy comes back"),
    )
}  # fmt: skip
AMOUNT_PATTERN: Final = r"-?[0-9]{1,12}(\.[0-9]{1,6})?"
"""Money that a product's field can hold, in the digits of a keyboard."""
TOKEN_PATTERN: Final = r"[A-Za-z0-9_.-]{1,64}"


@dataclass(frozen=True, slots=True)
class Command:
    verb: str
    argument: str
    token: str = ""
    """Of an operation, what stood as id=: said again, it answers with the first LSN (H1)."""


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
    already: str | msgspec.UnsetType = msgspec.UNSET
    """Trading was halted before, by whom and why: that stays, and the reason that was given now is not kept."""


class OperationReply(Reply, frozen=True, kw_only=True):
    response: str
    lsn: int | msgspec.UnsetType = msgspec.UNSET
    """Of its COMMAND."""
    pending: int | msgspec.UnsetType = msgspec.UNSET
    """1: it is on its way to the disk."""


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
    reduce_only: bool = False
    cancel_requested: bool = False


class OrdersReply(Reply, frozen=True, kw_only=True):
    orders: list[OrderRow]


class SymbolRow(msgspec.Struct, frozen=True, kw_only=True):
    symbol_id: int
    symbol: str


class SymbolsReply(Reply, frozen=True, kw_only=True):
    symbols: list[SymbolRow]


class StrategyAccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one strategy's own orders have brought, from 0."""

    strategy: str
    balance: float
    equity: float
    profit: float
    margin: float


class AccountReply(Reply, frozen=True, kw_only=True):
    currency: str
    balance: float
    equity: float
    profit: float
    margin: float
    margin_free: float
    margin_level: float
    strategies: list[StrategyAccountRow] = []


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    strategy: str
    """Whose; "" for the engine."""
    limit: str
    """Its key in the config."""
    value: str
    used: float | msgspec.UnsetType = msgspec.UNSET
    """How much of it, in the same unit, where that can be said."""


class LimitsReply(Reply, frozen=True, kw_only=True):
    limits: list[LimitRow]


class TradingStateRow(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    by: str
    reason: str
    since_us: int


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue of a child, as long as it was when it last spoke."""

    name: str
    peer: str
    """For whom it waits; "" where that is no question."""
    depth: int
    limit: int
    when_full: str


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
    started_us: int
    """When its present life began; 0 if it has none."""
    last_error: str
    """Why a life of it ended last that was not meant to, in a line."""
    queues: list[QueueRow]


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
    telemetry: str = ""
    """Where the feeds are bound, as the config says; empty: turned off."""
    broadcast: str = ""


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
    argument = argument.strip()
    if not known.is_operation:
        return Command(verb, argument)
    words = argument.split()
    tokens = [word[3:] for word in words if word.startswith("id=")]
    argument = " ".join(word for word in words if not word.startswith("id="))
    if len(tokens) > 1 or (tokens and not re.fullmatch(TOKEN_PATTERN, tokens[0])):
        return BadCommand(f"{verb}: one id=TOKEN of 1 to 64 letters, digits, '_', '.' and '-'")
    if mistake := _bad_argument(verb, argument):
        return BadCommand(f"{verb} {known.arguments}: {mistake}")
    return Command(verb, argument, tokens[0] if tokens else "")


def _bad_argument(verb: str, argument: str) -> str:
    if verb == "CANCEL" and argument != "ALL" and not re.fullmatch(r"[1-9]\d{0,18}", argument):
        return f"an order's id, or ALL, not {argument[:SHOWN_MAX]!r}"
    if verb == "FLATTEN" and " " in argument:
        return f"one symbol, or none for all, not {argument[:SHOWN_MAX]!r}"
    if verb == "DEPOSIT":
        amount = argument.partition(" ")[0]
        if not re.fullmatch(AMOUNT_PATTERN, amount):
            return f"an amount such as 500 or -20.5, exact in 0.000001, not {amount[:SHOWN_MAX]!r}"
        return "an amount that is not 0" if not amount.strip("-0.") else ""
    return ""
