"""What a strategy starts ends with it: a helper, a fork, and one that has left its session; whoever is killed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import EngineUnderTest, config_tree, wait_for

from protocol.client import process_is_alive

HELPED = '''
"""Starts three helpers, each of which would live for an hour, and says who they are."""
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

from actors.strategies import Strategy

SLEEP = ["sleep", "3600"]
# Its helper is alone, in a session of its own, by the time that it is known.
DAEMON = "import subprocess; print(subprocess.Popen(['sleep', '3600'], start_new_session=True, stdout=-3).pid)"


class Helped(Strategy):
    def on_start(self):
        self.helper = subprocess.Popen(SLEEP)
        self.fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
        self.fork.start()
        daemon = subprocess.run(["python3", "-c", DAEMON], stdout=subprocess.PIPE).stdout
        new = Path("helpers.new")
        new.write_text(f"{os.getpid()} {self.helper.pid} {self.fork.pid} {daemon.decode()}")
        new.rename("helpers")
'''


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineUnderTest]:
    strategies = [{"name": "helped", "class": "helped:Helped", "symbols": ["EURUSD"]}]
    tree = config_tree(strategies=strategies, market_data={"rate": 20.0})
    with EngineUnderTest(tmp_path, tree, files={"helped.py": HELPED}) as engine:
        yield engine
        for pid in pids(engine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pids(engine: EngineUnderTest) -> list[int]:
    """Of the strategy's newest life, then of its helpers."""
    return [int(pid) for pid in (engine.directory / "helpers").read_text().split()]


def killed_strategy(engine: EngineUnderTest) -> None:
    before = pids(engine)
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: pids(engine) != before, "its next life")


def killed_supervisor(engine: EngineUnderTest) -> None:
    engine.process.kill()
    engine.process.wait()


def ordered_stop(engine: EngineUnderTest) -> None:
    assert engine.stop() == 0


@pytest.mark.parametrize("end", [killed_strategy, killed_supervisor, ordered_stop])
def test_whatever_a_strategy_has_started_ends_with_it(
    engine: EngineUnderTest, end: Callable[[EngineUnderTest], None]
) -> None:
    found = pids(engine)
    assert all(map(process_is_alive, found))
    end(engine)
    wait_for(lambda: not any(map(process_is_alive, found)), "all of them to be gone")
    if end is killed_supervisor:
        engine.restart()  # nothing of theirs is in its way
        assert not set(found) & set(pids(engine))
