"""`seawall top`: the engine in a terminal."""

from __future__ import annotations

import sys

import click

from protocol.errors import ExitCode
from supervisor.cli.asking import Target
from supervisor.cli.operator_verbs import engine_options
from supervisor.cli.output import Failure


@click.command()
@engine_options()
def top(target: Target, as_json: bool, timeout_s: float) -> None:
    """The engine in this terminal: `h` halts, `q` leaves. The engine goes on.

    Example: seawall top --run-dir run/demo
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise click.UsageError("top draws on a terminal; for a program there is `seawall health -o json`")
    try:
        from supervisor.dashboard.top import run_top
    except ModuleNotFoundError as error:
        raise Failure(ExitCode.FAILURE, f"top needs {error.name}: pip install 'seawall[top]'") from error
    run_top(target)
