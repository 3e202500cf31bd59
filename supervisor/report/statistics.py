"""The formulas of the report, as functions of values. What is undefined is None, shown as a dash; never nan or inf.

Money is in whatever unit the caller uses, times are microseconds. Returns and shares are fractions (0.05 is 5 %). A
day is a UTC day.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

CALENDAR_DAYS: Final = 365
TRADING_DAYS: Final = 252
RETURNS_MIN: Final = 2
"""A standard deviation of fewer is undefined."""


def total_return(start: float, end: float) -> float | None:
    """end / start - 1; undefined unless `start` is above 0."""
    return end / start - 1 if start > 0 else None


def period_returns(start: float, closes: Sequence[float] | Floats) -> Floats | None:
    """closes[i] / closes[i - 1] - 1, the first against `start`; undefined once equity is not above 0."""
    values = np.concatenate([[start], np.asarray(closes, np.float64)])
    if not (values[:-1] > 0).all():
        return None
    return values[1:] / values[:-1] - 1


def sharpe_ratio(returns: Floats | None, periods_per_year: int) -> float | None:
    """mean(r) / s x sqrt(periods a year), s with n - 1 in the denominator, no risk-free rate.

    Undefined for fewer than two returns, and where all are equal. Source: W. F. Sharpe, "The Sharpe Ratio", Journal of
    Portfolio Management 21 (1994), with a benchmark of zero; annualised as there, by the root of time.
    """
    if returns is None or len(returns) < RETURNS_MIN:
        return None
    return _ratio(float(np.mean(returns)), float(np.std(returns, ddof=1)), returns, periods_per_year)


def sortino_ratio(returns: Floats | None, periods_per_year: int) -> float | None:
    """mean(r) / sqrt(mean(min(r, 0)^2)) x sqrt(periods a year): a target of zero, every return in the denominator.

    Undefined for fewer than two returns, and where none is below zero. Source: F. A. Sortino and L. N. Price,
    "Performance Measurement in a Downside Risk Framework", Journal of Investing 3 (1994).
    """
    if returns is None or len(returns) < RETURNS_MIN:
        return None
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return _ratio(float(np.mean(returns)), downside, returns, periods_per_year)


def _ratio(mean: float, deviation: float, returns: Floats, periods_per_year: int) -> float | None:
    """None where the deviation is nothing but the rounding of floats."""
    if deviation <= 1e-12 * float(np.abs(returns).max()):
        return None
    return mean / deviation * math.sqrt(periods_per_year)


def profit_factor(gross_profit: float, gross_loss: float) -> float | None:
    """Sum of what winning trades brought / sum of what losing trades cost (given as a positive number).

    Undefined without a loss. Source: "Profit Factor" of MetaTrader 5's strategy tester report.
    """
    return gross_profit / gross_loss if gross_loss > 0 else None


def share(part: float, whole: float) -> float | None:
    """part / whole; undefined for nothing: win rate, exposure."""
    return part / whole if whole > 0 else None


class Drawdown(NamedTuple):
    """The deepest fall of an equity curve from a peak that came before it."""

    depth: float
    """Money, or a fraction of the peak; above 0."""
    peak_us: int
    trough_us: int
    recovered_us: int | None
    """When equity was first back at the peak; None: not to the end."""


class DrawdownMeter:
    """max over t of (peak(t) - equity(t)), peak(t) = max of all equity up to t; or the same / peak(t).

    Takes a curve piece by piece, in order of time. The peak begins as the equity at the start. Of equally deep falls
    the first counts. Source: M. Magdon-Ismail and A. Atiya, "Maximum Drawdown", Risk Magazine 17 (2004).
    """

    def __init__(self, start: float, start_us: int, *, relative: bool) -> None:
        self._relative = relative
        self._peak, self._peak_us = start, start_us
        self._deepest: Drawdown | None = None
        self._from = start
        """The peak of the deepest, which equity must reach again."""

    def add(self, times: Times, equity: Floats) -> None:
        if not len(times):
            return
        peaks = np.maximum(np.maximum.accumulate(equity), self._peak)
        depths = peaks - equity
        if self._relative:
            depths = np.divide(depths, peaks, out=np.zeros_like(depths), where=peaks > 0)
        at = int(np.argmax(depths))
        if depths[at] > (self._deepest.depth if self._deepest else 0.0):
            reached = int(np.searchsorted(peaks, peaks[at], "left"))  # peaks never fall
            is_older = peaks[at] == self._peak
            peak_us = self._peak_us if is_older else int(times[reached])
            self._deepest = Drawdown(float(depths[at]), peak_us, int(times[at]), None)
            self._from = float(peaks[at])
            self._recover(times[at:], equity[at:])
        else:
            self._recover(times, equity)
        if peaks[-1] > self._peak:
            self._peak_us = int(times[np.searchsorted(peaks, peaks[-1], "left")])
            self._peak = float(peaks[-1])

    def _recover(self, times: Times, equity: Floats) -> None:
        if self._deepest is None or self._deepest.recovered_us is not None:
            return
        back = equity >= self._from
        at = int(np.argmax(back))
        if back[at]:
            self._deepest = self._deepest._replace(recovered_us=int(times[at]))

    @property
    def deepest(self) -> Drawdown | None:
        """None if equity never fell."""
        return self._deepest


def max_drawdown(times: Times, equity: Floats, *, relative: bool) -> Drawdown | None:
    """See DrawdownMeter; of a whole curve, which begins at its first value."""
    if not len(times):
        return None
    meter = DrawdownMeter(float(equity[0]), int(times[0]), relative=relative)
    meter.add(times, equity)
    return meter.deepest


class DayCloses(NamedTuple):
    """The last equity of each UTC day (days since 1970-01-01, ascending) that had any."""

    days: Times
    closes: Floats


def fill_days(found: DayCloses) -> DayCloses:
    """Every calendar day from the first to the last; one without data closes as the day before it did."""
    if not len(found.days):
        return found
    days = np.arange(found.days[0], found.days[-1] + 1)
    return DayCloses(days, found.closes[np.searchsorted(found.days, days, "right") - 1])


def daily_returns(start: float, found: DayCloses, days_per_year: int) -> Floats | None:
    """One return a day: of every calendar day if the year has 365, else of those that had data.

    The first day's is against `start`, the equity that the run began with. Days without data return 0; as they thin
    mean and variance alike, a market of 252 days has about the same ratios either way.
    """
    counted = fill_days(found) if days_per_year == CALENDAR_DAYS else found
    return period_returns(start, counted.closes)


class MonthReturn(NamedTuple):
    year: int
    month: int
    """0: of the whole year."""
    value: float | None


def monthly_returns(start: float, found: DayCloses) -> list[MonthReturn]:
    """The return of each UTC month that has data, and of each year (month 0), each against the close before it."""
    months = _period_returns(start, found, "datetime64[M]")
    years = _period_returns(start, found, "datetime64[Y]")
    listed = [MonthReturn(1970 + number // 12, 1 + number % 12, value) for number, value in months]
    return sorted([*listed, *(MonthReturn(1970 + number, 0, value) for number, value in years)])


def _period_returns(start: float, found: DayCloses, unit: str) -> list[tuple[int, float | None]]:
    """(months or years since 1970, return)."""
    if not len(found.days):
        return []
    periods = found.days.astype("datetime64[D]").astype(unit).astype(np.int64)
    lasts = np.append(np.flatnonzero(np.diff(periods)), len(periods) - 1)
    before = start
    listed: list[tuple[int, float | None]] = []
    for at in lasts:
        close = float(found.closes[at])
        listed.append((int(periods[at]), total_return(before, close)))
        before = close
    return listed
