"""Faults planted in the engine's processes: a copy of the project with a few characters changed, and a test that fails.

    python -m tests.faults.planted_copies [NAME...]

planted.py changes functions of the process that tests; what runs in processes of its own takes a copy. Each fault must
make its test fail, which passes in the same copy before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("protocol", "actors", "supervisor", "tests", "deploy", "pyproject.toml", "README.md")
DEADLINE_S: Final = 20
"""Of whatever the test waits for: what a fault keeps from happening is waited for in vain."""


@dataclass(frozen=True)
class Fault:
    path: str
    sound: str
    """Stands once in the file."""
    faulty: str
    test: str


BEATS: Final = """        self.loop = Loop(self.page)
        beat = lambda: any(iter(lambda: threading.Event().wait(0.02) or self.page.loop(), True))
        threading.Thread(target=beat, daemon=True).start()
"""
FAULTS: Final = {
    "a heartbeat from a helper thread": Fault(
        "actors/base.py", "        self.loop = Loop(self.page)\n", BEATS,
        "tests/faults/test_hung_children.py::"
        "test_a_strategy_in_an_endless_loop_leaves_its_stacks_and_is_parked_while_the_other_trades_on",
    ),
    "everybody waits with the supervisor for a child": Fault(
        "supervisor/supervision.py", "self.loop.after(outcome.pause_s, lambda: self._restart(child))",
        "__import__('time').sleep(outcome.pause_s); self._restart(child)",
        "tests/faults/test_waiting_supervisor.py::"
        "test_nobody_waits_with_the_supervisor_for_a_child_whose_restart_is_put_off",
    ),
    "a strategy's helpers are left behind": Fault(
        "actors/descendants.py", "os.kill(int(entry.name), signal.SIGKILL)", "pass",
        "tests/faults/test_descendants.py::test_whatever_a_strategy_has_started_ends_with_it[killed_strategy]",
    ),
}  # fmt: skip


def copy_project(directory: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)


def plant(fault: Fault, directory: Path) -> None:
    """Raises: LookupError if it does not fit the code any more."""
    path = directory / fault.path
    text = path.read_text(encoding="utf-8")
    if text.count(fault.sound) != 1:
        raise LookupError(f"{fault.path} is not what the fault was made for")
    path.write_text(text.replace(fault.sound, fault.faulty), encoding="utf-8")


def is_caught(fault: Fault) -> bool:
    """Whether its test fails: not for want of the fault, nor of the test."""
    with tempfile.TemporaryDirectory() as directory:
        copy_project(Path(directory))
        if not _passes(fault.test, directory):
            raise RuntimeError(f"{fault.test} fails without the fault")
        plant(fault, Path(directory))
        return not _passes(fault.test, directory)


def _passes(test: str, directory: str) -> bool:
    environment = os.environ | {"PYTHONPATH": directory, "SEAWALL_TEST_DEADLINE_S": str(DEADLINE_S)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the test did not run: {done.stdout}")
    return done.returncode == 0


def main(names: Sequence[str]) -> int:
    missed = 0
    for name in names or FAULTS:
        begun = time.monotonic()
        caught = is_caught(FAULTS[name])
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}  {name}  ({time.monotonic() - begun:.0f} s)", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
