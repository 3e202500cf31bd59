"""The command `seawall`: what it can do, in the order in which one needs it.

Owns `run` and `check`; the other verbs stand beside it. Reaches a running engine only through
protocol.client, like any outsider (design section 12). Nothing prompts.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from protocol import VERSION
from protocol.errors import ConfigError, ExitCode, SeawallError
from protocol.settings import Config, load_config
from supervisor.cli.completing import complete_config
from supervisor.cli.output import Failure, note

LOOKING_VERBS: Final = ("status", "health", "orders", "positions", "limits", "account")
OPERATOR_VERBS: Final = ("halt", "ping")
OPERATION_VERBS: Final = ("reduce", "resume", "cancel", "flatten", "deposit")
CHILD_VERBS: Final = ("restart", "park", "unpark")
VERBS: Final = {
    **dict.fromkeys(CHILD_VERBS, "supervisor.cli.child_verbs"),
    **dict.fromkeys(LOOKING_VERBS, "supervisor.cli.looking_verbs"),
    **dict.fromkeys(OPERATION_VERBS, "supervisor.cli.operation_verbs"),
    **dict.fromkeys(OPERATOR_VERBS, "supervisor.cli.operator_verbs"),
    "completion": "supervisor.cli.completion_verb",
    "dash": "supervisor.cli.dash_verb",
    "init": "supervisor.cli.init_verb",
    "keys": "supervisor.cli.keys_verbs",
    "report": "supervisor.cli.report_verb",
    "stop": "supervisor.cli.stop_verb",
    "top": "supervisor.cli.top_verb",
    "venue": "supervisor.cli.venue_verb",
    "wal": "supervisor.cli.wal_verbs",
}
"""Verb -> the module that has the command of that name; imported when it is asked for. An engine starts sooner."""

STANDARD_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""By their descriptors."""


class LazyGroup(click.Group):
    """Source: click's documentation, "Lazily Loading Subcommands"."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *VERBS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in VERBS:
            return getattr(importlib.import_module(VERBS[cmd_name]), cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Seawall: a trading engine made of processes.

    \b
    Example:
      seawall init first
      seawall status --run-dir run/demo
    """
    _open_standard_streams()


@main.command()
@click.argument("config", shell_complete=complete_config)
@click.option("--inproc", is_flag=True, help="All actors as threads of one process: for debugging and tests.")
@click.option("--resume", is_flag=True, help="Go on with a replay that was interrupted.")
@click.option(
    "--forget-state", "forget_states", metavar="NAME", multiple=True,
    help="Drop what the strategy NAME has saved: it begins as one without saved state.",
)
@click.option("--progress/--no-progress", default=True, help="How far a file has been run, on stderr.")
def run(config: str, inproc: bool, resume: bool, forget_states: tuple[str, ...], progress: bool) -> None:
    """Start the engine that CONFIG describes, and stay until it has stopped.

    \b
    Example:
      seawall run deploy/configs/demo.toml
    """
    settings = _read_config(config)
    from supervisor.nursery import begin_nursery

    nursery = None
    try:
        if not inproc:
            with suppress(OSError):  # the supervisor tries it again, and says why not
                nursery = begin_nursery(settings.engine.name)
        from supervisor.engine import run_engine  # imported late: the other verbs answer without the engine's weight

        exit_code = run_engine(
            settings, inproc=inproc, resume=resume, forget_states=forget_states, progress=progress, nursery=nursery
        )  # fmt: skip
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from error
    except SeawallError as error:
        raise Failure(ExitCode.FAILURE, str(error)) from error
    finally:
        if nursery is not None:
            nursery.end()
    sys.exit(exit_code)


def _open_standard_streams() -> None:
    """Descriptors 0 to 2 are open, on /dev/null where they were closed. Else the first files that an engine opens, the
    lock or the journal, would have their numbers: what a library writes to standard error would go into those."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(STANDARD_STREAMS):
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, (name, mode) in enumerate(STANDARD_STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


@main.command()
@click.argument("config", shell_complete=complete_config)
def check(config: str) -> None:
    """Check CONFIG whole, as `run` does before it starts anything.

    \b
    Example:
      seawall check deploy/configs/demo.toml
    """
    settings = _read_config(config)
    from supervisor.engine import check_children
    from supervisor.run_dir import check_run_dir
    from supervisor.warnings import warnings_of

    found = check_children(settings)
    if mistakes := [*check_run_dir(settings), *found.mistakes]:
        raise Failure(ExitCode.USAGE, "\n".join(mistakes))
    for warning in [*warnings_of(settings), *found.warnings]:
        note(f"Warning: {warning}")
    click.echo("ok")


def _read_config(path: str) -> Config:
    """The config; strategies beside the caller can be imported from here on (design section 11)."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return load_config(path)
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from error


if __name__ == "__main__":
    main()
