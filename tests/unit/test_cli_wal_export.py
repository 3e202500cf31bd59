"""`seawall wal export`: exact numbers in CSV and Parquet, the trade list, the orders, and what ends a table early."""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet
from wal_trades import LAST_LSN, START_US, write_trades

from protocol.errors import ExitCode
from supervisor.cli import wal_writers
from supervisor.cli.main import main
from supervisor.cli.output import Failure
from supervisor.cli.wal_export import ENTRY_COLUMNS, FILL_COLUMNS, ORDER_COLUMNS
from supervisor.cli.wal_writers import Column, Kind, Row, exact, write_rows


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trades")
    write_trades(directory)
    return directory


def export(path: Path, target: Path | str, *words: str) -> Result:
    return CliRunner().invoke(main, ["wal", "export", str(path), str(target), *words])


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_text(value: Any) -> str:
    """A cell of Parquet as it stands in CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, Decimal) else str(value)


@pytest.mark.parametrize("table", ["entries", "fills", "orders"])
def test_csv_and_parquet_hold_the_same(table: str, run_dir: Path, tmp_path: Path) -> None:
    for name in ("out.csv", "out.parquet"):
        assert export(run_dir, tmp_path / name, "--table", table).exit_code == 0
    read = parquet.read_table(tmp_path / "out.parquet")
    columns = {"entries": ENTRY_COLUMNS, "fills": FILL_COLUMNS, "orders": ORDER_COLUMNS}[table]
    assert read.column_names == [column.name for column in columns]
    rows = [{key: as_text(value) for key, value in row.items()} for row in read.to_pylist()]
    assert rows == read_csv(tmp_path / "out.csv")
    assert len(rows) == {"entries": LAST_LSN, "fills": 3, "orders": 3}[table]


def test_every_entry_has_its_names_and_units(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    place, fill, balance = rows[6], rows[14], rows[16]
    assert (place["symbol"], place["strategy"], place["side"], place["limit_price"]) == (
        "BTC", "breakout", "SELL", "50000",
    )  # fmt: skip
    assert (fill["symbol"], fill["strategy"], fill["report"], fill["price"], fill["commission"]) == (
        "EURUSD", "sma", "FILL", "1.2", "0.01",
    )  # fmt: skip
    assert (balance["profit"], balance["commission"], balance["balance"]) == ("1", "0.01", "10000.99")
    assert json.loads(rows[0]["symbols"]) == [["EURUSD", 1_000_000], ["BTC", 1_000_000]]


def test_filters_choose_rows(run_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    for words, lsns in (
        (["--type", "ORDER_UPDATE", "--symbol", "EURUSD"], [3, 4, 14, 15]),
        (["--table", "fills", "--strategy", "sma"], [4, 15]),
        (["--table", "fills", "--lsn", "10.."], [11, 15]),
        (["--table", "fills", "--order", "2"], [11]),
        (["--table", "fills", "--since", "2020-09-13T12:26:52"], [15]),
    ):
        assert export(run_dir, target, *words).exit_code == 0
        assert [int(row["lsn"]) for row in read_csv(target)] == lsns
    assert export(run_dir, target, "--table", "fills", "--type", "ORDER_UPDATE").exit_code == 2


def test_the_last_n_rows_of_a_table_are_its_last(run_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    for table in ("entries", "fills", "orders"):
        export(run_dir, target, "--table", table)
        rows = read_csv(target)
        for last in (1, 2, 100):
            assert export(run_dir, target, "--table", table, "--last", str(last)).exit_code == 0
            assert read_csv(target) == rows[-last:]


@pytest.mark.parametrize("table", ["entries", "fills", "orders"])
def test_an_unknown_name_is_a_usage_error_of_every_table(table: str, run_dir: Path, tmp_path: Path) -> None:
    for words in (["--symbol", "btc"], ["--strategy", "sma2"]):
        result = export(run_dir, tmp_path / "out.csv", "--table", table, *words)
        assert (result.exit_code, "this journal knows" in result.stderr) == (2, True)


def test_an_open_order_is_the_last_row_and_has_not_ended(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "out.csv", "--table", "orders", "--lsn", "..10")
    assert [(row["order_id"], row["status"], row["ended"] > "") for row in read_csv(tmp_path / "out.csv")] == [
        ("1", "Filled", True), ("2", "Accepted", False),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("table", ["entries", "fills", "orders"])
def test_damage_ends_the_table_with_its_exit_code_and_what_comes_before_is_there(
    form: str, table: str, tmp_path: Path
) -> None:
    journal = write_trades(tmp_path / "run") / "journal.wal"
    content = bytearray(journal.read_bytes())
    content[content.index(b"3-1")] ^= 1  # in LSN 15
    journal.write_bytes(content)
    target = tmp_path / f"out.{form}"
    result = export(tmp_path / "run", target, "--table", table)
    assert (result.exit_code, "LSN 15" in result.stderr) == (161, True)
    count = len(read_csv(target)) if form == "csv" else parquet.read_table(target).num_rows
    assert count == {"entries": 14, "fills": 2, "orders": 3}[table]


@pytest.mark.parametrize("table", ["entries", "fills", "orders"])
def test_a_partial_table_says_how_many_rows_it_has_on_stdout_too(table: str, tmp_path: Path) -> None:
    journal = write_trades(tmp_path / "run") / "journal.wal"
    content = bytearray(journal.read_bytes())
    content[content.index(b"3-1")] ^= 1  # in LSN 15
    journal.write_bytes(content)
    result = export(tmp_path / "run", "-", "--table", table)
    rows = len(result.stdout.splitlines()) - 1
    assert (result.exit_code, f"({rows} rows before it are written.)" in result.stderr) == (161, True)
    facts = json.loads(export(tmp_path / "run", tmp_path / "out.csv", "--table", table, "-o", "json").stderr)
    assert (facts["rows"], facts["lsn"]) == (rows, 15)


def test_the_target_is_whole_or_not_there(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.csv"
    target.write_text("of yesterday")

    def rows() -> Iterator[Row]:
        yield (1,)
        raise OSError("the disk is full")

    monkeypatch.setattr(wal_writers, "ROWS_AT_A_TIME", 1)
    with pytest.raises(Failure, match=r"out\.csv: cannot be written: the disk is full"):
        write_rows(str(target), "csv", [Column("lsn", Kind.INTEGER)], rows())
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "of yesterday"


def test_rows_are_written_in_groups(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_writers, "ROWS_AT_A_TIME", 7)
    export(run_dir, tmp_path / "out.parquet")
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    assert sizes == [7, 7, 5]


EXTREMES = [0, 1, -1, 999_999, -1_000_000, 2**63 - 1, 1 - 2**63, 10**38 - 1, 1 - 10**38]


@pytest.mark.parametrize("digits", [6, 12])
def test_a_decimal_is_exact_at_every_size(digits: int) -> None:
    for value in EXTREMES:
        text = exact(value, digits)
        whole, _, fraction = text.lstrip("-").partition(".")
        assert int(whole + fraction.ljust(digits, "0")) == abs(value)
        assert text.startswith("-") is (value < 0)
        assert not fraction.endswith("0")


def test_parquet_holds_the_largest_numbers_and_says_which_it_cannot(tmp_path: Path) -> None:
    columns = [Column("quantity", Kind.MICROS), Column("profit", Kind.PRODUCT)]
    rows = [(2**63 - 1, 10**38 - 1), (1 - 2**63, 1 - 10**38), (None, None)]
    target = tmp_path / "out.parquet"
    assert write_rows(str(target), "parquet", columns, rows) == 3
    read = parquet.read_table(target).to_pylist()
    assert [(as_text(row["quantity"]), as_text(row["profit"])) for row in read] == [
        ("9223372036854.775807", "9" * 26 + "." + "9" * 12), ("-9223372036854.775807", "-" + "9" * 26 + "." + "9" * 12),
        ("", ""),
    ]  # fmt: skip
    with pytest.raises(Failure) as raised:
        write_rows(str(target), "parquet", columns, [(1, 10**38)])
    assert raised.value.exit_code == ExitCode.FAILURE


def test_a_missing_extra_is_said(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return import_module(name)

    import_module = importlib.import_module
    monkeypatch.setattr(wal_writers.importlib, "import_module", missing)
    result = export(run_dir, tmp_path / "out.parquet")
    assert (result.exit_code, "pip install 'seawall[parquet]'" in result.stderr) == (2, True)
    assert export(run_dir, tmp_path / "out.csv").exit_code == 0, "CSV needs none"


def test_formats_and_targets(run_dir: Path, tmp_path: Path) -> None:
    assert export(run_dir, tmp_path / "out", "--format", "parquet").exit_code == 0
    assert parquet.read_table(tmp_path / "out").num_rows == LAST_LSN
    told = json.loads(export(run_dir, tmp_path / "out.txt", "-o", "json").stdout)
    assert told == {"path": str(tmp_path / "out.txt"), "format": "csv", "table": "entries", "rows": LAST_LSN}
    assert len(export(run_dir, "-").stdout.splitlines()) == LAST_LSN + 1
    assert export(run_dir, "-", "--format", "parquet").exit_code == 2
    missing = export(run_dir, tmp_path / "no such directory" / "out.csv")
    assert (missing.exit_code, f"there is no directory {tmp_path / 'no such directory'}" in missing.stderr) == (2, True)


@pytest.mark.parametrize(
    "name",
    ["wal/journal.wal", "wal/new.csv", "wal/journal-00000000000000000001.wal.zst", "wal/watermark", "pages/latch",
     "pages/notes/new.csv", "lock", "new.csv"],
)  # fmt: skip
def test_nothing_in_a_run_dir_is_written(name: str, tmp_path: Path) -> None:
    run_dir, link = tmp_path / "run", tmp_path / "link.csv"
    write_trades(run_dir)
    for made in ("wal/watermark", "pages/latch", "lock"):
        (run_dir / made).parent.mkdir(exist_ok=True)
        (run_dir / made).write_bytes(b"the engine's")
    link.symlink_to(run_dir / name)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    for target in (run_dir / name, link):
        result = export(run_dir, target)
        assert (result.exit_code, "which is the engine's" in result.stderr) == (2, True)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    assert link.is_symlink()


def test_a_run_dir_whose_journal_has_gone_and_a_wal_directory_of_another_name_are_the_engines_too(
    run_dir: Path, tmp_path: Path
) -> None:
    for made in ("bare/lock", "bare/pages/latch", "copy/journal-00000000000000000001.wal", "plain/lock"):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).touch()
    codes = [export(run_dir, tmp_path / name / "out.csv").exit_code for name in ("bare", "bare/pages", "copy", "plain")]
    assert codes == [2, 2, 2, 0]


def test_what_is_no_regular_file_is_refused_and_not_opened(run_dir: Path, tmp_path: Path) -> None:
    fifo, bound, directory, link = (tmp_path / name for name in ("fifo", "socket", "directory", "link"))
    os.mkfifo(fifo)  # opened, it would wait for a writer: this test would not end
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as unix:
        unix.bind(str(bound))
        directory.mkdir()
        link.symlink_to(fifo)
        for target in (fifo, bound, directory, link):
            result = export(run_dir, target)
            assert (result.exit_code, "is no regular file" in result.stderr) == (2, True)
        assert (fifo.is_fifo(), bound.is_socket(), link.is_symlink()) == (True, True, True)


def test_a_symlink_is_followed_and_stays(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link, real = tmp_path / "out.csv", tmp_path / "deep" / "real.csv"
    link.symlink_to(real)
    for _ in range(2):
        assert export(run_dir, link, "--table", "fills").exit_code == 0
        assert (link.is_symlink(), real.is_symlink(), len(read_csv(real))) == (True, False, 3)
    assert [path.name for path in real.parent.iterdir()] == ["real.csv"]


def test_somebodys_file_of_the_parts_name_stays(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv.part").write_text("somebody's")
    assert export(run_dir, tmp_path / "out.csv").exit_code == 0
    assert (tmp_path / "out.csv.part").read_text() == "somebody's"


def test_times_are_those_of_the_journal(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "out.parquet", "--table", "fills")
    row = parquet.read_table(tmp_path / "out.parquet").to_pylist()[0]
    assert row["time"].timestamp() == START_US / 1e6 + 4
    assert row["venue_time"].microsecond == 1
