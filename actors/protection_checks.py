"""What risk says to a signal that is to protect a position: the POSITION_MODIFY, or why not.

Exits only reduce, so no limit on exposure is asked. When halted nothing is changed: on_halt = "cancel" keeps the exits
that stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from actors.check_input import CheckInput, Terms, Wish, shown
from actors.limit_checks import LIMIT_CHECKS, bound, worded
from actors.protection import REMOVED
from protocol.messages import Intent
from protocol.orders import OrderType, Side, TradingMode
from protocol.records import OrderPlace, PositionModify
from protocol.units import MICROS_MAX

_ASKED: Final = ("price_collar", "max_messages_per_s")


class Exit(NamedTuple):
    """One that stands, or is to be made."""

    order_id: int
    place: OrderPlace
    stop_price: int = 0
    """Where a trailing one stands; 0: as placed."""
    is_changing: bool = False

    @property
    def price(self) -> int:
        return self.place.limit_price or self.stop_price or self.place.stop_price


def check_protection(given: CheckInput, exits: Sequence[Exit], order_id: int) -> PositionModify | tuple[str, str]:
    """The record, whose new ids are `order_id` and those after it; else (reason, detail).

    `exits` are those of the strategy in the symbol."""
    intent, held = given.intent, given.own.exposure.position
    side = Side.SELL if held > 0 else Side.BUY
    standing = [one for one in exits if one.place.side is side]
    if objection := _objection(given, standing):
        return objection
    stops = tuple(one.order_id for one in standing if one.place.order_type is OrderType.STOP)
    limits = tuple(one.order_id for one in standing if one.place.order_type is OrderType.LIMIT)
    moves_stop, moves_limit = bool(intent.stop_loss or intent.trail), bool(intent.take_profit)
    makes_stop = not stops and (intent.stop_loss > 0 or intent.trail > 0)
    makes_limit = not limits and intent.take_profit > 0
    if not (makes_stop or makes_limit or (stops and moves_stop) or (limits and moves_limit)):
        return "bad_change", "there is no such exit to remove"
    group = next((one.place.protects for one in standing if one.place.protects), order_id)
    first_id = order_id + 1
    record = PositionModify(
        strategy_id=intent.strategy_id,
        symbol_id=intent.symbol_id,
        signal=intent.number,
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
        trail=intent.trail,
        side=side,
        quantity=abs(held),
        group=group if makes_stop or makes_limit else 0,
        stop_loss_order_id=first_id if makes_stop else 0,
        take_profit_order_id=first_id + makes_stop if makes_limit else 0,
        stop_losses=stops if moves_stop else (),
        take_profits=limits if moves_limit else (),
        market_epoch=intent.market_epoch,
        market_position=intent.market_position,
    )
    moved = {*record.stop_losses, *record.take_profits}
    if any(one.is_changing for one in standing if one.order_id in moved):
        return "change_under_way", "an earlier change of an exit has not been answered"
    return record


def highest_id(record: PositionModify) -> int:
    return max(record.group, record.stop_loss_order_id, record.take_profit_order_id)


def _objection(given: CheckInput, standing: Sequence[Exit]) -> tuple[str, str] | None:
    intent, held = given.intent, given.own.exposure.position
    prices = (("stop loss", intent.stop_loss), ("take profit", intent.take_profit), ("trail", intent.trail))
    if given.halted or given.mode is TradingMode.HALTED:
        return "trading_halted", "trading is halted"
    if given.instrument is None:
        return "unknown_symbol", f"symbol id {intent.symbol_id} is not configured"
    if not any(price for _, price in prices) or (intent.trail and intent.stop_loss == REMOVED) or intent.trail < 0:
        return "bad_change", "nothing is to change, or there is no stop loss that could trail"
    if not held:
        return "nothing_to_protect", f"the strategy holds nothing in {given.instrument.symbol}"
    for name, price in prices:
        if price != REMOVED and not 0 <= price <= MICROS_MAX:
            return "bad_price", f"{name} {shown(price)}: above 0, and at most 64 bits of millionths"
        if price != REMOVED and price % given.instrument.tick_size:
            return "bad_price", f"{name} {shown(price)} is no multiple of tick_size {shown(given.instrument.tick_size)}"
    stop, limit = _levels(intent, standing)
    if stop and limit and (limit - stop) * held <= 0:
        return "bad_bracket", f"stop loss {shown(stop)}, take profit {shown(limit)}: on one side of the position"
    return _limits(given)


def _levels(intent: Intent, standing: Sequence[Exit]) -> tuple[int, int]:
    """(stop loss, take profit) as they would stand; 0: none, or not known yet."""
    prices = {one.place.order_type: one.price for one in standing}
    stop, limit = prices.get(OrderType.STOP, 0), prices.get(OrderType.LIMIT, 0)
    return max(intent.stop_loss or stop, 0), max(intent.take_profit or limit, 0)


def _limits(given: CheckInput) -> tuple[str, str] | None:
    intent, held = given.intent, given.own.exposure.position
    side = Side.SELL if held > 0 else Side.BUY
    terms = Terms(limit_price=max(intent.take_profit, 0), stop_price=max(intent.stop_loss, 0))
    wish = Wish(side, OrderType.STOP_LIMIT, 0, terms, True, abs(held))
    for limit in LIMIT_CHECKS:
        for scope, _ in bound(given, wish) if limit.reason in _ASKED else ():
            if objection := limit.objects(given, wish, scope):
                return limit.reason, worded(scope, objection)
    return None
