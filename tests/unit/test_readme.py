"""The README is true, and so is what has no test of its own in actors/README.md: it all runs as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner
from wal_trades import write_trades

from protocol.curve_settings import CurveSettings
from protocol.key_files import KeyDirectory, check_keys, read_client_keys
from protocol.keys import Role
from supervisor.cli.main import main

ROOT = Path(__file__).parents[2]
README = "\n".join((ROOT / page).read_text() for page in ("README.md", "actors/README.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def block(language: str, mark: str) -> str:
    (found,) = [text for text in blocks(language) if mark in text]
    return found


def test_ci_runs_the_readmes_test_command() -> None:
    command = block("sh", "pytest").strip()
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def run_breakout(tmp_path: Path, strategy: str, config: str, verb: str = "run") -> subprocess.CompletedProcess[str]:
    """The verb over 2000 rows of waves."""
    (tmp_path / "breakout.py").write_text(strategy)
    (tmp_path / "breakout.toml").write_text(config)
    wave = [110_000 + abs(i % 160 - 80) for i in range(2000)]
    rows = [
        f"2024-01-01 00:{i // 60:02}:{i % 60:02}.000,{bid / 100_000:.5f},{(bid + 1) / 100_000:.5f}"
        for i, bid in enumerate(wave)
    ]
    (tmp_path / "ticks.csv").write_text("\n".join(["timestamp,bid,ask", *rows]) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", verb, "breakout.toml"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_readmes_strategy_trades_over_the_readmes_csv_config(tmp_path: Path) -> None:
    strategy, config = block("python", "class Breakout"), block("toml", "breakout:Breakout")
    run_breakout(tmp_path, strategy, config, "check")
    done = run_breakout(tmp_path, strategy, config)
    summary = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert summary["rows"] == "2000"
    assert int(summary["fills"]) > 10


def test_the_readmes_save_and_load_take_the_strategy_over_into_a_new_run(tmp_path: Path) -> None:
    said = '    def on_start(self):\n        self.log.info("begun", bids=len(self.bids))\n'
    strategy = "\n".join((block("python", "class Breakout"), block("python", "bids = state"), said))
    config = block("toml", "breakout:Breakout") + "[wal]\ncheckpoint_records = 100\n"
    begun = []
    for _ in range(2):
        done = run_breakout(tmp_path, strategy, config)
        lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        begun += [line["bids"] for line in lines if line["event"] == "begun"]
    assert begun == [0, 21], "window = 20, and the newest"


@pytest.mark.parametrize("line", block("sh", "wal repair").splitlines())
def test_the_readmes_journal_commands_run_as_they_stand(line: str, tmp_path: Path) -> None:
    write_trades(tmp_path / "run" / "demo")
    words = shlex.split(line, comments=True)
    follows = "-f" in words
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", *(word for word in words[1:] if word != "-f")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    clean = 1 if "repair" in words else 0
    assert (done.returncode, words[:2]) == (clean, ["seawall", "wal"]), done.stderr
    assert not follows or len(done.stdout.splitlines()) == 10
    assert "export" not in words or (tmp_path / "fills.csv").read_text().count("\n") == 4


@pytest.mark.parametrize("line", block("sh", "seawall report").splitlines())
def test_the_readmes_report_commands_run_as_they_stand(line: str, tmp_path: Path) -> None:
    write_trades(tmp_path / "run" / "demo")
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", *shlex.split(line, comments=True)[1:]],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("run/demo/report.html", "{"))


def test_the_readmes_keys_are_made_and_its_config_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in block("sh", "seawall keys init").splitlines():
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, result.output
    (settings,) = tomllib.loads(block("toml", "gateway.curve"))["gateway"].values()
    assert check_keys(CurveSettings(**settings)) == []
    assert {client.role for client in KeyDirectory(settings["keys"]).read_list().values()} == set(Role)
    socket = zmq.Context().socket(zmq.SUB)
    read_client_keys("keys/clients/desk.key").secure(socket)
    socket.close(0)
