"""restart, park and unpark, as an operator types them: the rest trades on."""

from __future__ import annotations

from pathlib import Path

from crashes import FILES, Tail, often
from harness import EngineUnderTest, config_tree, wait_for

from protocol.errors import ExitCode


def test_processes_are_restarted_parked_and_brought_back_while_the_rest_trades_on(tmp_path: Path) -> None:
    """circus #809: it restarted what an operator had stopped."""
    resting = {"name": "resting", "class": "crashes:Resting", "symbols": ["EURUSD"]}
    tree = config_tree(strategies=[often(), resting], supervisor={"restarts": 0})
    with EngineUnderTest(tmp_path, tree, files=FILES) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        for child in ("risk", "gateway", "wal"):  # with restarts = 0 one death by itself would end the engine
            told = engine.cli("restart", child, "--run-dir", str(engine.run_dir))
            assert told.returncode == ExitCode.OK, told.stderr
            assert f"{child} is ready" in told.stderr
            assert len(engine.log_events("child_ready", name=child)) == 2
            tail.wait_for_fills(f"the restart of {child}")
        wait_for(lambda: [row for row in engine.ask("ORDERS")["orders"] if row["strategy"] == "resting"], "it to rest")
        assert engine.cli("park", "resting", "--run-dir", str(engine.run_dir)).returncode == ExitCode.OK
        wait_for(lambda: not engine.ask("ORDERS")["orders"], "the orders of what is parked to be cancelled")
        again = engine.cli("park", "resting", "--run-dir", str(engine.run_dir))
        assert (again.returncode, "parked already" in again.stderr) == (ExitCode.FAILURE, True)
        tail.wait_for_fills("the parking of the other")
        assert not engine.child_pid("strategy.resting")
        assert engine.cli("unpark", "strategy.resting", "--run-dir", str(engine.run_dir)).returncode == ExitCode.OK
        wait_for(lambda: [row for row in engine.ask("ORDERS")["orders"] if row["strategy"] == "resting"], "it to trade")
        refused = engine.ask("RESTART risk")
        assert (refused["status"], "control socket only" in refused["response"]) == ("error", True)
        assert engine.stop() == 0
