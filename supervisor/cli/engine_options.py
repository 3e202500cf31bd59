"""The options by which every verb finds its engine, and in which form it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click

from supervisor.cli.completing import Complete, complete_config
from supervisor.cli.naming import RUN_DIR_VARIABLE, config_among, find_target

Verb = Callable[..., None]
TIMEOUT_S: Final = 2.0


def engine_options(
    timeout_s: float = TIMEOUT_S, *, config: bool = True, tables: bool = False, complete: Complete = complete_config
) -> Callable[[Verb], Verb]:  # fmt: skip
    """Adds the options by which a verb finds its engine; it gets (target, as JSON?, timeout in seconds, ...).

    config: a CONFIG is its only argument, else it gets `words`, of which the first may be one. tables: `-o wide` too,
    and the verb gets `wide`. complete: what a shell offers for the arguments.
    """
    argument = (
        click.argument("config", required=False, shell_complete=complete)
        if config
        else click.argument("words", nargs=-1, metavar="[CONFIG] [WORD]...", shell_complete=complete)
    )
    outputs = ["table", "wide", "json"] if tables else ["table", "json"]

    def decorate(verb: Verb) -> Verb:
        @wraps(verb)
        def found(
            run_dir: str | None,
            endpoint: str | None,
            output: str,
            timeout: float,
            config: str | None = None,
            **rest: Any,
        ) -> None:
            named = config or config_among(rest.get("words", ()))
            if tables:
                rest["wide"] = output == "wide"
            verb(find_target(named, run_dir, endpoint), output == "json", timeout, **rest)

        decorated: Verb = found
        for option in (
            click.option("--timeout", type=click.FloatRange(0.01), default=timeout_s, show_default=True, metavar="S"),
            click.option("-o", "--output", type=click.Choice(outputs), default="table", show_default=True),
            click.option("--endpoint", metavar="URL", help="Command endpoint, such as tcp://127.0.0.1:5556."),
            click.option(
                "--run-dir", metavar="DIR", type=click.Path(file_okay=False),
                help=f"Directory of the engine; else ${RUN_DIR_VARIABLE}.",
            ),
            argument,
        ):  # fmt: skip
            decorated = option(decorated)
        return decorated

    return decorate
