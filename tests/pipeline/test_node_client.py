"""A client in another language, by another binding of ZeroMQ: deploy/examples/node reads both feeds and halts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE_S, ROOT, EngineUnderTest, config_tree

EXAMPLE = ROOT / "deploy" / "examples" / "node"


UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its one dependency, as its first lines say."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("no node, or no npm (Debian: apt-get install npm)")
    directory = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("node_modules"))
    words = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode and any(code in done.stderr for code in UNREACHABLE):
        pytest.skip(f"npm does not reach its registry: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return directory


def test_a_client_in_javascript_reads_ticks_and_telemetry_and_halts(tmp_path: Path, installed: Path) -> None:
    with EngineUnderTest(tmp_path, config_tree()) as engine:
        sockets = [f"--{name}={engine.endpoint(name)}" for name in ("command", "telemetry", "broadcast")]
        done = subprocess.run(
            ["node", "watch.mjs", "--ticks", "300", "--halt", "enough seen", *sockets],
            cwd=installed, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = [json.loads(line) for line in done.stdout.splitlines()]
        ticks = [fact for fact in said if fact["type"] == "tick"]
        assert len(ticks) == 300
        assert {tick["symbol"] for tick in ticks} == {"EURUSD"}
        assert all(0.5 < tick["bid"] < tick["ask"] < tick["bid"] + 0.0001 for tick in ticks)
        assert [tick["time"] for tick in ticks] == sorted(tick["time"] for tick in ticks)
        (reply,) = [fact for fact in said if fact["type"] == "reply"]
        assert (reply["status"], reply["response"]) == ("ok", "Trading halted")
        halted = {"type": "trading_state", "state": "HALTED", "by": "operator", "reason": "enough seen"}
        assert halted in said
        assert {"account", "actor_stats"} & {fact["type"] for fact in said}
        assert engine.ask("STATUS")["halted"] is True
