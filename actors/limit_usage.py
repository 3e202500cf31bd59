"""How far each limit is used: what LIMITS answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from actors.limits import Limits
from actors.scopes import ENGINE, Scopes
from protocol.commands import LimitRow
from protocol.limits import LOSS_LIMITS, LimitSettings
from protocol.orders import Side
from protocol.units import MICROS, PRODUCT

_NOT_SHOWN = ("actions", "max_signal_age_ms", "on_halt", "repeat_window_ms")
"""Keys beside limits, and those that are no limit of their own."""
_WITHOUT_PRICES: Final = (
    "max_position_per_symbol", "max_open_orders", "max_daily_loss", "max_loss_from_peak", "max_drawdown",
)  # fmt: skip
"""What is used of these needs no money to be converted."""
_ALL_MONEY: Final = Limits(max_gross_exposure=0)
"""Limits that ask for all that is held."""


def limit_rows(scopes: Scopes, settings: LimitSettings, who: int, strategy: str, now_us: int) -> Iterator[LimitRow]:
    """Those that are set. `strategy`: its name; "" for the engine."""
    used = dict(_used(scopes, who, now_us))
    if scopes.unconverted(who, _ALL_MONEY):
        used = {key: amount for key, amount in used.items() if key in _WITHOUT_PRICES}
    for field in msgspec.structs.fields(settings):
        value: Any = getattr(settings, field.name)
        if field.name in _NOT_SHOWN or value is None or value is False or value == []:
            continue
        shown = ", ".join(value) if isinstance(value, list) else str(value).lower() if value is True else f"{value}"
        yield LimitRow(strategy=strategy, limit=field.name, value=shown, used=used.get(field.name, msgspec.UNSET))


def _used(scopes: Scopes, who: int, now_us: int) -> Iterator[tuple[str, float]]:
    """In the unit of the limit, open orders counted as the checks do."""
    exposures = [scopes.exposure(symbol_id, who) for symbol_id in scopes.instruments]
    worst = max((exposure.worst(side, 0) for exposure in exposures for side in Side), default=0)
    held, equity = scopes.held(who), scopes.equity(who)
    yield "max_position_per_symbol", worst / MICROS
    yield "max_gross_exposure", held.gross / PRODUCT
    yield "max_net_exposure", max(held.long, held.short) / PRODUCT
    yield "max_open_orders", scopes.open_orders(who)
    if who == ENGINE:
        yield "min_free_margin", (equity - held.gross / scopes.leverage) / PRODUCT
        yield "max_drawdown", scopes.drawdown() / PRODUCT
    for key, loss in zip(LOSS_LIMITS, scopes.losses(who, now_us), strict=True):
        yield key, loss / PRODUCT
