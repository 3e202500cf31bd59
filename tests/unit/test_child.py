"""A child as the supervisor sees it: why it ended, as far as that can be told."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ExitCode
from protocol.messages import Failed
from supervisor.child import Child
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
