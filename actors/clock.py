"""The clocks: wall time for records and signals, a monotonic clock for deadlines."""

from __future__ import annotations

import time


def now_us() -> int:
    """Microseconds since the Unix epoch, wall clock."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds on a clock that never goes back; for what something took."""
    return time.monotonic_ns() // 1000


monotonic_s = time.monotonic
"""Seconds on a clock that never goes back; for deadlines and intervals only."""
