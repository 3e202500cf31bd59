"""A replay that is killed and resumed has, byte for byte, the journal of one that was not; the long run in small."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from replay_kills import ALL, SUPERVISOR, Replays

TICKS = 1_500


def csv_text() -> str:
    random, bid, lines = Random(3), 110_000, ["timestamp,bid,ask"]
    for number in range(TICKS):
        bid += random.randint(-3, 3)
        when = f"2024-01-02T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
        lines.append(f"{when},{bid / 1e5:.5f},{(bid + 2) / 1e5:.5f}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("has_state", "victims"), [
    (True, ["risk", ALL, "strategy.busy", "wal"]),
    (False, ["order_routing", SUPERVISOR]),
])  # fmt: skip
def test_kills_leave_no_trace_in_the_journal(tmp_path: Path, has_state: bool, victims: list[str]) -> None:
    data = tmp_path / "ticks.csv"
    data.write_text(csv_text(), encoding="utf-8")
    replays = Replays(tmp_path, data, "EURUSD", has_state=has_state, checkpoint_ticks=300)
    expected, run_s = replays.undisturbed()
    assert len(expected) > 3, "checkpoints"
    while replays.kills.total() < len(victims):
        replays.killed(victims, Random(replays.made), expected, run_s)
