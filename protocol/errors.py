"""Every error of the project, sorted by whose fault it is.

Data stands in attributes; the message says what, where, and what to do next. A refused order is a
record with a reason and never an exception.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import PurePath
from typing import Final


class ExitCode(IntEnum):
    """What a command's exit code says (design section 10)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    STATUS_NOT_RUNNING = 3
    NO_ANSWER = 4
    NOT_RUNNING = 7
    ESCALATED = 10
    JOURNAL_FAILURE = 11
    HALTED = 150
    REDUCING = 151
    DEGRADED = 152
    TORN = 160
    CORRUPT = 161


class SeawallError(Exception):
    """Root of all errors that the project raises on purpose."""


class ConfigError(SeawallError):
    """The operator's: a setting that cannot be used. `path` is the dotted key, `mistakes` all that were found."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class DataError(SeawallError):
    """The operator's: a row of a data file that cannot be used."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        self.file, self.line, self.reason = file, line, reason
        super().__init__(f"{file}:{line}: {reason}")


class WireError(SeawallError):
    """The peer's: bytes that are not a message of this protocol."""


class NotRepresentableError(SeawallError):
    """A number that cannot be represented in 1e-6, or outgrows 64 bits."""


class WalError(SeawallError):
    """The journal's: the root of all errors of the write-ahead log."""


class WalTornTailError(WalError):
    """An incomplete last entry, met where it must not be repaired (a read-only reader)."""


class WalNotAFileError(WalError):
    """A directory, a FIFO or a device stands where a file of the log belongs. Nothing of it was read."""

    def __init__(self, path: str, found: str) -> None:
        self.found = found
        super().__init__(f"{path}: expected a file, found {found}: it is none of the log's; move it away")


class WalLockedError(WalError):
    """Another writer has the log open."""


class WalSyncError(WalError):
    """A write or sync failed. It is final: the file is not written again by this process.

    `fact` says what failed, without the advice: where the journal goes on all the same, that would mislead.
    """

    def __init__(self, fact: str, advice: str = "") -> None:
        self.fact, self.advice = fact, advice
        super().__init__(f"{fact}. {advice}" if advice else fact)


class WalForeignError(WalError):
    """The file is no plain log: somebody's text, an engine's journal. Nothing of it was changed."""


MEND_JOURNAL: Final = (
    "Keep a copy of the directory; `seawall wal verify` says more, `seawall wal repair` what mending costs."
)
RESTORE_SEALED: Final = "What is sealed cannot be repaired: restore it from a copy, if there is one."
RESTORE_PLAIN: Final = "Keep a copy; `seawall wal inspect` shows what stands before the damage, and nothing mends it."


class WalCorruptError(WalError):
    """What the log holds contradicts what it once acknowledged; nothing was changed.

    next_step: what an operator can do; by the file's name, if it is not given.
    """

    def __init__(
        self, file: str, offset: int, *, lsn: int | None, expected: str, found: str, next_step: str = ""
    ) -> None:
        self.file, self.offset, self.lsn, self.expected, self.found = file, offset, lsn, expected, found
        where = f"{file} at byte {offset}" + ("" if lsn is None else f" (LSN {lsn})")
        next_step = next_step or _next_step(file)
        super().__init__(f"{where}: expected {expected}, found {found}. Nothing was changed. {next_step}")


def _next_step(file: str) -> str:
    name = PurePath(file).name
    if name == "journal.wal":
        return MEND_JOURNAL
    return RESTORE_SEALED if name.startswith("journal-") else RESTORE_PLAIN


class ResumeError(SeawallError):
    """The strategy's author's, or the operator's: a replay that goes on does not do again what its journal tells."""


class SavedStateError(SeawallError):
    """A strategy's saved state that its own code, or this version, cannot take in: every life would meet it again."""


class FoldError(WalError):
    """A record that does not follow from those before it: the fold stops at `lsn`."""

    def __init__(self, lsn: int, reason: str) -> None:
        self.lsn, self.reason = lsn, reason
        super().__init__(f"journal LSN {lsn}: {reason}")


class SupervisionError(SeawallError):
    """The supervisor's: children that do not do as they are told."""


class ReadyTimeoutError(SupervisionError):
    """A child did not say READY before its deadline."""


class ReplayBrokenError(SupervisionError):
    """A child of a replay has died: all stop, and the run goes on from its last checkpoint after `pause_s`."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class RestartLimitError(SupervisionError):
    """A child died more often than `supervisor.restarts` within `supervisor.window_s`."""


class StopRequestedError(SupervisionError):
    """Somebody asked for a stop while something was waited for."""


class GatewayError(SeawallError):
    """A client's view: the gateway cannot be reached, or answered with an error."""


class NotRunningError(GatewayError):
    """No engine answers at this endpoint or run_dir."""


class RefusedError(GatewayError):
    """The engine is there, and does not let this client in: its key, or that it has none."""


class NoAnswerError(GatewayError):
    """The engine is there but did not answer in time."""
