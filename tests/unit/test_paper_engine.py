"""Brackets and trailing stops through the real actors: from the call to the flat position, whoever dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from houses import House, house_config

from actors.strategies import Fill, OrderInfo, Strategy, Tick
from protocol.orders import OrderType, Report
from protocol.records import Adjust, OrderPlace, OrderUpdate

EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")
TICKS = 6000
TURN = 4000
"""The price climbs a tick of 0.00001 each second up to here, then falls."""


def bid(index: int) -> int:
    return 110_000 + (index if index < TURN else 2 * TURN - index)


class Exits(Strategy):
    """One bracket whose take profit is reached, one whose stop loss is, a trailing stop."""

    def __init__(self) -> None:
        self.ticks, self.heard, self.fills = 0, list[OrderInfo](), list[Fill]()

    def on_tick(self, tick: Tick) -> None:
        self.ticks += 1
        if self.ticks == 100:
            self.buy("EURUSD", 10, stop_loss=1.0, take_profit=1.1010)
        elif self.ticks == 3000:
            self.buy("EURUSD", 20, trail=0.5, stop=1.13005)  # triggered by the way up
        elif self.ticks == 3500:
            self.sell("EURUSD", 20, trail=0.002)

    def on_order(self, order: OrderInfo) -> None:
        self.heard.append(order)

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    rows = ["timestamp,bid,ask"]
    for index in range(TICKS):
        time = f"2024-01-01T{21 + index // 3600:02}:{index // 60 % 60:02}:{index % 60:02}"
        rows.append(f"{time},{bid(index) / 100_000:.5f},{(bid(index) + 1) / 100_000:.5f}")
    (tmp_path / "ticks.csv").write_text("\n".join(rows) + "\n")
    market = f"[market_data]\nsource = 'csv'\npath = '{tmp_path}/ticks.csv'\nsymbol = 'EURUSD'\n"
    routing = "[order_routing]\nlatency_us = 2_000_000\ntrail_step_ticks = 50\n"
    config = house_config(tmp_path / "run", f"{__name__}:Exits", market + routing)
    with House(config, monkeypatch) as made:
        made.start(*EVERYONE)
        yield made


def updates(house: House, report: Report) -> list[OrderUpdate]:
    return [record for record in house.records() if isinstance(record, OrderUpdate) and record.report is report]


def at_end(house: House) -> bool:
    return all(
        house.actors[name].market.at_end and not house.actors[name].journal.pending_count
        for name in EVERYONE if name in ("risk", "strategy.one", "order_routing", "gateway")
    )  # fmt: skip


@pytest.mark.parametrize("deaths", [0, 1, 3])
def test_exits_and_trailing_stops_make_the_position_flat_however_often_order_routing_dies(
    house: House, deaths: int
) -> None:
    house.until(lambda: updates(house, Report.FILL), "the first order has filled")
    for _ in range(deaths):
        house.kill("order_routing")
        house.start("order_routing")
    house.until(lambda: len(updates(house, Report.FILL)) == 4 and at_end(house), "both positions are closed")
    places = [record for record in house.records() if isinstance(record, OrderPlace)]
    assert [(place.order_type, place.stop_loss_order_id) for place in places] == [
        (OrderType.MARKET, 2), (OrderType.STOP, 0), (OrderType.STOP, 0),
    ]  # fmt: skip
    fills = updates(house, Report.FILL)
    assert [fill.order_id for fill in fills] == [1, 3, 4, 5]
    assert fills[1].price == 1_101_000, "the take profit rests: at its limit"
    restated = [record.price for record in updates(house, Report.RESTATE) if record.order_id == 5]
    assert restated == sorted(restated), "a sell's trailing stop never falls"
    assert restated[-1] - fills[3].price in range(20), "triggered by the way down"
    heard = house.actors["strategy.one"].strategy.heard
    assert {order.status for order in heard if order.id in (2, 3) and order.signal == heard[0].signal} == {
        "New", "Accepted", "Filled", "Canceled",
    }  # fmt: skip
    for actor in ("risk", "gateway", "order_routing", "strategy.one"):
        assert house.actors[actor].fold.account.position(0).quantity == 0
        assert not house.actors[actor].fold.tracker.open_orders
    assert not [record for record in house.records() if isinstance(record, Adjust)], "nothing was held over night"
