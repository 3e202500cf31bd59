"""Which entries `seawall wal inspect` shows: by type, order, symbol, strategy, LSN and time, over all files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgpack
import pytest
from click.testing import CliRunner, Result
from wal_trades import CHECKPOINT_LSN, LAST_LSN, START_US, write_trades

from protocol.records import EntryType
from protocol.wal.format import Envelope
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import RealStorage
from supervisor.cli.main import main
from supervisor.cli.wal_entries import Names, Product, exact_json


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trades")
    write_trades(directory)
    return directory


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["wal", "inspect", str(path), "-o", "json", *words])


def lsns(path: Path, *words: str) -> list[int]:
    result = run(path, *words)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return [json.loads(line)["lsn"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", range(1, LAST_LSN + 1)),
        ("--type ORDER_PLACE", [2, 7, 13]),
        ("--type order_place --type Trading_State", [2, 7, 9, 13, 18]),
        ("--order 1", [2, 3, 4, 5]),
        ("--order 3", [13, 14, 15, 16, 17]),
        ("--order 9", []),
        ("--symbol BTC", [6, 7, 8, 11, 12]),
        ("--symbol EURUSD --type ORDER_UPDATE", [3, 4, 14, 15]),
        ("--strategy breakout", [6, 7, 8, 11, 12]),
        ("--strategy sma", [2, 3, 4, 5, 13, 14, 15, 16, 17]),
        ("--strategy sma --symbol BTC", []),
        ("--strategy gateway", [9, 18]),
        ("--lsn 12", [12]),
        ("--lsn 8..11", [8, 9, 10, 11]),
        ("--lsn 18..", [18, 19]),
        ("--lsn ..2", [1, 2]),
        ("--lsn 100..", []),
        ("--since 2020-09-13T12:26:57", [17, 18, 19]),
        ("--since 2020-09-13T14:26:57+02:00", [17, 18, 19]),
        ("--since 2020-09-13T12:26:57Z --until 2020-09-13T12:26:58", [17, 18]),
        ("--until 2020-09-13T12:26:41.999999", [1]),
        ("--since 2020-09-14", []),
        ("--until 3h", range(1, LAST_LSN + 1)),
        ("--since 3h", []),
        ("--last 2", [18, 19]),
        ("--last 100", range(1, LAST_LSN + 1)),
        ("--last 3 --lsn ..11", [9, 10, 11]),
        ("--last 2 --type ORDER_UPDATE", [14, 15]),
        ("--last 1 --order 1", [5]),
    ],
)
def test_a_filter_shows_what_it_says(words: str, expected: list[int], run_dir: Path) -> None:
    assert lsns(run_dir, *words.split()) == list(expected)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("--symbol btc", "EURUSD, BTC"),
        ("--symbol BTC --strategy break", "sma, breakout, wal, risk"),
        ("--symbol EUR --last 3", "EURUSD, BTC"),
        ("--symbol EUR --lsn 18..", "EURUSD, BTC"),
    ],
)
@pytest.mark.parametrize("verb", ["inspect", "tail"])
def test_a_name_that_the_journal_does_not_know_is_said_with_those_it_knows(
    verb: str, words: str, known: str, run_dir: Path
) -> None:
    result = CliRunner().invoke(main, ["wal", verb, str(run_dir), *words.split()])
    assert (result.exit_code, result.stdout, f"this journal knows {known}" in result.stderr) == (2, "", True)


@pytest.mark.parametrize("words", ["7..5", "2..1", "x", "..", "1..2..3"])
def test_a_range_that_holds_nothing_is_a_usage_error(words: str, run_dir: Path) -> None:
    assert run(run_dir, "--lsn", words).exit_code == 2


def test_what_concerns_an_order_is_known_also_when_reading_begins_behind_its_placing(run_dir: Path) -> None:
    """Order 2 was placed before the CHECKPOINT, whose state has it."""
    assert lsns(run_dir, "--lsn", "11..", "--symbol", "BTC") == [11, 12]
    assert lsns(run_dir / "wal" / "journal.wal", "--strategy", "breakout") == [11, 12]


def test_the_files_before_the_one_asked_for_are_not_read(tmp_path: Path) -> None:
    sealed_path(write_trades(tmp_path), 1).write_bytes(b"damaged beyond recognition")
    assert lsns(tmp_path, "--lsn", "10..") == list(range(10, LAST_LSN + 1))
    assert lsns(tmp_path, "--last", "2") == [18, 19]
    assert run(tmp_path, "--lsn", "9..").exit_code == 161
    assert run(tmp_path).exit_code == 161


def test_a_file_is_read_alone_and_a_packed_one_as_well(tmp_path: Path) -> None:
    directory = write_trades(tmp_path)
    assert lsns(directory / "journal.wal") == list(range(CHECKPOINT_LSN, LAST_LSN + 1))
    assert lsns(sealed_path(directory, 1)) == list(range(1, CHECKPOINT_LSN))
    packed = pack_sealed(RealStorage(), list_sealed(RealStorage(), directory)[0])
    assert lsns(packed.path, "--last", "1") == [9]
    assert lsns(directory) == list(range(1, LAST_LSN + 1))


def test_an_age_is_counted_from_now(tmp_path: Path) -> None:
    directory = write_trades(tmp_path)
    seconds = int(time.time()) - (START_US // 1_000_000 + 15)
    some = lsns(directory, "--since", f"{seconds}s")
    assert some
    assert some[-1] == LAST_LSN
    assert some[0] > 10


@pytest.mark.parametrize(
    "words",
    ["--lsn x", "--lsn ..", "--lsn 1...2", "--since yesterday", "--since 10y", "--type FILL", "--order 0", "--last 0"],
)
def test_what_is_no_filter_is_a_usage_error(words: str, run_dir: Path) -> None:
    assert run(run_dir, *words.split()).exit_code == 2


def test_an_error_for_a_reader_of_json_is_json_on_stderr(tmp_path: Path) -> None:
    path = write_trades(tmp_path) / "journal.wal"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    result = run(tmp_path)
    error = json.loads(result.stderr)
    assert (result.exit_code, error["exit_code"]) == (161, 161)
    assert error["error"].startswith("corrupt: ")
    assert len(result.stdout.splitlines()) == LAST_LSN - 1
    result = run(tmp_path / "wal" / "watermark", "--since", "3h")
    assert (result.exit_code, json.loads(result.stderr)["exit_code"]) == (2, 2)


def test_checkpoints_are_decoded_and_states_of_strangers_shown_as_they_are(run_dir: Path) -> None:
    (line,) = run(run_dir, "--type", "CHECKPOINT").stdout.splitlines()
    record = json.loads(line)["record"]
    risk, sma = record["states"]["risk"], record["states"]["strategy.sma"]
    assert record["run"]["strategies"] == ["sma", "breakout"]
    assert risk["state"]["orders"][0]["place"]["limit_price"] == 50_000_000_000
    assert risk["state"]["positions"][0]["cost"] == str(11 * 10**12)
    feed = {"epoch": "03" * 16, "chunk": 9, "tick": 9, "bar": 9}
    assert sma["state"] == {"feed": feed, "saved": {"bids": [1.1, 1.2]}}


def packed(values: list[object]) -> bytes:
    data = msgpack.packb(values)
    assert isinstance(data, bytes)
    return data


def test_names_of_orders_are_forgotten_two_checkpoints_after_their_end() -> None:
    """So that memory stays bounded in a long history."""
    names = Names()
    for number in (1, 2, 3):
        names.learn(Envelope(EntryType.ORDER_PLACE, number, 0, 0, 0, 2, 1), packed([number, 16, 1, 0, 0, 0, 1]))
        names.learn(
            Envelope(EntryType.CHECKPOINT, number, 0, 0, 0, 1, 1),
            packed([b"", packed([b"", 0, "", "", b"", b"", 0, b"", "", 1, [["EURUSD", 1]], ["sma"]]), 1, [], []]),
        )
    shown = {number: names.symbol_of({"order_id": number}) for number in (1, 2, 3, 4)}
    assert shown == {1: "", 2: "", 3: "EURUSD", 4: ""}


def test_json_keeps_exact_what_a_double_would_not_and_no_key_changes_its_type() -> None:
    entry = {"lsn": 2**40, "record": {"cost": Product(2**60 + 1), "token": 2**62 + 1, "halt_tokens": [0, 2**62 + 3]},
             "saved": {"token": 7}, "realized": Product(0)}  # fmt: skip
    told = json.loads(json.dumps(exact_json(entry)), parse_int=lambda digits: int(float(digits)))
    assert told == {
        "lsn": 2**40, "saved": {"token": 7}, "realized": "0",
        "record": {"cost": str(2**60 + 1), "token": str(2**62 + 1), "halt_tokens": ["0", str(2**62 + 3)]},
    }  # fmt: skip
