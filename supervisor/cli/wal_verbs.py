"""`seawall wal inspect | tail | verify | export | repair`: the journal looked at, checked, taken away and mended.

Owns the commands and their options; what they do stands beside it, in wal_*.py. All but repair read only, and disturb
no live engine. Every one finds the journal by PATH: a run_dir, a wal directory, or one file.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import click

from protocol.errors import ExitCode, SeawallError, WalCorruptError
from supervisor.cli.output import Failure, note, print_json, quiet_logs
from supervisor.cli.wal_entries import Described, Names, describe_entry, type_name
from supervisor.cli.wal_export import ENTRY_COLUMNS, FILL_COLUMNS, ORDER_COLUMNS, entry_row, fill_rows, order_rows
from supervisor.cli.wal_filters import Filter, filter_options
from supervisor.cli.wal_journal import Place, Records, find_place, is_plain, read_plain, read_records, tail_lsn
from supervisor.cli.wal_show import show_entry
from supervisor.cli.wal_verify import verify_place
from supervisor.cli.wal_writers import STDOUT, Column, Row, refuse_journal_file, write_rows

Verb = Callable[..., None]
_PATH = click.argument("path", metavar="PATH", type=click.Path(exists=True, path_type=Path))


@click.group()
def wal() -> None:
    """The write-ahead log: look at it, check it, take it away, mend it.

    PATH is a run_dir, a wal directory (sealed files are read too), or one file, also of a plain log.
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
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N of them.")
def inspect(path: Path, as_json: bool, wanted: Filter, last: int | None) -> None:
    """Every entry, in order, over all files. Exit code 160 at a torn tail, 161 at a corrupt place."""
    print_entries(select_entries(find_place(path), wanted, last), as_json)


def print_entries(entries: Iterable[tuple[Described, Names]], as_json: bool) -> None:
    for entry, names in entries:
        print_json(entry) if as_json else click.echo(show_entry(entry, names))


def select_entries(place: Place, wanted: Filter, last: int | None) -> Iterator[tuple[Described, Names]]:
    """(entry, the names as of then) of those wanted. Raises: Failure at a place that cannot be read, after the rest."""
    names = Names()
    if place.file is not None and is_plain(place.file):
        described = describe_plain(place.file, wanted)
    else:
        described = describe_records(_records(place, wanted, last), wanted, names)
    if last is None:
        yield from ((entry, names) for entry in described)
        return
    kept: deque[Described] = deque(maxlen=last)
    try:
        kept.extend(described)
    finally:
        yield from ((entry, names) for entry in kept)


def _records(place: Place, wanted: Filter, last: int | None) -> Records:
    """No more than must be read."""
    first_lsn = wanted.first_lsn
    if last is not None and wanted.is_by_lsn_alone:
        first_lsn = max(first_lsn, min(tail_lsn(place), wanted.last_lsn) - last + 1)
    for envelope, crc, data in read_records(place, from_lsn=first_lsn, since_us=wanted.since_us):
        if envelope.lsn > wanted.last_lsn:
            return
        yield envelope, crc, data


def describe_records(records: Records, wanted: Filter, names: Names) -> Iterator[Described]:
    for envelope, crc, data in records:
        names.learn(envelope, data)
        if wanted.takes_envelope(envelope, type_name(envelope.entry_type)):
            entry = describe_entry(envelope, crc, data)
            if wanted.takes_record(entry, names):
                yield entry


def describe_plain(file: Path, wanted: Filter) -> Iterator[Described]:
    if wanted.needs_records or wanted.since_us is not None or wanted.until_us is not None:
        raise Failure(ExitCode.USAGE, f"{file} is a plain log, of opaque data: --type, --lsn (number) and --last")
    for number, entry in read_plain(file):
        name = type_name(entry.entry_type)
        if wanted.takes_number(number) and wanted.takes_type(name):
            yield {"entry": number, "offset": entry.offset, "type": name, "data": entry.data.hex()}


@wal.command()
@wal_verb
@click.option("--fold", is_flag=True, help="Fold too: derived records and checkpoints are recomputed and compared.")
def verify(path: Path, as_json: bool, fold: bool) -> None:
    """Is every entry whole and linked, over all files? Exit code 0 clean, 160 torn, 161 corrupt."""
    code = verify_place(find_place(path, may_be_missing=True), fold=fold, as_json=as_json)
    raise SystemExit(int(code))


@wal.command()
@wal_verb
@filter_options
@click.argument("target", metavar="OUT")
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), help="Default: by the name of OUT, else CSV.")
@click.option(
    "--table", type=click.Choice(["entries", "fills", "orders"]), default="entries", show_default=True,
    help="Every entry, the trade list, or the orders and what became of them.",
)  # fmt: skip
def export(path: Path, as_json: bool, wanted: Filter, target: str, form: str | None, table: str) -> None:
    """The journal as a table, to OUT (`-`: CSV on stdout). Parquet needs the extra `parquet`.

    Numbers are exact: decimal strings in CSV, decimal128 in Parquet. A torn tail or damage ends the table, with the
    exit code of `verify`; what comes before it is in OUT.
    """
    form = form or ("parquet" if target.endswith(".parquet") else "csv")
    if target == STDOUT and form == "parquet":
        raise Failure(ExitCode.USAGE, "Parquet goes to a file, not to stdout")
    refuse_journal_file(Path(target))
    place = find_place(path)
    if place.file is not None and is_plain(place.file):
        raise Failure(ExitCode.USAGE, f"{place.file} is a plain log, of opaque data: there are no columns")
    columns, rows = export_table(place, wanted, table)
    count = write_rows(target, form, columns, rows)
    if as_json and target != STDOUT:
        print_json({"path": target, "format": form, "table": table, "rows": count})
    else:
        note(f"{count} rows")


def export_table(place: Place, wanted: Filter, table: str) -> tuple[tuple[Column, ...], Iterator[Row]]:
    names = Names()
    if table == "entries":
        entries = describe_records(_records(place, wanted, None), wanted, names)
        return ENTRY_COLUMNS, (entry_row(entry, names) for entry in entries)
    if wanted.types:
        raise Failure(ExitCode.USAGE, f"--type chooses entries; --table {table} has none")
    records = _records(place, wanted, None)
    if table == "fills":
        return FILL_COLUMNS, fill_rows(records, wanted)
    return ORDER_COLUMNS, order_rows(records, wanted)
