"""What follows from a child's death: a pure function of how it ended and of what was before (design section 9)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from protocol.errors import ExitCode
from protocol.messages import Failed, SteerVerb
from protocol.settings import SupervisorSettings
from supervisor.boot import OnLimit, boot_row

FINAL_CODES: Final = {ExitCode.USAGE, ExitCode.JOURNAL_FAILURE, ExitCode.CORRUPT}
"""Exit codes of a child after which restarting it would only repeat them."""


class Follows(StrEnum):
    RESTART = "restart"
    PARK = "park"
    """It stays down, and the others go on."""
    GIVE_UP = "give_up"
    """The engine stops; nothing was traded that a HALT would have to end, or nothing more can be."""
    ESCALATE = "escalate"
    """HALT, ordered stop, an exit code of its own."""
    BEGIN_AGAIN = "begin_again"
    """A replay: all go on from the last checkpoint."""


class Death(NamedTuple):
    name: str
    code: int | None
    failure: Failed | None
    """Its last word, if it had one."""
    former_words: str
    """What the life before it said as it failed."""
    pause_s: float | None
    """Until its next life; None: the limit is passed."""
    stays_down: bool
    """By its own word, should it die."""
    asked: SteerVerb | None = None
    """An operator has asked for it."""


class Outcome(NamedTuple):
    what: Follows
    reason: str = ""
    code: ExitCode = ExitCode.FAILURE
    pause_s: float = 0.0


ASKED: Final = {
    SteerVerb.RESTART: Outcome(Follows.RESTART), SteerVerb.PARK: Outcome(Follows.PARK, "an operator has asked for it"),
}  # fmt: skip
"""What follows where an operator is the reason: it counts for no limit."""


def outcome_of(death: Death, settings: SupervisorSettings, *, is_ready: bool, is_file: bool) -> Outcome:
    """Of a live engine. `is_ready`: it was up before; `is_file`: its market comes again to each life."""
    name, failure, words = death.name, death.failure, death.former_words
    if (final := _final(death)) is not None:
        return final
    if death.asked is not None:
        return ASKED[death.asked]
    if failure is not None and failure.is_lasting:
        return _past_limit(name, failure.message, is_ready)
    if death.stays_down:
        return Outcome(Follows.PARK, 'on_restart = "parked", and it has no saved state')
    if is_ready and is_file and failure is not None and words and words == failure.message:
        return _past_limit(name, f"{name} failed twice in the same way: {words}", is_ready)
    if death.pause_s is None:
        reason = f"{name} died more than {settings.restarts} times within {settings.window_s} s"
        return _past_limit(name, reason, is_ready=True)
    return Outcome(Follows.RESTART, pause_s=death.pause_s)


def outcome_in_replay(death: Death, *, may_go_on: bool) -> Outcome:
    """P13: not when the same happens again. `may_go_on`: it has come further since the last time, say."""
    name, failure = death.name, death.failure
    if (final := _final(death)) is not None:
        return final
    words = failure.message if failure is not None else ""
    reason = f"{name} died: {words or f'exit code {death.code}'}"
    is_repeated = bool(words) and words == death.former_words
    if death.pause_s is None or is_repeated or not may_go_on:
        return Outcome(Follows.GIVE_UP, f"{reason}; `run --resume` goes on once the cause is mended")
    return Outcome(Follows.BEGIN_AGAIN, reason, pause_s=death.pause_s)


def _final(death: Death) -> Outcome | None:
    """If another life would find the same."""
    failure = death.failure
    if failure is None or failure.exit_code not in FINAL_CODES:
        return None
    return Outcome(Follows.GIVE_UP, f"{death.name}: {failure.message}", ExitCode(failure.exit_code))


def _past_limit(name: str, reason: str, is_ready: bool) -> Outcome:
    if boot_row(name).on_limit is OnLimit.PARK:
        return Outcome(Follows.PARK, reason)
    return Outcome(Follows.ESCALATE if is_ready else Follows.GIVE_UP, reason)


def changes_exit(former: ExitCode, name: str, word: Failed) -> bool:
    """Whether what a child says as it ends in an ordered stop becomes the engine's exit code. A journal that fails
    always does; else the first reason counts, and a strategy's is its own."""
    if word.exit_code == ExitCode.JOURNAL_FAILURE:
        return True
    return word.is_lasting and former is ExitCode.OK and boot_row(name).on_limit is not OnLimit.PARK
