"""The exits of a bracket: which orders a fill of an ORDER_PLACE with a stop loss or a take profit makes (P4).

Pure, and shared by the order tracker, which must know such orders without an ORDER_PLACE of their own, and the paper
venue, which works them. Their ids were reserved by risk, the stop loss's first: one quote that reaches both takes the
worse. They are for what the parent has filled, may only reduce, and what one of them fills the other loses.
"""

from __future__ import annotations

from protocol.orders import OrderType, Side
from protocol.records import OrderPlace


def has_exits(parent: OrderPlace) -> bool:
    return bool(parent.stop_loss_order_id or parent.take_profit_order_id)


def exit_ids(parent: OrderPlace) -> tuple[int, ...]:
    """The reserved ids, the stop loss's first."""
    return tuple(order_id for order_id in (parent.stop_loss_order_id, parent.take_profit_order_id) if order_id)


def exits_of(parent: OrderPlace, quantity: int) -> tuple[OrderPlace, ...]:
    """The orders that protect `quantity` micros of the parent's fills, as if they had been approved alone."""
    exits = []
    if parent.stop_loss_order_id:
        exits.append(_exit(parent, parent.stop_loss_order_id, OrderType.STOP, quantity, stop=parent.stop_loss))
    if parent.take_profit_order_id:
        exits.append(_exit(parent, parent.take_profit_order_id, OrderType.LIMIT, quantity, limit=parent.take_profit))
    return tuple(exits)


def _exit(
    parent: OrderPlace, order_id: int, order_type: OrderType, quantity: int, *, limit: int = 0, stop: int = 0
) -> OrderPlace:
    return OrderPlace(
        order_id=order_id,
        strategy_id=parent.strategy_id,
        signal=parent.signal,
        symbol_id=parent.symbol_id,
        side=Side.SELL if parent.side is Side.BUY else Side.BUY,
        order_type=order_type,
        quantity=quantity,
        limit_price=limit,
        stop_price=stop,
        reduce_only=True,
        market_epoch=parent.market_epoch,
        market_position=parent.market_position,
    )
