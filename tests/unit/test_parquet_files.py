"""parquet_files: what is refused, ranges of time, the merge of many files, the epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from parquet_ticks import MIDNIGHT_US, M, merged, quotes, source, ticks, times, write

import actors.sources.parquet_files as parquet_files
from actors.sources.parquet_files import ParquetSource, inspect_files
from protocol.errors import ConfigError, DataError
from protocol.settings import MarketDataSettings

# ---- files that cannot be used --------------------------------------------------------------------------------


def test_every_file_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("timestamp,bid,ask\n2020-01-01,1,2\n")
    good = quotes(tmp_path, 1)
    with pytest.raises(ConfigError) as caught:
        merged((str(text), "AAA"), (good, "AAA"), (str(tmp_path), "AAA"), (good, None))
    assert [mistake.partition(".path")[0] for mistake in caught.value.mistakes] == [
        "market_data.files[0]", "market_data.files[2]", "market_data.files[3]",
    ]  # fmt: skip
    assert "no Parquet file that can be read" in caught.value.mistakes[0]
    assert "needs `symbol`" in caught.value.mistakes[2]


def test_more_files_than_are_read_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "FILES_MAX", 2)
    path = quotes(tmp_path, 1)
    with pytest.raises(ConfigError, match="3 files, 2 at most"):
        merged(*[(path, "AAA")] * 3)


def test_a_file_that_is_another_after_the_check_or_is_cut_short_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = quotes(tmp_path, *range(5_000))
    before = source(path)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:200] + bytes(400) + whole[600:])
    with pytest.raises(DataError, match=r"data\.parquet:1: cannot be read"):
        ticks(before)
    write(tmp_path, {"timestamp": times(1), "price": [1.0]})
    with pytest.raises(DataError, match=r"data\.parquet:1: has changed since it was checked"):
        ticks(before)
    os.unlink(path)
    with pytest.raises(DataError, match=r"data\.parquet:1: cannot be read: No such file"):
        ticks(before)


# ---- ranges of time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2020-01-01T00:00:03Z", None, range(3, 10)),
        (None, "2020-01-01 00:00:03", range(3)),
        ("2020-01-01T01:00:02+01:00", "2020-01-01T00:00:07.000001", range(2, 8)),
        ("2020-01-02", None, range(0)),
        (None, "2020-01-01", range(0)),
        ("2019-12-31", "2020-01-02", range(10)),
    ],
)
def test_start_is_included_and_end_is_not(
    tmp_path: Path, start: str | None, end: str | None, expected: range
) -> None:
    found = source(quotes(tmp_path, *range(10)), start=start, end=end)
    assert [tick[0] // M for tick in ticks(found)] == list(expected)
    assert found.counts.rows == len(expected)


def test_row_groups_outside_the_range_are_not_read(tmp_path: Path) -> None:
    """Their rows are bad, and nobody notices; in a file without statistics somebody does."""
    prices = [-1.0] * 10 + [1.0] * 10 + [-1.0] * 10
    columns = {"timestamp": times(*range(30)), "price": prices}
    path = write(tmp_path, columns, rows_a_group=5)
    bounds: dict[str, Any] = {"start": "2020-01-01T00:00:10", "end": "2020-01-01T00:00:20"}
    (file,) = inspect_files(MarketDataSettings(source="parquet", path=path, symbol="AAA", **bounds))
    assert [(group.index, group.first_row) for group in file.groups] == [(2, 11), (3, 16)]
    assert len(ticks(source(path, **bounds))) == 10
    assert len(inspect_files(MarketDataSettings(source="parquet", path=path, symbol="AAA"))[0].groups) == 6
    pq.write_table(pa.table(columns), path, row_group_size=5, write_statistics=False)
    assert len(inspect_files(MarketDataSettings(source="parquet", path=path, symbol="AAA", **bounds))[0].groups) == 6
    assert len(ticks(source(path, **bounds))) == 10


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1_577_836_800 + second for second in range(30)], pa.timestamp("s")),
        pa.array([(1_577_836_800 + second) * 10**9 for second in range(30)], pa.timestamp("ns", "Asia/Tokyo")),
    ],
    ids=["s", "ns"],
)
def test_statistics_are_read_in_the_unit_in_which_they_are_stored(tmp_path: Path, column: Any) -> None:
    path = write(tmp_path, {"timestamp": column, "price": [1.0] * 30}, rows_a_group=10)
    (file,) = inspect_files(MarketDataSettings(source="parquet", path=path, symbol="AAA"))
    assert [group.times_us for group in file.groups] == [
        (MIDNIGHT_US + start * M, MIDNIGHT_US + (start + 9) * M) for start in (0, 10, 20)
    ]


# ---- several files --------------------------------------------------------------------------------------------


@budget(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12).map(sorted), min_size=1, max_size=5),
    block=st.integers(1, 5),
    ticks_max=st.integers(1, 9),
    statistics=st.booleans(),
)
def test_files_are_merged_by_time_and_ties_go_to_the_file_named_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[list[int]],
    block: int,
    ticks_max: int,
    statistics: bool,
) -> None:
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MAX", block)
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MIN", 1)
    paths, rows = [], []
    for number, seconds in enumerate(files):
        prices = [number * 100.0 + place + 1 for place in range(len(seconds))]
        rows += [(second * M, round(price) * M) for second, price in zip(seconds, prices, strict=True)]
        path = str(tmp_path / f"{number}.parquet")
        table = pa.table({"time": times(*seconds), "price": prices})
        pq.write_table(table, path, row_group_size=3, write_statistics=statistics)
        paths.append((path, "AAA"))
    found = ticks(merged(*paths), ticks_max)
    assert [(time, bid) for time, _, bid, _, _ in found] == sorted(rows, key=lambda row: row[0])


def test_of_files_that_follow_each_other_one_is_open_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [(quotes(tmp_path, day, day + 1, day + 2, name=f"{day}.parquet"), "AAA") for day in range(0, 200, 10)]
    source_of_days = merged(*reversed(days))
    events: list[str] = []
    actual = parquet_files._record_batches

    def watched(file: Any, rows_max: int, counts: Any) -> Any:
        events.append("open")
        yield from actual(file, rows_max, counts)
        events.append("done")

    monkeypatch.setattr(parquet_files, "_record_batches", watched)
    assert [tick[0] // M for tick in ticks(source_of_days)] == [
        day + second for day in range(0, 200, 10) for second in range(3)
    ]
    assert events == ["open", "done"] * 20


def test_where_one_file_has_volumes_a_tick_of_another_counts_one(tmp_path: Path) -> None:
    plain = quotes(tmp_path, 1, name="plain.parquet")
    rich = quotes(tmp_path, 0, 2, name="rich.parquet", volume=[5, 6])
    assert [tick[-1] for tick in ticks(merged((plain, "AAA"), (rich, "AAA")))] == [5 * M, M, 6 * M]


def test_a_bad_row_of_a_merge_names_its_own_file(tmp_path: Path) -> None:
    good = quotes(tmp_path, 1, 2, name="good.parquet")
    bad = write(tmp_path, {"time": times(1, 0), "price": [1.0, 1.0]}, "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet:2: goes back in time"):
        ticks(merged((good, "AAA"), (bad, "BBB")))


def test_the_first_batch_comes_before_a_bad_row_further_down_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MAX", 4)
    monkeypatch.setattr(parquet_files, "BLOCK_ROWS_MIN", 1)
    path = write(tmp_path, {"time": times(*range(9)), "price": [1.0] * 8 + [-1.0]})
    lazy = source(path)
    batches = lazy.batches(2)
    assert next(batches).count == 2
    assert lazy.counts.rows < 9
    with pytest.raises(DataError, match=":9: "):
        list(batches)


# ---- epoch ----------------------------------------------------------------------------------------------------


def test_the_epoch_is_the_same_for_the_same_contents_and_settings_wherever_they_lie(tmp_path: Path) -> None:
    first = source(quotes(tmp_path, 1, 2))
    copy = quotes(tmp_path, 1, 2, name="copy.parquet")
    os.utime(copy, (1, 1))
    assert source(copy).epoch == first.epoch
    assert len(first.epoch) == 16
    assert source(copy, speed=2.0).epoch == first.epoch


def test_the_epoch_changes_with_whatever_changes_the_stream(tmp_path: Path) -> None:
    path, other = quotes(tmp_path, 1, 2), quotes(tmp_path, 1, 3, name="other.parquet")
    micros = write(tmp_path, {"time": times(1), "price": [5_000_000_000]}, "micros.parquet")
    integers = write(tmp_path, {"time": [1], "price": [5.0]}, "integers.parquet")
    epochs = [
        source(path).epoch,
        source(other).epoch,
        source(path, symbol="BBB").epoch,
        source(path, utc_offset_hours=1).epoch,
        source(path, on_bad_row="skip").epoch,
        source(path, bars=[1]).epoch,
        source(path, start="2020-01-01").epoch,
        source(path, start="2020-01-02").epoch,
        source(path, end="2020-01-02").epoch,
        source(micros, integer_prices="micros").epoch,
        source(micros, integer_prices="nanos").epoch,
        source(integers, time_unit="s").epoch,
        source(integers, time_unit="ms").epoch,
        merged((path, "AAA"), (other, "AAA")).epoch,
        merged((other, "AAA"), (path, "AAA")).epoch,
        ParquetSource(MarketDataSettings(source="parquet", path=path, symbol="AAA"), {"AAA": 2}).epoch,
    ]
    assert len(set(epochs)) == len(epochs)
    assert source(path, start="2020-01-01").epoch == source(path, start="2020-01-01T01:00:00+01:00").epoch
