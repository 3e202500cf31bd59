"""The contract that every source passes, and how the config names one."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.sources import Source, TickBatch, check_source, make_source
from protocol.errors import ConfigError
from protocol.settings import Config, EngineSettings, FileSettings, InstrumentSettings, MarketDataSettings

IDS = {"AAA": 1, "BBB": 2}
ROWS = 50


def config(**market_data: Any) -> Config:
    one = [InstrumentSettings(symbol=symbol, tick_size=Decimal("0.01"), lot_size=Decimal(1)) for symbol in IDS]
    return Config(
        engine=EngineSettings(run_dir="unused"), instruments=one, market_data=MarketDataSettings(**market_data)
    )


def write(directory: Path, name: str, header: str, row: Callable[[int], str]) -> str:
    path = directory / name
    path.write_text(header + "".join(row(index) + "\n" for index in range(ROWS)))
    return str(path)


def quotes(directory: Path) -> str:
    return write(directory, "q.csv", "timestamp,bid,ask\n", lambda i: f"2020-01-01 00:00:{i:02d},{1 + i},{2 + i}")


def ticks_of_histdata(directory: Path) -> str:
    return write(directory, "h.csv", "", lambda i: f"20200101 0000{i:02d}500,{1 + i},{1 + i},{i}")


def trades(directory: Path) -> str:
    header = "timestamp_ms,symbol,price,volume\n"
    return write(directory, "t.csv", header, lambda i: f"{1577836800000 + i},{'AB'[i % 2] * 3},{1 + i},{i}.5")


def minutes(directory: Path) -> str:
    header = "timestamp,open,high,low,close,volume\n"
    return write(directory, "o.csv", header, lambda i: f"2020-01-01 00:{i:02d}:00,2,4,1,{3 - i % 2},{i}.000001")


def parquet(directory: Path, name: str, **columns: Any) -> str:
    path = str(directory / name)
    pq.write_table(pa.table(columns), path, row_group_size=8)
    return path


def quote_columns(directory: Path) -> str:
    times = pa.array([1577836800000 + 1000 * i for i in range(ROWS)], pa.timestamp("ms"))
    bids = [1.0 + i for i in range(ROWS)]
    return parquet(directory, "q.parquet", timestamp=times, bid=bids, ask=[bid + 0.5 for bid in bids])


def trade_columns(directory: Path) -> str:
    return parquet(
        directory,
        "t.parquet",
        time_us=[1577836800000000 + i for i in range(ROWS)],
        symbol=["AB"[i % 2] * 3 for i in range(ROWS)],
        price=[Decimal(1 + i) / 4 for i in range(ROWS)],
        volume=[i + 0.5 for i in range(ROWS)],
    )


def minute_columns(directory: Path) -> str:
    prices = {name: [price] * ROWS for name, price in (("open", 2.0), ("high", 4.0), ("low", 1.0), ("close", 3.0))}
    times = pa.array([1577836800 + 60 * i for i in range(ROWS)], pa.timestamp("s", "Europe/Berlin"))
    return parquet(directory, "o.parquet", time=times, **prices, volume=list(range(ROWS)))


CONFIGS: dict[str, Callable[[Path], Config]] = {
    "synthetic": lambda _: config(source="synthetic", seed=7),
    "bid_ask": lambda path: config(source="csv", path=quotes(path), symbol="AAA"),
    "histdata": lambda path: config(source="csv", path=ticks_of_histdata(path), symbol="BBB"),
    "trades": lambda path: config(source="csv", path=trades(path)),
    "ohlc": lambda path: config(source="csv", path=minutes(path), symbol="AAA"),
    "merged": lambda path: config(
        source="csv",
        files=[
            FileSettings(path=quotes(path), symbol="AAA"),
            FileSettings(path=trades(path)),
            FileSettings(path=minutes(path), symbol="BBB"),
        ],
    ),
    "parquet bid_ask": lambda path: config(source="parquet", path=quote_columns(path), symbol="AAA"),
    "parquet trades": lambda path: config(source="parquet", path=trade_columns(path)),
    "parquet ohlc": lambda path: config(source="parquet", path=minute_columns(path), symbol="AAA"),
    "parquet merged": lambda path: config(
        source="parquet",
        files=[
            FileSettings(path=quote_columns(path), symbol="AAA"),
            FileSettings(path=trade_columns(path)),
            FileSettings(path=minute_columns(path), symbol="BBB"),
        ],
    ),
}


@pytest.fixture(params=list(CONFIGS))
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    return CONFIGS[request.param](tmp_path)


def take(source: Source, ticks_max: int = 7) -> list[TickBatch]:
    """What an actor would put on the market stream."""
    if source.is_file is True:
        return list(source.batches(ticks_max))
    return [source.generate(ticks_max, 1_000_000 + now_us) for now_us in (0, 10, 5, 20)]


def joined(batches: list[TickBatch]) -> tuple[bytes, bytes]:
    return b"".join(batch.records for batch in batches), b"".join(batch.volumes for batch in batches)


def test_batches_are_whole_records_of_configured_symbols_in_order_of_time(settings: Config) -> None:
    batches = take(make_source(settings, IDS, 1))
    assert batches
    for batch in batches:
        ticks = list(struct.iter_unpack("<BIQqq", batch.records))
        assert 0 < len(ticks) == batch.count <= 7
        assert len(batch.records) == 29 * batch.count
        assert len(batch.volumes) in (0, 8 * batch.count)
        assert (ticks[0][2], ticks[-1][2]) == (batch.first_time_us, batch.last_time_us)
        assert all(topic == 0 and symbol_id in IDS.values() for topic, symbol_id, *_ in ticks)
        assert all(0 < bid <= ask for *_, bid, ask in ticks)
        assert all(volume >= 0 for (volume,) in struct.iter_unpack("<q", batch.volumes))
    times = [tick[2] for tick in struct.iter_unpack("<BIQqq", joined(batches)[0])]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert len({bool(batch.volumes) for batch in batches}) == 1


def test_the_same_config_gives_the_same_bytes(settings: Config) -> None:
    first, second = make_source(settings, IDS, 1), make_source(settings, IDS, 1)
    assert joined(take(first)) == joined(take(second))
    assert first.counts == second.counts


def test_positions_outlive_a_restart_exactly_where_the_source_is_a_file(settings: Config) -> None:
    first, second = make_source(settings, IDS, 1), make_source(settings, IDS, 2)
    assert len(first.epoch) == len(second.epoch) == 16
    assert (first.epoch == second.epoch) is first.is_file
    assert (joined(take(first)) == joined(take(second))) is first.is_file


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "synthetic"])
def test_a_file_is_read_again_from_its_first_row_by_every_call_and_by_two_at_once(tmp_path: Path, name: str) -> None:
    source = make_source(CONFIGS[name](tmp_path), IDS, 1)
    assert source.is_file is True
    expected = joined(take(source))
    pairs = list(zip(source.batches(7), source.batches(7), strict=True))
    assert joined([left for left, _ in pairs]) == joined([right for _, right in pairs]) == expected
    assert joined(take(source, 100_000)) == joined(take(source, 1)) == expected
    assert [batch.count for batch in take(source)[:-1]] == [7] * (len(take(source)) - 1)


def test_rows_are_counted(settings: Config) -> None:
    source = make_source(settings, IDS, 1)
    ticks = sum(batch.count for batch in take(source))
    files = len(settings.market_data.all_files)
    assert source.counts.rows == (ROWS * files if files else ticks)
    assert source.counts.counters() == {"rows": source.counts.rows, "rows_bad": 0, "rows_unknown": 0}
    assert source.counts.first_bad == ""


def test_a_slice_is_the_batch_of_its_ticks(settings: Config) -> None:
    source = make_source(settings, IDS, 1)
    batch = take(source)[0]
    parts = [batch.slice(0, 3), batch.slice(3, 7)]
    assert joined(parts) == (batch.records, batch.volumes)
    assert [part.count for part in parts] == [3, 4]
    for part in parts:
        times = [tick[2] for tick in struct.iter_unpack("<BIQqq", part.records)]
        assert (part.first_time_us, part.last_time_us) == (times[0], times[-1])
    assert batch.slice(0, 7) is batch


def test_checking_a_config_says_what_making_the_source_would(settings: Config) -> None:
    check_source(settings)
    make_source(settings, IDS, 1).check()


def test_a_file_that_is_gone_at_the_next_check_is_said(tmp_path: Path) -> None:
    source = make_source(CONFIGS["bid_ask"](tmp_path), IDS, 1)
    (tmp_path / "q.csv").unlink()
    with pytest.raises(ConfigError, match=r"q\.csv.*No such file"):
        source.check()


@pytest.mark.parametrize("call", [check_source, lambda broken: make_source(broken, IDS, 1)], ids=["check", "make"])
@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_a_missing_file_is_found_before_anything_starts(
    tmp_path: Path, call: Callable[[Config], object], name: str
) -> None:
    missing = str(tmp_path / "missing.file")
    with pytest.raises(ConfigError, match=r"market_data\.path = .*missing\.file.*No such file"):
        call(config(source=name, path=missing, symbol="AAA"))


@pytest.mark.parametrize("call", [check_source, lambda broken: make_source(broken, IDS, 1)], ids=["check", "make"])
def test_without_pyarrow_a_parquet_source_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Config], object]
) -> None:
    settings = CONFIGS["parquet bid_ask"](tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'seawall\[parquet\]'"):
        call(settings)


def test_numpy_and_pyarrow_are_imported_only_with_the_sources_that_read_files() -> None:
    heavy = "{'numpy', 'pyarrow'} & sys.modules.keys()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, actors.market_data; print({heavy})"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "set()\n"
