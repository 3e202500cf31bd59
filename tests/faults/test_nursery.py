"""The process of which the children are forks: what if it dies, hangs, or cannot fork."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crashes import FILES, Tail, often
from harness import EngineUnderTest, config_tree, wait_for

from actors import nursery

NAME = "nursery"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineUnderTest]:
    with EngineUnderTest(tmp_path, config_tree(strategies=[often()]), files=FILES) as engine:
        yield engine


def kill(engine: EngineUnderTest) -> None:
    pid = engine.kill(NAME)
    wait_for(lambda: engine.child_pid(NAME) != pid, "its end")


def stop(engine: EngineUnderTest) -> None:
    os.kill(engine.child_pid(NAME), signal.SIGSTOP)


@pytest.mark.parametrize("harm", [kill, stop])
def test_without_its_nursery_an_engine_trades_on_and_the_next_child_begins_another(
    engine: EngineUnderTest, harm: Callable[[EngineUnderTest], None]
) -> None:
    before = engine.child_pid(NAME)
    harm(engine)
    Tail(engine).wait_for_fills("the end of its nursery")
    engine.kill_and_wait_ready("risk")
    assert engine.log_events("nursery_ended")
    assert engine.child_pid(NAME) not in (0, before)
    assert engine.stop() == 0


def test_a_nursery_whose_forks_cannot_live_is_replaced(engine: EngineUnderTest) -> None:
    pid = engine.child_pid(NAME)
    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    engine.kill_and_wait_ready("risk")
    assert engine.child_pid(NAME) not in (0, pid)
    assert engine.stop() == 0


def test_who_is_started_where_sigchld_is_ignored_starts_too(tmp_path: Path) -> None:
    """As some daemons leave it to what they start; a system then throws exit codes away."""
    engine = EngineUnderTest(tmp_path, config_tree(strategies=[often()]), files=FILES)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        engine.start()
    finally:
        signal.signal(signal.SIGCHLD, before)
    try:
        engine.wait_ready()
        engine.kill_and_wait_ready("risk")
        assert engine.stop() == 0
    finally:
        engine.close()


def test_a_nursery_that_hangs_ends_with_a_supervisor_that_is_killed(engine: EngineUnderTest) -> None:
    stop(engine)
    engine.process.kill()
    engine.process.wait()
    wait_for(lambda: not engine.pids(), "all processes to be gone")


def test_who_asks_for_a_stop_while_a_child_cannot_be_born_gets_it(engine: EngineUnderTest) -> None:
    stop(engine)
    engine.kill("risk")
    wait_for(lambda: engine.log_events("child_died", name="risk"), "the death to be known")
    assert engine.stop() == 0


def test_a_fork_is_a_child_of_the_supervisor_and_holds_nothing_of_the_nursery(engine: EngineUnderTest) -> None:
    for name in ("wal", "gateway", "strategy.often"):
        fork = Path(f"/proc/{engine.child_pid(name)}")
        fields = fork.joinpath("stat").read_text().rpartition(") ")[2].split()
        assert int(fields[1]) == engine.child_pid("supervisor")
    held = {os.readlink(fd) for fd in Path(f"/proc/{engine.child_pid(NAME)}/fd").iterdir()}
    assert not any(str(engine.run_dir) in path for path in held), "nor does it hold the lock"


def test_why_the_system_does_not_fork_is_what_the_supervisor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refused)
    assert nursery._fork() == b"0 Resource temporarily unavailable"
