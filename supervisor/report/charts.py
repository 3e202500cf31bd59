"""Charts as HTML: lines and bands that stretch with the page, marks and words that do not.

    <figure class="chart"> caption, <div class="plot">
        <svg>           the paths in a square of 1000 x 1000 that is stretched (strokes keep their width)
            <use>       marks at percent positions, in CSS pixels
        <span>          labels of the axes, at percent positions: text stays readable on a phone
        <script type="application/json">   what the pointer shows

Time runs to the right over the same span in every chart of a page. Everything that is not a number is escaped.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from supervisor.report.statistics import Floats, Times
from supervisor.report.text import show_number

SIZE: Final = 1000
TICKS_Y: Final = 5
TICKS_X: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_STEPS_US: Final = tuple(
    count * unit
    for unit, counts in (
        (1, (1, 10, 100, 1_000, 10_000, 100_000)),
        (_SECOND, (1, 5, 15, 30)),
        (60 * _SECOND, (1, 5, 15, 30)),
        (3_600 * _SECOND, (1, 2, 3, 6, 12)),
        (_DAY, (1, 2, 7, 14)),
    )
    for count in counts
)
_STEPS_MONTHS: Final = (1, 3, 6, 12, 24, 60, 120, 600)


def escape(text: object) -> str:
    """For text and for attributes in double quotes."""
    return html.escape(str(text), quote=True)


def script_json(value: Any) -> str:
    """JSON that no parser of HTML takes for an end of its script."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@dataclass(frozen=True, slots=True)
class Span:
    """The values that an axis shows, from its one end to the other."""

    low: float
    high: float

    def at(self, value: Floats | float) -> Any:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)


def span_of(values: Iterable[float], *, margin: float = 0.06) -> Span:
    """A span with some air around the values; never empty."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    air = (high - low) * margin or abs(high) * 0.01 or 1.0
    return Span(low - air, high + air)


@dataclass(frozen=True, slots=True)
class Series:
    """A line over time. `name` and `digits` are for the pointer."""

    name: str
    times: Times
    values: Floats
    digits: int
    style: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """From a lower to an upper edge."""

    times: Times
    low: Floats
    high: Floats
    style: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A symbol of the page (`#shape`), with words for the pointer."""

    time_us: int
    value: float
    shape: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One plot. `id_` is a word of ours; titles and words may be anybody's."""

    title: str
    note: str
    time: Span
    value: Span
    digits: int
    unit: str = ""
    series: Sequence[Series] = ()
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()
    base: float | None = None
    """A value with a line of its own."""
    height: str = "tall"
    legend: Sequence[tuple[str, str]] = field(default=())
    """(class of the key, words)."""


def draw_chart(chart: Chart) -> str:
    """A figure element."""
    parts = [
        f'<figure class="chart {chart.height}"><figcaption><b>{escape(chart.title)}</b> '
        f"<span>{escape(chart.note)}</span>{_legend(chart.legend)}</figcaption>",
        f'<div class="plot"><svg role="img" aria-label="{escape(chart.title)}: {escape(chart.note)}">',
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" width="100%" height="100%">',
        *(_rule(chart.value.at(value), "grid") for value in nice_values(chart.value)),
        *(_band(band, chart) for band in chart.bands),
        _rule(chart.value.at(chart.base), "base") if chart.base is not None else "",
        *(_line(series, chart) for series in chart.series),
        "</svg>",
        *(_mark(mark, chart) for mark in chart.marks),
        "</svg>",
        *_labels(chart),
        '<i class="cross" hidden></i><output hidden></output>',
        _pointer(chart),
        "</div></figure>",
    ]
    return "".join(parts)


def _legend(keys: Sequence[tuple[str, str]]) -> str:
    if not keys:
        return ""
    listed = "".join(f"<li>{_key(shape)}{escape(words)}</li>" for shape, words in keys)
    return f'<ul class="legend">{listed}</ul>'


def _key(shape: str) -> str:
    return f'<svg class="key" viewBox="-8 -8 16 16"><use href="#{shape}-key"/></svg>'


def _rule(share: float, style: str) -> str:
    y = _round(SIZE * (1 - share))
    return f'<path class="{style}" d="M0 {y}H{SIZE}"/>'


def _round(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _points(times: Times, values: Floats, chart: Chart) -> list[str]:
    xs = np.clip(SIZE * chart.time.at(times.astype(np.float64)), 0, SIZE)
    ys = np.clip(SIZE * (1 - chart.value.at(values)), 0, SIZE)
    return [f"{_round(x)} {_round(y)}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]


def _line(series: Series, chart: Chart) -> str:
    points = _points(series.times, series.values, chart)
    return f'<path class="{series.style}" d="M{"L".join(points)}"/>' if points else ""


def _band(band: Band, chart: Chart) -> str:
    upper = _points(band.times, band.high, chart)
    lower = _points(band.times, band.low, chart)
    return f'<path class="{band.style}" d="M{"L".join([*upper, *reversed(lower)])}Z"/>' if upper else ""


def _mark(mark: Mark, chart: Chart) -> str:
    x, y = 100 * chart.time.at(float(mark.time_us)), 100 * (1 - chart.value.at(mark.value))
    place = f'x="{x:.2f}%" y="{y:.2f}%"'
    return f'<use href="#{mark.shape}" {place}><title>{escape(mark.text)}</title></use>'


def _labels(chart: Chart) -> Iterable[str]:
    for value in nice_values(chart.value):
        top = 100 * (1 - chart.value.at(value))
        words = show_number(value, chart.digits) + chart.unit
        yield f'<span class="y" style="top:{top:.2f}%">{escape(words)}</span>'
    for number, (time_us, words) in enumerate(nice_times(chart.time)):
        left = 100 * chart.time.at(float(time_us))
        yield f'<span class="x{" odd" if number % 2 else ""}" style="left:{left:.2f}%">{escape(words)}</span>'


def _pointer(chart: Chart) -> str:
    """What the pointer shows: the times of the first series (all are as long), the values of each."""
    if not chart.series or not len(chart.series[0].times):
        return ""
    times = chart.series[0].times
    seconds = ((times - times[0]) // _SECOND).tolist()
    data = {
        "from": int(times[0]) / _SECOND,
        "seconds": seconds,
        "x": [round(share, 5) for share in np.clip(chart.time.at(times.astype(np.float64)), 0, 1).tolist()],
        "series": [
            {"name": one.name, "digits": one.digits, "unit": one.unit,
             "values": [round(value, one.digits) for value in one.values.tolist()]}
            for one in chart.series
        ],
    }  # fmt: skip
    return f'<script type="application/json">{script_json(data)}</script>'


# ---- axes -------------------------------------------------------------------------------------------------------


def nice_values(span: Span) -> list[float]:
    """Round numbers within the span, about TICKS_Y of them."""
    rough = (span.high - span.low) / TICKS_Y
    if not rough > 0 or not math.isfinite(rough):
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.ceil(span.low / step), math.floor(span.high / step)
    return [number * step for number in range(first, last + 1)]


def axis_digits(span: Span) -> int:
    """Decimals that tell the span's round numbers apart."""
    values = nice_values(span)
    if len(values) < 2:
        return 2
    return min(max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)), 9)


def nice_times(span: Span) -> list[tuple[int, str]]:
    """(time, words) of round times within the span, at most TICKS_X + 1."""
    width = (span.high - span.low) / TICKS_X
    step = next((step for step in _STEPS_US if step >= width), None)
    if step is None:
        return _months(span, width)
    first = -(-int(span.low) // step)
    listed = [number * step for number in range(first, int(span.high) // step + 1)]
    words = "%b %d" if step >= _DAY else "%H:%M" if step >= 60 * _SECOND else "%H:%M:%S"
    if step < _SECOND:
        words = "%S.%f"
    return [(time_us, _show(time_us, words, step)) for time_us in listed]


def _show(time_us: int, words: str, step: int) -> str:
    """Midnight says the day."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.strftime("%b %d" if _SECOND <= step < _DAY and time_us % _DAY == 0 else words)


def _months(span: Span, width: float) -> list[tuple[int, str]]:
    step = next((step for step in _STEPS_MONTHS if step * 30.4 * _DAY >= width), _STEPS_MONTHS[-1])
    months = np.array([int(span.low), int(span.high)], "datetime64[us]").astype("datetime64[M]").astype(np.int64)
    listed: list[tuple[int, str]] = []
    for number in range(-(-int(months[0]) // step) * step, int(months[1]) + 1, step):
        month = np.datetime64(number, "M")
        time_us = int(month.astype("datetime64[us]").astype(np.int64))
        if span.low <= time_us <= span.high:
            moment = _EPOCH + timedelta(microseconds=time_us)
            listed.append((time_us, moment.strftime("%Y" if step >= 12 else "%b %Y")))
    return listed
