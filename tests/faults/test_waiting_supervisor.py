"""While the supervisor waits for one, it goes on for all the others."""

from __future__ import annotations

from pathlib import Path

from crashes import FILES, Tail, often
from harness import EngineUnderTest, config_tree, wait_for

from actors.page import HealthPage

DYING = '''
"""Dies of its first tick, in each of its lives."""
from actors.strategies import Strategy


class Dying(Strategy):
    def on_tick(self, tick):
        raise RuntimeError("as always")
'''
CHILD = "strategy.dying"
TURNS = 40
"""Of the supervisor's main loop, a second or two: none is made by whoever waits in it."""


def test_nobody_waits_with_the_supervisor_for_a_child_whose_restart_is_put_off(tmp_path: Path) -> None:
    """openalgo #1737: waiting for one dying child under a lock froze the app."""
    dying = {"name": "dying", "class": "dying:Dying", "symbols": ["EURUSD"]}
    tree = config_tree(strategies=[often(), dying], supervisor={"restarts": 1000, "window_s": 600.0})
    with EngineUnderTest(tmp_path, tree, files={**FILES, "dying.py": DYING}) as engine:
        page = HealthPage.open(engine.run_dir / "pages" / "supervisor.page", writable=False)

        def turns_while_it_is_dead() -> bool:
            life = _waited_for(engine)
            turns = page.read().loops + TURNS
            wait_for(lambda: page.read().loops >= turns or _waited_for(engine) != life, "turns, or its next life")
            return page.read().loops >= turns and life == _waited_for(engine) > 0

        wait_for(turns_while_it_is_dead, "the main loop to go on while the child waits for its next life")
        engine.kill_and_wait_ready("gateway")
        Tail(engine).wait_for_fills("all that")
        page.close()
        assert engine.stop() == 0


def _waited_for(engine: EngineUnderTest) -> int:
    """How many lives it has had, if the last one's death is known and no process of the next is there; else 0."""
    readies, deaths = (len(engine.log_events(event, name=CHILD)) for event in ("child_ready", "child_died"))
    return deaths if deaths == readies and not engine.child_pid(CHILD) else 0
