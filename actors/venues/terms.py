"""What makes no sense as an order, whatever the market does."""

from __future__ import annotations

from protocol.orders import OrderType
from protocol.records import OrderPlace


def bad_terms(place: OrderPlace) -> str:
    """The reason of the REJECT; "" for an order that makes sense. risk refuses it before."""
    kind, stop, limit = place.order_type, place.stop_price, place.limit_price
    has_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    if has_stop and stop <= 0 and not (kind is OrderType.STOP and place.trail > 0):
        return "bad_price"
    if (kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) and limit <= 0) or (place.trail and kind is not OrderType.STOP):
        return "bad_price"
    return ""
