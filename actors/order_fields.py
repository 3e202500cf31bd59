"""What a strategy's author asks for, as the fields of an Intent: floats, dates and names become exact integers.

Pure. Whether it makes sense for the symbol is risk's to say (checks.py); here only what cannot be written at all, or
contradicts itself, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from actors.protection import REMOVED
from actors.strategies import OrderTerms
from protocol.errors import NotRepresentableError
from protocol.orders import OrderType, TimeInForce
from protocol.units import MICROS, decimal_to_micros

_TYPES: Final = {
    (False, False): OrderType.MARKET,
    (True, False): OrderType.LIMIT,
    (False, True): OrderType.STOP,
    (True, True): OrderType.STOP_LIMIT,
}
"""By whether there is a limit, and a stop or a trail."""


class ImpossibleOrderError(ValueError):
    """No signal can say this; the message begins with the reason, as on_order is told it."""


def order_fields(quantity: float, terms: OrderTerms) -> dict[str, Any]:
    """The Intent's fields beyond symbol and side. Raises: ImpossibleOrderError."""
    try:
        fields = {
            "quantity": decimal_to_micros(quantity),
            "limit_price": _price(terms.limit),
            "stop_price": _price(terms.stop),
            "stop_loss": _price(terms.stop_loss),
            "take_profit": _price(terms.take_profit),
            "trail": _price(terms.trail),
            "expire_us": _time_us(terms.expire),
        }
    except NotRepresentableError as error:
        raise ImpossibleOrderError(f"not_representable: {error}") from error
    has_stop = terms.stop is not None or terms.trail is not None
    return fields | {
        "order_type": _TYPES[terms.limit is not None, has_stop],
        "time_in_force": _time_in_force(terms),
        "oco": group_of(terms),
    }


_CHANGES: Final = ("quantity", "limit", "stop", "trail", "expire")


def change_fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The Intent's fields for what is to change of an order. Raises: ImpossibleOrderError."""
    if unknown := changes.keys() - set(_CHANGES):
        known = ", ".join(_CHANGES)
        raise ImpossibleOrderError(f"bad_change: {', '.join(sorted(unknown))} of an order; known are {known}")
    quantity, limit, stop, trail, expire = map(changes.get, _CHANGES)
    try:
        fields = {
            "quantity": 0 if quantity is None else decimal_to_micros(quantity),
            "limit_price": _price(limit),
            "stop_price": _price(stop),
            "trail": _price(trail),
            "expire_us": _time_us(expire),
        }
    except NotRepresentableError as error:
        raise ImpossibleOrderError(f"not_representable: {error}") from error
    for name, field in zip(_CHANGES, fields.values(), strict=True):
        if changes.get(name) is not None and field <= 0:
            raise ImpossibleOrderError(f"bad_change: {name} {changes[name]!r}: above 0; what is not named stays")
    return fields


_EXITS: Final = ("stop_loss", "take_profit", "trail")


def exit_fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The Intent's fields for what is to protect a position; None or 0 removes it. Raises: ImpossibleOrderError."""
    if unknown := changes.keys() - set(_EXITS):
        known = ", ".join(_EXITS)
        raise ImpossibleOrderError(f"bad_change: {', '.join(sorted(unknown))} of a position; known are {known}")
    try:
        fields = {name: _price(changes[name]) or REMOVED for name in _EXITS if name in changes}
    except NotRepresentableError as error:
        raise ImpossibleOrderError(f"not_representable: {error}") from error
    if any(price < REMOVED for price in fields.values()):
        raise ImpossibleOrderError("bad_change: a price below 0")
    if fields.get("trail") == REMOVED:
        del fields["trail"]  # a stop loss that stands still is asked for by its price
    return fields


def group_of(terms: OrderTerms) -> int:
    """The number of the first signal of the OCO group that is joined; 0: none."""
    return 0 if terms.oco is None else terms.oco.group or terms.oco.number


def _price(price: float | None) -> int:
    """Micros of the float rounded to six digits; 0 for none. risk refuses what is off the tick size."""
    return 0 if price is None else decimal_to_micros(round(price, 6))


def _time_us(expire: datetime | float | None) -> int:
    """A datetime without an offset is UTC."""
    if expire is None:
        return 0
    if isinstance(expire, datetime):
        moment = expire if expire.tzinfo is not None else expire.replace(tzinfo=UTC)
        since = moment - datetime.fromtimestamp(0, UTC)
        return (since.days * 86_400 + since.seconds) * MICROS + since.microseconds
    return decimal_to_micros(Decimal(str(round(expire, 6))))


def _time_in_force(terms: OrderTerms) -> TimeInForce:
    """An order with a time to expire at is GTD, unless its author says something else (which risk refuses)."""
    name = terms.time_in_force
    try:
        named = TimeInForce[name]
    except KeyError:
        known = ", ".join(TimeInForce.__members__)
        raise ImpossibleOrderError(f"bad_time_in_force: {name!r}; known are {known}") from None
    return TimeInForce.GTD if named is TimeInForce.GTC and terms.expire is not None else named
