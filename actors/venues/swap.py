"""Swap: what holding a position over the rollover costs or earns, per lot and night.

A rollover is a time of the UTC day. With a triple weekday that one counts three nights, Saturday's and Sunday's none
(the weekend is in the triple one, as in the market for currencies); without one every day counts one. Charged on the
first tick at or after the rollover, on the position that is held before that tick does anything, all nights that have
passed since the tick before at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.units import DAY_US, MICROS, divide_half_even

_THURSDAY: Final = 3
"""The weekday of 1970-01-01, Monday being 0."""
_SATURDAY: Final = 5


@dataclass(frozen=True, slots=True)
class SwapRule:
    rollover_us: int | None
    """Microseconds after midnight UTC; None: there is no swap."""
    triple_weekday: int | None = None
    """Monday is 0."""

    def next_rollover(self, time_us: int) -> int | None:
        """The first rollover later than `time_us` that counts a night or more."""
        if self.rollover_us is None:
            return None
        day = (time_us - self.rollover_us) // DAY_US + 1
        while not self._nights_of(day):
            day += 1
        return day * DAY_US + self.rollover_us

    def nights(self, after_us: int, until_us: int) -> int:
        """Those of the rollovers later than `after_us`, up to `until_us`."""
        if self.rollover_us is None:
            return 0
        first, last = (after_us - self.rollover_us) // DAY_US + 1, (until_us - self.rollover_us) // DAY_US
        return sum(self._nights_of(day) for day in range(first, last + 1))

    def _nights_of(self, day: int) -> int:
        if self.triple_weekday is None:
            return 1
        weekday = (day + _THURSDAY) % 7
        if weekday == self.triple_weekday:
            return 3
        return 0 if weekday >= _SATURDAY else 1


NO_SWAP: Final = SwapRule(None)


def swap_product(rate: int, quantity: int, nights: int, lot_size: int) -> int:
    """What a position of |quantity| earns (a cost: below 0), as a product. `rate` per lot and night."""
    return divide_half_even(rate * abs(quantity) * nights * MICROS, lot_size)
