"""Positions in the market: the integer 3 x tick + phase (seams P1).

Ticks are counted from 1 over the whole feed; before each tick come its timers and the bars that it closes. `on_start`
stands at START, and the end of a feed at the tick after the last.
"""

from __future__ import annotations

from typing import Final

PHASE_TIMER: Final = 0
PHASE_BAR: Final = 1
PHASE_TICK: Final = 2
START: Final = PHASE_TICK
"""Of tick 0, which is none."""


def tick_position(tick: int) -> int:
    return 3 * tick + PHASE_TICK


def ticks_done(position: int) -> int:
    """The last tick that is over at `position`: timers and bars before tick k use the quotes of k - 1."""
    return max(0, (position - PHASE_TICK) // 3)


def is_quantum_end(position: int, quantum: int) -> bool:
    """All of a quantum's ticks are over; so it is at the start too, before the first."""
    tick, phase = divmod(position, 3)
    return phase == PHASE_TICK and tick % quantum == 0


def is_checkpoint(position: int, quantum: int, every_ticks: int) -> bool:
    """P11: whether this quantum's end is the first behind another `every_ticks` ticks; 0: none ever is."""
    if not every_ticks or position <= START or not is_quantum_end(position, quantum):
        return False
    tick = ticks_done(position)
    return tick // every_ticks > (tick - quantum) // every_ticks
