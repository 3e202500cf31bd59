"""A seeded selection of chaos.py: each fault once, each moment, and every process."""

from __future__ import annotations

from pathlib import Path

from chaos import run
from chaos_faults import EVERYONE, OTHERS, PHASES, SIGNALS, impossible_here

SEED = 54
FAULTS = len(SIGNALS) + len(OTHERS)


def test_after_every_kind_of_fault_the_engine_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    outcome = run(tmp_path, FAULTS - len(impossible_here()), SEED)
    assert {case.kind for case in outcome.cases} == {*SIGNALS, *OTHERS} - impossible_here().keys()
    assert {case.phase for case in outcome.cases} == {*PHASES}
    assert {name for case in outcome.cases for name in case.victims} == {*EVERYONE}
    assert outcome.orders >= outcome.executions // 2 > 0
