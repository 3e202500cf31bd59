"""From a call's floats, names and dates to an Intent's integers, or a reason why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from actors.order_fields import ImpossibleOrderError, group_of, order_fields
from actors.strategies import OrderTerms, Signal
from protocol.orders import OrderType, TimeInForce

NEW_YEAR_S = 1_704_067_200.25


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ({}, OrderType.MARKET),
        ({"limit": 1.1}, OrderType.LIMIT),
        ({"stop": 1.1}, OrderType.STOP),
        ({"limit": 1.1, "stop": 1.2}, OrderType.STOP_LIMIT),
        ({"trail": 0.1}, OrderType.STOP),
        ({"trail": 0.1, "stop": 1.2}, OrderType.STOP),
        ({"trail": 0.1, "limit": 1.2}, OrderType.STOP_LIMIT),
    ],
)
def test_the_prices_that_are_given_make_the_type(terms: dict[str, Any], kind: OrderType) -> None:
    assert order_fields(1, OrderTerms(**terms))["order_type"] is kind


def test_every_price_becomes_micros_of_its_nearest_six_digits() -> None:
    terms = OrderTerms(limit=1.1, stop=0.1 + 0.2, stop_loss=1.23456789, take_profit=2, trail=0.000001)
    fields = order_fields(0.5, terms)
    names = ("quantity", "limit_price", "stop_price", "stop_loss", "take_profit", "trail")
    assert [fields[name] for name in names] == [500_000, 1_100_000, 300_000, 1_234_568, 2_000_000, 1]


@pytest.mark.parametrize(
    "expire",
    [
        NEW_YEAR_S,
        datetime(2024, 1, 1, 0, 0, 0, 250_000),
        datetime(2024, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC),
        datetime(2024, 1, 1, 2, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_time_to_expire_at_makes_it_gtd(expire: datetime | float) -> None:
    fields = order_fields(1, OrderTerms(expire=expire))
    assert (fields["expire_us"], fields["time_in_force"]) == (1_704_067_200_250_000, TimeInForce.GTD)


@pytest.mark.parametrize("name", TimeInForce.__members__)
def test_a_time_in_force_goes_by_its_name(name: str) -> None:
    assert order_fields(1, OrderTerms(time_in_force=name))["time_in_force"] is TimeInForce[name]


def test_what_contradicts_a_time_to_expire_at_is_left_for_risk_to_refuse() -> None:
    assert order_fields(1, OrderTerms(time_in_force="DAY", expire=5.0))["time_in_force"] is TimeInForce.DAY


def test_who_joins_one_of_a_group_joins_the_group() -> None:
    first = Signal(3, "EURUSD", "Buy", 1.0)
    second = Signal(4, "EURUSD", "Buy", 1.0, group=group_of(OrderTerms(oco=first)))
    assert [order_fields(1, OrderTerms(oco=signal))["oco"] for signal in (None, first, second)] == [0, 3, 3]


@pytest.mark.parametrize(
    ("quantity", "terms", "reason"),
    [
        (0.1234567, {}, "not_representable"),
        (1, {"limit": 1e300}, "not_representable"),
        (1, {"stop": float("nan")}, "not_representable"),
        (1, {"expire": float("inf")}, "not_representable"),
        (1, {"time_in_force": "GTX"}, "bad_time_in_force: 'GTX'; known are GTC, IOC, FOK, DAY, GTD"),
    ],
)
def test_what_no_signal_can_say_is_refused_with_its_reason(
    quantity: float, terms: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ImpossibleOrderError, match=f"^{reason}"):
        order_fields(quantity, OrderTerms(**terms))
