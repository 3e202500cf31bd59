"""`seawall ping` and `seawall halt`: is anybody there, and the kill switch, which works also where nobody is."""

from __future__ import annotations

from typing import Final

import click

from supervisor.cli.asking import HALT_TIMEOUT_S, ask, cancels_of, halt_engine, open_orders
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target, words_behind_config
from supervisor.cli.output import Failure, note, print_json

CANCELS_WAIT_S: Final = 2.0
"""For what becomes of the cancels of a halt, once it is told that trading is halted."""
REASON_MAX: Final = 500
"""Characters of a HALT's reason: well within a request's limit (protocol/commands.py)."""


@click.command()
@engine_options()
def ping(target: Target, as_json: bool, timeout_s: float) -> None:
    """Does the gateway answer?

    \b
    Example:
      seawall ping --endpoint tcp://127.0.0.1:5556
    """
    reply = ask(target, timeout_s, "PING")
    print_json(reply) if as_json else click.echo(reply["response"])


@click.command()
@engine_options(HALT_TIMEOUT_S, config=False)
def halt(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Kill switch: no send that can raise exposure begins after this.

    A first word that ends in .toml is the CONFIG, all others are the reason. Where the gateway does not answer,
    the latch page in the run_dir is set from here. What became of the cancels is told afterwards.

    \b
    Example:
      seawall halt "enough for today" --run-dir run/demo
    """
    reason = " ".join(words_behind_config(words))[:REASON_MAX]
    halted = halt_engine(target, timeout_s, reason)
    for word in halted.words:
        note(word)
    print_json(halted.reply) if as_json else click.echo(halted.reply["response"])
    if halted.is_by_gateway:
        _tell_cancels(target, timeout_s)


def _tell_cancels(target: Target, timeout_s: float) -> None:
    """Trading is halted, whatever is heard of the cancels: it is no failure if nothing is."""
    try:
        rows = open_orders(target, timeout_s)
        unprotected = [order_id for order_id, row in rows.items() if not row.get("reduce_only")]
        if unprotected:
            cancels_of(target, CANCELS_WAIT_S, unprotected, all_asked=False)
    except Failure as failure:
        note(f"Not known what became of the cancels: {failure.message}")
