"""Children that hang: noticed by their pages, killed with their stacks in the log, and back again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from crashes import CHILDREN, FILES, Tail, often, trading_engine
from harness import EngineUnderTest, config_tree, wait_for

DEADLINES = {"idle": 0.5, "working": 2.0, "hook": 0.5, "venue_call": 2.0}
"""A child under SIGSTOP is idle, most likely."""
STUCK = '''
"""Trades, and is caught in its own loop once the file `stick` is there."""
import os

from crashes import Often


class Stuck(Often):
    def on_tick(self, tick):
        while os.path.exists("stick"):
            pass
        super().on_tick(tick)
'''


def test_whichever_child_is_stopped_it_is_killed_and_comes_back(tmp_path: Path) -> None:
    """ZeroMQ: its I/O thread would answer heartbeats for it, were it in a busy loop."""
    supervisor = {"restarts": 1000, "window_s": 0.2, "deadlines": DEADLINES}
    with trading_engine(tmp_path, supervisor=supervisor) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        for child in CHILDREN:
            pid = wait_for(lambda child=child: engine.child_pid(child), f"a process of {child}")
            before, hangs = (len(engine.log_events(event, name=child)) for event in ("child_ready", "child_hung"))
            os.kill(pid, signal.SIGSTOP)
            found = wait_for(
                lambda child=child, hangs=hangs: engine.log_events("child_hung", name=child)[hangs:], "its hang"
            )
            assert found[0]["deadline"].startswith("supervisor.deadlines.")
            wait_for(
                lambda child=child, before=before: len(engine.log_events("child_ready", name=child)) > before,
                f"the next life of {child}",
            )
            tail.wait_for_fills(f"the return of {child}")
        assert not engine.ask("STATUS")["halted"]
        assert engine.stop() == 0


def test_a_strategy_in_an_endless_loop_leaves_its_stacks_and_is_parked_while_the_other_trades_on(
    tmp_path: Path,
) -> None:
    """freqtrade #11957: heartbeats went on while the work had stopped. supervisord #168: it comes back for ever."""
    stuck = {"name": "stuck", "class": "stuck:Stuck", "symbols": ["EURUSD"]}
    tree = config_tree(strategies=[often(), stuck], supervisor={"restarts": 1, "deadlines": DEADLINES})
    with EngineUnderTest(tmp_path, tree, files={**FILES, "stuck.py": STUCK}) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        (tmp_path / "stick").touch()
        wait_for(lambda: engine.log_events("child_parked", name="strategy.stuck"), "it to be parked")
        assert len(engine.log_events("child_hung", name="strategy.stuck", activity="hook")) == 2
        assert 'File "' + str(tmp_path / "stuck.py") in engine.log_text(), "the stacks say where"
        tail.wait_for_fills("the other's parking")
        assert engine.stop() == 0
