"""Exact numbers: what is represented, what is refused, and how money is rounded."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import NotRepresentableError
from protocol.units import (
    MICROS,
    MICROS_MAX,
    bytes_to_product,
    decimal_to_micros,
    divide_half_even,
    divide_toward_zero,
    micros_to_float,
    product_to_bytes,
    product_to_micros,
)

INT64 = st.integers(-MICROS_MAX, MICROS_MAX)
INT128 = st.integers(-(2**127), 2**127 - 1)


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (1, 1_000_000), ("0.000001", 1), (Decimal("-1.5"), -1_500_000), (0.1, 100_000), (1.12345, 1_123_450),
        ("1e3", 10**9), ("-0", 0), (Decimal("9223372036854.775807"), MICROS_MAX),
    ],
)  # fmt: skip
def test_a_number_of_six_digits_is_exact(value: Decimal | int | str | float, micros: int) -> None:
    assert decimal_to_micros(value) == micros


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0.0000001", "beyond 0.000001"), (1.0000001, "beyond 0.000001"), ("9223372036854.775808", "larger than 64"),
        ("-9223372036854.775808", "larger than 64"), (float("nan"), "not a number"), (float("inf"), "not a number"),
        ("ten", "not a number"), ("", "not a number"), ("1e13", "larger than 64"), ("1e900000", "larger than 64"),
        ("-1e999999999", "larger than 64"),
    ],
)  # fmt: skip
def test_what_1e_6_cannot_hold_is_refused_with_the_reason(value: str | float, reason: str) -> None:
    with pytest.raises(NotRepresentableError, match=reason):
        decimal_to_micros(value)


@given(st.integers(-(10**15), 10**15))
def test_what_a_strategy_reads_it_can_send_back(micros: int) -> None:
    """Up to 1e9 units a float prints all six digits, so the round trip over the edge is exact."""
    assert decimal_to_micros(micros_to_float(micros)) == micros


@given(INT128)
def test_a_product_survives_its_16_bytes(product: int) -> None:
    assert bytes_to_product(product_to_bytes(product)) == product
    assert len(product_to_bytes(product)) == 16


@pytest.mark.parametrize("product", [2**127, -(2**127) - 1])
def test_a_product_beyond_16_bytes_is_refused(product: int) -> None:
    with pytest.raises(NotRepresentableError, match="16 bytes"):
        product_to_bytes(product)


@given(INT128, INT64)
def test_half_even_is_the_rounding_of_exact_fractions(numerator: int, denominator: int) -> None:
    expected = round(Fraction(numerator, denominator)) if denominator else 0
    assert divide_half_even(numerator, denominator) == expected


@given(INT128, INT64.filter(bool))
def test_toward_zero_never_takes_more_than_the_share(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    share = divide_toward_zero(numerator, denominator)
    assert abs(share) <= abs(exact) < abs(share) + 1
    assert share * exact >= 0


@pytest.mark.parametrize(("halves", "micros"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2)])
def test_money_on_the_binary_wire_rounds_half_to_even(halves: int, micros: int) -> None:
    assert product_to_micros(halves * MICROS // 2) == micros
