"""A child as the supervisor sees it: spawned, watched, reaped. A process, or a thread with `--inproc`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from actors.base import ChildSpec, Loop
from actors.clock import monotonic_s, now_us
from actors.descendants import MARK_VARIABLE, mark_of
from protocol.errors import ExitCode
from protocol.messages import Detached, Failed, Message, Parked, Statistics, SteerVerb, Stopped
from supervisor.restart import RestartPolicy


class ChildPhase(StrEnum):
    SPAWNED = "spawned"
    LOADED = "loaded"
    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"
    PARKED = "parked"
    STOPPED = "stopped"


class Condition(StrEnum):
    """Of one that is READY, by its health page."""

    WELL = "well"
    SLOW = "slow"
    """Half of an activity's deadline has passed without progress."""
    HUNG = "hung"


LAST_WORD_S: Final = 0.5
"""For the reason of an exit code to come after it."""
LAST_ERROR_MAX: Final = 300
"""Characters that HEALTH shows of it."""
ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20), "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Unless the caller's own says otherwise. glibc's malloc (mallopt(3)) keeps up to 64 MiB that were freed: by default
each of a replay's chunks of a megabyte is fresh memory from the kernel, zeroed page by page (15 % of a vectorised run).
OpenBLAS, which NumPy brings, else starts a thread a core in every child; they wake with the first import, and spin."""


class ProcessLife:
    """`python -m actors NAME`. `exit_code()` is None while it lives; negative: the signal that ended it.

    The spec goes over standard input; what it prints goes to our stderr.
    """

    def __init__(self, spec: ChildSpec, lock_fd: int) -> None:
        mark = mark_of(Path(spec.config.engine.run_dir), spec.name, spec.incarnation)
        environment = {**ENVIRONMENT, **os.environ, "PYTHONHASHSEED": "0", MARK_VARIABLE: mark}
        with _sigint_blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "actors", spec.name],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(lock_fd,),
                env=environment,
            )
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(msgspec.json.encode(spec))
        except BrokenPipeError:
            pass  # It died at once; it will be reaped like any other.

    def exit_code(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Who is spawned within is deaf to Ctrl-C from its first instruction: the mask is inherited, the group hears it.

    A mask and not SIG_IGN, for that can be set in the main thread only. Here SIGINT waits for the end of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ThreadLife:
    """The same actor in a thread of this process: for debugging, tests and notebooks. It cannot be killed."""

    pidfd = None

    def __init__(self, spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.pid = os.getpid()
        self._code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(spec, context), name=spec.name, daemon=True)
        self._thread.start()

    def _run(self, spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        from actors.__main__ import run_child

        code = 1
        try:
            code = int(run_child(spec, context, is_process=False))
        finally:
            self._code = code

    def exit_code(self) -> int | None:
        return None if self._thread.is_alive() else self._code

    def send_signal(self, number: int) -> None:
        """A thread gets no signals."""

    def close(self) -> None:
        """Nothing to release."""


class Child:
    """What the supervisor knows of one child over all its lives."""

    def __init__(self, name: str, policy: RestartPolicy) -> None:
        self.name = name
        self.policy = policy
        self.phase = ChildPhase.DEAD
        self.incarnation = self.started_us = 0
        self.restarts = 0
        self.life: ProcessLife | ThreadLife | None = None
        self.failure: Failed | None = None
        """What it said before it ended, if anything."""
        self.last_words = ""
        """What its life before the present one said when it failed."""
        self.last_error = ""
        """How a life of it ended that was not meant to, in a line."""
        self.lsn = 0
        """Of its last word."""
        self.statistics: Statistics | None = None
        self.statistics_round = 0
        self.detached: set[str] = set()
        self.stays_down = False
        """By its own word, of its present life."""
        self.stopped = False
        self.asked: SteerVerb | None = None
        """What an operator has asked for, and what its death is then."""
        self.is_wanted = False
        """Its next life is an operator's wish: as at a start, whatever it had saved."""
        self.condition = Condition.WELL
        self.is_overdue = False
        """Its present life has let the deadline of a step of the stop pass."""
        self._dead_since_s = 0.0
        """When its present life was first seen to be over."""
        self.meter: Any = None

    @property
    def state(self) -> str:
        """As HEALTH shows it."""
        return self.phase.value if self.condition is Condition.WELL else self.condition.value

    @property
    def pid(self) -> int:
        return self.life.pid if self.life else 0

    @property
    def identity(self) -> bytes:
        return f"{self.name}#{self.incarnation}".encode()

    @property
    def is_alive(self) -> bool:
        return self.life is not None and self.life.exit_code() is None

    def begin(self, life: ProcessLife | ThreadLife, incarnation: int) -> None:
        self.life, self.incarnation = life, incarnation
        self.phase, self.started_us = ChildPhase.SPAWNED, now_us()
        self.failure = None
        self._dead_since_s = 0.0
        self.statistics = None
        self.detached = set()
        self.stopped = self.stays_down = self.is_overdue = self.is_wanted = False
        self.asked = None
        self.meter = None

    @property
    def exit_code(self) -> int | None:
        """Of its present life; None while that goes on, or when it has been buried."""
        return None if self.life is None else self.life.exit_code()

    def remember_end(self, code: int | None, failure: Failed | None) -> None:
        """Why a life has ended, if nobody has asked for that."""
        self.last_words = failure.message if failure is not None else ""
        if self.asked is not None:
            return
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self.last_error = (self.last_words.partition("\n")[0] or ending)[:LAST_ERROR_MAX]

    def has_said_why(self) -> bool:
        """Whether the word of a life that is over is here, or will not come. What a child says last may be in libzmq's
        hands for longer than itself lives; who was killed by a signal, or has not failed, has no such word."""
        if self.failure is not None or (self.exit_code or 0) <= 0:
            return True
        self._dead_since_s = self._dead_since_s or monotonic_s()
        return monotonic_s() - self._dead_since_s >= LAST_WORD_S

    def last_word(self) -> Failed | None:
        """Why it ended. wal's exit code says so too, if its last message is lost."""
        code = self.exit_code or 0
        if self.failure is None and self.name == "wal" and code in (ExitCode.JOURNAL_FAILURE, ExitCode.CORRUPT):
            return Failed(code, "it ended with this code; its log says why")
        return self.failure

    def take(self, message: Message, question: int) -> None:
        """What it has said of itself is known; `question` is the newest round of ASKs."""
        if isinstance(message, Failed):
            self.failure = message
        elif isinstance(message, Stopped):
            self.lsn, self.stopped = message.lsn, True
        elif isinstance(message, Detached):
            self.lsn = message.lsn
            self.detached.add(message.part)
        elif isinstance(message, Parked):
            self.stays_down = True
        elif isinstance(message, Statistics):
            self.statistics, self.statistics_round = message, question
            self.lsn = max(self.lsn, message.lsn)

    def bury(self, phase: ChildPhase, loop: Loop) -> None:
        """Its life, if it is over, is forgotten; it is in `phase` from here on."""
        if self.life is not None and not self.is_alive:
            if self.life.pidfd is not None:
                loop.forget(self.life.pidfd)
            self.life.close()
            self.life = None
        self.phase, self.condition = phase, Condition.WELL

    def unpark(self) -> None:
        """It may live again, and its deaths count anew."""
        self.policy.forget()
        self.phase, self.is_wanted = ChildPhase.DEAD, True

    def ask(self, verb: SteerVerb) -> None:
        """It dies of an operator's word; one to stay down is not taken back by one to come back."""
        if self.asked is not SteerVerb.PARK:
            self.asked, self.is_wanted = verb, verb is SteerVerb.RESTART
        self.kill()

    def kill(self) -> None:
        if self.life is not None and self.is_alive:
            self.life.send_signal(signal.SIGKILL)
