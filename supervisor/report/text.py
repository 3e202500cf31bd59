"""Figures as people read them: a dash for what is undefined, a sign where gain and loss differ, thousands set apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

DASH: Final = "–"
MINUS: Final = "−"
DIGITS_MIN, DIGITS_MAX = 2, 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def show_number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """1,234.50; a rounded zero has no sign."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):,.{digits}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def show_percent(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Of a fraction."""
    if value is None or not math.isfinite(value):
        return DASH
    return show_number(100 * value, digits, signed=signed) + " %"


def money_digits(amounts: Iterable[float | None]) -> int:
    """Decimals with which amounts of this size have three digits that say something: 2 to 6."""
    sizes = sorted(abs(amount) for amount in amounts if amount)
    if not sizes:
        return DIGITS_MIN
    middle = sizes[len(sizes) // 2]
    return min(max(2 - math.floor(math.log10(middle)), DIGITS_MIN), DIGITS_MAX)


def show_time(time_us: int | None, timespec: str = "seconds") -> str:
    """UTC; a time that no calendar has is shown as its number."""
    if time_us is None:
        return DASH
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return str(time_us)
    return moment.replace(tzinfo=None).isoformat(" ", timespec)


def show_duration(duration_us: int | None) -> str:
    """The two largest units: `2 d 3 h`."""
    if duration_us is None:
        return DASH
    if duration_us < 1_000_000:
        return f"{duration_us / 1000:g} ms"
    left, parts = duration_us // 1_000_000, list[str]()
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def show_annualisation(days_per_year: int) -> str:
    """How Sharpe and Sortino were scaled, as it stands beside them."""
    from supervisor.report.statistics import CALENDAR_DAYS  # late: NumPy, which the command line does without

    which = "every calendar day" if days_per_year == CALENDAR_DAYS else "days with data"
    return f"daily returns ({which}, UTC) × √{days_per_year}, risk-free rate 0"
