"""CSV files as one stream of ticks: found and recognised at the start, then read lazily and merged by time.

    _blocks        half a MiB at a time -> complete lines
    _within        only those in the range of time
    LineReader     -> rows, by columns (csv_columns.py) or line by line (csv_rows.py); bad rows, unknown symbols
    rows.py        -> rows in order of time, and their ticks: four of each row of `ohlc`
    blocks.py      files merged by time (ties: the file named first), cut into batches of equal length

A file must be in order of time; equal times are kept in the order of the file (`ohlc`: every row later than the one
before). A row that goes back in time is a bad row like any other: sorting would need the whole file in memory, and
would hide what is usually a missing offset. Lines without anything on them are not rows. Rows outside `start` and `end`
are not looked at any further and not counted, and reading ends with the first row at or after `end`.

The interval of an `ohlc` row is the file's step, or the time to the next row where that is shorter. The step is the
commonest distance between the first rows (the shorter of equally common ones; a minute if there is only one row), so
a weekend or a missing row never stretches a bar, and the last row has an interval too.

Volumes are all or nothing: if any file has them, every batch has the column, and a tick of a file without them
carries TICK_VOLUME, which is what bars count it as anyhow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec

from actors.sources.batch import SourceCounts
from actors.sources.blocks import Block
from actors.sources.csv_lines import CsvFile, FormatName, LineReader
from actors.sources.csv_rows import COLUMNS, ohlc_parser, time_parser
from actors.sources.files import (
    STEP_ROWS,
    content_digests,
    inspect_each,
    naive_offset_us,
    usual_step_us,
)
from actors.sources.merged import MergedFiles
from actors.sources.rows import RowChecks, to_ticks
from protocol.errors import DataError
from protocol.settings import WHOLE_RANGE, MarketDataSettings, TimeRange

BLOCK_BYTES: Final = 524_288
BLOCK_BYTES_MIN: Final = 65_536
BLOCKS_BYTES: Final = 4 << 20
"""Of all files together, where the least block allows it; the work takes about ten times as much memory."""
LINE_BYTES_MAX: Final = 16_384
"""A longer line is an error even where bad rows are skipped: it is no CSV file."""
FILES_MAX: Final = 256
"""Each is open during the whole pass."""

_HEADED: Final[tuple[FormatName, ...]] = ("bid_ask", "trades", "ohlc")
_HISTDATA_ROW: Final = re.compile(r"\d{8} \d{9},", re.ASCII)
_BOM: Final = "\ufeff".encode()


# ---- before anything starts -----------------------------------------------------------------------------------


def inspect_files(settings: MarketDataSettings) -> list[CsvFile]:
    """The files of the config, each readable and of a known format. Raises: ConfigError with every mistake found."""
    return inspect_each(settings, lambda file: _inspect(file.path, file.symbol, settings), FILES_MAX)


def _inspect(path: str, symbol: str | None, settings: MarketDataSettings) -> CsvFile:
    # Two pieces: a last line without an end comes as one of its own.
    pieces = [data.decode("latin-1") for _, data in islice(_blocks(path, BLOCK_BYTES_MIN, SourceCounts()), 2)]
    lines = [line for piece in pieces for line in piece.split("\n")]
    at = next((index for index, line in enumerate(lines) if line.strip()), None)
    if at is None:
        raise ValueError("the file is empty")
    first = lines[at].strip().lower()
    names = tuple(name.strip() for name in first.split(","))
    detected = _detect(names, first)
    if settings.format == "histdata" and detected is None:
        detected = "histdata"  # it has no header to hold against it: its first row may be a bad one
    if detected is None or settings.format not in ("auto", detected):
        raise ValueError(_unrecognised(settings.format, lines[at]))
    header_lines = at if detected == "histdata" else at + 1
    rows = [line for line in lines[header_lines:] if line.strip()]
    if not rows:
        raise ValueError("the file has no rows below its header")
    if detected != "trades" and symbol is None:
        raise ValueError(f"needs `symbol`: rows of format {detected!r} do not name theirs")
    return CsvFile(
        path=path,
        symbol=symbol or "",
        format=detected,
        has_volume="volume" in names or detected == "histdata",
        header_lines=header_lines,
        step_us=_step_us(rows, naive_offset_us(detected, settings), "volume" in names) if detected == "ohlc" else 0,
    )


def _detect(names: tuple[str, ...], first: str) -> FormatName | None:
    for name in _HEADED:
        if names in COLUMNS[name]:
            return name
    return "histdata" if _HISTDATA_ROW.match(first) else None


def _unrecognised(asked: str, first: str) -> str:
    shown = first if len(first) <= 80 else first[:80] + "..."
    headers = [f"{names[0]!r}: {' or '.join(map(','.join, names[1]))}" for names in COLUMNS.items()]
    wanted = "no known format" if asked == "auto" else f"not format {asked!r}"
    return f"the first line is {shown!r}: {wanted} ({'; '.join(headers)}; histdata has no header)"


def _step_us(rows: list[str], offset_us: int, has_volume: bool) -> int:
    """The commonest distance between the first rows; rows that cannot be used are left to the pass to report."""
    parse = ohlc_parser(0, offset_us, has_volume)
    times = []
    for row in rows[:STEP_ROWS]:
        try:
            times.append(parse(row)[0])
        except ValueError:
            continue
    return usual_step_us(times)


# ---- the source -----------------------------------------------------------------------------------------------


class CsvSource(MergedFiles):
    def __init__(self, settings: MarketDataSettings, symbol_ids: Mapping[str, int]) -> None:
        """Raises: ConfigError if a file is missing, unreadable, empty or of no known format."""
        super().__init__()
        self._settings, self._symbol_ids = settings, dict(symbol_ids)
        self._files: Final = inspect_files(settings)
        self._has_volume: Final = any(file.has_volume for file in self._files)

    def check(self) -> None:
        """Looks at the files again. Raises: ConfigError as the constructor does."""
        inspect_files(self._settings)

    def _hash(self) -> bytes:
        settings = self._settings
        ids = sorted(self._symbol_ids.items())
        rules = [settings.on_bad_row, settings.ohlc_path, settings.bars, settings.time_range, ids]
        files = [
            [file.format, file.symbol, naive_offset_us(file.format, settings), digest]
            for file, digest in zip(self._files, content_digests([file.path for file in self._files]), strict=True)
        ]
        return blake2b(msgspec.msgpack.encode([rules, files]), digest_size=16).digest()

    def _work(self) -> int:
        return sum(_size(file.path) for file in self._files)

    def _streams(self, counts: SourceCounts) -> list[tuple[int, Iterator[Block]]]:
        return [(0, self._read(file, counts)) for file in self._files]

    def _read(self, file: CsvFile, counts: SourceCounts) -> Iterator[Block]:
        """The file's ticks, a block at a time."""
        offset_us = naive_offset_us(file.format, self._settings)
        share = max(BLOCK_BYTES_MIN, BLOCKS_BYTES // len(self._files))
        blocks = _blocks(file.path, min(BLOCK_BYTES, share), counts)
        if self._settings.time_range != WHOLE_RANGE:
            blocks = _within(blocks, time_parser(file.format, offset_us), self._settings.time_range)
        checks = RowChecks(file.path, counts, self._settings.on_bad_row == "skip", 1 if file.format == "ohlc" else 0)
        reader = LineReader(file, self._symbol_ids, offset_us, checks, counts)
        rows = (reader.read(*block) for block in blocks)
        return to_ticks(rows, file.step_us, self._settings.ohlc_path, self._has_volume)


# ---- a file's lines -------------------------------------------------------------------------------------------

Numbered = tuple[int, bytes]
"""The number of the first line, and lines without a newline behind the last."""


def _within(
    blocks: Iterator[Numbered], time_of: Callable[[str], int], time_range: TimeRange
) -> Iterator[Numbered]:
    """Without the rows outside the range: whole blocks by the times of their ends, single lines by emptying them.

    That rests on the order of the file; lines without a time are left to be told as bad rows.
    """
    start_us, end_us = time_range
    for number, data in blocks:
        stripped = data.strip()
        first_us = _time(stripped.partition(b"\n")[0], time_of)
        last_us = _time(stripped.rpartition(b"\n")[2], time_of)
        if last_us is not None and last_us < start_us:
            continue
        if first_us is not None and first_us >= end_us:
            return
        if first_us is None or last_us is None or first_us < start_us or last_us >= end_us:
            times = ((line, _time(line, time_of)) for line in data.split(b"\n"))
            data = b"\n".join([line if us is None or start_us <= us < end_us else b"" for line, us in times])
        yield number, data
        if last_us is not None and last_us >= end_us:
            return


def _time(line: bytes, time_of: Callable[[str], int]) -> int | None:
    """None if it has none."""
    try:
        return time_of(line.decode("latin-1"))
    except ValueError:
        return None


def _size(path: str) -> int:
    """0 if it has gone: whoever reads it says so."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _blocks(path: str, block_bytes: int, counts: SourceCounts) -> Iterator[Numbered]:
    """Lines without their ends, quotes and byte order mark, about `block_bytes` each; work_done is in bytes."""
    number, rest = 1, b""
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(block_bytes):
                counts.work_done += len(block)
                data, newline, rest = (rest + block).rpartition(b"\n")
                if len(rest) > LINE_BYTES_MAX:
                    line = number + data.count(b"\n") + bool(newline)
                    raise DataError(path, line, f"a line of more than {LINE_BYTES_MAX} bytes")
                if newline:
                    data = _clean(data, number)
                    yield number, data
                    number += data.count(b"\n") + 1
    except OSError as error:
        raise DataError(path, number, f"cannot be read: {error.strerror or error}") from error
    if rest:
        yield number, _clean(rest, number)


def _clean(data: bytes, number: int) -> bytes:
    if number == 1:
        data = data.removeprefix(_BOM)
    return data.replace(b"\r\n", b"\n").removesuffix(b"\r").replace(b'"', b"")
