"""The payloads of APPEND and of the market stream: fixed layouts around opaque bytes.

    append   repeated [type:1][time_us:8][length:4][record data]
    market   one or more of [kind:1][flags:1][count:4] then
             kind 0  `count` TICK records in the layout of the binary broadcast (29 bytes each),
                     with flag 1 followed by `count` volumes (i64 micros)
             kind 1  `count` BAR records in the layout of the binary broadcast (55 bytes each)
             kind 2  nothing: the end of a file
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from protocol.errors import WireError
from protocol.topics import BAR, TICK

APPEND_HEAD: Final = struct.Struct("<BQI")
MARKET_HEAD: Final = struct.Struct("<BBI")
VOLUME: Final = struct.Struct("<q")
HAS_VOLUMES: Final = 1


class MarketKind(IntEnum):
    TICKS = 0
    BARS = 1
    END = 2


_ITEM_SIZES: Final = {MarketKind.TICKS: TICK.size, MarketKind.BARS: BAR.size, MarketKind.END: 0}


class MarketPayload(NamedTuple):
    kind: MarketKind
    items: int
    records: memoryview
    """`items` TICK or BAR records."""
    volumes: memoryview | None
    """`items` i64 volumes in micros, where the feed has them."""


def encode_append(records: Iterable[tuple[int, int, bytes]]) -> bytes:
    """(entry type, time_us, record data) of each record."""
    pack = APPEND_HEAD.pack
    return b"".join([pack(kind, time_us, len(data)) + data for kind, time_us, data in records])


def decode_append(payload: bytes) -> list[tuple[int, int, bytes]]:
    """The inverse of encode_append. Raises: WireError if the payload ends within a record."""
    unpack, head_size, size = APPEND_HEAD.unpack_from, APPEND_HEAD.size, len(payload)
    records: list[tuple[int, int, bytes]] = []
    add, offset = records.append, 0
    while offset + head_size <= size:
        kind, time_us, length = unpack(payload, offset)
        start = offset + head_size
        offset = start + length
        add((kind, time_us, payload[start:offset]))
    if offset != size:
        raise WireError("APPEND ends within a record" if offset > size else "APPEND ends within a record's head")
    return records


def encode_market(kind: MarketKind, count: int, records: bytes, volumes: bytes = b"") -> bytes:
    return b"".join((market_head(kind, count, volumes), records, volumes))


def market_head(kind: MarketKind, count: int, volumes: bytes = b"") -> bytes:
    """What stands before the records and volumes of a piece, for those who join many."""
    return MARKET_HEAD.pack(kind, HAS_VOLUMES if volumes else 0, count)


def decode_market(payload: bytes | memoryview) -> Iterator[MarketPayload]:
    """The pieces, as views into `payload`. Raises: WireError if a length is not what its head says."""
    view = memoryview(payload)
    start, size = 0, len(view)
    while start < size:
        if size - start < MARKET_HEAD.size:
            raise WireError("market payload ends within a head")
        number, flags, count = MARKET_HEAD.unpack_from(view, start)
        try:
            kind = MarketKind(number)
        except ValueError:
            raise WireError(f"market payload of unknown kind {number}") from None
        start += MARKET_HEAD.size
        middle = start + count * _ITEM_SIZES[kind]
        end = middle + (count * VOLUME.size if flags & HAS_VOLUMES else 0)
        if size < end:
            raise WireError(f"market payload of {size} bytes, its head says {end}")
        yield MarketPayload(kind, count, view[start:middle], view[middle:end] if flags & HAS_VOLUMES else None)
        start = end
