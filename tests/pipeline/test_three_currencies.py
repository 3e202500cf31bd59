"""A replay in three currencies with the real processes: its money is what fractions make of the files and the fills."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Final

import pytest
from fraction_ledger import PRODUCT, Held
from harness import EngineUnderTest, config_tree
from journal_reader import FILL, MICROS, SELL, JournalEntry, read_entries
from replays import csv_text, run_to_the_end

from actors.fold import Fold
from actors.fold_state import take_state
from protocol.records import EntryType, decode_record
from protocol.wal.history import read_history

START: Final = datetime(2024, 1, 2, 10, tzinfo=UTC)
SYMBOLS: Final = {"EURJPY": 165_000, "EURUSD": 1_100, "USDJPY": 150_000}
"""Prices in thousandths; yen are converted by USDJPY."""
CODE: Final = """
from actors.strategies import Strategy

class Swing(Strategy):
    def __init__(self):
        self.ticks = 0

    def on_tick(self, tick):
        self.ticks += 1
        if self.ticks % 5 == 1:
            buys = self.ticks // 5 % 3 < 2 and self.ticks // 60 % 2 == 0
            (self.buy if buys else self.sell)(tick.symbol, 1000 + 7 * (self.ticks % 4))
"""
Tick = tuple[int, str, int, int]
"""(time_us, symbol, bid, ask)."""


def market() -> list[Tick]:
    """USDJPY comes late: until then nothing can be traded in yen."""
    random, mids = Random(3), dict(SYMBOLS)
    ticks: list[Tick] = []
    for number in range(900):
        symbol = random.choice(("EURJPY", "EURUSD") if number < 40 else tuple(SYMBOLS))
        mids[symbol] += random.randint(-3, 3)
        time_us = int(START.timestamp()) * MICROS + 1_000 * number
        ticks.append((time_us, symbol, (mids[symbol] - 1) * 1_000, (mids[symbol] + random.randint(1, 2)) * 1_000))
    return ticks


def replay(directory: Path, ticks: list[Tick], *options: str) -> EngineUnderTest:
    instruments = [
        {"symbol": name, "tick_size": 0.001, "lot_size": 1.0, "base_currency": name[:3], "quote_currency": name[3:]}
        for name in SYMBOLS
    ]
    files = [{"path": f"{name}.csv", "symbol": name} for name in SYMBOLS]
    tree = config_tree(
        engine={"mode": "replay"}, instruments=instruments,
        market_data={"source": "csv", "files": files, "seed": 1},
        strategies=[{"name": "swing", "class": "swing:Swing", "symbols": list(SYMBOLS)}],
        risk={"max_position_per_symbol": 1e6}, order_routing={"commission_rate": 0.0001},
        replay={"quantum": 100, "checkpoint_ticks": 300},
    )  # fmt: skip
    del tree["market_data"]["rate"]
    feeds = {
        f"{name}.csv": csv_text(((time_us, bid, ask) for time_us, symbol, bid, ask in ticks if symbol == name), 3)
        for name in SYMBOLS
    }
    return run_to_the_end(EngineUnderTest(directory, tree, files={**feeds, "swing.py": CODE}), *options)


def balance_of(entries: list[JournalEntry], ticks: list[Tick]) -> tuple[int, dict[str, int]]:
    """(balance, fills by symbol): each fill's rate from the files, its profit from the cash flow, in fractions."""
    names = list(SYMBOLS)
    balance, held, fills = 10_000 * PRODUCT, dict.fromkeys(names, Held()), dict.fromkeys(names, 0)
    orders = {e.fields["order_id"]: e.fields for e in entries if e.name == "ORDER_PLACE"}
    for entry in entries:
        fields = entry.fields
        if entry.name != "ORDER_UPDATE" or fields["report"] != FILL:
            continue
        order = orders[fields["order_id"]]
        name = names[order["symbol_id"]]
        rate = Fraction(1)
        if name.endswith("JPY"):
            bid, ask = [tick[2:] for tick in ticks if tick[1] == "USDJPY" and tick[0] <= fields["venue_time"]][-1]
            rate = 1 / Fraction(bid + ask, 2 * MICROS)
        assert Fraction(fields["conversion_rate"], fields["conversion_base"]) == rate
        quantity, price = Fraction(fields["quantity"], MICROS), Fraction(fields["price"], MICROS)
        before, held[name] = held[name], held[name].after(-quantity if order["side"] == SELL else quantity, price)
        balance += round((held[name].realized - before.realized) * rate * PRODUCT) - fields["commission"] * MICROS
        assert fields["commission"] == round(quantity * price * rate / 10_000 * MICROS)
        fills[name] += 1
    return balance, fills


def open_profit(entries: list[JournalEntry], ticks: list[Tick]) -> float:
    """What is held as the data ends, at its last quotes."""
    last = {tick[1]: tick[2:] for tick in ticks}
    held = dict.fromkeys(SYMBOLS, Held())
    orders = {e.fields["order_id"]: e.fields for e in entries if e.name == "ORDER_PLACE"}
    for fields in (e.fields for e in entries if e.name == "ORDER_UPDATE" and e.fields["report"] == FILL):
        order = orders[fields["order_id"]]
        name, sign = list(SYMBOLS)[order["symbol_id"]], -1 if order["side"] == SELL else 1
        change, price = Fraction(sign * fields["quantity"], MICROS), Fraction(fields["price"], MICROS)
        held[name] = held[name].after(change, price)
    profit = Fraction(0)
    for name, one in held.items():
        value = one.quantity * Fraction(last[name][one.quantity < 0], MICROS) - one.cost
        profit += value * Fraction(2 * MICROS, sum(last["USDJPY"])) if name.endswith("JPY") else value
    return float(profit)


def test_a_replay_in_three_currencies_ends_with_the_balance_that_fractions_give(tmp_path: Path) -> None:
    ticks = market()
    engine = replay(tmp_path / "once", ticks)
    assert replay(tmp_path / "again", ticks, "--inproc").journal_path.read_bytes() == engine.journal_path.read_bytes()
    entries = read_entries(engine.journal_path)
    balance, fills = balance_of(entries, ticks)
    assert min(fills.values()) > 30, fills
    told = [entry.fields["balance"] for entry in entries if entry.name == "BALANCE_CHANGE"]
    assert int.from_bytes(told[-1], "little", signed=True) == balance
    report = json.loads(engine.cli("report", str(engine.run_dir), "-o", "json").stdout)
    assert report["end_equity"] == pytest.approx(balance / PRODUCT + open_profit(entries, ticks), abs=1e-6)
    first_yen = next(tick[0] for tick in ticks if tick[1] == "USDJPY")
    restated = [entry.fields for entry in entries if entry.name == "ORDER_UPDATE" and entry.fields["report"] == 7]
    assert restated, "orders waited for it"
    assert {fields["venue_time"] for fields in restated} == {first_yen}


def test_its_journal_folds_to_the_same_money_from_every_checkpoint(tmp_path: Path) -> None:
    engine = replay(tmp_path, market())
    history = list(read_history(engine.run_dir / "wal"))
    starts = [0, *(i for i, (found, _, _) in enumerate(history) if found.entry_type == EntryType.CHECKPOINT)]
    assert len(starts) >= 3
    states = []
    for start in starts:
        fold = Fold()
        for found, _, data in history[start:]:
            fold.apply(found, decode_record(found.entry_type, data))
        states.append(take_state(fold))
    assert all(state == states[0] for state in states)
