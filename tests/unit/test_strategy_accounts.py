"""Several strategies in one symbol: each has the position that its own orders left, and the sums are the engine's."""

from __future__ import annotations

import msgspec
import pytest
from fold_journals import BUY, OPENING, SELL, apply, checkpoint, envelope, fill, folded, place, run, settle
from hypothesis import given
from hypothesis import strategies as st

from actors.fold import FillBooked, Fold, PositionChanged
from actors.fold_state import NOBODY
from actors.ledger import Position
from actors.order_tracker import OrderTracker
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from protocol.orders import Report, Side
from protocol.records import OrderPlace, OrderUpdate
from protocol.state import decode_fold_state, encode_state
from protocol.units import MICROS

SMA, BREAKOUT = 16, 17
ES = 50 * MICROS
Trade = tuple[int, Side, int, int, int]
trades = st.lists(
    st.tuples(
        st.sampled_from([SMA, BREAKOUT]), st.sampled_from([BUY, SELL]), st.integers(0, 1), st.integers(1, 10**9),
        st.integers(1, 10**6),
    ), min_size=1, max_size=40,
)  # fmt: skip


def traded(history: list[Trade]) -> Fold:
    fold = folded()
    for number, (strategy, side, symbol, price, quantity) in enumerate(history, 1):
        apply(fold, place(number, side, quantity, symbol_id=symbol, strategy=strategy))
        apply(fold, fill(number, price, quantity, commission=number))
        settle(fold)
    return fold


def open_value(position: Position, mark: int, multiplier: int) -> int:
    return position.quantity * mark * multiplier // MICROS - position.cost


@given(trades, st.integers(1, 10**9))
def test_quantities_and_money_of_the_strategies_add_up_to_the_engines(history: list[Trade], mark: int) -> None:
    """At any mark: one may close what another opens, so what is realized adds up only with the open profit."""
    fold = traded(history)
    accounts = fold.strategy_accounts.values()
    for symbol_id, net in fold.account.positions.items():
        assert sum(account.position(symbol_id).quantity for account in accounts) == net.quantity
    assert sum(account.commission for account in accounts) == fold.account.commission

    def equity(positions: dict[int, Position], balance: int) -> int:
        return balance + sum(open_value(held, mark, (MICROS, ES)[key]) for key, held in positions.items())

    whole = equity(fold.account.positions, fold.account.balance - OPENING)
    assert sum(equity(account.positions, account.balance) for account in accounts) == whole


@given(trades)
def test_alone_in_a_symbol_a_strategys_position_is_the_engines(history: list[Trade]) -> None:
    fold = traded([(SMA, *rest) for _, *rest in history])  # type: ignore[misc]
    (account,) = fold.strategy_accounts.values()
    assert (account.positions, account.realized) == (fold.account.positions, fold.account.realized)


@given(trades)
def test_they_outlive_a_checkpoint(history: list[Trade]) -> None:
    fold = traded(history)
    record, new = checkpoint(fold), Fold()
    new.apply(envelope(fold.lsn + 1, record), record)
    for strategy_id, account in fold.strategy_accounts.items():
        other = new.strategy_accounts[strategy_id]
        assert (account.positions, account.realized) == (other.positions, other.realized)
        assert (account.balance, account.commission) == (other.balance, other.commission)


def test_what_is_told_of_a_fill_has_the_profit_of_both() -> None:
    """sma buys 10 at 100, breakout sells 10 at 130: the engine is flat with a profit, breakout is short without."""
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    _, booked, changed = apply(fold, place(2, SELL, strategy=BREAKOUT), fill(2, 130))
    assert isinstance(booked, FillBooked)
    assert (booked.realized, booked.own_realized) == (300, 0)
    assert changed == PositionChanged(0, BREAKOUT, 5)
    assert fold.account.position(0) == Position(0, 0)
    views = [fold.position_view(0, strategy) for strategy in (SMA, BREAKOUT, 18)]
    assert [(view.quantity, view.realized) for view in views] == [(10, 0), (-10, 0), (0, 0)]


@pytest.mark.parametrize(("strategies", "owner"), [(("sma",), SMA), (("sma", "breakout"), NOBODY)])
def test_a_position_of_an_older_version_is_its_only_strategys_or_nobodys(
    strategies: tuple[str, ...], owner: int
) -> None:
    start = run(strategies=strategies)
    fold = Fold()
    apply(fold, start, place(1), fill(1, 100, 4, commission=3))
    settle(fold)
    state = msgspec.structs.replace(decode_fold_state(checkpoint(fold).states[0][2]), strategies=None, losses=None)
    record = msgspec.structs.replace(checkpoint(fold), states=(("risk", fold.lsn, encode_state(state)),))
    new, lsn = Fold(), fold.lsn + 1
    for starting in (new, fold):  # who came here by itself agrees with who starts here
        starting.apply(envelope(lsn, record), record)
        assert starting.owned_positions() == {(owner, 0): 4}
        assert starting.strategy_accounts[owner].balance == -3 * MICROS


# What may only reduce.


def venue_with(fold: Fold) -> PaperVenue:
    venue = PaperVenue(Policies({0: Terms(1)}))
    venue.restore(fold.tracker.open_orders.values(), fold.owned_positions())
    venue.on_tick(0, 6, 100, 101)
    return venue


def closing(order_id: int, strategy: int, side: Side, quantity: int) -> OrderPlace:
    return msgspec.structs.replace(place(order_id, side, quantity, strategy=strategy), reduce_only=True)


def test_a_close_takes_its_own_strategys_position_whatever_the_net_is() -> None:
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    apply(fold, place(2, SELL, 30, strategy=BREAKOUT), fill(2, 100, 30))
    assert fold.account.position(0).quantity == -20
    venue = venue_with(fold)
    _, filled = venue.place(closing(3, SMA, SELL, 10))
    assert isinstance(filled, OrderUpdate)
    assert (filled.report, filled.quantity) == (Report.FILL, 10)
    (refused,) = venue.place(closing(4, SMA, SELL, 10))
    assert isinstance(refused, OrderUpdate)
    assert (refused.report, refused.reason) == (Report.REJECT, "nothing_to_reduce")


def test_the_end_of_one_strategys_position_leaves_the_others_exits_alone() -> None:
    venue = venue_with(folded())
    for order_id, strategy in ((1, SMA), (4, BREAKOUT)):
        bracket = msgspec.structs.replace(
            place(order_id, strategy=strategy), stop_loss=90, take_profit=120, stop_loss_order_id=order_id + 1,
            take_profit_order_id=order_id + 2,
        )  # fmt: skip
        venue.place(bracket)
    said = venue.place(closing(7, SMA, SELL, 10))
    ended = [answer.order_id for answer in said if isinstance(answer, OrderUpdate) and answer.report is Report.CANCEL]
    assert ended == [2, 3]
    reached = venue.on_tick(0, 7, 80, 81)
    fills = [answer.order_id for answer in reached if isinstance(answer, OrderUpdate) and answer.report is Report.FILL]
    assert fills == [5]


def test_open_quantities_are_all_or_one_strategys() -> None:
    tracker = OrderTracker()
    for number, strategy, side in ((1, SMA, BUY), (2, BREAKOUT, BUY), (3, BREAKOUT, SELL)):
        tracker.add(place(number, side, strategy=strategy))
    assert [tracker.open_quantities(0, strategy) for strategy in (None, SMA, BREAKOUT, 18)] == [
        (20, 10), (10, 0), (10, 10), (0, 0),
    ]  # fmt: skip
