"""csv_columns: whatever is written in a line, reading many at once gives what reading each by the rule gives."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

import actors.sources.csv_files as csv_files
import actors.sources.csv_lines as csv_lines
from actors.sources.csv_columns import Layout, SymbolTable, read_lines
from actors.sources.csv_files import CsvSource
from protocol.errors import ConfigError, DataError
from protocol.settings import MarketDataSettings

LONG_NAME = "A" * 30
UNICODE_NAME = "Ö" * 32
"""64 bytes."""
WIDE_NAME = "€" * 32
"""96 bytes: more than are compared by columns."""
IDS = {"AAA": 1, "BBB": 2, "CÖC": 3, LONG_NAME: 4, UNICODE_NAME: 5, WIDE_NAME: 6, "ABCDEFGH": 7}

AWKWARD_NUMBERS = [
    "1", "1.", ".5", "0.5", "00.5", "", ".", "0", "0.0", "-1", "+1", "1e3", "1.5 ", " 1.5", "1..5", "1.1234567",
    "1.12345600", "0.0000005", "0.0000015", "0.00000250001", "123456789012345", "1234567890123456",
    "0000000000000001.5", "9223372036854.775807", "9223372036854.775808", "9999999999999", "nan", "1_0", "١",
]  # fmt: skip
NUMBERS = st.one_of(
    st.integers(1, 5 * 10**6).map(lambda micros: f"{micros / 1e6:.6f}"),
    st.integers(1, 5 * 10**5).map(lambda ticks: f"{ticks / 1e5:.5f}"),
    st.sampled_from(["1.12345", "1.12346", "2.5", "10.25", "100"]),
    st.sampled_from(AWKWARD_NUMBERS),
)
USUAL_TIMES = {
    "bid_ask": ["2020-01-01 00:00:{:02d}", "2020-01-01T00:00:{:02d}.5", "2020-01-01 00:00:{:02d}.123456+00:00",
                "2020-01-02T00:00:{:02d}Z", "2020-01-01 00:00:{:02d}.295"],
    "histdata": ["20200101 0000{:02d}500", "20200102 1703{:02d}001"],
    "trades": ["15778368{:02d}000", "15778368{:02d}001"],
}  # fmt: skip
USUAL_TIMES["ohlc"] = USUAL_TIMES["bid_ask"]
AWKWARD_TIMES = {
    "bid_ask": ["", "now", "2020-01-01", "2020-01-01 24:00:00", "2020-01-01 00:60:00", "2020-02-30 00:00:00",
                "2020-01-01 00:00:00.", "2020-01-01 00:00:00.1234567", "2020-01-01 00:00:00x5", "1969-12-31 23:59:59Z",
                "2020-01-01 05:00:00+05:00", "2020-01-01 00:00:00-00:00", "20200101T000000", "2020-01-01x00:00:00",
                " 2020-01-01 00:00:00", "2020-01-01 00:00:00+00:00x", "2020-01-01 00:00:00ZZ", "2020-W01-1 00:00:00"],
    "histdata": ["", "20200101 000060000", "20200101 240000000", "20200230 000000000", "19691231 185959999",
                 "20200101 000000", "2020010100000000000", "20200101 0000000000", "20200101_000000000"],
    "trades": ["", "0", "-1", "1.5", "1577836800", "253402300799999", "253402300800000", "1577836800000000", "1e12",
               " 1577836800000"],
}  # fmt: skip
AWKWARD_TIMES["ohlc"] = AWKWARD_TIMES["bid_ask"]
AWKWARD_SYMBOLS = [
    "BBB", "CÖC", "ZZZ", "", " AAA", "BBB ", "AA", "AAAA", "\udca0AAA", "\udc85AAA\t", "AAA\0", "\x1cAAA", LONG_NAME,
    UNICODE_NAME, WIDE_NAME, "ABCDEFGH", "ABCDEFGHI", "X" * 65,
]  # fmt: skip
"""Surrogates stand for bytes that are no UTF-8."""
SYMBOLS = st.sampled_from(AWKWARD_SYMBOLS)
HEADER = {
    "bid_ask": "timestamp,bid,ask\n",
    "histdata": "",
    "trades": "timestamp_ms,symbol,price,volume\n",
    "ohlc": "timestamp,open,high,low,close,volume\n",
}
PRICES = {"bid_ask": 2, "histdata": 2, "trades": 1, "ohlc": 4}


ODD = ["", "  ", "nonsense", "1,2", '"1","2"', ",,,,,,,,", "2020-01-01 00:00:00,1\n2020-01-01 00:00:00,1,2,3"]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str]:
    """(format, text): rows as they are usually written, so that many are read by columns, but for single fields."""
    form = draw(st.sampled_from(list(HEADER)))
    usual_only, lines, pattern = draw(st.booleans()), [], draw(st.sampled_from(USUAL_TIMES[form]))
    for second in range(draw(st.integers(1, 12))):
        ohlc = ["2.5", "4", "1.25", "3"], ["10", "10", "9", "9.5"]
        quote = ["1.12345", "1.12345"], ["1.12345", "1.12350"]
        prices = draw(st.sampled_from(ohlc if form == "ohlc" else quote))[: PRICES[form]]
        symbols = [draw(st.sampled_from(["AAA", "BBB"]))] if form == "trades" else []
        volumes = [] if form == "bid_ask" else ["0"]
        fields = [pattern.format(second), *symbols, *prices, *volumes]
        if not usual_only and draw(st.booleans()):
            place = draw(st.integers(0, len(fields) - 1))
            if place == 0:
                fields[0] = draw(st.sampled_from(AWKWARD_TIMES[form] + USUAL_TIMES[form])).format(second)
            else:
                fields[place] = draw(SYMBOLS if symbols and place == 1 else NUMBERS)
        lines.append(",".join(fields))
    if draw(st.integers(0, 3)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(ODD)))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = HEADER[form].replace("\n", newline) + newline.join(lines)
    return form, text + draw(st.sampled_from(["", newline, newline * 3]))


def outcome(path: str, form: Any, symbol: str | None, bad: Any, offset: float) -> Any:
    settings = MarketDataSettings(
        source="csv", path=path, symbol=symbol, format=form, on_bad_row=bad, utc_offset_hours=offset
    )
    source, found = CsvSource(settings, IDS), list[Any]()
    try:
        for batch in source.batches(4):
            found += struct.iter_unpack("<BIQqq", batch.records)
            found += struct.iter_unpack("<q", batch.volumes)
    except DataError as error:
        return str(error)
    return found, source.counts


@budget(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=files(),
    bad=st.sampled_from(["skip", "error"]),
    offset=st.sampled_from([0, -5, 5.75]),
    has_symbol=st.booleans(),
    block_bytes=st.sampled_from([1, 100, 300, 1_000_000]),
)
def test_by_columns_or_line_by_line_the_rows_are_the_same(
    tmp_path: Path, file: tuple[str, str], bad: str, offset: float, has_symbol: bool, block_bytes: int
) -> None:
    form, text = file
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    symbol = "AAA" if has_symbol or form != "trades" else None
    try:
        CsvSource(MarketDataSettings(source="csv", path=str(path), symbol=symbol, format="auto"), IDS)
    except ConfigError:
        return  # no file of that format: its first line or all of its lines are blank
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
        assert_same(path, form, symbol, bad, offset)


def assert_same(path: Path, form: str, symbol: str | None, bad: str, offset: float) -> None:
    by_columns = outcome(str(path), form, symbol, bad, offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "read_lines", lambda data, layout: None)
        assert outcome(str(path), form, symbol, bad, offset) == by_columns


USUAL_FIELDS = {
    "bid_ask": (["2020-01-01 00:00:0{}.500000", "1.12345", "1.12350"], ["2020-01-01 00:00:0{}", "0.5", "0.75"]),
    "histdata": (["20200101 00000{}000", "1.121200", "1.121720", "0"],),
    "trades": (["157783680{}000", "AAA", "3.25000", "0.12345678"], ["157783680{}000", "AAA", "3", "100"]),
    "ohlc": (["2020-01-01T00:00:0{}Z", "2.5", "4.0", "1.0", "3.0", "7.25"],),
}


@pytest.mark.parametrize(
    ("form", "usual"), [(form, usual) for form, several in USUAL_FIELDS.items() for usual in several]
)
def test_each_field_may_be_written_in_any_way(tmp_path: Path, form: str, usual: list[str]) -> None:
    path = tmp_path / "data.csv"
    for place in range(len(usual)):
        symbols = form == "trades" and place == 1
        for text in AWKWARD_TIMES[form] if place == 0 else AWKWARD_SYMBOLS if symbols else AWKWARD_NUMBERS:
            rows = [[usual[0].format(second), *usual[1:]] for second in range(5)]
            rows[2][place] = text
            lines = "\n".join(",".join(row) for row in rows)
            path.write_bytes((HEADER[form] + lines).encode(errors="surrogateescape"))
            assert_same(path, form, None if form == "trades" else "AAA", "skip", 0)


USUAL_BLOCKS = [
    ("bid_ask", b"2020-01-01 00:00:00.295000+00:00,86.655,86.728\n2020-01-02T00:00:01.100000+00:00,86.657,186.6"),
    ("bid_ask", b"2020-01-01 00:00:00,1,2\n2020-01-01 00:00:00.5,1,2\n2020-01-01T00:00:01Z,1.5,2.25"),
    ("histdata", b"20200101 170000065,1.121200,1.121720,0\n20200101 170010447,1.121170,1.121610,2.5"),
    ("trades", b"1577836800000,AAA,3.25,10\n1577836800250,C\xc3\x96C,7,0.12345678\n1577836800250,ZZZZZZZZZ,7,1"),
    ("ohlc", b"2020-01-01 00:00:00.000000,46319.0,46385.0,46319.0,46377.0,10.000001\n2020-01-01 00:01:00,1,1,1,1,1"),
]


@pytest.mark.parametrize(("form", "data"), USUAL_BLOCKS)
def test_what_files_usually_hold_is_read_by_columns_to_the_last_row(form: str, data: bytes) -> None:
    """Else it would be right, and slow."""
    symbols = SymbolTable({name.encode(): number for name, number in IDS.items()}) if form == "trades" else None
    layout = Layout(
        format=form, prices=PRICES[form], has_volume=form != "bid_ask", offset_us=0, symbol_id=1, symbols=symbols
    )
    found = read_lines(data, layout)
    assert found is not None
    assert found.sure.all()
