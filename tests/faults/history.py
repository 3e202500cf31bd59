"""What the histories of the log and of the journal share: a life of a process on the simulated disk, and its ends.

A history is a sequence of steps (methods of a History), each of which leaves an open log behind, however often the
process died within it. All that is uncertain, the steps and their contents too, comes from `choose`; so hypothesis
can drive a history (machine_of) and shrink it, and random numbers can drive many of them quickly (play).
A broken promise is an AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from simulated_disk import SECTOR_BYTES, Choose, Fault, SimulatedDisk
from structlog.testing import capture_logs

from protocol.wal.format import HEADER

DIRECTORY: Final = Path("/run/wal")
ATTEMPTS_MAX: Final = 4
"""Starts in a row that may fail; then one goes undisturbed."""


@dataclass
class Counts:
    """What happened in all histories together."""

    histories: int = 0
    steps: int = 0
    starts: int = 0
    kills: int = 0
    power_losses: int = 0
    deaths: int = 0
    """Within a call of the code under test, by a kill or a power loss."""
    failures: int = 0
    """EIO and ENOSPC."""
    torn_tails: int = 0
    rolls: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name.replace('_', ' ')}" for field in fields(self))


class History:
    STEPS: ClassVar[tuple[str, ...]]
    """The methods that are steps; named twice, a step is taken twice as often."""

    def __init__(self, choose: Choose, counts: Counts | None = None, *, whole_sectors: bool = False) -> None:
        self.choose = choose
        self.counts = counts or Counts()
        self.disk = SimulatedDisk(choose, whole_sectors=whole_sectors)

    def check(self) -> None:
        """What holds between any two steps."""

    # For the steps.

    def arm(self, calls: int) -> None:
        """Perhaps one of the next `calls` calls of the disk will fail, or be the last of its process."""
        what = self.choose(8)
        if what >= 4:
            fault = Fault.EIO if what == 4 else Fault.ENOSPC if what == 5 else Fault.DEATH
            self.disk.fail_at(1 + self.choose(calls), fault)

    def size_to_sector_end(self, path: Path, overhead: int) -> int:
        """Of the data of an entry with so much before it, so that the next header lies across the end of a sector."""
        end = len(self.disk.content(path) or b"")
        return (-end - overhead - 1 - self.choose(HEADER.size - 1)) % SECTOR_BYTES

    def end_process(self) -> None:
        """The process is gone, killed or with the power."""
        assert self.disk.retries == 0, "a file was written or synced after it had failed"
        if self.choose(2):
            self.disk = self.disk.crash()
            self.counts.power_losses += 1
            self.on_power_loss()
        else:
            self.disk = self.disk.kill()
            self.counts.kills += 1

    def on_power_loss(self) -> None:
        """What else lost its power."""

    @contextmanager
    def watching_cut(self, path: Path) -> Iterator[None]:
        """If the opening within cuts the file `path`, then all that went is on disk in a copy, and was warned of."""
        before = self.disk.content(path) or b""
        with capture_logs() as logs:
            yield
        after = self.disk.content(path) or b""
        assert before.startswith(after), "the file was changed, not only cut"
        torn = before[len(after) :]
        warned = [line for line in logs if line["event"] == "torn_tail_cut"]
        assert len(warned) == bool(torn), f"{len(torn)} bytes were cut, {len(warned)} warnings"
        if torn:
            self.counts.torn_tails += 1
            copy = Path(warned[0]["copy"])
            assert (self.disk.content(copy), self.disk.is_durable(copy)) == (torn, True), "the tail was not kept"


def play(kind: Callable[[Choose, Counts], History], choose: Choose, steps: int, counts: Counts) -> None:
    """One history of so many steps. Raises: AssertionError for a broken promise."""
    history = kind(choose, counts)
    counts.histories += 1
    for _ in range(steps):
        getattr(history, history.STEPS[choose(len(history.STEPS))])()
        history.check()
        counts.steps += 1


def choosing_by(random: Random) -> Choose:
    """As randrange, at a third of its cost."""
    draw = random.random
    return lambda limit: int(draw() * limit)


def machine_of(kind: type[History]) -> type[RuleBasedStateMachine]:
    """The same steps, chosen and shrunk by hypothesis."""

    class Machine(RuleBasedStateMachine):
        @initialize(data=st.data())
        def begin(self, data: st.DataObject) -> None:
            numbers = {}

            def choose(limit: int) -> int:
                if limit not in numbers:
                    numbers[limit] = st.integers(0, limit - 1)
                return data.draw(numbers[limit])

            self.history = kind(choose)

    def step_of(name: str) -> Any:
        def step(self: Machine) -> None:
            getattr(self.history, name)()
            self.history.check()

        step.__name__ = name
        return rule()(step)

    for name in kind.STEPS:
        setattr(Machine, name, step_of(name))
    Machine.__name__ = Machine.__qualname__ = f"{kind.__name__}Machine"
    return Machine
