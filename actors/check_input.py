"""What a pre-trade check is given: the signal, what it comes down to, and everything that decides about it.

Values alone, filled by the caller from fold, pending and market together. Quantities and prices are micros, money is
products in the account's currency, times are microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from actors.limits import NO_LIMITS, Limits
from actors.marks import Quote
from actors.throttle import Rates
from protocol.conversion import PARITY, Rate
from protocol.messages import SIGNAL_CLOSE, SIGNAL_MODIFY, Intent
from protocol.orders import OrderType, Side, TimeInForce, TradingMode
from protocol.records import OrderPlace
from protocol.units import MICROS, divide_half_even

_BUY: Final = Side.BUY
_SELL: Final = Side.SELL
UNLIMITED: Final = Rates(1, 1, 0)
NO_SYMBOL: Final = -1
"""Of what concerns an account as a whole."""


@dataclass(frozen=True, slots=True)
class InstrumentLimits:
    tick_size: int
    lot_size: int
    multiplier: int = MICROS
    symbol: str = ""

    def value(self, quantity: int, price: int, rate: Rate = PARITY) -> int:
        """A product in the account's currency, rounded up: what is held against a limit is never too little."""
        if rate is PARITY:
            return -(-quantity * price * self.multiplier // MICROS)
        return -(-quantity * price * self.multiplier * rate.numerator // (MICROS * rate.denominator))


class Exposure(NamedTuple):
    """In one symbol."""

    position: int = 0
    """Signed."""
    open_buy: int = 0
    """What open and pending buy orders may still fill."""
    open_sell: int = 0

    def worst(self, side: Side, quantity: int) -> int:
        """How far the position could go to the order's side: everything open there fills, and nothing on the other."""
        if side is _BUY:
            return self.position + self.open_buy + quantity
        return self.open_sell + quantity - self.position

    def closing(self) -> tuple[Side, int]:
        """The side that reduces the position, and how much of it open orders of that side leave to close."""
        side, taken = (_SELL, self.open_sell) if self.position > 0 else (_BUY, self.open_buy)
        return side, abs(self.position) - taken

    def reduces(self, side: Side, quantity: int) -> bool:
        """With all open orders of its side filled, the order leaves the position between where it is and flat."""
        closing_side, left = self.closing()
        return self.position != 0 and side is closing_side and quantity <= left


class Held(NamedTuple):
    """What is held in several symbols, at their quotes: each with the open orders of one side."""

    gross: int = 0
    """The worse side of each symbol."""
    long: int = 0
    """Positions and open buys; what is short counts below 0."""
    short: int = 0
    """The same the other way round, with open sells."""


class Losses(NamedTuple):
    """Above 0 where money was lost."""

    daily: int = 0
    daily_equity: int = 0
    from_peak: int = 0
    equity_from_peak: int = 0


NOTHING_HELD: Final = Held()
NO_LOSSES: Final = Losses()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whom limits bind: the engine, or a strategy by itself. What no limit asks for is left at its default."""

    strategy: str = ""
    """Its name; "" for the engine."""
    limits: Limits = NO_LIMITS
    exposure: Exposure
    """In the signal's symbol."""
    elsewhere: Held = NOTHING_HELD
    """In all other symbols."""
    open_orders: int = 0
    rates: Rates = UNLIMITED
    losses: Losses = NO_LOSSES
    equity: int = 0
    unconverted: str = ""
    """Why money that a limit asks for cannot be converted now, and counts for nothing here; "": it can."""


class Target(NamedTuple):
    """The order that a signal is to change, as it stands."""

    place: OrderPlace
    filled: int = 0
    is_open: bool = True
    is_ending: bool = False
    """Its cancel is asked for."""
    is_changing: bool = False
    """A change of it is asked for, and not answered."""
    is_exit: bool = False
    """Its size follows a position."""

    @property
    def price(self) -> int:
        """What it is reckoned at; 0: at the quote."""
        return self.place.limit_price or self.place.stop_price


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInput:
    """Everything that decides. Fold and pending together."""

    intent: Intent
    instrument: InstrumentLimits | None
    """None if the symbol is not in the config."""
    engine: Scope
    own: Scope
    """Of the strategy."""
    halted: bool
    """Fold.halted, with the latch page (H2)."""
    mode: TradingMode
    signal_age_us: int
    max_signal_age_us: int | None = None
    """None for file sources, whose signals do not age."""
    market_us: int = 0
    """The market's clock."""
    quote: Quote | None = None
    """The symbol's newest; None as well where no limit asks for it."""
    rate: Rate | None = PARITY
    """At which the symbol's money becomes the account's; None: not known."""
    leverage: int = 1
    disk_low: bool = False
    """The journal's disk is nearly full (protocol/wal/reserve.py)."""
    owner: int | None = None
    """Of the order that a cancel names: its strategy's id; None if there is no such order."""
    target: Target | None = None
    """What a modify names."""

    @property
    def known_instrument(self) -> InstrumentLimits:
        assert self.instrument is not None, "the row unknown_symbol stands before"
        return self.instrument

    def value(self, quantity: int, price: int) -> int:
        """In the account's currency, as InstrumentLimits.value."""
        assert self.rate is not None, "the row no_quote stands before"
        return self.known_instrument.value(quantity, price, self.rate)

    @property
    def is_close(self) -> bool:
        return self.intent.kind == SIGNAL_CLOSE

    @property
    def changed(self) -> Target | None:
        """The order that is to change; None for what is no change of one."""
        return self.target if self.intent.kind == SIGNAL_MODIFY else None


class Terms(NamedTuple):
    """At which prices and how long. 0: none."""

    limit_price: int = 0
    stop_price: int = 0
    trail: int = 0
    stop_loss: int = 0
    take_profit: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_us: int = 0
    oco: int = 0


class Wish(NamedTuple):
    """The order that the signal comes down to. For a close, risk computes side and quantity."""

    side: Side
    order_type: OrderType
    quantity: int
    """What it adds to what its side may fill: of a change, by how much the order grows."""
    terms: Terms
    reduce_only: bool
    whole: int
    """Of the order."""


def shown(micros: int) -> str:
    """For people: exact, without trailing zeros."""
    whole, rest = divmod(abs(micros), MICROS)
    text = f"{whole}.{rest:06}".rstrip("0") if rest else f"{whole}"
    return f"-{text}" if micros < 0 else text


def shown_money(product: int) -> str:
    """A product for people: to the nearest millionth."""
    return shown(divide_half_even(product, MICROS))
