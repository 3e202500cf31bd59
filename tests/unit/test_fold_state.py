"""F3: a fold that starts at a CHECKPOINT is the fold that came there by itself; one that differs is refused."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

import msgpack
import msgspec
import pytest
from fold_journals import (
    BUY,
    HALT,
    SELL,
    START,
    Step,
    apply,
    checkpoint,
    envelope,
    fill,
    folded,
    journal,
    place,
    run,
    settle,
    state,
    steps,
    stop,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.fold import ANSWERED_MAX, Fold, ImpossibleReport
from actors.fold_state import take_state
from actors.strategies import Signal
from protocol.errors import FoldError
from protocol.orders import OrderStatus, Report
from protocol.records import BalanceChange, OrderCancel, OrderUpdate, SignalRefused
from protocol.state import (
    FeedState,
    StrategyState,
    decode_fold_state,
    decode_strategy_state,
    encode_state,
    encode_strategy_state,
)
from protocol.units import product_to_bytes


def restored(fold: Fold) -> Fold:
    """A new fold that starts with the checkpoint of `fold`, which takes it too."""
    record = checkpoint(fold)
    new, lsn = Fold(), fold.lsn + 1
    new.apply(envelope(lsn, record), record)
    fold.apply(envelope(lsn, record), record)
    return new


@settings(max_examples=150)
@given(steps, st.data())
def test_whoever_starts_at_a_checkpoint_goes_on_as_whoever_came_there(history: list[Step], data: st.DataObject) -> None:
    records = journal(history)
    cut = data.draw(st.integers(1, len(records)))
    old = Fold()
    apply(old, *records[:cut])
    new = restored(old)
    assert state(new) == state(old)
    assert new.answered == old.answered
    for record in records[cut:]:
        outcomes: list[object] = []
        for fold in (old, new):
            try:
                changes = apply(fold, record)
                outcomes.append([type(change) for change in changes])
            except FoldError as error:  # a derived record whose order the model forgot: both say so
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        if isinstance(outcomes[0], str):
            return
        assert state(new) == state(old)
    assert take_state(new) == take_state(old)


def test_a_checkpoint_keeps_open_orders_owed_records_and_what_was_answered() -> None:
    fold = folded(place(1), place(2, SELL, 7), place(3), OrderCancel(3, 16, 900, "strategy"))
    apply(fold, fill(1, 100, commission=2), SignalRefused(17, 5, 0, "stale", ""))
    fill_lsn = fold.lsn - 1
    new = restored(fold)
    assert sorted(new.tracker.open_orders) == [2, 3]
    assert new.tracker.orders[3].cancel_requested
    assert [type(record).__name__ for record in new.owed] == ["PositionOpen", "BalanceChange"]
    assert all(isinstance(record, BalanceChange) or record.cause_lsn == fill_lsn for record in new.owed)  # type: ignore[attr-defined]
    assert {key: list(numbers) for key, numbers in new.answered.items()} == {16: [101, 102, 103, 900], 17: [5]}
    assert new.next_order_id == 4
    settle(new)
    assert new.account.position(0).quantity == 10


def test_an_order_that_has_ended_is_forgotten_and_its_id_is_not_used_again() -> None:
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    new = restored(fold)
    assert (new.tracker.orders, new.tracker.execution_ids, new.next_order_id) == ({}, {}, 2)
    assert isinstance(apply(new, fill(1, 100))[0], ImpossibleReport)
    assert new.account.position(0).quantity == 10


def test_a_part_filled_order_keeps_its_executions() -> None:
    fold = folded(place(1, BUY, 10), OrderUpdate(1, Report.ACCEPT), fill(1, 100, 4, execution="one"))
    settle(fold)
    new = restored(fold)
    order = new.tracker.orders[1]
    assert (order.status, order.filled, order.fills) == (OrderStatus.PARTIALLY_FILLED, 4, 1)
    assert type(apply(new, fill(1, 100, 4, execution="one"))[0]).__name__ == "DuplicateExecution"
    apply(new, fill(1, 130, 6, execution="two"))
    assert order.average_price_micros == 118


def test_a_halt_its_token_and_the_drawdown_baseline_live_on() -> None:
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    apply(fold, place(2, SELL), fill(2, 90))
    settle(fold)
    apply(fold, HALT, stop(token=77), run(halt_token=77))
    new = restored(fold)
    assert (new.cleared_token, new.drawdown(0), new.trading) == (77, 0, fold.trading)
    assert not new.halted(77)
    assert not apply(new, HALT), "its token is known: cleared"


@pytest.mark.parametrize(
    "change",
    [
        {"balance": product_to_bytes(1)},
        {"highest_order_id": 7},
        {"positions": ()},
        {"orders": ()},
        {"owed": ()},
        {"answered": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_that_differs_from_the_fold_is_refused_with_the_field(change: dict[str, object]) -> None:
    fold = folded(place(1), place(2), fill(1, 100))
    record = checkpoint(fold)
    wrong = msgspec.structs.replace(decode_fold_state(record.states[0][2]), **change)
    record = msgspec.structs.replace(record, states=(("risk", fold.lsn, encode_state(wrong)),))
    with pytest.raises(FoldError, match=f"LSN 5: the CHECKPOINT differs from this fold: {next(iter(change))}"):
        fold.apply(envelope(5, record), record)


@pytest.mark.parametrize(
    "states",
    [(), (("risk", 3, b""),), (("risk", 1, b""),), (("risk", 1, b"\x93\x01\x02\x03"),), (("strategy.sma", 1, b"x"),)],
    ids=["none", "another LSN", "empty", "no state", "only a strategy's"],
)
def test_a_checkpoint_without_a_readable_state_is_refused(states: tuple[tuple[str, int, bytes], ...]) -> None:
    fold = folded()
    record = msgspec.structs.replace(checkpoint(fold), states=states)
    for start in (fold, Fold()):
        with pytest.raises(FoldError):
            start.apply(envelope(2, record), record)


def test_a_fold_starts_at_lsn_1_or_at_a_checkpoint_only() -> None:
    with pytest.raises(FoldError, match="expected LSN 1, or a CHECKPOINT"):
        Fold().apply(envelope(2, START), START)
    fold = folded(place(1))
    new = restored(fold)
    with pytest.raises(FoldError, match="expected LSN 4"):
        new.apply(envelope(5, place(2)), place(2))


def test_answered_signals_have_a_limit() -> None:
    fold = folded()
    apply(fold, *(SignalRefused(16, number, 0, "stale", "") for number in range(ANSWERED_MAX + 10)))
    assert list(fold.answered[16]) == list(range(10, ANSWERED_MAX + 10))
    assert restored(fold).answered == fold.answered


def test_an_outsider_reads_the_state_of_risk_from_a_checkpoint() -> None:
    """protocol/README.md section 7, by msgpack alone."""
    fold = folded(place(1, SELL, 5), fill(1, 100, 5), place(2))
    values = msgpack.unpackb(checkpoint(fold).states[0][2])
    assert len(values) == 18
    cost = (-500).to_bytes(16, "little", signed=True)
    assert values[3] == [[0, -5, cost, bytes(16), 1_000_000, ""]]
    assert values[8] == 2
    assert [row[0][0] for row in values[9]] == [2]
    assert [kind for kind, _ in values[10]] == [1]
    assert values[12] == [5, 5]
    assert values[13] == [[16, bytes(16), [[0, -5, cost, bytes(16)]]]]
    assert (values[14][0], values[14][3:]) == (0, [[[16, bytes(16), bytes(16)]], []])
    assert values[15:] == [[], [], 0]


def test_what_a_strategy_saves_comes_back_in_its_own_order() -> None:
    saved = {"slow": 1, "fast": [1.5, None, True], "best": {"y": b"1", "x": 2}}
    back = decode_strategy_state(encode_strategy_state(StrategyState(FeedState(b"epoch", 290, 302, 301), saved))).saved
    assert back == saved
    assert list(back) == ["slow", "fast", "best"]
    assert list(back["best"]) == ["y", "x"]


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"when": [datetime(2024, 1, 2)]}, r"a datetime in ['when'][0]"),
        ({"seen": {1, 2}}, "a set in ['seen']"),
        (Decimal("1.1"), "a Decimal: it may be None, bool, int, float, str, bytes, list or dict"),
        ({"signal": Signal(1, "EURUSD", "Buy", 1.0)}, "a Signal in ['signal']"),
        ({"by id": {5: "x"}}, "a key 5 in ['by id']: only str"),
        ("\ud800", "surrogates"),
        (2**80, ""),
    ],
    ids=["datetime", "set", "Decimal", "Signal", "key", "surrogate", "large"],
)
def test_what_would_not_come_back_as_it_was_is_not_saved(saved: object, words: str) -> None:
    state = StrategyState(FeedState(b"epoch", 290, 302, 301), saved)
    with pytest.raises(TypeError, match=f"save.. gave what is no JSON-like value: .*{re.escape(words)}"):
        encode_strategy_state(state)
