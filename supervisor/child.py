"""A child as the supervisor sees it over all its lives: spawned, watched, reaped."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Any, Final

from actors.base import Loop
from actors.clock import monotonic_s, now_us
from protocol.errors import ExitCode
from protocol.messages import Detached, Failed, Message, Parked, Statistics, SteerVerb, Stopped
from supervisor.lives import ProcessLife, ThreadLife
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
        self.has_been_ready = False
        """In this start of the engine: others may know a life of it."""
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
