"""The histories of the log and the journal, in the number that CI has time for; histories.py runs as many as wanted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from histories import STEPS, main
from history import Counts, History, choosing_by, machine_of, play
from hypothesis import HealthCheck, settings
from journal_history import JournalHistory
from log_history import LogHistory
from planted import planted

ROOT = Path(__file__).parents[2]
SEEDED = 500
MACHINES = settings(
    max_examples=30, stateful_step_count=12, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


@pytest.mark.parametrize("kind", [LogHistory, JournalHistory])
def test_what_was_acknowledged_is_there_in_order_unchanged_after_whatever_happened(kind: type[History]) -> None:
    counts = Counts()
    for number in range(SEEDED):
        play(kind, choosing_by(Random(number)), STEPS, counts)
    assert counts.steps == SEEDED * STEPS
    assert min(counts.kills, counts.power_losses, counts.deaths, counts.failures, counts.torn_tails) > SEEDED / 2
    assert (min(counts.rolls, counts.fresh_files) > SEEDED / 2) == (kind is JournalHistory)


class TestLogMachine(machine_of(LogHistory).TestCase):
    """The same steps, chosen and shrunk by hypothesis."""

    settings = MACHINES


class TestJournalMachine(machine_of(JournalHistory).TestCase):
    settings = MACHINES


def test_the_long_run_counts_what_it_did_and_ends_with_0() -> None:
    command = [sys.executable, "-m", "tests.faults.histories", "--histories", "40", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "seed 1\n")
    assert done.stdout.startswith("40 histories, 800 steps, ")
    assert done.stdout.endswith("(seed 1): no promise broken\n")


def test_a_broken_promise_is_told_with_its_seed_number_and_steps_and_comes_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with planted("failure not final"):
        assert main(["--histories", "40", "--seed", "1"]) == 1
        told = capsys.readouterr().out
        again = re.search(r"\nagain: python -m tests\.faults\.histories (--seed 1 --only (\d+))\n\Z", told)
        assert again is not None
        assert main(again[1].split()) == 1
        assert capsys.readouterr().out == told
    assert told.startswith(f"JournalHistory {again[2]} of seed 1 breaks a promise.")
    assert re.search(r"\n    [a-z_]+\n    simulated \w+ .*: (Input/output error|No space left)", told)
    assert re.search("AssertionError: done in spite of: simulated|WalSyncError: .* and was left at", told)
    assert main(again[1].split()) == 0, "without the fault that history keeps its promises"
