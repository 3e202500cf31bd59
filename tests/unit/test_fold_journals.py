"""The fold over whole journals: restarts, late derived records, and the money by plain sums."""

from __future__ import annotations

from collections import Counter

import msgspec
from fold_journals import OPENING, Step, apply, journal, settle, state, steps
from hypothesis import given
from hypothesis import strategies as st

from actors.fold import FillBooked, Fold
from protocol.orders import Report
from protocol.records import (
    BalanceChange,
    OrderUpdate,
    PositionClose,
    PositionOpen,
    Record,
    decode_record,
    encode_record,
    entry_type_of,
)
from protocol.units import MICROS, bytes_to_product


@given(steps, st.data())
def test_folding_a_prefix_and_then_the_rest_is_folding_all(history: list[Step], data: st.DataObject) -> None:
    """A restart reads bytes; and what its former life had already told is told the same way again."""
    records = journal(history)
    cut = data.draw(st.integers(0, len(records)))
    whole, parts = Fold(), Fold()
    for record in records[:cut]:
        apply(parts, record)
    for record in records:
        apply(whole, decode_record(entry_type_of(record), encode_record(record)))
    for record in records[cut:]:
        apply(parts, record)
    assert state(parts) == state(whole)


@given(steps)
def test_when_derived_records_are_written_changes_nothing_but_where_they_stand(history: list[Step]) -> None:
    compared = ("balance", "commission", "realized", "positions", "orders", "executions", "baseline", "cleared", "next")
    states, derived = [], []
    for chosen in (history, [step for step in history if step[0] != "derive"]):
        records, fold = journal(chosen), Fold()
        apply(fold, *records)
        owed = settle(fold)
        states.append({key: value for key, value in state(fold).items() if key in compared})
        derived.append([
            msgspec.structs.replace(record, cause_lsn=0)
            for record in [*records, *owed]
            if isinstance(record, PositionOpen | PositionClose | BalanceChange)
        ])  # fmt: skip
    assert states[0] == states[1]
    assert derived[0] == derived[1]


@given(steps)
def test_the_money_is_the_cash_of_the_fills_that_were_told_as_booked(history: list[Step]) -> None:
    """Plain sums over the Changes, and over the derived records, against the fold's account."""
    records, fold = journal(history), Fold()
    cash: Counter[int] = Counter()
    held: Counter[int] = Counter()
    booked: list[str] = []
    commission = 0
    for record in records:
        for change in apply(fold, record):
            if isinstance(change, FillBooked):
                symbol_id, sign = change.order.symbol_id, change.order.side.sign
                cash[symbol_id] -= sign * change.price * change.quantity * (1, 50)[symbol_id]
                held[symbol_id] += sign * change.quantity
                commission += change.commission * MICROS
                booked.append(change.execution_id)
    assert len(booked) == len(set(booked))
    assert set(booked) == {
        record.execution_id
        for record in records
        if isinstance(record, OrderUpdate) and record.report is Report.FILL and record.quantity < 99
    } - {""}
    account = fold.account
    for symbol_id in (0, 1):
        position, realized = account.position(symbol_id), account.realized.get(symbol_id, 0)
        assert position.quantity == held[symbol_id]
        assert realized - position.cost == cash[symbol_id]
    assert account.commission == commission
    assert account.balance == OPENING + sum(account.realized.values()) - commission
    check_derived([*records, *fold.owed], fold)


def check_derived(records: list[Record], fold: Fold) -> None:
    """What an outsider gets who reads derived records only."""
    held: Counter[int] = Counter()
    realized: Counter[int] = Counter()
    balance = OPENING
    for record in records:
        if isinstance(record, PositionOpen | PositionClose):
            held[record.symbol_id] += record.quantity
            assert held[record.symbol_id] == record.net_quantity
            assert bytes_to_product(record.open_cost) * record.net_quantity >= 0
        if isinstance(record, PositionClose):
            realized[record.symbol_id] += bytes_to_product(record.realized)
        if isinstance(record, BalanceChange):
            balance += bytes_to_product(record.profit) - bytes_to_product(record.commission)
            assert bytes_to_product(record.balance) == balance
    assert balance == fold.account.balance
    for symbol_id, total in fold.account.realized.items():
        assert realized[symbol_id] == total
        assert held[symbol_id] == fold.account.position(symbol_id).quantity
