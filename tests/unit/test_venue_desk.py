"""What may be said at the simulated venue's desk, and what its config must not say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.venues.desk import Cut, DeskError, ManualCancel, ManualOrder, Transfer, read_request
from protocol.errors import ConfigError
from protocol.orders import OrderType, Side
from protocol.settings import parse_config

SYMBOLS = ["EURUSD", "XAUUSD"]
CONFIG = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[order_routing]
venue = "simulated"
{line}
[wal]
{wal}
"""


def test_orders_cancels_transfers_and_cuts_are_read() -> None:
    order = read_request(b"SELL XAUUSD 2.5 1900", SYMBOLS)
    assert isinstance(order, ManualOrder)
    place = order.place
    assert (place.symbol_id, place.side, place.order_type) == (1, Side.SELL, OrderType.LIMIT)
    assert (place.quantity, place.limit_price, place.strategy_id) == (2_500_000, 1_900_000_000, 0)
    market = read_request(b"BUY EURUSD 1", SYMBOLS)
    assert isinstance(market, ManualOrder)
    assert market.place.order_type is OrderType.MARKET
    assert read_request(b"CANCEL 7", SYMBOLS) == ManualCancel(7)
    assert read_request(b"TRANSFER EURUSD -5 1.1", SYMBOLS) == Transfer(0, -5_000_000, 1_100_000)
    assert read_request(b" MUTE  0 ", SYMBOLS) == Cut(0.0, False)
    assert read_request(b"CUT 3600", SYMBOLS) == Cut(3600.0, True)


@pytest.mark.parametrize(
    "text",
    ["", "BUY", "BUY X 1", "BUY EURUSD 0", "BUY EURUSD -1", "BUY EURUSD 1 0", "BUY EURUSD 1 2 3", "BUY EURUSD nan",
     "BUY EURUSD 1e400", "BUY EURUSD 0.0000001", "CANCEL x", "TRANSFER EURUSD 0 1", "CUT -1", "CUT 3601", "CUT nan",
     "MUTE inf", "buy EURUSD 1", "BUY EURUSD 9999999999999999"],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_a_word(text: str) -> None:
    with pytest.raises(DeskError, match=r"\S"):
        read_request(text.encode(), SYMBOLS)


@given(st.binary(max_size=2000))
def test_garbage_is_refused_or_read_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(DeskError):
        read_request(data, SYMBOLS)


@pytest.mark.parametrize("wal", ['sync = "interval"', 'sync = "off"', "enabled = false"])
def test_a_venue_outside_needs_a_journal_that_is_always_on_disk(wal: str) -> None:
    """V4: after a power loss an order id that the venue knows would be given to another order."""
    with pytest.raises(ConfigError, match=r"order_routing\.venue = 'simulated': needs wal\.enabled"):
        parse_config(CONFIG.format(line="", wal=wal))


@pytest.mark.parametrize("line", ["drop = 1.1", "drop = -0.1", "delay_ms = 1e9", "cut_s = -1", "what = 1"])
def test_a_line_that_cannot_be_is_a_mistake_by_its_key(line: str) -> None:
    with pytest.raises(ConfigError, match=rf"order_routing.line.{line.partition(' ')[0]}"):
        parse_config(CONFIG.format(line=f"line = {{ {line} }}", wal=""))


def test_a_replay_has_its_venue_inside() -> None:
    text = CONFIG.format(line="", wal="").replace('run_dir = "run"', 'run_dir = "run"\nmode = "replay"')
    with pytest.raises(ConfigError, match="a replay has the venue inside"):
        parse_config(text)
