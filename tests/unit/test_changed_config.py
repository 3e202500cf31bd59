"""A run_dir started again with another config: what the journal holds and the config no longer names is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
from houses import House, house_config

from actors.strategies import Strategy, Tick
from protocol.errors import ConfigError
from protocol.orders import OrderType
from protocol.records import OrderCancel, RunEvent
from protocol.settings import Config
from supervisor.handed import make_run
from supervisor.run_dir import begin_page

MORE = """
[[instruments]]
symbol = "GBPUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "two"
class = "actors.strategies.sma_cross:SmaCross"
symbols = ["EURUSD"]
[market_data]
rate = 2000
[risk]
max_signal_age_ms = 60000  # each is sent once, and the machine may be busy
"""


class Resting(Strategy):
    """Holds one of each symbol, and has an order in each that no market reaches."""

    def __init__(self) -> None:
        self.bought: set[str] = set()
        """Not to be told by the position, which may be the other strategy's."""

    def on_tick(self, tick: Tick) -> None:
        if tick.symbol not in self.bought:
            self.bought.add(tick.symbol)
            self.buy(tick.symbol, 1)
            self.buy(tick.symbol, 1, limit=0.00001)


def first_run(house: House) -> None:
    """It ends with the positions, and with no order open but the two that rest."""
    house.start("wal", "risk", "strategy.one", "strategy.two", "order_routing", "gateway", "market_data")
    fold = house.actors["risk"].fold

    def is_resting() -> bool:
        types = [order.order_type for order in fold.tracker.open_orders.values()]
        return types == [OrderType.LIMIT] * 2 and len(fold.opened_at) == 2

    house.until(is_resting, "two positions, and orders that rest in both")
    for name in list(house.actors):
        house.kill(name)
        begin_page(house.run_dir, name)


def second_run(house: House, config: Config) -> list[Any]:
    """What is logged until risk is READY."""
    house.config = config
    house.run = make_run(config, b"2" * 16, RunEvent.START, "operator")
    house.said.clear()
    with structlog.testing.capture_logs() as logs:
        house.start("wal", "risk")
    return logs


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = house_config(tmp_path / "run", f"{__name__}:Resting", MORE)
    one = msgspec.structs.replace(config.strategies[0], symbols=["EURUSD", "GBPUSD"])
    return msgspec.structs.replace(config, strategies=[one, config.strategies[1]])


@pytest.mark.parametrize(
    ("remaining", "event"),
    [
        pytest.param([], "strategy_not_configured", id="removed"),
        pytest.param([False], "strategy_does_not_trade", id="trades = false"),
    ],
)
def test_the_orders_of_a_strategy_that_trades_no_more_are_named_and_cancelled(
    config: Config, monkeypatch: pytest.MonkeyPatch, remaining: list[bool], event: str
) -> None:
    one, two = config.strategies
    with House(config, monkeypatch) as house:
        first_run(house)
        strategies = [*(msgspec.structs.replace(one, trades=trades) for trades in remaining), two]
        logs = second_run(house, msgspec.structs.replace(config, strategies=strategies))
        told = [log for log in logs if log["event"].startswith("strategy_")]
        cancels = [(record.order_id, record.by) for record in house.records() if isinstance(record, OrderCancel)]
        assert [(log["event"], log["strategy"]) for log in told] == [(event, "one")]
        assert [order_id for order_id, _ in cancels] == told[0]["open_orders"]
        assert {by for _, by in cancels} == {"removed"}
        assert len(cancels) == 2


def test_a_symbol_that_is_held_and_not_configured_any_more_is_named(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config, monkeypatch) as house:
        first_run(house)
        one = msgspec.structs.replace(config.strategies[0], symbols=["EURUSD"])
        changed = msgspec.structs.replace(
            config, instruments=config.instruments[:1], strategies=[one, config.strategies[1]]
        )
        told = [log for log in second_run(house, changed) if log["event"] == "symbol_not_configured"]
        assert [(log["symbol"], log["quantity"], len(log["open_orders"])) for log in told] == [("GBPUSD", 1.0, 1)]
        assert not [record for record in house.records() if isinstance(record, OrderCancel)]


def test_another_quote_currency_of_what_is_held_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    eurusd, gbpusd = config.instruments
    yen = msgspec.structs.replace(gbpusd, base_currency="USD", quote_currency="JPY")
    with House(config, monkeypatch) as house:
        first_run(house)
        with pytest.raises(ConfigError, match=r"instruments.quote_currency: changed for GBPUSD, which is held"):
            second_run(house, msgspec.structs.replace(config, instruments=[eurusd, yen]))


def test_another_account_currency_is_refused_and_nothing_is_appended(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config, monkeypatch) as house:
        first_run(house)
        records = len(house.records())
        account = msgspec.structs.replace(config.account, currency="EUR")
        with pytest.raises(ConfigError, match=r"account.currency = 'EUR': the journal in .* counts in 'USD'"):
            second_run(house, msgspec.structs.replace(config, account=account))
        assert len(house.records()) == records
