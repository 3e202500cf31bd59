"""`seawall wal inspect | tail | verify | export | repair`: the journal looked at, checked, taken away and mended.

Owns the commands and their options; what they do stands beside it, in wal_*.py. All but repair read only, and disturb
no live engine. Every one finds the journal by PATH: a run_dir, a wal directory, or one file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from protocol.errors import ExitCode, SeawallError, WalCorruptError
from supervisor.cli.naming import RUN_DIR_VARIABLE
from supervisor.cli.output import Failure, note, print_json, quiet_logs
from supervisor.cli.wal_entries import Described, Names, exact_json
from supervisor.cli.wal_filters import Filter, filter_options
from supervisor.cli.wal_journal import find_place
from supervisor.cli.wal_select import select_entries
from supervisor.cli.wal_show import show_entry
from supervisor.cli.wal_tail import await_place, follow_entries

Verb = Callable[..., None]
_LAST = click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N of them.")
_PATH = click.argument("path", metavar="PATH", type=click.Path(path_type=Path), envvar=RUN_DIR_VARIABLE)


@click.group()
def wal() -> None:
    """The write-ahead log: look at it, check it, take it away, mend it.

    PATH is a run_dir, a wal directory (sealed files are read too), or one file, also of a plain log; else
    $SEAWALL_RUN_DIR (but for `export`, which takes two).

    \b
    Example:
      seawall wal inspect run/demo --last 10
    """


def wal_verb(verb: Verb) -> Verb:
    """Adds PATH and `-o`. Errors have their exit codes, as JSON for a reader of JSON; a closed pipe ends quietly."""

    @wraps(verb)
    def guarded(output: str, **rest: Any) -> None:
        as_json = output == "json"
        try:
            with quiet_logs():
                verb(as_json=as_json, **rest)
        except Failure as failure:
            failure.as_json = as_json
            raise
        except BrokenPipeError:
            # Source: the signal module's note on SIGPIPE: or Python says it again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (SeawallError, OSError) as error:
            code = ExitCode.CORRUPT if isinstance(error, WalCorruptError) else ExitCode.FAILURE
            failure = Failure(code, str(error))
            failure.as_json = as_json
            raise failure from error

    choice = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
    return _PATH(choice(guarded))


@wal.command()
@wal_verb
@filter_options
@_LAST
def inspect(path: Path, as_json: bool, wanted: Filter, last: int | None) -> None:
    """Every entry, in order, over all files. Exit code 160 at a torn tail, 161 at a corrupt place.

    The table is in units. JSON is as the journal has it: prices and quantities are integers in 1e-6, times in
    microseconds; money and costs, in 1e-12, and halt tokens are strings of digits, for they outgrow 2^53.

    \b
    Example:
      seawall wal inspect run/demo --order 7
    """
    print_entries(select_entries(find_place(path), wanted, last), as_json)


def print_entries(entries: Iterable[tuple[Described, Names]], as_json: bool) -> None:
    for entry, names in entries:
        print_json(exact_json(entry)) if as_json else click.echo(show_entry(entry, names))


@wal.command()
@wal_verb
@filter_options
@click.option("-n", "--last", type=click.IntRange(0), default=10, show_default=True, metavar="N")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C; waits for a first start.")
def tail(path: Path, as_json: bool, wanted: Filter, last: int, follow: bool) -> None:
    """The last entries, and with -f those that come. JSON has the units of `inspect`.

    \b
    Example:
      seawall wal tail run/demo -f
    """
    if not follow:
        print_entries(select_entries(find_place(path), wanted, last), as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        if (place := await_place(path)) is not None:
            print_entries(follow_entries(place, wanted, last), as_json)


@wal.command()
@wal_verb
@click.option("--fold", is_flag=True, help="Fold too: derived records and checkpoints are recomputed and compared.")
def verify(path: Path, as_json: bool, fold: bool) -> None:
    """Is every entry whole and linked, over all files? Exit code 0 clean, 160 torn, 161 corrupt.

    \b
    Example:
      seawall wal verify run/demo --fold
    """
    from supervisor.cli.wal_verify import verify_place  # imported late, as below: the other verbs need no fold

    code = verify_place(find_place(path, may_be_missing=True), fold=fold, as_json=as_json)
    raise SystemExit(int(code))


@wal.command()
@wal_verb
@filter_options
@_LAST
@click.argument("target", metavar="OUT")
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), help="Default: by the name of OUT, else CSV.")
@click.option(
    "--table", type=click.Choice(["entries", "fills", "orders"]), default="entries", show_default=True,
    help="Every entry, the trade list, or the orders and what became of them.",
)  # fmt: skip
def export(
    path: Path, as_json: bool, wanted: Filter, last: int | None, target: str, form: str | None, table: str
) -> None:  # fmt: skip
    """The journal as a table, to OUT (`-`: CSV on stdout). Parquet needs the extra `parquet`.

    Numbers are exact: decimal strings in CSV, decimal128 in Parquet. A torn tail or damage ends the table, with the
    exit code of `verify`; what comes before it is in OUT.

    \b
    Example:
      seawall wal export run/demo fills.csv --table fills
    """
    from supervisor.cli.wal_export import export_place

    form = form or ("parquet" if target.endswith(".parquet") else "csv")
    count = export_place(find_place(path), wanted, target, form, table, last)
    if as_json and target != "-":
        print_json({"path": target, "format": form, "table": table, "rows": count})
    else:
        note(f"{count} rows")


@wal.command()
@wal_verb
@click.option("--yes", is_flag=True, help="Do it. Without it, and off a terminal, it is only shown.")
def repair(path: Path, as_json: bool, yes: bool) -> None:
    """Make a damaged journal one that the engine starts on, and say what is lost by that.

    Only when the engine has stopped. The damaged file is kept whole beside the journal.

    \b
    Example:
      seawall wal repair run/demo
    """
    from supervisor.cli.wal_repair import repair_place

    repair_place(find_place(path, may_be_missing=True), confirmed=yes, as_json=as_json)
