"""Whether a child hangs: it is alive, and its main loop gets nowhere. And what follows.

Owns the verdict, which is by the health page alone, for nothing but the main loop writes that: ZeroMQ's heartbeats and
helper threads go on while the work has stopped. Each activity has a deadline of its own (`supervisor.deadlines`). Past
it the child gets SIGABRT, at which its stacks come into the log, then SIGKILL; it comes back as from any other death.
A sync that is slow is no hang: it is said, and trading is halted, but who kills it loses what the disk might still do.
In a replay a hook may take as long as it likes, and another life would take as long: it is said, and nobody is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from actors.base import page_path
from actors.clock import monotonic_s
from actors.latch import Latch
from actors.page import Activity, Health, HealthPage
from protocol.settings import Config
from supervisor.child import Child, ChildPhase, Condition
from supervisor.lives import ProcessLife

LOOKS_IN_DEADLINE: Final = 40
"""A hang is noticed two looks late at most: within 5 % of its deadline, on a machine that lets the supervisor run."""
LOOK_MAX_S: Final = 0.5
ABORT_WAIT_S: Final = 1.0
"""For the stacks to be written; who is stopped cannot, and gets SIGKILL."""
SLOW_SHARE: Final = 0.5
"""Of its deadline."""


class Stall:
    """How long one life has made no progress, as its page says.

    It counts the time between looks, and of each at most `look_s` twice: if the one who looks was not running himself
    (a machine that was suspended, a supervisor that was stopped), nobody hung meanwhile.
    """

    def __init__(self, look_s: float) -> None:
        self._look_s = look_s
        self._mark: tuple[int, ...] = ()
        self._looked_s = 0.0
        self.seconds = 0.0

    def look(self, health: Health, now_s: float) -> float:
        """Seconds without progress."""
        mark = health.incarnation, health.loops, health.progress_ns, health.since_ns
        if mark == self._mark:
            self.seconds += min(now_s - self._looked_s, 2 * self._look_s)
        else:
            self._mark, self.seconds = mark, 0.0
        self._looked_s = now_s
        return self.seconds


def condition_of(activity: Activity, stalled_s: float, deadlines: Mapping[Activity, float]) -> Condition:
    """What has no deadline here has another elsewhere: a start, a stop."""
    deadline_s = deadlines.get(activity, 0.0)
    if not deadline_s or stalled_s < SLOW_SHARE * deadline_s:
        return Condition.WELL
    return Condition.SLOW if stalled_s < deadline_s else Condition.HUNG


class HangWatch:
    """`look` is to be called every `look_s`."""

    def __init__(self, config: Config, children: Iterable[Child], latch: Latch, log: Any) -> None:
        self._run_dir = config.run_dir.absolute()
        self._children = children
        self._latch = latch
        self._log = log
        self._kills = not config.is_replay
        deadlines = config.supervisor.deadlines.as_dict()
        self._deadlines: Final = {Activity[name.upper()]: value for name, value in deadlines.items()}
        shortest = min(filter(None, self._deadlines.values()), default=0.0)
        self.look_s: Final = min(shortest / LOOKS_IN_DEADLINE, LOOK_MAX_S) if shortest else LOOK_MAX_S
        self._stalls: dict[str, Stall] = {}
        self._pages: dict[str, HealthPage] = {}

    def close(self) -> None:
        for page in self._pages.values():
            page.close()

    def look(self) -> None:
        now_s = monotonic_s()
        for child in self._children:
            if child.phase is ChildPhase.READY and child.is_alive and isinstance(child.life, ProcessLife):
                health = self._read_page(child)
                stall = self._stalls.setdefault(child.name, Stall(self.look_s))
                self._judge(child, health.activity, stall.look(health, now_s))
            else:
                child.condition = Condition.WELL

    def _read_page(self, child: Child) -> Health:
        """Mapped for as long as it is its own: who looks must not wait for a disk that hangs."""
        page = self._pages.get(child.name)
        health = page.read() if page is not None else Health()
        if health.incarnation == child.incarnation:
            return health
        if page is not None:
            del self._pages[child.name]
            page.close()
        with suppress(OSError, ValueError):
            page = self._pages[child.name] = HealthPage.open(page_path(self._run_dir, child.name), writable=False)
            return page.read()
        return Health()

    def _judge(self, child: Child, activity: Activity, stalled_s: float) -> None:
        was, deadline_s = child.condition, self._deadlines.get(activity, 0.0)
        now = condition_of(activity, stalled_s, self._deadlines)
        child.condition = now
        if now is not Condition.HUNG:
            return
        is_of_disk = activity is Activity.SYNCING and not _is_stopped(child.pid)
        if was is not Condition.HUNG:
            self._say(child, activity, stalled_s, deadline_s, is_of_disk)
        if is_of_disk or not self._kills:
            return
        assert child.life is not None, "it is alive"
        if was is not Condition.HUNG:
            child.life.send_signal(signal.SIGABRT)
        elif stalled_s > deadline_s + ABORT_WAIT_S:
            child.life.send_signal(signal.SIGKILL)

    def _say(
        self, child: Child, activity: Activity, stalled_s: float, deadline_s: float, is_of_disk: bool
    ) -> None:
        key = f"supervisor.deadlines.{activity.name.lower()}"
        hint = "its stacks are in the log; it is killed, and starts again" if self._kills else "it is left alone"
        if is_of_disk:
            hint = "the disk hangs: trading is halted, and it is left alone"
            self._latch.halt("supervisor", f"{child.name}: the disk has not synced for {stalled_s:.1f} s")
            self._latch.start_sync()
        self._log.error(
            "child_hung", name=child.name, activity=activity.name.lower(), stalled_s=round(stalled_s, 2),
            deadline=f"{key} = {deadline_s:g}", hint=hint,
        )  # fmt: skip


def _is_stopped(pid: int) -> bool:
    """By a signal: then it is not the disk that it waits for."""
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
