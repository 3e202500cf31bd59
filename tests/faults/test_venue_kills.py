"""A few kills with the venue outside; the long run of this is venue_kills.py."""

from __future__ import annotations

from pathlib import Path

from venue_kills import VICTIMS, run


def test_journal_and_venue_say_the_same_whoever_is_killed(tmp_path: Path) -> None:
    orders, executions = run(tmp_path, len(VICTIMS))
    assert orders >= executions > len(VICTIMS)
