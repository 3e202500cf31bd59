"""Small market files of each format, and the same rows as numbers: a seeded walk, so that every run reads the same.

Prices are whole multiples of 0.00001 around 1.1; times are whole steps from the start of a minute.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NamedTuple

START: Final = datetime(2024, 3, 4, 10, 0, tzinfo=UTC)
TICK: Final = 10
"""Of price, in micros: 0.00001."""


class Quote(NamedTuple):
    time_us: int
    bid: int
    """Micros."""
    ask: int


def quotes(count: int, step_s: float = 5.0, seed: int = 1, offset_s: float = 0.0) -> list[Quote]:
    """A walk with a spread of two ticks, `offset_s` after START."""
    random, bid, found = Random(seed), 1_100_000, []
    for index in range(count):
        bid += TICK * random.randint(-12, 12)
        time_us = round((START.timestamp() + offset_s + index * step_s) * 1_000_000)
        found.append(Quote(time_us, bid, bid + 2 * TICK))
    return found


def _time(quote: Quote) -> datetime:
    return datetime.fromtimestamp(quote.time_us // 1_000_000, UTC) + timedelta(microseconds=quote.time_us % 1_000_000)


def _price(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def bid_ask(rows: list[Quote]) -> str:
    lines = [f"{_time(row).isoformat()},{_price(row.bid)},{_price(row.ask)}" for row in rows]
    return "\n".join(["timestamp,bid,ask", *lines]) + "\n"


def histdata(rows: list[Quote]) -> str:
    """Five hours behind UTC, without a header."""
    lines = []
    for row in rows:
        local = _time(row) - timedelta(hours=5)
        lines.append(f"{local:%Y%m%d %H%M%S}{local.microsecond // 1000:03d},{_price(row.bid)},{_price(row.ask)},0")
    return "\n".join(lines) + "\n"


def trades(rows: list[Quote], symbol: str) -> str:
    lines = [f"{row.time_us // 1000},{symbol},{_price(row.bid)},1.5" for row in rows]
    return "\n".join(["timestamp_ms,symbol,price,volume", *lines]) + "\n"


def ohlc(rows: list[Quote]) -> str:
    """Each row opens at one quote's bid and closes at the next."""
    lines = []
    for row, after in zip(rows, [*rows[1:], rows[-1]], strict=True):
        high, low = max(row.bid, after.bid) + TICK, min(row.bid, after.bid) - TICK
        prices = ",".join(_price(price) for price in (row.bid, high, low, after.bid))
        lines.append(f"{_time(row).isoformat()},{prices},7")
    return "\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n"


class MinuteBar(NamedTuple):
    time_us: int
    open: int
    high: int
    low: int
    close: int
    ticks: int


def minute_bars(rows: list[Quote]) -> list[MinuteBar]:
    """Bars on bid prices, stamped with their open time, counted here a second time; the last one is unfinished."""
    bars: list[MinuteBar] = []
    for row in rows:
        minute = row.time_us - row.time_us % 60_000_000
        if bars and bars[-1].time_us == minute:
            last = bars[-1]
            high, low = max(last.high, row.bid), min(last.low, row.bid)
            bars[-1] = MinuteBar(minute, last.open, high, low, row.bid, last.ticks + 1)
        else:
            bars.append(MinuteBar(minute, row.bid, row.bid, row.bid, row.bid, 1))
    return bars
