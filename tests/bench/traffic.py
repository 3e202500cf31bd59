"""Records as an engine writes them: one ORDER_PLACE of real size, and whole journals of trading.

A journal comes from the real fold, so it is consistent to the last derived record. Its mix, by order: nine in ten are
filled (one in ten of those in two parts), the others canceled; signals are refused now and then; every fill costs a
commission. That makes about 5.1 records an order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.fold import Fold
from protocol.orders import OrderType, Report, Side
from protocol.records import (
    EngineRun,
    EntryType,
    OrderCancel,
    OrderPlace,
    OrderUpdate,
    Producer,
    Record,
    RunEvent,
    SignalRefused,
    encode_record,
    entry_type_of,
)
from protocol.units import MICROS, product_to_bytes
from protocol.wal.format import Envelope
from protocol.wal.journal import Journal, NewEntry

JOURNAL_ID: Final = bytes(range(16))
MARKET_EPOCH: Final = bytes(range(16, 32))
SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD")
STRATEGIES: Final = ("sma", "breakout")
FIRST_US: Final = 1_700_000_000_000_000
LOT: Final = 100 * MICROS
POSITION_MAX: Final = 5 * LOT
COMMISSION: Final = 350_000
BATCH: Final = 64
"""Entries of one group commit."""
SYNC_EVERY: Final = 100
"""Group commits between two syncs: what is measured is reading, so the writing need not be slow."""


def place_record(order_id: int) -> bytes:
    """An ORDER_PLACE as risk writes it for a market order, some time into the engine's life."""
    return encode_record(_place(order_id, 16, 2, Side.BUY, LOT))


def _place(order_id: int, strategy_id: int, symbol_id: int, side: Side, quantity: int) -> OrderPlace:
    return OrderPlace(
        order_id=order_id, strategy_id=strategy_id, signal=(1 << 32) + order_id, symbol_id=symbol_id, side=side,
        order_type=OrderType.MARKET, quantity=quantity, market_epoch=MARKET_EPOCH,
        market_position=3_000 * order_id + 2,
    )  # fmt: skip


def run_record() -> EngineRun:
    return EngineRun(
        journal_id=JOURNAL_ID, event=RunEvent.START, by="operator", version="0.1.0", config_hash=b"h" * 16,
        boot_id=b"b" * 16, halt_token=0, balance=product_to_bytes(1_000_000 * MICROS * MICROS), currency="USD",
        leverage=100, symbols=tuple((symbol, MICROS) for symbol in SYMBOLS), strategies=STRATEGIES,
    )  # fmt: skip


class Trading:
    """Orders, answers and what follows from them, one record at a time; `fold` is the state after the last one."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._prices = [1_100_000, 1_250_000, 150_000_000, 650_000]
        self._sequence: dict[Producer, int] = {}
        self._time_us = FIRST_US
        self.fold = Fold()

    def entries(self, count: int) -> Iterator[NewEntry]:
        """At least `count` entries from ENGINE_RUN on, to the end of an order."""
        yield self._entry(Producer.SUPERVISOR, run_record())
        while self.fold.lsn < count:
            yield from self._order()

    def _order(self) -> Iterator[NewEntry]:
        chance = self._random.random()
        symbol_id = self._random.randrange(len(SYMBOLS))
        strategy_id = 16 + self._random.randrange(len(STRATEGIES))
        if chance < 0.03:
            refused = SignalRefused(strategy_id, self.fold.lsn, symbol_id, "max_position_per_symbol", "600 of 500")
            yield self._entry(Producer.RISK, refused)
        order_id = self.fold.next_order_id
        held = self.fold.account.position(symbol_id).quantity
        buys = held <= -POSITION_MAX or (held < POSITION_MAX and self._random.random() < 0.5)
        quantity = LOT * self._random.randrange(1, 4)
        place = _place(order_id, strategy_id, symbol_id, Side.BUY if buys else Side.SELL, quantity)
        yield self._entry(Producer.RISK, place)
        yield self._entry(Producer.ORDER_ROUTING, OrderUpdate(order_id, Report.ACCEPT, venue_time=self._time_us))
        if chance > 0.9:
            yield self._entry(Producer.RISK, OrderCancel(order_id, strategy_id, (1 << 32) + order_id, "strategy"))
            yield self._entry(Producer.ORDER_ROUTING, OrderUpdate(order_id, Report.CANCEL, venue_time=self._time_us))
            return
        parts = (quantity // 2, quantity - quantity // 2) if chance > 0.81 else (quantity,)
        for number, part in enumerate(parts, 1):
            yield from self._fill(order_id, symbol_id, number, part)

    def _fill(self, order_id: int, symbol_id: int, number: int, quantity: int) -> Iterator[NewEntry]:
        self._prices[symbol_id] += self._random.randrange(-50, 51)
        update = OrderUpdate(
            order_id, Report.FILL, f"{order_id}-{number}", self._prices[symbol_id], quantity, COMMISSION,
            venue_time=self._time_us,
        )  # fmt: skip
        yield self._entry(Producer.ORDER_ROUTING, update)
        while self.fold.owed:
            yield self._entry(Producer.RISK, self.fold.owed[0])

    def _entry(self, producer: Producer, record: Record) -> NewEntry:
        """The record is folded, and an entry of its producer's."""
        self._time_us += 137
        seq = self._sequence[producer] = self._sequence.get(producer, 0) + 1
        kind, lsn = entry_type_of(record), self.fold.lsn + 1
        self.fold.apply(Envelope(kind, lsn, 0, 0, self._time_us, producer, seq), record)
        return kind, self._time_us, producer, seq, encode_record(record)


def write_journal(directory: Path, count: int) -> tuple[Path, Fold]:
    """A closed journal of at least `count` entries in `directory`, and what it folds to."""
    journal, trading = Journal(directory), Trading()
    journal.open(lambda journal_id: 0)
    entries = trading.entries(count)
    journal.create(JOURNAL_ID, next(entries))
    batch: list[NewEntry] = []
    for number, entry in enumerate(entries):
        batch.append(entry)
        if len(batch) == BATCH:
            journal.append_batch(batch)
            batch.clear()
        if number % (BATCH * SYNC_EVERY) == 0:
            journal.sync()
    journal.append_batch(batch)
    journal.close()
    return journal.path, trading.fold


__all__ = ["JOURNAL_ID", "EntryType", "Trading", "place_record", "run_record", "write_journal"]
