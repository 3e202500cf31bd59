"""NautilusTrader's BacktestEngine over the first ticks of a Parquet file, with MarketFlips (replay_strategies.py).

    python -m tests.bench.replay_rival FILE TICKS FAST SLOW QUANTITY

Imports nothing of the engine: it may run in a Python of its own that has nautilus_trader. Used as its authors would:
quotes made beforehand, logging bypassed, no analysis at the end; only `run()` is timed. One JSON line is the result.
"""

# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportCallIssue=false
# (It need not be installed.)

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

from nautilus_trader import __version__
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.objects import Money, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from tests.bench.replay_market import FIRST_MID, TICK_MICROS, read_first


class MarketFlipsConfig(StrategyConfig, frozen=True):
    instrument_id: InstrumentId
    fast: int
    slow: int
    quantity: int


class MarketFlips(Strategy):
    def __init__(self, config: MarketFlipsConfig) -> None:
        super().__init__(config)
        self.fast_average = self.slow_average = 2 * FIRST_MID / 1e6
        self.fast_share, self.slow_share = 2 / (config.fast + 1), 2 / (config.slow + 1)
        self.is_above = False
        self.flips = 0

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self.config.instrument_id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        price = tick.bid_price.as_double() + tick.ask_price.as_double()
        fast, slow = self.fast_average, self.slow_average
        self.fast_average = fast = fast + self.fast_share * (price - fast)
        self.slow_average = slow = slow + self.slow_share * (price - slow)
        if (fast > slow) is not self.is_above:
            self.is_above = not self.is_above
            self.on_cross()

    def on_cross(self) -> None:
        units = self.config.quantity if not self.flips else 2 * self.config.quantity
        side = OrderSide.BUY if self.is_above else OrderSide.SELL
        self.flips += 1
        self.submit_order(self.order_factory.market(self.config.instrument_id, side, Quantity.from_int(units)))


def make_quotes(path: Path, ticks: int, instrument: Any) -> list[QuoteTick]:
    columns = read_first(path, ticks)
    raw_of_micro = instrument.make_price(Decimal("0.00001")).raw // TICK_MICROS
    bids, asks = ([value * raw_of_micro for value in columns[key].tolist()] for key in ("bid", "ask"))
    size = Quantity.from_int(1_000_000)
    return [
        QuoteTick.from_raw(
            instrument.id, bid, ask, instrument.price_precision, instrument.price_precision,
            size.raw, size.raw, size.precision, size.precision, time_ns, time_ns,
        )
        for bid, ask, time_ns in zip(bids, asks, (1000 * columns["timestamp_us"]).tolist(), strict=True)
    ]  # fmt: skip


def main() -> None:
    path, ticks, fast, slow, quantity = Path(sys.argv[1]), *map(int, sys.argv[2:6])
    venue = Venue("SIM")
    instrument = TestInstrumentProvider.default_fx_ccy("EUR/USD", venue)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        venue=venue, oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, base_currency=USD,
        starting_balances=[Money(1_000_000, USD)], default_leverage=Decimal(100),
    )  # fmt: skip
    engine.add_instrument(instrument)
    engine.add_data(make_quotes(path, ticks, instrument))
    strategy = MarketFlips(MarketFlipsConfig(instrument_id=instrument.id, fast=fast, slow=slow, quantity=quantity))
    engine.add_strategy(strategy)
    begun = perf_counter()
    engine.run()
    seconds = perf_counter() - begun
    fills = sum(order.is_closed and order.filled_qty == order.quantity for order in engine.cache.orders())
    said = {"version": __version__, "ticks": ticks, "seconds": seconds, "orders": strategy.flips, "fills": fills}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
