"""The ledger: exact positions and the account's money, as functions of fills.

Owns how a fill moves a position and what it realizes, and how an account is valued at marks. It knows nothing
of orders or journals, and must never round what it keeps: quantities are signed micros, an open
cost and a realized profit are signed products (1e-12), and what cannot be kept exactly is refused with
NotRepresentableError before anything has moved. Rounding happens once, in what leaves for the wire or JSON.

A cost stays in the symbol's quote currency. Where that is not the account's, what a fill realizes is converted as it
is realized: the product times the fill's own rate, rounded half to even to a product, the one rounding that is kept.

Closing q of Q takes `share = trunc(cost x q / |Q|)` out of the open cost and realizes cash flow - share. What
the truncation leaves stays in the open cost, and the last close takes all of it: from flat to flat the sum of
what was realized is the cash flow, to the last digit (design section 1); in the quote currency, that is. In the
account's each piece has a rate of its own: there the balance is the sum of the pieces, and no cash flow is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from protocol.conversion import Rate
from protocol.errors import NotRepresentableError
from protocol.orders import Side
from protocol.units import MICROS, MICROS_MAX, PRODUCT, divide_half_even, divide_toward_zero

PRODUCT_MAX: Final = 2**127 - 1
"""What 16 signed bytes hold, the width of a product in records."""
PRODUCT_MIN: Final = -PRODUCT_MAX
NO_RATES: Final[Mapping[int, Rate | None]] = MappingProxyType({})
"""All money is the account's."""
_BUY: Final = Side.BUY


class Position(msgspec.Struct, frozen=True, gc=False):
    """`quantity` in signed micros; `cost` is the product paid for it, of the sign of the quantity."""

    quantity: int
    cost: int


FLAT: Final = Position(0, 0)


class FillEffect(msgspec.Struct, frozen=True, gc=False):
    """What one fill did. A reversal through zero is a close and then an open: both quantities are nonzero."""

    opened: int
    """Micros added to a position, signed as the fill (buy +, sell -)."""
    closed: int
    """Micros taken off a position, signed as the fill."""
    realized: int
    """Product that the close realized, before commission."""
    position: Position
    """After the fill."""

    def converted(self, rate: Rate) -> FillEffect:
        """What it realized is in the account's currency. Raises: NotRepresentableError if that outgrows its field."""
        realized = check_product(rate.convert(self.realized))
        return FillEffect(self.opened, self.closed, realized, self.position)


def apply_fill(position: Position, side: Side, price: int, quantity: int, multiplier: int) -> FillEffect:
    """The effect of buying or selling `quantity` at `price`; `position` is not touched. All arguments in micros.

    Raises: NotRepresentableError if a cost is not exact in 1e-12 or outgrows its record's field.
    """
    change = quantity if side == _BUY else -quantity
    held, cost = position.quantity, position.cost
    if held == 0 or (held > 0) == (change > 0):
        return _effect(change, 0, 0, held + change, cost + fill_cost(price, change, multiplier))
    if abs(change) < abs(held):
        share = divide_toward_zero(cost * abs(change), abs(held))
        return _effect(0, change, -fill_cost(price, change, multiplier) - share, held + change, cost - share)
    realized = -fill_cost(price, -held, multiplier) - cost
    opened = change + held
    return _effect(opened, -held, realized, opened, fill_cost(price, opened, multiplier))


def fill_cost(price: int, quantity: int, multiplier: int) -> int:
    """price x quantity x multiplier as a product, of the sign of the quantity.

    Raises: NotRepresentableError if it has digits beyond 1e-12. The config allows only lot sizes and
    multipliers whose product is exact, so such a quantity is not a multiple of its lot.
    """
    if multiplier == MICROS:
        return price * quantity
    cost, rest = divmod(price * quantity * multiplier, MICROS)
    if rest:
        raise NotRepresentableError(f"price {price} x quantity {quantity} x multiplier {multiplier}: finer than 1e-12")
    return cost


def _effect(opened: int, closed: int, realized: int, quantity: int, cost: int) -> FillEffect:
    """The effect that leaves `quantity` at `cost`. Raises: NotRepresentableError if its records could not hold it."""
    if abs(quantity) > MICROS_MAX:
        raise NotRepresentableError(f"a position of {quantity} micros outgrows 64 bits")
    if not (PRODUCT_MIN <= cost <= PRODUCT_MAX and PRODUCT_MIN <= realized <= PRODUCT_MAX):
        raise NotRepresentableError(f"a cost of {cost} or a profit of {realized} outgrows 16 bytes")
    return FillEffect(opened, closed, realized, Position(quantity, cost))


def check_product(product: int) -> int:
    """`product` itself. Raises: NotRepresentableError if it outgrows its 16 bytes."""
    if not PRODUCT_MIN <= product <= PRODUCT_MAX:
        raise NotRepresentableError(f"the product {product} outgrows 16 bytes")
    return product


def average_price_micros(position: Position, multiplier: int) -> int:
    """The average price for the binary wire, rounded half to even; 0 when flat."""
    return divide_half_even(position.cost * MICROS, position.quantity * multiplier)


def average_price_float(position: Position, multiplier: int) -> float:
    """The average price for JSON; 0.0 when flat."""
    return position.cost / (position.quantity * multiplier) if position.quantity else 0.0


class PositionView(NamedTuple):
    """A position for those who show it: micros, product, and the floats of JSON."""

    symbol_id: int
    symbol: str
    quantity: int
    average_price_micros: int
    average_price_float: float
    realized: int
    """Product in the account's currency."""


class Account:
    """The money: balance, positions and realized profit by symbol id, commission. Moved by `book` alone."""

    __slots__ = ("balance", "commission", "day_balance", "peak_balance", "positions", "realized")

    def __init__(self, balance: int = 0) -> None:
        self.balance = balance
        """Product, commissions taken off."""
        self.day_balance = balance
        """As of the last `begin_day`: losses of the day count from it."""
        self.peak_balance = balance
        """The highest that it ever was, or since losses from it began to count anew."""
        self.commission = 0
        """Product, the sum of all commissions."""
        self.positions: dict[int, Position] = {}
        """Every symbol ever traded; flat ones stay."""
        self.realized: dict[int, int] = {}
        """Product by symbol id, before commission."""

    def position(self, symbol_id: int) -> Position:
        return self.positions.get(symbol_id, FLAT)

    def balance_after(self, effect: FillEffect, commission: int) -> int:
        """The balance that `book` would leave. Raises: NotRepresentableError if it outgrows its field."""
        return check_product(self.balance + effect.realized - commission)

    def book(self, symbol_id: int, effect: FillEffect, commission: int) -> None:
        """The effect and its commission (a product) are in the account."""
        self.positions[symbol_id] = effect.position
        self.realized[symbol_id] = self.realized.get(symbol_id, 0) + effect.realized
        self.commission += commission
        self.balance += effect.realized - commission
        if self.balance > self.peak_balance:
            self.peak_balance = self.balance

    def begin_day(self) -> None:
        self.day_balance = self.balance

    def count_losses_anew(self) -> None:
        """From the present balance on: the day's, and those from the peak."""
        self.day_balance = self.peak_balance = self.balance

    def adjust(self, amount: int) -> int:
        """`amount` (a product) is in the balance, which is returned; no profit and no commission, though.

        Raises: NotRepresentableError if the balance outgrows its field; nothing has moved.
        """
        self.balance = check_product(self.balance + amount)
        self.peak_balance = max(self.peak_balance, self.balance)
        return self.balance

    def deposit(self, amount: int) -> int:
        """As `adjust`, of money that is neither won nor lost: what losses count from moves with the balance."""
        self.balance = check_product(self.balance + amount)
        self.day_balance += amount
        self.peak_balance += amount
        return self.balance


class AccountMicros(NamedTuple):
    """Money in micros, margin_level in percent micros; each rounded half to even, once."""

    balance: int
    equity: int
    profit: int
    margin: int
    margin_free: int
    margin_level: int


class AccountFloats(NamedTuple):
    balance: float
    equity: float
    profit: float
    margin: float
    margin_free: float
    margin_level: float


class Valuation(NamedTuple):
    """An account at marks, still exact: money in 1e-18 (price x quantity x multiplier, not yet divided)."""

    balance: int
    profit: int
    """Open profit: value at the marks less open cost."""
    exposure: int
    """Sum of |quantity| x mark x multiplier; margin = exposure / leverage."""
    leverage: int

    def to_micros(self) -> AccountMicros:
        """For the binary wire (design section 6)."""
        equity, unit = self.balance + self.profit, PRODUCT
        leverage, exposure = self.leverage, self.exposure
        return AccountMicros(
            balance=divide_half_even(self.balance, unit),
            equity=divide_half_even(equity, unit),
            profit=divide_half_even(self.profit, unit),
            margin=divide_half_even(exposure, unit * leverage),
            margin_free=divide_half_even(equity * leverage - exposure, unit * leverage),
            margin_level=divide_half_even(100 * MICROS * equity * leverage, exposure),
        )

    def to_floats(self) -> AccountFloats:
        """For JSON; every float is the nearest to the exact value."""
        equity, unit = self.balance + self.profit, PRODUCT * MICROS
        leverage, exposure = self.leverage, self.exposure
        return AccountFloats(
            balance=self.balance / unit,
            equity=equity / unit,
            profit=self.profit / unit,
            margin=exposure / (unit * leverage),
            margin_free=(equity * leverage - exposure) / (unit * leverage),
            margin_level=100 * equity * leverage / exposure if exposure else 0.0,
        )


def value_account(
    account: Account, marks: Mapping[int, Sequence[int]], multipliers: Sequence[int], leverage: int,
    rates: Mapping[int, Rate | None] = NO_RATES,
) -> Valuation:  # fmt: skip
    """The account at `marks`, bid and ask in micros (and what follows) by symbol id: bid if long, ask if short.

    A symbol without a mark counts with its average price: no profit, and its cost as exposure. `multipliers` are
    micros by symbol id. `rates` has the symbols alone whose money is not the account's; one whose rate is None, not
    known yet, counts for nothing. What is converted is rounded half to even in 1e-18.
    """
    profit = exposure = 0
    for symbol_id, position in account.positions.items():
        quantity, cost = position.quantity, position.cost
        if not quantity:
            continue
        mark = marks.get(symbol_id)
        paid = cost * MICROS
        value = paid if mark is None else quantity * mark[quantity < 0] * multipliers[symbol_id]
        if symbol_id in rates:
            rate = rates[symbol_id]
            if rate is not None:
                profit += rate.convert(value - paid)
                exposure += rate.convert(abs(value))
            continue
        profit += value - paid
        exposure += abs(value)
    return Valuation(account.balance * MICROS, profit, exposure, leverage)
