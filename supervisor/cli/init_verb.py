"""`seawall init DIR`: a project that runs as it stands. Where one of its files is, nothing is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from protocol.errors import ExitCode
from supervisor.cli.output import Failure, note
from supervisor.cli.project import project_files


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Write a project to start from into DIR: two configs, a strategy with its test, a data sample, a README.

    \b
    Example:
      seawall init first
    """
    files = project_files()
    if taken := [name for name in files if (directory / name).exists()]:
        raise Failure(
            ExitCode.FAILURE, f"{directory} has {', '.join(taken)} already; nothing was written",
            hint="Name a directory that is empty, or not there yet.",
        )  # fmt: skip
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with open(directory / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise Failure(ExitCode.FAILURE, f"{directory}: {error.strerror}") from error
    note(f"Written: {', '.join(files)}.")
    note(f"Next: cd {shlex.quote(str(directory))} && seawall run replay.toml; its README.md says more.")
