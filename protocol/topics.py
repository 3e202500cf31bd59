"""The binary broadcast (`gateway.broadcast`, PUB): one struct a topic, topic byte included.

Little-endian, packed; prices, volumes, money and percentages in 1e-6, time in microseconds since the
epoch. A contract with outsiders: design section 6 has the table, tests/golden/ the bytes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from protocol.orders import OrderStatus, OrderType, Side


class Topic(IntEnum):
    """The first byte of a broadcast, so that `SUBSCRIBE b"\\x00"` is "ticks only"."""

    TICK = 0
    BAR = 1
    TRADE = 2
    ORDER = 3
    EQUITY = 4
    MARGIN = 5
    POSITION = 6
    ACCOUNT = 7


TICK: Final = struct.Struct("<BIQqq")
"""topic, symbol_id, timestamp, bid, ask"""
BAR: Final = struct.Struct("<BIHQqqqqq")
"""topic, symbol_id, timeframe in minutes, timestamp, open, high, low, close, volume"""
TRADE: Final = struct.Struct("<BQIQqqq")
"""topic, ticket, symbol_id, timestamp, volume, price, profit"""
ORDER: Final = struct.Struct("<BQIQBqq")
"""topic, ticket, symbol_id, timestamp, type, volume, price"""
EQUITY: Final = struct.Struct("<BQqqqq")
"""topic, timestamp, balance, equity, margin, margin_free"""
MARGIN: Final = struct.Struct("<BQqqq")
"""topic, timestamp, margin, margin_free, margin_level"""
POSITION: Final = struct.Struct("<BIQqqq")
"""topic, symbol_id, timestamp, net volume, average price, realized profit"""
ACCOUNT: Final = struct.Struct("<BQqqqq")
"""topic, timestamp, balance, equity, profit, margin_level"""

TICK_DTYPE: Final = [("topic", "u1"), ("symbol_id", "<u4"), ("timestamp", "<u8"), ("bid", "<i8"), ("ask", "<i8")]
"""The TICK layout as a NumPy dtype description (numpy itself is imported by those who need it)."""


def order_type_byte(order_type: OrderType, side: Side, status: OrderStatus) -> int:
    """ORDER's type byte: low four bits the order type (0 buy, 1 sell, 2 buy limit, ...), high four the status."""
    return (status << 4) | (2 * order_type + side)
