"""Children that die while the engine starts, with real processes: they come back in their turn, or the start ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.errors import ExitCode, SupervisionError
from protocol.settings import Config, parse_config
from supervisor.engine import Engine

STRATEGY = """
import os, signal
from pathlib import Path
from actors.strategies import Strategy

def die_once(where):
    if Path("die-" + where).exists():
        Path("die-" + where).unlink()
        os.kill(os.getpid(), signal.SIGKILL)

die_once("import")

class Dying(Strategy):
    def on_start(self):
        die_once("on_start")
        if Path("die-always").exists():
            os.kill(os.getpid(), signal.SIGKILL)
"""
CONFIG = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "dying"
class = "dying:Dying"
symbols = ["EURUSD"]
[gateway]
command = ""
telemetry = ""
broadcast = ""
[supervisor]
restarts = 2
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dying.py").write_text(STRATEGY, encoding="utf-8")
    return parse_config(CONFIG)


def incarnations(engine: Engine) -> dict[str, int]:
    assert engine._supervisor is not None
    return {child.name: child.incarnation for child in engine._supervisor.children.values() if child.incarnation > 1}


@pytest.mark.parametrize("where", ["import", "on_start"])
def test_a_child_that_dies_during_the_start_comes_back_and_the_engine_gets_ready(config: Config, where: str) -> None:
    Path(f"die-{where}").touch()
    with Engine(config) as engine:
        assert incarnations(engine) == {"strategy.dying": 2}
        assert engine.stop() is ExitCode.OK


def test_a_child_that_dies_at_every_start_ends_the_start_with_its_name(config: Config) -> None:
    Path("die-always").touch()
    engine = Engine(config)
    with pytest.raises(SupervisionError, match=r"strategy\.dying died more than 2 times"):
        engine.start()
    assert engine.exit_code is ExitCode.ESCALATED
    assert not engine.is_running or engine.wait(10) is ExitCode.ESCALATED
