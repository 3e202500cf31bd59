"""Any number of values over time in a bounded number of buckets: what a chart can show, and no more.

A bucket is a span of time; it keeps the lowest, the highest and the last value in it. Spans begin tiny and double when
the values reach beyond the last one, so one pass over data of unknown length is enough.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from supervisor.report.statistics import Floats, Times

BUCKETS_MAX: Final = 2_000
"""More than a chart has pixels."""


class Buckets:
    """Values come in order of time, piece by piece. Empty buckets are nan."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        """buckets_max: an even number."""
        assert buckets_max > 0
        assert buckets_max % 2 == 0
        self.start_us = 0
        self.width_us = 1
        self.end_us = 0
        """Of the last value."""
        self.low, self.high, self.last = (np.full(buckets_max, np.nan) for _ in range(3))
        self.count = 0
        """Values that came."""

    def add(self, times: Times, values: Floats) -> None:
        if not len(times):
            return
        if not self.count:
            self.start_us = int(times[0])
        self.count += len(times)
        self.end_us = int(times[-1])
        while (self.end_us - self.start_us) // self.width_us >= len(self.low):
            self._double()
        index = (times - self.start_us) // self.width_us
        firsts = np.flatnonzero(np.diff(index, prepend=-1))
        buckets = index[firsts]
        self.low[buckets] = np.fmin(self.low[buckets], np.minimum.reduceat(values, firsts))
        self.high[buckets] = np.fmax(self.high[buckets], np.maximum.reduceat(values, firsts))
        self.last[buckets] = values[np.append(firsts[1:], len(values)) - 1]

    def _double(self) -> None:
        self.width_us *= 2
        low, high, last = (values.reshape(-1, 2) for values in (self.low, self.high, self.last))
        rest = np.full(len(low), np.nan)
        self.last = np.concatenate([np.where(np.isnan(last[:, 1]), last[:, 0], last[:, 1]), rest])
        self.low = np.concatenate([np.fmin(low[:, 0], low[:, 1]), rest])
        self.high = np.concatenate([np.fmax(high[:, 0], high[:, 1]), rest])

    @property
    def filled(self) -> Times:
        """The numbers of the buckets that have values."""
        return np.flatnonzero(~np.isnan(self.last))
