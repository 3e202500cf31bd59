"""What the paper venue is told about itself: one frozen value, with each rule as a policy of its own.

The rules stand beside it, one a file: prices.py (bid and ask, slippage), stops.py (triggers, trailing), lifetime.py
(time in force), commission.py, swap.py, participation.py, oco.py, actors/brackets.py. Money, prices and quantities in
micros, times in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from actors.venues import Quotes
from actors.venues.commission import Commission
from actors.venues.swap import NO_SWAP, SwapRule
from protocol.conversion import PARITY, Rate, Route, routes_of
from protocol.settings import Config
from protocol.units import MICROS, decimal_to_micros


@dataclass(frozen=True, slots=True)
class Terms:
    """An instrument, as the venue trades it."""

    lot_size: int
    tick_size: int = 1
    multiplier: int = MICROS
    swap_long: int = 0
    """Account currency per lot and night, added to the balance: a cost is negative."""
    swap_short: int = 0
    route: Route | None = None
    """How profit becomes the account's money; None: it is."""

    def is_convertible(self, quotes: Quotes) -> bool:
        return self.route is None or self.route.symbol_id in quotes

    def rate(self, quotes: Quotes) -> Rate:
        """Raises: KeyError if it is not convertible by these."""
        if self.route is None:
            return PARITY
        _, bid, ask = quotes[self.route.symbol_id]
        return self.route.rate(bid, ask)


@dataclass(frozen=True, slots=True)
class Policies:
    terms: Mapping[int, Terms]
    """By symbol id; orders in other symbols are rejected."""
    commission: Commission = field(default_factory=Commission)
    swap: SwapRule = NO_SWAP
    latency_us: int = 0
    """From sending to the venue; 0: at once, on the quotes known."""
    slippage_ticks: int = 0
    """By which market and stop orders fill worse than the quote."""
    max_participation: int = 0
    """Micros: the share of a tick's volume that our orders may take together; 0: size is not modelled."""
    day_end_us: int = 0
    """DAY orders end at this time of the UTC day, microseconds after midnight."""
    trail_step_ticks: int = 1
    """A trailing stop moves when it can move at least this far."""

    def terms_of(self, symbol_id: int) -> Terms:
        """Of a symbol that the config has, or had when its order was placed."""
        return self.terms.get(symbol_id, _UNKNOWN)

    @property
    def converting(self) -> frozenset[int]:
        """Symbols whose quotes convert money."""
        return frozenset(terms.route.symbol_id for terms in self.terms.values() if terms.route is not None)


_UNKNOWN: Final = Terms(lot_size=1)


def policies_of(config: Config, symbols: Mapping[int, str]) -> Policies:
    """The venue that the config asks for; `symbols` are names by id."""
    routing = config.order_routing
    instruments = {instrument.symbol: instrument for instrument in config.instruments}
    routes = routes_of(config, symbols)
    terms = {
        symbol_id: Terms(
            lot_size=instrument.lot_micros,
            tick_size=instrument.tick_micros,
            multiplier=instrument.multiplier_micros,
            swap_long=decimal_to_micros(instrument.swap_long),
            swap_short=decimal_to_micros(instrument.swap_short),
            route=routes.get(symbol_id),
        )
        for symbol_id, name in symbols.items()
        if (instrument := instruments.get(name)) is not None
    }
    commission = Commission(
        per_lot=decimal_to_micros(routing.commission_per_lot),
        rate=decimal_to_micros(routing.commission_rate),
        minimum=decimal_to_micros(routing.commission_minimum),
        is_per_fill=routing.commission_minimum_per == "fill",
    )
    return Policies(
        terms=terms,
        commission=commission,
        swap=SwapRule(routing.swap_rollover_us, routing.swap_triple_weekday),
        latency_us=routing.latency_us,
        slippage_ticks=routing.slippage_ticks,
        max_participation=0 if routing.max_participation is None else decimal_to_micros(routing.max_participation),
        day_end_us=routing.day_end_us,
        trail_step_ticks=routing.trail_step_ticks,
    )
