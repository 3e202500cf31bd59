"""What the histories of the log and of the journal share: a life of a process on the simulated disk, and its ends.

A history is a sequence of steps (methods of a History), each of which leaves an open log behind, however often the
process died within it. All that is uncertain, the steps and their contents too, comes from `choose`; so hypothesis
can drive a history (machine_of) and shrink it, and random numbers can drive many of them quickly (play).
A broken promise is an AssertionError, or a WalCorruptError of the code under test: nothing here damages a file.
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
from simulated_disk import SECTOR_BYTES, Choose, Fault, ProcessDied, SimulatedDisk
from structlog.testing import capture_logs

from protocol.errors import WalError, WalSyncError
from protocol.wal.format import HEADER

DIRECTORY: Final = Path("/run/wal")
WARNINGS: Final = ("torn_tail_cut", "journal_copied_after_failure")
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
    fresh_files: int = 0
    """Starts that left a journal alone for its failure, and went on in a copy."""

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name.replace('_', ' ')}" for field in fields(self))


class History:
    STEPS: ClassVar[tuple[str, ...]]
    """The methods that are steps; named twice, a step is taken twice as often."""

    def __init__(self, choose: Choose, counts: Counts | None = None, *, whole_sectors: bool = False) -> None:
        self.choose = choose
        self.counts = counts or Counts()
        self.trace: list[str] = []
        """What happened, in words."""
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
        if self.loses_power():
            self.trace.append("power loss")
            self.disk = self.disk.crash()
            self.counts.power_losses += 1
            self.on_power_loss()
        else:
            self.trace.append("kill")
            self.disk = self.disk.kill()
            self.counts.kills += 1

    def loses_power(self) -> bool:
        """Or is only killed."""
        return self.choose(2) == 1

    def died(self, where: ProcessDied) -> None:
        self.trace.append(f"death in {where}")
        self.counts.deaths += 1

    def failed(self, error: WalError) -> None:
        """One of the failures of the simulated disk. Raises: `error`, if it is not."""
        if "simulated" not in str(error):
            raise error
        self.trace.append(str(error))
        self.counts.failures += 1

    def on_power_loss(self) -> None:
        """What else lost its power."""

    @contextmanager
    def watching_cut(self, path: Path) -> Iterator[None]:
        """If the opening within cuts the file `path`, then all that went is on disk, and was warned of.

        On disk in a copy; or in the very file, which has failed and is only renamed. Even if the opening is cut short.
        """
        disk, before = self.disk, self.disk.content(path) or b""
        is_done = False
        with capture_logs() as logs:
            try:
                yield
                is_done = True
            finally:
                after = disk.content(path) or b""
                assert before.startswith(after), "the file was changed, not only cut"
                torn = before[len(after) :]
                if torn:
                    contents = disk.contents().items()
                    kept = any(content == torn and disk.is_durable(copy) for copy, content in contents)
                    kept = kept or any(content == before and disk.has_durable_name(copy) for copy, content in contents)
                    assert kept, f"{len(torn)} bytes were cut and not kept"
        warned = [line["lost_bytes"] for line in logs if line["event"] in WARNINGS]
        assert not is_done or sum(warned) == len(torn), f"{len(torn)} bytes were cut, {warned} warned of"
        self.counts.torn_tails += bool(torn)


def must_refuse(action: Callable[[], object], after: str) -> None:
    try:
        action()
    except WalSyncError:
        return
    raise AssertionError(f"done in spite of: {after}")


def play(kind: type[History], choose: Choose, steps: int, counts: Counts, trace: list[str] | None = None) -> None:
    """One history of so many steps; `trace` gets what happened. Raises: what a broken promise raises."""
    counts.histories += 1
    history = kind.__new__(kind)
    try:
        history.__init__(choose, counts)
        for _ in range(steps):
            step = history.STEPS[choose(len(history.STEPS))]
            history.trace.append(step)
            getattr(history, step)()
            history.check()
            counts.steps += 1
    finally:
        if trace is not None:
            trace += history.trace


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
