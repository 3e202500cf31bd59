"""What one order costs before the trade: every check of both tables, with every limit set, accepted and refused.

    python -m tests.bench.checks [--json FILE] [--orders N]

Two figures: the tables alone, given their input (check_signal), and all that risk's book does with a signal, the input
gathered from fold, pending and market included (decide; what it appends goes nowhere). The book holds positions in all
of five symbols, and ten open orders, of two strategies. What is refused is refused by the
last row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from actors.check_input import CheckInput
from actors.checks import CHECKS, Approved, Refused, check_signal
from actors.fold import Fold
from actors.limit_checks import LIMIT_CHECKS
from actors.risk_book import RiskBook
from protocol.messages import SIGNAL_ORDER, Intent
from protocol.orders import OrderType, Report, Side
from protocol.records import EngineRun, OrderPlace, OrderUpdate, Producer, Record, RunEvent, entry_type_of
from protocol.settings import Config, parse_config
from protocol.topics import TICK
from protocol.units import MICROS, product_to_bytes
from protocol.wal.format import Envelope
from tests.bench import report as bench

AIM_US: Final = 20.0
AIM_RATIO: Final = 1.05
"""Refusing costs no more than accepting, within what the clock can tell."""
ROUNDS: Final = 20
SYMBOLS: Final = tuple(f"S{number}" for number in range(5))
LIMITS: Final = (
    "max_position_per_symbol = 1e6", "max_order_quantity = 1e5", "max_order_value = 1e8", "price_collar = 0.5",
    "require_quote = true", "max_quote_age_ms = 1000", "max_gross_exposure = 1e9", "max_net_exposure = 1e9",
    "max_open_orders = 1000", "max_orders_per_s = 1_000_000", "max_messages_per_s = 1_000_000",
    "max_repeated_orders = 10_000", "repeat_window_ms = 1", 'restricted_symbols = ["S4"]',
    'trading_hours = ["00:00-24:00"]', "max_daily_loss = 1e6", "max_daily_equity_loss = 1e6",
    "max_loss_from_peak = 1e6", "max_equity_loss_from_peak = 1e6",
)  # fmt: skip
"""Every limit of both tables, and none of them is met."""
START_US: Final = 1_700_000_000_000_000
PRICE: Final = 100 * MICROS


def limited_config() -> Config:
    instruments = "".join(
        f'[[instruments]]\nsymbol = "{symbol}"\ntick_size = 0.01\nlot_size = 1.0\n' for symbol in SYMBOLS
    )
    strategies = "".join(
        f'[[strategies]]\nname = "{name}"\nclass = "a:B"\nsymbols = ["S0"]\nlimits = {{ {", ".join(LIMITS)} }}\n'
        for name in ("one", "two")
    )
    risk = "\n".join(("[risk]", *LIMITS, "min_free_margin = 0"))
    market = '[market_data]\nsource = "csv"\npath = "a.csv"\nsymbol = "S0"'
    engine = '[engine]\nrun_dir = "run"\n[account]\nbalance = 1e6'
    return parse_config("\n".join((engine, instruments, market, strategies, risk)))


def filled_book(config: Config) -> RiskBook:
    """Positions in every symbol, ten open orders, a quote of each symbol."""
    fold = Fold()
    book = RiskBook(config, fold, lambda record: None, lambda: False)

    def take(record: Record) -> None:
        lsn = fold.lsn + 1
        book.apply(Envelope(entry_type_of(record), lsn, 0, 0, START_US + lsn, Producer.RISK, lsn), record)
        while fold.owed:
            take(fold.owed[0])

    symbols = tuple((symbol, MICROS) for symbol in SYMBOLS)
    take(EngineRun(
        b"j" * 16, RunEvent.START, "operator", "0", b"", b"", 0, product_to_bytes(10**18), "USD", 100, symbols,
        ("one", "two"),
    ))  # fmt: skip
    for number in range(1, 21):
        strategy, symbol_id, side = 16 + number % 2, number % len(SYMBOLS), Side(number % 3 == 0)
        price = 0 if number <= 10 else PRICE
        kind = OrderType.LIMIT if price else OrderType.MARKET
        take(OrderPlace(number, strategy, number, symbol_id, side, kind, 10 * MICROS, price))
        take(OrderUpdate(number, Report.ACCEPT, venue_time=START_US))
        if not price:
            take(OrderUpdate(number, Report.FILL, f"{number}", PRICE, 10 * MICROS, venue_time=START_US))
    for symbol_id in range(len(SYMBOLS)):
        book.scopes.take_ticks(memoryview(TICK.pack(0, symbol_id, START_US, PRICE - 10_000, PRICE)))
    book.begin()
    return book


def nanoseconds(work: Callable[[], object], orders: int) -> list[int]:
    spent: list[int] = []
    for _ in range(orders):
        begun = perf_counter_ns()
        work()
        spent.append(perf_counter_ns() - begun)
    return spent


def main() -> None:
    options = bench.parser(__doc__)
    options.add_argument("--orders", type=int, default=20_000, help="of each kind (%(default)s)")
    chosen = options.parse_args()
    book = filled_book(limited_config())
    accepted = Intent(
        16, 100, 1, 0, b"", 302, SIGNAL_ORDER, 0, order_type=OrderType.LIMIT, quantity=MICROS, limit_price=PRICE
    )
    last = dataclasses.replace(given_for(book, accepted).engine.limits, losses=(None, None, None, 0))
    given = given_for(book, accepted)
    refused = dataclasses.replace(given, engine=dataclasses.replace(given.engine, limits=last))
    assert isinstance(check_signal(given, 500), Approved)
    assert isinstance(check_signal(refused, 500), Refused)
    now_us = count(START_US, 1000)
    figures: dict[str, list[int]] = {"accepted": [], "refused": [], "decided": []}
    for _ in range(ROUNDS):
        for name, work in (
            ("accepted", lambda: check_signal(given, 500)),
            ("refused", lambda: check_signal(refused, 500)),
            ("decided", lambda: decide(book, accepted, now_us)),
        ):
            figures[name] += nanoseconds(work, chosen.orders // ROUNDS)
    assert not book.counters["refused"], "every limit is set, and none is met"
    p50 = {name: bench.median(spent) / 1e3 for name, spent in figures.items()}
    report = bench.Report("checks", bench.surroundings(Path.cwd()))
    rows = len(CHECKS) + 2 * len(LIMIT_CHECKS)
    report.add_at_most("both tables, accepted, p50", p50["accepted"], "us", AIM_US, f"{rows} looks, all limits set")
    report.add_at_most("refused by the last row, p50", p50["refused"], "us", AIM_US)
    ratio = p50["refused"] / p50["accepted"]
    report.add_at_most("refused over accepted", ratio, "x", AIM_RATIO, "refusing costs no more")
    report.add("with the input gathered, p50", p50["decided"], "us", "decide: five symbols, ten open orders")
    report.add("with the input gathered, p99", bench.percentile(figures["decided"], 99) / 1e3, "us")
    report.finish(chosen.json)


def given_for(book: RiskBook, intent: Intent) -> CheckInput:
    return book.check_input(intent, START_US)


def decide(book: RiskBook, intent: Intent, now_us: Iterator[int]) -> None:
    """Nothing comes back from a journal, so what is pending is dropped; time goes on, so that nothing is repeated."""
    book.decide(intent, next(now_us))
    book.pending_orders.clear()


if __name__ == "__main__":
    main()
