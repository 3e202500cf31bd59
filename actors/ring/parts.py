"""What a strategy's part of the ring holds: its view, the market that is not over, what waits for its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from actors.fold import Change, Fold
from actors.strategies import Tick
from protocol.records import Checkpoint, Record
from protocol.wal.format import Envelope

NEVER: Final = 2**63


class View(Fold):
    """A strategy's view: the records in the order in which it hears of them, which is not the journal's.

    Derived records are another's to check, and are not given to it.
    """

    def apply(self, envelope: Envelope, record: Record) -> list[Change]:
        if type(record) is Checkpoint and self.run is not None:  # its state is another's: only the ended go
            self.tracker.forget_ended()
            return []
        if self.run is not None:
            self.lsn = envelope.lsn - 1
        changes = super().apply(envelope, record)
        self.owed.clear()
        return changes


@dataclass(slots=True)
class Ticks:
    """Ticks that are not over: `own` are those of the strategy's symbols, `numbers` their offsets.

    A tick is made when its turn has come and gone when the next has, so that all are made in the same few bytes.
    """

    first: int
    count: int
    times: Sequence[int]
    records: memoryview
    own: Iterator[Tick]
    numbers: Sequence[int]
    left: Iterator[Any]
    """What `own` is made from: its length hint says how many there are still to come."""


class Bars(NamedTuple):
    next_tick: int
    records: bytes


class Wait(msgspec.Struct):
    """A signal under way, with latency: when it acts, and when the answer is here."""

    acts_us: int
    act_position: int = NEVER
    due_us: int = NEVER


class Heard(NamedTuple):
    """A record of the tail that waits for its time. `signal`: due when the answer to that is; else at `due_us`."""

    due_us: int
    signal: int
    envelope: Envelope
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a strategy's part of the ring is told of itself."""

    strategy_id: int
    own: Mapping[int, str]
    """Its symbols by id."""
    symbols: list[str]
    """Every name by id."""
    slice_ticks: int
    quantum: int
    latency_us: int
    last_number: int = 0
    source: bytes = b""
    """A hash of its file: other code is told from a checkpoint on by that alone."""


@dataclass(slots=True)
class Timer:
    interval_us: int
    hook: Callable[[], None]
    due_us: int = 0
