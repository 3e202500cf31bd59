"""When wal takes a checkpoint, and how it comes about: BARRIER, the answers, one CHECKPOINT.

Owns one attempt at a time and when the next is due. The caller holds appends back while an attempt is under way, and
writes what `finish` gives. A child that hangs never holds the journal up past BARRIER_MAX_S: without risk's answer
the attempt is dropped, and a strategy that is late keeps its older state (F5).
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from actors.stream import Consumer
from protocol.messages import Barrier, State
from protocol.state import RISK, STATE_BYTES_MAX

BARRIER_MAX_S: Final = 0.05
"""Appends are held back for at most so long (design section 4)."""
RETRY_S: Final = 1.0
"""After an attempt that came to nothing; doubled each time …"""
RETRY_MAX_S: Final = 60.0
"""… up to this."""
LATE_RECORDS_MAX: Final = 500_000
"""A state that is older counts as none: its strategy's start would fold so many, and more every day."""


def holds_state(name: str) -> bool:
    """Whose answer a checkpoint waits for. The paper venue's state is the fold's open orders: nobody else has any."""
    return name == RISK or name.startswith("strategy.")


@dataclass(slots=True)
class Attempt:
    barrier: Barrier
    deadline_s: float
    asked: dict[str, int]
    """name → incarnation of whom an answer is still missing."""
    states: dict[str, tuple[int, bytes]] = field(default_factory=dict)


class Checkpoints:
    """records_max, bytes_max: of a journal file, before the next checkpoint is due; 0 for no such limit.

    strategies: the names of those whose states are kept.
    """

    def __init__(self, records_max: int, bytes_max: int, strategies: Iterable[str], log: Any) -> None:
        self._names = {RISK, *(f"strategy.{name}" for name in strategies)}
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._log = log
        # Random, so that an answer to a former life's barrier is known for one (F4).
        self._numbers = itertools.count(secrets.randbits(48))
        self._not_before_s = float("-inf")
        self._retry_s = RETRY_S
        self._put_off_s: float | None = None
        """Since when a checkpoint is due and risk cannot be asked, or since that was last counted."""
        self._warned: set[str] = set()
        """Why attempts have come to nothing since the last checkpoint: said once each."""
        self.state_bytes_max = STATE_BYTES_MAX
        """Of one strategy's state; one that is larger counts as none."""
        self.attempt: Attempt | None = None
        self.is_wanted = False
        """However few the records: the last CHECKPOINT holds what must not come back."""
        self.counters = {"checkpoints": 0, "checkpoints_dropped": 0}

    def is_due(self, records: int, size: int, now_s: float) -> bool:
        """`records` and bytes (`size`) behind the first entry of the journal's file."""
        if self.attempt is not None or now_s < self._not_before_s:
            return False
        is_grown = 0 < self._records_max <= records or 0 < self._bytes_max <= size
        return records > 0 and (is_grown or self.is_wanted)

    def whom_to_ask(self, consumers: Iterable[Consumer], tail_lsn: int, now_s: float) -> list[Consumer]:
        """Those with a state who have been sent everything; nobody while risk is not one of them.

        It may be so the next turn. An attempt that cannot begin for as long as others wait for the next is dropped too.
        """
        holders = [consumer for consumer in consumers if holds_state(consumer.name)]
        asked = [consumer for consumer in holders if consumer.cursor > tail_lsn]
        if any(consumer.name == RISK for consumer in asked):
            self._put_off_s = None
            return asked
        if self._put_off_s is None:
            self._put_off_s = now_s
        elif now_s - self._put_off_s >= RETRY_S:
            self._put_off_s = now_s
            is_there = any(consumer.name == RISK for consumer in holders)
            self._note_dropped("risk is behind, or gives no credit" if is_there else "risk is not there", [RISK])
        return []

    def begin(self, asked: Iterable[Consumer], tail_lsn: int, now_s: float) -> Barrier:
        """An attempt is under way; the barrier is to be told to those who are asked."""
        barrier = Barrier(next(self._numbers), tail_lsn)
        names = {consumer.name: consumer.incarnation for consumer in asked}
        self.attempt = Attempt(barrier, now_s + BARRIER_MAX_S, names)
        return barrier

    def take(self, consumer: Consumer, answer: State, state: bytes) -> None:
        """F4: an answer to another barrier, or of another life, is ignored."""
        attempt = self.attempt
        if attempt is None or (answer.barrier, answer.lsn) != (attempt.barrier.number, attempt.barrier.lsn):
            return
        if attempt.asked.get(consumer.name) != answer.incarnation or consumer.incarnation != answer.incarnation:
            return
        del attempt.asked[consumer.name]
        if consumer.name != RISK and len(state) > self.state_bytes_max:
            self._log.warning("state_too_large", name=consumer.name, bytes=len(state), bytes_max=self.state_bytes_max)
            state = b""
        attempt.states[consumer.name] = (answer.lsn, state)

    def is_over(self, now_s: float) -> bool:
        """All have answered, or nobody waits any longer."""
        return self.attempt is not None and (not self.attempt.asked or now_s >= self.attempt.deadline_s)

    def finish(self, older: dict[str, tuple[int, bytes]], now_s: float) -> dict[str, tuple[int, bytes]] | None:
        """The states of the checkpoint: what was answered, else what the last one had. None if risk was silent."""
        attempt = self.attempt
        assert attempt is not None, "begun before"
        self.attempt = None
        if RISK not in attempt.states:
            self.drop("no answer in time", now_s, sorted(attempt.asked))
            return None
        if attempt.asked:
            self._log.info("checkpoint_without", late=sorted(attempt.asked))
        states = {name: row for name, row in (older | attempt.states).items() if row[1] and name in self._names}
        for name, (lsn, _) in list(states.items()):
            if attempt.barrier.lsn - lsn > LATE_RECORDS_MAX:
                self._log.warning("state_too_old", name=name, lsn=lsn, hint="save() has been too slow ever since")
                del states[name]
        return states

    def written(self) -> None:
        self._retry_s = RETRY_S
        self._put_off_s = None
        self.is_wanted = False
        self._warned.clear()
        self.counters["checkpoints"] += 1

    def drop(self, reason: str, now_s: float, silent: Sequence[str] = ()) -> None:
        """This attempt came to nothing; the journal goes on, and grows until one succeeds."""
        self.attempt = None
        self._note_dropped(reason, silent)
        self._not_before_s = now_s + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    def _note_dropped(self, reason: str, silent: Sequence[str]) -> None:
        """Counted each time, and told once: until a checkpoint is written it is one episode."""
        self.counters["checkpoints_dropped"] += 1
        if reason not in self._warned:
            self._warned.add(reason)
            hint = "the journal goes on and its file grows; tried again until one succeeds"
            self._log.warning("checkpoint_dropped", reason=reason, silent=list(silent), hint=hint)
