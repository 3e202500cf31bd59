"""What an ORDER_REPLACE makes of an order: the terms that hold once the venue has said REPLACE.

Pure, and shared by risk, which checks the changed order, the order tracker, which knows it, and the paper venue, which
works it.
"""

from __future__ import annotations

import msgspec

from protocol.records import OrderPlace, OrderReplace


def replaced(place: OrderPlace, request: OrderReplace) -> OrderPlace:
    """The order as it shall be; what the request does not name stays."""
    return msgspec.structs.replace(
        place,
        quantity=request.quantity or place.quantity,
        limit_price=request.limit_price or place.limit_price,
        stop_price=request.stop_price or place.stop_price,
        trail=request.trail or place.trail,
        expire_us=request.expire_us or place.expire_us,
    )
