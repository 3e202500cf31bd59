"""How long an order lives: GTC, IOC, FOK, DAY and GTD.

DAY ends at the first end of the UTC day after it was accepted, GTD at its own time: with the first tick of any symbol
at or after it. A DAY order that was accepted before any tick gets its day with the first one, which is told (RESTATE).
IOC and FOK are decided at the first tick at which they can be (a stop among them: when it is triggered); what does not
fill then is canceled.
"""

from __future__ import annotations

from typing import Final

from protocol.orders import TimeInForce
from protocol.records import OrderPlace
from protocol.units import DAY_US

IMMEDIATE: Final = (TimeInForce.IOC, TimeInForce.FOK)


def day_end(time_us: int, day_end_us: int) -> int:
    """The first end of a day later than `time_us`; days end `day_end_us` after midnight UTC."""
    return ((time_us - day_end_us) // DAY_US + 1) * DAY_US + day_end_us


def expiry_of(place: OrderPlace, accepted_us: int, day_end_us: int) -> int | None:
    """When it ends by itself; None: never, or not known yet."""
    if place.time_in_force is TimeInForce.GTD:
        return place.expire_us
    if place.time_in_force is TimeInForce.DAY and accepted_us:
        return day_end(accepted_us, day_end_us)
    return None


def is_undated(place: OrderPlace, accepted_us: int) -> bool:
    return place.time_in_force is TimeInForce.DAY and not accepted_us
