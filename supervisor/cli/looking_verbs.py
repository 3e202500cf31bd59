"""The verbs that look and change nothing: each asks the gateway, and shows the reply as a page or as it came.

`-o json` prints the reply alone, which outsiders depend on; pages are for people (tables.py) and may change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final

import click

from protocol.errors import ExitCode
from supervisor.cli.asking import ask
from supervisor.cli.completing import complete_config
from supervisor.cli.engine_options import Verb, engine_options
from supervisor.cli.naming import Target
from supervisor.cli.output import Part, Styled, note, print_json, print_parts
from supervisor.cli.tables import (
    DOUBTFUL,
    Page,
    account_page,
    health_page,
    limits_page,
    orders_page,
    positions_page,
    status_page,
    warnings,
)
from supervisor.cli.watching import INTERVAL_MIN_S, INTERVAL_S, watch_blocks, watch_lines, watch_screen

WATCH: Final = "--watch"
Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Looking:
    """At which engine, and how it is shown."""

    target: Target
    as_json: bool
    wide: bool
    timeout_s: float
    watch_s: float | None
    not_running: ExitCode = ExitCode.NOT_RUNNING

    def ask(self, *verbs: str) -> list[Reply]:
        return [ask(self.target, self.timeout_s, verb, self.not_running) for verb in verbs]

    def show(self, verb: str, draw: Callable[..., Page], *more: str) -> list[Reply]:
        """The replies to `verb` and to `more`, of which JSON has the first alone. A watch gives none."""
        if self.watch_s is not None:
            self._watch(verb, draw, *more)
            return []
        if self.as_json:
            replies = self.ask(verb)
            print_json(replies[0])
            return replies
        replies = self.ask(verb, *more)
        page = draw(*replies, wide=self.wide)
        print_parts(page.parts)
        for reason in page.warnings:
            note(f"Warning: {reason}")
        return replies

    def _watch(self, verb: str, draw: Callable[..., Page], *more: str) -> None:
        """Warnings belong to the block in which they were seen."""
        assert self.watch_s is not None

        def look() -> list[Part]:
            page = draw(*self.ask(verb, *more), wide=self.wide)
            return [*page.parts, *(Styled(f"Warning: {reason}", DOUBTFUL) for reason in page.warnings)]

        if self.as_json:
            watch_lines(lambda: print_json(*self.ask(verb)), self.watch_s)
        elif sys.stdout.isatty():
            watch_screen(look, self.watch_s)
        else:
            watch_blocks(look, self.watch_s)


class LookingCommand(click.Command):
    """Takes `--watch` with and without its seconds, also before a CONFIG."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_seconds(args))


def with_seconds(args: list[str]) -> list[str]:
    """Source: click takes whatever follows for an option's optional value, a CONFIG too."""
    found: list[str] = []
    for index, word in enumerate(args):
        found.append(word)
        if word == WATCH and not _is_number(args[index + 1 : index + 2]):
            found[-1] = f"{WATCH}={INTERVAL_S:g}"
    return found


def _is_number(words: list[str]) -> bool:
    try:
        return bool(words) and float(words[0]) == float(words[0])
    except ValueError:
        return False


def looking_verb(verb: Callable[..., None]) -> click.Command:
    """The command; `verb` gets a Looking, and its own options."""

    @wraps(verb)
    def look(target: Target, as_json: bool, timeout_s: float, wide: bool, watch: float | None, **rest: Any) -> None:
        verb(Looking(target, as_json, wide, timeout_s, watch), **rest)

    watching = click.option(
        WATCH, type=click.FloatRange(INTERVAL_MIN_S), metavar="[SECONDS]", shell_complete=complete_config,
        help=f"Again and again until Ctrl-C, every {INTERVAL_S:g} s or so many.",
    )  # fmt: skip
    decorated: Verb = engine_options(tables=True)(look)
    return click.command(cls=LookingCommand)(watching(decorated))


@looking_verb
@click.option(
    "--check", is_flag=True,
    help="Exit 150 if HALTED, 151 if REDUCING, 152 if degraded: a child is not ready, or the disk is nearly full.",
)  # fmt: skip
def status(looking: Looking, check: bool) -> None:
    """The trading state, with who, when and why; every position; every process.

    Records behind are those of the journal that a process had yet to read when it last said so, up to a second ago: a
    busy engine's are never 0, and do not grow. A queue is shown as its depth/limit. `-o json` is STATUS alone, as
    outsiders get it; `health -o json` has state and processes.

    \b
    Example:
      seawall status deploy/configs/demo.toml
      seawall status --run-dir run/demo --watch 0.5
    """
    if check and looking.watch_s is not None:
        raise click.UsageError(f"--check looks once, {WATCH} again and again: one of them")
    looking = replace(looking, not_running=ExitCode.STATUS_NOT_RUNNING)
    replies = looking.show("STATUS", status_page, "HEALTH")
    if not check:
        return
    if looking.as_json:
        replies += looking.ask("HEALTH")
        for reason in warnings(replies[1]):
            note(f"Warning: {reason}")
    raise SystemExit(int(check_code(*replies)))


def check_code(reply: Reply, health: Reply) -> ExitCode:
    """The worst thing that can be said, as the exit code of `status --check`."""
    state = health["trading_state"]["state"]
    if reply["halted"] or state == "HALTED":
        return ExitCode.HALTED
    if state == "REDUCING":
        return ExitCode.REDUCING
    return ExitCode.DEGRADED if warnings(health) else ExitCode.OK


@looking_verb
def positions(looking: Looking) -> None:
    """Every position, flat ones too.

    \b
    Example:
      seawall positions --run-dir run/demo
    """
    looking.show("STATUS", positions_page)


@looking_verb
def orders(looking: Looking) -> None:
    """Open orders.

    \b
    Example:
      seawall orders --run-dir run/demo -o wide
    """
    looking.show("ORDERS", orders_page)


@looking_verb
def limits(looking: Looking) -> None:
    """The limits that are set, and how far each is used.

    \b
    Example:
      seawall limits --run-dir run/demo
    """
    looking.show("LIMITS", limits_page)


@looking_verb
def account(looking: Looking) -> None:
    """Balance, equity and margin, and what each strategy has brought from 0.

    \b
    Example:
      seawall account --run-dir run/demo --watch
    """
    looking.show("ACCOUNT", account_page)


@looking_verb
def health(looking: Looking) -> None:
    """Every process, the trading state, and how far each has come.

    \b
    Example:
      seawall health --run-dir run/demo -o wide
    """
    looking.show("HEALTH", health_page)
