"""What a Parquet row is, and when it is bad: every type of column, and the same rows as CSV as the measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from parquet_ticks import IDS, MIDNIGHT_US, M, Tick, source, ticks, times, write

import actors.sources.csv_files as csv_files
import actors.sources.parquet_files as parquet_files
from actors.sources import FileSource
from actors.sources.csv_files import CsvSource
from actors.sources.parquet_files import ParquetSource
from protocol.errors import ConfigError, DataError
from protocol.settings import MarketDataSettings

# ---- columns --------------------------------------------------------------------------------------------------

ONE_SECOND: list[tuple[str, Any, dict[str, Any]]] = [
    ("timestamp", pa.array([1_577_836_801], pa.timestamp("s")), {}),
    ("timestamp", pa.array([1_577_836_801_000], pa.timestamp("ms")), {}),
    ("Time", pa.array([MIDNIGHT_US + M], pa.timestamp("us", "America/New_York")), {"utc_offset_hours": 3}),
    ("datetime", pa.array([(MIDNIGHT_US + M) * 1000 + 999], pa.timestamp("ns")), {}),
    ("timestamp", pa.array([MIDNIGHT_US + M + 3600 * M], pa.timestamp("us")), {"utc_offset_hours": 1}),
    ("timestamp_ms", pa.array([1_577_836_801_000], pa.int64()), {"utc_offset_hours": 1}),
    ("time_s", pa.array([1_577_836_801], pa.uint32()), {}),
    ("time_ns", pa.array([(MIDNIGHT_US + M) * 1000 + 1], pa.uint64()), {"time_unit": "ns"}),
    ("date", pa.array([MIDNIGHT_US + M]), {"time_unit": "us"}),
]


@pytest.mark.parametrize(("name", "column", "settings"), ONE_SECOND)
def test_times_are_read_in_every_unit_to_the_microsecond(
    tmp_path: Path, name: str, column: Any, settings: dict[str, Any]
) -> None:
    path = write(tmp_path, {name: column, "bid": [1.0], "ask": [2.0]})
    assert ticks(source(path, **settings)) == [(M, 1, M, 2 * M, None)]


def test_a_date_is_its_midnight(tmp_path: Path) -> None:
    days = pa.array([datetime(2020, 1, 1).date(), datetime(2020, 1, 2).date()], pa.date32())
    path = write(tmp_path, {"date": days, "open": [1.0] * 2, "high": [2.0] * 2, "low": [1.0] * 2, "close": [2.0] * 2})
    assert [time // M for time, *_ in ticks(source(path))] == [quarter * 21_600 for quarter in range(8)]


PRICES: list[tuple[Any, dict[str, Any]]] = [
    (pa.array([86.655, 86.657]), {}),
    (pa.array([Decimal("86.655"), Decimal("86.657")], pa.decimal128(10, 3)), {}),
    (pa.array([Decimal("86.655"), Decimal("86.657")], pa.decimal128(18, 6)), {}),
    (pa.array([Decimal("86.655"), Decimal("86.657")], pa.decimal128(38, 18)), {}),
    (pa.array([86_655_000, 86_657_000]), {"integer_prices": "micros"}),
    (pa.array([86_655_000, 86_657_000], pa.int32()), {"integer_prices": "micros"}),
    (pa.array([86_655_000_000, 86_657_000_000], pa.uint64()), {"integer_prices": "nanos"}),
]


@pytest.mark.parametrize(("prices", "settings"), PRICES, ids=[str(column.type) for column, _ in PRICES])
def test_prices_are_exact_whatever_their_type(tmp_path: Path, prices: Any, settings: dict[str, Any]) -> None:
    path = write(tmp_path, {"timestamp": times(1, 2), "price": prices})
    assert [tick[2:] for tick in ticks(source(path, **settings))] == [
        (86_655_000, 86_655_000, None),
        (86_657_000, 86_657_000, None),
    ]


def test_whole_integer_prices_are_units_if_settings_say_so(tmp_path: Path) -> None:
    path = write(tmp_path, {"timestamp": times(1), "price": [46_319]})
    assert [tick[2] for tick in ticks(source(path, integer_prices="units"))] == [46_319 * M]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_symbols_are_strings_or_a_dictionary_and_unknown_ones_are_skipped_and_counted(
    tmp_path: Path, kind: pa.DataType
) -> None:
    names = pa.array(["BBB", "ZZZ", "CÖC", None, "AAA", "BBB "]).cast(kind)
    path = write(tmp_path, {"timestamp": times(*range(6)), "price": [1.0, -1.0, 3.0, 4.0, 5.0, 6.0], "symbol": names})
    every = source(path, symbol=None)
    assert [tick[1:3] for tick in ticks(every)] == [(2, M), (3, 3 * M), (1, 5 * M), (2, 6 * M)]
    assert (every.counts.rows, every.counts.rows_unknown) == (6, 2)
    one = source(path, symbol="AAA")
    assert [tick[:3] for tick in ticks(one)] == [(4 * M, 1, 5 * M)]
    assert (one.counts.rows, one.counts.rows_unknown) == (6, 5)


def test_hundreds_of_symbols_in_one_file_each_keep_their_own_quotes(tmp_path: Path) -> None:
    ids = {f"S{index:03d}": index + 1 for index in range(600)}
    names = [f"S{index * 7 % 700:03d}" for index in range(5_000)]
    prices = [1.0 + int(name[1:]) for name in names]
    path = write(tmp_path, {"timestamp": times(*range(5_000)), "symbol": names, "price": prices}, rows_a_group=999)
    many = ParquetSource(MarketDataSettings(source="parquet", path=path), ids)
    known = [name for name in names if name in ids]
    assert [tick[1:3] for tick in ticks(many, 100)] == [(ids[name], ids[name] * M) for name in known]
    assert many.counts.rows_unknown == 5_000 - len(known) > 0


def test_an_ohlc_file_with_symbols_is_read_for_one_of_them(tmp_path: Path) -> None:
    bars = {name: [price] * 4 for name, price in (("open", 2.0), ("high", 4.0), ("low", 1.0), ("close", 3.0))}
    path = write(tmp_path, {"timestamp": times(0, 0, 60, 60), "symbol": ["AAA", "BBB"] * 2, **bars})
    with pytest.raises(ConfigError, match="an ohlc file is read for one symbol"):
        source(path, symbol=None)
    assert [tick[:3] for tick in ticks(source(path, symbol="BBB"))] == [
        (second * M, 2, price * M) for second, price in zip(range(0, 120, 15), [2, 1, 4, 3] * 2, strict=True)
    ]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("no time", {"bid": [1.0], "ask": [1.0]}, {}, "no column of times; one of timestamp, time"),
    ("two times", {"time": times(1), "timestamp": times(1), "price": [1.0]}, {}, "2 columns of times"),
    ("no prices", {"time": times(1), "bid": [1.0]}, {}, "the columns are time, bid: no known format .*'trades': price"),
    ("other format", {"time": times(1), "price": [1.0]}, {"format": "ohlc"}, "not format 'ohlc'"),
    (
        "two formats",
        {"time": times(1), "price": [1.0], "bid": [1.0], "ask": [1.0]},
        {},
        "fit formats 'bid_ask' and 'trades': say market_data.format",
    ),
    ("case", {"time": times(1), "price": [1.0], "Price": [1.0]}, {}, "two columns are called 'price'"),
    ("text times", {"time": ["2020-01-01"], "price": [1.0]}, {}, "'time' is of type string: timestamps, dates or"),
    ("unit", {"time": [1], "price": [1.0]}, {}, "'time' holds integers: say their unit, market_data.time_unit"),
    ("other unit", {"time_ms": [1], "price": [1.0]}, {"time_unit": "s"}, "'time_ms' says another unit"),
    ("integers", {"time": times(1), "price": [1]}, {}, "'price' is of type int64: .*market_data.integer_prices"),
    ("float32", {"time": times(1), "price": pa.array([1.0], pa.float32())}, {}, "type float: too few digits"),
    ("text", {"time": times(1), "price": ["1"]}, {}, "type string: float64, decimal128 or integers"),
    ("volume", {"time": times(1), "price": [1.0], "volume": ["1"]}, {}, "'volume' is of type string"),
    ("symbols", {"time": times(1), "price": [1.0], "symbol": [1]}, {}, "'symbol' is of type int64: strings"),
    ("empty", {"time": times(), "price": pa.array([], pa.float64())}, {}, "the file has no rows"),
]


@pytest.mark.parametrize(("name", "columns", "settings", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_file_that_cannot_be_used_is_a_config_error_naming_the_key(
    tmp_path: Path, name: str, columns: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path, columns, f"{name}.parquet")
    with pytest.raises(ConfigError, match=reason) as caught:
        source(path, **settings)
    assert caught.value.mistakes[0].startswith(f"market_data.path = {path!r}: ")


# ---- the same rows as CSV and as Parquet ----------------------------------------------------------------------

AWKWARD_PRICES = [
    1.1, 0.000001, 0.0000014, 1.0000001, 0.1 + 0.2, 0.0, -1.0, 1e9, 999999999.999999, 123456789.123457,
    8589934593.000001, 9007199254.740993, 9223372036854.775, 1e13, float("nan"), float("inf"), None,
]  # fmt: skip
AWKWARD_VOLUMES = [
    0.0, 0.0000005, 0.0000015, 1.0000005, 2.5000015, 0.12345678, 1e9, 3e12, 1e13, -1.0, float("nan"), None,
]  # fmt: skip
VALUES = st.one_of(
    st.integers(1, 3 * 10**6).map(lambda micros: micros / 1e6),
    st.sampled_from(AWKWARD_PRICES),
    st.floats(allow_nan=False, min_value=0.0, max_value=1e11),
)
VOLUMES = st.one_of(
    st.integers(0, 10**9).map(lambda micros: micros / 1e6),
    st.integers(0, 10**8).map(lambda tens: tens / 1e7),
    st.sampled_from(AWKWARD_VOLUMES),
)


def iso(millisecond: int) -> str:
    return (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millisecond)).isoformat()


def shown(number: float | None) -> str:
    return "" if number is None else repr(number)


def outcome(read: FileSource) -> tuple[list[Tick], tuple[int, int, int]]:
    found = ticks(read, 4)
    return found, (read.counts.rows, read.counts.rows_bad, read.counts.rows_unknown)


@budget(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(-1, 5), st.sampled_from(["AAA", "BBB", "ZZZ"]), VALUES, VOLUMES), min_size=1, max_size=30
    ),
    rows_a_group=st.integers(1, 9),
    block=st.integers(1, 9),
    start=st.integers(-2, 20),
    length=st.one_of(st.none(), st.integers(1, 20)),
    bad=st.sampled_from(["skip", "error"]),
)
@example(
    rows=[(1, "AAA", price, volume) for price in AWKWARD_PRICES for volume in AWKWARD_VOLUMES],
    rows_a_group=7, block=5, start=-1, length=None, bad="skip",
)  # fmt: skip
def test_the_same_rows_are_the_same_ticks_as_csv_and_as_parquet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[int, str, float | None, float | None]],
    rows_a_group: int,
    block: int,
    start: int,
    length: int | None,
    bad: Any,
) -> None:
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MAX", block)
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MIN", 1)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 40 * block)
    at, clock = 0, []
    for step, *_ in rows:
        at = max(0, at + (step if length is None else abs(step)))
        clock.append(MIDNIGHT_US // 1000 + at)
    columns = {
        "timestamp_ms": clock,
        "symbol": [row[1] for row in rows],
        "price": pa.array([row[2] for row in rows], pa.float64()),
        "volume": pa.array([row[3] for row in rows], pa.float64()),
    }
    path = write(tmp_path, columns, rows_a_group=rows_a_group)
    lines = [f"{time},{row[1]},{shown(row[2])},{shown(row[3])}" for time, row in zip(clock, rows, strict=True)]
    text = tmp_path / "data.csv"
    text.write_text("\n".join(["timestamp_ms,symbol,price,volume", *lines]) + "\n")
    settings: dict[str, Any] = {"on_bad_row": bad}
    if length is not None:
        settings |= {"start": iso(start), "end": iso(start + length)}
    other = source(path, None, **settings)
    as_csv = CsvSource(MarketDataSettings(source="csv", path=str(text), **settings), IDS)
    assert told(outcome, other) == told(outcome, as_csv)


def told(call: Callable[[FileSource], Any], read: FileSource) -> Any:
    """What a source gives, or where it fails and why, in CSV's words."""
    try:
        return call(read)
    except DataError as error:
        row = error.line - error.file.endswith(".csv")
        return row, re.sub("no value in column '.*'", "'' is not a number", error.reason)


def test_bars_give_the_same_ticks_as_csv_and_as_parquet(tmp_path: Path) -> None:
    minutes = [0, 1, 2, 4, 4.5, 30, 31]
    bars = [(2.0, 4.0, 1.0, 3.0 - index % 2 * 1.5, index * 1.000001) for index in range(len(minutes))]
    names = ("open", "high", "low", "close", "volume")
    columns = {name: [bar[place] for bar in bars] for place, name in enumerate(names)}
    path = write(tmp_path, {"time": times(*(60 * minute for minute in minutes)), **columns}, rows_a_group=3)
    text = tmp_path / "data.csv"
    lines = [
        ",".join([(datetime(2020, 1, 1) + timedelta(minutes=minute)).isoformat(), *map(repr, bar)])
        for minute, bar in zip(minutes, bars, strict=True)
    ]
    text.write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n")
    as_csv = CsvSource(MarketDataSettings(source="csv", path=str(text), symbol="AAA"), IDS)
    assert outcome(source(path)) == outcome(as_csv)


# ---- bad rows -------------------------------------------------------------------------------------------------

BAD_ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("bid above ask", {"bid": [1.0, 1.0, 2.5, 1.0]}, "bid 2.5 is above ask 2"),
    ("price of 0", {"bid": [1.0, 1.0, 0.0, 1.0]}, "price 0.0 is not above 0"),
    ("digits", {"ask": [2.0, 2.0, 1.0000001, 2.0]}, "price 1.0000001 has digits beyond"),
    ("no price", {"ask": [2.0, 2.0, None, 2.0]}, "no value in column 'ask'"),
    ("not a number", {"ask": [2.0, 2.0, float("nan"), 2.0]}, "'nan' is not a number"),
    ("decimal", {"ask": pa.array(map(Decimal, ("2", "2", "1.0000001", "2")))}, "price 1.0000001 has digits beyond"),
    ("large", {"ask": pa.array(map(Decimal, ("2", "2", "1e30", "2")), pa.decimal128(38, 2))}, "larger than 64 bits"),
    ("larger", {"ask": pa.array([Decimal(2), Decimal(2), Decimal(2**64 + 200) / 100, Decimal(2)])},
     "larger than 64 bits"),
    ("volume", {"volume": [0, 1, -2, 1]}, "volume -2 is below 0"),
    ("large volume", {"volume": pa.array([Decimal(1), Decimal(1), Decimal(2**63 + 5).scaleb(-6), Decimal(1)])},
     "larger than 64 bits"),
    ("back", {"timestamp": times(1, 2, 1.5, 4)}, "goes back in time: 2020-01-01 00:00:01.500000Z after"),
    ("no time", {"timestamp": pa.array([1, 2, None, 4], pa.timestamp("us"))}, "no value in column 'timestamp'"),
    ("early", {"timestamp": pa.array([1, 2, -3, 4], pa.timestamp("ms"))}, "-3 milliseconds since 1970 lie before 1970"),
    ("late", {"timestamp": pa.array([1, 2, 10**15, 4], pa.timestamp("ms"))}, "1000000000000000 is no time in"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in BAD_ROWS], ids=[row[0] for row in BAD_ROWS])
@pytest.mark.parametrize("rows_a_group", [1, 2, 100])
def test_a_bad_row_is_an_error_with_file_and_row_and_reason_or_counted_and_left_out(
    tmp_path: Path, change: dict[str, Any], reason: str, rows_a_group: int
) -> None:
    columns = {"timestamp": times(1, 2, 3, 4), "bid": [1.0] * 4, "ask": [2.0] * 4} | change
    path = write(tmp_path, columns, rows_a_group=rows_a_group)
    with pytest.raises(DataError) as caught:
        ticks(source(path))
    assert (caught.value.file, caught.value.line) == (path, 3)
    assert reason in caught.value.reason
    lenient = source(path, on_bad_row="skip")
    kept = {name: pa.array(column).take(pa.array([0, 1, 3])) for name, column in columns.items()}
    assert ticks(lenient) == ticks(source(write(tmp_path, kept, "kept.parquet")))
    assert (lenient.counts.rows, lenient.counts.rows_bad) == (4, 1)
    assert lenient.counts.first_bad == f"{path}:3: {caught.value.reason}"
