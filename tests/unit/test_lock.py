"""One engine per run_dir, tried against real processes: the lock is free when the last child is dead (S1)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocol.client import engine_pid
from protocol.errors import ConfigError
from supervisor import lock
from supervisor.lock import RunDirLock

SUPERVISOR = """
import subprocess, sys
from pathlib import Path
from supervisor.lock import RunDirLock
held = RunDirLock(Path(sys.argv[1]))
child = subprocess.Popen(["cat"], pass_fds=(held.fd,), stdin=int(sys.argv[2]), stdout=subprocess.DEVNULL)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def a_supervisor_with_a_child(run_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process, and the end of a pipe: the child, which has inherited the lock, lives until that is closed."""
    read, write = os.pipe()
    arguments = [sys.executable, "-c", SUPERVISOR, str(run_dir), str(read)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(read,)) as process:
        os.close(read)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process, write
        finally:
            process.kill()
            for end in {write} & {int(name) for name in os.listdir("/proc/self/fd")}:
                os.close(end)


def test_a_free_lock_is_taken_and_names_its_holder(tmp_path: Path) -> None:
    held = RunDirLock(tmp_path / "a" / "run")
    assert (tmp_path / "a" / "run" / "lock").read_text(encoding="ascii") == f"{os.getpid()}\n"
    assert engine_pid(tmp_path / "a" / "run") == os.getpid()
    held.release()
    assert engine_pid(tmp_path / "a" / "run") is None
    assert (tmp_path / "a" / "run" / "lock").exists(), "never unlinked"
    RunDirLock(tmp_path / "a" / "run").release()


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789012\n", encoding="ascii")
    held = RunDirLock(tmp_path)
    assert (tmp_path / "lock").read_text(encoding="ascii") == f"{os.getpid()}\n"
    held.release()


def test_a_second_engine_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with a_supervisor_with_a_child(tmp_path) as (process, _):
        descriptors = os.listdir("/proc/self/fd")
        with pytest.raises(ConfigError, match=f"locked by another engine, pid {process.pid};"):
            RunDirLock(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_a_start_waits_until_the_last_child_of_a_killed_supervisor_is_dead(tmp_path: Path) -> None:
    with a_supervisor_with_a_child(tmp_path) as (process, write):
        process.kill()
        process.wait()
        assert engine_pid(tmp_path) == process.pid, "the child holds it still"
        waits = {"n": 0}

        def sleep(_: float) -> None:
            waits["n"] += 1
            if waits["n"] == 3:
                os.close(write)
            os.sched_yield()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "time", _Clock(sleep))
            held = RunDirLock(tmp_path)
        assert waits["n"] >= 3
        assert engine_pid(tmp_path) == os.getpid()
        held.release()


def test_a_start_that_waits_in_vain_says_whose_children_hold_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEFTOVER_WAIT_S", 0.0)
    with a_supervisor_with_a_child(tmp_path) as (process, _):
        process.kill()
        process.wait()
        with pytest.raises(ConfigError, match=rf"children of a dead supervisor \(pid {process.pid}\)"):
            RunDirLock(tmp_path)


def test_a_run_dir_that_cannot_be_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"engine.run_dir = .*Not a directory"):
        RunDirLock(tmp_path / "file" / "run")


class _Clock:
    """time, with a sleep that the test sees."""

    def __init__(self, sleep: object) -> None:
        self.sleep = sleep
        self.monotonic = time.monotonic
