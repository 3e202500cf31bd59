"""Replays drawn at random: small numbers, so that everything meets everything.

Several symbols and strategies, timers, bars, volumes and a share of them, latency, every kind of cost, and the two
times of the day at which swap is charged and DAY orders end.
"""

from __future__ import annotations

from random import Random
from typing import Any

from actors.strategies import Strategy
from protocol.settings import Config, parse_config
from protocol.units import MICROS
from tests.ring_model import Case, Tick
from tests.ring_strategies import Busy, Vector

CONFIG = """
[engine]
run_dir = "run/model"
[account]
balance = 10000.0
{instruments}
[market_data]
source = "csv"
path = "ticks.csv"
symbol = "S0"
[risk]
max_position_per_symbol = {max_position}
max_drawdown = {drawdown}
{limits}
[order_routing]
{routing}
"""
INSTRUMENT = """
[[instruments]]
symbol = "S{number}"
tick_size = 0.01
lot_size = {lot}
multiplier = {multiplier}
swap_long = {swap_long}
swap_short = {swap_short}
{currencies}
"""
HOURS = (22, 24)
"""UTC: one of them ends DAY orders, one is the rollover, and the ticks stand around one of them."""
HOUR_US = 3_600 * MICROS
DAY_US = 24 * HOUR_US
FIRST_DAY = 4
"""A Monday, in days since the epoch."""


def make_case(seed: int, *, ticks_max: int = 60) -> Case:
    random = Random(seed)
    symbols, lot, unit_us = random.randint(1, 3), random.choice((1.0, 0.5)), random.choice((1, 1, 500))
    latency_us, has_volumes = unit_us * random.choice((0, 0, 3, 10, 40)), random.random() < 0.4
    currencies = _draw_currencies(Random(f"currencies of {seed}"), symbols)
    config = _draw_config(random, symbols, lot, latency_us, has_volumes, _draw_limits(Random(-1 - seed)), currencies)
    ticks = _draw_ticks(random, symbols, unit_us, ticks_max)
    volumes = [random.choice((0, 0, 500_000, 2_000_000, 10_000_000)) if has_volumes else 0 for _ in ticks]
    makers = _draw_strategies(random, lot, unit_us)
    return Case(
        config, ticks, makers, random.choice((3, 7, 16, 100)), latency_us, _draw_bars(random, symbols, ticks),
        slice_ticks=random.choice((1, 4, 7)), volumes=volumes if has_volumes else (),
    )  # fmt: skip


def _draw_config(
    random: Random, symbols: int, lot: float, latency_us: int, has_volumes: bool, limits: str,
    currencies: list[str],
) -> Config:  # fmt: skip
    instruments = "".join(
        INSTRUMENT.format(
            number=number, lot=lot, multiplier=random.choice((1, 1, 10)), swap_long=random.choice((0.0, -0.3)),
            swap_short=random.choice((0.0, 0.1)), currencies=currencies[number],
        ) for number in range(symbols)
    )  # fmt: skip
    routing: dict[str, Any] = {
        "latency_us": latency_us,
        "commission_per_lot": random.choice((0.0, 0.000003)),
        "commission_rate": random.choice((0.0, 0.0002)),
        "commission_minimum": random.choice((0.0, 0.03)),
        "commission_minimum_per": random.choice(("'order'", "'fill'")),
        "slippage_ticks": random.choice((0, 0, 1)),
        "day_end": f"'{random.choice(HOURS) % 24:02}:00'",
        "swap_rollover": f"'{random.choice(HOURS) % 24:02}:00'",
        "swap_triple": random.choice(("'wednesday'", "'none'")),
        "trail_step_ticks": random.choice((1, 3)),
    }
    if has_volumes:
        routing["max_participation"] = random.choice((0.1, 0.5))
    return parse_config(CONFIG.format(
        instruments=instruments, drawdown=random.choice(("-0.05", "-0.5", "-1000.0")),
        max_position=random.choice(("5.0", "50.0")), limits=limits,
        routing="\n".join(f"{k} = {v:f}" if isinstance(v, float) else f"{k} = {v}" for k, v in routing.items()),
    ))  # fmt: skip


def _draw_limits(random: Random) -> str:
    """Most cases have none; the others some, near enough to be met. `random` is not that of all else."""
    if random.random() < 0.6:
        return ""
    possible = (
        "max_order_value = 300.0", "price_collar = 0.0005", "require_quote = true", "max_quote_age_ms = 1",
        "max_gross_exposure = 900.0", "max_net_exposure = 600.0", "max_open_orders = 4", "max_orders_per_s = 3",
        "max_messages_per_s = 5", "max_repeated_orders = 1", "repeat_window_ms = 1", "min_free_margin = 9_990.0",
        'trading_hours = ["21:30-22:30"]', "max_daily_loss = 0.05", "max_daily_equity_loss = 0.1",
        "max_loss_from_peak = 0.3", "max_equity_loss_from_peak = 0.4",
    )  # fmt: skip
    drawn = [limit for limit in possible if random.random() < 0.2]
    losses = [limit.split()[0] for limit in drawn if "loss" in limit]
    actions = ", ".join(f'{key} = "{random.choice(("refuse", "reduce", "halt"))}"' for key in losses)
    drawn.append(f'on_halt = "{random.choice(("cancel", "hold", "flatten"))}"')
    return "\n".join([*drawn, f"actions = {{ {actions} }}" if actions else ""])


def _draw_currencies(random: Random, symbols: int) -> list[str]:
    """Most cases have one; in the others one symbol converts the money of some, or its own."""
    if random.random() < 0.5:
        return [""] * symbols
    converter = random.randrange(symbols)
    pairs = [random.choice(("", 'quote_currency = "JPY"')) for _ in range(symbols)]
    divides = symbols == 1 or random.random() < 0.5
    base, quote = ("USD", "JPY") if divides else ("JPY", "USD")
    pairs[converter] = f'base_currency = "{base}"\nquote_currency = "{quote}"'
    return pairs


def _draw_ticks(random: Random, symbols: int, unit_us: int, ticks_max: int) -> list[Tick]:
    """Some at one time, and mostly on both sides of the time of the day at which something happens."""
    count = random.randint(1, ticks_max)
    time_us = random.randrange(FIRST_DAY, FIRST_DAY + 7) * DAY_US + random.choice(HOURS) * HOUR_US
    time_us -= random.randrange(1 + 5 * count * unit_us)
    ticks, mids = [], [10_000] * symbols
    for _ in range(count):
        time_us += unit_us * random.choice((0, 1, 2, 5, 20))
        symbol_id = random.randrange(symbols)
        mids[symbol_id] += random.randint(-2, 2)
        ticks.append((symbol_id, time_us, (mids[symbol_id] - 1) * 10_000, (mids[symbol_id] + 1) * 10_000))
    return ticks


def _draw_bars(random: Random, symbols: int, ticks: list[Tick]) -> dict[int, list[tuple[int, ...]]]:
    bars: dict[int, list[tuple[int, ...]]] = {}
    for tick in random.sample(range(2, len(ticks) + 2), min(4, len(ticks))):
        price = random.randrange(99_000_000, 101_000_000)
        bars[tick] = [(random.randrange(symbols), 1, ticks[tick - 2][1], price, price, price, price, 5)]
    return bars


def _draw_strategies(random: Random, lot: float, unit_us: int) -> list[Any]:
    def maker(kind: type[Busy], rate: float, timer: float) -> Any:
        def make() -> Strategy:
            made = kind()
            made.rate, made.timer, made.lot, made.span = rate, timer, lot, unit_us * 0.00001
            return made

        return make

    kinds = random.sample((Busy, Busy, Busy, Vector), random.randint(1, 3))
    return [maker(kind, random.choice((0.02, 0.3, 0.7)), random.choice((0.0, 0.001, 0.0025))) for kind in kinds]
