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


PIECES = [
    (MarketKind.TICKS, 2, TICKS, b""),
    (MarketKind.TICKS, 2, TICKS, VOLUMES),
    (MarketKind.TICKS, 0, b"", b""),
    (MarketKind.BARS, 1, BARS, b""),
    (MarketKind.END, 1, b"", b""),
]


@given(st.lists(st.sampled_from(PIECES), max_size=6))
def test_the_pieces_of_a_market_payload_come_back_in_order_as_views(
    pieces: list[tuple[MarketKind, int, bytes, bytes]],
) -> None:
    payload = b"".join(encode_market(*piece) for piece in pieces)
    decoded = list(decode_market(payload))
    assert [
        (piece.kind, piece.items, bytes(piece.records), b"" if piece.volumes is None else bytes(piece.volumes))
        for piece in decoded
    ] == pieces
    assert all(piece.records.obj is payload for piece in decoded), "views into the frame, not copies"


def test_a_market_piece_to_the_byte() -> None:
    assert encode_market(MarketKind.TICKS, 2, TICKS, VOLUMES) == struct.pack("<BBI", 0, 1, 2) + TICKS + VOLUMES
    assert encode_market(MarketKind.BARS, 1, BARS) == struct.pack("<BBI", 1, 0, 1) + BARS
    assert encode_market(MarketKind.END, 1, b"") == bytes.fromhex("02 00 01000000")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\x00\x01", "within a head"),
        (struct.pack("<BBI", 9, 0, 0), "unknown kind 9"),
        (struct.pack("<BBI", 0, 0, 2) + TICKS[:-1], "its head says"),
        (struct.pack("<BBI", 0, 1, 2) + TICKS, "its head says"),
        (struct.pack("<BBI", 0, 0, 2**32 - 1), "its head says"),
        (struct.pack("<BBI", 2, 0, 1) + b"x", "within a head"),
    ],
)
@pytest.mark.parametrize("before", [b"", struct.pack("<BBI", 1, 0, 1) + BARS], ids=["alone", "after bars"])
def test_a_market_payload_that_is_not_what_its_heads_say_is_refused(
    payload: bytes, reason: str, before: bytes
) -> None:
    with pytest.raises(WireError, match=reason):
        list(decode_market(before + payload))


def test_a_refused_market_payload_says_how_long_it_is_and_should_be() -> None:
    with pytest.raises(WireError, match="of 63 bytes, its head says 64"):
        list(decode_market(struct.pack("<BBI", 0, 0, 2) + TICKS[:-1]))
