"""The order tables: every order by id, the open ones by symbol and by strategy, and each execution id once.

Owns what an order's status, filled quantity and average fill price are, given what the venue said. It moves
no money (ledger.py) and reads no journal (fold.py). A report that cannot be true is told to the caller, never
raised: what to do about a venue that contradicts itself is a decision, not an accident.

Final orders leave the open tables but stay in `orders`, because a rejected one may revive (V3), and their execution
ids with them, because a venue may repeat them after any restart (F3): until `forget_ended`, which the venue allows.

A bracket's exits become orders at their parent's first fill, without an ORDER_PLACE of their own (P4, brackets.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from actors.brackets import exit_ids, exits_of, has_exits
from actors.replacing import replaced
from protocol.orders import FINAL_STATUSES, OrderStatus, OrderType, Report, Side, advance
from protocol.records import FIRST_EXTERNAL, OrderPlace, OrderReplace, OrderUpdate
from protocol.units import MICROS, divide_half_even

_FILL: Final = Report.FILL
_TRIGGER: Final = Report.TRIGGER
_BUY: Final = Side.BUY
_REPLACE: Final = Report.REPLACE
_REPLACES: Final = (Report.REPLACE, Report.REPLACE_REJECT)
_REMARKS: Final = (Report.ACCEPT, Report.TRIGGER, Report.RESTATE)


class Order(msgspec.Struct, eq=False, gc=False):
    """One order as the journal tells it. Quantities and prices in micros; changed by the tracker alone."""

    place: OrderPlace
    """As it was approved, for whoever must compare or send it."""
    order_id: int
    strategy_id: int
    signal: int
    symbol_id: int
    side: Side
    order_type: OrderType
    quantity: int
    limit_price: int
    reduce_only: bool
    status: OrderStatus = OrderStatus.NEW
    reason: str = ""
    """The reason of the last report that gave one."""
    filled: int = 0
    fills: int = 0
    """Executions booked."""
    fill_product: int = 0
    """Sum of price x quantity over its fills."""
    cancel_requested: bool = False
    """An ORDER_CANCEL was recorded; outstanding for as long as the order is open."""
    parent_id: int = 0
    """Of a bracket's exit: the order whose fills it protects; of a position's: what its `protects` says."""
    stop_price: int = 0
    """Where its stop stands, if the venue has said so (RESTATE); else it is as placed."""
    is_triggered: bool = False
    """The venue said TRIGGER. A stop order with fills has been triggered too."""
    accepted_us: int = 0
    """The venue's time of its ACCEPT; if that had none, of the RESTATE after it."""
    replace: OrderReplace | None = None
    """An ORDER_REPLACE that the venue has not answered; until then the order is what it was."""

    @classmethod
    def of(cls, place: OrderPlace) -> Order:
        """The order as it is when it has been approved, and nothing was heard of it."""
        return cls(
            place, place.order_id, place.strategy_id, place.signal, place.symbol_id, place.side, place.order_type,
            place.quantity, place.limit_price, place.reduce_only, parent_id=place.protects,
        )  # fmt: skip

    @property
    def is_open(self) -> bool:
        return self.status not in FINAL_STATUSES

    @property
    def is_the_venues(self) -> bool:
        """A bracket's exit: the venue makes it itself, and nobody sends it."""
        return bool(self.parent_id) and not self.place.protects

    @property
    def is_external(self) -> bool:
        """It stands at the venue and came from elsewhere: nobody's here, and nobody's to cancel but by its id."""
        return self.order_id >= FIRST_EXTERNAL

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def reserved(self) -> int:
        """What it may still fill, whichever way a replace that is asked for turns out."""
        replace = self.replace
        return self.remaining if replace is None else max(self.quantity, replace.quantity) - self.filled

    @property
    def average_price_micros(self) -> int:
        """Of its fills, rounded half to even; 0 without any."""
        return divide_half_even(self.fill_product, self.filled)

    @property
    def average_price_float(self) -> float:
        return self.fill_product / (self.filled * MICROS) if self.filled else 0.0

    @property
    def shown_price_micros(self) -> int:
        """The average of its fills once there are any, else the limit price, else 0 (design section 7)."""
        return self.average_price_micros if self.filled else self.limit_price

    @property
    def shown_price_float(self) -> float:
        """shown_price_micros for JSON, without its rounding."""
        return self.average_price_float if self.filled else self.limit_price / MICROS

    def resize(self, quantity: int) -> None:
        """A bracket's exit is for `quantity` from here on."""
        self.quantity = quantity
        self.place = msgspec.structs.replace(self.place, quantity=quantity)

    def end_replace(self, *, is_done: bool) -> None:
        """What was asked for holds, or never will."""
        request, self.replace = self.replace, None
        if request is None or not is_done:
            return
        self.place = place = replaced(self.place, request)
        self.quantity, self.limit_price = place.quantity, place.limit_price
        if request.stop_price:
            self.stop_price = 0  # where a trailing one stood counts no more

    def __repr__(self) -> str:
        return (
            f"Order({self.order_id}, {self.side.label} {self.filled}/{self.quantity} of symbol {self.symbol_id}, "
            f"{self.status.label})"
        )


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Base of what a report amounts to."""


class Advance(Verdict, frozen=True):
    """The report is possible; `status` follows."""

    order: Order
    status: OrderStatus


class Duplicate(Verdict, frozen=True):
    """An execution that is booked already. Nothing moves."""

    order_id: int
    execution_id: str


class Impossible(Verdict, frozen=True):
    """The report contradicts what is known. Nothing moves."""

    order_id: int
    reason: str


class OrderTracker:
    __slots__ = (
        "_open_by_strategy", "_open_by_symbol", "_protecting", "execution_ids", "highest_id", "open_orders", "orders",
    )  # fmt: skip

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.open_orders: dict[int, Order] = {}
        """By id, and in order of id, as the tables beside it: what is done and told of them must not depend on whether
        they were opened here or came from a checkpoint (P11)."""
        self._open_by_symbol: defaultdict[int, dict[int, Order]] = defaultdict(dict)
        self._open_by_strategy: defaultdict[int, dict[int, Order]] = defaultdict(dict)
        self._protecting: dict[int, Order] = {}
        """By id, the open exits that follow a position."""
        self.execution_ids: dict[str, int] = {}
        """Order id by execution id, in the order in which they were booked."""
        self.highest_id = 0
        """Of the ids placed or reserved (a bracket's children, P4)."""

    @property
    def next_order_id(self) -> int:
        return self.highest_id + 1

    def open_in_symbol(self, symbol_id: int) -> Iterable[Order]:
        return self._open_by_symbol.get(symbol_id, {}).values()

    def open_of_strategy(self, strategy_id: int) -> Collection[Order]:
        return self._open_by_strategy.get(strategy_id, {}).values()

    def open_quantities(self, symbol_id: int, strategy_id: int | None = None) -> tuple[int, int]:
        """(buy, sell) micros that open orders in the symbol, all or one strategy's, may still fill.

        A bracket's exits are left out: the venue lets them reduce only, whatever else fills, and a position that has
        them may be closed all the same.
        """
        buy = sell = 0
        for order in self.open_in_symbol(symbol_id):
            if order.parent_id or strategy_id not in (None, order.strategy_id):
                continue
            if order.side is _BUY:
                buy += order.reserved
            else:
                sell += order.reserved
        return buy, sell

    def add(self, place: OrderPlace) -> Order | None:
        """The new order, in the tables; None if its id was used before (and then nothing has changed)."""
        order_id = place.order_id
        if order_id in self.orders:
            return None
        order = self.orders[order_id] = Order.of(place)
        if self.highest_id < order_id < FIRST_EXTERNAL:
            self.highest_id = order_id
        if has_exits(place) and order_id < FIRST_EXTERNAL:
            self.highest_id = max((self.highest_id, *exit_ids(place)))
        self._open(order)
        return order

    def apply_update(self, update: OrderUpdate) -> Verdict:
        """What the report amounts to; if it is possible, it is applied."""
        verdict = self.examine(update)
        if type(verdict) is Advance:
            self.commit(verdict, update)
        return verdict

    def examine(self, update: OrderUpdate) -> Verdict:
        """What the report amounts to; nothing changes. So the ledger can be asked before anything moves."""
        order = self.orders.get(update.order_id)
        if order is None:
            return Impossible(update.order_id, "unknown_order")
        report = update.report
        if report is _FILL:
            if update.execution_id in self.execution_ids:
                return Duplicate(update.order_id, update.execution_id)
            if not update.execution_id:
                # Without an id a repetition could not be told from a second fill.
                return Impossible(update.order_id, "fill_without_execution_id")
            if not update.price:
                return Impossible(update.order_id, "fill_without_price")  # 0 is "none" (records.py)
        elif report in _REPLACES and order.is_open and (reason := _why_no_replace(order, update)):
            return Impossible(update.order_id, reason)
        status = advance(order.status, report, order.quantity, order.filled, update.quantity)
        if status is None:
            return Impossible(update.order_id, _why_impossible(order, update))
        return Advance(order, status)

    def commit(self, verdict: Advance, update: OrderUpdate) -> list[Order]:
        """The report that `verdict` was about is in the tables; the exits that it has made orders, else nothing."""
        order, status = verdict.order, verdict.status
        was_final, is_final = order.status in FINAL_STATUSES, status in FINAL_STATUSES
        order.status = status
        if update.reason and update.report not in _REPLACES:
            order.reason = update.reason
        if update.report is _FILL:
            quantity = update.quantity
            self.execution_ids[update.execution_id] = order.order_id
            order.filled += quantity
            order.fills += 1
            order.fill_product += update.price * quantity
        elif update.report in _REMARKS:
            self._remark(order, update)
        elif update.report in _REPLACES:
            order.end_replace(is_done=update.report is _REPLACE)
            order.reason = update.reason if order.is_open else order.reason
        if is_final and not was_final:
            order.end_replace(is_done=False)
            self._close(order)
        elif was_final and not is_final:
            self._open(order)
        if update.report is _FILL and (order.parent_id or has_exits(order.place)):
            return self._protect(order, update.quantity)
        return []

    def _remark(self, order: Order, update: OrderUpdate) -> None:
        """What the venue needs again when it is built anew from the fold."""
        if update.report is _TRIGGER:
            order.is_triggered = True
            return
        order.accepted_us = order.accepted_us or update.venue_time
        order.stop_price = update.price or order.stop_price

    def _protect(self, order: Order, quantity: int) -> list[Order]:
        """After a fill: exits are made or enlarged; what an exit has filled its sibling loses (P4)."""
        if order.place.protects:
            return []  # fit_exits has the position to go by
        if order.parent_id:
            for sibling in self._open_by_symbol.get(order.symbol_id, {}).values():
                if sibling.parent_id == order.parent_id and sibling is not order:
                    sibling.resize(sibling.quantity - quantity)
        elif has_exits(order.place):
            if order.fills == 1:
                return [self._make_exit(place, order.order_id) for place in exits_of(order.place, quantity)]
            for order_id in exit_ids(order.place):
                if (child := self.open_orders.get(order_id)) is not None:
                    child.resize(child.quantity + quantity)
        return []

    def exits_of(self, strategy_id: int, symbol_id: int) -> list[Order]:
        """The open ones, a bracket's and a position's, by id."""
        return [o for o in self.open_in_symbol(symbol_id) if o.parent_id and o.strategy_id == strategy_id]

    def fit_exits(self, strategy_id: int, symbol_id: int, position: int) -> None:
        """The exits of this position are for what is left of it; those that are for nothing the venue ends."""
        for order in self._protecting.values():
            is_its = order.strategy_id == strategy_id and order.symbol_id == symbol_id
            left = -position * order.side.sign
            if is_its and left > 0 and order.status is not OrderStatus.NEW and order.remaining != left:
                order.resize(order.filled + left)

    def _make_exit(self, place: OrderPlace, parent_id: int) -> Order:
        exit_order = self.orders[place.order_id] = Order.of(place)
        exit_order.parent_id = parent_id
        self._open(exit_order)
        return exit_order

    def give(self, order: Order, strategy_id: int, protects: int) -> None:
        """The open order is another strategy's from here on, and protects another position or none."""
        if (order.strategy_id, order.place.protects) != (strategy_id, protects):
            self._close(order)
            if not order.is_the_venues:
                order.parent_id = protects
            order.strategy_id = strategy_id
            order.place = msgspec.structs.replace(order.place, strategy_id=strategy_id, protects=protects)
            self._open(order)

    def restore(self, order: Order, execution_ids: Iterable[str]) -> None:
        """An order of a checkpoint is in the tables."""
        self.orders[order.order_id] = order
        self.execution_ids.update(dict.fromkeys(execution_ids, order.order_id))
        if order.is_open:
            self._open(order)

    def forget_ended(self) -> None:
        """Orders that have ended, and their execution ids, are not known any more; their ids are never used again."""
        self.orders = dict(self.open_orders)
        self.execution_ids = {key: order_id for key, order_id in self.execution_ids.items() if order_id in self.orders}

    def _open(self, order: Order) -> None:
        order_id, symbol_id, strategy_id = order.order_id, order.symbol_id, order.strategy_id
        if order.place.protects:
            self._protecting[order_id] = order
        for table in (self.open_orders, self._open_by_symbol[symbol_id], self._open_by_strategy[strategy_id]):
            is_last = not table or next(reversed(table)) < order_id
            table[order_id] = order
            if not is_last:  # an exit whose id was reserved long ago, or one that is revived
                in_order = sorted(table.items())
                table.clear()
                table.update(in_order)

    def _close(self, order: Order) -> None:
        order_id = order.order_id
        del self.open_orders[order_id]
        self._protecting.pop(order_id, None)
        del self._open_by_symbol[order.symbol_id][order_id]
        del self._open_by_strategy[order.strategy_id][order_id]


def _why_no_replace(order: Order, update: OrderUpdate) -> str:
    """What the venue answers must have been asked for, and not be answered yet."""
    request = order.replace
    if request is None or update.execution_id != str(request.signal):
        return "replace_without_request"
    is_done = update.report is _REPLACE
    return "replace_below_filled" if is_done and 0 < request.quantity <= order.filled else ""


def _why_impossible(order: Order, update: OrderUpdate) -> str:
    if update.report == _FILL and order.is_open:
        return "overfill" if update.quantity > 0 else "empty_fill"
    return f"{update.report.name.lower()}_after_{order.status.name.lower()}"
