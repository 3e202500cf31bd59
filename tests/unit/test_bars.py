"""bars: against an independent computation, and put where seams P1 wants them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actors.bars as bars
from actors.bars import BarBatch, BarBuilder
from actors.sources import TickBatch

MINUTE_US = 60_000_000
M = 1_000_000
Tick = tuple[int, int, int, int | None]
"""symbol id, time, bid, volume"""
Bar = tuple[int, int, int, int, int, int, int, int]
"""symbol id, timeframe, open time, open, high, low, close, volume"""


def batch(ticks: list[Tick]) -> TickBatch:
    return TickBatch(
        records=b"".join(struct.pack("<BIQqq", 0, symbol_id, time, bid, bid + 1) for symbol_id, time, bid, _ in ticks),
        volumes=b"".join(struct.pack("<q", volume) for *_, volume in ticks if volume is not None),
        count=len(ticks),
        first_time_us=ticks[0][1],
        last_time_us=ticks[-1][1],
    )


def bars_of(part: BarBatch) -> list[Bar]:
    rows = list(struct.iter_unpack("<BIHQqqqqq", part.records))
    assert len(rows) == part.count
    assert all(row[0] == 1 for row in rows)
    return [row[1:] for row in rows]


def run(builder: BarBuilder, ticks: list[Tick], sizes: list[int]) -> tuple[list[tuple[int, Bar]], list[Bar]]:
    """(tick before which it stands, bar) of every bar, and the bars at the end; checks that all ticks come out."""
    placed: list[tuple[int, Bar]] = []
    start, sizes = 0, [*sizes, len(ticks)]
    while start < len(ticks):
        whole = batch(ticks[start : start + sizes[0]])
        sizes = sizes[1:] or sizes
        done = 0
        for part in builder.split(whole):
            if isinstance(part, BarBatch):
                assert part.before_tick == done
                placed += [(start + done, bar) for bar in bars_of(part)]
            else:
                assert part == whole.slice(done, done + part.count)
                done += part.count
        assert done == whole.count
        start += whole.count
    return placed, bars_of(builder.flush())


def brute_force(ticks: list[Tick], timeframes: list[int]) -> tuple[list[tuple[int, Bar]], list[Bar]]:
    """Every bar from a grouping of all ticks, sorted into place afterwards."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for index, (symbol_id, time, _, _) in enumerate(ticks):
        for minutes in timeframes:
            groups.setdefault((symbol_id, minutes, time // (minutes * MINUTE_US)), []).append(index)
    placed: list[tuple[int, Bar]] = []
    end: list[Bar] = []
    for (symbol_id, minutes, interval), members in groups.items():
        bids = [ticks[index][2] for index in members]
        volume = sum(M if ticks[index][3] is None else ticks[index][3] or 0 for index in members)
        open_time = interval * minutes * MINUTE_US
        bar = (symbol_id, minutes, open_time, bids[0], max(bids), min(bids), bids[-1], volume)
        later = [index for index in range(members[-1] + 1, len(ticks)) if ticks[index][0] == symbol_id]
        if later:
            placed.append((later[0], bar))
        else:
            end.append(bar)
    placed.sort(key=lambda entry: (entry[0], entry[1][1]))
    end.sort(key=lambda bar: (bar[2] + bar[1] * MINUTE_US, bar[0], bar[1]))
    return placed, end


@st.composite
def feeds(draw: st.DrawFn) -> list[Tick]:
    has_volumes = draw(st.booleans())
    steps = st.sampled_from([0, 1, 20_000_000, MINUTE_US - 1, MINUTE_US, 3 * MINUTE_US + 7])
    time, ticks = draw(st.integers(0, 10 * MINUTE_US)), []
    for _ in range(draw(st.integers(1, 40))):
        time += draw(steps)
        volume = draw(st.integers(0, 10**12)) if has_volumes else None
        ticks.append((draw(st.integers(1, 3)), time, draw(st.integers(1, 9)), volume))
    return ticks


@given(
    ticks=feeds(),
    timeframes=st.lists(st.sampled_from([1, 2, 3, 5, 7, 1440]), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(1, 10), max_size=8),
)
@pytest.mark.parametrize("columns_from", [1, 4, 1000], ids=["by columns", "by both", "tick by tick"])
def test_bars_are_those_of_an_independent_computation_wherever_batches_are_cut(
    columns_from: int, ticks: list[Tick], timeframes: list[int], sizes: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bars, "COLUMNS_TICKS_MIN", columns_from)
        assert run(BarBuilder(timeframes), ticks, sizes) == brute_force(ticks, timeframes)


@st.composite
def disorderly(draw: st.DrawFn) -> list[Tick]:
    """Feeds as a live source may bring them: times that go back, ids and volumes beyond what is usual."""
    ids, volumes = st.sampled_from([1, 2, 70_000, 2**32 - 1]), st.sampled_from([0, 1, 2**62, 2**63 - 1])
    times = st.sampled_from([0, 1, MINUTE_US - 1, MINUTE_US, 2 * MINUTE_US, 5 * MINUTE_US])
    has_volumes = draw(st.booleans())
    return [
        (symbol_id, time, bid, volume if has_volumes else None)
        for symbol_id, time, bid, volume in draw(
            st.lists(st.tuples(ids, times, st.integers(-2, 3), volumes), min_size=1, max_size=30)
        )
    ]


@given(
    ticks=disorderly(),
    timeframes=st.lists(st.sampled_from([1, 2, 3, 5]), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(1, 10), max_size=8),
)
def test_gathered_by_columns_or_tick_by_tick_every_part_is_the_same(
    ticks: list[Tick], timeframes: list[int], sizes: list[int]
) -> None:
    def parts(columns_from: int) -> list[BarBatch | TickBatch]:
        builder, found, start = BarBuilder(timeframes), list[BarBatch | TickBatch](), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bars, "COLUMNS_TICKS_MIN", columns_from)
            for size in [*sizes, len(ticks)]:
                if ticks[start : start + size]:
                    found += builder.split(batch(ticks[start : start + size]))
                start += size
        return [*found, builder.flush()]

    assert parts(1) == parts(1000)


def test_golden_bar_stands_before_the_tick_that_closed_it() -> None:
    builder = BarBuilder([1])
    first = batch([(7, 61 * M, 5, None), (7, 80 * M, 9, None), (7, 119_999_999, 3, None), (7, 120 * M, 4, None)])
    ticks, bar, closer = builder.split(first)
    assert ticks == first.slice(0, 3)
    assert closer == first.slice(3, 4)
    assert bar == BarBatch(
        records=struct.pack("<BIHQqqqqq", 1, 7, 1, 60 * M, 5, 9, 3, 3, 3 * M), count=1, before_tick=3
    )
    end = builder.flush()
    assert end == BarBatch(records=struct.pack("<BIHQqqqqq", 1, 7, 1, 120 * M, 4, 4, 4, 4, M), count=1, before_tick=0)


def test_a_bar_closed_by_the_first_tick_of_a_batch_stands_before_the_batch() -> None:
    builder = BarBuilder([1])
    builder.split(batch([(1, 0, 5, None)]))
    second = batch([(1, MINUTE_US, 6, None), (1, MINUTE_US, 7, None)])
    bar, ticks = builder.split(second)
    assert isinstance(bar, BarBatch)
    assert bar.before_tick == 0
    assert ticks is second


def test_a_symbols_bar_waits_for_a_tick_of_that_symbol() -> None:
    builder = BarBuilder([1])
    placed, end = run(builder, [(1, 0, 5, None), (2, 5 * MINUTE_US, 6, None), (1, 6 * MINUTE_US, 7, None)], [])
    assert [(before, bar[0], bar[2]) for before, bar in placed] == [(2, 1, 0)]
    assert [(bar[0], bar[2]) for bar in end] == [(2, 5 * MINUTE_US), (1, 6 * MINUTE_US)]


def test_an_interval_without_a_tick_has_no_bar() -> None:
    placed, end = run(BarBuilder([1]), [(1, 0, 5, None), (1, 10 * MINUTE_US, 6, None)], [])
    assert [bar[2] for _, bar in placed] + [bar[2] for bar in end] == [0, 10 * MINUTE_US]


def test_a_tick_older_than_the_open_bar_counts_in_it() -> None:
    placed, end = run(BarBuilder([1]), [(1, MINUTE_US, 5, None), (1, 0, 9, None)], [])
    assert placed == []
    assert end == [(1, 1, MINUTE_US, 5, 9, 5, 9, 2 * M)]


def test_volumes_that_outgrow_64_bits_are_held_at_the_largest() -> None:
    most = 2**63 - 1
    _, end = run(BarBuilder([1]), [(1, 0, 5, most), (1, 1, 5, most)], [])
    assert end[0][-1] == most


def test_without_timeframes_a_batch_passes_untouched() -> None:
    builder = BarBuilder([])
    whole = batch([(1, 0, 5, None), (1, 10 * MINUTE_US, 6, None)])
    (part,) = builder.split(whole)
    assert part is whole
    assert builder.flush() == BarBatch(records=b"", count=0, before_tick=0)


@pytest.mark.parametrize("timeframes", [[1, 5], [5, 1]])
def test_bars_closed_by_one_tick_are_in_order_of_timeframe(timeframes: list[int]) -> None:
    placed, _ = run(BarBuilder(timeframes), [(1, 0, 5, None), (1, 5 * MINUTE_US, 6, None)], [])
    assert [bar[1] for _, bar in placed] == [1, 5]


def test_after_the_end_a_builder_starts_anew() -> None:
    builder = BarBuilder([1])
    feed: list[Tick] = [(1, 0, 5, None), (1, MINUTE_US, 6, None)]
    assert run(builder, feed, []) == run(builder, feed, [])
