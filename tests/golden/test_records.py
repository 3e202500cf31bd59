"""Golden bytes of every record, its envelope and its entry, decoded by msgpack, struct and zlib alone."""

from __future__ import annotations

import struct
import zlib

import msgpack
import pytest
from msgspec.structs import astuple

from protocol import records
from protocol.orders import OrderType, Report, Side, TimeInForce, TradingMode
from protocol.records import RECORD_TYPES, Record, decode_record, encode_record, entry_type_of
from protocol.wal.format import ENVELOPE, Envelope, encode_entry

COST = (-150_500_000 * 3_000_000).to_bytes(16, "little", signed=True)

# type number, the record, what an outsider's msgpack reads, the bytes of the array's head
GOLDEN: list[tuple[int, Record, list[object], str]] = [
    (
        1,
        records.PositionOpen(9, 7, 1, -3_000_000, 150_500_000, -3_000_000, COST),
        [9, 7, 1, -3_000_000, 150_500_000, -3_000_000, COST],
        "97",
    ),
    (
        2,
        records.PositionClose(9, 7, 1, 3_000_000, 150_500_000, 0, bytes(16), COST),
        [9, 7, 1, 3_000_000, 150_500_000, 0, bytes(16), COST],
        "98",
    ),
    (
        3,
        records.PositionModify(
            16, 7, 4, 149_000_000, -1, 50_000, Side.SELL, 3_000_000, 8, 9, 0, (), (5, 6), b"\x01\x02", 302
        ),
        [16, 7, 4, 149_000_000, -1, 50_000, 1, 3_000_000, 8, 9, 0, [], [5, 6], b"\x01\x02", 302],
        "9f",
    ),
    (
        4,
        records.OrderPlace(
            1, 16, 4, 7, Side.SELL, OrderType.LIMIT, 3_000_000, 150_500_000, 0, TimeInForce.IOC, 151_000_000,
            149_000_000, 2, 3, True, b"\x01\x02", 302, 50_000, 1_577_836_900_000, 9, 8,
        ),
        [
            1, 16, 4, 7, 1, 1, 3_000_000, 150_500_000, 0, 1, 151_000_000, 149_000_000, 2, 3, True, b"\x01\x02", 302,
            50_000, 1_577_836_900_000, 9, 8,
        ],
        "dc0015",
    ),
    (5, records.OrderCancel(1, 16, 5, "strategy"), [1, 16, 5, "strategy"], "94"),
    (6, records.BalanceChange(9, 1, COST, bytes(16), COST), [9, 1, COST, bytes(16), COST], "95"),
    (
        7,
        records.Checkpoint(
            b"j" * 16, b"\x90", 1, ((1, 3), (2, 40)), (("risk", 299, b"\x93"), ("strategy.sma", 280, b"")),
        ),
        [b"j" * 16, b"\x90", 1, [[1, 3], [2, 40]], [["risk", 299, b"\x93"], ["strategy.sma", 280, b""]]],
        "95",
    ),
    (
        8,
        records.OrderUpdate(
            1, Report.FILL, "x-1", 150_500_000, 3_000_000, 10_000, 2_000_000, "", 1_577_836_800_000, 40, 301_000_000
        ),
        [1, 2, "x-1", 150_500_000, 3_000_000, 10_000, 2_000_000, "", 1_577_836_800_000, 40, 301_000_000],
        "9b",
    ),
    (
        9,
        records.TradingState(TradingMode.HALTED, "gateway", "enough", 2**63 + 1),
        [2, "gateway", "enough", 2**63 + 1],
        "94",
    ),
    (
        10,
        records.RiskViolation(-1, "max_daily_loss", COST, COST, 16, 20_000),
        [-1, "max_daily_loss", COST, COST, 16, 20_000],
        "96",
    ),
    (
        12,
        records.EngineRun(
            b"j" * 16, records.RunEvent.STOP, "operator", "0.1.0", b"c" * 16, b"b" * 16, 5, COST, "USD", 100,
            (("AAPL", 1_000_000),), ("sma",), ("USD",),
        ),
        [
            b"j" * 16, 1, "operator", "0.1.0", b"c" * 16, b"b" * 16, 5, COST, "USD", 100,
            [["AAPL", 1_000_000]], ["sma"], ["USD"],
        ],
        "9d",
    ),
    (13, records.SignalRefused(16, 4, 7, "halted", "enough"), [16, 4, 7, "halted", "enough"], "95"),
    (
        14,
        records.OrderReplace(1, 16, 5, 4_000_000, 150_500_000, 0, 50_000, 9),
        [1, 16, 5, 4_000_000, 150_500_000, 0, 50_000, 9],
        "98",
    ),
    (
        15,
        records.Operation("t-1", "CANCEL", "ALL", "operator", 22, "1 cancels requested"),
        ["t-1", "CANCEL", "ALL", "operator", 22, "1 cancels requested"],
        "96",
    ),
    (
        16,
        records.Adjust(records.AdjustKind.SWAP, 7, COST, -3_000_000, 3, 1_577_836_800_000, 40, 50),
        [0, 7, COST, -3_000_000, 3, 1_577_836_800_000, 40, 50],
        "98",
    ),
]  # fmt: skip
IDS = [row[1].__class__.__name__ for row in GOLDEN]


@pytest.mark.parametrize(("number", "record", "values", "head"), GOLDEN, ids=IDS)
def test_an_outsider_reads_every_record(number: int, record: Record, values: list[object], head: str) -> None:
    data = encode_record(record)
    assert int(entry_type_of(record)) == number
    assert data.hex().startswith(head)
    assert msgpack.unpackb(data) == values
    assert msgpack.packb(values) == data, "the shortest MessagePack form: the bytes are a function of the values"


@pytest.mark.parametrize(("number", "record", "values", "head"), GOLDEN, ids=IDS)
def test_what_an_outsider_packs_is_the_record(number: int, record: Record, values: list[object], head: str) -> None:
    packed = msgpack.packb(values)
    assert isinstance(packed, bytes)
    assert decode_record(number, packed) == record


@pytest.mark.parametrize(("number", "record", "values", "head"), GOLDEN, ids=IDS)
def test_a_field_appended_by_a_newer_version_is_passed_over(
    number: int, record: Record, values: list[object], head: str
) -> None:
    packed = msgpack.packb([*values, "newer"])
    assert isinstance(packed, bytes)
    assert decode_record(number, packed) == record


def test_no_record_type_is_without_golden_bytes() -> None:
    assert [row[0] for row in GOLDEN] == sorted(int(kind) for kind in RECORD_TYPES)


def test_a_cancel_to_the_byte() -> None:
    assert encode_record(records.OrderCancel(1, 16, 200, "op")).hex() == "94" "01" "10" "ccc8" "a26f70"


def test_an_entry_has_the_designs_header_and_envelope() -> None:
    record = encode_record(records.OrderCancel(1, 16, 5, "op"))
    fields = (5, 300, 299, 0xDEADBEEF, 1_577_836_800_000_000, 2, 41)
    entry = encode_entry(5, ENVELOPE.pack(*astuple(Envelope(*fields))) + record)
    magic, kind, length, crc = struct.unpack_from("<IBII", entry)
    data = entry[13:]
    assert entry[:5] == b"\x57\x54\x51\x48\x05"
    assert (magic, kind, length, crc) == (0x48515457, 5, len(data), zlib.crc32(data))
    assert struct.unpack_from("<BQQIQBQ", data) == fields
    assert len(data) == 38 + len(record)
    assert data[38:] == record


def test_the_entry_types_have_the_designs_numbers() -> None:
    names = (
        "POSITION_OPEN POSITION_CLOSE POSITION_MODIFY ORDER_PLACE ORDER_CANCEL BALANCE_CHANGE CHECKPOINT ORDER_UPDATE "
        "TRADING_STATE RISK_VIOLATION STRATEGY_STATE ENGINE_RUN SIGNAL_REFUSED ORDER_REPLACE COMMAND ADJUST"
    )
    assert [(kind.name, int(kind)) for kind in records.EntryType] == [
        (name, index) for index, name in enumerate(names.split(), 1)
    ]
