"""What a shell may offer for the word that is being typed: CONFIG files, and what a running engine knows.

A completion never fails and never waits long: where no engine is found, or none answers, nothing is offered.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

TIMEOUT_S: Final = 0.5
"""For an answer: a person waits at the key."""
FILES_MAX: Final = 200
Items = list[CompletionItem[str]]
Complete = Callable[[click.Context, click.Parameter, str], Items]
Offer = Callable[[dict[str, Any]], Iterable[tuple[str, str]]]
"""Of a reply: words, each with what it is, which zsh and fish show."""


def complete_config(context: click.Context, parameter: click.Parameter, typed: str) -> Items:
    """The .toml files; where there are none, whatever file the shell itself offers, so that one gets to a directory.

    Of words the first alone may be a CONFIG: those behind it are a reason.
    """
    if context.params.get("words"):
        return []
    return _configs(typed) or [CompletionItem(typed, type="file")]


def _configs(typed: str) -> Items:
    return [CompletionItem(path) for path in sorted(glob.glob(f"{glob.escape(typed)}*.toml"))[:FILES_MAX]]


def complete_word(verb: str, offer: Offer) -> Complete:
    """The first word behind a CONFIG, from the engine's reply to `verb`; where no engine is named yet, a CONFIG."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> Items:
        from supervisor.cli.naming import words_behind_config  # late, as below

        given = context.params.get("words") or ()
        if words_behind_config(given):
            return []
        offered = [CompletionItem(word, help=what) for word, what in offer(_ask(context, given, verb))]
        items = [item for item in offered if item.value.startswith(typed)]
        return items if given or items else _configs(typed)

    return complete


def _ask(context: click.Context, given: tuple[str, ...], verb: str) -> dict[str, Any]:
    """The reply of the engine that the line names so far; {} if there is none."""
    from supervisor.cli.asking import ask  # late: ZeroMQ, which `seawall run` and other completions do without
    from supervisor.cli.naming import config_among, find_target

    try:
        target = find_target(config_among(given), context.params.get("run_dir"), context.params.get("endpoint"))
        return ask(target, TIMEOUT_S, verb)
    except click.ClickException:
        return {}


def _children(reply: dict[str, Any]) -> Iterable[tuple[str, str]]:
    return ((child["name"], child["state"]) for child in reply.get("children", ()))


def _strategies(reply: dict[str, Any]) -> Iterable[tuple[str, str]]:
    return (row for row in _children(reply) if row[0].startswith("strategy."))


def _orders(reply: dict[str, Any]) -> Iterable[tuple[str, str]]:
    if not reply:
        return []
    rows = reply["orders"]
    listed = [
        (str(row["order_id"]), f"{row['side']} {row['quantity']:g} {row['symbol']} {row['status']}") for row in rows
    ]
    return [*listed, ("ALL", f"all {len(rows)} open orders")]


def _symbols(reply: dict[str, Any]) -> Iterable[tuple[str, str]]:
    return ((row["symbol"], f"{row['net_quantity']:g}") for row in reply.get("positions", ()))


complete_child: Final = complete_word("HEALTH", _children)
complete_strategy: Final = complete_word("HEALTH", _strategies)
complete_order: Final = complete_word("ORDERS", _orders)
complete_symbol: Final = complete_word("STATUS", _symbols)
