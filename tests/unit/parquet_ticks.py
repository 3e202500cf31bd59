"""Parquet files written by tests, and their ticks read back by an independent decoder."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.sources import FileSource
from actors.sources.parquet_files import ParquetSource
from protocol.settings import FileSettings, MarketDataSettings

IDS = {"AAA": 1, "BBB": 2, "CÖC": 3}
MIDNIGHT_US = 1_577_836_800_000_000
"""2020-01-01 00:00:00 UTC"""
M = 1_000_000
Tick = tuple[int, int, int, int, int | None]
"""time, symbol id, bid, ask, volume"""


def write(directory: Path, columns: dict[str, Any], name: str = "data.parquet", rows_a_group: int = 100) -> str:
    path = str(directory / name)
    pq.write_table(pa.table(columns), path, row_group_size=rows_a_group)
    return path


def times(*seconds: float) -> pa.Array:
    return pa.array([MIDNIGHT_US + round(second * M) for second in seconds], pa.timestamp("us"))


def source(path: str, symbol: str | None = "AAA", **settings: Any) -> ParquetSource:
    return ParquetSource(MarketDataSettings(source="parquet", path=path, symbol=symbol, **settings), IDS)


def merged(*files: tuple[str, str | None], **settings: Any) -> ParquetSource:
    named = [FileSettings(path=path, symbol=symbol) for path, symbol in files]
    return ParquetSource(MarketDataSettings(source="parquet", files=named, **settings), IDS)


def ticks(from_source: FileSource, ticks_max: int = 3) -> list[Tick]:
    """Every tick, by an independent decoder."""
    rows: list[Tick] = []
    for batch in from_source.batches(ticks_max):
        volumes = [volume for (volume,) in struct.iter_unpack("<q", batch.volumes)] or [None] * batch.count
        records = struct.iter_unpack("<BIQqq", batch.records)
        for (topic, symbol_id, time_us, bid, ask), volume in zip(records, volumes, strict=True):
            assert topic == 0
            rows.append((time_us - MIDNIGHT_US, symbol_id, bid, ask, volume))
    return rows


def quotes(directory: Path, *seconds: float, name: str = "data.parquet", **more: Any) -> str:
    prices = {"bid": [1.0] * len(seconds), "ask": [2.0] * len(seconds)}
    return write(directory, {"timestamp": times(*seconds), **prices, **more}, name)
