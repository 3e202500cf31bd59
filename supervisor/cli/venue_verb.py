"""`seawall venue`: the desk of the simulated venue, at which somebody else trades on the same account."""

from __future__ import annotations

import click

from protocol.client import desk_endpoint
from protocol.errors import ExitCode
from supervisor.cli.asking import ask
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target, words_behind_config
from supervisor.cli.output import Failure, print_json


@click.command(context_settings={"ignore_unknown_options": True})
@engine_options(config=False)
def venue(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Does something at the simulated venue (order_routing.venue = "simulated") that the engine has not asked for.

    \b
    BUY | SELL SYMBOL QUANTITY [LIMIT]   an order of somebody else's
    CANCEL NUMBER                        of an order, by the venue's own number
    TRANSFER SYMBOL QUANTITY PRICE       the position changes, and nobody is told
    CUT SECONDS                          the line is cut (0: it is whole again)
    MUTE SECONDS                         the venue hears, and is not heard

    \b
    Example:
      seawall venue BUY EURUSD 900 --run-dir run/demo
    """
    named = words_behind_config(words)
    if target.run_dir is None or not named:
        raise click.UsageError("what is to be done there, and in which engine? See `seawall venue --help`")
    try:
        reply = ask(Target(None, desk_endpoint(target.run_dir)), timeout_s, " ".join(named))
    except Failure as failure:
        if failure.exit_code != ExitCode.NOT_RUNNING:
            raise
        raise Failure(
            ExitCode.NOT_RUNNING, f"no simulated venue answers in {target.run_dir}",
            hint='An engine with order_routing.venue = "simulated" has one, while it runs.',
        ) from failure  # fmt: skip
    print_json(reply) if as_json else click.echo(reply["response"])
