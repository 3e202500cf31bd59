"""Payloads of APPEND and of the market stream: read back, and refused when they are cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import MarketKind, decode_append, decode_market, encode_append, encode_market
from protocol.errors import WireError

RECORDS = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=64)), max_size=8)
TICKS = struct.pack("<BIQqq", 0, 7, 99, 1, 2) + struct.pack("<BIQqq", 0, 8, 100, 3, 4)
VOLUMES = struct.pack("<qq", 5, 6)
BARS = struct.pack("<BIHQqqqqq", 1, 7, 5, 99, 1, 2, 3, 4, 5)


@given(RECORDS)
def test_appended_records_come_back_in_order(records: list[tuple[int, int, bytes]]) -> None:
    assert list(decode_append(encode_append(records))) == records


@given(RECORDS.filter(bool), st.data())
def test_an_append_that_is_cut_within_a_record_is_refused(
    records: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    payload = encode_append(records)
    last = len(encode_append(records[-1:]))
    cut = data.draw(st.integers(1, last - 1))
    with pytest.raises(WireError, match="APPEND ends within"):
        list(decode_append(payload[:-cut]))


def test_an_append_to_the_byte() -> None:
    assert encode_append([(5, 1, b"ab")]).hex() == "05" "0100000000000000" "02000000" "6162"


@pytest.mark.parametrize(
    ("kind", "count", "body", "volumes"),
    [
        (MarketKind.TICKS, 2, TICKS, b""),
        (MarketKind.TICKS, 2, TICKS, VOLUMES),
        (MarketKind.TICKS, 0, b"", b""),
        (MarketKind.BARS, 1, BARS, b""),
        (MarketKind.END, 0, b"", b""),
    ],
)
def test_a_market_payload_comes_back_as_views(kind: MarketKind, count: int, body: bytes, volumes: bytes) -> None:
    payload = encode_market(kind, count, body, volumes)
    assert payload[:6] == struct.pack("<BBI", kind, bool(volumes), count)
    decoded = decode_market(payload)
    assert (decoded.kind, decoded.count, bytes(decoded.records)) == (kind, count, body)
    assert (b"" if decoded.volumes is None else bytes(decoded.volumes)) == volumes
    assert decoded.records.obj is payload, "a view into the frame, not a copy"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\x00\x01", "shorter than its head"),
        (struct.pack("<BBI", 9, 0, 0), "unknown kind 9"),
        (struct.pack("<BBI", 0, 0, 2) + TICKS[:-1], "63 bytes, its head says 64"),
        (struct.pack("<BBI", 0, 1, 2) + TICKS, "64 bytes, its head says 80"),
        (struct.pack("<BBI", 0, 0, 1) + TICKS, "64 bytes, its head says 35"),
        (struct.pack("<BBI", 2, 0, 1) + b"x", "7 bytes, its head says 6"),
        (struct.pack("<BBI", 0, 0, 2**32 - 1), "its head says"),
    ],
)
def test_a_market_payload_that_is_not_what_its_head_says_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode_market(payload)
