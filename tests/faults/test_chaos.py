"""A seeded selection of chaos.py: each fault once, each moment, and every process."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from chaos import draw, parse_case, run
from chaos_faults import EVERYONE, OTHERS, PHASES, SIGNALS, impossible_here

SEED = 187
FAULTS = len(SIGNALS) + len(OTHERS)


def test_after_every_kind_of_fault_the_engine_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    outcome = run(tmp_path, list(islice(draw(SEED), FAULTS - len(impossible_here()))), SEED)
    assert {case.kind for case in outcome.cases} == {*SIGNALS, *OTHERS} - impossible_here().keys()
    assert {case.phase for case in outcome.cases} == {*PHASES}
    assert {name for case in outcome.cases for name in case.victims} == {*EVERYONE}
    assert outcome.orders >= outcome.executions // 2 > 0


def test_a_case_is_read_as_it_is_printed() -> None:
    cases = list(islice(draw(SEED), 60))
    assert [parse_case(str(case)) for case in cases] == cases
