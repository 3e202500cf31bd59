"""A journal of three files with every record type, to the byte: sealed and packed, sealed, and one after a roll.

`python tests/golden/test_rolled_journal.py` writes the golden files anew; a diff of theirs is a change of the format.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import msgpack
import pytest
import zstandard

from actors.fold import Fold
from actors.fold_state import take_state
from protocol.conversion import PARITY
from protocol.orders import OrderType, Report, Side, TradingMode
from protocol.records import (
    Adjust,
    AdjustKind,
    Checkpoint,
    EngineRun,
    EntryType,
    Operation,
    OrderCancel,
    OrderPlace,
    OrderUpdate,
    Producer,
    Record,
    RiskViolation,
    RunEvent,
    SignalRefused,
    TradingState,
    decode_record,
    encode_record,
    entry_type_of,
)
from protocol.state import FeedState, StrategyState, encode_state, encode_strategy_state
from protocol.units import product_to_bytes
from protocol.wal.format import Envelope
from protocol.wal.history import read_history
from protocol.wal.journal import Journal
from protocol.wal.sealed import SealedFile, pack_sealed
from protocol.wal.storage import RealStorage, Storage

GOLDEN = Path(__file__).with_name("rolled")
OLDER = {
    "before the venue's times": "rolled_0_1",
    "before the strategies' accounts": "rolled_0_1_times",
    "before losses and commands": "rolled_0_1_strategies",
    "before conversion": "rolled_0_1_commands",
}
"""The same history, all in one currency, as it was written before records and states had grown."""
FILES = ("journal-00000000000000000001.wal.zst", "journal-00000000000000000012.wal", "journal.wal")
JOURNAL_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
START_US = 1_600_000_000_000_000
RUN = EngineRun(
    JOURNAL_ID, RunEvent.START, "operator", "0.1.0", b"\x01" * 16, b"\x02" * 16, 0, product_to_bytes(10_000 * 10**12),
    "USD", 100, (("EURUSD", 1_000_000), ("ES", 50_000_000), ("USDJPY", 1_000_000)), ("sma", "breakout"),
    ("USD", "USD", "JPY"),
)  # fmt: skip


class Writer:
    """Appends what the engine would, with the derived records that follow."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self.journal = Journal(directory, storage=storage)
        self.journal.open(lambda journal_id: 0)
        self.fold = Fold()
        self.numbers: dict[int, int] = {}

    def append(self, record: Record, producer: Producer) -> None:
        number = self.numbers[producer] = self.numbers.get(producer, 0) + 1
        lsn = self.journal.tail_lsn + 1
        kind, time_us = entry_type_of(record), START_US + lsn
        entry = (int(kind), time_us, int(producer), number, encode_record(record))
        if self.journal.is_new:
            self.journal.create(JOURNAL_ID, entry)
        else:
            self.journal.append_batch([entry])
            self.journal.sync()
        self.fold.apply(Envelope(kind, lsn, 0, 0, time_us, producer, number), record)
        while self.fold.owed:
            self.append(self.fold.owed[0], Producer.RISK)

    def place(self, order_id: int, side: Side, symbol_id: int = 0, price: int = 0) -> None:
        kind = OrderType.LIMIT if price else OrderType.MARKET
        place = OrderPlace(order_id, 16, order_id, symbol_id, side, kind, 3_000_000, price, market_position=302)
        self.append(place, Producer.RISK)

    def fill(self, order_id: int, price: int, quantity: int = 3_000_000, rate: tuple[int, int] = PARITY) -> None:
        update = OrderUpdate(
            order_id, Report.FILL, f"{order_id}-1", price, quantity, 2_000, rate[0], venue_time=START_US,
            conversion_base=rate[1],
        )  # fmt: skip
        self.append(OrderUpdate(order_id, Report.ACCEPT, venue_time=START_US), Producer.ORDER_ROUTING)
        self.append(update, Producer.ORDER_ROUTING)

    def checkpoint(self) -> None:
        lsn = self.fold.lsn
        saved = encode_strategy_state(StrategyState(FeedState(b"\x03" * 16, 290, 302, 301), {"fast": [1.1, 1.2]}))
        states = (("risk", lsn, encode_state(take_state(self.fold))), ("strategy.sma", lsn, saved))
        self.journal.checkpoint(START_US + lsn + 1, states)
        _, _, payload = self.journal.read(lsn + 1, 1)
        record = decode_record(EntryType.CHECKPOINT, payload[51:])
        self.fold.apply(Envelope(EntryType.CHECKPOINT, lsn + 1, lsn, 0, START_US, Producer.WAL, 1), record)


def write(directory: Path) -> None:
    writer = Writer(directory, RealStorage())
    writer.append(RUN, Producer.SUPERVISOR)
    writer.place(1, Side.BUY)
    writer.fill(1, 1_100_000)
    writer.append(SignalRefused(16, 20, 0, "max_position", "3 + 3 > 5"), Producer.RISK)
    writer.place(2, Side.SELL, symbol_id=1, price=4_000_000_000)
    writer.append(OrderUpdate(2, Report.ACCEPT), Producer.ORDER_ROUTING)
    writer.append(OrderCancel(2, 16, 30, "strategy"), Producer.RISK)
    writer.append(OrderUpdate(2, Report.CANCEL), Producer.ORDER_ROUTING)
    writer.checkpoint()
    writer.place(3, Side.SELL)
    writer.fill(3, 1_090_000, 1_000_000)
    violation = RiskViolation(0, "Max Drawdown Exceeded", product_to_bytes(-10**10), product_to_bytes(-10**9))
    writer.append(violation, Producer.RISK)
    day, loss = START_US // 86_400_000_000, product_to_bytes(10**10)
    writer.append(RiskViolation(-1, "max_daily_loss", loss, product_to_bytes(10**9), 16, day), Producer.RISK)
    writer.append(Operation("t-1", "CANCEL", "ALL", "operator"), Producer.GATEWAY)
    writer.place(4, Side.BUY, symbol_id=2)
    writer.fill(4, 150_000_000, rate=(2_000_000, 299_990_000))
    writer.append(TradingState(TradingMode.HALTED, "risk", "Max Drawdown Exceeded", 77), Producer.GATEWAY)
    writer.checkpoint()
    writer.place(5, Side.SELL, symbol_id=2)
    writer.fill(5, 151_000_000, rate=(2_000_000, 302_010_000))
    writer.append(OrderUpdate(3, Report.FILL, "3-2", 1_080_000, 2_000_000), Producer.ORDER_ROUTING)
    writer.append(Operation("t-1", "CANCEL", "ALL", "operator", 20, "0 cancels requested"), Producer.RISK)
    writer.append(Operation("", "DEPOSIT", "5 gift", "operator"), Producer.GATEWAY)
    deposit = product_to_bytes(5 * 10**12)
    writer.append(Adjust(AdjustKind.DEPOSIT, -1, deposit, command_lsn=writer.fold.lsn), Producer.RISK)
    stop = EngineRun(
        JOURNAL_ID, RunEvent.STOP, "operator", "0.1.0", b"\x01" * 16, b"\x02" * 16, 77,
        product_to_bytes(10_000 * 10**12), "USD", 100, RUN.symbols, RUN.strategies, RUN.quote_currencies,
    )  # fmt: skip
    writer.append(stop, Producer.SUPERVISOR)
    writer.journal.close()
    pack_sealed(RealStorage(), SealedFile(1, directory / "journal-00000000000000000001.wal"))


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data


def test_this_version_writes_the_golden_files(tmp_path: Path) -> None:
    write(tmp_path)
    for name in FILES:  # of the packed one what it holds: its bytes are zstd's business
        assert content(tmp_path / name) == content(GOLDEN / name), name


def test_an_independent_decoder_of_a_few_lines_reads_them() -> None:
    data = b"".join(content(GOLDEN / name) for name in FILES)
    entries, offset, crc = [], 0, 0
    while offset < len(data):
        magic, kind, length, checksum = struct.unpack_from("<IBII", data, offset)
        body = data[offset + 13 : offset + 13 + length]
        inner, lsn, durable, previous, time_us, _, _ = struct.unpack_from("<BQQIQBQ", body)
        assert (magic, crc32(body), inner, lsn, previous) == (0x48515457, checksum, kind, len(entries) + 1, crc)
        assert durable < lsn
        assert time_us == START_US + lsn
        entries.append((kind, msgpack.unpackb(body[38:])))
        offset, crc = offset + 13 + length, checksum
    assert {kind for kind, _ in entries} == {1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16}
    kinds = [kind for kind, _ in entries]
    first = entries[kinds.index(7)][1]
    assert first[0] == JOURNAL_ID
    assert msgpack.unpackb(first[1])[8] == "USD"
    assert [(name, lsn) for name, lsn, _ in first[4]] == [("risk", 11), ("strategy.sma", 11)]
    state = msgpack.unpackb(first[4][0][2])
    cost = (1_100_000 * 3_000_000).to_bytes(16, "little", signed=True)
    assert state[3] == [[0, 3_000_000, cost, bytes(16), 1_000_000, ""]]
    assert (state[8], state[9]) == (2, [])
    assert msgpack.unpackb(first[4][1][2]) == [[b"\x03" * 16, 290, 302, 301], {"fast": [1.1, 1.2]}]
    second = entries[len(kinds) - 1 - kinds[::-1].index(7)][1]
    yen = (150_000_000 * 3_000_000).to_bytes(16, "little", signed=True)
    assert msgpack.unpackb(second[4][0][2])[3][1] == [2, 3_000_000, yen, bytes(16), 1_000_000, "JPY"]
    close = next(fields for kind, fields in entries if kind == 2 and fields[1] == 2)
    realized = round(Fraction(1_000_000 * 3_000_000 * 2_000_000, 302_010_000))  # 3 yen at 151.005
    assert int.from_bytes(close[7], "little", signed=True) == realized == 19_866_891_825
    last = entries[-1][1]
    assert (last[1], last[2], last[6]) == (1, "operator", 77)


@pytest.mark.parametrize("name", ["rolled", *OLDER.values()], ids=["this version", *OLDER])
def test_they_fold_from_the_start_and_from_each_checkpoint_to_the_same_state(name: str) -> None:
    history = list(read_history(GOLDEN.with_name(name)))
    folds = []
    for start in [0, *(i for i, (envelope, _, _) in enumerate(history) if envelope.entry_type == EntryType.CHECKPOINT)]:
        fold = Fold()
        for envelope, _, data in history[start:]:
            fold.apply(envelope, decode_record(envelope.entry_type, data))
        folds.append(fold)
    assert len(folds) == 3
    assert len({encode_state(take_state(fold)) for fold in folds}) == 1
    view = folds[0].position_view(0)
    assert view.quantity == 0
    assert view.realized == (1_090_000 - 1_100_000) * 1_000_000 + (1_080_000 - 1_100_000) * 2_000_000
    assert isinstance(decode_record(EntryType.CHECKPOINT, history[11][2]), Checkpoint)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    write(GOLDEN)
    for name in ("watermark", "journal.wal.lock"):
        (GOLDEN / name).unlink()
