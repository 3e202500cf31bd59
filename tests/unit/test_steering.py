"""What an operator may ask of the supervisor, and what follows from a death, asked for or not."""

from __future__ import annotations

from typing import Any

import pytest
from plain_config import plain_config

from actors.steering import full_name, objection
from protocol.errors import ExitCode
from protocol.messages import ChildState, Failed, SteerVerb
from protocol.settings import SupervisorSettings
from supervisor.deaths import Death, Follows, changes_exit, outcome_in_replay, outcome_of

LIVE, OF_FILE, REPLAY = plain_config(is_file=False), plain_config(), plain_config("replay")
RESTART, PARK, UNPARK = SteerVerb


def children(sma: str) -> list[ChildState]:
    states = (("risk", "ready"), ("strategy.sma", sma))
    return [ChildState(name, state, 1, 1, 0, 0.0, 0, 0, 0, {}) for name, state in states]


@pytest.mark.parametrize(("verb", "name", "sma", "config", "words"), [
    (RESTART, "risk", "ready", LIVE, ""), (PARK, "strategy.sma", "dead", LIVE, ""),
    (UNPARK, "strategy.sma", "parked", LIVE, ""), (RESTART, "strategy.sma", "hung", OF_FILE, ""),
    (RESTART, "bank", "ready", LIVE, "there are risk, strategy.sma"), (RESTART, "risk", "ready", REPLAY, "replay"),
    (RESTART, "strategy.sma", "parked", LIVE, "UNPARK starts it"), (PARK, "risk", "ready", LIVE, "is none"),
    (PARK, "strategy.sma", "parked", LIVE, "already"), (UNPARK, "strategy.sma", "ready", LIVE, "not parked, but ready"),
    (UNPARK, "strategy.sma", "parked", OF_FILE, "a new start reads it again"),
])  # fmt: skip
def test_what_may_be_asked(verb: SteerVerb, name: str, sma: str, config: Any, words: str) -> None:
    found = objection(verb, name, children(sma), config)
    assert words in found
    assert bool(words) is bool(found)


def test_a_strategy_may_be_called_by_its_bare_name() -> None:
    assert [full_name(name, children("ready")) for name in ("sma", "strategy.sma", "risk", "x")] == [
        "strategy.sma", "strategy.sma", "risk", "x",
    ]  # fmt: skip


FAILED = Failed(ExitCode.FAILURE, "oh")
LASTING = Failed(ExitCode.FAILURE, "oh", True)
FINAL = Failed(ExitCode.CORRUPT, "oh")
SETTINGS = SupervisorSettings()
DEATHS = [
    ("a crash", Death("risk", -9, None, "", 0.0, False), {}, Follows.RESTART),
    ("too many", Death("risk", -9, None, "", None, False), {}, Follows.ESCALATE),
    ("too many, of a strategy", Death("strategy.x", -9, None, "", None, False), {}, Follows.PARK),
    ("too many while it starts", Death("risk", -9, None, "", None, False), {"is_ready": False}, Follows.ESCALATE),
    ("for good", Death("order_routing", 1, LASTING, "", 0.0, False), {}, Follows.ESCALATE),
    ("for good at a start", Death("order_routing", 1, LASTING, "", 0.0, False), {"is_ready": False}, Follows.GIVE_UP),
    ("for good, of a strategy", Death("strategy.x", 1, LASTING, "", 0.0, False), {}, Follows.PARK),
    ("of what another life would find too", Death("wal", 161, FINAL, "", 0.0, False), {}, Follows.GIVE_UP),
    ("by its own word", Death("strategy.x", -9, None, "", 0.0, True), {}, Follows.PARK),
    ("twice alike, of a file", Death("risk", 1, FAILED, "oh", 0.0, False), {"is_file": True}, Follows.ESCALATE),
    ("twice alike, live", Death("risk", 1, FAILED, "oh", 0.0, False), {}, Follows.RESTART),
    ("twice, not alike", Death("risk", 1, FAILED, "ah", 0.0, False), {"is_file": True}, Follows.RESTART),
    ("asked for", Death("risk", -9, None, "", None, False, RESTART), {}, Follows.RESTART),
    ("asked to stay down", Death("strategy.x", -9, None, "", 0.0, False, PARK), {}, Follows.PARK),
]


@pytest.mark.parametrize(("death", "changes", "follows"), [row[1:] for row in DEATHS], ids=[row[0] for row in DEATHS])
def test_what_follows_from_a_death(death: Death, changes: dict[str, bool], follows: Follows) -> None:
    assert outcome_of(death, SETTINGS, **{"is_ready": True, "is_file": False, **changes}).what is follows


@pytest.mark.parametrize(("death", "may_go_on", "follows"), [
    (Death("risk", -9, None, "", 0.5, False), True, Follows.BEGIN_AGAIN),
    (Death("risk", -9, None, "", None, False), True, Follows.GIVE_UP),
    (Death("risk", -9, None, "", 0.5, False), False, Follows.GIVE_UP),
    (Death("strategy.x", 1, FAILED, "oh", 0.5, False), True, Follows.GIVE_UP),
    (Death("strategy.x", 1, FAILED, "ah", 0.5, False), True, Follows.BEGIN_AGAIN),
    (Death("wal", 161, FINAL, "", 0.5, False), True, Follows.GIVE_UP),
])  # fmt: skip
def test_what_follows_from_a_death_in_a_replay(death: Death, may_go_on: bool, follows: Follows) -> None:
    assert outcome_in_replay(death, may_go_on=may_go_on).what is follows


@pytest.mark.parametrize(("former", "name", "word", "changes"), [
    (ExitCode.OK, "order_routing", LASTING, True), (ExitCode.OK, "order_routing", FAILED, False),
    (ExitCode.ESCALATED, "order_routing", LASTING, False), (ExitCode.OK, "strategy.x", LASTING, False),
    (ExitCode.ESCALATED, "wal", Failed(ExitCode.JOURNAL_FAILURE, "oh"), True),
])  # fmt: skip
def test_what_is_said_in_a_stop_hides_no_reason_for_it(
    former: ExitCode, name: str, word: Failed, changes: bool
) -> None:
    assert changes_exit(former, name, word) is changes


def test_threads_and_an_engine_that_starts_are_left_alone() -> None:
    assert "threads" in objection(RESTART, "risk", children("ready"), LIVE, is_process=False)
    assert "starting" in objection(RESTART, "risk", [], LIVE)
