"""What the command line prints: data on stdout, everything else on stderr, and a failure with its exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import click

from protocol.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table as RichTable
    from rich.text import Text

PIPE_WIDTH: Final = 200
"""Columns of a table that goes to no terminal: wide enough to cut nothing."""
UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


class Failure(click.ClickException):
    """Ends the command: the message on stderr, the exit code of design section 10.

    hint: what to do next, in a paragraph of its own. as_json: for a reader of `-o json`, one line with the message, the
    code and the facts. stdout has data only.
    """

    def __init__(self, exit_code: ExitCode, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.hint = hint
        # click's is one for the class, ours for the case
        self.exit_code = int(exit_code)  # pyright: ignore[reportAttributeAccessIssue]
        self.facts = facts
        self.as_json = False

    def format_message(self) -> str:
        return printable(self.message)

    def show(self, file: IO[Any] | None = None) -> None:
        if not self.as_json:
            super().show(file)
            if self.hint:
                click.echo(printable(self.hint), file=file, err=file is None)
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
    click.echo(printable(message), err=True)


def print_json(value: object) -> None:
    """One line of JSON, alone on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class Styled(NamedTuple):
    """A line or a cell. `style` is rich's (bold, red); nothing is said by it alone, for there may be no colour."""

    text: str
    style: str = ""


class Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


Part = Styled | Table
"""Of what is shown: pages are lines and tables, one below the other."""


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print_parts([Table(title, columns, [list(row) for row in rows])])


def print_parts(parts: Iterable[Part]) -> None:
    """On stdout; in colour on a terminal, unless NO_COLOR is set."""
    console = open_console()
    with console.capture() as text:  # for rich makes of a closed pipe an exit of its own
        console.print(draw_parts(parts))
    click.echo(text.get(), nl=False)


def open_console() -> Console:
    """Of stdout. NO_COLOR is rich's own affair. Source: no-color.org."""
    from rich.console import Console  # late, with what it draws: `seawall run` starts without the weight

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def draw_parts(parts: Iterable[Part]) -> Group:
    from rich.console import Group

    return Group(*(draw_table(part) if isinstance(part, Table) else _draw_text(part) for part in parts))


def draw_table(table: Table, *, has_rule: bool = True) -> RichTable:
    """Numbers to the right, everything else to the left. has_rule: a line stands below the headings."""
    from rich import box
    from rich.table import Table as RichTable

    title = table.title or None
    # No edges, and two columns of room between: the children fit into the 80 of a terminal.
    drawn = RichTable(
        title=title, title_justify="left", show_edge=False, pad_edge=False, box=box.SIMPLE_HEAD if has_rule else None,
        padding=(0, 1 if has_rule else 2, 0, 0), header_style="table.header" if has_rule else "dim",
    )  # fmt: skip
    for index, column in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        numeric, whole = _is_numeric(cells), not index or any(isinstance(cell, Styled) for cell in cells)
        drawn.add_column(column, justify="right" if numeric else "left", no_wrap=numeric or whole, overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_draw_text, row))
    return drawn


def _is_numeric(cells: Sequence[object]) -> bool:
    """Empty ones may be among them."""
    said = [cell for cell in cells if cell != ""]
    return bool(said) and all(isinstance(cell, int | float) for cell in said)


def _draw_text(cell: object) -> Text:
    """Text, not str: a reason or a symbol in square brackets is no markup. Nor does it steer the reader's terminal."""
    from rich.text import Text

    said, style = cell if isinstance(cell, Styled) else (cell, "")
    text = show_number(said) if isinstance(said, int | float) else str(said)
    return Text(printable(text), style)


def printable(text: str) -> str:
    """Words that come from outside steer no terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else UNPRINTABLE for sign in text)


def show_number(value: float) -> str:
    """Up to six digits, which is all there are, and no trailing zeros."""
    if isinstance(value, bool | int):
        return str(value)
    return f"{value:.6f}".rstrip("0").rstrip(".")
