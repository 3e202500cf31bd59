"""An order as the paper venue works it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from actors.order_tracker import Order
from actors.replacing import replaced
from actors.venues.lifetime import IMMEDIATE
from protocol.orders import OrderType, Side
from protocol.records import OrderPlace, OrderReplace


class Quote(NamedTuple):
    timestamp: int
    bid: int
    ask: int


class Working(msgspec.Struct):
    """An order that works. Micros; changed by the venue alone."""

    place: OrderPlace
    order_id: int
    symbol_id: int
    is_buy: bool
    limit_price: int
    """0: at any price."""
    stop_price: int
    """Where its stop stands; 0: none, or a trailing one that has not seen a quote."""
    waits_for_stop: bool
    remaining: int
    filled: int = 0
    fills: int = 0
    fill_product: int = 0
    expires_us: int | None = None
    parent_id: int = 0

    @property
    def is_immediate(self) -> bool:
        return self.place.time_in_force in IMMEDIATE

    def take_fill(self, price: int, quantity: int) -> None:
        self.fills += 1
        self.filled += quantity
        self.fill_product += price * quantity
        self.remaining -= quantity

    @classmethod
    def of(cls, place: OrderPlace, parent_id: int = 0) -> Working:
        is_stop = place.order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
        has_limit = place.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        return cls(
            place, place.order_id, place.symbol_id, place.side is Side.BUY, place.limit_price if has_limit else 0,
            place.stop_price if is_stop else 0, is_stop, place.quantity, parent_id=parent_id,
        )  # fmt: skip

    def take(self, request: OrderReplace) -> None:
        """It works on as asked for. The size of an exit follows what it protects, and nobody asks for it."""
        self.place = replaced(self.place, request)
        if request.quantity:
            self.remaining = request.quantity - self.filled
        self.limit_price = request.limit_price or self.limit_price
        self.stop_price = request.stop_price or self.stop_price

    @classmethod
    def restored(cls, order: Order) -> Working:
        """As the journal tells it."""
        working = cls.of(order.place, order.parent_id)
        working.remaining = order.remaining
        working.filled, working.fills, working.fill_product = order.filled, order.fills, order.fill_product
        working.stop_price = order.stop_price or working.stop_price
        if order.is_triggered or order.fills:
            working.waits_for_stop = False
        return working
