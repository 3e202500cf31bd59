"""csv_rows: text to integers, exactly or not at all."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sources.csv_rows import (
    PRICES_CACHED_MAX,
    BadRowError,
    Prices,
    iso_time_us,
    price_micros,
    trades_parser,
    volume_micros,
)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1.121200", 1_121_200),
        ("1", 1_000_000),
        ("1.", 1_000_000),
        (".5", 500_000),
        ("0.000001", 1),
        ("+1.5", 1_500_000),
        (" 1.5 ", 1_500_000),
        ("1e-05", 10),
        ("4.6319E4", 46_319_000_000),
        ("1.12345600000000000000000000000000000000", 1_123_456),
        ("9223372036854.775807", 2**63 - 1),
    ],
)
def test_a_price_is_its_exact_micros(text: str, micros: int) -> None:
    assert price_micros(text) == micros


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.0000001", "digits beyond"),
        ("1.00000000000000000000000000000000000000000001", "digits beyond"),
        ("1e-7", "digits beyond"),
        ("0", "not above 0"),
        ("0.000000", "not above 0"),
        ("-1.5", "not above 0"),
        ("9223372036854.775808", "larger than 64 bits"),
        ("1e999", "larger than 64 bits"),
        *[(text, "not a number") for text in ("", ".", "abc", "1_0", "1.2.3", "nan", "inf", "0x1", "1 2", "--1")],
        ("\xb2", "not a number"),
    ],
)
def test_a_price_that_is_not_exact_and_positive_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadRowError, match=reason):
        price_micros(text)


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=9))
def test_a_volume_is_rounded_half_to_even(volume: Decimal) -> None:
    expected = int((volume * 10**6).to_integral_value(ROUND_HALF_EVEN))
    assert volume_micros(f"{volume:f}") == volume_micros(str(volume)) == expected


@pytest.mark.parametrize(
    ("text", "micros"), [("0.0000005", 0), ("0.0000015", 2), ("0.0000025", 2), ("0.00000250001", 3), ("1e-999", 0)]
)
def test_ties_of_volumes_go_to_the_even_micro(text: str, micros: int) -> None:
    assert volume_micros(text) == micros


@pytest.mark.parametrize("text", ["-1", "-0.0000001", "", "x", "1e13", "9" * 5000])
def test_a_volume_below_0_or_too_large_or_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"volume|number|digits"):
        volume_micros(text)


@given(st.lists(st.integers(min_value=1, max_value=10**9), max_size=50))
def test_the_cache_of_prices_never_changes_a_price(micros: list[int]) -> None:
    prices = Prices()
    texts = [f"{value // 10**6}.{value % 10**6:06d}" for value in micros]
    assert [prices[text] for text in texts + texts] == micros + micros


def test_the_cache_of_prices_is_bounded_and_starts_again_when_full() -> None:
    prices = Prices()
    for value in range(1, PRICES_CACHED_MAX + 11):
        assert prices[str(value)] == value * 10**6
    assert len(prices) == 10


@pytest.mark.parametrize(
    ("text", "offset_hours", "seconds"),
    [
        ("1970-01-01 00:00:00", 0, 0),
        ("1970-01-02T00:00:00", 0, 86_400),
        ("2013-01-01 22:00:00.295000+00:00", 0, 1_357_077_600.295),
        ("2013-01-01T22:00:00.295Z", -5, 1_357_077_600.295),
        ("2013-01-01 17:00:00.295-05:00", 3, 1_357_077_600.295),
        ("2013-01-01 17:00:00.295", -5, 1_357_077_600.295),
        ("2013-01-01", 0, 1_356_998_400),
        ("2013-01-01 22:00:00.295000999", 0, 1_357_077_600.295),
    ],
)
def test_naive_times_bear_the_offset_and_others_their_own(text: str, offset_hours: int, seconds: float) -> None:
    assert iso_time_us(text, offset_hours * 3_600_000_000) == round(seconds * 1_000_000)


@pytest.mark.parametrize("text", ["", "now", "1577836800", "2013-13-01", "2013-01-01 25:00:00", "1969-12-31 23:59:59"])
def test_what_is_no_iso_time_since_1970_is_refused(text: str) -> None:
    with pytest.raises(BadRowError, match=r"no ISO time|before 1970"):
        iso_time_us(text, 0)


@pytest.mark.parametrize("text", ["-1", "1.5", "1577836800000000", "", "2013-01-01"])
def test_a_trade_time_that_is_no_milliseconds_is_refused(text: str) -> None:
    with pytest.raises(BadRowError, match="milliseconds"):
        trades_parser({"A": 1})(f"{text},A,1.0,1")
