"""The paper venue: market and limit orders against bid and ask, as a pure model.

Whole orders fill at once; size is not modelled. A market order fills at the ask if it buys, at the bid if it
sells; in a symbol without a quote it waits for the first one (P10). A limit order that is marketable on arrival
fills at the quote; one that rests fills at its limit when the market reaches it, never better: after a restart
nobody knows any more how far the market had jumped. Orders that one quote reaches fill in the order of their ids
(P6).

It is a fold inside order_routing (V2): `restore` takes the open orders from the journal, and an order without an
answer is placed again. That books nothing twice, because execution ids are a function of the order and its
number of fills, `{order_id}-{n}`, and a fill whose record was lost was never believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from actors.order_tracker import Order
from protocol.orders import OrderType, Report, Side, TimeInForce
from protocol.records import OrderPlace, OrderUpdate
from protocol.units import divide_half_even


class Quote(NamedTuple):
    timestamp: int
    bid: int
    ask: int


class Working(NamedTuple):
    """An order that waits for the market. Micros."""

    order_id: int
    symbol_id: int
    is_buy: bool
    limit_price: int | None
    """None: at any price."""
    remaining: int
    next_fill: int
    """The number of its next execution."""


class PaperVenue:
    """`lot_sizes` are micros by symbol id; orders in other symbols are rejected."""

    def __init__(self, lot_sizes: Mapping[int, int], commission_per_lot: int) -> None:
        self._lot_sizes: Final = dict(lot_sizes)
        self._commission_per_lot: Final = commission_per_lot
        self._quotes: Final[dict[int, tuple[int, int, int]]] = {}
        self._symbol_of: Final[dict[int, int]] = {}
        self._working: Final[dict[int, dict[int, Working]]] = {}
        """By symbol id, then by order id; a symbol without working orders has no entry."""

    def restore(self, order: Order) -> None:
        """`order` works again, with what is left of it."""
        self._rest(_working(order.place, order.remaining, order.fills + 1))

    def place(self, place: OrderPlace) -> list[OrderUpdate]:
        """ACCEPT, and FILL if the quote allows it; REJECT; nothing for an order that works here already."""
        if place.order_id in self._symbol_of:
            return []
        quote = self._quote(place.symbol_id)
        venue_time = quote.timestamp if quote else 0
        reason = self._objection(place)
        if reason:
            return [OrderUpdate(place.order_id, Report.REJECT, reason=reason, venue_time=venue_time)]
        updates = [OrderUpdate(place.order_id, Report.ACCEPT, venue_time=venue_time)]
        order = _working(place, place.quantity, 1)
        if quote and _reached(order, quote.bid, quote.ask):
            updates.append(self._fill(order, quote.ask if order.is_buy else quote.bid, quote.timestamp))
        else:
            self._rest(order)
        return updates

    def cancel(self, order_id: int) -> list[OrderUpdate]:
        """CANCEL, or nothing if the order is unknown here or has ended."""
        symbol_id = self._symbol_of.get(order_id)
        if symbol_id is None:
            return []
        self._remove(order_id, symbol_id)
        quote = self._quote(symbol_id)
        return [OrderUpdate(order_id, Report.CANCEL, venue_time=quote.timestamp if quote else 0)]

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int) -> list[OrderUpdate]:
        """A FILL for each working order that the quote reaches. Without any it costs the storing of the quote."""
        self._quotes[symbol_id] = (timestamp, bid, ask)
        working = self._working.get(symbol_id)
        if working is None:
            return []
        reached = sorted(order for order in working.values() if _reached(order, bid, ask))
        updates: list[OrderUpdate] = []
        for order in reached:
            self._remove(order.order_id, symbol_id)
            price = order.limit_price if order.limit_price is not None else ask if order.is_buy else bid
            updates.append(self._fill(order, price, timestamp))
        return updates

    def _quote(self, symbol_id: int) -> Quote | None:
        quote = self._quotes.get(symbol_id)
        return None if quote is None else Quote._make(quote)

    def _objection(self, place: OrderPlace) -> str:
        if place.symbol_id not in self._lot_sizes:
            return "unknown_symbol"
        if place.order_type not in (OrderType.MARKET, OrderType.LIMIT) or place.time_in_force != TimeInForce.GTC:
            return "unsupported"
        return "bad_quantity" if place.quantity <= 0 else ""

    def _fill(self, order: Working, price: int, timestamp: int) -> OrderUpdate:
        return OrderUpdate(
            order_id=order.order_id,
            report=Report.FILL,
            execution_id=f"{order.order_id}-{order.next_fill}",
            price=price,
            quantity=order.remaining,
            commission=divide_half_even(self._commission_per_lot * order.remaining, self._lot_sizes[order.symbol_id]),
            venue_time=timestamp,
        )

    def _rest(self, order: Working) -> None:
        self._symbol_of[order.order_id] = order.symbol_id
        self._working.setdefault(order.symbol_id, {})[order.order_id] = order

    def _remove(self, order_id: int, symbol_id: int) -> None:
        del self._symbol_of[order_id]
        working = self._working[symbol_id]
        del working[order_id]
        if not working:
            del self._working[symbol_id]


def _working(place: OrderPlace, remaining: int, next_fill: int) -> Working:
    limit_price = place.limit_price if place.order_type == OrderType.LIMIT else None
    return Working(place.order_id, place.symbol_id, place.side == Side.BUY, limit_price, remaining, next_fill)


def _reached(order: Working, bid: int, ask: int) -> bool:
    limit = order.limit_price
    return limit is None or (ask <= limit if order.is_buy else bid >= limit)
