"""The strategy's desk: what its author may call and look at, turned into signals and out of the fold.

The edge between an author's floats and the engine's integers, the same in a live engine and in a replay. It sends
nothing itself: `ask` does, or says why not; and it knows no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from actors.fold import FillBooked, Fold
from actors.order_fields import ImpossibleOrderError, change_fields, exit_fields, group_of, order_fields
from actors.order_tracker import Order
from actors.strategies import Fill, OrderInfo, OrderTerms, PositionInfo, Signal
from protocol.errors import WireError
from protocol.messages import (
    SIGNAL_CANCEL,
    SIGNAL_CLOSE,
    SIGNAL_MODIFY,
    SIGNAL_ORDER,
    Intent,
    decode_message,
    encode_message,
)
from protocol.orders import Side
from protocol.state import AskedState, SignalState
from protocol.units import MICROS, PRODUCT

SIDES: Final = {"Buy": Side.BUY, "Sell": Side.SELL}
"""A signal's side, as the author reads it -> as it travels."""
DOES_NOT_TRADE: Final = "does_not_trade: trades = false in the config"
"""Refused where it is asked for: in a replay a record of it would stand wherever the schedule put it (P13)."""
TIMER_MIN_S: Final = 0.001
"""The shortest interval of `every`."""


@dataclass(slots=True)
class Sent:
    """A signal that is not answered yet."""

    intent: Intent
    signal: Signal
    cancel: Signal | None = None
    """Asked for before this was an order."""
    lost_after_lsn: int | None = None
    """If the fold passes this LSN without an answer there will be none; None while risk may still give one."""

    @property
    def is_perishable(self) -> bool:
        return self.intent.kind == SIGNAL_ORDER


class Carrier(Protocol):
    """Who carries the signals."""

    @property
    def unanswered(self) -> Mapping[int, Sent]: ...

    def ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        """The signal is on its way to risk, or refused here. `fields` are an Intent's."""
        ...

    def refuse_here(self, signal: Signal, reason: str) -> Signal:
        """The signal never leaves; on_order says so before the next tick."""
        ...

    def every(self, seconds: float, hook: Callable[[], None]) -> None: ...


class Desk:
    """strategies.Runtime. `symbols`: every name by id."""

    def __init__(
        self, carrier: Carrier, fold: Fold, symbols: Sequence[str], strategy_id: int, last_number: int
    ) -> None:
        self._carrier = carrier
        self._fold = fold
        self._ids = {name: symbol_id for symbol_id, name in enumerate(symbols)}
        self._names = symbols
        self._strategy_id = strategy_id
        self.last_number = last_number
        """The highest number of a signal of this strategy, of this life or in the journal."""

    def symbol_id(self, symbol: str) -> int | None:
        return self._ids.get(symbol)

    def raise_number(self, *numbers: int) -> None:
        """Signals are numbered on from above these."""
        self.last_number = max((self.last_number, *numbers))

    # Calls.

    def place(self, symbol: str, side: str, quantity: float, terms: OrderTerms) -> Signal:
        signal = self._new_signal(symbol, side, quantity)
        signal.group = group_of(terms)
        try:
            fields = order_fields(quantity, terms)
        except ImpossibleOrderError as error:
            return self._carrier.refuse_here(signal, str(error))
        return self._ask(SIGNAL_ORDER, signal, **fields)

    def cancel(self, target: int | Signal) -> Signal:
        if isinstance(target, Signal) and not target.order_id:
            sent = self._carrier.unanswered.get(target.number)
            if sent is not None:
                sent.cancel = self._new_signal(target.symbol, target.side, target.quantity)
                return sent.cancel
        return self._of_order(SIGNAL_CANCEL, target.order_id if isinstance(target, Signal) else target)

    def modify(self, target: int | str, changes: dict[str, Any]) -> Signal:
        is_position = isinstance(target, str)
        try:
            fields = exit_fields(changes) if is_position else change_fields(changes)
        except ImpossibleOrderError as error:
            return self._carrier.refuse_here(self._new_signal(target if is_position else "", "Buy", 0.0), str(error))
        if is_position:
            return self._ask(SIGNAL_MODIFY, self._new_signal(target, "Buy", 0.0), **fields)
        return self._of_order(SIGNAL_MODIFY, target, **fields)

    def close(self, symbol: str) -> Signal:
        return self._ask(SIGNAL_CLOSE, self._new_signal(symbol, "Buy", 0.0))

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        self._carrier.every(seconds, hook)

    def _of_order(self, kind: int, order_id: int, **fields: Any) -> Signal:
        order = self._fold.tracker.orders.get(order_id)
        if order is None:
            return self._carrier.refuse_here(self._new_signal("", "Buy", 0.0), f"unknown_order: {order_id}")
        signal = self._new_signal(self._names[order.symbol_id], order.side.label, order.quantity / MICROS)
        return self._ask(kind, signal, order_id=order_id, **fields)

    def _new_signal(self, symbol: str, side: str, quantity: float) -> Signal:
        self.last_number += 1
        return Signal(self.last_number, symbol, side, quantity)

    def _ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        if signal.symbol not in self._ids:
            known = ", ".join(self._ids)
            return self._carrier.refuse_here(signal, f"unknown_symbol: {signal.symbol!r}; known are {known}")
        return self._carrier.ask(kind, signal, **fields)

    # What the strategy may look at.

    def position(self, symbol: str) -> PositionInfo:
        if symbol not in self._ids:
            raise ValueError(f"{symbol!r} is no [[instruments]]; known are {', '.join(self._ids)}")
        view = self._fold.position_view(self._ids[symbol], self._strategy_id)
        return PositionInfo(symbol, view.quantity / MICROS, view.average_price_float, view.realized / PRODUCT)

    def orders(self) -> list[OrderInfo]:
        asked = [
            OrderInfo(0, number, sent.signal.symbol, sent.signal.side, "New", "", 0.0, sent.signal.quantity)
            for number, sent in self._carrier.unanswered.items()
            if sent.intent.kind in (SIGNAL_ORDER, SIGNAL_CLOSE)
        ]
        return asked + [self.order_info(order) for order in self._fold.tracker.open_of_strategy(self._strategy_id)]

    # What its hooks are told.

    def order_info(self, order: Order) -> OrderInfo:
        return OrderInfo(
            order.order_id, order.signal, self._names[order.symbol_id], order.side.label, order.status.label,
            order.reason, order.filled / MICROS, order.quantity / MICROS, order.limit_price / MICROS,
            (order.stop_price or order.place.stop_price) / MICROS,
        )  # fmt: skip

    def fill(self, change: FillBooked) -> Fill:
        order = change.order
        return Fill(
            order.order_id, self._names[order.symbol_id], order.side.label, change.price / MICROS,
            change.quantity / MICROS, change.own_realized / PRODUCT,
        )  # fmt: skip


def refusal(sent: Sent, reason: str, detail: str) -> OrderInfo:
    """What on_order is told of a signal that risk refused, or that was lost."""
    signal, text = sent.signal, f"{reason}: {detail}" if detail else reason
    return OrderInfo(
        sent.intent.order_id, signal.number, signal.symbol, signal.side, "Rejected", text, 0.0, signal.quantity
    )


def is_too_late(sent: Sent, order: Order | None) -> bool:
    """A cancel or a change came too late: nothing else will come of it."""
    return sent.intent.kind in (SIGNAL_CANCEL, SIGNAL_MODIFY) and (order is None or not order.is_open)


def refusal_here(signal: Signal, reason: str) -> OrderInfo:
    """What on_order is told of a signal that never left."""
    return OrderInfo(0, signal.number, signal.symbol, signal.side, "Rejected", reason, 0.0, signal.quantity)


# Over a strategy's lives.


def asked_state(sent: Sent) -> AskedState:
    return AskedState(encode_message(sent.intent), _state_of(sent.signal), sent.cancel and _state_of(sent.cancel))


def sent_of(state: AskedState) -> Sent:
    """Raises: WireError."""
    intent = decode_message(state.intent)
    if not isinstance(intent, Intent):
        raise WireError(f"a strategy's state has a {type(intent).__name__} among its signals")
    return Sent(intent, signal_of(state.signal), state.cancel and signal_of(state.cancel))


def _state_of(signal: Signal) -> SignalState:
    return SignalState(signal.number, signal.symbol, signal.side, signal.quantity, signal.group)


def signal_of(state: SignalState) -> Signal:
    return Signal(state.number, state.symbol, state.side, state.quantity, group=state.group)
