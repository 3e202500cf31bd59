"""The rollovers that pass with the ticks, and what each charges or credits for what is held (swap.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.venues.holdings import Holdings
from actors.venues.policies import Policies
from actors.venues.swap import swap_product
from protocol.records import Adjust, AdjustKind
from protocol.units import product_to_bytes


class Rollovers:
    def __init__(self, policies: Policies, holdings: Holdings) -> None:
        self._policies: Final = policies
        self._holdings: Final = holdings
        self.is_before_first_tick = True
        self.next_us: int | None = None
        """The next that counts; None: not known before the first tick, or there is no swap."""
        self.known_us = 0
        """The market's time, where the journal left it."""

    def passed(self, time_us: int) -> Iterator[Adjust]:
        """The swap of the rollovers since the last tick."""
        rule = self._policies.swap
        if self.is_before_first_tick:
            self.is_before_first_tick = False
            self.next_us = self._first(time_us)
        if self.next_us is None or time_us < self.next_us:
            return
        nights = rule.nights(self.next_us - 1, time_us)
        for symbol_id, quantity in self._holdings.net():
            if rate := self._rate(symbol_id, quantity):
                amount = swap_product(rate, quantity, nights, self._policies.terms_of(symbol_id).lot_size)
                yield Adjust(AdjustKind.SWAP, symbol_id, product_to_bytes(amount), quantity, nights, time_us)
        self.next_us = rule.next_rollover(time_us)

    def next_charge(self, first_us: int) -> int | None:
        """When the next one charges something, the next tick being at `first_us`."""
        next_us = self._first(first_us) if self.is_before_first_tick else self.next_us
        return next_us if any(self._rate(*held) for held in self._holdings.net()) else None

    def _first(self, time_us: int) -> int | None:
        """Counted from where the journal left the market, unless a file is read again from its first row."""
        return self._policies.swap.next_rollover(self.known_us if 0 < self.known_us <= time_us else time_us)

    def _rate(self, symbol_id: int, quantity: int) -> int:
        terms = self._policies.terms_of(symbol_id)
        return 0 if not quantity else terms.swap_long if quantity > 0 else terms.swap_short
