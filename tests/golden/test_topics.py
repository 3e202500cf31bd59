"""Golden bytes of the binary broadcast, against struct literals copied from the design's table."""

from __future__ import annotations

import struct

import pytest

from protocol import topics
from protocol.orders import OrderStatus, OrderType, Side
from protocol.topics import Topic, order_type_byte

# topic, our struct, the design's format and size, values after the topic, the bytes by hand where they are short
TABLE = [
    (0, topics.TICK, "<BIQqq", 29, (7, 1_577_836_800_000_000, 1_121_200, 1_121_300)),
    (1, topics.BAR, "<BIHQqqqqq", 55, (7, 5, 1_577_836_800_000_000, 1, 3, -1, 2, 1_000_000)),
    (2, topics.TRADE, "<BQIQqqq", 45, (2**40, 7, 1_577_836_800_000_000, 100_000_000, 1_121_300, -12_750_000)),
    (3, topics.ORDER, "<BQIQBqq", 38, (1, 7, 1_577_836_800_000_000, 0x43, 100_000_000, 1_121_300)),
    (4, topics.EQUITY, "<BQqqqq", 41, (1_577_836_800_000_000, 10**10, 10**10 - 1, 5, 10**10 - 6)),
    (5, topics.MARGIN, "<BQqqq", 33, (1_577_836_800_000_000, 5, 10**10 - 6, 100_000_000)),
    (6, topics.POSITION, "<BIQqqq", 37, (7, 1_577_836_800_000_000, -3_000_000, 150_500_000, 12_750_000)),
    (7, topics.ACCOUNT, "<BQqqqq", 41, (1_577_836_800_000_000, 10**10, 10**10 - 1, -1, 0)),
]


@pytest.mark.parametrize(("topic", "ours", "design", "size", "values"), TABLE)
def test_every_topic_has_the_designs_bytes(
    topic: int, ours: struct.Struct, design: str, size: int, values: tuple[int, ...]
) -> None:
    frame = ours.pack(topic, *values)
    assert frame == struct.pack(design, topic, *values)
    assert len(frame) == size
    assert struct.unpack("<" + design[2:], frame[1:]) == values, "an outsider may unpack from byte 1 on"


def test_the_first_byte_is_the_topic() -> None:
    names = ("TICK", "BAR", "TRADE", "ORDER", "EQUITY", "MARGIN", "POSITION", "ACCOUNT")
    assert [(topic.name, int(topic)) for topic in Topic] == [(name, index) for index, name in enumerate(names)]
    assert [row[0] for row in TABLE] == [int(topic) for topic in Topic]


def test_a_tick_to_the_byte() -> None:
    frame = topics.TICK.pack(Topic.TICK, 1, 2, 3, -1)
    assert frame.hex() == "00" "01000000" "0200000000000000" "0300000000000000" "ffffffffffffffff"


def test_the_tick_dtype_is_the_tick_struct() -> None:
    numpy = pytest.importorskip("numpy")
    frame = struct.pack("<BIQqq", 0, 7, 99, 1_121_200, -5)
    row = numpy.frombuffer(frame, dtype=numpy.dtype(topics.TICK_DTYPE))
    assert row.dtype.itemsize == 29
    assert tuple(row[0].tolist()) == (0, 7, 99, 1_121_200, -5)


@pytest.mark.parametrize(
    ("order_type", "side", "low"),
    [
        (OrderType.MARKET, Side.BUY, 0),
        (OrderType.MARKET, Side.SELL, 1),
        (OrderType.LIMIT, Side.BUY, 2),
        (OrderType.LIMIT, Side.SELL, 3),
        (OrderType.STOP, Side.BUY, 4),
        (OrderType.STOP, Side.SELL, 5),
        (OrderType.STOP_LIMIT, Side.BUY, 6),
        (OrderType.STOP_LIMIT, Side.SELL, 7),
    ],
)
def test_the_order_type_byte_has_the_type_low_and_the_status_high(order_type: OrderType, side: Side, low: int) -> None:
    statuses = ("NEW", "PENDING_NEW", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED")
    for high, name in enumerate(statuses):
        assert order_type_byte(order_type, side, OrderStatus[name]) == 16 * high + low
