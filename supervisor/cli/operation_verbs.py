"""The verbs that change what an engine does, HALT and stop apart: each is a COMMAND in its journal.

A verb is said under a token of its own until the engine answers where it stands in the journal (H1): whatever dies
meanwhile, it is carried out once. What became of cancels is looked at afterwards, and reported as it was seen:
confirmed or unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

import click

from protocol.errors import ExitCode
from supervisor.cli.asking import POLL_S, ask, cancels_of, open_orders
from supervisor.cli.completing import complete_order, complete_symbol
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target, words_behind_config
from supervisor.cli.output import Failure, note, print_json

_TIMEOUT_S: Final = 5.0


def operate(target: Target, timeout_s: float, text: str) -> dict[str, Any]:
    """The reply that it is taken. Said under one token until then, whoever is silent or dies. Raises: Failure."""
    given = [word for word in text.split() if word.startswith("id=")]
    token = given[0] if given else f"id={uuid4().hex}"
    said = text if given else f"{text} {token}"
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            reply = ask(target, max(POLL_S, deadline - time.monotonic()), said)
            if "pending" not in reply:
                return reply
            trouble, hint = "it was not on disk in time", ""
        except Failure as failure:
            if failure.exit_code != ExitCode.NO_ANSWER and "is starting" not in failure.message:
                raise
            trouble, hint = failure.message, failure.hint
        if time.monotonic() > deadline:
            again = f"it may be carried out still; say it again with {token}, and it is not done twice"
            raise Failure(ExitCode.NO_ANSWER, f"{trouble}: {again}", hint=hint)
        time.sleep(POLL_S)


def _tell(reply: dict[str, Any], as_json: bool) -> None:
    where = f" (LSN {reply['lsn']})" if "lsn" in reply else ""
    print_json(reply) if as_json else click.echo(f"{reply['response']}{where}")


def _tell_cancels(target: Target, timeout_s: float, orders: Iterable[int]) -> None:
    """Raises: Failure if it is not known what became of one."""
    if cancels_of(target, timeout_s, orders, all_asked=True):
        raise Failure(
            ExitCode.NO_ANSWER, f"not every cancel was confirmed within {timeout_s:g} s",
            hint=f"While the venue is away cancels wait: `seawall health {target.as_option()}` warns of that.",
        )  # fmt: skip


@click.command()
@engine_options(_TIMEOUT_S, config=False)
def reduce(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """From now on only what reduces a position; `resume` ends it. All words but a CONFIG are the reason.

    \b
    Example:
      seawall reduce "wild" --run-dir run/demo
    """
    _tell(operate(target, timeout_s, " ".join(("REDUCE", *words_behind_config(words)))), as_json)


@click.command()
@engine_options(_TIMEOUT_S, config=False)
def resume(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Ends REDUCING. A halt it does not end: that takes an ordered stop and a new start.

    \b
    Example:
      seawall resume "calm again" --run-dir run/demo
    """
    _tell(operate(target, timeout_s, " ".join(("RESUME", *words_behind_config(words)))), as_json)


@click.command()
@engine_options(_TIMEOUT_S, config=False, complete=complete_order)
def cancel(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Cancels an open order, by its id, or ALL of them.

    \b
    Example:
      seawall cancel 41 --run-dir run/demo
    """
    named = words_behind_config(words)
    if len(named) != 1:
        raise click.UsageError("which order? Its id (see `seawall orders`), or ALL")
    before = open_orders(target, timeout_s)
    wanted = before if named[0] == "ALL" else {key: row for key, row in before.items() if str(key) == named[0]}
    _tell(operate(target, timeout_s, f"CANCEL {named[0]}"), as_json)
    _tell_cancels(target, timeout_s, wanted)


@click.command()
@engine_options(_TIMEOUT_S, config=False, complete=complete_symbol)
def flatten(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Cancels, and closes the position in a symbol, or every position.

    \b
    Example:
      seawall flatten EURUSD --run-dir run/demo
    """
    named = words_behind_config(words)
    if len(named) > 1:
        raise click.UsageError("one symbol, or none for all")
    before = {
        order_id: row
        for order_id, row in open_orders(target, timeout_s).items()
        if not row.get("reduce_only") and (not named or row["symbol"] == named[0])
    }
    _tell(operate(target, timeout_s, " ".join(("FLATTEN", *named))), as_json)
    _tell_cancels(target, timeout_s, before)
    deadline = time.monotonic() + timeout_s
    while left := _held(target, timeout_s, named):
        if time.monotonic() > deadline:
            shown = ", ".join(f"{quantity:g} {symbol}" for symbol, quantity in left.items())
            raise Failure(
                ExitCode.NO_ANSWER, f"still held after {timeout_s:g} s: {shown}",
                hint="A strategy may have opened it again: `seawall halt` or `reduce` first. Or what closes it waits "
                f"for the venue: `seawall orders {target.as_option()}`.",
            )  # fmt: skip
        time.sleep(POLL_S)
    note("Flat.")


def _held(target: Target, timeout_s: float, named: tuple[str, ...]) -> dict[str, float]:
    rows = ask(target, timeout_s, "STATUS")["positions"]
    return {
        row["symbol"]: row["net_quantity"] for row in rows
        if row["net_quantity"] and (not named or row["symbol"] == named[0])
    }  # fmt: skip


@click.command(context_settings={"ignore_unknown_options": True})
@engine_options(_TIMEOUT_S, config=False)
def deposit(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Adds an AMOUNT to the balance, or takes it away if it is below 0; further words are the reason.

    \b
    Example:
      seawall deposit -20.5 "a fee" --run-dir run/demo
    """
    named = words_behind_config(words)
    if not named:
        raise click.UsageError("how much? An amount, such as 500 or -20.5")
    _tell(operate(target, timeout_s, " ".join(("DEPOSIT", *named))), as_json)
