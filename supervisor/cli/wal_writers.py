"""Rows into a file: CSV, or Parquet with the extra. In bounded memory, and under the file's name only when it is whole.

Values come as the journal has them, integers, and leave exact: in CSV as decimal strings without trailing zeros and ISO
times, in Parquet as decimal128 and UTC timestamps. None is an empty cell, or null.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple, Protocol

from protocol.errors import ExitCode
from supervisor.cli.output import Failure
from supervisor.cli.wal_show import show_time
from supervisor.cli.wal_target import STDOUT

ROWS_AT_A_TIME: Final = 20_000
"""One row group of Parquet: some megabytes."""
PART_SUFFIX: Final = ".part"
MICROS_DIGITS, PRODUCT_DIGITS, DECIMAL_DIGITS = 6, 12, 38
MICROS_PRECISION: Final = 19
"""Digits of 64 bits."""


class Kind(Enum):
    INTEGER = "integer"
    TEXT = "text"
    FLAG = "flag"
    TIME = "time"
    """Microseconds since the epoch."""
    MICROS = "micros"
    PRODUCT = "product"


class Column(NamedTuple):
    name: str
    kind: Kind


Row = Sequence[Any]
"""One value a column: int, str, bool or None."""


class Writer(Protocol):
    def write(self, rows: list[Row]) -> None: ...

    def close(self) -> None: ...


def write_rows(target: str, form: str, columns: Sequence[Column], rows: Iterable[Row]) -> int:
    """How many rows stand in `target` (CSV may go to stdout, `-`).

    What ends the rows with a Failure (a torn tail, damage) leaves those before it in the file, and passes on; anything
    else leaves no file. Raises: Failure also if the extra is missing or a number does not fit.
    """
    if target == STDOUT:
        count, failure = _write_all(CsvWriter(sys.stdout, columns), rows)
        return _counted(count, failure)
    # The process in its name, and made new: it is nobody else's file, and never one that is there already.
    part = Path(f"{target}.{os.getpid()}{PART_SUFFIX}")
    with _made(part, target) as file:
        try:
            with _opened(file, form, columns) as writer:
                count, failure = _write_all(writer, rows)
            file.close()
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return _counted(count, failure)


def _counted(count: int, failure: Failure | None) -> int:
    """Raises: the failure, if there was one, with the rows that were written before it."""
    if failure is None:
        return count
    message = f"{failure.message} ({count} rows before it are written.)"
    raise Failure(ExitCode(failure.exit_code), message, **failure.facts, rows=count) from failure


def _write_all(writer: Writer, rows: Iterable[Row]) -> tuple[int, Failure | None]:
    iterator, count = _until_failure(rows, failures := []), 0
    while batch := list(islice(iterator, ROWS_AT_A_TIME)):
        writer.write(batch)
        count += len(batch)
    return count, failures[0] if failures else None


def _until_failure(rows: Iterable[Row], failures: list[Failure]) -> Iterator[Row]:
    try:
        yield from rows
    except Failure as failure:
        failures.append(failure)


@contextlib.contextmanager
def _made(part: Path, target: str) -> Iterator[BinaryIO]:
    """Raises: Failure that names the target, and not the part, if the part cannot be made or written."""
    try:
        with open(part, "xb") as file:
            yield file
    except OSError as error:
        if error.filename not in (None, str(part)):  # another's, such as a file of the journal
            raise
        raise Failure(ExitCode.FAILURE, f"{target}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _opened(file: BinaryIO, form: str, columns: Sequence[Column]) -> Iterator[Writer]:
    if form == "parquet":
        writer: Writer = ParquetWriter(file, columns)
        try:
            yield writer
        finally:
            writer.close()
        return
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    yield CsvWriter(text, columns)
    text.detach()


class CsvWriter:
    def __init__(self, file: IO[str], columns: Sequence[Column]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._columns = columns
        self._writer.writerow(column.name for column in columns)

    def write(self, rows: list[Row]) -> None:
        kinds = [column.kind for column in self._columns]
        self._writer.writerows([_text(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows)

    def close(self) -> None:
        """The file is its opener's."""


def _text(kind: Kind, value: Any) -> Any:
    if value is None or kind in (Kind.INTEGER, Kind.TEXT):
        return value
    if kind is Kind.FLAG:
        return "true" if value else "false"
    if kind is Kind.TIME:
        return show_time(value)
    return exact(value, MICROS_DIGITS if kind is Kind.MICROS else PRODUCT_DIGITS)


def exact(value: int, digits: int) -> str:
    """`value` / 10^digits as a decimal without trailing zeros."""
    whole, rest = divmod(abs(value), 10**digits)
    fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{'-' if value < 0 else ''}{whole}{fraction}"


class ParquetWriter:
    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._arrow, parquet = _pyarrow()
        self._columns = columns
        arrow = self._arrow
        types = {
            Kind.INTEGER: arrow.int64(),
            Kind.TEXT: arrow.string(),
            Kind.FLAG: arrow.bool_(),
            Kind.TIME: arrow.timestamp("us", tz="UTC"),
            Kind.MICROS: arrow.decimal128(MICROS_PRECISION, MICROS_DIGITS),
            Kind.PRODUCT: arrow.decimal128(DECIMAL_DIGITS, PRODUCT_DIGITS),
        }
        self._schema = arrow.schema([(column.name, types[column.kind]) for column in columns])
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: list[Row]) -> None:
        try:
            arrays = [
                self._arrow.array([_value(column.kind, value) for value in values], field.type)
                for column, field, values in zip(self._columns, self._schema, zip(*rows, strict=True), strict=True)
            ]
        except (self._arrow.ArrowException, OverflowError) as error:
            raise Failure(ExitCode.FAILURE, f"a number that Parquet's types do not hold: {error}") from error
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _value(kind: Kind, value: Any) -> Any:
    if value is None or kind not in (Kind.MICROS, Kind.PRODUCT):
        return value
    return Decimal(exact(value, MICROS_DIGITS if kind is Kind.MICROS else PRODUCT_DIGITS))


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise Failure(ExitCode.USAGE, "Parquet needs the extra `parquet`: pip install 'seawall[parquet]'") from error
