"""An operator's COMMAND, carried out by risk: what it appends, and what became of it.

Each COMMAND ends with a record that names it: an ADJUST for a DEPOSIT, which must not be done twice, a COMMAND of
risk's own for all others, which may (H1). A life that finds one unfinished does it again from the state as it is
then: what was cancelled or placed before is seen in the fold, and not asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from actors.check_input import NO_SYMBOL
from actors.fold import Fold
from protocol.errors import NotRepresentableError
from protocol.orders import OrderType, Side, TradingMode
from protocol.records import Adjust, AdjustKind, Operation, OrderPlace, Record, TradingState
from protocol.units import MICROS, decimal_to_micros, product_to_bytes

ALL: Final = "ALL"


def state_change(mode: TradingMode, command: Operation) -> tuple[TradingState | None, str]:
    """REDUCE and RESUME: (what is to be appended, the outcome)."""
    if mode is TradingMode.HALTED:
        return None, "refused: trading is halted; an ordered stop and a new start end that"
    wanted = TradingMode.REDUCING if command.verb == "REDUCE" else TradingMode.ACTIVE
    if mode is wanted:
        return None, f"trading is {wanted.name} already"
    return TradingState(wanted, command.by, command.argument or command.verb, 0), f"trading is {wanted.name}"


def deposit(fold: Fold, lsn: int, command: Operation) -> Record:
    """The ADJUST; where its amount cannot be booked, the COMMAND's end that says so."""
    amount, _, _ = command.argument.partition(" ")
    try:
        product = decimal_to_micros(amount) * MICROS
        product_to_bytes(fold.account.balance + product)
    except NotRepresentableError as error:
        return end_of(lsn, command, f"refused: {error}")
    return Adjust(AdjustKind.DEPOSIT, NO_SYMBOL, product_to_bytes(product), command_lsn=lsn)


def end_of(lsn: int, command: Operation, outcome: str) -> Operation:
    return Operation(command.token, command.verb, command.argument, command.by, lsn, outcome)


def closing_orders(
    fold: Fold, pending: Iterable[OrderPlace], symbol_id: int, next_order_id: int
) -> Iterator[OrderPlace]:
    """Market orders that bring the net position to nothing, of those strategies that stand on its side.

    They may only reduce, and never take more than the net position: what a strategy holds against the others' is left,
    for to close it would raise what is at risk until the others are closed too. Orders that close already and are not
    being cancelled are taken off.
    """
    net = fold.account.position(symbol_id).quantity
    side = Side.SELL if net > 0 else Side.BUY
    working = (
        (order.reserved, order)
        for order in fold.tracker.open_in_symbol(symbol_id)
        if not order.parent_id and not order.cancel_requested
    )
    asked = ((place.quantity, place) for place in pending if place.symbol_id == symbol_id)
    left = abs(net) - sum(size for size, order in (*working, *asked) if order.side is side and order.reduce_only)
    owned = ((who, held) for (who, symbol), held in sorted(fold.owned_positions().items()) if symbol == symbol_id)
    for who, held in owned:
        quantity = min(left, abs(held)) if held * net > 0 else 0
        if quantity > 0:
            left -= quantity
            yield OrderPlace(next_order_id, who, 0, symbol_id, side, OrderType.MARKET, quantity, reduce_only=True)
            next_order_id += 1
