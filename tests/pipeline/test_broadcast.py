"""The binary broadcast of a running engine: all eight topics, unpacked by their documentation and checked by sums.

The engine reads a file at 600 times its pace, so that bars close, the market goes on, and every tick is known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from harness import EngineUnderTest, Subscriber, config_tree, wait_for
from market_files import Quote, bid_ask, minute_bars, quotes

TICK, BAR, TRADE, ORDER, EQUITY, MARGIN, POSITION, ACCOUNT = range(8)
LAYOUTS = {
    TICK: "<IQqq",
    BAR: "<IHQqqqqq",
    TRADE: "<QIQqqq",
    ORDER: "<QIQBqq",
    EQUITY: "<Qqqqq",
    MARGIN: "<Qqqq",
    POSITION: "<IQqqq",
    ACCOUNT: "<Qqqqq",
}
ROWS: list[Quote] = quotes(24_000, step_s=5.0)
"""200 seconds at this pace: the tests end long before."""


class Seen:
    def __init__(self, engine: EngineUnderTest, everything: Subscriber, ticks: Subscriber) -> None:
        self.engine, self.everything, self.ticks = engine, everything, ticks

    def records(self, topic: int) -> list[tuple[Any, ...]]:
        """What came on one topic, unpacked from byte 1 on."""
        frames = [frame for frame in self.everything.receive() if frame[0] == topic]
        return [struct.unpack(LAYOUTS[topic], frame[1:]) for frame in frames]

    def wait_for_records(self, topic: int, count: int) -> list[tuple[Any, ...]]:
        return wait_for(
            lambda: found if len(found := self.records(topic)) >= count else None, f"{count} frames of topic {topic}"
        )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    tree = config_tree(
        market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD", "speed": 600.0, "bars": [1, 5]},
    )
    directory = tmp_path_factory.mktemp("broadcast")
    engine = EngineUnderTest(directory, tree, files={"ticks.csv": bid_ask(ROWS)})
    seen = Seen(engine, engine.broadcast(), engine.broadcast(TICK))
    with engine:
        yield seen


def test_ticks_are_the_rows_of_the_file_in_order_and_none_is_missing(seen: Seen) -> None:
    ticks = seen.wait_for_records(TICK, 100)
    first = next(index for index, row in enumerate(ROWS) if row.time_us == ticks[0][1])
    assert ticks == [(0, *row) for row in ROWS[first : first + len(ticks)]]


def test_subscribing_to_the_first_byte_is_ticks_only(seen: Seen) -> None:
    wait_for(lambda: len(seen.ticks.receive()) > 10, "ticks")
    assert {frame[:1] for frame in seen.ticks.frames} == {b"\0"}
    assert {len(frame) for frame in seen.ticks.frames} == {29}


def test_bars_are_what_the_rows_give_on_bid_prices(seen: Seen) -> None:
    bars = [bar for bar in seen.wait_for_records(BAR, 6) if bar[1] == 1]
    expected = {bar.time_us: bar for bar in minute_bars(ROWS)}
    assert bars
    for symbol_id, _, time_us, *prices, volume in bars:
        row = expected[time_us]
        assert symbol_id == 0
        assert prices == [row.open, row.high, row.low, row.close]
        assert volume == row.ticks * 1_000_000
    assert [bar[2] for bar in bars] == [bars[0][2] + 60_000_000 * index for index in range(len(bars))]


def test_a_five_minute_bar_is_the_sum_of_its_minutes(seen: Seen) -> None:
    five = wait_for(lambda: [bar for bar in seen.records(BAR) if bar[1] == 5], "a bar of five minutes")[0]
    minutes = [bar for bar in minute_bars(ROWS) if five[2] <= bar.time_us < five[2] + 300_000_000]
    assert five[3] == minutes[0].open
    assert five[4] == max(bar.high for bar in minutes)
    assert five[5] == min(bar.low for bar in minutes)
    assert five[6] == minutes[-1].close
    assert five[7] == 1_000_000 * sum(bar.ticks for bar in minutes)


def test_orders_carry_type_and_status_in_one_byte(seen: Seen) -> None:
    wait_for(lambda: sum(order[3] >> 4 == 4 for order in seen.records(ORDER)) >= 3, "three filled orders")
    orders = seen.records(ORDER)
    placed = {entry.fields["order_id"]: entry.fields for entry in seen.engine.records("ORDER_PLACE")}
    statuses: dict[int, list[int]] = {}
    for ticket, symbol_id, _, kind, volume, _price in orders:
        assert kind & 0x0F == placed[ticket]["side"], "a market order: 0 buy, 1 sell"
        assert (symbol_id, volume) == (0, placed[ticket]["quantity"])
        statuses.setdefault(ticket, []).append(kind >> 4)
    complete = [life for life in statuses.values() if life[-1] == 4]
    assert len(complete) >= 3
    assert all(life == [0, 2, 4] for life in complete), "New, Accepted, Filled"


def test_trades_are_the_fills_of_the_journal_and_their_profits_add_up(seen: Seen) -> None:
    trades = seen.wait_for_records(TRADE, 4)
    fills = {entry.fields["order_id"]: entry.fields for entry in seen.engine.records("ORDER_UPDATE", report=2)}
    for ticket, symbol_id, time_us, volume, price, _profit in trades:
        fill = fills[ticket]
        assert (symbol_id, time_us, volume, price) == (0, fill["venue_time"], fill["quantity"], fill["price"])
    tickets = {trade[0] for trade in trades}
    # What follows from a fill is written after it, in the order of the fills; the broadcast does not wait for it.
    wait_for(
        lambda: max(tickets) < max(entry.fields["order_id"] for entry in seen.engine.records("POSITION_OPEN")),
        "derived records of a later fill",
    )
    closes: dict[int, int] = {}
    for entry in seen.engine.records("POSITION_CLOSE"):
        realized = int.from_bytes(entry.fields["realized"], "little", signed=True)
        closes[entry.fields["order_id"]] = closes.get(entry.fields["order_id"], 0) + realized
    for ticket, *_, profit in trades:
        assert profit == round(closes.get(ticket, 0) / 1_000_000)


def test_positions_follow_the_trades(seen: Seen) -> None:
    seen.wait_for_records(POSITION, 4)
    trades, net = seen.records(TRADE), 0
    positions = seen.records(POSITION)[: len(trades)]
    signs = {entry.fields["order_id"]: 1 - 2 * entry.fields["side"] for entry in seen.engine.records("ORDER_PLACE")}
    for index, (symbol_id, _, quantity, average, _realized) in enumerate(positions):
        ticket, _, _, volume, price, _ = trades[index]
        net += signs[ticket] * volume
        assert (symbol_id, quantity) == (0, net)
        assert average == (price if net else 0), "SmaCross turns its position over at each trade"


def test_equity_margin_and_account_agree_and_come_in_time_with_the_market(seen: Seen) -> None:
    counts = {topic: len(seen.wait_for_records(topic, 5)) for topic in (EQUITY, MARGIN, ACCOUNT)}
    triples = zip(seen.records(EQUITY), seen.records(MARGIN), seen.records(ACCOUNT), strict=False)
    for equity, margin, account in list(triples)[: min(counts.values())]:
        assert equity[0] == margin[0] == account[0]
        assert (equity[1], equity[2]) == (account[1], account[2])
        assert (equity[3], equity[4]) == (margin[1], margin[2])
        assert abs(account[3] - (account[2] - account[1])) <= 1, "profit = equity - balance, each rounded once"
        assert abs(equity[4] - (equity[2] - equity[3])) <= 1, "free = equity - margin, each rounded once"
        assert account[4] == margin[3]
        if margin[1]:
            assert margin[3] / 1e6 == pytest.approx(100 * equity[2] / margin[1], rel=1e-6)
        else:
            assert margin[3] == 0
    wait_for(lambda: any(margin[1] for margin in seen.records(MARGIN)), "the margin of a position")


def test_a_stop_in_the_middle_of_a_file_is_the_operators(seen: Seen) -> None:
    """The last test of this engine: it stops it."""
    assert seen.engine.stop() == 0
    stops = [entry.fields for entry in seen.engine.records("ENGINE_RUN", event=1)]
    assert [fields["by"] for fields in stops] == ["operator"]
    assert seen.engine.output() == "", "the summary is for the end of the data"
