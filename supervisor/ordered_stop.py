"""The ordered stop: the ten documented steps (boot.STOP_STEPS), each with its deadline and its line in the log.

Who is gone has done his part, and who hangs is waited for (STOP_LIMITS). It serves the engine's loop wherever it waits,
and restarts nobody but wal: whoever must drain needs it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final, Protocol

from actors.clock import monotonic_s
from actors.latch import Latch
from protocol.errors import ExitCode
from protocol.messages import Detach, Stop
from protocol.records import RunEvent
from protocol.settings import Config
from supervisor.boot import STOP_LIMITS, STOP_STEPS, StopAction, StopStep, child_names
from supervisor.child import Child, ChildPhase
from supervisor.control import ControlPipe
from supervisor.deaths import FINAL_CODES
from supervisor.handed import FAILURE, make_run


class Stoppable(Protocol):
    """What a stop needs of the supervisor."""

    config: Config
    children: dict[str, Child]
    control: ControlPipe
    latch: Latch
    log: Any
    boot_id: bytes
    stop_by: str
    exit_code: ExitCode
    inproc: bool
    is_ready: bool
    interrupts: int
    released: set[str]

    def spawn(self, child: Child) -> None: ...

    def bury(self, child: Child, phase: ChildPhase) -> None: ...

    def wait_quietly(self, condition: Callable[[], bool], deadline: float) -> None: ...


class OrderedStop:
    def __init__(self, engine: Stoppable) -> None:
        self._engine: Final = engine
        self._timeout_s: Final = engine.config.supervisor.stop_timeout_s
        self._wal: Final = engine.children["wal"]

    def carry_out(self) -> None:
        """All of them have ended."""
        for step in STOP_STEPS:
            self._keep_wal(step)
            for role in filter(None, (step.role, step.then)):
                self._take_step(step, self._of_role(role))
            lsn = max((child.lsn for child in self._of_role(step.role)), default=0)
            self._engine.log.info("stop_step", step=step.number, what=step.text, lsn=lsn)

    def _of_role(self, role: str) -> list[Child]:
        return [self._engine.children[name] for name in child_names(self._engine.config, role)]

    def _take_step(self, step: StopStep, children: list[Child]) -> None:
        # Without wal nothing can drain any more: what waits for its own appends waits in vain.
        is_final = self._engine.exit_code in FINAL_CODES and not self._wal.is_alive
        deadline = monotonic_s() + (STOP_LIMITS.final_stop_s if is_final else self._timeout_s)
        if step.action is StopAction.DETACH:
            asked = [child for child in children if child.phase is ChildPhase.READY and child.is_alive]
            for child in asked:
                self._engine.control.tell(child, Detach(step.part))
            self._wait_for(asked, lambda child: step.part in child.detached or not child.is_alive, deadline)
        elif step.role == "wal":
            self._stop_wal(children[0], deadline)
        else:
            for child in children:
                self._engine.control.tell(child, Stop())
                if child.phase is ChildPhase.SPAWNED:
                    child.kill()  # it cannot hear yet, and has begun nothing
            self._end(children, deadline)

    def _stop_wal(self, wal: Child, deadline: float) -> None:
        """H3: the stop is what is durable; a wal that dies before it is brought back to write it."""
        engine = self._engine
        run = make_run(engine.config, engine.boot_id, RunEvent.STOP, engine.stop_by or FAILURE, engine.latch.halt_token)
        for _ in range(STOP_LIMITS.wal_tries):
            if not wal.is_alive:
                deadline = monotonic_s() + self._timeout_s
                if not self._revive(wal, deadline):
                    return
            if "wal" in self._engine.released:  # a new life hears STOP only when it has come so far
                self._engine.wait_quietly(lambda: wal.phase is ChildPhase.READY or not wal.is_alive, deadline)
            else:
                wal.kill()  # it has begun nothing, and may not hear yet
            self._engine.control.tell(wal, Stop(run))
            self._end([wal], deadline)
            if wal.stopped:
                return
        self._engine.log.error("stop_not_recorded", hint="the next start takes this run for a crash")

    def _keep_wal(self, step: StopStep) -> None:
        """Whoever must drain needs it: without wal every one of them would wait for its deadline."""
        if step.role != "wal" and not self._wal.is_alive:
            self._revive(self._wal, monotonic_s() + self._timeout_s)

    def _revive(self, wal: Child, deadline: float) -> bool:
        self._engine.bury(wal, ChildPhase.DEAD)
        if self._engine.exit_code in FINAL_CODES or not self._engine.is_ready or self._engine.interrupts > 1:
            return False
        self._engine.spawn(wal)
        self._engine.wait_quietly(lambda: wal.phase is ChildPhase.READY or not wal.is_alive, deadline)
        return wal.is_alive

    def _end(self, children: list[Child], deadline: float) -> None:
        """Their processes have ended: by themselves, else by SIGTERM, else by SIGKILL."""
        self._wait_for(children, lambda child: not child.is_alive and child.has_said_why(), deadline)
        for number, wait_s in ((signal.SIGTERM, STOP_LIMITS.term_wait_s), (signal.SIGKILL, STOP_LIMITS.kill_wait_s)):
            late = [child for child in children if child.is_alive]
            if self._engine.inproc and number is signal.SIGKILL:
                break
            for child in late:
                self._engine.log.warning("stop_deadline_passed", name=child.name, action=number.name)
                assert child.life is not None, "it is alive"
                child.life.send_signal(number)
            deadline = monotonic_s() + wait_s
            self._engine.wait_quietly(lambda late=late: not any(child.is_alive for child in late), deadline)
        for child in children:
            self._engine.bury(child, ChildPhase.STOPPED)

    def _wait_for(self, children: list[Child], is_done: Callable[[Child], bool], deadline: float) -> None:
        """Until it is done for each, or their deadline has passed: a child that let one pass gets no other."""
        overdue_by = min(deadline, monotonic_s() + STOP_LIMITS.overdue_stop_s)
        for child in children:
            self._engine.wait_quietly(lambda child=child: is_done(child), overdue_by if child.is_overdue else deadline)
            child.is_overdue = not is_done(child)
