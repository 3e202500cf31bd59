"""One step of a history with one fault: at each call of the disk that it makes, in turn; and the start after it.

Where random histories come to a place once in thousands, this comes to each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from random import Random
from typing import Any, Final

from history import History, choosing_by
from journal_history import JournalHistory
from log_history import LogHistory
from simulated_disk import Fault, SimulatedDisk

FAULTS: Final = {"kill": Fault.DEATH, "power loss": Fault.DEATH, "EIO": Fault.EIO, "ENOSPC": Fault.ENOSPC}
"""What a call of the disk may meet. How much of it is done all the same (a short write) is drawn."""
CALLS_MAX: Final = 100
"""More than any step makes."""
FIRST_START: Final = "first start"


@dataclass(frozen=True)
class Scene:
    kind: type[History]
    before: tuple[str, ...]
    """What has happened, undisturbed, when the step comes."""
    after: tuple[str, ...]
    steps: Mapping[str, Callable[[Any], object]]


def start_in_a_copy(history: JournalHistory) -> None:
    history.has_failed = True
    history.kill_or_lose_power()


SCENES: Final = {
    # Five sealed files, a watermark, and records that are not synced.
    "journal": Scene(
        JournalHistory,
        ("commit", "checkpoint") * 5 + ("write_watermark", "append"),
        ("checkpoint", "consume", "close_and_open"),
        {
            FIRST_START: lambda history: None,
            "append": JournalHistory.append,
            "commit": JournalHistory.commit,
            "sync": JournalHistory.sync,
            "write_watermark": JournalHistory.write_watermark,
            "checkpoint": JournalHistory.checkpoint,
            "tidy": lambda history: history.tidy(3),  # two go, two are packed
            "close_and_open": JournalHistory.close_and_open,
            "start": JournalHistory.kill_or_lose_power,
            "start in a copy": start_in_a_copy,
        },
    ),
    "log": Scene(
        LogHistory,
        ("append", "mark_checkpoint", "append", "append"),
        ("append", "truncate_to_checkpoint", "close_and_open"),
        {
            FIRST_START: lambda history: None,
            "append": LogHistory.append,
            "mark_checkpoint": LogHistory.mark_checkpoint,
            "truncate_to_checkpoint": LogHistory.truncate_to_checkpoint,
            "clear": LogHistory.clear,
            "close_and_open": LogHistory.close_and_open,
            "open_truncated": LogHistory.open_truncated,
            "start": LogHistory.kill_or_lose_power,
        },
    ),
}


def play_every_call(scene: str, step: str, fault: str, seed: int, *, start_too: bool = False) -> int:
    """How many calls met the fault, each in a history of its own. Raises: what a broken promise raises.

    A step is one undertaking or more (a close, an opening, a creation); the fault comes at the nth call of the kth, for
    every k and n. start_too: for each of them, at every call of the start after it as well.
    """
    met = 0
    for undertaking in count(1):
        calls = 0
        for calls in range(CALLS_MAX):
            if not _play(scene, step, fault, {undertaking: calls + 1}, seed):
                break
            met += 1
            starts = range(1, CALLS_MAX if start_too else 1)
            plans = ({undertaking: calls + 1, undertaking + 1: start} for start in starts)
            met += sum(1 for _ in takewhile(lambda plan: _play(scene, step, fault, plan, seed), plans))
        assert calls < CALLS_MAX - 1
        if not calls:
            return met
    raise AssertionError("count() has no end")


class _Faults:
    """Takes the place of History.arm: disturbed are the undertakings of the plan, each at one call of the disk."""

    def __init__(self, history: History, fault: Fault, plan: Mapping[int, int]) -> None:
        self._history, self._fault, self._plan = history, fault, plan
        self._disks: list[SimulatedDisk] = []
        self._undertakings = 0
        self.is_on = False

    @property
    def are_met(self) -> bool:
        return [disk.faults for disk in self._disks] == [1] * len(self._plan)

    def arm(self, calls: int) -> None:
        self._undertakings += self.is_on
        if self.is_on and self._undertakings in self._plan:
            self._history.disk.fail_at(self._plan[self._undertakings], self._fault)
            self._disks.append(self._history.disk)


def _play(scene: str, step: str, fault: str, plan: Mapping[int, int], seed: int) -> bool:
    """Whether it came to those calls (undertaking → call of the disk)."""
    stage, is_first = SCENES[scene], step == FIRST_START
    history: Any = stage.kind.__new__(stage.kind)
    faults = _Faults(history, FAULTS[fault], plan)
    history.arm = faults.arm
    if FAULTS[fault] is Fault.DEATH:
        history.loses_power = lambda: fault == "power loss"
    faults.is_on = is_first
    history.__init__(choosing_by(Random(f"{scene}:{step}:{fault}:{seed}")))
    for name in () if is_first else stage.before:
        getattr(history, name)()
    faults.is_on = True
    stage.steps[step](history)
    faults.is_on = False
    history.check()
    history.loses_power = lambda: True
    for name in ("kill_or_lose_power", *stage.after):  # what the start has made of it stays, and goes on
        getattr(history, name)()
        history.check()
    return faults.are_met
