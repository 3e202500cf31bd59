"""An equity curve as it is kept: bounded, however many points it had."""

from __future__ import annotations

from typing import Final

import numpy as np

from protocol.units import DAY_US
from supervisor.report.buckets import Buckets
from supervisor.report.statistics import DayCloses, Drawdown, DrawdownMeter, Floats, Times


class EquityCurve:
    """Points come in order of time, piece by piece; the drawdowns are those of all points, not of the buckets."""

    def __init__(self, start: float) -> None:
        self.start = self.end = start
        self.buckets: Final = Buckets()
        self._money: DrawdownMeter | None = None
        self._relative: DrawdownMeter | None = None
        self._days: dict[int, float] = {}

    def add(self, times: Times, equity: Floats) -> None:
        if not len(times):
            return
        if self._money is None or self._relative is None:
            first_us = int(times[0])
            self._money = DrawdownMeter(self.start, first_us, relative=False)
            self._relative = DrawdownMeter(self.start, first_us, relative=True)
        self.buckets.add(times, equity)
        self._money.add(times, equity)
        self._relative.add(times, equity)
        days = times // DAY_US
        lasts = np.append(np.flatnonzero(np.diff(days)), len(days) - 1)
        self._days.update(zip(days[lasts].tolist(), equity[lasts].tolist(), strict=True))
        self.end = float(equity[-1])

    @property
    def start_us(self) -> int:
        return self.buckets.start_us

    @property
    def end_us(self) -> int:
        return self.buckets.end_us

    @property
    def drawdown(self) -> Drawdown | None:
        """In money."""
        return self._money.deepest if self._money else None

    @property
    def relative_drawdown(self) -> Drawdown | None:
        """As a fraction of the peak: not always the same fall as the deepest in money."""
        return self._relative.deepest if self._relative else None

    @property
    def day_closes(self) -> DayCloses:
        days = sorted(self._days)
        return DayCloses(np.array(days, np.int64), np.array([self._days[day] for day in days], np.float64))
