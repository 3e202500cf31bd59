"""The journal's tools on a live engine that trades and rolls: they see what is there, and nobody notices them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import EngineUnderTest, config_tree, wait_for

RECORDS_A_FILE = 150


class Tail:
    """`seawall wal tail -f -o json`, read as it comes."""

    def __init__(self, engine: EngineUnderTest, *words: str) -> None:
        self._path = engine.directory / "tail.jsonl"
        with open(self._path, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.cli.main", "wal", "tail", "-f", "run", "-o", "json", *words],
                cwd=engine.directory, env=engine.environment(), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.PIPE,
            )  # fmt: skip

    @property
    def entries(self) -> list[dict[str, Any]]:
        text = self._path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    @property
    def lsns(self) -> list[int]:
        return [entry["lsn"] for entry in self.entries]

    def close(self) -> str:
        """What it said on stderr; Ctrl-C ends it with 0."""
        self.process.send_signal(2)
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        return said.decode()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineUnderTest]:
    tree = config_tree(market_data={"rate": 1000.0}, wal={"checkpoint_records": RECORDS_A_FILE})
    with EngineUnderTest(tmp_path, tree) as engine:
        wait_for(lambda: len(sealed(engine)) >= 2, "two rolls")
        yield engine


def sealed(engine: EngineUnderTest) -> list[Path]:
    return sorted(engine.journal_path.parent.glob("journal-*"))


def verified(engine: EngineUnderTest) -> dict[str, Any]:
    done = engine.cli("wal", "verify", "run", "--fold", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_live_journal_is_verified_inspected_followed_and_exported_over_its_rolls(engine: EngineUnderTest) -> None:
    tail = Tail(engine, "-n", "5")
    wait_for(lambda: tail.entries, "the last entries")
    first, last = verified(engine), 0
    while len(sealed(engine)) < 5:  # read while it writes and rolls: a torn or broken end would be told
        told = verified(engine)
        assert (told["verdict"], told["running"]) == ("clean", True)
        assert told["last_lsn"] >= max(first["last_lsn"], last)
        assert told["fold"]["lsn"] >= told["last_lsn"], "folded after it was verified"
        last = told["last_lsn"]
    shown = engine.cli("wal", "inspect", "run", "-o", "json")
    assert shown.returncode == 0
    lsns = [json.loads(line)["lsn"] for line in shown.stdout.splitlines()]
    assert lsns == list(range(1, len(lsns) + 1))
    assert len(lsns) >= last
    assert engine.cli("wal", "export", "run", "fills.csv", "--table", "fills").returncode == 0
    assert len((engine.directory / "fills.csv").read_text().splitlines()) > 5
    wait_for(lambda: tail.lsns[-1] >= len(lsns), "the tail to come that far")
    assert engine.cli("wal", "repair", "run", "--yes").returncode == 1, "refused while it runs"
    before = tail.lsns
    assert before == list(range(before[0], before[-1] + 1))
    assert not engine.log_events("child_died")
    assert engine.stop() == 0
    stop = verified(engine)
    wait_for(lambda: tail.lsns[-1] == stop["last_lsn"], "the end of the run in the tail")
    engine.restart()
    wait_for(lambda: tail.lsns[-1] > stop["last_lsn"] + RECORDS_A_FILE, "the next run in the tail")
    assert tail.close() == ""
    assert tail.lsns == list(range(before[0], tail.lsns[-1] + 1))
    types = [entry["type"] for entry in tail.entries if entry["lsn"] in (stop["last_lsn"], stop["last_lsn"] + 1)]
    assert types == ["ENGINE_RUN", "ENGINE_RUN"]


def test_an_engine_starts_on_a_repaired_journal(engine: EngineUnderTest) -> None:
    wait_for(lambda: engine.journal_path.stat().st_size > 4000, "entries in the newest file")
    assert engine.stop() == 0
    content = bytearray(engine.journal_path.read_bytes())
    content[-1000] ^= 1
    engine.journal_path.write_bytes(content)
    engine.start()
    assert engine.wait() == 161
    assert engine.cli("wal", "repair", "run").returncode == 1, "only shown"
    done = engine.cli("wal", "repair", "run", "--yes", "-o", "json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["repaired"]) == (0, True), done.stderr
    engine.restart()
    assert verified(engine)["last_lsn"] > told["tail_lsn"]
    wait_for(lambda: engine.records("POSITION_CLOSE"), "trades")
    engine.assert_ids_are_used_once()
    assert engine.stop() == 0
    assert verified(engine)["verdict"] == "clean"
