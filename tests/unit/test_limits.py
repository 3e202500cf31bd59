"""The limits in the config: what they may be, and what they become."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from actors.limits import NO_LIMITS, Limits
from protocol.errors import ConfigError
from protocol.limits import LimitSettings, parse_hours
from protocol.settings import RiskSettings, parse_config
from protocol.units import PRODUCT

CONFIG = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "sma"
class = "a:B"
symbols = ["EURUSD"]
{strategy}
[risk]
{risk}
"""


def is_open(hours: str, day: int, hour: int, minute: int = 0) -> bool:
    """`day` of January 2024, which began on a Monday."""
    time_us = int(datetime(2024, 1, day, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000
    return any(stretch.holds(time_us) for stretch in parse_hours(hours))


@pytest.mark.parametrize(
    ("hours", "moments"),
    [
        ("08:00-17:00", {(1, 8): True, (1, 7, 59): False, (7, 16, 59): True, (7, 17): False}),
        ("mon-fri 08:00-17:00", {(1, 8): True, (5, 8): True, (6, 8): False, (7, 8): False, (8, 8): True}),
        ("sat 00:00-24:00", {(5, 23, 59): False, (6, 0): True, (6, 23, 59): True, (7, 0): False}),
        ("22:00-06:00", {(1, 21, 59): False, (1, 22): True, (2, 5, 59): True, (2, 6): False}),
        ("sun 22:00-06:00", {(7, 22): True, (8, 5, 59): True, (8, 6): False, (1, 3): True, (2, 3): False}),
        ("fri-mon 10:00-11:00", {(5, 10): True, (7, 10): True, (8, 10): True, (9, 10): False, (4, 10): False}),
        ("00:00-00:00", {(1, 0): True, (3, 12): True}),
    ],
)
def test_trading_hours(hours: str, moments: dict[tuple[int, ...], bool]) -> None:
    for moment, expected in moments.items():
        assert is_open(hours, *moment) is expected, moment


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_order_quantity = 0", "risk.max_order_quantity = 0: must be above 0"),
        ("max_order_value = 0.00000001", "digits beyond 0.000001"),
        ("price_collar = -0.1", "risk.price_collar = -0.1: must be above 0"),
        ("max_quote_age_ms = 0", "risk.max_quote_age_ms = 0: 1 to"),
        ("max_open_orders = 0", "left out, there is no such limit"),
        ("max_orders_per_s = 2000000", "1 to 1000000"),
        ('restricted_symbols = ["USDJPY"]', "'USDJPY' is no [[instruments]]; known are EURUSD"),
        ('trading_hours = ["8-17"]', "risk.trading_hours: '8-17': UTC, such as"),
        ('trading_hours = ["24:00-08:00"]', "UTC, such as"),
        ('trading_hours = ["mon-fry 08:00-17:00"]', "UTC, such as"),
        ("max_daily_loss = -5", "must be above 0"),
        ('actions = { max_daily_loss = "halt" }', "risk.actions.max_daily_loss: without risk.max_daily_loss"),
        ('max_daily_loss = 5.0\nactions = { max_daily_loss = "stop" }', "actions"),
        ("min_free_margin = 0.0000001", "digits beyond 0.000001"),
    ],
)
def test_a_mistake_names_its_place_and_what_is_allowed(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_config(CONFIG.format(risk=line, strategy=""))
    assert words in str(told.value)


def test_a_strategys_mistake_names_the_strategy_and_the_margin_is_the_engines() -> None:
    for limits, words in (
        ("max_open_orders = -1", "strategies[0].limits.max_open_orders = -1"),
        ("min_free_margin = 5", "min_free_margin: unknown key"),
    ):
        with pytest.raises(ConfigError) as told:
            parse_config(CONFIG.format(risk="", strategy=f"limits = {{ {limits} }}"))
        assert words in str(told.value)


def test_settings_become_integers() -> None:
    config = parse_config(CONFIG.format(
        risk="max_position_per_symbol = 2.5\nmin_free_margin = 0\nmax_quote_age_ms = 3\nmax_loss_from_peak = 7",
        strategy='limits = { max_gross_exposure = 1_000, trading_hours = ["mon 08:00-09:00", "tue 08:00-09:00"] }',
    ))  # fmt: skip
    engine, own = Limits.of(config.risk), Limits.of(config.strategies[0].limits)
    assert (engine.max_position, engine.min_free_margin, engine.max_quote_age_us) == (2_500_000, 0, 3000)
    assert engine.losses == (None, None, 7 * PRODUCT, None)
    assert own.max_gross_exposure == 1000 * PRODUCT
    assert len(own.trading_hours) == 2
    assert (own.needs_held, own.needs_equity, engine.needs_equity) == (True, False, True)


def test_without_limits_nothing_is_needed() -> None:
    assert Limits.of(RiskSettings()) == Limits.of(LimitSettings()) == NO_LIMITS
    needs = (NO_LIMITS.needs_market, NO_LIMITS.needs_rates, NO_LIMITS.needs_losses, NO_LIMITS.needs_price)
    assert not any(needs)
