"""csv_files: the four formats, what is refused and where, the merge, the epoch."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

import actors.sources.csv_files as csv_files
import actors.sources.files as files
from actors.sources.csv_files import CsvSource, inspect_files
from protocol.errors import ConfigError, DataError
from protocol.settings import FileSettings, MarketDataSettings

IDS = {"AAA": 1, "BBB": 2, "CÖC": 3}
MIDNIGHT_US = 1_577_836_800_000_000
"""2020-01-01 00:00:00 UTC"""
SECOND_US = 1_000_000
M = 1_000_000


def write(directory: Path, text: str | bytes, name: str = "data.csv") -> str:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def source(path: str, symbol: str | None = "AAA", **settings: Any) -> CsvSource:
    return CsvSource(MarketDataSettings(source="csv", path=path, symbol=symbol, **settings), IDS)


def merged(*files: tuple[str, str | None], **settings: Any) -> CsvSource:
    named = [FileSettings(path=path, symbol=symbol) for path, symbol in files]
    return CsvSource(MarketDataSettings(source="csv", files=named, **settings), IDS)


def ticks(from_source: CsvSource, ticks_max: int = 3) -> list[tuple[int, int, int, int]]:
    """(time, symbol id, bid, ask) of every tick, by an independent decoder."""
    rows = []
    for batch in from_source.batches(ticks_max):
        for topic, symbol_id, time_us, bid, ask in struct.iter_unpack("<BIQqq", batch.records):
            assert topic == 0
            rows.append((time_us, symbol_id, bid, ask))
    return rows


def volumes(from_source: CsvSource) -> list[int]:
    return [volume for batch in from_source.batches(3) for (volume,) in struct.iter_unpack("<q", batch.volumes)]


# ---- formats --------------------------------------------------------------------------------------------------

BID_ASK = "timestamp,bid,ask\n2020-01-01 00:00:00.295000+00:00,86.655,86.728\n2020-01-01T00:00:01Z,86.657,86.657\n"
HISTDATA = "20200101 170000065,1.121200,1.121720,0\n20200101 170010447,1.121170,1.121610,2.5\n"
TRADES = "timestamp_ms,symbol,price,volume\n1577836800000,AAA,3.25,10\n1577836800250,BBB,7,0.12345678\n"
OHLC = "timestamp,open,high,low,close\n2020-01-01 00:00:00,20,40,10,30\n2020-01-01 00:01:00,30,40,10,20\n"
OHLC_VOLUME = """timestamp,open,high,low,close,volume
2020-01-01 00:00:00.000000,46319.0,46385.0,46319.0,46377.0,10.000001
"""


def test_golden_bid_ask(tmp_path: Path) -> None:
    file = source(write(tmp_path, BID_ASK))
    assert ticks(file) == [
        (MIDNIGHT_US + 295_000, 1, 86_655_000, 86_728_000),
        (MIDNIGHT_US + SECOND_US, 1, 86_657_000, 86_657_000),
    ]
    assert volumes(file) == []


def test_golden_histdata_is_five_hours_behind_utc(tmp_path: Path) -> None:
    file = source(write(tmp_path, HISTDATA))
    assert ticks(file) == [
        (MIDNIGHT_US + 22 * 3600 * SECOND_US + 65_000, 1, 1_121_200, 1_121_720),
        (MIDNIGHT_US + 22 * 3600 * SECOND_US + 10_447_000, 1, 1_121_170, 1_121_610),
    ]
    assert volumes(file) == [0, 2_500_000]


def test_golden_trades_have_one_price_and_name_their_symbols(tmp_path: Path) -> None:
    file = source(write(tmp_path, TRADES), symbol=None)
    assert ticks(file) == [(MIDNIGHT_US, 1, 3_250_000, 3_250_000), (MIDNIGHT_US + 250_000, 2, 7 * M, 7 * M)]
    assert volumes(file) == [10 * M, 123_457]


def test_golden_ohlc_goes_low_first_when_it_rises_and_high_first_when_it_falls(tmp_path: Path) -> None:
    file = source(write(tmp_path, OHLC))
    assert [(time - MIDNIGHT_US, bid, ask) for time, _, bid, ask in ticks(file)] == [
        (quarter * 15 * SECOND_US, price * M, price * M)
        for quarter, price in enumerate([20, 10, 40, 30, 30, 40, 10, 20])
    ]
    assert volumes(file) == []


def test_ohlc_path_says_which_extreme_every_bar_met_first(tmp_path: Path) -> None:
    path = write(tmp_path, OHLC)

    def prices(ohlc_path: str) -> list[int]:
        return [bid // M for _, _, bid, _ in ticks(source(path, ohlc_path=ohlc_path))]

    assert prices("low_first") == [20, 10, 40, 30, 30, 10, 40, 20]
    assert prices("high_first") == [20, 40, 10, 30, 30, 40, 10, 20]


def test_golden_ohlc_volume_is_shared_out_to_the_last_micro(tmp_path: Path) -> None:
    file = source(write(tmp_path, OHLC_VOLUME))
    assert [bid for _, _, bid, _ in ticks(file)] == [46_319 * M, 46_319 * M, 46_385 * M, 46_377 * M]
    assert volumes(file) == [2_500_001, 2_500_000, 2_500_000, 2_500_000]


@pytest.mark.parametrize(
    ("text", "name"),
    [(BID_ASK, "bid_ask"), (HISTDATA, "histdata"), (TRADES, "trades"), (OHLC, "ohlc"), (OHLC_VOLUME, "ohlc")],
)
def test_auto_and_the_right_name_recognise_a_format_and_any_other_name_is_refused(
    tmp_path: Path, text: str, name: Any
) -> None:
    path = write(tmp_path, text)
    for asked in ("auto", "bid_ask", "histdata", "trades", "ohlc"):
        settings = MarketDataSettings(source="csv", path=path, symbol="AAA", format=asked)
        if asked in ("auto", name):
            assert [file.format for file in inspect_files(settings)] == [name]
        else:
            with pytest.raises(ConfigError, match=f"(?s)data.csv.*not format '{asked}'"):
                inspect_files(settings)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("timestamp,bid,ask", '"Timestamp","Bid", "ASK"'),
        lambda text: text.replace("86.655", '"86.655"'),
        lambda text: text.replace(",86.655", ", 8.6655e1"),
    ],
    ids=["crlf", "byte order mark", "blank lines", "no last newline", "header's case", "quotes", "exponent"],
)
def test_how_a_file_is_written_does_not_change_its_ticks(tmp_path: Path, change: Any) -> None:
    plain = source(write(tmp_path, BID_ASK, "plain.csv"))
    changed = source(write(tmp_path, change(BID_ASK), "changed.csv"))
    assert ticks(changed) == ticks(plain)
    assert changed.counts.rows == 2


def test_a_file_of_one_row_without_a_newline_is_read(tmp_path: Path) -> None:
    assert len(ticks(source(write(tmp_path, "timestamp,bid,ask\n2020-01-01,1,2")))) == 1
    assert len(ticks(source(write(tmp_path, HISTDATA.split("\n")[0])))) == 1


def test_utc_offset_hours_moves_naive_times_only(tmp_path: Path) -> None:
    naive = source(write(tmp_path, "timestamp,bid,ask\n2020-01-01 05:45:00,1,2\n", "naive.csv"), utc_offset_hours=5.75)
    assert ticks(naive) == [(MIDNIGHT_US, 1, M, 2 * M)]
    aware = source(write(tmp_path, "timestamp,bid,ask\n2020-01-01T05:00:00+05:00,1,2\n", "aw.csv"), utc_offset_hours=3)
    assert ticks(aware) == [(MIDNIGHT_US, 1, M, 2 * M)]
    histdata = source(write(tmp_path, "20200101 000000000,1,2,0\n", "hist.csv"), utc_offset_hours=0)
    assert ticks(histdata) == [(MIDNIGHT_US, 1, M, 2 * M)]
    trades = source(write(tmp_path, TRADES, "trades.csv"), symbol=None, utc_offset_hours=3)
    assert ticks(trades)[0][0] == MIDNIGHT_US


# ---- intervals of ohlc rows -----------------------------------------------------------------------------------


def ohlc_times(directory: Path, *minutes: float) -> list[float]:
    rows = "".join(f"2020-01-01 00:{int(m):02d}:{round(m * 60) % 60:02d},1,1,1,1\n" for m in minutes)
    file = source(write(directory, "timestamp,open,high,low,close\n" + rows))
    return [(time - MIDNIGHT_US) / (60 * SECOND_US) for time, *_ in ticks(file)]


def quarters(minute: float, interval: float) -> list[float]:
    return [minute + interval * quarter / 4 for quarter in range(4)]


def test_a_gap_does_not_stretch_a_bar_and_the_last_row_has_the_usual_interval(tmp_path: Path) -> None:
    expected = quarters(0, 2) + quarters(2, 2) + quarters(4, 2) + quarters(30, 2)
    assert ohlc_times(tmp_path, 0, 2, 4, 30) == expected


def test_a_row_closer_than_usual_shortens_the_bar_before_it(tmp_path: Path) -> None:
    expected = quarters(0, 2) + quarters(2, 2) + quarters(4, 1) + quarters(5, 2)
    assert ohlc_times(tmp_path, 0, 2, 4, 5) == expected


def test_a_single_row_lasts_a_minute_and_of_equally_common_steps_the_shorter_counts(tmp_path: Path) -> None:
    assert ohlc_times(tmp_path, 3) == quarters(3, 1)
    assert ohlc_times(tmp_path, 0, 5, 8) == quarters(0, 3) + quarters(5, 3) + quarters(8, 3)


# ---- bad rows -------------------------------------------------------------------------------------------------

GOOD_ROW = {
    "bid_ask": "2020-01-01 00:00:0{},1,2",
    "histdata": "20200101 00000{}000,1,2,0",
    "trades": "157783680{}000,AAA,1,2",
    "ohlc": "2020-01-01 00:00:0{},2,3,1,2,5",
}
HEADER = {
    "bid_ask": "timestamp,bid,ask\n",
    "histdata": "",
    "trades": "timestamp_ms,symbol,price,volume\n",
    "ohlc": "timestamp,open,high,low,close,volume\n",
}
BAD_ROWS = [
    ("bid_ask", "2020-01-01 00:00:01,2,1", "bid 2 is above ask 1"),
    ("bid_ask", "2020-01-01 00:00:01,0,1", "price 0 is not above 0"),
    ("bid_ask", "2020-01-01 00:00:01,-1,1", "price -1 is not above 0"),
    ("bid_ask", "2020-01-01 00:00:01,1", "2 columns, needed are timestamp,bid,ask"),
    ("bid_ask", "2020-01-01 00:00:01,1,2,3", "4 columns"),
    ("bid_ask", "2020-01-01 00:00:01,1,x", "'x' is not a number"),
    ("bid_ask", "2020-01-01 00:00:01,,2", "'' is not a number"),
    ("bid_ask", "2020-01-01 00:00:01,1.0000001,2", "digits beyond"),
    ("bid_ask", "yesterday,1,2", "'yesterday' is no ISO time"),
    ("bid_ask", "2019-12-31 23:59:59,1,2", "goes back in time: 2019-12-31 23:59:59Z after 2020-01-01 00:00:00Z"),
    ("histdata", "20200101 000061000,1,2,0", "YYYYMMDD HHMMSSmmm"),
    ("histdata", "20201301 000001000,1,2,0", "no ISO time"),
    ("histdata", "20200101 000001,1,2,0", "YYYYMMDD HHMMSSmmm"),
    ("histdata", "20200101 000001000,2,1,0", "bid 2 is above ask 1"),
    ("histdata", "20200101 000001000,1,2,-1", "volume -1 is below 0"),
    ("histdata", "20200101 000001000,1,2", "3 columns"),
    ("trades", "1577836801,AAA,1,2", "goes back in time"),
    ("trades", "1.5,AAA,1,2", "milliseconds"),
    ("trades", "1577836801000,AAA,0,2", "not above 0"),
    ("trades", "1577836801000,AAA,1", "3 columns"),
    ("ohlc", "2020-01-01 00:00:01,5,4,1,2,5", "not within low 1 and high 4"),
    ("ohlc", "2020-01-01 00:00:01,2,4,1,5,5", "not within low 1 and high 4"),
    ("ohlc", "2020-01-01 00:00:01,2,4,1,2", "5 columns where the header has 6"),
    ("ohlc", "2020-01-01 00:00:01,2,4,1,2,x", "not a number"),
    ("ohlc", "2020-01-01 00:00:00,2,4,1,2,5", "the same time as the row before"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD_ROWS)
def test_a_bad_row_is_an_error_with_file_and_line_and_reason(tmp_path: Path, name: str, row: str, reason: str) -> None:
    good = GOOD_ROW[name]
    path = write(tmp_path, f"{HEADER[name]}{good.format(0)}\n\n{row}\n{good.format(2)}\n")
    with pytest.raises(DataError) as caught:
        list(source(path).batches(10))
    assert (caught.value.file, caught.value.line) == (path, 4 if HEADER[name] else 3)
    assert reason in caught.value.reason


@pytest.mark.parametrize(("name", "row", "reason"), BAD_ROWS)
def test_a_bad_row_is_counted_and_left_out_if_asked_to(tmp_path: Path, name: str, row: str, reason: str) -> None:
    good = GOOD_ROW[name]
    body = [good.format(0), row, good.format(2)]
    with_bad = source(write(tmp_path, HEADER[name] + "\n".join(body), "bad.csv"), on_bad_row="skip")
    without = source(write(tmp_path, HEADER[name] + "\n".join([body[0], body[2]]), "good.csv"), format=name)
    prices = [tick[1:] for tick in ticks(with_bad)]
    assert prices == [tick[1:] for tick in ticks(without)]
    assert (with_bad.counts.rows, with_bad.counts.rows_bad, without.counts.rows_bad) == (3, 1, 0)
    assert reason in with_bad.counts.first_bad


def test_a_bad_first_row_of_histdata_is_found_at_line_1(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv:1: "):
        list(source(write(tmp_path, "DateTime;Bid\n" + HISTDATA), format="histdata").batches(10))


def test_equal_times_of_ticks_are_kept_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = "".join(f"1577836800000,{symbol},{price},1\n" for symbol, price in [("BBB", 3), ("AAA", 1), ("BBB", 2)])
    file = source(write(tmp_path, HEADER["trades"] + rows), symbol=None)
    assert [(symbol_id, bid // M) for _, symbol_id, bid, _ in ticks(file)] == [(2, 3), (1, 1), (2, 2)]


def test_after_a_row_that_goes_back_equal_times_are_still_kept(tmp_path: Path) -> None:
    rows = "".join(f"{1577836800000 + step},AAA,{step + 1},1\n" for step in (5, 3, 5, 4, 5, 6))
    file = source(write(tmp_path, HEADER["trades"] + rows), on_bad_row="skip")
    assert [(time - MIDNIGHT_US) // 1000 for time, *_ in ticks(file)] == [5, 5, 5, 6]
    assert file.counts.rows_bad == 2


def test_rows_of_symbols_that_are_not_configured_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"157783680{index}000,{symbol},1,1\n" for index, symbol in enumerate(["ZZZ", "CÖC", "AAA", "zzz"]))
    path = write(tmp_path, HEADER["trades"] + rows)
    every = source(path, symbol=None)
    assert [symbol_id for _, symbol_id, *_ in ticks(every)] == [3, 1]
    assert (every.counts.rows, every.counts.rows_unknown) == (4, 2)
    one = source(path, symbol="AAA")
    assert [symbol_id for _, symbol_id, *_ in ticks(one)] == [1]
    assert one.counts.rows_unknown == 3


def test_a_line_without_end_is_an_error_even_where_bad_rows_are_skipped(tmp_path: Path) -> None:
    rows = "2020-01-01 00:00:02,1,2\n" * 10_000
    path = write(tmp_path, BID_ASK + rows + "1" * 200_000)
    with pytest.raises(DataError, match=r"data\.csv:10004: a line of more than"):
        list(source(path, on_bad_row="skip").batches(10))


def test_a_file_that_vanishes_after_the_check_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, BID_ASK)
    file = source(path)
    os.unlink(path)
    with pytest.raises(DataError, match=r"data\.csv:1: cannot be read: No such file"):
        list(file.batches(10))


# ---- before anything starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("timestamp,bid,ask\n", "no rows below its header"),
        ("date,price\n2020-01-01,1\n", "the first line is 'date,price': no known format"),
        (b"\x00\xff" * 50_000, "a line of more than"),
    ],
    ids=["missing", "empty", "blank", "header only", "unknown header", "binary"],
)
def test_a_file_that_cannot_be_used_is_a_config_error_naming_the_key(
    tmp_path: Path, text: str | bytes | None, reason: str
) -> None:
    path = str(tmp_path / "missing.csv") if text is None else write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        source(path)
    assert caught.value.mistakes[0].startswith(f"market_data.path = {path!r}: ")
    assert reason in caught.value.mistakes[0]


def test_every_file_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    good = write(tmp_path, BID_ASK)
    with pytest.raises(ConfigError) as caught:
        merged((str(tmp_path), "AAA"), (good, "AAA"), (good, None))
    first, second = caught.value.mistakes
    assert first.startswith("market_data.files[0].path")
    assert "Is a directory" in first
    assert second.startswith("market_data.files[2].path")
    assert "needs `symbol`" in second


# ---- ranges of time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [1, 64, 1_000_000])
@pytest.mark.parametrize("name", list(GOOD_ROW))
def test_rows_outside_the_range_are_not_looked_at_wherever_blocks_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block_bytes: int
) -> None:
    rows = [GOOD_ROW[name].format(second) for second in range(10)]
    rows[1], rows[8] = (row.rpartition(",")[0] + ",nonsense" for row in (rows[1], rows[8]))
    path = write(tmp_path, HEADER[name] + "\n\n".join(rows) + "\n")
    found = source(path, start="2020-01-01T00:00:02Z", end="2020-01-01 01:00:07+01:00", utc_offset_hours=0)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
    seconds = sorted({(time - MIDNIGHT_US) // SECOND_US for time, *_ in ticks(found)})
    assert seconds == [2, 3, 4, 5, 6]
    assert found.counts.rows == 5
    with pytest.raises(DataError, match=r"data\.csv:" + str(17 if HEADER[name] == "" else 18)):
        ticks(source(path, start="2020-01-01T00:00:02Z", utc_offset_hours=0))


def test_a_row_without_a_time_is_bad_wherever_the_range_begins(tmp_path: Path) -> None:
    path = write(tmp_path, "timestamp,bid,ask\nnonsense,1,2\n2020-01-01,1,2\n2020-01-02,1,2\n")
    with pytest.raises(DataError, match=r"data\.csv:2: 'nonsense' is no ISO time"):
        ticks(source(path, start="2020-01-02"))


# ---- several files --------------------------------------------------------------------------------------------


def test_files_are_merged_by_time_and_ties_go_to_the_file_named_first(tmp_path: Path) -> None:
    def rows(*seconds: int) -> str:
        return "timestamp,bid,ask\n" + "".join(f"2020-01-01 00:00:{second:02d},1,2\n" for second in seconds)

    a = write(tmp_path, rows(0, 2, 2, 5), "a.csv")
    b = write(tmp_path, rows(1, 2, 3, 5, 6), "b.csv")

    def order(*files: tuple[str, str | None]) -> list[tuple[int, int]]:
        return [((time - MIDNIGHT_US) // SECOND_US, symbol_id) for time, symbol_id, *_ in ticks(merged(*files))]

    assert order((a, "AAA"), (b, "BBB")) == [
        (0, 1), (1, 2), (2, 1), (2, 1), (2, 2), (3, 2), (5, 1), (5, 2), (6, 2)
    ]  # fmt: skip
    assert order((b, "BBB"), (a, "AAA")) == [
        (0, 1), (1, 2), (2, 2), (2, 1), (2, 1), (3, 2), (5, 2), (5, 1), (6, 2)
    ]  # fmt: skip


def test_where_one_file_has_volumes_a_tick_of_another_counts_one(tmp_path: Path) -> None:
    quotes = write(tmp_path, "timestamp,bid,ask\n2020-01-01 00:00:00.1,1,2\n", "quotes.csv")
    trades = write(tmp_path, TRADES, "trades.csv")
    assert volumes(merged((quotes, "AAA"), (trades, None))) == [10 * M, 1 * M, 123_457]


def test_a_bad_row_of_a_merge_names_its_own_file(tmp_path: Path) -> None:
    good = write(tmp_path, BID_ASK, "good.csv")
    bad = write(tmp_path, BID_ASK + "nonsense\n", "bad.csv")
    with pytest.raises(DataError, match=r"bad\.csv:4: 1 columns"):
        list(merged((good, "AAA"), (bad, "BBB")).batches(10))


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1_000_000])
@pytest.mark.parametrize("text", [BID_ASK, HISTDATA, TRADES, OHLC, OHLC_VOLUME, BID_ASK.replace("\n", "\r\n")])
def test_where_blocks_are_cut_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block_bytes: int
) -> None:
    path = write(tmp_path, text)
    file = source(path, symbol=None if text == TRADES else "AAA")
    expected = ticks(file), volumes(file)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
    assert (ticks(file), volumes(file)) == expected
    assert expected[0]


def test_reading_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch comes before a bad row further down is looked at."""
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 64)
    rows = "".join(f"2020-01-01 00:00:{second:02d},1,2\n" for second in range(20))
    batches = source(write(tmp_path, "timestamp,bid,ask\n" + rows + "nonsense\n")).batches(2)
    assert next(batches).count == 2
    with pytest.raises(DataError, match=r":22: "):
        list(batches)


def test_counts_are_those_of_the_pass_that_got_furthest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 64)
    rows = "".join(f"2020-01-01 00:00:{second:02d},1,2\n" for second in range(20))
    file = source(write(tmp_path, "timestamp,bid,ask\n" + rows))
    assert len(ticks(file)) == file.counts.rows == 20
    next(file.batches(1))
    assert file.counts.rows == 20


# ---- epoch ----------------------------------------------------------------------------------------------------


def test_the_epoch_is_the_same_for_the_same_contents_and_settings_wherever_they_lie(tmp_path: Path) -> None:
    first = source(write(tmp_path, BID_ASK))
    os.utime(tmp_path / "data.csv", (1, 1))
    copy = source(write(tmp_path, BID_ASK, "copy.csv"))
    assert first.epoch == source(str(tmp_path / "data.csv")).epoch == copy.epoch
    assert len(first.epoch) == 16


def test_the_epoch_changes_with_whatever_changes_the_stream(tmp_path: Path) -> None:
    path = write(tmp_path, BID_ASK)
    other = write(tmp_path, BID_ASK.replace("86.655", "86.656"), "other.csv")
    epochs = [
        source(path).epoch,
        source(other).epoch,
        source(path, symbol="BBB").epoch,
        source(path, utc_offset_hours=1).epoch,
        source(path, on_bad_row="skip").epoch,
        source(path, bars=[1]).epoch,
        source(path, start="2020-01-01").epoch,
        source(path, end="2020-01-02").epoch,
        source(path, ohlc_path="low_first").epoch,
        merged((path, "AAA"), (other, "AAA")).epoch,
        merged((other, "AAA"), (path, "AAA")).epoch,
        CsvSource(MarketDataSettings(source="csv", path=path, symbol="AAA"), {"AAA": 2}).epoch,
    ]
    assert len(set(epochs)) == len(epochs)
    assert source(path, speed=2.0).epoch == epochs[0]


def test_a_file_too_large_to_hash_is_known_by_samples_and_its_time_of_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DIGEST_WHOLE_BYTES_MAX", 50)
    monkeypatch.setattr(files, "DIGEST_SAMPLE_BYTES", 10)
    path = write(tmp_path, BID_ASK)
    os.utime(path, ns=(1, 1))
    first = source(path).epoch
    assert source(path).epoch == first
    os.utime(path, ns=(1, 2))
    second = source(path).epoch
    write(tmp_path, BID_ASK.replace("86.657\n", "86.658\n"))
    os.utime(path, ns=(1, 2))
    assert len({first, second, source(path).epoch}) == 3


def test_many_files_that_are_large_together_are_known_by_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DIGEST_SAMPLE_BYTES", 2)
    named = [(write(tmp_path, BID_ASK, f"{index}.csv"), "AAA") for index in range(3)]
    whole = merged(*named).epoch
    os.utime(named[0][0], ns=(1, 1))
    assert merged(*named).epoch == whole
    monkeypatch.setattr(files, "DIGEST_ALL_BYTES_MAX", 3 * len(BID_ASK) - 1)
    sampled = merged(*named).epoch
    os.utime(named[0][0], ns=(1, 2))
    assert len({whole, sampled, merged(*named).epoch}) == 3
