"""A small journal that trades, over two files: the same bytes each time, for whatever reads journals from outside.

LSN 1 to 9 are sealed: a run, a filled order, a refused signal, a resting limit order. LSN 10 is the CHECKPOINT; then
the limit order fills, a round trip is closed with a commission, trading is halted and the engine stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from actors.fold import Fold
from actors.fold_state import take_state
from protocol.orders import OrderType, Report, Side, TradingMode
from protocol.records import (
    EngineRun,
    OrderPlace,
    OrderUpdate,
    Producer,
    Record,
    RunEvent,
    SignalRefused,
    TradingState,
    encode_record,
    entry_type_of,
)
from protocol.state import FeedState, StrategyState, encode_state, encode_strategy_state
from protocol.units import MICROS, product_to_bytes
from protocol.wal.format import Envelope
from protocol.wal.journal import Journal, NewEntry

JOURNAL_ID: Final = bytes.fromhex("00112233445566778899aabbccddeeff")
START_US: Final = 1_600_000_000_000_000
"""2020-09-13T12:26:40Z; entry n stands n seconds after it."""
CHECKPOINT_LSN: Final = 10
LAST_LSN: Final = 19
_RUN: Final = EngineRun(
    journal_id=JOURNAL_ID, event=RunEvent.START, by="operator", version="0.1.0", config_hash=b"\x01" * 16,
    boot_id=b"\x02" * 16, halt_token=0, balance=product_to_bytes(10_000 * 10**12), currency="USD", leverage=100,
    symbols=(("EURUSD", MICROS), ("BTC", MICROS)), strategies=("sma", "breakout"),
)  # fmt: skip
_EPOCH: Final = b"\x03" * 16
_BUY: Final = OrderPlace(
    1, 16, 1, 0, Side.BUY, OrderType.MARKET, 10 * MICROS, market_epoch=_EPOCH, market_position=5
)
_SELL_BTC: Final = OrderPlace(
    2, 17, 2, 1, Side.SELL, OrderType.LIMIT, MICROS // 2, limit_price=50_000 * MICROS, market_epoch=_EPOCH,
    market_position=8,
)  # fmt: skip
_CLOSE: Final = OrderPlace(
    3, 16, 3, 0, Side.SELL, OrderType.MARKET, 10 * MICROS, market_epoch=_EPOCH, market_position=11
)


def _fill(order_id: int, price: int, quantity: int, commission: int = 0) -> OrderUpdate:
    return OrderUpdate(
        order_id, Report.FILL, f"{order_id}-1", price, quantity, commission, venue_time=START_US + order_id
    )


_BEFORE: Final[tuple[Record, ...]] = (
    _RUN, _BUY, OrderUpdate(1, Report.ACCEPT), _fill(1, 1_100_000, 10 * MICROS),
    SignalRefused(17, 1, 1, "max_position", "0.6 BTC"), _SELL_BTC, OrderUpdate(2, Report.ACCEPT),
    TradingState(TradingMode.REDUCING, "operator", "calm", 0),
)  # fmt: skip
_AFTER: Final[tuple[Record, ...]] = (
    _fill(2, 50_000 * MICROS, MICROS // 2), _CLOSE, OrderUpdate(3, Report.ACCEPT),
    _fill(3, 1_200_000, 10 * MICROS, commission=10_000), TradingState(TradingMode.HALTED, "gateway", "enough", 7),
    EngineRun(**{**{name: getattr(_RUN, name) for name in _RUN.__struct_fields__}, "event": RunEvent.STOP}),
)  # fmt: skip
_PRODUCERS: Final = {
    EngineRun: Producer.SUPERVISOR, OrderUpdate: Producer.ORDER_ROUTING, TradingState: Producer.GATEWAY
}  # fmt: skip


class _Writer:
    """Appends records, and after a fill what risk derives from it, each on disk before the next."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.fold = journal, Fold()
        self.sequence: dict[int, int] = {}

    def add(self, record: Record) -> None:
        self._append(record)
        while self.fold.owed:
            self._append(self.fold.owed[0])

    def _append(self, record: Record) -> None:
        lsn, kind = self.journal.tail_lsn + 1, entry_type_of(record)
        producer = _PRODUCERS.get(type(record), Producer.RISK)
        seq = self.sequence[producer] = self.sequence.get(producer, 0) + 1
        time_us = START_US + lsn * 1_000_000
        new: NewEntry = (kind, time_us, producer, seq, encode_record(record))
        if lsn == 1:
            self.journal.create(JOURNAL_ID, new)
        else:
            self.journal.append_batch([new])
            self.journal.sync()
        self.fold.apply(Envelope(kind, lsn, lsn - 1, 0, time_us, producer, seq), record)


def write_trades(run_dir: Path) -> Path:
    """The journal of `run_dir`, stopped in order; its wal directory."""
    directory = run_dir / "wal"
    journal = Journal(directory)
    journal.open(lambda journal_id: 0)
    writer = _Writer(journal)
    for record in _BEFORE:
        writer.add(record)
    lsn, sma = journal.tail_lsn, StrategyState(FeedState(_EPOCH, 9, 9, 9), {"bids": [1.1, 1.2]})
    states = [("risk", lsn, encode_state(take_state(writer.fold))), ("strategy.sma", lsn, encode_strategy_state(sma))]
    assert journal.checkpoint(START_US + CHECKPOINT_LSN * 1_000_000, states) == CHECKPOINT_LSN
    writer.fold.lsn = CHECKPOINT_LSN
    for record in _AFTER:
        writer.add(record)
    assert journal.tail_lsn == LAST_LSN
    journal.close()
    return directory
