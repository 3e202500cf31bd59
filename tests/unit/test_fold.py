"""The fold: the same records give the same state, money moves once, and what does not follow is refused."""

from __future__ import annotations

import msgspec
import pytest
from fold_journals import (
    HALT,
    OPENING,
    SELL,
    START,
    apply,
    envelope,
    fill,
    folded,
    place,
    run,
    settle,
    state,
    stop,
)

from actors import fold as fold_module
from actors.fold import (
    CancelRequested,
    Change,
    DuplicateExecution,
    FillBooked,
    Fold,
    ImpossibleReport,
    OrderChanged,
    PositionChanged,
    RunChanged,
    SignalAnswered,
    TradingStateChanged,
    TradingStatus,
    ViolationRecorded,
)
from actors.fold_state import changed_terms
from actors.ledger import Position
from protocol.errors import FoldError
from protocol.orders import OrderStatus, Report, TradingMode
from protocol.records import (
    RECORD_TYPES,
    BalanceChange,
    EngineRun,
    OrderCancel,
    OrderUpdate,
    PositionClose,
    PositionOpen,
    Record,
    RiskViolation,
    SignalRefused,
    TradingState,
    decode_record,
    encode_record,
    entry_type_of,
)
from protocol.units import MICROS, MICROS_MAX, bytes_to_product, product_to_bytes

P = product_to_bytes


# Runs and id tables.


def test_the_first_engine_run_opens_the_balance_and_names_the_ids() -> None:
    fold = Fold()
    assert apply(fold, START) == [RunChanged(START, 1001)]
    assert (fold.lsn, fold.journal_id, fold.next_order_id) == (1, b"journal", 1)
    assert fold.opening_balance == fold.account.balance == OPENING
    assert (fold.symbols, fold.symbol(1), fold.symbol(2), fold.symbol(-1)) == (("EURUSD", "ES"), "ES", "", "")
    assert (fold.symbol_ids, fold.multipliers) == ({"EURUSD": 0, "ES": 1}, (MICROS, 50 * MICROS))
    assert (fold.strategy(17), fold.strategy(18), fold.strategy(0), fold.strategy_id("breakout")) == (
        "breakout", "", "", 17,
    )  # fmt: skip
    with pytest.raises(KeyError):
        fold.strategy_id("unknown")


def test_a_later_start_keeps_the_money_and_may_add_symbols() -> None:
    fold = folded(place(1), fill(1, 100, commission=3))
    balance = fold.account.balance
    apply(fold, run(balance=P(1), symbols=(*START.symbols, ("USDJPY", MICROS)), strategies=(*START.strategies, "new")))
    assert (fold.account.balance, fold.opening_balance) == (balance, OPENING)
    assert (fold.symbol(2), fold.strategy(18)) == ("USDJPY", "new")


@pytest.mark.parametrize(
    ("later", "what"),
    [
        (run(journal_id=b"another"), "expected journal"),
        (run(symbols=(("ES", MICROS), ("EURUSD", MICROS))), "symbol ids renumbered"),
        (run(symbols=START.symbols[:1]), "symbol ids renumbered"),
        (run(strategies=("breakout", "sma")), "strategy ids renumbered"),
    ],
)
def test_a_run_of_another_journal_or_with_renumbered_ids_is_refused(later: EngineRun, what: str) -> None:
    with pytest.raises(FoldError, match=what) as caught:
        apply(folded(), later)
    assert caught.value.lsn == 2


def test_a_changed_multiplier_of_a_held_symbol_is_told_and_can_be_taken_back() -> None:
    fold = folded(place(1), fill(1, 100))
    changed = run(symbols=(("EURUSD", 2 * MICROS), ("ES", MICROS)))
    apply(fold, *fold.owed, changed)
    assert changed_terms(fold) == [("multiplier", "EURUSD")]
    apply(fold, START)
    assert changed_terms(fold) == []


def test_a_reversal_is_an_opening_at_the_multiplier_of_its_day() -> None:
    changed = run(symbols=(("EURUSD", 2 * MICROS), ("ES", MICROS)))
    fold = folded(place(1), fill(1, 100))
    apply(fold, *fold.owed, changed, place(2, SELL, 30), fill(2, 100, 30))
    assert changed_terms(fold) == []
    apply(fold, *fold.owed, START)
    assert changed_terms(fold) == [("multiplier", "EURUSD")]


def test_a_multiplier_may_change_while_the_symbol_is_flat() -> None:
    fold = folded(place(1), fill(1, 100), place(2, SELL), fill(2, 110))
    settle(fold)
    apply(fold, run(symbols=(("EURUSD", 2 * MICROS), ("ES", MICROS))), place(3), fill(3, 100))
    assert changed_terms(fold) == []
    assert fold.account.position(0) == Position(10, 2000)


@pytest.mark.parametrize("records", [[place(1)], [HALT], [fill(1, 100)]])
def test_a_journal_that_does_not_begin_with_a_run_is_refused(records: list[Record]) -> None:
    with pytest.raises(FoldError, match="first ENGINE_RUN"):
        apply(Fold(), *records)


@pytest.mark.parametrize("lsn", [0, 1, 3])
def test_a_gap_or_a_repetition_in_the_lsns_is_refused(lsn: int) -> None:
    fold = folded()
    with pytest.raises(FoldError, match="expected LSN 2"):
        fold.apply(envelope(lsn, place(1)), place(1))


def test_every_record_type_of_this_version_is_folded() -> None:
    assert set(Fold()._handlers) == set(RECORD_TYPES.values())


# Orders and signals.


def test_a_placed_order_is_new_and_answers_its_signal() -> None:
    fold = folded()
    changes = apply(fold, place(1))
    order = fold.tracker.orders[1]
    assert changes == [SignalAnswered(16, 101, 1), OrderChanged(order, OrderStatus.NEW, 1002)]
    assert order.status is OrderStatus.NEW
    assert fold.next_order_id == 2


def test_what_no_strategy_asked_for_answers_no_signal() -> None:
    fold = folded()
    assert apply(fold, place(1, strategy=0)) == [OrderChanged(fold.tracker.orders[1], OrderStatus.NEW, 1002)]
    assert apply(fold, OrderCancel(1, 0, 0, "halt")) == [CancelRequested(1, "halt")]


def test_an_order_id_used_twice_is_refused() -> None:
    with pytest.raises(FoldError, match="order id 1 is used twice"):
        apply(folded(place(1)), place(1))


def test_an_order_in_a_symbol_without_a_name_is_refused() -> None:
    with pytest.raises(FoldError, match="symbol 2"):
        apply(folded(), place(1, symbol_id=2))


def test_a_refused_signal_is_answered_with_the_reason() -> None:
    refused = SignalRefused(17, 5, 0, "stale_signal", "late")
    assert apply(folded(), refused) == [SignalAnswered(17, 5, None, 0, "stale_signal", "late")]


def test_a_cancel_request_stays_with_the_open_order() -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT))
    changes = apply(fold, OrderCancel(1, 16, 8, "strategy"))
    assert changes == [SignalAnswered(16, 8, 1), CancelRequested(1, "strategy")]
    assert [order.order_id for order in fold.tracker.open_orders.values() if order.cancel_requested] == [1]
    apply(fold, OrderUpdate(1, Report.CANCEL))
    assert not fold.tracker.open_orders


def test_a_cancel_of_an_unknown_order_is_told_all_the_same() -> None:
    assert apply(folded(), OrderCancel(9, 16, 8, "strategy"))[-1] == CancelRequested(9, "strategy")


def test_an_update_tells_the_status_before_and_the_venues_time() -> None:
    fold = folded(place(1))
    order = fold.tracker.orders[1]
    assert apply(fold, OrderUpdate(1, Report.ACCEPT)) == [OrderChanged(order, OrderStatus.NEW, 1003)]
    assert apply(fold, fill(1, 100, 4, execution="a", commission=2)) == [
        OrderChanged(order, OrderStatus.ACCEPTED, 5),
        FillBooked(order, "a", 100, 4, 2, 0, 0, 5),
        PositionChanged(0, 16, 5),
    ]
    assert order.status is OrderStatus.PARTIALLY_FILLED


def test_an_execution_is_booked_once() -> None:
    fold = folded(place(1), fill(1, 100, 4, execution="a", commission=2))
    settle(fold)
    before = state(fold)
    assert apply(fold, fill(1, 100, 4, execution="a", commission=2)) == [DuplicateExecution(1, "a")]
    assert state(fold) == before | {"lsn": fold.lsn}


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (fill(9, 100), "unknown_order"),
        (fill(1, 100, 11), "overfill"),
        (OrderUpdate(1, Report.REPLACE, "5"), "replace_without_request"),
        (msgspec.structs.replace(fill(1, 100), conversion_rate=2 * MICROS), "conversion_rate"),
        (fill(1, 2**127), "not_representable"),
        (fill(1, 100, commission=2**110), "not_representable"),
        (OrderUpdate(1, Report.PENDING), "pending_after_accepted"),
    ],
)
def test_an_impossible_report_is_told_and_moves_nothing(update: OrderUpdate, reason: str) -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT))
    before = state(fold)
    assert apply(fold, update) == [ImpossibleReport(update.order_id, reason)]
    assert state(fold) == before | {"lsn": fold.lsn}


@pytest.mark.parametrize("end", [OrderUpdate(1, Report.CANCEL), OrderUpdate(1, Report.EXPIRE), fill(1, 100, 6)])
def test_a_fill_after_the_end_of_its_order_moves_no_money(end: OrderUpdate) -> None:
    fold = folded(place(1), OrderUpdate(1, Report.ACCEPT), fill(1, 100, 4), end)
    settle(fold)
    before = state(fold)
    late = fill(1, 100, 1, execution="late")
    assert [type(change) for change in apply(fold, late)] == [ImpossibleReport]
    assert state(fold) == before | {"lsn": fold.lsn}


def test_a_fill_that_would_outgrow_the_position_is_told_and_moves_nothing() -> None:
    fold = folded(place(1, quantity=MICROS_MAX), fill(1, 1, MICROS_MAX), place(2, quantity=1))
    settle(fold)
    assert apply(fold, fill(2, 1, 1)) == [ImpossibleReport(2, "not_representable")]
    assert fold.account.position(0).quantity == MICROS_MAX
    assert not fold.owed


# Derived records (F1, F2).

DERIVED_CASES = [
    pytest.param([], fill(1, 100), [PositionOpen(3, 0, 1, 10, 100, 10, P(1000))], id="open"),
    pytest.param(
        [], fill(1, 100, commission=2),
        [
            PositionOpen(3, 0, 1, 10, 100, 10, P(1000)),
            BalanceChange(3, 1, P(0), P(2 * MICROS), P(OPENING - 2 * MICROS)),
        ],
        id="open with commission",
    ),
    pytest.param(
        [place(8, SELL, 30), fill(8, 110, 30)], fill(1, 100),
        [PositionClose(6, 0, 1, 10, 100, -20, P(-2200), P(100)), BalanceChange(6, 1, P(100), P(0), P(OPENING + 100))],
        id="reduce",
    ),
    pytest.param(
        [place(8, SELL, 10), fill(8, 110, 10)], fill(1, 110),
        [PositionClose(6, 0, 1, 10, 110, 0, P(0), P(0))],
        id="close without profit",
    ),
    pytest.param(
        [place(8, SELL, 4), fill(8, 110, 4)], fill(1, 120, commission=1),
        [
            PositionClose(6, 0, 1, 4, 120, 0, P(0), P(-40)),
            PositionOpen(6, 0, 1, 6, 120, 6, P(720)),
            BalanceChange(6, 1, P(-40), P(MICROS), P(OPENING - 40 - MICROS)),
        ],
        id="reverse",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "update", "expected"), DERIVED_CASES)
def test_what_follows_from_a_fill(before: list[Record], update: OrderUpdate, expected: list[Record]) -> None:
    fold = folded(*before)
    settle(fold)
    apply(fold, place(1))
    apply(fold, update)
    assert list(fold.owed) == expected
    assert settle(fold) == expected
    assert not fold.owed


def test_derived_records_survive_the_bytes_of_the_journal() -> None:
    fold = folded(place(1, SELL, 4), fill(1, 110, 4), place(2), fill(2, 120, commission=1))
    assert [decode_record(entry_type_of(owed), encode_record(owed)) for owed in fold.owed] == list(fold.owed)


def test_the_missing_suffix_is_left_in_owed_even_half_a_cause() -> None:
    fold = folded(place(1, SELL, 4), fill(1, 110, 4), place(2), fill(2, 120))
    first, close, opened, balance = fold.owed
    apply(fold, first, close)
    assert list(fold.owed) == [opened, balance]


def test_the_ledger_moves_at_the_fill_and_not_again_when_its_records_arrive() -> None:
    fold = folded(place(1), fill(1, 100, commission=2))
    before = state(fold)
    settle(fold)
    assert state(fold) == before | {"lsn": fold.lsn, "owed": []}


def three_causes() -> Fold:
    """Five records are owed, of three causes, the last a reversal."""
    return folded(place(1), fill(1, 100), place(2), fill(2, 101), place(3, SELL, 50), fill(3, 90, 50))


@pytest.mark.parametrize("position", range(1, 5))
def test_a_derived_record_out_of_order_is_refused(position: int) -> None:
    fold = three_causes()
    assert len(fold.owed) == 5
    with pytest.raises(FoldError, match="expected") as caught:
        apply(fold, fold.owed[position])
    assert caught.value.lsn == 8


@pytest.mark.parametrize("index", range(5))
def test_a_derived_record_that_differs_in_any_field_is_refused(index: int) -> None:
    owed = list(three_causes().owed)
    for field in owed[index].__struct_fields__:
        value = getattr(owed[index], field)
        other = P(bytes_to_product(value) + 1) if isinstance(value, bytes) else value + 1
        fold = three_causes()
        apply(fold, *owed[:index])
        with pytest.raises(FoldError):
            apply(fold, msgspec.structs.replace(owed[index], **{field: other}))


def test_a_derived_record_without_a_cause_is_refused() -> None:
    fold = folded(place(1), fill(1, 100))
    (opened,) = fold.owed
    apply(fold, opened)
    with pytest.raises(FoldError, match="expected no derived record"):
        apply(fold, opened)


# Trading state and HALT (H2, H7).


def test_a_halt_is_told_with_who_why_and_since_when() -> None:
    fold = folded()
    status = TradingStatus(TradingMode.HALTED, "gateway", "enough", 77, 1002)
    assert apply(fold, HALT) == [TradingStateChanged(TradingMode.ACTIVE, status)]
    assert fold.trading == status


def test_a_second_trading_state_with_the_same_token_is_ignored() -> None:
    fold = folded(HALT)
    assert apply(fold, TradingState(TradingMode.HALTED, "risk", "page", 77)) == []
    assert fold.trading.by == "gateway"


def test_a_late_twin_of_a_halt_that_was_cleared_does_not_halt_again() -> None:
    fold = folded(HALT, stop(token=77), START)
    assert apply(fold, HALT) == []
    assert not fold.halted(77)


def test_a_halt_seen_only_on_the_page_and_cleared_is_not_halted_by_its_late_record() -> None:
    fold = folded(stop(token=77), START)
    assert apply(fold, HALT) == []
    assert not fold.halted(77)


def test_a_new_token_halts_again_after_a_clearing_stop() -> None:
    fold = folded(HALT, stop(token=77), START)
    apply(fold, TradingState(TradingMode.HALTED, "gateway", "again", 78))
    assert fold.halted(0)
    assert fold.halted(77)


def test_states_without_a_token_all_count() -> None:
    fold = folded(TradingState(TradingMode.REDUCING, "gateway", "", 0))
    apply(fold, TradingState(TradingMode.ACTIVE, "gateway", "", 0))
    assert fold.trading.mode is TradingMode.ACTIVE


@pytest.mark.parametrize("mode", [TradingMode.ACTIVE, TradingMode.REDUCING])
def test_no_trading_state_ends_a_halt(mode: TradingMode) -> None:
    fold = folded(HALT)
    assert apply(fold, TradingState(mode, "gateway", "", 0)) == []
    assert fold.halted(0)


HALTED_CASES = [
    pytest.param([], 0, False, id="nothing happened"),
    pytest.param([], 77, True, id="the page alone"),
    pytest.param([HALT], 0, True, id="the journal alone"),
    pytest.param([HALT], 77, True, id="both"),
    pytest.param([HALT, START], 77, True, id="a crash and a start"),
    pytest.param([HALT, stop("end_of_data", 77), START], 77, True, id="the end of a file"),
    pytest.param([HALT, stop("escalation", 77), START], 77, True, id="an escalation"),
    pytest.param([HALT, stop(token=77)], 77, False, id="an operator's stop"),
    pytest.param([HALT, stop(token=77), START], 0, False, id="an operator's stop, the page made anew"),
    pytest.param([stop(token=77), START], 77, False, id="an operator's stop that saw the page only"),
    pytest.param([stop(token=0), START], 77, True, id="a halt that the stop did not see"),
    pytest.param([HALT, stop(token=77), START], 78, True, id="a halt after the stop"),
    pytest.param([HALT, stop(token=77), START, stop(token=77), START], 77, False, id="a second stop, the same page"),
    pytest.param([HALT, stop(token=77), START, stop("end_of_data", 77), START], 77, False, id="cleared stays cleared"),
]


@pytest.mark.parametrize(("records", "page", "halted"), HALTED_CASES)
def test_halted_is_the_fold_or_a_page_that_no_operators_stop_has_cleared(
    records: list[Record], page: int, halted: bool
) -> None:
    assert folded(*records).halted(page) is halted


def test_an_operators_stop_ends_a_halt_and_tells_so_but_not_reducing() -> None:
    fold = folded(HALT)
    stopped, trading = apply(fold, stop(token=77))
    assert isinstance(stopped, RunChanged)
    assert isinstance(trading, TradingStateChanged)
    assert (trading.previous, trading.state.mode) == (TradingMode.HALTED, TradingMode.ACTIVE)
    assert fold.cleared_token == 77
    fold = folded(TradingState(TradingMode.REDUCING, "gateway", "", 0), stop())
    assert fold.trading.mode is TradingMode.REDUCING


LOSS = (place(1), fill(1, 100), place(2, SELL), fill(2, 70))


@pytest.mark.parametrize(
    ("records", "drawdown"),
    [
        pytest.param([], -300, id="at first from zero"),
        pytest.param([stop(), START], -300, id="a stop of an engine that was not halted"),
        pytest.param([HALT, stop("escalation", 77), START], -300, id="an escalation"),
        pytest.param([HALT, stop(token=77), START], 0, id="an operator's stop of a halted engine"),
        pytest.param([stop(token=77), START], 0, id="halted by the page alone"),
        pytest.param([HALT, stop(token=77), START, stop(token=77), START], 0, id="stays over later stops"),
    ],
)
def test_max_drawdown_counts_from_the_realized_profit_at_the_stop_that_ended_a_halt(
    records: list[Record], drawdown: int
) -> None:
    fold = folded(*LOSS)
    settle(fold)
    apply(fold, *records)
    assert fold.drawdown(0) == drawdown
    apply(fold, place(3), fill(3, 100), place(4, SELL), fill(4, 90))
    assert fold.drawdown(0) == drawdown - 100
    assert fold.account.realized[0] == -400


def test_a_violation_is_told() -> None:
    violation = RiskViolation(0, "max_drawdown", P(-510), P(-500))
    assert apply(folded(), violation) == [ViolationRecorded(violation)]


def test_the_snapshot_has_every_symbol_ever_traded_flat_ones_too() -> None:
    million = MICROS
    fold = folded(
        place(1, symbol_id=1, quantity=2 * million), fill(1, 3 * million, 2 * million),
        place(2, quantity=million), fill(2, 2 * million, million),
        place(3, SELL, quantity=million), fill(3, 3 * million, million),
    )  # fmt: skip
    assert fold.snapshot_positions() == [
        (0, "EURUSD", 0, 0, 0.0, 10**12),
        (1, "ES", 2 * million, 3 * million, 3.0, 0),
    ]
    assert folded().snapshot_positions() == []


def test_the_changes_are_frozen() -> None:
    change = PositionChanged(0, 16, 1)
    with pytest.raises(AttributeError):
        change.symbol_id = 2  # type: ignore[misc]
    assert all(
        kind.__struct_config__.frozen
        for kind in vars(fold_module).values()
        if isinstance(kind, type) and issubclass(kind, Change)
    )


@pytest.mark.parametrize(
    ("token", "why"), [(77, "an ordered stop ended the halt"), (0, "stopped")], ids=["a stop", "a RESUME's word"]
)
def test_active_says_that_a_stop_ended_a_halt_and_only_then(token: int, why: str) -> None:
    assert TradingStatus(TradingMode.ACTIVE, "operator", "stopped", token, 1).why == why
