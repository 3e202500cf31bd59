"""A child as the supervisor sees it: why it ended, as far as that can be told."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ExitCode
from protocol.messages import Failed
from supervisor.child import LAST_WORD_S, Child
from supervisor.restart import RestartPolicy


class Life:
    """A process that has ended."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def exit_code(self) -> int | None:
        return self.code


def child(name: str, code: int | None) -> Child:
    made = Child(name, RestartPolicy(10, 60.0))
    life: Any = Life(code)
    made.begin(life, 1)
    return made


@pytest.mark.parametrize(
    ("name", "code", "final"),
    [
        ("wal", ExitCode.JOURNAL_FAILURE, ExitCode.JOURNAL_FAILURE),
        ("wal", ExitCode.CORRUPT, ExitCode.CORRUPT),
        ("wal", ExitCode.FAILURE, None),
        ("wal", -9, None),
        ("wal", None, None),
        ("strategy.one", ExitCode.JOURNAL_FAILURE, None),  # what a strategy's author may exit with
    ],
)
def test_wals_exit_code_is_its_word_where_its_message_came_too_late(
    name: str, code: int | None, final: ExitCode | None
) -> None:
    """Else a wal whose file has failed would get another life."""
    word = child(name, code).last_word()
    assert (word and word.exit_code) == final


def test_what_a_child_said_goes_before_its_exit_code() -> None:
    said = Failed(ExitCode.JOURNAL_FAILURE, "fdatasync failed")
    dead = child("wal", ExitCode.JOURNAL_FAILURE)
    dead.failure = said
    assert dead.last_word() is said


@pytest.mark.parametrize("code", [None, 0, -9, -6])
def test_of_a_signal_and_of_success_nobody_says_more(code: int | None) -> None:
    assert child("strategy.one", code).has_said_why()


def test_the_reason_of_an_exit_code_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the same exception twice looks like two deaths without a reason (P13): the death can be seen first."""
    now_s = 100.0
    monkeypatch.setattr("supervisor.child.monotonic_s", lambda: now_s)
    heard, silent = child("strategy.one", ExitCode.FAILURE), child("strategy.two", ExitCode.FAILURE)
    assert not heard.has_said_why()
    assert not silent.has_said_why()
    heard.take(Failed(ExitCode.FAILURE, "a bad day"), 0)
    assert heard.has_said_why()
    now_s += LAST_WORD_S
    assert silent.has_said_why()
    silent.begin(silent.life, 2)  # type: ignore[arg-type]
    assert not silent.has_said_why(), "each life is waited for"
