"""The sources that read files, to batches of the market stream: ticks a second, and memory over a longer file.

    python -m tests.bench.sources [--json FILE] [--dir DIR] [--ticks N] [--long N] [--batch N] [--rounds N]

One symbol's quotes with a minute's bars' worth of ticks each minute, written as Parquet (timestamps in microseconds,
prices as float64, zstd) and as CSV; ten Parquet files whose times interleave; ten that follow each other; one of 300
symbols. Then the same batches through the chunks of the market stream, with and without bars. The best of the rounds,
each pass in this process, the files in the page cache. Memory is of a process of its own for each length.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.feed import ChunkBuilder
from actors.sources import FileSource
from actors.sources.csv_files import CsvSource
from actors.sources.parquet_files import ParquetSource
from protocol.settings import FileSettings, MarketDataSettings
from tests.bench.report import Report, bench_directory, parser, surroundings

ONE_FILE_AIM: Final = 15e6
TEN_FILES_AIM: Final = 8e6
MEMORY_AIM_MIB: Final = 150
FLAT_AIM: Final = 1.1
"""Of the longer file over the shorter."""
FILES: Final = 10
SYMBOLS: Final = 300
START_US: Final = 1_577_836_800_000_000
ROWS_WRITTEN: Final = 1 << 20


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--ticks", type=int, default=4_000_000, help="of the Parquet files (%(default)s)")
    options.add_argument("--csv-ticks", type=int, default=1_000_000, help="(%(default)s)")
    options.add_argument("--long", type=int, default=40_000_000, help="of the file for memory; 0: none (%(default)s)")
    options.add_argument("--batch", type=int, default=16_384, help="ticks (%(default)s)")
    options.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    options.add_argument("--pass-over", type=Path, help="only read this file, and say the most memory that it took")
    chosen = options.parse_args()
    if chosen.pass_over:
        print(read(parquet([chosen.pass_over]), chosen.batch), _most_mib())
        return
    with bench_directory(chosen.dir) as directory:
        facts = {"ticks": f"{chosen.ticks:,}", "batch": f"{chosen.batch:,}"}
        report = Report("sources", surroundings(directory) | facts)
        measure_speed(report, directory, chosen)
        measure_memory(report, directory, chosen)
    report.finish(chosen.json)


def measure_speed(report: Report, directory: Path, chosen: Any) -> None:
    def rate(make: Callable[[], FileSource], count: int, batch: int = chosen.batch) -> float:
        return count / min(timed(lambda: read(make(), batch), count) for _ in range(chosen.rounds))

    ticks, each = chosen.ticks, chosen.ticks // FILES
    whole = write_parquet(directory / "whole.parquet", ticks)
    report.add_at_least("parquet, one file", rate(lambda: parquet([whole]), ticks), "ticks/s", ONE_FILE_AIM)
    report.add("the same, batches of 32", rate(lambda: parquet([whole]), ticks, 32), "ticks/s")
    woven = [write_parquet(directory / f"woven{n}.parquet", each, seed=n) for n in range(FILES)]
    woven_rate = rate(lambda: parquet(woven), each * FILES)
    report.add_at_least(f"parquet, {FILES} files interleaved", woven_rate, "ticks/s", TEN_FILES_AIM)
    days = [write_parquet(directory / f"day{n}.parquet", each, seed=n, after=n * each) for n in range(FILES)]
    report.add(f"parquet, {FILES} files in succession", rate(lambda: parquet(days), each * FILES), "ticks/s")
    many = write_parquet(directory / "many.parquet", ticks, symbols=SYMBOLS)
    report.add(f"parquet, {SYMBOLS} symbols", rate(lambda: parquet([many], symbols=SYMBOLS), ticks), "ticks/s")
    count = chosen.csv_ticks
    texts = [write_csv(directory / f"{n}.csv", count // FILES, seed=n) for n in range(FILES)]
    text = write_csv(directory / "whole.csv", count)
    report.add("csv, one file", rate(lambda: csv([text]), count), "ticks/s")
    report.add(f"csv, {FILES} files interleaved", rate(lambda: csv(texts), count), "ticks/s")
    for bars in ([], [1], [1, 5, 15, 60]):
        name = f"chunks with bars {bars}" if bars else "chunks without bars"
        batches = list(parquet([whole]).batches(chosen.batch))
        best = min(timed(lambda: chunk(batches, bars), ticks) for _ in range(chosen.rounds))  # noqa: B023
        report.add(name, ticks / best, "ticks/s", "batches at hand")


def measure_memory(report: Report, directory: Path, chosen: Any) -> None:
    if not chosen.long:
        return
    most: list[float] = []
    for count in (chosen.ticks, chosen.long):
        path = write_parquet(directory / "long.parquet", count)
        arguments = ["--pass-over", str(path), "--batch", str(chosen.batch)]
        command = [sys.executable, "-m", "tests.bench.sources", *arguments]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(said[0]) == count
        most.append(float(said[1]))
        report.add_at_most(f"most memory over {count:,} ticks", most[-1], "MiB", MEMORY_AIM_MIB)
    report.add_at_most("the longer over the shorter", most[1] / most[0], "ratio", FLAT_AIM)


# ---- passes ---------------------------------------------------------------------------------------------------


def timed(call: Callable[[], int], expected: int) -> float:
    begun = perf_counter()
    assert call() == expected
    return perf_counter() - begun


def read(source: FileSource, batch: int) -> int:
    return sum(one.count for one in source.batches(batch))


def chunk(batches: Sequence[Any], bars: list[int]) -> int:
    builder = ChunkBuilder(bars)
    return sum(builder.add(batch).items for batch in batches)


def parquet(paths: Sequence[Path], symbols: int = 1) -> FileSource:
    return ParquetSource(_settings("parquet", paths, symbols), _ids(symbols))


def csv(paths: Sequence[Path]) -> FileSource:
    return CsvSource(_settings("csv", paths, 1), _ids(1))


def _settings(source: Any, paths: Sequence[Path], symbols: int) -> MarketDataSettings:
    symbol = "S0" if symbols == 1 else None
    return MarketDataSettings(source=source, files=[FileSettings(path=str(path), symbol=symbol) for path in paths])


def _ids(symbols: int) -> dict[str, int]:
    return {f"S{number}": number for number in range(symbols)}


def _most_mib() -> float:
    """By proc(5): ru_maxrss would begin with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


# ---- files ----------------------------------------------------------------------------------------------------


def quotes(count: int, seed: int, after: int) -> Iterator[tuple[Any, Any, Any]]:
    """(times in microseconds, bids, asks) in pieces: about a tick a second, a walk of the bid."""
    random, time, mid = np.random.default_rng(seed), START_US + after * 1_000_000, 110_000
    for start in range(0, count, ROWS_WRITTEN):
        rows = min(ROWS_WRITTEN, count - start)
        times = time + np.cumsum(random.integers(0, 2_000_000, rows))
        bids = np.maximum(mid + np.cumsum(random.integers(-3, 4, rows)), 50_000)
        time, mid = int(times[-1]), int(bids[-1])
        yield times, bids / 1e5, (bids + random.integers(1, 4, rows)) / 1e5


def write_parquet(path: Path, count: int, seed: int = 0, after: int = 0, symbols: int = 1) -> Path:
    writer: Any = None
    for times, bids, asks in quotes(count, seed, after):
        columns = {"timestamp": pa.array(times, pa.timestamp("us")), "bid": bids, "ask": asks}
        if symbols > 1:
            names = pa.array([f"S{number}" for number in range(symbols)])
            columns["symbol"] = names.take(pa.array(np.random.default_rng(seed).integers(0, symbols, len(times))))
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=ROWS_WRITTEN)
    writer.close()
    return path


def write_csv(path: Path, count: int, seed: int = 0) -> Path:
    with path.open("w", encoding="ascii") as file:
        file.write("timestamp,bid,ask\n")
        for times, bids, asks in quotes(count, seed, 0):
            texts = np.datetime_as_string(times.astype("datetime64[us]")).tolist()
            rows = zip(texts, bids.tolist(), asks.tolist(), strict=True)
            file.writelines(f"{time},{bid:.5f},{ask:.5f}\n" for time, bid, ask in rows)
    return path


if __name__ == "__main__":
    main()
