"""The report's charts: equity, drawdown, and each symbol's price with the fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from supervisor.report.buckets import Buckets
from supervisor.report.charts import Band, Chart, Mark, Series, Span, axis_digits, draw_chart, span_of
from supervisor.report.performance import Performance
from supervisor.report.statistics import Floats, Times
from supervisor.report.text import money_digits, show_number, show_percent, show_time

MARK_BINS: Final = 180
"""Across a chart: fills of a kind within one become one mark, so a chart has at most four times as many."""
_SHAPES: Final = {(True, True): "buy", (False, True): "sell", (True, False): "cover", (False, False): "close"}
"""(bought, opens) -> symbol."""


def draw_equity(performance: Performance) -> Iterator[str]:
    """Equity and its falls; nothing if the run has no point in time."""
    if performance.start_us is None or performance.end_us is None:
        return
    time = _time_span(performance.start_us, performance.end_us)
    start, buckets = performance.start_equity, performance.curve.buckets
    times, low, high, last = _with_start(buckets, performance.start_us, start)
    value = span_of([*low.tolist(), *high.tolist()])
    digits = max(axis_digits(value), 0)
    note = "open positions at bid and ask" if performance.basis == "marked" else "closed positions only: the balance"
    yield "<h2>Equity</h2>"
    yield draw_chart(Chart(
        title=f"Equity, {performance.currency}", note=note, time=time, value=value, digits=digits, base=start,
        bands=[Band(times, low, high, "range")],
        series=[Series("equity", times, last, max(digits, money_digits([performance.total.net_profit])), "equity")],
    ))  # fmt: skip
    falls = _falls(low, last, high)
    depth = span_of([*falls.tolist(), 0.0])
    depth = Span(depth.low, 0.0)
    zeros = np.zeros_like(falls)
    fall = performance.total.max_drawdown_relative
    yield draw_chart(Chart(
        title="Drawdown", note=f"below the highest equity before: {show_percent(fall.depth if fall else 0.0, 3)}",
        time=time, value=depth, digits=axis_digits(depth), unit=" %", height="short",
        bands=[Band(times, falls, zeros, "fallen")],
        series=[Series("drawdown", times, falls, max(axis_digits(depth), 2), "fall", " %")],
    ))  # fmt: skip


def _time_span(start_us: int, end_us: int) -> Span:
    return Span(float(start_us), float(max(end_us, start_us + 1)))


def _with_start(buckets: Buckets, start_us: int, start: float) -> tuple[Times, Floats, Floats, Floats]:
    """(times, low, high, last) of the filled buckets, each at its end, and before them the equity at the start."""
    times, low, high, last = _columns(buckets)
    return np.append(start_us, times), np.append(start, low), np.append(start, high), np.append(start, last)


def _columns(buckets: Buckets) -> tuple[Times, Floats, Floats, Floats]:
    filled = buckets.filled
    times = np.minimum(buckets.start_us + (filled + 1) * buckets.width_us, buckets.end_us)
    return times, buckets.low[filled], buckets.high[filled], buckets.last[filled]


def _falls(low: Floats, last: Floats, high: Floats) -> Floats:
    """The deepest fall that each bucket surely has, in percent below 0: its peak may have come after its low."""
    peaks = np.maximum.accumulate(high)
    before = np.append(peaks[0], peaks[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = np.maximum((before - low) / before, (peaks - last) / peaks)
    return -100 * np.where(np.isfinite(falls), np.maximum(falls, 0.0), 0.0)


def draw_prices(performance: Performance) -> Iterator[str]:
    """A chart for each symbol whose prices are known, with the fills in it."""
    marked = performance.marked
    if marked is None or performance.start_us is None or performance.end_us is None:
        return
    charts = [(symbol, buckets) for symbol, buckets in marked.prices.items() if buckets.count]
    if charts:
        yield "<h2>Prices and fills</h2>"
    time = _time_span(performance.start_us, performance.end_us)
    for symbol, buckets in charts:
        yield _draw_price(performance, symbol, buckets, time)
    left = len({*performance.history.fills.symbols.tolist()} - set(marked.prices))
    if left:
        yield f'<p class="note">{left} more symbols were traded less and are not drawn.</p>'


def _draw_price(performance: Performance, symbol: int, buckets: Buckets, time: Span) -> str:
    times, low, high, last = _columns(buckets)
    fills = performance.history.fills
    chosen = np.flatnonzero(fills.symbols == symbol)
    prices = fills.prices[chosen]
    value = span_of([*low.tolist(), *high.tolist(), *prices.tolist()], margin=0.09)
    digits = axis_digits(value)
    marks = _marks(performance, chosen, time, digits + 2)
    return draw_chart(Chart(
        title=performance.history.fold.symbol(symbol), note=f"mid of bid and ask; {len(chosen):,} fills",
        time=time, value=value, digits=digits, bands=[Band(times, low, high, "prices")],
        series=[Series("mid", times, last, min(digits + 2, 6), "price")], marks=marks,
        legend=[("buy", "buy"), ("sell", "sell"), ("cover", "buy to reduce"), ("close", "sell to reduce")]
        if marks else (),
    ))  # fmt: skip


def _marks(performance: Performance, chosen: Times, time: Span, digits: int) -> list[Mark]:
    """The fills, those of one kind that are close together as one, in the order of time."""
    fills = performance.history.fills
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    times, quantities, prices, opens = fills.times, fills.quantities, fills.prices, fills.opens
    for at in chosen.tolist():
        place = int(MARK_BINS * time.at(float(times[at])))
        groups.setdefault((place, bool(quantities[at] > 0), bool(opens[at])), []).append(at)
    return [
        _mark(_SHAPES[bought, opening], times[found], np.abs(quantities[found]), prices[found], min(digits, 6))
        for (_, bought, opening), found in sorted(groups.items())
    ]


def _mark(shape: str, times: Times, quantities: Floats, prices: Floats, digits: int) -> Mark:
    price = float(np.average(prices, weights=quantities))
    verb = "bought" if shape in ("buy", "cover") else "sold"
    what = f"{verb} {show_number(float(quantities.sum()), 6).rstrip('0').rstrip('.')} at {show_number(price, digits)}"
    several = f" in {len(times)} fills" if len(times) > 1 else ""
    return Mark(int(times[0]), price, shape, f"{what}{several}, {show_time(int(times[0]))}")
