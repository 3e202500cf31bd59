"""What makes no sense as an order, or as a change of one, whatever the market does."""

from __future__ import annotations

from actors.replacing import replaced
from actors.venues.working import Working
from protocol.orders import OrderType
from protocol.records import OrderPlace, OrderReplace


def bad_terms(place: OrderPlace) -> str:
    """The reason of the REJECT; "" for an order that makes sense. risk refuses it before."""
    kind, stop, limit = place.order_type, place.stop_price, place.limit_price
    has_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    if has_stop and stop <= 0 and not (kind is OrderType.STOP and place.trail > 0):
        return "bad_price"
    if (kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) and limit <= 0) or (place.trail and kind is not OrderType.STOP):
        return "bad_price"
    return ""


def bad_change(request: OrderReplace, order: Working, time_us: int) -> str:
    """The reason of the REPLACE_REJECT; "" for one that can be done."""
    if (request.stop_price or request.trail) and not order.waits_for_stop:
        return "triggered"
    if 0 < request.expire_us <= time_us:
        return "expired"
    return bad_terms(replaced(order.place, request))
