"""A seeded selection of chaos.py, every kind of fault in it."""

from __future__ import annotations

from pathlib import Path

from chaos import FAULTS, run


def test_after_every_kind_of_fault_the_engine_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    done, orders, executions = run(tmp_path, len(FAULTS), seed=20261128)
    assert {name.rpartition(" ")[0] for name in done} == set(FAULTS)
    assert orders >= executions // 2 > 0
