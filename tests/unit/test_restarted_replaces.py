"""Changes of orders, and a venue that says what cannot be, with real actors that die and come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from houses import House, house_config

from actors.order_tracker import Order
from protocol.orders import OrderStatus, Report
from protocol.records import BalanceChange, OrderReplace, OrderUpdate, TradingState

EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "market_data")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    config = house_config(tmp_path / "run", "test_restarted_actors:Quiet", "[market_data]\nrate = 1000\n")
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        yield house


def resting(house: House, quantity: float = 100) -> Order:
    strategy = house.actors["strategy.one"].strategy
    signal = strategy.buy("EURUSD", quantity, limit=0.5)
    orders = house.actors["strategy.one"].fold.tracker.orders
    house.until(
        lambda: signal.order_id in orders and orders[signal.order_id].status is OrderStatus.ACCEPTED, "it rests"
    )
    return orders[signal.order_id]


def answers(house: House) -> list[tuple[Report, str, str]]:
    return [
        (r.report, r.execution_id, r.reason) for r in house.records()
        if isinstance(r, OrderUpdate) and r.report in (Report.REPLACE, Report.REPLACE_REJECT)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["order_routing", "risk"])
def test_a_replace_that_nobody_has_answered_is_answered_once_by_the_next_life(house: House, name: str) -> None:
    strategy, order = house.actors["strategy.one"].strategy, resting(house)
    house.kill(name)
    signal = strategy.modify(order.order_id, quantity=150, limit=0.6)
    if name == "order_routing":
        house.until(lambda: order.replace is not None, "risk lets it pass")
        assert house.actors["risk"].book.scopes.exposure(0, 0).open_buy == 150_000_000
    house.start(name)
    house.until(lambda: order.quantity == 150_000_000, "the change")
    assert (order.limit_price, order.status, order.replace) == (600_000, OrderStatus.ACCEPTED, None)
    assert answers(house) == [(Report.REPLACE, str(signal.number), "")]
    assert [(o.status, o.quantity, o.limit) for o in strategy.heard][-1] == ("Accepted", 150.0, 0.6)
    assert [r.signal for r in house.records() if isinstance(r, OrderReplace)] == [signal.number]


def test_the_next_life_of_the_venue_works_the_order_as_it_was_replaced(house: House) -> None:
    strategy, order = house.actors["strategy.one"].strategy, resting(house)
    strategy.modify(order.order_id, quantity=150)
    house.until(lambda: order.quantity == 150_000_000, "the change")
    house.kill("order_routing")
    house.start("order_routing")
    strategy.modify(order.order_id, limit=9.0)  # through the market
    house.until(lambda: strategy.position("EURUSD").quantity == 150, "all of it is filled")


def test_a_replace_that_meets_a_halt_on_its_way_does_not_leave(house: House) -> None:
    strategy, order = house.actors["strategy.one"].strategy, resting(house)
    house.kill("order_routing")
    signal = strategy.modify(order.order_id, quantity=150)
    house.until(lambda: order.replace is not None, "risk lets it pass")
    house.actors["risk"].latch.halt("test", "enough")
    house.start("order_routing")
    house.until(lambda: not order.is_open, "on_halt cancels it")
    assert order.quantity == 100_000_000
    assert answers(house) in ([], [(Report.REPLACE_REJECT, str(signal.number), "trading_halted")])
    late = strategy.modify(order.order_id, quantity=150)
    house.until(lambda: strategy.heard[-1].signal == late.number, "the answer")
    assert strategy.heard[-1].reason.split(":")[0] == "trading_halted"


@pytest.mark.parametrize("ends", ["cancel", "fill"])
def test_a_replace_that_comes_after_the_end_is_answered_by_it(house: House, ends: str) -> None:
    strategy, order = house.actors["strategy.one"].strategy, resting(house)
    house.kill("order_routing")
    strategy.modify(order.order_id, **({"limit": 9.0} if ends == "fill" else {"quantity": 150}))
    if ends == "cancel":
        strategy.cancel(order.order_id)
    house.until(lambda: order.replace is not None, "it is asked for")
    house.until(lambda: order.cancel_requested == (ends == "cancel"), "and the cancel")
    house.start("order_routing")
    house.until(lambda: not order.is_open, "the end")
    assert order.replace is None
    assert strategy.heard[-1].status == ("Canceled" if ends == "cancel" else "Filled")
    house.until(lambda: house.actors["risk"].book.scopes.exposure(0, 0).open_buy == 0, "risk knows too")


IMPOSSIBLE = [
    ("an overfill", OrderUpdate(1, Report.FILL, "1-2", 1_100_000, 10**12), "overfill"),
    ("an unknown order", OrderUpdate(77, Report.FILL, "77-1", 1_100_000, 10**6), "unknown_order"),
    ("a fill after the end", OrderUpdate(2, Report.FILL, "2-1", 1_100_000, 10**6), "fill_after_canceled"),
    ("an answer to nothing", OrderUpdate(1, Report.REPLACE, "5", 1, 1), "replace_without_request"),
    ("an execution that is known", OrderUpdate(3, Report.FILL, "3-1", 1_100_000, 10**6), "duplicate_execution"),
]


@pytest.mark.parametrize(("said", "reason"), [case[1:] for case in IMPOSSIBLE], ids=[case[0] for case in IMPOSSIBLE])
def test_what_a_venue_cannot_have_said_is_in_the_journal_alarms_and_moves_no_money(
    house: House, said: OrderUpdate, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, risk = house.actors["strategy.one"].strategy, house.actors["risk"]
    resting(house)
    second = resting(house)
    strategy.cancel(second.order_id)
    strategy.buy("EURUSD", 100)
    house.until(lambda: strategy.position("EURUSD").quantity == 100 and not second.is_open, "a fill and a cancel")
    house.until(lambda: not risk.journal.pending_count and not risk.fold.owed, "all is booked")
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(risk, "log", _Log(told))
    balance, money = risk.fold.account.balance, len(moved(house))
    house.actors["order_routing"].journal.append(said)
    house.until(lambda: told, "the alarm")
    event, facts = told[0]
    assert (event, facts.get("reason", event)) == (reason if "dup" in reason else "impossible_report", reason)
    assert said in house.records()
    assert (risk.fold.account.balance, len(moved(house))) == (balance, money)
    assert strategy.position("EURUSD").quantity == 100
    house.kill("risk")
    house.start("risk")
    assert house.actors["risk"].fold.account.balance == balance
    assert not [record for record in house.records() if isinstance(record, TradingState)]


def test_a_fill_at_a_rate_that_means_nothing_moves_no_money_and_halts(house: House) -> None:
    """It has happened at the venue, and cannot be booked: whoever goes on trading trades on a wrong position."""
    resting(house)
    balance = house.actors["risk"].fold.account.balance
    fill = OrderUpdate(1, Report.FILL, "1-1", 1_100_000, 10**6, conversion_rate=3, conversion_base=2)
    house.actors["order_routing"].journal.append(fill)
    house.until(lambda: [record for record in house.records() if isinstance(record, TradingState)], "the halt")
    assert house.actors["risk"].latch.is_halted()
    assert house.actors["risk"].fold.account.balance == balance


def moved(house: House) -> list[BalanceChange]:
    return [record for record in house.records() if isinstance(record, BalanceChange)]


class _Log:
    def __init__(self, told: list[tuple[str, dict[str, Any]]]) -> None:
        self._told = told

    def error(self, event: str, **facts: Any) -> None:
        self._told.append((event, facts))

    warning = error
