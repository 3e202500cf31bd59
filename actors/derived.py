"""What the journal's records must be, given those before them: derived records (F1), and the id tables.

A fill moves the ledger at its ORDER_UPDATE, and what must follow it in the journal is computed there:

    POSITION_CLOSE   if the fill reduced, closed or reversed a position
    POSITION_OPEN    if it opened, increased or reversed one
    BALANCE_CHANGE   if profit or commission is not zero

An ADJUST moves the balance likewise, and owes a BALANCE_CHANGE.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from actors.ledger import FillEffect
from actors.order_tracker import Order
from protocol.errors import FoldError
from protocol.records import BalanceChange, EngineRun, PositionClose, PositionOpen, Record
from protocol.units import product_to_bytes

_ZERO: Final = product_to_bytes(0)


def derived_records(
    lsn: int, order: Order, price: int, effect: FillEffect, commission: int, balance: int
) -> Iterator[Record]:
    """Of the fill at `lsn`. All of it is known to be representable."""
    symbol_id, order_id, after = order.symbol_id, order.order_id, effect.position
    cost, realized = product_to_bytes(after.cost), product_to_bytes(effect.realized)
    if effect.closed:
        quantity, kept = (0, _ZERO) if effect.opened else (after.quantity, cost)
        yield PositionClose(lsn, symbol_id, order_id, effect.closed, price, quantity, kept, realized)
    if effect.opened:
        yield PositionOpen(lsn, symbol_id, order_id, effect.opened, price, after.quantity, cost)
    if effect.realized or commission:
        yield BalanceChange(lsn, order_id, realized, product_to_bytes(commission), product_to_bytes(balance))


def digest_of(verb: str, argument: str) -> bytes:
    """By which a COMMAND is told from another under the same token."""
    return blake2b(f"{verb} {argument}".encode(), digest_size=8).digest()


def with_tables(before: EngineRun, run: EngineRun) -> EngineRun:
    """Ids are appended, never renumbered; multipliers and quote currencies follow the config."""
    symbols, currencies = dict(before.symbols) | dict(run.symbols), before.currencies | run.currencies
    strategies = dict.fromkeys((*before.strategies, *run.strategies))
    return replace(
        run, symbols=tuple(symbols.items()), strategies=tuple(strategies), quote_currencies=tuple(currencies.values())
    )


def check_run(lsn: int, before: EngineRun, record: EngineRun) -> None:
    """The id tables are appended to, never renumbered. Raises: FoldError."""
    if record.journal_id != before.journal_id:
        raise FoldError(lsn, f"expected journal {before.journal_id.hex()}, found {record.journal_id.hex()}")
    names = [name for name, _ in record.symbols]
    if names[: len(before.symbols)] != [name for name, _ in before.symbols]:
        raise FoldError(lsn, f"symbol ids renumbered: expected {before.symbols} first, found {record.symbols}")
    if record.strategies[: len(before.strategies)] != before.strategies:
        raise FoldError(lsn, f"strategy ids renumbered: expected {before.strategies} first, found {record.strategies}")
