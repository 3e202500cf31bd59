"""Children that die while the engine starts, with real processes: they come back in their turn, or the start ends."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from protocol.errors import ConfigError, ExitCode
from protocol.settings import Config, parse_config
from supervisor.child import ChildPhase
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
        if Path("hang").exists():
            signal.pause()
        die_once("on_start")
        if Path("die-always").exists():
            os.kill(os.getpid(), signal.SIGKILL)
"""
QUIET = "from actors.strategies import Strategy\n\nclass Quiet(Strategy):\n    pass\n"
ANOTHER = """
[[strategies]]
name = "quiet"
class = "quiet:Quiet"
symbols = ["EURUSD"]
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
    (tmp_path / "quiet.py").write_text(QUIET, encoding="utf-8")
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


def test_a_strategy_that_dies_at_every_start_ends_it_with_code_2_and_halts_nothing_if_it_is_the_only_one(
    config: Config,
) -> None:
    Path("die-always").touch()
    engine = Engine(config)
    with pytest.raises(ConfigError, match=r"no strategy could be started: strategy\.dying died more than 2 times"):
        engine.start()
    assert engine.wait(10) is ExitCode.USAGE
    Path("die-always").unlink()
    with Engine(config) as again:
        assert again._supervisor is not None
        assert not again._supervisor.latch.is_halted()


def test_a_strategy_that_dies_at_every_start_is_parked_and_the_others_go_on(config: Config) -> None:
    Path("die-always").touch()
    with Engine(with_another(config)) as engine:
        assert_only_the_other_runs(engine, "died more than 2 times")


def test_a_strategy_that_hangs_at_the_start_is_parked_and_the_others_go_on(config: Config) -> None:
    Path("hang").touch()
    supervisor = msgspec.structs.replace(config.supervisor, ready_timeout_s=8.0)
    with Engine(msgspec.structs.replace(with_another(config), supervisor=supervisor)) as engine:
        assert_only_the_other_runs(engine, r"did not say READY within supervisor.ready_timeout_s = 8.0")


def with_another(config: Config) -> Config:
    strategies = parse_config(CONFIG + ANOTHER).strategies
    return msgspec.structs.replace(config, strategies=strategies)


def assert_only_the_other_runs(engine: Engine, reason: str) -> None:
    supervisor = engine._supervisor
    assert supervisor is not None
    assert list(supervisor.parked) == ["strategy.dying"]
    assert reason in supervisor.parked["strategy.dying"]
    phases = {child.name: child.phase for child in supervisor.children.values()}
    assert phases.pop("strategy.dying") is ChildPhase.PARKED
    assert set(phases.values()) == {ChildPhase.READY}
    assert not supervisor.latch.is_halted()
    assert engine.stop() is ExitCode.OK
