"""The supervisor: starts the children in order, watches them, brings them back, stops them in ten steps.

It trades nothing and holds no state of the engine's: what it must remember stands in the journal (ENGINE_RUN,
which wal writes for it) and on the latch page. Its main line reads from top to bottom: start, watch, stop; whatever
it waits for, it keeps serving its loop, so that a stop request is never starved.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from actors.base import Loop, page_path
from actors.clock import monotonic_s
from actors.descendants import end_helpers
from actors.latch import LatchError
from actors.page import HealthPage
from protocol.errors import (
    ConfigError,
    ExitCode,
    ReadyTimeoutError,
    ReplayBrokenError,
    RestartLimitError,
    StopRequestedError,
    SupervisionError,
)
from protocol.logs import Log
from protocol.messages import Go, Loaded, Message, Ready, Steer, SteerVerb, Stop
from protocol.pipeline import CONTROL, pipe_endpoint
from protocol.records import EngineRun, RunEvent
from protocol.settings import Config
from supervisor.boot import STOP_LIMITS, OnLimit, boot_order, boot_row, child_names
from supervisor.child import Child, ChildPhase
from supervisor.control import ControlPipe
from supervisor.deaths import ASKED, Death, Follows, Outcome, changes_exit, outcome_in_replay, outcome_of
from supervisor.handed import END_OF_DATA, ESCALATION, FAILURE, OPERATOR, make_run, make_spec
from supervisor.hangs import HangWatch
from supervisor.health import quiet_state, status_line
from supervisor.lives import Nursery, ProcessLife, ThreadLife
from supervisor.lock import RunDirLock
from supervisor.notify import Notifier
from supervisor.nursery import NurseryProcess
from supervisor.ordered_stop import OrderedStop
from supervisor.restart import Progress, RestartPolicy
from supervisor.run_dir import begin_page, next_incarnation, open_latch, prepare_ipc, remove_ipc
from supervisor.saved_config import save_config
from supervisor.wakeup import Wakeup

HEALTH_EVERY_S: Final = 1.0
DRAIN_POLL_S: Final = 0.05


class Supervisor:
    """One run of the engine. `run()` returns the exit code; `request_stop` may be called from a signal handler."""

    def __init__(
        self, config: Config, *, inproc: bool = False, forget_states: tuple[str, ...] = (),
        on_ready: Callable[[], None] = lambda: None, nursery: NurseryProcess | None = None,
    ) -> None:  # fmt: skip
        """nursery: begun by the caller already, who ends it again should it not come to a run."""
        self.config = config
        self.run_dir = Path(config.engine.run_dir).absolute()
        self.inproc = inproc
        self.log = Log(child="supervisor", pid=os.getpid())
        self.boot_id = bytes(16) if config.is_replay else secrets.token_bytes(16)
        self.children: dict[str, Child] = {}
        self.run_record: EngineRun | None = None
        self.stop_by = self.failure = ""
        self.exit_code, self.is_ready = ExitCode.OK, False
        self.start_lsn = 0  # of this run's ENGINE_RUN, once wal is READY
        self.parked: dict[str, str] = {}
        """The strategies that stay down, and why."""
        self._forget_states = forget_states
        self._nursery_process = nursery
        self._progress = Progress()
        self._resume_tick = 0
        """By wal's word: where a replay goes on."""
        self.on_ready = on_ready
        self.interrupts, self._stopping = 0, False
        self.released: set[str] = set()
        """Children whose turn in the boot order has come: a new life of theirs need not wait for it again."""
        self._wakeup = Wakeup()
        self.notifier = Notifier()

    # What others may ask, from any thread or signal handler.

    def request_stop(self, by: str = OPERATOR) -> None:
        """An ordered stop begins soon."""
        self.stop_by = self.stop_by or by
        self._wakeup.wake()

    def interrupt(self) -> None:
        """SIGINT: the first asks for an ordered stop, the second kills."""
        self.interrupts += 1
        self.request_stop()

    # The main line.

    def run(self) -> ExitCode:
        """Raises: ConfigError if the start must not be, with nothing left running."""
        lock = RunDirLock(self.run_dir)
        try:
            self._prepare_or_refuse(lock)
            self._run_to_end()
        except StopRequestedError as error:
            self.log.info("start_given_up", by=self.stop_by, reason=str(error))
        except ConfigError:
            self._kill_all()
            raise
        except SupervisionError as error:
            self._give_up(ExitCode.FAILURE, str(error))
        finally:
            try:
                self._stop()
            finally:
                self._clean_up(lock)
        return self.exit_code

    def _run_to_end(self) -> None:
        while True:
            try:
                self._start()
                self._watch()
                return
            except ReplayBrokenError as error:
                self._begin_again(error)

    def _begin_again(self, error: ReplayBrokenError) -> None:
        """Of a replay nobody goes on alone: all end, and the next lives go on from the last checkpoint (P11)."""
        self.log.warning("replay_broken", reason=str(error), hint="it goes on from its last checkpoint")
        self._kill_all()
        if any(child.is_alive for child in self.children.values()):
            raise SupervisionError("a child cannot be killed, and two lives of it must not meet (J5)")
        self._stopping = self.is_ready = False
        self.released.clear()
        for name, child in self.children.items():
            child.has_been_ready = False
            begin_page(self.run_dir, name)
        self.wait_quietly(lambda: bool(self.stop_by), monotonic_s() + error.pause_s)

    def _prepare_or_refuse(self, lock: RunDirLock) -> None:  # a damaged run_dir is the operator's to mend
        try:
            self._prepare(lock)
        except (OSError, LatchError, RuntimeError, ValueError) as error:
            raise ConfigError([f"engine.run_dir = {str(self.run_dir)!r} cannot be used: {error}"]) from error

    def _prepare(self, lock: RunDirLock) -> None:
        config, run_dir = self.config, self.run_dir
        self._lock_fd = lock.fd
        end_helpers(run_dir)  # what a former engine's children have left, if they had no time to end it
        self.latch = open_latch(run_dir, self.boot_id)
        self.ipc = prepare_ipc(run_dir)
        self.page = HealthPage.open(page_path(run_dir, "supervisor"), writable=True)
        self.page.begin_life(self.page.next_incarnation, os.getpid())
        self.loop = Loop(self.page)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoint = pipe_endpoint(CONTROL, None if self.inproc else self.ipc, config.engine.name)
        self.control = ControlPipe(self.context, endpoint, self.children, self._take, self.log)
        self.loop.on_readable(self.control.socket, self.control.receive)
        self._nursery = Nursery(self.loop, config, self.log, self._on_birth, self._nursery_process)
        self.loop.on_readable(self._wakeup.fd, self._wakeup.take)
        self.loop.every(HEALTH_EVERY_S, self._look_after)
        self.notifier.follow(self.loop)
        self._hangs = hangs = HangWatch(config, self.children.values(), self.latch, self.log)
        self.loop.every(hangs.look_s, lambda: self._stopping or hangs.look())
        for name in boot_order(config):
            self.children[name] = Child(name, RestartPolicy(config.supervisor.restarts, config.supervisor.window_s))
            self.children[name].incarnation = begin_page(run_dir, name) - 1
        self.run_record = make_run(config, self.boot_id, RunEvent.START, OPERATOR, self.latch.halt_token)

    def _start(self) -> None:
        """All are spawned at once, and released one by one, each after the READY of the one before."""
        self._start_by = monotonic_s() + self.config.supervisor.ready_timeout_s
        for child in self.children.values():
            self.spawn(child)
        for child in self.children.values():
            self._await_phase(child, ChildPhase.LOADED)
        for child in self.children.values():
            self._await_phase(child, ChildPhase.LOADED)  # it may have died since, and be on its way back
            if child.phase is ChildPhase.LOADED:
                self.released.add(child.name)
                self._go(child)
                self._await_phase(child, ChildPhase.READY)
        self.is_ready = True
        name, run_dir = self.config.engine.name, self.config.engine.run_dir
        self.log.info("engine_ready", engine=name, run_dir=run_dir, boot_id=self.boot_id.hex())
        self.notifier.ready()
        self._look_after()
        self.on_ready()

    def _watch(self) -> None:
        is_file = self.config.market_data.is_file
        asked_s, last_seen = 0.0, None
        while not self.stop_by:
            self.loop.turn()
            self._reap()
            if is_file and not self.stop_by and monotonic_s() - asked_s >= DRAIN_POLL_S:
                asked_s = monotonic_s()
                seen = quiet_state(self.children.values(), self.control.question)
                if seen is not None and seen == last_seen:
                    self.stop_by = END_OF_DATA
                    if self.parked:
                        self.exit_code = ExitCode.FAILURE  # the rows were read, but not by all
                last_seen = seen
                self.control.ask_all()

    def _stop(self) -> None:
        self._stopping = True
        self.notifier.stopping()
        if any(child.is_alive for child in self.children.values()):
            self.log.info("engine_stopping", by=self.stop_by or FAILURE)
            OrderedStop(self).carry_out()
            why = {"reason": self.failure} if self.failure else {}
            self.log.info("engine_stopped", by=self.stop_by or FAILURE, exit_code=int(self.exit_code), **why)

    def _clean_up(self, lock: RunDirLock) -> None:
        self._kill_all()
        if hasattr(self, "control"):
            self._nursery.close()
            self.control.close()
            self.context.term()
            for mapped in (self._hangs, self.page, self.latch):
                mapped.close()
        if hasattr(self, "ipc"):
            remove_ipc(self.run_dir)
        self._wakeup.close()
        lock.release(self.exit_code, self.failure)

    def _kill_all(self) -> None:
        """All at once, and no restarts; threads cannot be killed and are asked."""
        self._stopping = True
        for child in self.children.values():
            if self.inproc:
                self.control.tell(child, Stop())
            child.kill()
        deadline = monotonic_s() + STOP_LIMITS.kill_wait_s
        for child in self.children.values():
            while child.is_alive and monotonic_s() < deadline:
                self.loop.turn()
            self.bury(child, ChildPhase.STOPPED)

    # Waiting.

    def _await_phase(self, child: Child, phase: ChildPhase) -> None:
        """Serves the loop until the child is in `phase`, or parked: so is a strategy that takes too long.

        Raises: StopRequestedError, ReadyTimeoutError, ConfigError.
        """
        timeout_s = self.config.supervisor.ready_timeout_s
        while child.phase not in (phase, ChildPhase.PARKED):
            self.loop.turn()
            self._reap()
            if self.stop_by:
                raise StopRequestedError(f"a stop was asked for while {child.name} was starting")
            if monotonic_s() > self._start_by:
                reason = (
                    f"{child.name} did not say {phase.upper()} within supervisor.ready_timeout_s = {timeout_s}; "
                    "its log says what it was doing"
                )
                if self.config.is_replay or boot_row(child.name).on_limit is not OnLimit.PARK or self._is_last(child):
                    raise ReadyTimeoutError(reason)
                child.phase = ChildPhase.PARKED  # its death is no crash
                child.kill()
                self.wait_quietly(lambda: not child.is_alive, monotonic_s() + STOP_LIMITS.kill_wait_s)
                self.bury(child, ChildPhase.PARKED)
                self._park(child, reason)
                self._start_by = monotonic_s() + timeout_s  # the others have lost theirs to it

    def wait_quietly(self, condition: Callable[[], bool], deadline: float) -> None:
        """Serves the loop until `condition` holds or the deadline passes; a second SIGINT kills."""
        while not condition() and monotonic_s() < deadline:
            self.loop.turn()
            if self.interrupts > 1:
                self.log.error("killed_by_operator")
                self._kill_all()
                self.exit_code = ExitCode.FAILURE

    # Children.

    def spawn(self, child: Child) -> None:
        incarnation = max(child.incarnation + 1, next_incarnation(self.run_dir, child.name))
        spec = make_spec(
            self.config, child.name, incarnation, self.boot_id, self.ipc,
            inproc=self.inproc, is_restart=self.is_ready, is_wanted=child.is_wanted,
            forget_states=self._forget_states,
        )  # fmt: skip
        if self.inproc:
            child.begin(ThreadLife(spec, self.context), incarnation)
            return
        child.begin(ProcessLife(spec, self._lock_fd, self._nursery), incarnation)

    def _on_birth(self, life: ProcessLife) -> None:
        assert life.pidfd is not None, "it is alive"
        self.loop.on_readable(life.pidfd, self._reap)

    def _go(self, child: Child) -> None:
        child.phase = ChildPhase.STARTING
        self.control.tell(child, Go(self.run_record, self._resume_tick))

    def _reap(self) -> None:
        """J5: a child's next life begins only after the last one has been reaped."""
        for child in self.children.values():
            if child.phase in (ChildPhase.DEAD, ChildPhase.PARKED, ChildPhase.STOPPED) or child.is_alive:
                continue
            self.control.receive()  # its last word may still be in the pipe
            if not self._stopping and child.has_said_why():
                self._on_death(child)
            elif child.life is not None and child.life.pidfd is not None:
                self.loop.forget(child.life.pidfd)  # it stays readable

    def _on_death(self, child: Child) -> None:
        code, failure = child.exit_code, child.last_word()
        if child.phase is ChildPhase.SPAWNED and (failure is None or failure.exit_code != ExitCode.USAGE):
            self._nursery.renew()  # but not for a mistake of the config's
        self.bury(child, ChildPhase.DEAD)
        if not self.is_ready and failure is not None and failure.exit_code == ExitCode.USAGE:
            raise ConfigError(failure.message.split("\n"))
        self.log.warning("child_died", name=child.name, exit_code=code, incarnation=child.incarnation)
        pause_s = 0.0 if child.asked else child.policy.pause_after_death(monotonic_s())
        death = Death(child.name, code, failure, child.last_words, pause_s, child.stays_down, child.asked)
        child.remember_end(code, failure)
        if self.config.is_replay:
            child.restarts += 1
            is_stuck = self._progress.is_stuck(max(child.lsn for child in self.children.values()))
            may_go_on = not (is_stuck or self.inproc or self.latch.is_halted())
            self._follow(child, outcome_in_replay(death, may_go_on=may_go_on))
        else:
            is_file, settings = self.config.market_data.is_file, self.config.supervisor
            self._follow(child, outcome_of(death, settings, is_ready=self.is_ready, is_file=is_file))

    def _follow(self, child: Child, outcome: Outcome) -> None:
        """Raises: ReplayBrokenError, ConfigError."""
        match outcome.what:
            case Follows.RESTART:
                if not self.stop_by:
                    child.restarts += 1
                    self.loop.after(outcome.pause_s, lambda: self._restart(child))
            case Follows.PARK:
                self._park(child, outcome.reason)
            case Follows.GIVE_UP:
                self._give_up(outcome.code, outcome.reason)
            case Follows.ESCALATE:
                self.latch.halt("supervisor", outcome.reason)
                self._give_up(ExitCode.ESCALATED, str(RestartLimitError(outcome.reason)), by=ESCALATION)
            case Follows.BEGIN_AGAIN:
                raise ReplayBrokenError(outcome.reason, outcome.pause_s)

    def _restart(self, child: Child) -> None:
        if self._stopping or self.stop_by or child.phase is not ChildPhase.DEAD:
            return
        self.spawn(child)
        life = child.life
        self.loop.after(self.config.supervisor.ready_timeout_s, lambda: self._check_ready(child, life))

    def _check_ready(self, child: Child, life: ProcessLife | ThreadLife | None) -> None:
        if child.life is life and child.phase is not ChildPhase.READY and child.is_alive and not self._stopping:
            self.log.error("ready_timeout", name=child.name)
            child.kill()

    def _park(self, child: Child, reason: str) -> None:
        """It stays down, and the others go on. Raises: ConfigError if no strategy is left while the engine starts: to
        be up with nothing to run would hide it, and nothing has been traded that a HALT would have to end."""
        child.phase = ChildPhase.PARKED
        self.parked[child.name] = reason
        if not self.is_ready and self._is_last(child):
            raise ConfigError([f"no strategy could be started: {reason}" for reason in self.parked.values()])
        self.log.error("child_parked", name=child.name, reason=reason)
        self.control.tell_of_parked(child)
        self.control.tell_children()

    def _is_last(self, strategy: Child) -> bool:
        """Without it none is left."""
        return {*self.parked, strategy.name} >= set(child_names(self.config, "strategy"))

    def _give_up(self, code: ExitCode, message: str, by: str = FAILURE) -> None:
        self.log.error("engine_gives_up", reason=message, exit_code=int(code))
        self.exit_code, self.failure = code, message
        self.stop_by = self.stop_by or by

    def bury(self, child: Child, phase: ChildPhase) -> None:
        if child.life is not None and not child.is_alive:
            word = child.last_word()
            if self._stopping and word is not None and changes_exit(self.exit_code, child.name, word):
                self._give_up(ExitCode(word.exit_code), f"{child.name}: {word.message}")
            if not self.inproc:
                end_helpers(self.run_dir, child.name, child.incarnation)
        child.bury(phase, self.loop)

    # What the children say.

    def _take(self, child: Child, message: Message) -> None:
        if child.phase is ChildPhase.PARKED:
            return  # what it said before it was killed
        if isinstance(message, Loaded):
            child.phase = ChildPhase.LOADED
            if child.name in self.released and (child.name == "wal" or not self._stopping):
                self._go(child)
        elif isinstance(message, Ready):
            self._on_child_ready(child, message)
        elif isinstance(message, Steer) and not (self._stopping or self.stop_by):
            self._steer(message.verb, self.children[message.child])
        else:
            child.take(message, self.control.question)

    def _steer(self, verb: SteerVerb, child: Child) -> None:
        """The gateway has looked whether it can be; meanwhile the child may have died, and then that goes on."""
        self.log.warning("operator_asked", verb=verb, name=child.name)
        if verb is SteerVerb.UNPARK and child.phase is ChildPhase.PARKED:
            del self.parked[child.name]
            child.unpark()
            self._restart(child)
        elif verb is not SteerVerb.UNPARK and child.is_alive:
            child.ask(verb)
        elif verb is SteerVerb.PARK and child.phase is ChildPhase.DEAD:
            self._follow(child, ASKED[verb])

    def _on_child_ready(self, child: Child, message: Ready) -> None:
        child.phase = ChildPhase.READY
        child.lsn = message.lsn
        if message.run is not None:
            self.run_record, self._resume_tick = message.run, message.resume_tick
            self.start_lsn = 1 if self.config.is_replay else self.start_lsn or message.lsn
            save_config(self.run_dir, self.config)
        self.log.info("child_ready", name=child.name, incarnation=child.incarnation, lsn=message.lsn)
        self.control.tell_of_all_parked(child)
        if child.has_been_ready:
            self.control.tell_of_life(child)
        child.has_been_ready = True
        self.control.tell_children()

    def _look_after(self) -> None:
        """Once a second: ask every child how it is, and tell the gateway."""
        if self.is_ready and not self._stopping:
            if not self.config.market_data.is_file:
                self.control.ask_all()
            self.control.tell_children()
            self.notifier.status(status_line(self.children.values(), self.latch))
