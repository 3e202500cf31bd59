"""What `seawall init` writes works as its README says: the test passes, the replay trades, the engine runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, EngineUnderTest, config_tree, wait_for


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("init") / "first"
    assert run(directory.parent, "seawall init first").returncode == 0
    return directory


def run(directory: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As in a shell of an activated environment; nothing of this repository but what is installed is at hand."""
    program, *words = shlex.split(command, comments=True)
    started = {"seawall": ["-m", "supervisor.cli.main"], "python": []}.get(program)
    return subprocess.run(
        [program, *words] if started is None else [sys.executable, *started, *words],
        cwd=directory, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def commands(project: Path) -> list[list[str]]:
    """The README's, block by block."""
    text = (project / "README.md").read_text()
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]


def test_the_readmes_first_block_tests_the_strategy_and_replays_it(project: Path) -> None:
    told = {}
    for command in commands(project)[0]:
        done = run(project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        told[command.split("#")[0].strip()] = done.stdout
    assert "3 passed" in told["python -m pytest"]
    summary = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in told["seawall run replay.toml"].splitlines())
    assert summary["rows"] == "1000"
    assert int(summary["fills"]) > 10
    assert not (project / "run-replay").exists(), "the last line makes room for the next replay"


def test_the_strategys_test_fails_for_a_strategy_that_does_not_turn(project: Path, tmp_path: Path) -> None:
    for name in ("breakout.py", "test_breakout.py"):
        (tmp_path / name).write_text((project / name).read_text().replace("self.turn(tick.symbol, -1)", "pass"))
    done = run(tmp_path, "python -m pytest")
    assert (done.returncode, "1 failed, 2 passed" in done.stdout) == (1, True), done.stdout


def test_the_live_engine_trades_and_the_readmes_commands_reach_it(project: Path) -> None:
    """Only the ports are changed: others may have them."""
    tree = config_tree(engine={"name": "first"})
    text = (project / "seawall.toml").read_text()
    engine = EngineUnderTest(project, tree)
    for key, default in (("command", 5556), ("telemetry", 5557), ("broadcast", 5555)):
        text = text.replace(f"tcp://127.0.0.1:{default}", tree["gateway"][key])
    engine.config_path.write_text(text)
    with engine:
        wait_for(lambda: engine.records("ORDER_UPDATE", report=2), "a fill of the strategy that init wrote")
        for command in commands(project)[2]:
            done = run(project, command)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert engine.wait() == 0
