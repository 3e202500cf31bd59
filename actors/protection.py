"""The exits of a position: a stop loss and a take profit for all that a strategy holds in a symbol.

One POSITION_MODIFY says it whole: which exits are made, and which that stand already (a bracket's among them) are moved
or removed. So it is done or not done, and what it comes down to is a function of the record alone, the same in every
fold: orders, changes and cancels as any others, which are sent again after a restart as any others.

An exit that is made here may only reduce, and its size follows the position at every fill (`protects`); the two need no
OCO group: what one of them leaves flat, the other has nothing left to reduce. A bracket's that is moved stays what it
was: for what its parent has filled.
"""

from __future__ import annotations

from typing import Final

from protocol.orders import OrderType
from protocol.records import OrderCancel, OrderPlace, OrderReplace, PositionModify

REMOVED: Final = -1
"""In the place of a price."""
BY_STRATEGY: Final = "strategy"
"""ORDER_CANCEL's `by` when a strategy asked for it."""
Request = OrderPlace | OrderReplace | OrderCancel


def requests_of(record: PositionModify) -> list[Request]:
    """What it asks for, the stop loss first."""
    requests: list[Request] = []
    if record.stop_loss_order_id:
        requests.append(_exit(record, record.stop_loss_order_id, OrderType.STOP))
    for order_id in record.stop_losses:
        requests.append(_change(record, order_id, record.stop_loss, stop=record.stop_loss, trail=record.trail))
    if record.take_profit_order_id:
        requests.append(_exit(record, record.take_profit_order_id, OrderType.LIMIT))
    for order_id in record.take_profits:
        requests.append(_change(record, order_id, record.take_profit, limit=record.take_profit))
    return requests


def _exit(record: PositionModify, order_id: int, order_type: OrderType) -> OrderPlace:
    is_stop = order_type is OrderType.STOP
    return OrderPlace(
        order_id=order_id,
        strategy_id=record.strategy_id,
        signal=record.signal,
        symbol_id=record.symbol_id,
        side=record.side,
        order_type=order_type,
        quantity=record.quantity,
        limit_price=0 if is_stop else record.take_profit,
        stop_price=record.stop_loss if is_stop else 0,
        reduce_only=True,
        market_epoch=record.market_epoch,
        market_position=record.market_position,
        trail=record.trail if is_stop else 0,
        protects=record.group,
    )


def _change(
    record: PositionModify, order_id: int, price: int, *, limit: int = 0, stop: int = 0, trail: int = 0
) -> Request:
    if price == REMOVED:
        return OrderCancel(order_id, record.strategy_id, record.signal, BY_STRATEGY)
    return OrderReplace(order_id, record.strategy_id, record.signal, 0, limit, stop, trail)
