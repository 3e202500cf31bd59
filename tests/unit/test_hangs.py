"""Whether a child hangs, by its page and the passing of time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plain_config import plain_config

from actors.latch import Latch
from actors.page import Activity, Health, HealthPage
from supervisor import hangs
from supervisor.child import Child, ChildPhase, Condition
from supervisor.hangs import Stall, condition_of
from supervisor.lives import ProcessLife
from supervisor.restart import RestartPolicy

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


class Life(ProcessLife):
    """A process that is there, and notes the signals that it gets."""

    def __init__(self) -> None:
        self.pid, self.pidfd = os.getpid(), None
        self.signals: list[int] = []

    def exit_code(self) -> int | None:
        return None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Said:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def error(self, event: str, **facts: Any) -> None:
        self.events.append(facts)


@pytest.mark.parametrize(("activity", "mode", "signals", "halts"), [
    (Activity.WORKING, "paper", [signal.SIGABRT, signal.SIGKILL], False), (Activity.SYNCING, "paper", [], True),
    (Activity.HOOK, "replay", [], False),
])  # fmt: skip
def test_what_hangs_is_ended_but_not_with_its_disk_nor_in_a_replay(
    activity: Activity, mode: str, signals: list[int], halts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(hangs, "monotonic_s", lambda: clock.now_s)
    config, latch, said = plain_config(mode, run_dir=tmp_path), Latch.create_or_open(tmp_path / "latch"), Said()
    (tmp_path / "pages").mkdir()
    page = HealthPage.open(tmp_path / "pages" / "risk.page", writable=True)
    page.begin_life(1, os.getpid())
    child, life = Child("risk", RestartPolicy(1, 1.0)), Life()
    child.begin(life, 1)
    child.phase = ChildPhase.READY
    watch = hangs.HangWatch(config, [child], latch, said)
    page.set_activity(activity)
    conditions: list[str] = []
    while clock.now_s < 14:
        watch.look()
        conditions.append(child.condition)
        clock.now_s += watch.look_s
    assert list(dict.fromkeys(conditions)) == ["well", "slow", "hung"]
    assert list(dict.fromkeys(life.signals)) == signals
    assert len(said.events) == 1
    assert latch.is_halted() is halts
    page.loop()
    watch.look()
    assert child.condition is Condition.WELL
    page.close()
    latch.close()
