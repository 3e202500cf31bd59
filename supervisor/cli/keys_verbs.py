"""`seawall keys`: the engine's keys and its clients', in a directory that the config names (gateway.curve.keys).

A running engine reads the list once a second: nobody need tell it who is added or removed here. What is written stands
in protocol/key_files.py. No secret is ever printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from protocol.errors import ConfigError, ExitCode
from protocol.key_files import SERVER_KEY_VARIABLE, KeyDirectory, read_public_key
from protocol.keys import CLIENT_NAME_ALLOWED, CLIENT_NAME_PATTERN, Client, KeyPair, Role, fingerprint
from supervisor.cli.output import Failure, note, print_json, print_table

Verb = Callable[..., None]


@click.group()
def keys() -> None:
    """Keys for CURVE: who may connect to the engine's sockets, and as what.

    DIR is the directory that gateway.curve.keys names.

    \b
    Example:
      seawall keys init keys
    """


def _keys_verb(verb: Verb) -> Verb:
    """Adds DIR and `-o`; a mistake has the exit code of one in a config."""

    @wraps(verb)
    def guarded(directory: str, output: str, **rest: Any) -> None:
        try:
            verb(KeyDirectory(directory), output == "json", **rest)
        except ConfigError as error:
            raise Failure(ExitCode.USAGE, str(error)) from error
        except OSError as error:
            raise Failure(ExitCode.FAILURE, f"{error.filename or directory}: {error.strerror}") from error

    output = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
    return click.argument("directory", metavar="DIR")(output(guarded))


@keys.command("init")
@_keys_verb
def init(directory: KeyDirectory, as_json: bool) -> None:
    """Make DIR with a key pair for the engine, and a list with nobody on it; overwrites nothing.

    \b
    Example:
      seawall keys init keys
    """
    pair = directory.create()
    if as_json:
        print_json({"public": pair.public, "public_file": str(directory.public)})
    else:
        click.echo(pair.public)
    note(f"The engine's public key; it stands in {directory.public} too, for its clients.")


@keys.command("add")
@_keys_verb
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), required=True,
    help="observer: may subscribe; operator: may use every verb, too.",
)
@click.option("--public", metavar="KEY", help="Of a client that has made its pair itself: the public key, or its file.")
def add(directory: KeyDirectory, as_json: bool, name: str, role: str, public: str | None) -> None:
    """Make a key pair for the client NAME and put it on the list; its secret key's file is printed.

    \b
    Example:
      seawall keys add keys desk --role observer
    """
    if re.fullmatch(CLIENT_NAME_PATTERN, name) is None:
        raise ConfigError([f"NAME = {name!r}: {CLIENT_NAME_ALLOWED}"])
    pair = KeyPair.make() if public is None else None
    client = Client(Role(role), pair.public if pair is not None else read_public_key(public or ""), name)
    path = directory.add(client, pair)
    if as_json:
        print_json({**_row(client), "secret_file": None if path is None else str(path)})
    elif path is not None:
        click.echo(path)
    note(f"{name} is on the list ({role}, {fingerprint(client.key)}).")
    if path is not None:
        note(f"{path} is for {name} alone: SEAWALL_KEY names it there. Move it, do not send it in the open.")
    else:
        note(f"{name} needs the engine's public key, {directory.public}; {SERVER_KEY_VARIABLE} names it there.")


@keys.command("list")
@_keys_verb
def list_clients(directory: KeyDirectory, as_json: bool) -> None:
    """Who is on the list, with fingerprints as in the engine's log.

    \b
    Example:
      seawall keys list keys
    """
    rows = [_row(client) for client in directory.read_list().values()]
    if as_json:
        print_json(rows)
    else:
        print_table("", ("name", "role", "fingerprint", "public key"), ([*row.values()] for row in rows))


def _row(client: Client) -> dict[str, str]:
    return {
        "name": client.name, "role": client.role, "fingerprint": fingerprint(client.key), "public": client.key
    }  # fmt: skip


@keys.command("remove")
@_keys_verb
@click.argument("name")
def remove(directory: KeyDirectory, as_json: bool, name: str) -> None:
    """Take NAME from the list, and delete its secret key if it is still here.

    \b
    Example:
      seawall keys remove keys desk
    """
    client = directory.remove(name)
    if as_json:
        print_json(_row(client))
    note(f"{name} is off the list: within a second a running engine takes no command of it and lets it in no more.")
    note("What it is subscribed to lasts until it leaves, or until `seawall restart gateway`.")
