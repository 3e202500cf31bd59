"""What a process may take: a strategy that leaks ends by itself, and the others do not notice."""

from __future__ import annotations

import os
from pathlib import Path

from crashes import FILES, Tail, often
from harness import EngineUnderTest, config_tree, wait_for

LEAK = '''
"""Keeps all that it can get, once the file `leak` is there."""
import os

from crashes import Often


class Leak(Often):
    hoard = []

    def on_tick(self, tick):
        while os.path.exists("leak"):
            self.hoard.append(bytearray(1 << 20))
        super().on_tick(tick)
'''


def test_a_strategy_that_leaks_is_ended_and_parked_and_the_others_trade_on(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    leak = {"name": "leak", "class": "leak:Leak", "symbols": ["EURUSD"]}
    limits = {"strategy.leak": {"memory_mb": 300}, "risk": {"files": 128, "cpus": [cpu]}}
    tree = config_tree(strategies=[often(), leak], supervisor={"restarts": 1, "limits": limits})
    with EngineUnderTest(tmp_path, tree, files={**FILES, "leak.py": LEAK}) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        risk = engine.child_pid("risk")
        assert risk
        assert os.sched_getaffinity(risk) == {cpu}
        assert "Max open files            128                  128" in Path(f"/proc/{risk}/limits").read_text()
        (tmp_path / "leak").touch()
        wait_for(lambda: engine.log_events("child_parked", name="strategy.leak"), "it to be parked")
        assert "MemoryError" in engine.log_text()
        tail.wait_for_fills("the end of the leak")
        assert engine.stop() == 0


def test_a_processor_that_is_not_there_is_a_mistake_at_the_start(tmp_path: Path) -> None:
    tree = config_tree(supervisor={"limits": {"risk": {"cpus": [4096]}}})
    engine = EngineUnderTest(tmp_path, tree)
    try:
        engine.start()
        assert engine.wait() == 2
        assert "supervisor.limits.risk" in engine.log_text()
    finally:
        engine.close()
