"""Latencies as counters of the process that measures them: how many took at most so long.

HEALTH and actor_stats carry them. Counters add up, over restarts as over children, and a reader makes of them what it
wants: quantiles, a histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

BOUNDS_US: Final = (
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
)  # fmt: skip
"""From a good disk's sync to what an operator notices himself."""

LONGER_US: Final = BOUNDS_US[-1] + 1
"""Stands for what took longer than the last bound."""

JOURNAL_SYNC: Final = "journal_sync"
"""wal: one fdatasync."""
TICK_TO_ORDER: Final = "tick_to_order"
"""order_routing: from the arrival of the newest tick that the strategy had seen to the order's leaving."""


def _keys(name: str) -> list[str]:
    return [f"{name}_us_le_{bound}" for bound in BOUNDS_US] + [f"{name}_us_longer"]


class LatencyCounters:
    """Writes into `counters`, which is the process's own."""

    def __init__(self, counters: dict[str, int], name: str) -> None:
        self._counters = counters
        self._keys: Final = _keys(name)
        self._sum: Final = f"{name}_us_sum"
        counters.update(dict.fromkeys([*self._keys, self._sum], 0))

    def note(self, took_us: int) -> None:
        self._counters[self._keys[bisect_left(BOUNDS_US, took_us)]] += 1
        self._counters[self._sum] += took_us


class Latencies(NamedTuple):
    """What was counted."""

    counts: Sequence[int]
    """For each of BOUNDS_US those above the one before; the last: those that took longer."""
    sum_us: int

    def since(self, before: Latencies | None) -> Latencies:
        """Those that came between; all, if a new life has begun to count anew."""
        if before is None or any(now < then for now, then in zip(self.counts, before.counts, strict=True)):
            return self
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        return Latencies(counts, self.sum_us - before.sum_us)

    def quantile_us(self, share: float) -> int | None:
        """A bound that at least this share did not exceed, or LONGER_US. None: there is nothing."""
        total, so_far = sum(self.counts), 0
        for bound, count in zip((*BOUNDS_US, LONGER_US), self.counts, strict=True):
            so_far += count
            if total and so_far >= share * total:
                return bound
        return None


def read_latencies(counters: Mapping[str, int], name: str) -> Latencies | None:
    """None: this process does not count it, or is of an older version."""
    keys = _keys(name)
    if not counters.keys() >= set(keys):
        return None
    return Latencies([counters[key] for key in keys], counters.get(f"{name}_us_sum", 0))


def is_latency(counter: str) -> bool:
    """Whether this counter is a part of one."""
    return counter.startswith((f"{JOURNAL_SYNC}_us_", f"{TICK_TO_ORDER}_us_"))
