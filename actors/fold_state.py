"""A fold's state as the bytes in a CHECKPOINT, and back (F3: risk's is everyone's start).

Owns what belongs to it: what later records or decisions need. Derived records owed belong to it (F2), pending never
does. Orders that have ended leave with the checkpoint: the paper venue never speaks of them again, and memory stays
bounded however long the engine runs. (A venue that may repeat itself says how long ended orders stay.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from actors.ledger import Account, Position
from actors.order_tracker import Order, OrderTracker
from protocol.records import FIRST_STRATEGY, NOBODY, decode_record, encode_record, entry_type_of
from protocol.state import (
    FoldState,
    HoldingState,
    LossState,
    OrderState,
    PositionState,
    StrategyAccountState,
    TradingStateState,
)
from protocol.units import bytes_to_product, product_to_bytes

_NEVER_OPENED: Final = (0, "")

if TYPE_CHECKING:
    from actors.fold import Fold


def take_state(fold: Fold, *, with_ended: bool = False) -> FoldState:
    """The state as of `fold.lsn`; equal folds give equal states. with_ended: orders that have ended too."""
    account, tracker, trading = fold.account, fold.tracker, fold.trading
    return FoldState(
        opening_balance=product_to_bytes(fold.opening_balance),
        balance=product_to_bytes(account.balance),
        commission=product_to_bytes(account.commission),
        positions=tuple(_positions(fold)),
        trading=TradingStateState(trading.mode, trading.by, trading.reason, trading.token, trading.since_us),
        cleared_token=fold.cleared_token,
        halt_tokens=tuple(sorted(fold.halt_tokens)),
        drawdown_baselines=tuple((key, product_to_bytes(n)) for key, n in sorted(fold.drawdown_baseline.items())),
        highest_order_id=tracker.highest_id,
        orders=tuple(_orders(tracker, tracker.orders if with_ended else tracker.open_orders)),
        owed=tuple((int(entry_type_of(record)), encode_record(record)) for record in fold.owed),
        answered=tuple((key, tuple(numbers)) for key, numbers in sorted(fold.answered.items())),
        venue_times=(fold.venue_us, fold.run_venue_us),
        strategies=tuple(_strategy_account(*item) for item in sorted(fold.strategy_accounts.items())),
        losses=_losses(fold),
        commands=tuple(fold.commands.items()),
        command_tokens=tuple((token, *known) for token, known in fold.command_tokens.items()),
        venue_seq=fold.venue_seq,
    )


def _losses(fold: Fold) -> LossState:
    rows = (
        (strategy_id, product_to_bytes(account.day_balance), product_to_bytes(account.peak_balance))
        for strategy_id, account in sorted(fold.strategy_accounts.items())
    )
    return LossState(
        fold.day, product_to_bytes(fold.account.day_balance), product_to_bytes(fold.account.peak_balance), tuple(rows),
        tuple((limit, strategy_id, *said) for (limit, strategy_id), said in sorted(fold.violations.items())),
    )  # fmt: skip


def _positions(fold: Fold) -> Iterable[PositionState]:
    for symbol_id, position in sorted(fold.account.positions.items()):
        multiplier, currency = fold.opened_at.get(symbol_id, _NEVER_OPENED) if position.quantity else _NEVER_OPENED
        realized = fold.account.realized.get(symbol_id, 0)
        yield PositionState(
            symbol_id, position.quantity, product_to_bytes(position.cost), product_to_bytes(realized), multiplier,
            currency,
        )  # fmt: skip


def _strategy_account(strategy_id: int, account: Account) -> StrategyAccountState:
    holdings = (
        HoldingState(
            symbol_id, held.quantity, product_to_bytes(held.cost), product_to_bytes(account.realized[symbol_id])
        )
        for symbol_id, held in sorted(account.positions.items())
    )
    return StrategyAccountState(strategy_id, product_to_bytes(account.commission), tuple(holdings))


def _orders(tracker: OrderTracker, orders: dict[int, Order]) -> Iterable[OrderState]:
    executions: dict[int, list[str]] = {}
    for execution_id, order_id in tracker.execution_ids.items():
        executions.setdefault(order_id, []).append(execution_id)
    for order_id, order in sorted(orders.items()):
        yield OrderState(
            order.place, order.status, order.reason, order.filled, order.fills, product_to_bytes(order.fill_product),
            order.cancel_requested, tuple(executions.get(order_id, ())), order.parent_id, order.stop_price,
            order.is_triggered, order.accepted_us, order.replace,
        )  # fmt: skip


def put_state(fold: Fold, state: FoldState) -> None:
    """A new fold has the state; its run, trading state and lsn are the caller's.

    Raises: WireError for an owed record of no known type.
    """
    account = fold.account
    fold.opening_balance = bytes_to_product(state.opening_balance)
    account.balance = bytes_to_product(state.balance)
    account.commission = bytes_to_product(state.commission)
    for row in state.positions:
        account.positions[row.symbol_id] = Position(row.quantity, bytes_to_product(row.cost))
        account.realized[row.symbol_id] = bytes_to_product(row.realized)
        if row.quantity:
            fold.opened_at[row.symbol_id] = row.opened_at, row.currency
    fold.strategy_accounts.update(_strategy_accounts(state, fold))
    _put_losses(fold, state.losses)
    fold.cleared_token = state.cleared_token
    fold.halt_tokens.update(state.halt_tokens)
    fold.drawdown_baseline = {symbol_id: bytes_to_product(product) for symbol_id, product in state.drawdown_baselines}
    fold.commands.update(state.commands)
    fold.venue_seq = state.venue_seq
    fold.command_tokens.update((token, (lsn, digest)) for token, lsn, digest in state.command_tokens)
    fold.owed.extend(decode_record(kind, data) for kind, data in state.owed)
    for strategy_id, numbers in state.answered:
        fold.answered[strategy_id].update(dict.fromkeys(numbers))
    if state.venue_times is not None:
        fold.venue_us, fold.run_venue_us = state.venue_times
    for row in state.orders:
        fold.tracker.restore(_order(row), row.execution_ids)
    fold.tracker.highest_id = state.highest_order_id


def _put_losses(fold: Fold, losses: LossState | None) -> None:
    if losses is None:
        count_losses_anew(fold)
        return
    fold.day = losses.day
    rows = ((fold.account, losses.day_balance, losses.peak_balance),
            *((fold.strategy_accounts[key], day, peak) for key, day, peak in losses.strategies))  # fmt: skip
    for account, day, peak in rows:
        account.day_balance, account.peak_balance = bytes_to_product(day), bytes_to_product(peak)
    fold.violations = {(limit, strategy_id): (day, value) for limit, strategy_id, day, value in losses.violations}


def count_losses_anew(fold: Fold) -> None:
    """No loss is known, and no day: an older version did not say."""
    fold.day = 0
    fold.violations.clear()
    for account in (fold.account, *fold.strategy_accounts.values()):
        account.count_losses_anew()


def _strategy_accounts(state: FoldState, fold: Fold) -> Iterable[tuple[int, Account]]:
    if state.strategies is None:
        return attributed(fold)
    return ((row.strategy_id, _restored_account(row)) for row in state.strategies)


def _restored_account(row: StrategyAccountState) -> Account:
    positions = {held.symbol_id: Position(held.quantity, bytes_to_product(held.cost)) for held in row.holdings}
    realized = {held.symbol_id: bytes_to_product(held.realized) for held in row.holdings}
    return _earned(positions, realized, bytes_to_product(row.commission))


def _earned(positions: dict[int, Position], realized: dict[int, int], commission: int) -> Account:
    """A strategy's: its balance began at 0."""
    account = Account(sum(realized.values()) - commission)
    account.positions, account.realized, account.commission = positions, realized, commission
    return account


def attributed(fold: Fold) -> Iterable[tuple[int, Account]]:
    """An older version did not say whose a position is: of the only strategy that the journal names, else nobody's."""
    positions = fold.account.positions
    if not positions or fold.run is None:
        return
    account = _earned(dict(positions), dict(fold.account.realized), fold.account.commission)
    yield FIRST_STRATEGY if len(fold.run.strategies) == 1 else NOBODY, account


def _order(row: OrderState) -> Order:
    order = Order.of(row.place)
    order.status, order.reason = row.status, row.reason
    order.filled, order.fills, order.fill_product = row.filled, row.fills, bytes_to_product(row.fill_product)
    order.cancel_requested = row.cancel_requested
    order.parent_id, order.stop_price = row.parent_id, row.stop_price
    order.is_triggered, order.accepted_us = row.is_triggered, row.accepted_us
    order.replace = row.replace
    return order


def state_as_in(fold: Fold, state: FoldState) -> FoldState:
    """The fold's own, where its CHECKPOINT says `state`: what an older version did not know is forgotten by who came
    here by himself, as by who starts here."""
    unknown: dict[str, None] = {}
    if state.venue_times is None:
        fold.venue_us = fold.run_venue_us = 0
        for order in fold.tracker.open_orders.values():
            order.accepted_us = 0
        unknown["venue_times"] = None
    if state.strategies is None:
        fold.strategy_accounts.clear()
        fold.strategy_accounts.update(attributed(fold))
        unknown["strategies"] = None
    if state.losses is None:
        count_losses_anew(fold)
        unknown["losses"] = None
    mine = take_state(fold)
    return msgspec.structs.replace(mine, **unknown) if unknown else mine


def changed_terms(fold: Fold) -> list[tuple[str, str]]:
    """(key, symbol) of held symbols whose multiplier or quote currency is not that at which they were opened.

    No reason to refuse the journal (the operator could never take it back), but one to refuse the start:
    their average prices and marks mean nothing until the config has the old one again.
    """
    changed: list[tuple[str, str]] = []
    for symbol_id, (multiplier, currency) in fold.opened_at.items():
        if fold.account.position(symbol_id).quantity:
            now = fold.multipliers[symbol_id], fold.currencies[symbol_id]
            keys = zip(("multiplier", "quote_currency"), (multiplier, currency), now, strict=True)
            changed += [(key, fold.symbol(symbol_id)) for key, opened_at, value in keys if opened_at != value]
    return changed


def difference(mine: FoldState, theirs: FoldState) -> str:
    """The first field in which they differ."""
    for name in FoldState.__struct_fields__:
        if getattr(mine, name) != getattr(theirs, name):
            return f"{name}: expected {getattr(mine, name)}, found {getattr(theirs, name)}"
    return "the ENGINE_RUN"
