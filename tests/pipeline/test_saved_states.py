"""A strategy whose saved state its code does not take: the start says the way out, and `--forget-state` is it."""

from __future__ import annotations

from pathlib import Path

from harness import EngineUnderTest, config_tree, sma_cross, wait_for

KEEPER = """
from actors.strategies import Strategy

class Keeper(Strategy):
    def on_tick(self, tick):
        self.buy(tick.symbol, 1)

    def save(self):
        return {"kept": 1}

    def load(self, state):
        assert "other" in state, "an older shape"
"""


def keeper(name: str) -> dict[str, object]:
    return {"name": name, "class": "keeper:Keeper", "symbols": ["EURUSD"]}


def has_state(engine: EngineUnderTest) -> bool:
    return any("strategy.kept" in event["states"] for event in engine.log_events("checkpoint_written"))


def test_a_load_that_raises_parks_its_strategy_and_forgetting_the_state_brings_it_back(tmp_path: Path) -> None:
    tree = config_tree(wal={"checkpoint_records": 20}, strategies=[keeper("kept"), sma_cross("sma", ["EURUSD"])])
    with EngineUnderTest(tmp_path, tree, files={"keeper.py": KEEPER}) as engine:
        wait_for(lambda: has_state(engine), "a checkpoint with the state")
        assert engine.stop() == 0

        engine.start()
        engine.wait_ready()
        told = engine.log_events("child_parked")
        assert told[0]["name"] == "strategy.kept"
        for words in ("'kept' (keeper:Keeper)", "as of LSN", "an older shape", "--forget-state kept"):
            assert words in told[0]["reason"]
        assert not engine.client.status()["halted"]
        assert engine.stop() == 0

        engine.start("--forget-state", "nobody")
        assert engine.wait() == 2
        engine.start("--forget-state", "kept")
        engine.wait_ready()
        assert not engine.log_events("child_parked")
        assert engine.log_events("state_forgotten")
        assert engine.stop() == 0


def test_the_only_strategys_load_that_raises_refuses_the_start_and_halts_nothing(tmp_path: Path) -> None:
    tree = config_tree(wal={"checkpoint_records": 20}, strategies=[keeper("kept")])
    with EngineUnderTest(tmp_path, tree, files={"keeper.py": KEEPER}) as engine:
        wait_for(lambda: has_state(engine), "a checkpoint with the state")
        assert engine.stop() == 0
        engine.start()
        assert engine.wait() == 2
        assert "no strategy could be started: strategy 'kept'" in engine.log_text()
        engine.start("--forget-state", "kept")
        engine.wait_ready()
        assert not engine.client.status()["halted"]
        assert engine.stop() == 0
