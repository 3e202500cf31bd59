"""The limits of the config as integers: what the checks compare with."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from protocol.limits import LOSS_LIMITS, Hours, LimitSettings, parse_hours
from protocol.settings import RiskSettings
from protocol.units import MICROS, decimal_to_micros


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no such limit. Quantities and the collar in micros, money in products, times in microseconds."""

    max_position: int | None = None
    max_order_quantity: int | None = None
    max_order_value: int | None = None
    price_collar: int | None = None
    require_quote: bool = False
    max_quote_age_us: int | None = None
    max_gross_exposure: int | None = None
    max_net_exposure: int | None = None
    max_open_orders: int | None = None
    max_orders_per_s: int | None = None
    max_messages_per_s: int | None = None
    max_repeated_orders: int | None = None
    repeat_window_us: int = MICROS
    restricted_symbols: frozenset[str] = frozenset()
    trading_hours: tuple[Hours, ...] = ()
    """Empty: at all times."""
    losses: tuple[int | None, ...] = (None,) * len(LOSS_LIMITS)
    """In the order of LOSS_LIMITS."""
    min_free_margin: int | None = None
    """The engine's alone."""

    @property
    def needs_held(self) -> bool:
        """What is held in other symbols decides, too."""
        wanted = (self.max_gross_exposure, self.max_net_exposure, self.min_free_margin)
        return any(limit is not None for limit in wanted)

    @property
    def needs_price(self) -> bool:
        return self.needs_held or self.max_order_value is not None

    @property
    def needs_losses(self) -> bool:
        return any(limit is not None for limit in self.losses)

    @property
    def needs_equity(self) -> bool:
        return self.min_free_margin is not None or self.losses[1] is not None or self.losses[3] is not None

    @property
    def asks_for_quote(self) -> bool:
        """Without one, or on a crossed one, no order passes."""
        return self.require_quote or self.max_quote_age_us is not None or self.price_collar is not None

    @property
    def needs_quotes(self) -> bool:
        return self.asks_for_quote or self.needs_price or self.needs_equity

    @property
    def needs_market(self) -> bool:
        """Quotes, or the market's clock."""
        return self.needs_quotes or self.needs_losses or bool(self.trading_hours)

    @property
    def needs_rates(self) -> bool:
        wanted = (self.max_orders_per_s, self.max_messages_per_s, self.max_repeated_orders)
        return any(limit is not None for limit in wanted)

    @classmethod
    def of(cls, settings: LimitSettings) -> Limits:
        age_ms = settings.max_quote_age_ms
        return cls(
            max_position=_micros(settings.max_position_per_symbol),
            max_order_quantity=_micros(settings.max_order_quantity),
            max_order_value=_product(settings.max_order_value),
            price_collar=_micros(settings.price_collar),
            require_quote=settings.require_quote,
            max_quote_age_us=None if age_ms is None else age_ms * 1000,
            max_gross_exposure=_product(settings.max_gross_exposure),
            max_net_exposure=_product(settings.max_net_exposure),
            max_open_orders=settings.max_open_orders,
            max_orders_per_s=settings.max_orders_per_s,
            max_messages_per_s=settings.max_messages_per_s,
            max_repeated_orders=settings.max_repeated_orders,
            repeat_window_us=settings.repeat_window_ms * 1000,
            restricted_symbols=frozenset(settings.restricted_symbols),
            trading_hours=tuple(hours for text in settings.trading_hours for hours in parse_hours(text)),
            losses=tuple(_product(getattr(settings, key)) for key in LOSS_LIMITS),
            min_free_margin=_product(settings.min_free_margin) if isinstance(settings, RiskSettings) else None,
        )


NO_LIMITS: Final = Limits()


def _micros(value: Decimal | None) -> int | None:
    return None if value is None else decimal_to_micros(value)


def _product(value: Decimal | None) -> int | None:
    return None if value is None else decimal_to_micros(value) * MICROS
