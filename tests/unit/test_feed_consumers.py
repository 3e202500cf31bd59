"""What the actors make of the market stream, over ipc in one thread: pages, warming, and deaths at bad moments."""

from __future__ import annotations

from pathlib import Path

import pytest
from houses import House, house_config
from streams import csv_market

from actors.strategies import OrderInfo, Strategy, Tick
from protocol.records import OrderPlace, OrderUpdate


class BuysOften(Strategy):
    """One order at every tenth tick, told apart by its quantity."""

    def __init__(self) -> None:
        self.ticks = 0
        self.answers: list[OrderInfo] = []

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        if self.ticks % 10 == 0:
            self.buy("EURUSD", self.ticks, limit=1.0)

    def on_order(self, order: OrderInfo) -> None:
        self.answers.append(order)


EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")


def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, market: str) -> House:
    config = house_config(tmp_path / "run", f"{__name__}:BuysOften", market)
    return House(config, monkeypatch)


def placed(one: House) -> list[OrderPlace]:
    return [record for record in one.records() if isinstance(record, OrderPlace)]


def test_the_page_of_order_routing_is_never_ahead_of_its_durable_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a new life would not be shown the tick whose fills its former life took with it."""
    with house(tmp_path, monkeypatch, "[market_data]\nrate = 2000\n") as one:
        one.start(*EVERYONE)
        routing, wal = one.actors["order_routing"], one.actors["wal"]
        one.until(lambda: routing.journal.pending_count, "an answer under way to wal")
        wal.loop.turn = lambda: None  # it is not dead: it takes its time
        page = routing.page.market()[1]
        one.until(lambda: routing.market.position > page + 300, "a hundred ticks more")
        assert (routing.page.market()[1], bool(routing.journal.pending_count)) == (page, True)
        del wal.loop.turn
        one.until(lambda: routing.page.market()[1] > page + 300, "the page to move on")


def test_a_warmed_strategy_acts_again_when_the_feed_that_its_former_life_saw_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new feed's positions begin anew: they are not behind those at which its former life had acted."""
    with house(tmp_path, monkeypatch, "[market_data]\nrate = 2000\n") as one:
        one.start(*EVERYONE)
        one.until(lambda: len(placed(one)) >= 5, "orders of the first life")
        one.kill("strategy.one")
        one.start("strategy.one")
        one.until(lambda: one.actors["strategy.one"].market.stream.welcomed, "the second life to be fed")
        one.until(lambda: one.actors["strategy.one"].feed.position > 1_000, "the second life to be warm")
        warmed = one.actors["strategy.one"]
        warmed.former_position = warmed.suppressed_to = 10**9  # as when its former life had run for days
        old = one.actors["market_data"]
        one.kill("market_data")
        one.start("market_data")
        strategy, epoch = one.actors["strategy.one"], one.actors["market_data"].feed.epoch
        assert epoch != old.feed.epoch
        one.until(lambda: strategy.market.epoch == epoch, "the new feed")
        before, seen = len(placed(one)), strategy.strategy.ticks
        one.until(lambda: len(placed(one)) > before or strategy.strategy.ticks > seen + 200, "orders of the new feed")
        assert len(placed(one)) > before


def test_no_signal_is_repeated_for_a_tick_on_which_a_former_life_acted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house(tmp_path, monkeypatch, csv_market(tmp_path, 2_000)) as one:
        one.start(*EVERYONE)
        for orders in (3, 11, 25, 60):
            one.until(lambda orders=orders: len(placed(one)) >= orders, f"{orders} orders")
            one.kill("strategy.one")
            one.start("strategy.one")
        one.until(lambda: one.actors["strategy.one"].market.at_end and not one.actors["strategy.one"].statistics()
                  .outstanding, "the end")  # fmt: skip
        positions = [place.market_position for place in placed(one)]
        assert len(positions) == len(set(positions))
        assert all((position // 3) % 10 == 0 for position in positions)
        # What was under way when a life ended may be lost with it, one signal each.
        assert 200 - 4 <= len(positions) <= 200
        assert one.actors["strategy.one"].strategy.ticks == 2_000, "the last life has seen every tick"


def quiet_at_end(one: House) -> bool:
    said = [actor.statistics() for actor in one.actors.values()]
    return all(each.at_end and not each.outstanding for each in said)


def unanswered(one: House) -> set[int]:
    answered = {record.order_id for record in one.records() if isinstance(record, OrderUpdate)}
    return {place.order_id for place in placed(one)} - answered


def test_those_who_die_at_once_with_an_order_on_its_way_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order waits in order_routing for its tick; the feed, which begins anew with the strategy, must bring it."""
    with house(tmp_path, monkeypatch, csv_market(tmp_path, 1_000)) as one:
        one.start(*EVERYONE)
        one.until(lambda: len(placed(one)) >= 20, "orders")
        routing = one.actors["order_routing"]
        routing.loop.forget(routing.market.stream._socket)  # it takes its time
        one.until(lambda: routing.early, "an order whose tick order_routing has not seen")
        last = ("market_data", "strategy.one", "order_routing")
        for name in last:
            one.kill(name)
        for name in last:
            one.spawn(name).begin(one.run)
        one.until(lambda: quiet_at_end(one) and unanswered(one) == set(), "the end of the file, and every answer")
        assert len(placed(one)) == 100


class SellsWhatIsAccepted(Strategy):
    def on_start(self) -> None:
        self.buy("EURUSD", 100, limit=1.0)

    def on_order(self, order: OrderInfo) -> None:
        if order.status == "Accepted" and order.side == "Buy":
            self.sell("EURUSD", 100, limit=2.0)


def test_what_a_strategy_answers_before_the_first_tick_is_not_suppressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = house_config(tmp_path / "run", f"{__name__}:SellsWhatIsAccepted", "[market_data]\nrate = 0.001\n")
    with House(config, monkeypatch) as one:
        one.start("wal", "risk", "strategy.one", "market_data")
        one.until(lambda: one.actors["strategy.one"].market.stream.welcomed, "the WELCOME of the feed")
        one.start("order_routing")
        one.until(lambda: one.actors["strategy.one"].fold.tracker.orders, "the first order")
        strategy = one.actors["strategy.one"]
        one.until(lambda: len(strategy.fold.tracker.orders) == 2 or strategy.counters["suppressed"], "the answer")
        assert (len(placed(one)), strategy.feed.ticks) == (2, 0)
