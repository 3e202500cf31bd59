"""The exits of a position: what a strategy may ask for, what it comes down to, and that they follow what is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from books import Desk, started
from fold_journals import BUY, SELL, apply, checkpoint, envelope, fill, folded, place, settle, state
from houses import House, house_config

from actors.fold import CancelRequested, Fold, OrderChanged, ReplaceRequested, SignalAnswered
from actors.order_fields import ImpossibleOrderError, exit_fields
from actors.protection import REMOVED, requests_of
from protocol.messages import SIGNAL_MODIFY, SIGNAL_ORDER, Intent
from protocol.orders import OrderStatus, OrderType, Report
from protocol.records import (
    OrderCancel,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    PositionModify,
    SignalRefused,
    TradingState,
)
from protocol.units import MICROS

MADE = PositionModify(16, 0, 5, 90, 110, 0, SELL, 10, 2, 3, 4)
STOP = OrderPlace(3, 16, 5, 0, SELL, OrderType.STOP, 10, 0, 90, reduce_only=True, protects=2)
LIMIT = OrderPlace(4, 16, 5, 0, SELL, OrderType.LIMIT, 10, 110, reduce_only=True, protects=2)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (MADE, [STOP, LIMIT]),
        (PositionModify(16, 0, 5, 90, 0, 3, SELL, 10, 2, 3), [msgspec.structs.replace(STOP, trail=3)]),
        (PositionModify(16, 0, 5, 91, 0, 3, SELL, 10, stop_losses=(3, 7)),
         [OrderReplace(3, 16, 5, 0, 0, 91, 3), OrderReplace(7, 16, 5, 0, 0, 91, 3)]),
        (PositionModify(16, 0, 5, REMOVED, 111, 0, SELL, 10, stop_losses=(3,), take_profits=(4,)),
         [OrderCancel(3, 16, 5, "strategy"), OrderReplace(4, 16, 5, 0, 111)]),
    ],
)  # fmt: skip
def test_what_it_comes_down_to_stands_in_the_record(record: PositionModify, expected: list[Any]) -> None:
    assert requests_of(record) == expected


def protected() -> Fold:
    fold = folded(place(1), fill(1, 100, 10))
    settle(fold)
    apply(fold, MADE)
    return fold


def test_the_fold_has_what_is_made_moved_and_removed() -> None:
    fold = folded(place(1), fill(1, 100, 10))
    settle(fold)
    changes = apply(fold, MADE)
    assert [change.order.place for change in changes if isinstance(change, OrderChanged)] == [STOP, LIMIT]
    assert {(c.strategy_id, c.signal) for c in changes if isinstance(c, SignalAnswered)} == {(16, 5)}
    assert (fold.next_order_id, fold.tracker.open_quantities(0)) == (5, (0, 0))
    apply(fold, OrderUpdate(3, Report.ACCEPT), OrderUpdate(4, Report.ACCEPT))
    changes = apply(fold, PositionModify(16, 0, 6, 91, REMOVED, 0, SELL, 10, stop_losses=(3,), take_profits=(4,)))
    assert [c.request.stop_price for c in changes if isinstance(c, ReplaceRequested)] == [91]
    assert [c.order_id for c in changes if isinstance(c, CancelRequested)] == [4]
    apply(fold, OrderUpdate(3, Report.REPLACE, "6"), OrderUpdate(4, Report.CANCEL))
    assert [order.place.stop_price for order in fold.tracker.exits_of(16, 0)] == [91]


def test_the_exits_follow_the_position_from_their_accept_on() -> None:
    fold = protected()
    stop, limit = fold.tracker.exits_of(16, 0)

    def sizes() -> tuple[int, int]:
        return stop.remaining, limit.remaining

    apply(fold, place(5, BUY), fill(5, 100, 4))
    settle(fold)
    assert sizes() == (10, 10)  # as approved, for it is compared when it leaves
    apply(fold, OrderUpdate(3, Report.ACCEPT), OrderUpdate(4, Report.ACCEPT))
    assert sizes() == (14, 14)
    apply(fold, fill(5, 100, 6))
    settle(fold)
    assert sizes() == (20, 20)
    apply(fold, place(6, SELL), fill(6, 100, 5))
    settle(fold)
    assert sizes() == (15, 15)
    apply(fold, fill(4, 110, 7))
    settle(fold)
    assert (sizes(), limit.filled, limit.quantity) == ((8, 8), 7, 15)
    apply(fold, place(7, SELL, symbol_id=0, strategy=17), fill(7, 100, 10))
    settle(fold)
    assert sizes() == (8, 8)  # another's
    apply(fold, fill(3, 90, 8))
    settle(fold)
    assert (stop.status, fold.account_of(16).position(0).quantity) == (OrderStatus.FILLED, 0)


def test_a_fold_that_begins_at_a_checkpoint_has_them_too() -> None:
    fold, other = protected(), Fold()
    apply(fold, OrderUpdate(3, Report.ACCEPT))
    record = checkpoint(fold)
    other.apply(envelope(fold.lsn + 1, record), record)
    apply(fold, record)
    for one in (fold, other):
        apply(one, OrderUpdate(4, Report.ACCEPT), place(9, BUY), fill(9, 100, 3))
    assert state(fold)["orders"] == state(other)["orders"]
    assert [order.remaining for order in other.tracker.exits_of(16, 0)] == [13, 13]


# risk.


def ask(desk: Desk, number: int, *, order_id: int = 0, kind: int = SIGNAL_MODIFY, **fields: Any) -> Any:
    """What risk says, before it is back."""
    intent = Intent(16, number, 1, 0, b"", 0, kind, 0, order_id=order_id, **fields)
    assert not desk.book.is_repeated(intent)
    desk.book.decide(intent, 0)
    return desk.said[-1]


def long(risk: str = "") -> Desk:
    """Ten are held."""
    desk = started(risk)
    desk.take(place(1, quantity=10 * MICROS), fill(1, 100 * MICROS, 10 * MICROS))
    desk.settle()
    desk.book.begin()
    return desk


def test_what_is_missing_is_made_and_what_stands_is_moved_pending_or_not() -> None:
    for settles in (False, True):
        desk = long()
        made = ask(desk, 5, stop_loss=90 * MICROS)
        assert (made.group, made.stop_loss_order_id, made.quantity, made.side) == (2, 3, 10 * MICROS, SELL)
        if settles:
            desk.settle()
        moved = ask(desk, 6, stop_loss=91 * MICROS, take_profit=110 * MICROS)
        assert (moved.group, moved.stop_loss_order_id, moved.take_profit_order_id) == (2, 0, 5)
        assert moved.stop_losses == (3,)
        if settles:
            desk.settle()
        assert ask(desk, 7, trail=MICROS).reason == "change_under_way"
        assert ask(desk, 8, take_profit=REMOVED).take_profits == (5,)
        assert ask(desk, 9, order_id=5, limit_price=MICROS).reason == "order_ended"
        assert desk.book.scopes.exposure(0, 16) == (10 * MICROS, 0, 0)
        assert desk.book.scopes.open_orders(16) == 2


def test_a_brackets_exits_are_the_ones_that_are_moved() -> None:
    desk = started()
    bracket = msgspec.structs.replace(
        place(1, quantity=10 * MICROS), stop_loss=90 * MICROS, take_profit=110 * MICROS, stop_loss_order_id=2,
        take_profit_order_id=3,
    )  # fmt: skip
    desk.take(bracket, fill(1, 100 * MICROS, 10 * MICROS))
    desk.settle()
    desk.book.begin()
    said = ask(desk, 5, stop_loss=91 * MICROS, take_profit=REMOVED)
    assert (said.stop_losses, said.take_profits, said.group, said.stop_loss_order_id) == ((2,), (3,), 0, 0)


CASES = [
    ({}, "bad_change"),
    ({"stop_loss": REMOVED}, "bad_change"),
    ({"stop_loss": REMOVED, "trail": MICROS}, "bad_change"),
    ({"trail": -5}, "bad_change"),
    ({"stop_loss": -5}, "bad_price"),
    ({"stop_loss": 110 * MICROS, "take_profit": 110 * MICROS}, "bad_bracket"),
    ({"stop_loss": 120 * MICROS, "take_profit": 110 * MICROS}, "bad_bracket"),
]


@pytest.mark.parametrize(("fields", "reason"), CASES)
def test_what_makes_no_sense_is_refused(fields: dict[str, int], reason: str) -> None:
    said = ask(long(), 5, **fields)
    assert isinstance(said, SignalRefused)
    assert said.reason == reason


def test_nothing_is_protected_where_nothing_is_held_or_trading_is_halted_or_beyond_the_collar() -> None:
    assert ask(started(), 5, stop_loss=MICROS).reason == "nothing_to_protect"
    desk = long()
    desk.halted = True
    assert ask(desk, 5, stop_loss=MICROS).reason == "trading_halted"
    desk = long("price_collar = 0.1")
    desk.tick(100, 5)
    assert ask(desk, 5, stop_loss=80 * MICROS).reason == "price_collar"
    assert isinstance(ask(desk, 6, stop_loss=95 * MICROS), PositionModify)
    desk = long("max_messages_per_s = 2")
    assert isinstance(ask(desk, 6, stop_loss=95 * MICROS), PositionModify)
    assert ask(desk, 7, take_profit=120 * MICROS).reason == "max_messages_per_s"


def test_an_exit_takes_no_exposure_from_an_order_and_none_may_change_its_size() -> None:
    desk = long("max_position_per_symbol = 20.0")
    ask(desk, 5, stop_loss=90 * MICROS)
    desk.settle()
    assert isinstance(ask(desk, 6, kind=SIGNAL_ORDER, quantity=10 * MICROS), OrderPlace)
    assert ask(desk, 7, order_id=3, quantity=MICROS).reason == "bad_change"
    assert isinstance(ask(desk, 8, order_id=3, stop_price=91 * MICROS), OrderReplace)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [({"stop_loss": None, "take_profit": 0}, {"stop_loss": REMOVED, "take_profit": REMOVED}),
     ({"stop_loss": 1.5, "trail": 0.5}, {"stop_loss": 1_500_000, "trail": 500_000}),
     ({"stop_loss": 1.5, "trail": None}, {"stop_loss": 1_500_000})],
)  # fmt: skip
def test_none_and_0_remove_an_exit(changes: dict[str, Any], fields: dict[str, int]) -> None:
    assert exit_fields(changes) == fields
    with pytest.raises(ImpossibleOrderError, match="bad_change"):
        exit_fields({**changes, "limit": 1.0})


# With real actors.


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    config = house_config(tmp_path / "run", "test_restarted_actors:Quiet", "[market_data]\nrate = 1000\n")
    with House(config, monkeypatch) as house:
        house.start("wal", "risk", "strategy.one", "order_routing", "market_data")
        yield house


def holding(house: House) -> Any:
    strategy = house.actors["strategy.one"].strategy
    strategy.buy("EURUSD", 100)
    house.until(lambda: strategy.position("EURUSD").quantity == 100, "it is filled")
    return strategy


def working(house: House) -> list[tuple[str, float, float, float]]:
    orders = house.actors["strategy.one"].strategy.orders()
    return [(o.status, o.quantity, o.stop, o.limit) for o in orders if o.id]


@pytest.mark.parametrize("name", ["order_routing", "risk"])
def test_what_is_asked_for_while_one_is_dead_is_done_by_its_next_life(house: House, name: str) -> None:
    strategy = holding(house)
    house.kill(name)
    strategy.modify("EURUSD", stop_loss=0.5, take_profit=9.0)
    if name == "order_routing":
        house.until(lambda: len(working(house)) == 2, "they are placed")
    house.start(name)
    house.until(lambda: working(house) == [("Accepted", 100, 0.5, 0), ("Accepted", 100, 0, 9.0)], "they stand")
    house.kill(name)
    strategy.modify("EURUSD", stop_loss=0.6, take_profit=None)
    house.start(name)
    house.until(lambda: working(house) == [("Accepted", 100, 0.6, 0)], "one is moved, one is gone")
    asked = house.actors["strategy.one"].asked
    asked.say_hello()
    house.until(lambda: asked.risk_incarnation == house.lives["risk"], "they have met")
    strategy.buy("EURUSD", 50)
    house.until(lambda: working(house) == [("Accepted", 150, 0.6, 0)], "it follows the position")
    house.actors["risk"].latch.halt("test", "enough")
    house.until(lambda: [r for r in house.records() if isinstance(r, TradingState)], "the halt")
    house.kill("order_routing")
    house.start("order_routing")
    assert working(house) == [("Accepted", 150, 0.6, 0)]


def test_an_exit_that_fills_leaves_the_position_flat_and_ends_the_other(house: House) -> None:
    strategy = holding(house)
    strategy.modify("EURUSD", stop_loss=0.5, take_profit=9.0)
    house.until(lambda: len(working(house)) == 2, "they stand")
    strategy.modify("EURUSD", take_profit=0.4)
    house.until(lambda: strategy.heard[-1].status == "Rejected", "it is on the wrong side")
    strategy.modify("EURUSD", stop_loss=8.9)  # above the market: triggered at once
    house.until(lambda: not working(house) and strategy.position("EURUSD").quantity == 0, "flat")
    assert [order.reason for order in strategy.heard if order.status == "Canceled"] == ["nothing_to_reduce"]
