"""Our tests see: with a fault planted in it, the code breaks a promise that the histories, or a named test, notice."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import planted_copies
import pytest
from histories import STEPS
from history import Counts, History, choosing_by, play
from journal_history import JournalHistory
from log_history import LogHistory
from planted import FAULTS, planted

HISTORIES_MAX = 3000
ELSEWHERE = {
    "not deduplicated": "tests/unit/test_wal_actor.py::test_exactly_the_next_number_is_accepted",
    "chain not checked": (
        "tests/unit/test_wal_recovery.py::test_an_entry_with_a_good_crc_is_bad_if_it_does_not_follow"
    ),
    "ZAP handler not started": (
        "tests/pipeline/test_curve.py::test_in_one_process_a_key_is_let_in_and_a_wrong_one_is_not"
    ),
    "ZAP not enforced": "tests/unit/test_security.py::test_zap_with_no_handler_running_accepts_nobody",
    "commands not looked at again": (
        "tests/unit/test_security.py::test_the_list_is_read_again_and_says_who_came_and_went"
    ),
}
"""What no disk shows."""
RARE = {"plain file gone before the packed one"}
"""At a call that histories come to once in thousands: test_every_call.py plants it."""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {*ELSEWHERE, *RARE}])
def test_a_history_breaks_a_promise_when_a_fault_is_planted(name: str) -> None:
    kind = LogHistory if name.startswith("log ") else JournalHistory
    with planted(name):
        assert _breaks_a_promise(kind)


def _breaks_a_promise(kind: type[History]) -> bool:
    for number in range(HISTORIES_MAX):
        try:
            play(kind, choosing_by(Random(f"planted:{number}")), STEPS, Counts())
        except Exception:  # a promise, or what the fault leads to
            return True
    return False


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_named_test_fails_when_a_fault_is_planted(name: str) -> None:
    assert _exit_code_with(name, ELSEWHERE[name]) == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_fits_the_code(name: str) -> None:
    sound = FAULTS[name].function.__code__
    with planted(name):
        assert FAULTS[name].function.__code__ != sound


@pytest.mark.parametrize("name", planted_copies.FAULTS)
def test_every_fault_of_the_processes_fits_the_code_and_its_test_is_there(name: str, tmp_path: Path) -> None:
    """That it is caught takes half a minute each: `python -m tests.faults.planted_copies`."""
    fault = planted_copies.FAULTS[name]
    planted_copies.copy_project(tmp_path)
    planted_copies.plant(fault, tmp_path)
    module, _, test = fault.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (tmp_path / module).read_text(encoding="utf-8")
    compile((tmp_path / fault.path).read_text(encoding="utf-8"), fault.path, "exec")


def test_a_fault_that_does_not_fit_the_code_is_no_failing_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAULTS, "stale", replace(FAULTS["not deduplicated"], sound="what stood there once"))
    with pytest.raises(LookupError), planted("stale"):
        pass
    assert _exit_code_with("no such fault", ELSEWHERE["not deduplicated"]) == pytest.ExitCode.USAGE_ERROR


def _exit_code_with(name: str, test: str) -> int:
    command = [sys.executable, "tests/faults/planted.py", name, test]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
