"""Money of one currency in another: through which instrument it is converted, and the exact rate.

An instrument's prices are in its quote currency. Where that is not the account's, one configured instrument stands
between the two: `base_currency` ours and `quote_currency` the account's (its price multiplies), or the other way round
(its price divides). The instrument itself may be the one: USDJPY on an account in USD. A rate is the middle of that
instrument's bid and ask, kept as a fraction, so that nothing is rounded but the money that is converted, and that once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.units import MICROS, divide_half_even

if TYPE_CHECKING:
    from protocol.settings import Config, InstrumentSettings


class Rate(NamedTuple):
    """Account currency per quote currency: numerator / denominator, both above 0."""

    numerator: int = MICROS
    denominator: int = MICROS

    def convert(self, money: int) -> int:
        """Rounded half to even in the unit of `money`."""
        return divide_half_even(money * self.numerator, self.denominator)

    def convert_up(self, money: int) -> int:
        """Rounded up: what is held against a limit is never too little."""
        return -(-money * self.numerator // self.denominator)


PARITY: Final = Rate()
"""Of money that is the account's already."""


class Route(NamedTuple):
    """How money of a quote currency becomes the account's."""

    symbol_id: int
    """Whose quote says the rate."""
    divides: bool
    """The account's currency is that one's base."""

    def rate(self, bid: int, ask: int) -> Rate:
        """At the middle of a quote in micros."""
        return Rate(2 * MICROS, bid + ask) if self.divides else Rate(bid + ask, 2 * MICROS)


def quote_currency(config: Config, instrument: InstrumentSettings) -> str:
    return instrument.quote_currency or config.account.currency


def find_converter(config: Config, currency: str, own: str = "") -> tuple[str, bool] | None:
    """(symbol, whether its price divides) of what converts `currency` into the account's; None if nothing does.

    The instrument `own` comes first, then whatever stands first in the config.
    """
    account = config.account.currency
    for instrument in sorted(config.instruments, key=lambda one: one.symbol != own):
        pair = instrument.base_currency, quote_currency(config, instrument)
        if pair in ((currency, account), (account, currency)):
            return instrument.symbol, pair[0] == account
    return None


def routes_of(config: Config, symbols: Mapping[int, str]) -> dict[int, Route | None]:
    """By symbol id, of the configured symbols those alone whose money is not the account's.

    `symbols` are names by id. None: what converts it has no id.
    """
    ids = {name: symbol_id for symbol_id, name in symbols.items()}
    routes: dict[int, Route | None] = {}
    for instrument in config.instruments:
        currency = quote_currency(config, instrument)
        if instrument.symbol in ids and currency != config.account.currency:
            routes[ids[instrument.symbol]] = find_route(config, ids, currency, instrument.symbol)
    return routes


def find_route(config: Config, ids: Mapping[str, int], currency: str, own: str = "") -> Route | None:
    """`find_converter`, by symbol id."""
    found = find_converter(config, currency, own)
    return None if found is None or found[0] not in ids else Route(ids[found[0]], found[1])
