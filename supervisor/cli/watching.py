"""`--watch`: the same look again and again, until Ctrl-C.

On a terminal each look takes the place of the one before, on the alternate screen, and the last one stays when it
ends. Elsewhere one block, or one line of JSON, follows the other. An engine that goes away is waited for, and said to
be away.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from protocol.errors import ExitCode
from supervisor.cli.output import Failure, Part, Styled, draw_parts, note, open_console, print_parts
from supervisor.report.text import show_time

INTERVAL_S: Final = 1.0
INTERVAL_MIN_S: Final = 0.1
"""Below it a watch would be a load."""

Look = Callable[[], list[Part]]


def watch_screen(look: Look, interval_s: float) -> None:
    """Until Ctrl-C, which is how it ends, and no failure. Raises: Failure for what no waiting mends."""
    from rich.live import Live  # late: only here

    last: list[Part] = []

    def show(parts: list[Part]) -> None:
        last[:] = parts
        footer = Styled(f"{_now()} · every {interval_s:g} s; Ctrl-C ends it", "dim")
        live.update(draw_parts([*parts, footer]), refresh=True)

    with suppress(KeyboardInterrupt), Live(console=open_console(), screen=True, auto_refresh=False) as live:
        _repeat(lambda: show(look()), lambda away: show([Styled(away, "bold red")]), interval_s)
    print_parts(last)


def watch_blocks(look: Look, interval_s: float) -> None:
    """As `watch_screen`, one block below the other, each with its time."""
    watch_lines(lambda: print_parts([Styled(_now()), *look(), Styled("")]), interval_s)


def watch_lines(print_look: Callable[[], None], interval_s: float) -> None:
    """As `watch_screen`, with what is printed. That the engine is away goes to the person, once."""
    told = ""

    def print_now() -> None:
        nonlocal told
        print_look()
        sys.stdout.flush()  # a reader of the pipe sees it now
        told = ""

    def tell_away(away: str) -> None:
        nonlocal told
        if not told:
            note(away)
        told = away

    with suppress(KeyboardInterrupt):
        _repeat(print_now, tell_away, interval_s)


def _repeat(look: Callable[[], None], away: Callable[[str], None], interval_s: float) -> None:
    answered = ""
    while True:
        try:
            look()
            answered = f"; it last answered at {_now()}"
        except Failure as failure:
            if failure.exit_code == ExitCode.USAGE:
                raise
            away(f"{failure.message}{answered}. Waiting for it; Ctrl-C ends this.")
        time.sleep(interval_s)


def _now() -> str:
    return f"{show_time(time.time_ns() // 1000)} UTC"
