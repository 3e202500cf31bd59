"""Every help text has an example, and each example is a command that the parser takes."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from supervisor.cli.main import main

ROOT = Path(__file__).parents[2]


Found = tuple[tuple[str, ...], click.Command]


def commands(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[Found]:
    """Of the whole tree, with the words that lead there."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


def examples(command: click.Command) -> list[str]:
    found = re.search(r"^\s*Example:\n((?:\s+seawall .*\n?)+)", command.help or "", re.MULTILINE)
    return [line.strip() for line in found[1].splitlines()] if found else []


def parsed_path(words: list[str]) -> tuple[str, ...]:
    """The path of the command that these words name; nothing is run. Raises: click.UsageError."""
    path, context = (), main.make_context("seawall", words)
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        assert name is not None
        path, context = (*path, name), command.make_context(name, rest, parent=context)
    return path


@pytest.mark.parametrize(("path", "command"), [pytest.param(*found, id=" ".join(found[0])) for found in commands()])
def test_every_help_text_has_an_example_that_parses(
    path: tuple[str, ...], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "demo").mkdir(parents=True)
    shutil.copytree(ROOT / "deploy" / "configs", tmp_path / "deploy" / "configs")
    monkeypatch.chdir(tmp_path)
    found = examples(command)
    assert found, f"seawall {' '.join(path)}: no example"
    for example in found:
        assert parsed_path(shlex.split(example)[1:])[: len(path)] == path, example
