"""The states inside a CHECKPOINT: risk's, which is everyone's start (F3), and the one that a strategy saves.

Owns their bytes: MessagePack arrays, fields in order, appended and never reordered; every field that is appended
later has a default. What they mean is the fold's business (actors/fold_state.py). The bytes are canonical: the same
state gives the same bytes, so rows are sorted; what a strategy saves stays in its own order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from protocol.errors import WireError
from protocol.orders import OrderStatus, TradingMode
from protocol.records import UNREADABLE, Operation, OrderPlace, OrderReplace

STATE_BYTES_MAX: Final = 512 * 1024
"""Of one strategy; a larger one is not kept, so that one strategy cannot make all checkpoints too large."""
RISK: Final = "risk"
"""The name of the state that every fold starts from."""


class PositionState(msgspec.Struct, array_like=True, frozen=True):
    symbol_id: int
    quantity: int
    cost: bytes
    realized: bytes
    opened_at: int
    """The multiplier, micros, at which it was opened; 0 if flat."""
    currency: str = ""
    """The quote currency in which it was opened; "": the account's, or it is flat."""


class TradingStateState(msgspec.Struct, array_like=True, frozen=True):
    mode: TradingMode
    by: str
    reason: str
    token: int
    since_us: int


class OrderState(msgspec.Struct, array_like=True, frozen=True):
    place: OrderPlace
    status: OrderStatus
    reason: str
    filled: int
    fills: int
    fill_product: bytes
    cancel_requested: bool
    execution_ids: tuple[str, ...]
    parent_id: int = 0
    stop_price: int = 0
    is_triggered: bool = False
    accepted_us: int = 0
    replace: OrderReplace | None = None
    """Asked for and not answered."""


class HoldingState(msgspec.Struct, array_like=True, frozen=True):
    symbol_id: int
    quantity: int
    cost: bytes
    realized: bytes


class StrategyAccountState(msgspec.Struct, array_like=True, frozen=True):
    strategy_id: int
    commission: bytes
    holdings: tuple[HoldingState, ...]


class LossState(msgspec.Struct, array_like=True, frozen=True):
    """From where losses count, as products."""

    day: int
    """Days since the epoch, of the newest record that moved money."""
    day_balance: bytes
    peak_balance: bytes
    strategies: tuple[tuple[int, bytes, bytes], ...]
    """(strategy id, day_balance, peak_balance)."""
    violations: tuple[tuple[str, int, int, bytes], ...]
    """(limit, strategy id or 0, day, the limit's value as a product) of the last RISK_VIOLATION of each."""


class FoldState(msgspec.Struct, array_like=True, frozen=True):
    opening_balance: bytes
    balance: bytes
    commission: bytes
    positions: tuple[PositionState, ...]
    trading: TradingStateState
    cleared_token: int
    halt_tokens: tuple[int, ...]
    drawdown_baselines: tuple[tuple[int, bytes], ...]
    highest_order_id: int
    orders: tuple[OrderState, ...]
    owed: tuple[tuple[int, bytes], ...]
    answered: tuple[tuple[int, tuple[int, ...]], ...]
    venue_times: tuple[int, int] | None = None
    """The venue's time of the newest record that has one: of all, and of this run (0: none). None: an older version."""
    strategies: tuple[StrategyAccountState, ...] | None = None
    """What each strategy's own orders have left. None: an older version."""
    losses: LossState | None = None
    """None: an older version."""
    commands: tuple[tuple[int, Operation], ...] = ()
    """(LSN, COMMAND) of those that are not carried out yet."""
    command_tokens: tuple[tuple[str, int, bytes], ...] = ()
    """(token, LSN, digest of what was asked for), oldest first."""
    venue_seq: int = 0
    """The highest number of an external venue's report."""


class FeedState(msgspec.Struct, array_like=True, frozen=True):
    """Where a strategy stands in the market, as positions (3 × tick + phase)."""

    epoch: bytes
    chunk: int
    """The end of the last DATA that is done with: the stream goes on behind it …"""
    tick: int
    """… and what comes up to here has been seen already: ticks …"""
    bar: int
    """… and bars."""


class SignalState(msgspec.Struct, array_like=True, frozen=True):
    number: int
    symbol: str
    side: str
    quantity: float
    group: int = 0


class AskedState(msgspec.Struct, array_like=True, frozen=True):
    """A signal that was sent and not answered."""

    intent: bytes
    """The message to risk."""
    signal: SignalState
    cancel: SignalState | None
    """What is to cancel it when it has become an order."""


class UntoldState(msgspec.Struct, array_like=True, frozen=True):
    """A signal that never left, of which on_order had not been told yet."""

    signal: SignalState
    reason: str


class StrategyState(msgspec.Struct, array_like=True, frozen=True):
    feed: FeedState
    saved: Any
    """What `save()` gave: JSON-like values."""
    asked: tuple[AskedState, ...] = ()
    untold: tuple[UntoldState, ...] = ()
    class_path: str = ""
    """`module:Class` of the strategy that saved it; "" from before this was said."""


_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_IN_ORDER: Final = msgspec.msgpack.Encoder()
"""For what has a `saved` in it: the order of a dict is its author's, who may act on it."""
_PLAIN: Final = (type(None), bool, int, float, str, bytes)
_FOLD: Final = msgspec.msgpack.Decoder(FoldState)
_STRATEGY: Final = msgspec.msgpack.Decoder(StrategyState)

encode_state = _ENCODER.encode


def encode_with_saved(state: Any, saved: Any) -> bytes:
    """`saved` is what `save()` gave, somewhere in `state`.

    Raises: TypeError, for the strategy's author, if `load` would not get it back as it was.
    """
    try:
        _check_saved(saved, "")
        return _IN_ORDER.encode(state)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(f"save() gave what is no JSON-like value: {error}") from error


def _check_saved(value: Any, where: str) -> None:
    """A tuple comes back as a list, as in JSON; what else would come back as another kind is refused."""
    kind = type(value)
    if kind is list or kind is tuple:
        items: Iterable[tuple[Any, Any]] = enumerate(value)
    elif kind is dict:
        items = value.items()
        for key in value:
            if type(key) is not str:
                raise TypeError(f"a key {key!r}{_in(where)}: only str can be one")
    elif kind in _PLAIN:
        return
    else:
        raise TypeError(f"a {kind.__name__}{_in(where)}: it may be None, bool, int, float, str, bytes, list or dict")
    for key, item in items:
        if type(item) not in _PLAIN:  # of the many that are, no place is written down
            _check_saved(item, f"{where}[{key!r}]")


def _in(where: str) -> str:
    return f" in {where}" if where else ""


def encode_strategy_state(state: StrategyState) -> bytes:
    """Without the last three fields where all are empty, as versions wrote it that had none.

    Raises: TypeError, for the strategy's author, if what `save` gave cannot be written.
    """
    whole = state if state.asked or state.untold or state.class_path else (state.feed, state.saved)
    return encode_with_saved(whole, state.saved)


def decode_fold_state(data: bytes) -> FoldState:
    """Raises: WireError."""
    try:
        return _FOLD.decode(data)
    except UNREADABLE as error:
        raise WireError(f"the state of risk in a CHECKPOINT: {error}") from error


def decode_strategy_state(data: bytes) -> StrategyState:
    """Raises: WireError."""
    try:
        return _STRATEGY.decode(data)
    except UNREADABLE as error:
        raise WireError(f"the state of a strategy in a CHECKPOINT: {error}") from error
