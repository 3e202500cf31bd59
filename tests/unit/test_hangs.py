"""Whether a child hangs, by its page and the passing of time."""

from __future__ import annotations

import pytest

from actors.page import Activity, Health
from supervisor.hangs import Condition, Stall, condition_of

LOOK_S = 0.1
DEADLINES = {Activity.IDLE: 2.0, Activity.HOOK: 4.0, Activity.FOLDING: 0.0}


def stalled_for(stall: Stall, seconds: float, health: Health, start_s: float = 0.0) -> float:
    looks = round(seconds / LOOK_S)
    return max(stall.look(health, start_s + number * LOOK_S) for number in range(looks + 1))


def test_what_does_not_change_stalls_and_any_change_ends_it() -> None:
    stall, health = Stall(LOOK_S), Health(incarnation=1, loops=5)
    assert stalled_for(stall, 3.0, health) == pytest.approx(3.0)
    for changed in (Health(1, loops=6), Health(1, loops=6, since_ns=1), Health(1, loops=6, progress_ns=1), Health(2)):
        assert stall.look(changed, 3.1) == 0.0


def test_a_pause_of_who_looks_is_nobodys_hang() -> None:
    stall, health = Stall(LOOK_S), Health(incarnation=1)
    stalled_for(stall, 1.0, health)
    assert stall.look(health, 1000.0) <= 1.0 + 2 * LOOK_S + 1e-9


@pytest.mark.parametrize(("activity", "stalled_s", "condition"), [
    (Activity.IDLE, 0.9, Condition.WELL), (Activity.IDLE, 1.0, Condition.SLOW), (Activity.IDLE, 2.0, Condition.HUNG),
    (Activity.HOOK, 2.1, Condition.SLOW), (Activity.HOOK, 4.0, Condition.HUNG),
    (Activity.FOLDING, 1e9, Condition.WELL), (Activity.STOPPING, 1e9, Condition.WELL),
])  # fmt: skip
def test_each_activity_has_its_own_deadline(activity: Activity, stalled_s: float, condition: Condition) -> None:
    assert condition_of(activity, stalled_s, DEADLINES) is condition
