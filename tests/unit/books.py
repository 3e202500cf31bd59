"""risk's book by itself: what it appends goes into the journal when the test says so."""

from __future__ import annotations

import msgspec
from fold_journals import BUY, SELL, START, envelope, fill, place

from actors.fold import Fold
from actors.risk_book import RiskBook
from protocol.records import Record
from protocol.settings import Config, parse_config
from protocol.topics import TICK
from protocol.units import DAY_US, MICROS

CONFIG = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.000001
lot_size = 0.000001
[[instruments]]
symbol = "ES"
tick_size = 0.000001
lot_size = 0.000001
multiplier = 50
[market_data]
source = "csv"
path = "a.csv"
symbol = "EURUSD"
[[strategies]]
name = "sma"
class = "a:B"
symbols = ["EURUSD"]
limits = {{ {own} }}
[risk]
{risk}
"""
SMA = 16
TODAY_US = 20_000 * DAY_US + 5


def config(risk: str = "", own: str = "") -> Config:
    return parse_config(CONFIG.format(risk=risk, own=own))


class Desk:
    """A book over a fold; what it appends is listed, and in the journal when `settle` is called."""

    def __init__(self, settings: Config, fold: Fold | None = None) -> None:
        self.said: list[Record] = []
        self.fold = fold or Fold()
        self.halted = False
        self.book = RiskBook(settings, self.fold, self.said.append, lambda: self.halted or self.fold.halted(0))
        self.orders = 0

    def take(self, *records: Record) -> None:
        for record in records:
            self.book.apply(envelope(self.fold.lsn + 1, record), record)

    def settle(self) -> list[Record]:
        self.book.append_owed()
        said = list(self.said)
        self.said.clear()
        self.take(*said)
        return said

    def check_losses(self) -> str | None:
        """Why trading is halted, if it is."""
        reasons: list[str] = []
        self.book.check_losses(0, reasons.append)
        return reasons[0] if reasons else None

    def trade(self, price_change: int, time_us: int = TODAY_US) -> None:
        """One unit is bought at 100 and sold at so much more, in units."""
        for side, price in ((BUY, 100), (SELL, 100 + price_change)):
            self.orders += 1
            self.take(place(self.orders, side, MICROS))
            update = msgspec.structs.replace(fill(self.orders, price * MICROS, MICROS), venue_time=time_us)
            self.take(update)
            self.settle()

    def tick(self, bid: int, time_us: int) -> None:
        self.book.scopes.take_ticks(memoryview(TICK.pack(0, 0, time_us, bid * MICROS, bid * MICROS)))


def started(risk: str = "", own: str = "") -> Desk:
    desk = Desk(config(risk, own))
    desk.take(START)
    desk.book.begin()
    return desk
