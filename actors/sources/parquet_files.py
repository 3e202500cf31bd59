"""Parquet files as one stream of ticks: the rules and the results are those of CSV (csv_files.py), the columns by name.

    times      timestamp, time, datetime or date, or one of these with _s, _ms, _us, _ns
    prices     bid and ask | price | open, high, low, close      (formats bid_ask, trades, ohlc)
    volume     if there is such a column
    symbol     if there is such a column; else the config names the file's symbol

Names are compared without case; what types are read, arrow_columns.py says. Integers need a unit: that of times by the
column's name or `time_unit`, that of prices by `integer_prices`. Times without a zone are UTC, unless
`utc_offset_hours` says otherwise. A bad row is told by its number, counted from 1 over all row groups. An `ohlc`
file is of one symbol: with a column `symbol`, the config says which.

    arrow_columns    columns -> integers         arrow_rows    -> good rows, counted
    blocks           -> ticks, merged, cut into batches

A file is read row group by row group, a page of each column at a time, so memory does not grow with the file. Row
groups whose statistics lie outside the range of time are not read. The epoch is that of csv_files: settings and
contents. pyarrow comes with the extra `parquet`; this module is imported only where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

import msgspec

from actors.sources.arrow_columns import import_pyarrow, raw_to_us
from actors.sources.arrow_rows import Columns, RowReader, find_columns
from actors.sources.batch import SourceCounts
from actors.sources.blocks import Block
from actors.sources.files import (
    STEP_ROWS,
    content_digests,
    inspect_each,
    naive_offset_us,
    usual_step_us,
)
from actors.sources.merged import MergedFiles
from actors.sources.rows import to_ticks
from protocol.errors import DataError
from protocol.settings import FileSettings, MarketDataSettings

FILES_MAX: Final = 4_096
"""The end of each is read at a start (about 1 ms)."""
BLOCK_ROWS_MAX: Final = 32_768
BLOCK_ROWS_MIN: Final = 1_024
ROWS_HELD_MAX: Final = 131_072
"""Of all files that are read at once, about 60 bytes each."""
PAGE_BYTES: Final = 65_536
"""Read at a time of one column."""

_UNITS: Final = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    index: int
    first_row: int
    """Counted from 1."""
    rows: int
    times_us: tuple[int, int] | None
    """The least and the greatest, if the file says them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetFile:
    """A file that was opened and found to have rows and the columns that are needed."""

    path: str
    symbol: str
    """Empty: the rows name theirs."""
    columns: Columns
    schema: Any
    groups: tuple[RowGroup, ...]
    """Those that may have rows in the range of time."""
    step_us: int
    """`ohlc`: the usual distance between rows."""

    @property
    def times_us(self) -> tuple[int, int]:
        """All times lie between these, as far as is known."""
        if not self.groups or any(group.times_us is None for group in self.groups):
            return 0, 2**63 - 1
        known = [group.times_us for group in self.groups if group.times_us is not None]
        return min(least for least, _ in known), max(most for _, most in known)


# ---- before anything starts -----------------------------------------------------------------------------------


def inspect_files(settings: MarketDataSettings) -> list[ParquetFile]:
    """The files of the config. Raises: ConfigError with every mistake found, or if pyarrow is missing."""
    import_pyarrow("pyarrow.parquet")
    return inspect_each(settings, lambda file: _inspect(file, settings), FILES_MAX)


def _inspect(file: FileSettings, settings: MarketDataSettings) -> ParquetFile:
    arrow = import_pyarrow()
    try:
        with _open(file.path) as opened:
            schema = opened.metadata.schema.to_arrow_schema()
            if opened.metadata.num_rows == 0:
                raise ValueError("the file has no rows")
            columns = find_columns(schema, settings)
            _check_symbol(file, columns)
            offset_us = _offset_us(schema, columns, settings)
            groups = _row_groups(opened, columns, offset_us)
            step_us = _step_us(opened, file, columns, settings, offset_us) if columns.format == "ohlc" else 0
    except OSError as error:
        raise ValueError(error.strerror or _first_line(error)) from error
    except arrow.ArrowException as error:
        raise ValueError(f"no Parquet file that can be read ({_first_line(error)})") from error
    start_us, end_us = settings.time_range
    inside = [group for group in groups if _may_be_within(group, start_us, end_us)]
    return ParquetFile(
        path=file.path,
        symbol=file.symbol or "",
        columns=columns,
        schema=schema,
        groups=tuple(inside),
        step_us=step_us,
    )


def _check_symbol(file: FileSettings, columns: Columns) -> None:
    if file.symbol is None and not columns.symbol:
        raise ValueError("needs `symbol`: it has no column of that name")
    if file.symbol is None and columns.format == "ohlc":
        raise ValueError("needs `symbol`: an ohlc file is read for one symbol")


def _row_groups(opened: Any, columns: Columns, offset_us: int) -> list[RowGroup]:
    metadata, groups, first_row = opened.metadata, [], 1
    place = opened.schema_arrow.names.index(columns.time)
    unit = _stored_unit(opened.schema, columns)
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        times_us = _times_us(group.column(place), unit, offset_us) if unit else None
        groups.append(RowGroup(index=index, first_row=first_row, rows=group.num_rows, times_us=times_us))
        first_row += group.num_rows
    return groups


def _stored_unit(schema: Any, columns: Columns) -> str:
    """The unit of the column's statistics: Parquet may store another than Arrow reads. Empty if it is not known."""
    if any("." in schema.column(index).path for index in range(len(schema))):
        return ""  # nested columns: the places of columns are not those of fields
    column = schema.column(schema.names.index(columns.time))
    if column.physical_type not in ("INT64", "INT32"):
        return ""
    logical = json.loads(column.logical_type.to_json())
    if logical.get("Type") == "Timestamp":
        return _UNITS.get(logical.get("timeUnit"), "")
    return columns.unit if logical.get("Type") in ("None", "Int", "Date") else ""


def _times_us(column: Any, unit: str, offset_us: int) -> tuple[int, int] | None:
    said = column.statistics
    if said is None or not said.has_min_max:
        return None
    least, most = said.min_raw, said.max_raw
    if not isinstance(least, int) or not isinstance(most, int):
        return None
    return raw_to_us(least, unit, offset_us), raw_to_us(most, unit, offset_us)


def _may_be_within(group: RowGroup, start_us: int, end_us: int) -> bool:
    return group.times_us is None or (group.times_us[1] >= start_us and group.times_us[0] < end_us)


def _step_us(opened: Any, file: FileSettings, columns: Columns, settings: MarketDataSettings, offset_us: int) -> int:
    """The commonest distance between the first rows; rows that cannot be used are left to the pass to report."""
    lenient = msgspec.structs.replace(settings, on_bad_row="skip", start=None, end=None)
    symbol = file.symbol or ""
    reader = RowReader(file.path, columns, lenient, {symbol: 0}, symbol, offset_us, SourceCounts())
    with suppress(StopIteration):
        batch = next(opened.iter_batches(STEP_ROWS, columns=columns.names, use_threads=False))
        return usual_step_us(reader.read(1, batch).times.tolist())
    return usual_step_us([])


def _offset_us(schema: Any, columns: Columns, settings: MarketDataSettings) -> int:
    """Only times without a zone that were written as such are naive; integers since 1970 are UTC."""
    kind = schema.field(columns.time).type
    types = import_pyarrow().types
    naive = types.is_date32(kind) or (types.is_timestamp(kind) and kind.tz is None)
    return naive_offset_us(columns.format, settings) if naive else 0


def _open(path: str, symbol_column: str = "") -> Any:
    """`symbol_column`: read as a dictionary, so that a symbol is looked up once and not once a row."""
    with open(path, "rb"):
        pass  # its errors say what the operator knows from elsewhere
    dictionaries = [symbol_column] if symbol_column else None
    parquet = import_pyarrow("pyarrow.parquet")
    return parquet.ParquetFile(path, read_dictionary=dictionaries, buffer_size=PAGE_BYTES, pre_buffer=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


# ---- the source -----------------------------------------------------------------------------------------------


class ParquetSource(MergedFiles):
    def __init__(self, settings: MarketDataSettings, symbol_ids: Mapping[str, int]) -> None:
        """Raises: ConfigError if a file is missing, unreadable, empty or without the columns needed."""
        super().__init__()
        self._settings, self._symbol_ids = settings, dict(symbol_ids)
        self._files: Final = inspect_files(settings)
        self._has_volume: Final = any(file.columns.volume for file in self._files)
        held = max(1, _most_at_once([file.times_us for file in self._files]))
        self._block_rows: Final = max(BLOCK_ROWS_MIN, min(BLOCK_ROWS_MAX, ROWS_HELD_MAX // held))

    def check(self) -> None:
        """Looks at the files again. Raises: ConfigError as the constructor does."""
        inspect_files(self._settings)

    def _hash(self) -> bytes:
        settings = self._settings
        rules = [
            "parquet",
            settings.on_bad_row,
            settings.ohlc_path,
            settings.bars,
            settings.time_range,
            settings.integer_prices,
            sorted(self._symbol_ids.items()),
        ]
        digests = content_digests([file.path for file in self._files])
        files = [
            [
                file.columns.format,
                file.symbol,
                file.columns.unit,
                _offset_us(file.schema, file.columns, settings),
                digest,
            ]
            for file, digest in zip(self._files, digests, strict=True)
        ]
        return blake2b(msgspec.msgpack.encode([rules, files]), digest_size=16).digest()

    def _work(self) -> int:
        return sum(group.rows for file in self._files for group in file.groups)

    def _streams(self, counts: SourceCounts) -> list[tuple[int, Iterator[Block]]]:
        return [(file.times_us[0], self._read(file, counts)) for file in self._files]

    def _read(self, file: ParquetFile, counts: SourceCounts) -> Iterator[Block]:
        """The file's ticks, opened when the first is asked for."""
        columns = file.columns
        offset_us = _offset_us(file.schema, columns, self._settings)
        reader = RowReader(file.path, columns, self._settings, self._symbol_ids, file.symbol, offset_us, counts)
        rows = (reader.read(first_row, batch) for first_row, batch in _record_batches(file, self._block_rows, counts))
        return to_ticks(rows, file.step_us, self._settings.ohlc_path, self._has_volume)


def _record_batches(file: ParquetFile, rows_max: int, counts: SourceCounts) -> Iterator[tuple[int, Any]]:
    """(number of the first row, record batch) of the row groups that may have rows in the range; work_done is in rows.

    Raises: DataError where the file cannot be read on, or is not the one that was inspected.
    """
    arrow = import_pyarrow()
    row = 1
    try:
        with _open(file.path, file.columns.symbol) as opened:
            if not opened.metadata.schema.to_arrow_schema().equals(file.schema):
                raise DataError(file.path, row, "has changed since it was checked")
            for group in file.groups:
                row = group.first_row
                for batch in opened.iter_batches(
                    rows_max, row_groups=[group.index], columns=file.columns.names, use_threads=False
                ):
                    counts.work_done += batch.num_rows
                    yield row, batch
                    row += batch.num_rows
    except (OSError, arrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise DataError(file.path, row, f"cannot be read: {reason}") from error


def _most_at_once(ranges: list[tuple[int, int]]) -> int:
    """How many of these (first, last) there are at most at any one time."""
    changes = sorted([(first, 0) for first, _ in ranges] + [(last, 1) for _, last in ranges])
    return max(accumulate((-1 if is_end else 1 for _, is_end in changes), initial=0))
