"""When a dead child comes back: a pure function of its deaths.

The first restart is at once; from the third death in the window on, after an exponentially growing pause with
jitter; past the limit, never (design section 9). A child that dies just after READY counts like any other.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0
PAUSE_FROM_DEATH: Final = 3
IN_VAIN_MAX: Final = 10
"""Lives in a row of a replay that came no further than one before."""
JITTER: Final = 0.25
"""Share of the pause by which it varies, so that children do not come back in step."""


class RestartPolicy:
    """The deaths of one child. Times on a monotonic clock, seconds."""

    def __init__(self, restarts: int, window_s: float) -> None:
        self._restarts = restarts
        self._window_s = window_s
        self._deaths: deque[float] = deque()

    def pause_after_death(self, now_s: float, jitter: float | None = None) -> float | None:
        """Seconds to wait before the next life, or None if the limit is passed. `jitter` in 0..1."""
        deaths = self._deaths
        deaths.append(now_s)
        while deaths[0] <= now_s - self._window_s:
            deaths.popleft()
        if len(deaths) > self._restarts:
            return None
        if len(deaths) < PAUSE_FROM_DEATH:
            return 0.0
        pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** (len(deaths) - PAUSE_FROM_DEATH))
        share = random.random() if jitter is None else jitter
        return pause * (1 + JITTER * (2 * share - 1))

    def forget(self) -> None:
        """An operator has looked: deaths count anew."""
        self._deaths.clear()


class Progress:
    """Whether a replay that begins again and again comes any further."""

    def __init__(self) -> None:
        self._lsn = 0
        self._in_vain = 0

    def is_stuck(self, lsn: int) -> bool:
        """`lsn`: how far the life that is over had come."""
        self._in_vain = 0 if lsn > self._lsn else self._in_vain + 1
        self._lsn = max(self._lsn, lsn)
        return self._in_vain >= IN_VAIN_MAX
