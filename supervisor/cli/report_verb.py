"""`seawall report RUN_DIR`: what a run was worth, as one HTML file, or as JSON for programs.

Reads the journal and the data again, and disturbs no live engine. Exit codes: design section 10; of a torn tail the
report is made from what is whole, and 160 says so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from protocol.errors import ConfigError, ExitCode, SeawallError, WalCorruptError
from protocol.settings import Config
from supervisor.cli.output import Failure, note, print_json, quiet_logs
from supervisor.cli.wal_journal import Place, find_place, read_records

REPORT_NAME: Final = "report.html"
JSON: Final = "json"
STDOUT: Final = "-"
_SUFFIXES: Final = (".html", ".htm")
_PART_SUFFIX: Final = ".part"


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", metavar="FILE.html|json",
    help=f"Where the page goes (default RUN_DIR/{REPORT_NAME}; - for stdout), or json: the figures, on stdout.",
)  # fmt: skip
@click.option(
    "--days-per-year", type=click.Choice(["365", "252"]), default="365", show_default=True,
    help="How Sharpe and Sortino are annualised: every calendar day counts (365), or days with data (252).",
)  # fmt: skip
def report(run_dir: Path, output: str | None, days_per_year: str) -> None:
    """Make a report of the run in RUN_DIR: one HTML file that needs nothing else.

    Of a file, the last run; of a live feed, all that the journal has. Exit code 160 if the journal has a torn tail,
    161, and no report, if it is corrupt.

    \b
    Example:
      seawall report run/demo -o report.html
    """
    target = _target(run_dir, output)
    try:
        with quiet_logs():
            code = _make(run_dir, target, int(days_per_year))
    except Failure as failure:
        failure.as_json = target == JSON
        raise
    except (SeawallError, OSError) as error:
        code = ExitCode.CORRUPT if isinstance(error, WalCorruptError) else ExitCode.FAILURE
        failure = Failure(code, str(error))
        failure.as_json = target == JSON
        raise failure from error
    if code:
        raise SystemExit(int(code))


def _target(run_dir: Path, output: str | None) -> str:
    """Only pages are written over: nobody's journal or data ends for a slip of the hand."""
    if output is None:
        return str(run_dir / REPORT_NAME)
    if output not in (JSON, STDOUT) and not output.endswith(_SUFFIXES):
        raise click.UsageError(f"-o {output}: a file that ends in .html, - for stdout, or json")
    return output


def _make(run_dir: Path, target: str, days_per_year: int) -> ExitCode:
    from supervisor.report.as_json import performance_to_json  # late, as below: NumPy for nobody else
    from supervisor.report.history import RunHistory
    from supervisor.report.performance import measure_run

    config, directory, words = _saved(run_dir)
    history = RunHistory(last_run=config is None or config.market_data.is_file)
    torn = _read(history, find_place(run_dir))
    performance = measure_run(
        history, config, run_dir=run_dir, working_directory=directory, days_per_year=days_per_year
    )
    performance.notes[:0] = words + ([f"The journal's last entry is torn; the report ends before it. ({torn.message})"]
                                     if torn else [])  # fmt: skip
    if target == JSON:
        print_json(performance_to_json(performance))
    else:
        from supervisor.report.page import draw_page

        _write(target, draw_page(performance))
    if torn is not None:
        note(str(torn.message))
        return ExitCode.TORN
    return ExitCode.OK


def _saved(run_dir: Path) -> tuple[Config | None, str, list[str]]:
    """(config of the last start, its working directory, what must be said)."""
    from supervisor.saved_config import load_saved_config

    try:
        saved = load_saved_config(run_dir)
        return (saved.decode(), saved.working_directory, []) if saved else (None, "", [])
    except ConfigError as error:
        return None, "", [f"The config cannot be read: {error}."]


def _read(history: object, place: Place) -> Failure | None:
    """The history has read all that is whole; the torn tail that ended it, if one did. Raises: Failure."""
    from supervisor.report.history import RunHistory

    assert isinstance(history, RunHistory)
    try:
        history.read(read_records(place))
    except Failure as failure:
        if failure.exit_code != ExitCode.TORN or history.start is None:
            raise
        return failure
    if history.start is None:
        raise Failure(ExitCode.USAGE, f"{place.directory}: the journal is empty")
    return None


def _write(target: str, page: str) -> None:
    """The page stands under its name when it is whole."""
    if target == STDOUT:
        click.echo(page, nl=False)
        return
    part = Path(target + _PART_SUFFIX)
    try:
        part.write_text(page, encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure(ExitCode.FAILURE, f"{target}: {error.strerror or error}") from error
    click.echo(target)
