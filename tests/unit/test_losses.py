"""Losses: from where they count, over days, deposits, checkpoints and stops; and what is said of them."""

from __future__ import annotations

import msgspec
import pytest
from books import SMA, TODAY_US, Desk, config, started
from fold_journals import BUY, HALT, OPENING, START, checkpoint, envelope, fill, place, stop

from actors.fold_state import take_state
from actors.scopes import ENGINE
from protocol.messages import SIGNAL_ORDER, Intent
from protocol.orders import TradingMode
from protocol.records import Adjust, AdjustKind, Operation, RiskViolation, SignalRefused, TradingState
from protocol.units import DAY_US, MICROS, PRODUCT, product_to_bytes


def losses(desk: Desk, who: int = ENGINE) -> tuple[int, ...]:
    return tuple(loss // PRODUCT for loss in desk.book.scopes.losses(who, 0))


ALL = "max_daily_loss = 5\nmax_daily_equity_loss = 9\nmax_loss_from_peak = 9\nmax_equity_loss_from_peak = 9"


def test_losses_of_the_day_count_from_its_first_balance_and_those_from_the_peak_from_the_highest() -> None:
    desk = started(ALL)
    desk.trade(+20)
    desk.trade(-3)
    assert losses(desk) == (-17, -17, 3, 3)
    desk.trade(-4, TODAY_US + DAY_US)
    assert losses(desk) == (4, 4, 7, 7)


def test_a_day_on_which_nothing_was_traded_has_no_loss() -> None:
    desk = started(ALL)
    desk.trade(-4)
    desk.tick(100, TODAY_US + DAY_US)
    assert losses(desk) == (0, 0, 4, 4)


def test_a_clock_that_goes_back_over_midnight_brings_no_day_twice() -> None:
    desk = started(ALL)
    for time_us in (TODAY_US, TODAY_US - 15, TODAY_US):
        desk.trade(-1, time_us)
    assert losses(desk)[0] == 3


def test_equity_counts_what_is_held_at_the_quotes() -> None:
    desk = started(ALL)
    bought = msgspec.structs.replace(fill(1, 100 * MICROS, 2 * MICROS), venue_time=TODAY_US)
    desk.take(place(1, BUY, 2 * MICROS), bought)
    desk.settle()
    desk.tick(97, TODAY_US)
    assert losses(desk) == (0, 6, 0, 6)


def test_a_deposit_is_neither_won_nor_lost() -> None:
    desk = started(ALL)
    desk.trade(-4)
    desk.take(Adjust(AdjustKind.DEPOSIT, -1, product_to_bytes(-1000 * PRODUCT)))
    desk.settle()
    assert losses(desk) == (4, 4, 4, 4)
    assert desk.fold.account.balance == OPENING - 1004 * PRODUCT


def test_a_strategys_losses_are_its_own() -> None:
    desk = started(own=ALL.replace("\n", ", "))
    desk.trade(-4)
    bought = msgspec.structs.replace(fill(9, 100 * MICROS, MICROS), venue_time=TODAY_US)
    desk.take(place(9, BUY, MICROS, strategy=17), bought)
    assert losses(desk, SMA) == (4, 4, 4, 4)


def test_they_are_the_same_behind_a_checkpoint() -> None:
    desk = started(ALL)
    desk.trade(+20)
    desk.trade(-3)
    desk.check_losses()
    desk.settle()
    record, other = checkpoint(desk.fold), Desk(config(ALL))
    other.book.apply(envelope(desk.fold.lsn + 1, record), record)
    assert take_state(other.fold) == take_state(desk.fold)
    assert losses(other) == losses(desk)


def test_a_loss_is_said_once_a_day_and_halts() -> None:
    desk = started("max_daily_loss = 5")
    desk.trade(-4)
    assert desk.check_losses() is None
    desk.trade(-1)
    assert desk.check_losses() == "max_daily_loss: lost 5, the limit is 5"
    five = product_to_bytes(5 * PRODUCT)
    assert desk.settle() == [RiskViolation(-1, "max_daily_loss", five, five, 0, 20_000)]
    assert desk.check_losses() is None
    again = Desk(config("max_daily_loss = 5"), desk.fold)
    again.book.begin()
    assert again.check_losses() is None, "another life knows that it was said"
    desk.trade(-5, TODAY_US + DAY_US)
    assert desk.check_losses() is not None


def test_a_resume_says_which_limits_are_used_up() -> None:
    desk = started('max_daily_loss = 5\nactions = { max_daily_loss = "reduce" }')
    desk.trade(-5)
    desk.check_losses()
    desk.settle()
    assert desk.book.mode is TradingMode.REDUCING
    desk.book.carry_out(99, Operation("", "RESUME", "", "operator"), 0)
    [told] = [record.outcome for record in desk.settle() if isinstance(record, Operation)]
    used_up = "max_daily_loss: lost 5, the limit is 5: what raises exposure is refused"
    assert told == f"trading is ACTIVE; {used_up}"


def test_a_limit_that_was_raised_halts_again_when_it_is_reached() -> None:
    desk = started("max_daily_loss = 5")
    desk.trade(-5)
    assert desk.check_losses()
    desk.settle()
    raised = Desk(config("max_daily_loss = 20"), desk.fold)
    raised.book.scopes.take_run()
    assert raised.check_losses() is None
    desk.trade(-15)
    assert "the limit is 20" in str(raised.check_losses())


def test_a_loss_from_the_peak_is_said_again_behind_a_new_peak() -> None:
    desk = started('max_loss_from_peak = 5\nactions = { max_loss_from_peak = "refuse" }')
    for change, said in ((-5, 1), (-1, 0), (+20, 0), (-5, 1)):
        desk.trade(change)
        desk.check_losses()
        assert len([record for record in desk.settle() if isinstance(record, RiskViolation)]) == said


def test_a_crash_between_the_fill_and_the_violation_loses_nothing() -> None:
    desk = started("max_daily_loss = 5")
    desk.trade(-5)
    again = Desk(config("max_daily_loss = 5"), desk.fold)
    again.book.scopes.take_run()
    assert again.check_losses() is not None


@pytest.mark.parametrize("action", ["refuse", "reduce", "halt"])
def test_what_follows_is_as_configured(action: str) -> None:
    desk = started(f'max_daily_loss = 5\nactions = {{ max_daily_loss = "{action}" }}')
    desk.trade(-5)
    assert (desk.check_losses() is not None) is (action == "halt")
    states = [record for record in desk.settle() if isinstance(record, TradingState)]
    assert [state.state for state in states] == [TradingMode.REDUCING] * (action == "reduce")
    assert desk.book.mode is (TradingMode.REDUCING if action == "reduce" else TradingMode.ACTIVE)


def test_an_operators_stop_of_a_halted_engine_lets_those_from_the_peak_count_anew_and_those_of_the_day_not() -> None:
    desk = started(ALL)
    desk.trade(-9)
    assert desk.check_losses() is not None
    desk.settle()
    desk.take(HALT, stop(token=HALT.token), START)
    assert losses(desk) == (9, 9, 0, 0)
    again = Desk(config(ALL), desk.fold)
    again.book.scopes.take_run()
    assert again.check_losses() is None, "of the day it was said"
    desk.trade(-9)
    again = Desk(config(ALL), desk.fold)
    again.book.scopes.take_run()
    assert "max_loss_from_peak" in str(again.check_losses())


def test_a_strategys_loss_refuses_its_orders_and_nobody_elses() -> None:
    desk = started(own="max_daily_loss = 5")
    desk.trade(-5)
    assert desk.check_losses() is None
    desk.settle()
    desk.book.begin()
    refused: list[str] = []
    for number, strategy in enumerate((16, 17), 500):
        desk.book.decide(Intent(strategy, number, 1, 0, b"", 302, SIGNAL_ORDER, 0, quantity=MICROS), 0)
        refused += [record.reason for record in desk.settle() if isinstance(record, SignalRefused)]
    assert refused == ["max_daily_loss"]
