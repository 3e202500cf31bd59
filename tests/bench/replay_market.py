"""The ticks of the replay bench: a seeded random walk, made once as a file that the engine reads fast.

Integers in the units of the engine, so that nothing is rounded: microseconds, prices in millionths. A mid price moves
by one tick up, down or not at all; the spread is one or two ticks; ticks are a millisecond apart, more or less. Of
several symbols each tick is that of one drawn at random. Parquet if pyarrow is there, else CSV.

Imports nothing of the engine: the rival reads the same files, in a Python of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

SEED: Final = 7
TICK_MICROS: Final = 10
"""0.00001"""
FIRST_MID: Final = 1_100_000
FIRST_US: Final = 1_704_153_600_000_000
"""2024-01-02"""
INTERVAL_US: Final = 1_000
"""Between two ticks, on average."""
PART_TICKS: Final = 1_000_000
"""Made and written at a time; a row group."""
EURUSD: Final = "EURUSD"

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Market:
    """A file of ticks, and what a config says of it."""

    path: Path
    ticks: int
    symbols: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """`market_data` of a config."""
        said: dict[str, Any] = {"path": str(self.path)}
        if len(self.symbols) == 1:
            said["symbol"] = self.symbols[0]
        if self.path.suffix == ".parquet":
            return {"source": "parquet", "integer_prices": "micros", **said}
        return {"source": "csv", "format": "bid_ask", **said}


def has_parquet() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def write_market(directory: Path, ticks: int, symbols: int = 1) -> Market:
    """The same numbers, the same ticks. Raises: ValueError for several symbols without pyarrow: CSV has one a file."""
    names = (EURUSD,) if symbols == 1 else tuple(f"SYM{number:03d}" for number in range(symbols))
    path = directory / f"ticks-{ticks}-{symbols}"
    if has_parquet():
        path = path.with_suffix(".parquet")
        _write_parquet(path, _parts(ticks, len(names)), names)
    elif symbols == 1:
        path = path.with_suffix(".csv")
        _write_csv(path, _parts(ticks, 1))
    else:
        raise ValueError("several symbols need pyarrow: pip install -e '.[parquet]'")
    return Market(path, ticks, names)


def _parts(ticks: int, symbols: int) -> Iterator[Columns]:
    random = np.random.default_rng(SEED)
    mids, now_us = np.full(symbols, FIRST_MID), FIRST_US
    for start in range(0, ticks, PART_TICKS):
        count = min(PART_TICKS, ticks - start)
        times = now_us + np.cumsum(random.integers(1, 2 * INTERVAL_US, count))
        moves = TICK_MICROS * random.integers(-1, 2, count)
        spreads = TICK_MICROS * random.integers(1, 3, count)
        ids = random.integers(0, symbols, count)
        bids = np.empty(count, np.int64)
        for symbol_id in range(symbols):
            own = np.flatnonzero(ids == symbol_id)
            bids[own] = mids[symbol_id] + np.cumsum(moves[own])
            mids[symbol_id] = bids[own[-1]] if len(own) else mids[symbol_id]
        now_us = int(times[-1])
        yield {"timestamp_us": times, "bid": bids, "ask": bids + spreads, "symbol": ids}


def _write_parquet(path: Path, parts: Iterator[Columns], names: tuple[str, ...]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    writer = None
    for part in parts:
        ids = part.pop("symbol")
        columns = {key: arrow.array(values) for key, values in part.items()}
        if len(names) > 1:
            columns["symbol"] = arrow.DictionaryArray.from_arrays(arrow.array(ids.astype(np.int32)), list(names))
        table = arrow.table(columns)
        if writer is None:
            writer = parquet.ParquetWriter(path, table.schema, compression="none", use_dictionary=len(names) > 1)
        writer.write_table(table, row_group_size=PART_TICKS)
    if writer is not None:
        writer.close()


def _write_csv(path: Path, parts: Iterator[Columns]) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write("timestamp,bid,ask\n")
        for part in parts:
            times = np.datetime_as_string(part["timestamp_us"].astype("datetime64[us]"), unit="us")
            prices = zip(part["bid"].tolist(), part["ask"].tolist(), strict=True)
            file.writelines(
                f"{time},{bid / 1e6:.6f},{ask / 1e6:.6f}\n" for time, (bid, ask) in zip(times, prices, strict=True)
            )


def read_first(path: Path, ticks: int) -> Columns:
    """The first `ticks` of a Parquet file of one symbol, as NumPy columns."""
    import pyarrow.parquet as parquet

    found: Columns = {}
    with parquet.ParquetFile(path) as opened:
        for batch in opened.iter_batches(ticks, columns=["timestamp_us", "bid", "ask"]):
            for name in batch.schema.names:
                found.setdefault(name, []).append(batch.column(name).to_numpy())
            if sum(map(len, found["bid"])) >= ticks:
                break
    return {name: np.concatenate(parts)[:ticks] for name, parts in found.items()}
