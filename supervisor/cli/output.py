"""What the command line prints: data on stdout, everything else on stderr, and a failure with its exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from protocol.errors import ExitCode

PIPE_WIDTH: Final = 200
"""Columns of a table that goes to no terminal: wide enough to cut nothing."""


class Failure(click.ClickException):
    """Ends the command: the message on stderr, the exit code of design section 10.

    as_json: for a reader of `-o json`, one line with the message, the code and the facts. stdout has data only.
    """

    def __init__(self, exit_code: ExitCode, message: str, **facts: Any) -> None:
        super().__init__(message)
        # click's is one for the class, ours for the case
        self.exit_code = int(exit_code)  # pyright: ignore[reportAttributeAccessIssue]
        self.facts = facts
        self.as_json = False

    def show(self, file: IO[Any] | None = None) -> None:
        if not self.as_json:
            super().show(file)
            return
        facts = {"error": self.message, "exit_code": self.exit_code, **self.facts}
        click.echo(json.dumps(facts, ensure_ascii=False, separators=(",", ":")), file=file, err=file is None)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """What the layers below log is for an engine's log; a tool says itself what it found."""
    import structlog  # late, as rich below: `seawall run` starts without either's weight

    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before) if before else structlog.reset_defaults()


def note(message: str) -> None:
    """To the person, not to the pipe."""
    click.echo(message, err=True)


def print_json(value: object) -> None:
    """One line of JSON, alone on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Numbers to the right, everything else to the left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[index], int | float) for row in listed)
        table.add_column(column, justify="right" if numeric else "left")
    for row in listed:
        # Text, not str: a reason or a symbol in square brackets is no markup.
        table.add_row(*(Text(show_number(cell) if isinstance(cell, int | float) else str(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as text:  # for rich makes of a closed pipe an exit of its own
        console.print(table)
    click.echo(text.get(), nl=False)


def show_number(value: float) -> str:
    """Up to six digits, which is all there are, and no trailing zeros."""
    if isinstance(value, bool | int):
        return str(value)
    return f"{value:.6f}".rstrip("0").rstrip(".")


def show_state(trading: dict[str, Any]) -> str:
    """`HALTED by gateway: enough for today`."""
    text = str(trading.get("state", "?"))
    if trading.get("by"):
        text += f" by {trading['by']}"
    return f"{text}: {trading['reason']}" if trading.get("reason") else text
