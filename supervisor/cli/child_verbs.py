"""The verbs that say which processes run: asked of the gateway, carried out by the supervisor, seen in HEALTH."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click

from protocol.errors import ExitCode
from supervisor.cli.asking import POLL_S, ask
from supervisor.cli.completing import complete_child, complete_strategy
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target, words_behind_config
from supervisor.cli.output import Failure, note, print_json

_TIMEOUT_S: Final = 15.0
ASK_S: Final = 1.0
"""For one answer: who is asked may be the one that dies."""
Row = dict[str, Any]


def _steer(
    target: Target, timeout_s: float, as_json: bool, verb: str, words: tuple[str, ...],
    is_done: Callable[[Row, Row], bool],
) -> None:  # fmt: skip
    """Until it is seen. `is_done` gets the child's row before and now. Raises: Failure."""
    named = words_behind_config(words)
    if len(named) != 1:
        raise click.UsageError("which one? See `seawall health`")
    before = {row["name"]: row for row in _rows(target, time.monotonic() + timeout_s)}
    reply = ask(target, timeout_s, f"{verb} {named[0]}")
    name = named[0] if named[0] in before else f"strategy.{named[0]}"
    print_json(reply) if as_json else click.echo(reply["response"])
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        row = next((row for row in _rows(target, deadline) if row["name"] == name), None)
        if row is not None and is_done(before[name], row):
            note(f"{name} is {row['state']} (process {row['pid']}, life {row['incarnation']}).")
            return
        time.sleep(POLL_S)
    raise Failure(
        ExitCode.NO_ANSWER, f"{verb} of {name} was asked for, and not seen done within {timeout_s:g} s",
        hint=f"It may be done still: `seawall health {target.as_option()}` shows how {name} is.",
    )  # fmt: skip


def _rows(target: Target, deadline: float) -> list[Row]:
    """Of all children; until `deadline` the gateway may be the one that comes back, or may not know them yet."""
    while True:
        left_s = deadline - time.monotonic()
        try:
            rows = ask(target, min(ASK_S, max(left_s, POLL_S)), "HEALTH")["children"]
        except Failure:
            if left_s < 0:
                raise
        else:
            if rows or left_s < 0:
                return rows
        time.sleep(POLL_S)


@click.command()
@engine_options(_TIMEOUT_S, config=False, complete=complete_child)
def restart(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Ends a process of the engine; its next life goes on where it stood.

    \b
    Example:
      seawall restart risk --run-dir run/demo
    """
    _steer(target, timeout_s, as_json, "RESTART", words,
           lambda before, now: now["incarnation"] > before["incarnation"] and now["state"] == "ready")  # fmt: skip


@click.command()
@engine_options(_TIMEOUT_S, config=False, complete=complete_strategy)
def park(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """A strategy stays down, and its orders are cancelled; the others trade on.

    \b
    Example:
      seawall park breakout --run-dir run/demo
    """
    _steer(target, timeout_s, as_json, "PARK", words, lambda _, now: now["state"] == "parked")


@click.command()
@engine_options(_TIMEOUT_S, config=False, complete=complete_strategy)
def unpark(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """A parked strategy comes back, with what it had saved; its deaths count anew.

    \b
    Example:
      seawall unpark breakout --run-dir run/demo
    """
    _steer(target, timeout_s, as_json, "UNPARK", words, lambda _, now: now["state"] == "ready")
