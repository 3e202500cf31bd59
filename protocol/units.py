"""Exact numbers: millionths, products, and the edges where floats are allowed.

* micros: price, quantity or money as a 64-bit integer in 1e-6.
* product: price x quantity as a Python integer in 1e-12; 16 bytes signed little-endian in records.
* time: microseconds since the Unix epoch, u64.

Floats appear only at the edges (JSON, config, what a strategy's author reads).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from protocol.errors import NotRepresentableError

MICROS = 1_000_000
"""One unit in micros."""
PRODUCT = MICROS * MICROS
"""One unit of money in a product."""
MICROS_MAX = 2**63 - 1
PRODUCT_BYTES = 16
DAY_US = 86_400 * MICROS
_ZERO_PRODUCT = bytes(PRODUCT_BYTES)

_SIX_DIGITS = Decimal(MICROS)
_DIGITS_MAX = 13
"""Before the point: 64 bits of millionths hold no more."""
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def decimal_to_micros(value: Decimal | int | str | float) -> int:
    """The exact micros of `value`; a float counts as the decimal that it prints as.

    Raises: NotRepresentableError if it is no finite number, has digits beyond 1e-6 or outgrows 64 bits.
    """
    try:
        exact = value if isinstance(value, Decimal) else Decimal(str(value))
        if exact.is_finite() and exact.adjusted() >= _DIGITS_MAX:  # before 10 to its power is written out
            raise NotRepresentableError(f"{value} is larger than 64 bits of millionths hold")
        scaled = exact * _SIX_DIGITS
        micros = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise NotRepresentableError(f"{value!r} is not a number") from error
    if micros != scaled:
        raise NotRepresentableError(f"{value} has digits beyond 0.000001")
    if not -MICROS_MAX <= micros <= MICROS_MAX:
        raise NotRepresentableError(f"{value} is larger than 64 bits of millionths hold")
    return micros


def iso_to_us(text: str) -> int:
    """Microseconds since the epoch of an ISO time or date; UTC if it is naive. Raises: ValueError if it is neither."""
    moment = datetime.fromisoformat(text)
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - _EPOCH_UTC) // _MICROSECOND


def micros_to_float(micros: int) -> float:
    return micros / MICROS


def product_to_float(product: int) -> float:
    return product / PRODUCT


def product_to_bytes(product: int) -> bytes:
    """16 bytes, signed, little-endian. Raises: NotRepresentableError beyond 128 bits."""
    if not product:
        return _ZERO_PRODUCT
    try:
        return product.to_bytes(PRODUCT_BYTES, "little", signed=True)
    except OverflowError as error:
        raise NotRepresentableError(f"{product} outgrows {PRODUCT_BYTES} bytes") from error


def bytes_to_product(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def divide_half_even(numerator: int, denominator: int) -> int:
    """The quotient rounded half to even (the rule for money on the binary wire); 0 for a denominator of 0."""
    if denominator == 0:
        return 0
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


def divide_toward_zero(numerator: int, denominator: int) -> int:
    """The quotient rounded toward zero (the rule for the cost share that a partial close takes)."""
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


def product_to_micros(product: int) -> int:
    """Money of a product in micros, rounded half to even; for the binary wire only."""
    return divide_half_even(product, MICROS)
