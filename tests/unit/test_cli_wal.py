"""`seawall wal inspect`: the journal as an outsider packed it, read back; torn and corrupt places by exit code."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from click.testing import CliRunner, Result
from gateways import held_lock
from harness import ROOT

from protocol.wal.verify import Examination
from supervisor.cli import wal_journal
from supervisor.cli.main import main

TIME_US = 1_577_836_800_000_001
RUN = [b"j" * 16, 0, "operator", "0.1.0", b"c" * 16, b"b" * 16, 0, (10**16).to_bytes(16, "little"), "USD", 100,
       [["EURUSD", 1_000_000], ["BTC", 1_000_000]], ["sma"]]  # fmt: skip
PLACE = [1, 16, 4, 1, 1, 1, 3_000_000, 150_500_000]
BALANCE = [2, 1, (-(10**12)).to_bytes(16, "little", signed=True), bytes(16), (10**16 - 10**12).to_bytes(16, "little")]
REFUSED = [16, 5, 0, "halted", "enough", "newer"]
RECORDS = [(12, 5, RUN), (4, 2, PLACE), (6, 2, BALANCE), (13, 2, REFUSED), (7, 1, {"not": "an array"})]


def _journal() -> list[bytes]:
    """The entries, packed by hand."""
    entries, previous = [], 0
    for lsn, (kind, producer, record) in enumerate(RECORDS, 1):
        packed = msgpack.packb(record)
        assert isinstance(packed, bytes)
        data = struct.pack("<BQQIQBQ", kind, lsn, lsn - 1, previous, TIME_US, producer, lsn) + packed
        previous = zlib.crc32(data)
        entries.append(struct.pack("<IBII", 0x48515457, kind, len(data), previous) + data)
    return entries


def _write(run_dir: Path, content: bytes) -> Path:
    path = run_dir / "wal" / "journal.wal"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def inspect(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["wal", "inspect", str(path), *words])


def test_json_lines_have_envelope_type_and_named_fields(tmp_path: Path) -> None:
    _write(tmp_path, b"".join(_journal()))
    result = inspect(tmp_path, "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    run, place, balance, refused, odd = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["lsn"] for one in (run, place, balance, refused, odd)] == [1, 2, 3, 4, 5]
    assert (run["type"], run["record"]["journal_id"]) == ("ENGINE_RUN", "6a" * 16)
    assert run["record"]["balance"] == "10000000000000000", "a product"
    assert run["record"]["symbols"] == [["EURUSD", 1_000_000], ["BTC", 1_000_000]]
    names = ("order_id", "strategy_id", "signal", "symbol_id", "side", "order_type", "quantity", "limit_price")
    assert place["record"] == dict(zip(names, PLACE, strict=True))
    assert (place["producer"], place["time_us"], place["previous_crc"]) == (2, TIME_US, run["crc"])
    assert balance["record"]["profit"] == str(-(10**12))
    assert refused["record"]["field_5"] == "newer", "a field of a newer version is shown, not dropped"
    assert bytes.fromhex(odd["record"]) == msgpack.packb({"not": "an array"})


def test_the_table_has_names_and_units(tmp_path: Path) -> None:
    _write(tmp_path, b"".join(_journal()))
    lines = inspect(tmp_path).stdout.splitlines()
    assert len(lines) == len(RECORDS)
    for words, line in zip(
        (
            ("1", "2020-01-01T00:00:00.000001Z", "supervisor", "ENGINE_RUN", "balance=10000", "event=START"),
            ("2", "risk", "ORDER_PLACE", "strategy=sma", "symbol=BTC", "side=SELL", "order_type=LIMIT", "quantity=3",
             "limit_price=150.5"),
            ("3", "BALANCE_CHANGE", "profit=-1", "commission=0", "balance=9999"),
            ("4", "SIGNAL_REFUSED", 'reason="halted"'),
            ("5", "wal", "CHECKPOINT"),
        ),
        lines,
        strict=True,
    ):  # fmt: skip
        assert [word for word in words if word not in line.split()] == [], line


@pytest.mark.parametrize("where", ["run_dir", "wal directory", "file"])
def test_the_journal_is_found_from_run_dir_directory_and_file(where: str, tmp_path: Path) -> None:
    path = _write(tmp_path, b"".join(_journal()))
    result = inspect({"run_dir": tmp_path, "wal directory": path.parent, "file": path}[where])
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, len(RECORDS))


def test_a_directory_without_a_journal_is_a_usage_error(tmp_path: Path) -> None:
    assert inspect(tmp_path).exit_code == 2
    assert inspect(tmp_path / "nowhere").exit_code == 2


def _cut(entries: list[bytes]) -> bytes:
    return b"".join(entries)[:-1]


def _zeros_at_the_end(entries: list[bytes]) -> bytes:
    return b"".join(entries[:-1]) + bytes(len(entries[-1]))


def _last_data_bad(entries: list[bytes]) -> bytes:
    return b"".join(entries)[:-1] + b"\xff"


def _middle_data_bad(entries: list[bytes]) -> bytes:
    return b"".join([*entries[:2], entries[2][:-1] + b"\xff", *entries[3:]])


def _type_flipped(entries: list[bytes]) -> bytes:
    return b"".join([*entries[:2], entries[2][:4] + b"\x05" + entries[2][5:], *entries[3:]])


def _one_missing(entries: list[bytes]) -> bytes:
    return b"".join(entries[:2] + entries[3:])


@pytest.mark.parametrize(
    ("damage", "code", "good"),
    [
        (_cut, 160, 4),
        (_zeros_at_the_end, 160, 4),
        (_last_data_bad, 160, 4),
        (_middle_data_bad, 161, 2),
        (_type_flipped, 161, 2),
        (_one_missing, 161, 2),
    ],
)
def test_what_is_good_is_shown_and_the_bad_place_named(
    damage: Callable[[list[bytes]], bytes], code: int, good: int, tmp_path: Path
) -> None:
    path = _write(tmp_path, damage(_journal()))
    before = path.read_bytes()
    result = inspect(tmp_path, "-o", "json")
    assert (result.exit_code, len(result.stdout.splitlines())) == (code, good)
    offset = sum(len(entry) for entry in _journal()[:good])
    for words in (str(path), f"byte {offset}", f"LSN {good + 1}", "expected", "found"):
        assert words in result.stderr
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["journal.wal"], "nothing is written beside it"


def test_a_live_engines_half_written_entry_is_no_damage(tmp_path: Path) -> None:
    _write(tmp_path, _cut(_journal()))
    with held_lock(tmp_path, "1"):
        result = inspect(tmp_path)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 4)
    assert "LSN 4" in result.stderr


def test_a_live_engines_damage_in_the_middle_is_damage_though_it_looks_like_an_end(tmp_path: Path) -> None:
    """A flip made a length too long: the file seems to end within that entry."""
    entries = _journal()
    entries[2] = entries[2][:7] + b"\x01" + entries[2][8:]
    _write(tmp_path, b"".join(entries))
    with held_lock(tmp_path, "1"):
        result = inspect(tmp_path)
    assert (result.exit_code, len(result.stdout.splitlines())) == (161, 2)


def test_a_journal_that_is_whole_again_by_now_is_to_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path, _middle_data_bad(_journal()))
    examine = wal_journal.examine

    def mended(place: wal_journal.Place) -> Examination:
        path.write_bytes(b"".join(_journal()))
        return examine(place)

    monkeypatch.setattr(wal_journal, "examine", mended)
    result = inspect(tmp_path)
    assert (result.exit_code, "read it again" in result.stderr) == (1, True)


def test_a_plain_log_is_shown_with_its_opaque_data(tmp_path: Path) -> None:
    path = tmp_path / "plain.wal"
    data = [b"", b"hello", bytes(100)]
    content = b"".join(struct.pack("<IBII", 0x48515457, 4, len(one), zlib.crc32(one)) + one for one in data)
    path.write_bytes(content)
    result = inspect(path, "-o", "json")
    assert result.exit_code == 0
    assert [bytes.fromhex(json.loads(line)["data"]) for line in result.stdout.splitlines()] == data
    assert "ORDER_PLACE" in inspect(path).stdout
    path.write_bytes(content[:-1])
    assert (inspect(path).exit_code, len(inspect(path).stdout.splitlines())) == (160, 2)
    path.write_bytes(content[:-1] + b"\xff")
    assert inspect(path).exit_code == 161


@pytest.mark.parametrize("verb", [["inspect"], ["tail"], ["verify"], ["tail", "-f"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_it_quietly(verb: list[str], tmp_path: Path) -> None:
    _write(tmp_path, b"".join(_journal()))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", "wal", *verb, str(tmp_path)],
        stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("content", [b"buy", b"a text\n" * 1000, b"QHLT\1" + bytes(4091), b"# WTQH\n"])
@pytest.mark.parametrize("verb", ["inspect", "tail", "verify", "export", "repair"])
def test_a_file_that_is_no_log_is_a_usage_error_and_stays_as_it_is(verb: str, content: bytes, tmp_path: Path) -> None:
    for name in ("notes.txt", "journal-notes.txt"):
        (tmp_path / name).write_bytes(content)
        words = [str(tmp_path / "out.csv")] if verb == "export" else []
        result = CliRunner().invoke(main, ["wal", verb, str(tmp_path / name), *words])
        assert (result.exit_code, f"{tmp_path / name} is no log" in result.stderr) == (2, True)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, content)]
        (tmp_path / name).unlink()
