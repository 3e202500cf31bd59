"""Commission: per lot, a rate of the value traded, and a minimum per order or per fill.

Of an order, what its fills so far cost together is a function of their quantity and their sum of price x quantity
alone: so parts never cost more than the whole, and a venue that is restarted between two fills charges the same. (Where
the value is converted, both sums are taken at the rate of the fill that is charged.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.conversion import PARITY, Rate
from protocol.units import MICROS, divide_half_even

_VALUE: Final = MICROS**3
"""rate (1e-6) x price x quantity (1e-12) x multiplier (1e-6) in micros."""


@dataclass(frozen=True, slots=True)
class Commission:
    """Account currency, micros; `rate` in millionths of the value, which is converted at the rate of the fill."""

    per_lot: int = 0
    rate: int = 0
    minimum: int = 0
    is_per_fill: bool = False
    """Whether the minimum holds for each fill, else for an order's fills together."""

    def of_fill(
        self, price: int, quantity: int, *, filled: int, fill_product: int, lot_size: int, multiplier: int,
        conversion: Rate = PARITY,
    ) -> int:  # fmt: skip
        """What one more fill costs an order of which `filled` had been filled before, at `fill_product`."""
        product = price * quantity
        if self.is_per_fill:
            return max(self.minimum, self._due(quantity, product, lot_size, multiplier, conversion))
        before = max(self.minimum, self._due(filled, fill_product, lot_size, multiplier, conversion)) if filled else 0
        after = self._due(filled + quantity, fill_product + product, lot_size, multiplier, conversion)
        return max(self.minimum, after) - before

    def _due(self, quantity: int, product: int, lot_size: int, multiplier: int, conversion: Rate) -> int:
        if not self.rate:
            return divide_half_even(self.per_lot * quantity, lot_size)
        value, unit = self.rate * product * multiplier * conversion.numerator, _VALUE * conversion.denominator
        return divide_half_even(self.per_lot * quantity * unit + value * lot_size, lot_size * unit)
