"""The limits of trading: the keys of [risk] for the engine, and of [strategies.limits] for one strategy.

Each is off unless it is given. What breaks a limit is refused before the trade; what of a limit can also be broken by
the market or by a fill is looked at after the trade too, and `actions` says what then happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from protocol.errors import NotRepresentableError
from protocol.section import TIME_PATTERN, Section, time_of_day_us
from protocol.units import DAY_US, decimal_to_micros

if TYPE_CHECKING:
    from protocol.settings import Config

WEEK_US: Final = 7 * DAY_US
_EPOCH_US: Final = 3 * DAY_US
"""Since its week began: 1 January 1970 was a Thursday."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = "|".join(_DAYS)
_HOURS: Final = re.compile(rf"(?:({_DAY})(?:-({_DAY}))? )?({TIME_PATTERN})-({TIME_PATTERN}|24:00)")
RATE_MAX: Final = 1_000_000
COUNT_LIMIT_MAX: Final = 1_000_000
REPEATS_MAX: Final = 10_000
WINDOW_MAX_MS: Final = 3_600_000
REPEAT_WINDOW_MAX_MS: Final = 60_000
"""For so long a new life of risk behind a checkpoint takes every order for a repeated one."""

Action = Literal["refuse", "reduce", "halt"]
"""What a loss beyond its limit leads to: new orders are refused, the engine goes REDUCING, or it is HALTED."""
LossLimit = Literal["max_daily_loss", "max_daily_equity_loss", "max_loss_from_peak", "max_equity_loss_from_peak"]
LOSS_LIMITS: Final[tuple[str, ...]] = get_args(LossLimit)


class LimitSettings(Section, frozen=True, kw_only=True):
    """Quantities in units, money in the account's currency."""

    max_position_per_symbol: Decimal | None = None
    max_order_quantity: Decimal | None = None
    max_order_value: Decimal | None = None
    price_collar: Decimal | None = None
    """How far a limit or stop price may lie from the quote, as a share of it: 0.05 is five per cent."""
    require_quote: bool = False
    """No order without a quote, or on a crossed one."""
    max_quote_age_ms: int | None = None
    """As require_quote, and none on a quote older than this by the market's clock."""
    max_gross_exposure: Decimal | None = None
    """Of all positions, each with the open orders of its worse side, at the quotes."""
    max_net_exposure: Decimal | None = None
    """The same, with long and short taken off against each other."""
    max_open_orders: int | None = None
    max_orders_per_s: int | None = None
    max_messages_per_s: int | None = None
    """Orders and cancels; a cancel is counted, and always passes."""
    max_repeated_orders: int | None = None
    """Orders that are the same in everything but their number, within repeat_window_ms."""
    repeat_window_ms: int = 1000
    restricted_symbols: list[str] = []
    """Only what reduces a position passes."""
    trading_hours: list[str] = []
    """UTC, such as "mon-fri 08:00-17:00" or "22:00-06:00"; outside, only what reduces a position passes."""
    max_daily_loss: Decimal | None = None
    """Of the balance, since midnight UTC."""
    max_daily_equity_loss: Decimal | None = None
    """Of the equity at the quotes, against the balance at midnight UTC."""
    max_loss_from_peak: Decimal | None = None
    """Of the balance, from the highest that it ever was."""
    max_equity_loss_from_peak: Decimal | None = None
    """Of the equity at the quotes, from the highest balance that there ever was."""
    actions: dict[LossLimit, Action] = {}

    def action(self, limit: str, default: str) -> str:
        return self.actions.get(limit, default)  # pyright: ignore[reportArgumentType, reportCallIssue]


class Hours(NamedTuple):
    """A stretch of the week, in microseconds since Monday's midnight."""

    start_us: int
    end_us: int
    """Not included; beyond the week's end where it goes on into the next."""

    def holds(self, time_us: int) -> bool:
        at = (time_us + _EPOCH_US) % WEEK_US
        return self.start_us <= at < self.end_us or at + WEEK_US < self.end_us


def parse_hours(text: str) -> tuple[Hours, ...]:
    """The stretches that one entry of trading_hours names; one that ends no later than it begins ends the day after.

    Raises: ValueError.
    """
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(text)
    first = _DAYS.index(found[1]) if found[1] else 0
    last = _DAYS.index(found[2]) if found[2] else first if found[1] else len(_DAYS) - 1
    start = time_of_day_us(found[3])
    end = DAY_US if found[5] == "24:00" else time_of_day_us(found[5])
    length = (end - start) % DAY_US or DAY_US
    days = ((first + count) % len(_DAYS) for count in range((last - first) % len(_DAYS) + 1))
    return tuple(Hours(day * DAY_US + start, day * DAY_US + start + length) for day in days)


def check_all_limits(config: Config) -> list[str]:
    """Every mistake in the limits of the engine and of its strategies, with path, value and what is allowed."""
    symbols = {instrument.symbol for instrument in config.instruments}
    mistakes = list(_check_limits("risk", config.risk, symbols))
    for index, strategy in enumerate(config.strategies):
        mistakes += _check_limits(f"strategies[{index}].limits", strategy.limits, symbols)
    return mistakes


def _check_limits(path: str, limits: LimitSettings, symbols: set[str]) -> Iterable[str]:
    for key in (
        "max_position_per_symbol", "max_order_quantity", "max_order_value", "price_collar", "max_gross_exposure",
        "max_net_exposure", *LOSS_LIMITS,
    ):  # fmt: skip
        yield from check_exact(f"{path}.{key}", getattr(limits, key), positive=True)
    for key, most in (
        ("max_quote_age_ms", WINDOW_MAX_MS), ("max_open_orders", COUNT_LIMIT_MAX), ("max_orders_per_s", RATE_MAX),
        ("max_messages_per_s", RATE_MAX), ("max_repeated_orders", REPEATS_MAX),
        ("repeat_window_ms", REPEAT_WINDOW_MAX_MS),
    ):  # fmt: skip
        value = getattr(limits, key)
        if value is not None and not 1 <= value <= most:
            yield f"{path}.{key} = {value}: 1 to {most}; left out, there is no such limit"
    for symbol in limits.restricted_symbols:
        if symbol not in symbols:
            yield f"{path}.restricted_symbols: {symbol!r} is no [[instruments]]; known are {', '.join(sorted(symbols))}"
    for text in limits.trading_hours:
        try:
            parse_hours(text)
        except ValueError:
            yield f'{path}.trading_hours: {text!r}: UTC, such as "mon-fri 08:00-17:00" or "22:00-06:00"'
    for key in limits.actions:
        if getattr(limits, key) is None:
            yield f"{path}.actions.{key}: without {path}.{key} there is nothing to act on"


def check_exact(path: str, value: Decimal | None, *, positive: bool = False) -> list[str]:
    """What is wrong with a number that must be exact in 1e-6; None is no number, and right."""
    if value is None:
        return []
    try:
        micros = decimal_to_micros(value)
    except NotRepresentableError as error:
        return [f"{path} = {value}: {error}"]
    return [f"{path} = {value}: must be above 0"] if positive and micros <= 0 else []
