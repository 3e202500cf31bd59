"""Lines of a CSV file to good rows: by columns where they are written as most are, else line by line.

csv_rows.py has the rule for a line; csv_columns.py reads many lines at once, and says which it has not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from actors.sources.batch import SourceCounts
from actors.sources.csv_columns import Layout, Lines, SymbolTable, read_lines
from actors.sources.csv_rows import Row, bid_ask_parser, describe, histdata_parser, ohlc_parser, trades_parser
from actors.sources.rows import RowChecks, Rows

FormatName = Literal["bid_ask", "histdata", "trades", "ohlc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFile:
    """A file that was opened, recognised and found to have rows."""

    path: str
    symbol: str
    """Empty: the rows name theirs."""
    format: FormatName
    has_volume: bool
    header_lines: int
    """Lines to skip: the header and what precedes it."""
    step_us: int
    """`ohlc`: the usual distance between rows."""


class LineReader:
    """One pass over one file: lines to good rows, by columns or line by line."""

    def __init__(
        self, file: CsvFile, symbol_ids: Mapping[str, int], offset_us: int, checks: RowChecks, counts: SourceCounts
    ) -> None:
        self._file, self._checks, self._counts = file, checks, counts
        own_id = symbol_ids[file.symbol] if file.symbol else -1
        wanted = {file.symbol: own_id} if file.symbol else symbol_ids
        by_bytes = {symbol.encode(): number for symbol, number in wanted.items()}
        self._parse = _parser(file, own_id, by_bytes, offset_us)
        self._layout = Layout(
            format=file.format,
            prices={"trades": 1, "ohlc": 4}.get(file.format, 2),
            has_volume=file.has_volume,
            offset_us=offset_us,
            symbol_id=own_id,
            symbols=SymbolTable(by_bytes) if file.format == "trades" else None,
        )

    def read(self, number: int, data: bytes) -> Rows:
        """The good rows of lines of which the first is the file's line `number`.

        Raises: DataError at a row that cannot be used, unless bad rows are skipped.
        """
        header_lines = self._file.header_lines - number + 1
        if header_lines > 0:
            data = b"\n".join(data.split(b"\n")[header_lines:])
            number += header_lines
        data = data.rstrip(b"\n")
        found = read_lines(data, self._layout)
        return self._read_singly(number, data) if found is None else self._read_by_columns(number, data, found)

    def _read_by_columns(self, number: int, data: bytes, found: Lines) -> Rows:
        errors: dict[int, str] = {}
        unknown = found.unknown
        if not found.sure.all():
            unknown = np.zeros(len(found.sure), np.bool_) if unknown is None else unknown
            for index in np.flatnonzero(~found.sure).tolist():
                row = self._decide(index, data[found.starts[index] : found.ends[index]], errors)
                if row is None:
                    unknown[index] = index not in errors
                else:
                    found.put(index, row)
        self._counts.rows += len(found.sure)
        if unknown is not None:
            self._counts.rows_unknown += int(np.count_nonzero(unknown))
        return self._checks.good(found.rows, errors, unknown, lambda index: number + index)

    def _read_singly(self, first_number: int, data: bytes) -> Rows:
        errors: dict[int, str] = {}
        rows: list[Row] = []
        numbers: list[int] = []
        for number, line in enumerate(data.split(b"\n"), first_number):
            if not line or line.decode("latin-1").isspace():
                continue
            self._counts.rows += 1
            row = self._decide(len(rows), line, errors)
            if row is None and len(rows) not in errors:
                self._counts.rows_unknown += 1
                continue
            rows.append(row or (0,) * (self._layout.prices + 3))
            numbers.append(number)
        columns = list(np.array(rows, np.int64).reshape(-1, self._layout.prices + 3).T)
        found = Rows(
            times=columns[0],
            symbol_ids=columns[1] if self._layout.symbols else self._layout.symbol_id,
            prices=columns[2:-1],
            volumes=columns[-1] if self._file.has_volume else None,
        )
        return self._checks.good(found, errors, None, numbers.__getitem__)

    def _decide(self, index: int, line: bytes, errors: dict[int, str]) -> Row | None:
        """The row by the rule; None if it is bad, and then in `errors`, or of an unknown symbol."""
        text = line.decode("latin-1")
        try:
            return self._parse(text)
        except ValueError as error:
            errors[index] = describe(error, text, self._file.format)
            return None


def _parser(
    file: CsvFile, own_id: int, by_bytes: Mapping[bytes, int], offset_us: int
) -> Callable[[str], Row | None]:
    match file.format:
        case "trades":
            return trades_parser({symbol.decode("latin-1"): number for symbol, number in by_bytes.items()})
        case "ohlc":
            return ohlc_parser(own_id, offset_us, file.has_volume)
        case "bid_ask":
            return bid_ask_parser(own_id, offset_us)
        case "histdata":
            return histdata_parser(own_id, offset_us)
