"""The report's formulas: numbers reckoned by hand, and what must hold whatever the numbers are."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.units import DAY_US
from supervisor.report.curve import EquityCurve
from supervisor.report.statistics import (
    DayCloses,
    Drawdown,
    DrawdownMeter,
    MonthReturn,
    daily_returns,
    fill_days,
    max_drawdown,
    monthly_returns,
    period_returns,
    profit_factor,
    share,
    sharpe_ratio,
    sortino_ratio,
    total_return,
)

RETURNS = np.array([0.01, -0.02, 0.03, 0.0])


def times(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * 10


def test_sharpe_is_the_mean_over_the_standard_deviation_scaled_by_the_root_of_the_year() -> None:
    """mean 0.005; deviations 0.005 -0.025 0.025 -0.005, squares 13e-4 together, s = sqrt(13e-4 / 3) = 0.0208167."""
    assert sharpe_ratio(RETURNS, 365) == pytest.approx(0.005 / 0.0208166600 * 19.1049732)
    assert sharpe_ratio(RETURNS, 252) == pytest.approx(0.005 / 0.0208166600 * 15.8745079)


def test_sortino_divides_by_the_root_mean_square_of_the_losses_alone() -> None:
    """Losses: -0.02 alone; sqrt(0.0004 / 4) = 0.01."""
    assert sortino_ratio(RETURNS, 365) == pytest.approx(0.005 / 0.01 * 19.1049732)


@pytest.mark.parametrize("returns", [None, [], [0.01], [0.0, 0.0], [0.1, 0.1, 0.1]])
def test_sharpe_and_sortino_are_undefined_without_spread(returns: list[float] | None) -> None:
    values = None if returns is None else np.array(returns)
    assert sharpe_ratio(values, 365) is None
    assert sortino_ratio(values, 365) is None


def test_sortino_is_undefined_without_a_loss() -> None:
    assert sortino_ratio(np.array([0.01, 0.02]), 365) is None
    assert sharpe_ratio(np.array([0.01, 0.02]), 365) == pytest.approx(0.015 / 0.00707106781 * 19.1049732)


@pytest.mark.parametrize(
    ("start", "end", "value"), [(100.0, 110.0, 0.1), (100.0, 0.0, -1.0), (100.0, -50.0, -1.5), (0.0, 5.0, None)]
)
def test_the_return_is_undefined_for_nothing_invested(start: float, end: float, value: float | None) -> None:
    assert total_return(start, end) == (None if value is None else pytest.approx(value))


def test_returns_are_undefined_once_equity_was_lost() -> None:
    found = period_returns(100.0, [110.0, 99.0])
    assert found is not None
    assert found.tolist() == pytest.approx([0.1, -0.1])
    assert period_returns(100.0, [110.0, 0.0, 5.0]) is None
    assert period_returns(100.0, [-1.0]) is not None, "the last may be anything"


@pytest.mark.parametrize(("gain", "loss", "value"), [(30.0, 10.0, 3.0), (0.0, 10.0, 0.0), (30.0, 0.0, None)])
def test_the_profit_factor_is_undefined_without_a_loss(gain: float, loss: float, value: float | None) -> None:
    assert profit_factor(gain, loss) == value


def test_a_share_of_nothing_is_undefined() -> None:
    assert share(3, 12) == 0.25
    assert share(0, 0) is None


# Drawdowns.


def test_the_deepest_fall_has_its_peak_its_trough_and_the_time_when_it_was_made_good() -> None:
    equity = np.array([100.0, 110.0, 105.0, 120.0, 90.0, 95.0, 119.0, 120.0, 130.0, 128.0])
    assert max_drawdown(times(10), equity, relative=False) == Drawdown(30.0, 30, 40, 70)
    assert max_drawdown(times(10), equity, relative=True) == Drawdown(0.25, 30, 40, 70)


def test_the_deepest_in_money_need_not_be_the_deepest_in_percent() -> None:
    equity = np.array([100.0, 50.0, 1000.0, 900.0])
    assert max_drawdown(times(4), equity, relative=False) == Drawdown(100.0, 20, 30, None)
    assert max_drawdown(times(4), equity, relative=True) == Drawdown(0.5, 0, 10, 20)


def test_equity_that_never_falls_has_no_drawdown() -> None:
    assert max_drawdown(times(3), np.array([1.0, 1.0, 2.0]), relative=False) is None
    assert max_drawdown(times(0), np.array([]), relative=False) is None


def test_the_first_peak_is_the_equity_at_the_start() -> None:
    meter = DrawdownMeter(100.0, 0, relative=False)
    meter.add(np.array([10, 20]), np.array([90.0, 95.0]))
    assert meter.deepest == Drawdown(10.0, 0, 10, None)


def test_a_percentage_of_nothing_counts_as_none() -> None:
    assert max_drawdown(times(2), np.array([0.0, -5.0]), relative=True) is None


def naive_drawdown(start: float, equity: list[float]) -> Drawdown | None:
    """Every pair of a peak and a later point."""
    points = [start, *equity]
    best: Drawdown | None = None
    for low in range(1, len(points)):
        high = max(range(low + 1), key=lambda at: (points[at], -at))
        if points[high] - points[low] > (best.depth if best else 0.0):
            back = [at for at in range(low, len(points)) if points[at] >= points[high]]
            best = Drawdown(
                points[high] - points[low], 10 * max(high - 1, 0), 10 * (low - 1), 10 * (back[0] - 1) if back else None
            )
    return best


@given(
    st.lists(st.integers(0, 20).map(float), min_size=1, max_size=40),
    st.lists(st.integers(1, 39), max_size=4),
    st.integers(0, 20).map(float),
)
def test_a_curve_in_pieces_has_the_drawdown_that_every_pair_of_points_says(
    equity: list[float], cuts: list[int], start: float
) -> None:
    meter = DrawdownMeter(start, 0, relative=False)
    edges = [0, *sorted(cuts), len(equity)]
    for first, last in pairwise(edges):
        meter.add(times(len(equity))[first:last], np.array(equity[first:last]))
    expected, found = naive_drawdown(start, equity), meter.deepest
    assert found == expected


# Days and months.


def test_days_without_data_close_as_the_day_before() -> None:
    found = fill_days(DayCloses(np.array([10, 13, 14]), np.array([1.0, 2.0, 3.0])))
    assert found.days.tolist() == [10, 11, 12, 13, 14]
    assert found.closes.tolist() == [1.0, 1.0, 1.0, 2.0, 3.0]


def test_a_year_of_365_days_counts_every_day_and_one_of_252_those_with_data() -> None:
    friday_and_monday = DayCloses(np.array([10, 13]), np.array([110.0, 121.0]))
    calendar = daily_returns(100.0, friday_and_monday, 365)
    trading = daily_returns(100.0, friday_and_monday, 252)
    assert calendar is not None
    assert trading is not None
    assert calendar.tolist() == pytest.approx([0.1, 0.0, 0.0, 0.1])
    assert trading.tolist() == pytest.approx([0.1, 0.1])


def test_months_and_years_are_against_the_close_before_them() -> None:
    days = np.array(["2023-11-30", "2023-12-01", "2023-12-29", "2024-02-01"], "datetime64[D]").astype(np.int64)
    found = monthly_returns(100.0, DayCloses(days, np.array([110.0, 99.0, 121.0, 60.5])))
    expected = [
        MonthReturn(2023, 0, 0.21), MonthReturn(2023, 11, 0.1), MonthReturn(2023, 12, 0.1),
        MonthReturn(2024, 0, -0.5), MonthReturn(2024, 2, -0.5),
    ]  # fmt: skip
    assert [(one.year, one.month) for one in found] == [(one.year, one.month) for one in expected]
    assert [one.value for one in found] == pytest.approx([one.value for one in expected])
    assert monthly_returns(100.0, DayCloses(np.array([], np.int64), np.array([]))) == []


@given(st.lists(st.floats(50.0, 200.0), min_size=2, max_size=60), st.integers(1, 20))
def test_months_and_days_compound_to_the_whole(closes: list[float], apart: int) -> None:
    found = DayCloses(np.arange(len(closes), dtype=np.int64) * apart + 18_000, np.array(closes))
    whole = closes[-1] / 100.0
    months = monthly_returns(100.0, found)
    assert math.prod(1 + (one.value or 0) for one in months if one.month) == pytest.approx(whole)
    assert math.prod(1 + (one.value or 0) for one in months if not one.month) == pytest.approx(whole)
    for days_per_year in (252, 365):
        returns = daily_returns(100.0, found, days_per_year)
        assert returns is not None
        assert float(np.prod(1 + returns)) == pytest.approx(whole)


@given(st.lists(st.integers(-500_000, 500_000).map(lambda n: n / 1e6), min_size=2, max_size=50), st.floats(0.1, 10.0))
def test_the_ratios_do_not_change_with_the_size_of_the_returns_and_agree_with_the_library(
    values: list[float], factor: float
) -> None:
    returns = np.array(values)
    for ratio in (sharpe_ratio, sortino_ratio):
        one, scaled = ratio(returns, 365), ratio(returns * factor, 365)
        assert (one is None) == (scaled is None)
        assert one is None or (math.isfinite(one) and one == pytest.approx(scaled, rel=1e-6, abs=1e-9))
    if (found := sharpe_ratio(returns, 365)) is not None:
        assert found == pytest.approx(mean(values) / stdev(values) * math.sqrt(365), rel=1e-6, abs=1e-6)


def test_a_curve_closes_each_day_with_its_last_point() -> None:
    curve = EquityCurve(100.0)
    curve.add(np.array([0, 1, DAY_US - 1]), np.array([101.0, 99.0, 102.0]))
    curve.add(np.array([DAY_US, 3 * DAY_US]), np.array([103.0, 104.0]))
    curve.add(np.array([3 * DAY_US + 5]), np.array([90.0]))
    assert curve.day_closes.days.tolist() == [0, 1, 3]
    assert curve.day_closes.closes.tolist() == [102.0, 103.0, 90.0]
    assert (curve.start_us, curve.end_us, curve.end) == (0, 3 * DAY_US + 5, 90.0)
    assert curve.drawdown == Drawdown(14.0, 3 * DAY_US, 3 * DAY_US + 5, None)
