"""What the journal's tools print, line by line: people and scripts read it. Rewritten by hand, on purpose only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from wal_trades import write_trades

from supervisor.cli.main import main

HERE = Path(__file__).parent
OUTPUTS = {
    "wal_inspect.txt": ("inspect", "run"),
    "wal_inspect.jsonl": ("inspect", "run", "-o", "json", "--lsn", "9..11"),
    "wal_verify.txt": ("verify", "run", "--fold"),
    "wal_verify.json": ("verify", "run", "--fold", "-o", "json"),
    "wal_entries.csv": ("export", "run", "-"),
    "wal_fills.csv": ("export", "run", "-", "--table", "fills"),
    "wal_orders.csv": ("export", "run", "-", "--table", "orders"),
}


@pytest.mark.parametrize(("name", "words"), OUTPUTS.items(), ids=OUTPUTS)
def test_the_tools_print_what_they_printed(
    name: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_trades(tmp_path / "run")
    result = CliRunner().invoke(main, ["wal", *words])
    assert result.exit_code == 0, result.output
    assert result.stdout == (HERE / name).read_text(encoding="utf-8")


def test_a_damaged_journal_is_verified_and_repaired_in_these_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_trades(tmp_path / "run") / "journal.wal"
    content = bytearray(path.read_bytes())
    content[content.index(b"2-1")] ^= 1  # in LSN 11
    path.write_bytes(content)
    told = ""
    for words, code in ((("verify", "run"), 161), (("repair", "run"), 1), (("repair", "run", "--yes"), 0)):
        result = CliRunner().invoke(main, ["wal", *words])
        told += f"$ seawall wal {' '.join(words)}\n{result.stdout}{result.stderr}exit {result.exit_code}\n"
        assert result.exit_code == code, result.output
    assert told == (HERE / "wal_repair.txt").read_text(encoding="utf-8")
    assert os.listdir("run/wal").count("journal.wal.damaged-11") == 1
