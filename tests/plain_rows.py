"""Data files read a second time, by csv and decimal alone: the ticks and bars that a replay of them must be made of.

By the README's formats and their words in design section 10; it imports nothing of the project. A whole file is held.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from pathlib import Path

MICROS = 10**6
MINUTE_US = 60 * MICROS
STEP_ROWS = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HISTDATA_ZONE = timezone(timedelta(hours=-5))

Tick = tuple[int, int, int, int]
"""(symbol id, time, bid, ask)."""


@dataclass
class PlainFile:
    rows: int = 0
    ticks: list[Tick] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)
    """Empty if the format has none."""
    digits: int = 0
    """Behind the point, of the prices."""


def read_plain(path: Path, symbol: str) -> PlainFile:
    """The file's ticks as symbol id 0, in micros and microseconds. Raises: ValueError if the format is unknown."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    head = ",".join(rows[0])
    if head == "timestamp,bid,ask":
        return _ticks((_iso_us(t), bid, ask, None) for t, bid, ask in rows[1:])
    if head == "timestamp_ms,symbol,price,volume":
        own = (row for row in rows[1:] if row[1] == symbol)
        return _ticks((int(t) * 1000, price, price, volume) for t, _, price, volume in own)
    if head.startswith("timestamp,open,high,low,close"):
        return _bars(rows[1:])
    if len(rows[0]) == 4 and rows[0][0][:8].isdecimal():
        return _ticks((_histdata_us(t), bid, ask, volume) for t, bid, ask, volume in rows)
    raise ValueError(f"{path}: no known format: {head}")


def _ticks(rows: Iterable[tuple[int, str, str, str | None]]) -> PlainFile:
    read = PlainFile()
    for time_us, bid, ask, volume in rows:
        read.rows += 1
        read.digits = max(read.digits, _digits(bid), _digits(ask))
        read.ticks.append((0, time_us, _micros(bid), _micros(ask)))
        if volume is not None:
            read.volumes.append(_micros(volume))
    return read


def _bars(rows: Sequence[list[str]]) -> PlainFile:
    """Four ticks a bar, the last an interval long as the usual one."""
    read = PlainFile(len(rows))
    times = [_iso_us(row[0]) for row in rows]
    steps = Counter(later - earlier for earlier, later in pairwise(times[:STEP_ROWS]))
    usual = min(steps, key=lambda step: (-steps[step], step), default=MINUTE_US)
    for number, (_, *texts) in enumerate(rows):
        span = min(usual, times[number + 1] - times[number]) if number + 1 < len(rows) else usual
        opened, high, low, close = map(_micros, texts[:4])
        read.digits = max(read.digits, *map(_digits, texts[:4]))
        path = (opened, low, high, close) if close >= opened else (opened, high, low, close)
        for quarter, price in enumerate(path):
            read.ticks.append((0, times[number] + span * quarter // 4, price, price))
        if len(texts) == 5:
            volume = _micros(texts[4])
            read.volumes += [(volume + 3 - quarter) // 4 for quarter in range(4)]
    return read


def bars_of(read: PlainFile, minutes: int) -> dict[int, list[tuple[int, ...]]]:
    """BAR fields on bid prices, by the number (from 1) of the tick that closes them; the last one by the end."""
    made: dict[int, list[tuple[int, ...]]] = {}
    span, opened, bids, volume = minutes * MINUTE_US, 0, [], 0
    for number, (_, time_us, bid, _) in enumerate(read.ticks, 1):
        if bids and time_us >= opened + span:
            made[number] = [(0, minutes, opened, bids[0], max(bids), min(bids), bids[-1], volume)]
            bids, volume = [], 0
        if not bids:
            opened = time_us // span * span
        bids.append(bid)
        volume += read.volumes[number - 1] if read.volumes else MICROS
    made[len(read.ticks) + 1] = [(0, minutes, opened, bids[0], max(bids), min(bids), bids[-1], volume)]
    return made


def _micros(text: str) -> int:
    return int((Decimal(text) * MICROS).to_integral_value(ROUND_HALF_EVEN))


def _digits(price: str) -> int:
    exponent = Decimal(price).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _iso_us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return _us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _histdata_us(text: str) -> int:
    moment = datetime.strptime(text[:15], "%Y%m%d %H%M%S").replace(tzinfo=HISTDATA_ZONE)
    return _us(moment) + int(text[15:]) * 1000


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
