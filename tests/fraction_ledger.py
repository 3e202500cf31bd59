"""A second opinion of the ledger: the same rule in fractions of one unit, and random fills on which both are compared.

It imports nothing of the project, and nothing here is rounded but where design section 1 says so: the share of the
open cost that a partial close takes is cut toward zero to a whole 1e-12. What flows in and out as cash is added up
beside it, for from flat to flat the profit must be the cash flow, and that needs no rule at all.

`random_fills` goes where a ledger is likely to be wrong: costs that no share divides evenly, positions of one lot,
closes to the last lot, reversals, a price of 1e-6 next to one of 10^8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from random import Random
from typing import Final, NamedTuple

MICROS: Final = 10**6
PRODUCT: Final = 10**12
PRICE_MAX: Final = 10**8 * MICROS
LOTS_MAX: Final = 10**9
"""Of what one fill opens: with a lot of 1e-6 a thousand units."""
COMMISSION_MAX: Final = 1000 * MICROS


class Held(NamedTuple):
    """A position in one symbol, in units; `cost` has the sign of the quantity, `realized` is before commission."""

    quantity: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)

    def after(self, change: Fraction, value: Fraction) -> Held:
        """`change` was bought (+) or sold (-); one unit of it cost `value`, the price times the multiplier."""
        quantity, cost, realized = self
        if quantity * change < 0:
            closed = change if abs(change) <= abs(quantity) else -quantity
            share = Fraction(int(cost * abs(closed) / abs(quantity) * PRODUCT), PRODUCT)  # int() cuts toward zero
            realized += -closed * value - share
            quantity, cost, change = quantity + closed, cost - share, change - closed
        return Held(quantity + change, cost + change * value, realized)


class Symbol(NamedTuple):
    """Both in micros. Their product is whole in 1e-6, as the config demands: so every cost is exact in 1e-12."""

    multiplier: int
    lot: int


SYMBOLS: Final = (
    Symbol(MICROS, 1),
    Symbol(100_000 * MICROS, 10_000),
    Symbol(MICROS // 2, 2),
    Symbol(12_500_000, 2),
    Symbol(3 * MICROS, 1),
    Symbol(1, MICROS),
)


class RandomFill(NamedTuple):
    """In micros, as fills come from a venue; `sign` is 1 for a buy and -1 for a sale."""

    symbol_id: int
    sign: int
    price: int
    quantity: int
    commission: int


def random_fills(seed: int, symbols: Sequence[Symbol] = SYMBOLS) -> Iterator[RandomFill]:
    """Without end; the same for the same seed."""
    random = Random(seed)
    lots = [0] * len(symbols)
    while True:
        symbol_id = random.randrange(len(symbols))
        change = _random_change(random, lots[symbol_id])
        lots[symbol_id] += change
        quantity = abs(change) * symbols[symbol_id].lot
        commission = random.choice((0, random.randint(1, COMMISSION_MAX)))
        yield RandomFill(symbol_id, 1 if change > 0 else -1, _any_size(random, PRICE_MAX), quantity, commission)


def _random_change(random: Random, held: int) -> int:
    """In lots: opens, increases, closes in part, to the last lot, or beyond it."""
    more = _any_size(random, LOTS_MAX)
    if not held:
        return random.choice((more, -more))
    sign, kind = (1 if held > 0 else -1), random.random()
    if kind < 0.3:
        return sign * more
    if kind < 0.7:
        return -sign * random.randint(1, abs(held))
    return -held if kind < 0.85 else -held - sign * more


def _any_size(random: Random, most: int) -> int:
    """From 1 to `most`, each order of magnitude as often as any other."""
    return random.randint(1, 10 ** random.randint(0, len(str(most)) - 1))


class Found(NamedTuple):
    """What the ledger says after a fill, as it keeps it: micros, and products of 1e-12."""

    quantity: int
    cost: int
    realized: int
    balance: int


class FractionLedger:
    """An account over several symbols. What differs from it is told in words."""

    def __init__(self, balance: int = 0, symbols: Sequence[Symbol] = SYMBOLS) -> None:
        """`balance` in products."""
        self._multipliers = [Fraction(symbol.multiplier, MICROS) for symbol in symbols]
        self._held = [Held()] * len(symbols)
        self._balance = Fraction(balance, PRODUCT)
        self._cash = [Fraction(0)] * len(symbols)
        """By symbol, since it was flat."""
        self._realized_flat = [0] * len(symbols)
        """By symbol, the product that the ledger had realized when it was flat."""
        self.rounds = 0
        """From flat to flat, over all symbols."""

    def difference_after(self, fill: RandomFill, found: Found) -> str:
        """`fill` is booked; what of `found` is not what it must be then, "" if all is."""
        self._book(fill)
        return self._difference(fill.symbol_id, found)

    def _book(self, fill: RandomFill) -> None:
        before = self._held[fill.symbol_id]
        change = Fraction(fill.sign * fill.quantity, MICROS)
        value = Fraction(fill.price, MICROS) * self._multipliers[fill.symbol_id]
        after = self._held[fill.symbol_id] = before.after(change, value)
        self._cash[fill.symbol_id] -= change * value
        self._balance += after.realized - before.realized - Fraction(fill.commission, MICROS)

    def _difference(self, symbol_id: int, found: Found) -> str:
        held = self._held[symbol_id]
        expected = (*held, self._balance)
        for name, unit, mine, theirs in zip(Found._fields, _UNITS, expected, found, strict=True):
            if mine.numerator * unit != theirs * mine.denominator:
                return f"{name}: the ledger has {theirs}, the fractions {mine * unit}"
        if not held.quantity:
            cash, realized = self._cash[symbol_id], found.realized - self._realized_flat[symbol_id]
            if cash * PRODUCT != realized:
                return f"from flat to flat: the ledger has realized {realized}, the cash flow was {cash * PRODUCT}"
            self._cash[symbol_id], self._realized_flat[symbol_id] = Fraction(0), found.realized
            self.rounds += 1
        return ""


_UNITS: Final = (MICROS, PRODUCT, PRODUCT, PRODUCT)
"""Of Found's fields."""
