"""CSV files as one stream of ticks: found and recognised at the start, then read lazily and merged by time.

    _blocks          64 KiB at a time -> complete lines
    _rows            lines -> rows (csv_rows.py); bad rows, unknown symbols, order of time
    _bars_to_ticks   `ohlc` only: each row becomes four ticks
    CsvSource        files merged by time (ties: the file named first), cut into batches of equal length

A file must be in order of time; equal times are kept in the order of the file (`ohlc`: every row later than the one
before). A row that goes back in time is a bad row like any other: sorting would need the whole file in memory, and
would hide what is usually a missing offset. Lines without anything on them are not rows.

The interval of an `ohlc` row is the file's step, or the time to the next row where that is shorter. The step is the
commonest distance between the first rows (the shorter of equally common ones; a minute if there is only one row), so
a weekend or a missing row never stretches a bar, and the last row has an interval too.

Volumes are all or nothing: if any file has them, every batch has the column, and a tick of a file without them
carries TICK_VOLUME, which is what bars count it as anyhow.
"""

from __future__ import annotations

import heapq
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import chain, islice, pairwise
from operator import itemgetter
from typing import Final, Literal, TypeVar

import msgspec

from actors.sources.batch import TICK_VOLUME, SourceCounts, TickBatch
from actors.sources.csv_rows import (
    COLUMNS,
    BadRowError,
    Bar,
    OhlcPath,
    Tick,
    bar_ticks,
    bid_ask_parser,
    describe,
    histdata_parser,
    ohlc_parser,
    trades_parser,
)
from protocol.errors import ConfigError, DataError
from protocol.settings import MarketDataSettings

FormatName = Literal["bid_ask", "histdata", "trades", "ohlc"]

BLOCK_BYTES: Final = 65_536
LINE_BYTES_MAX: Final = 16_384
"""A longer line is an error even where bad rows are skipped: it is no CSV file."""
STEP_ROWS: Final = 1_000
"""The first rows, from which an `ohlc` file's step is taken."""
STEP_DEFAULT_US: Final = 60_000_000
FILES_MAX: Final = 256
"""Each is open during the whole pass."""

DIGEST_WHOLE_BYTES_MAX: Final = 256 << 20
"""Files up to this size are hashed whole (about 1 s a GiB, a hundredth of what reading their rows takes)."""
DIGEST_SAMPLES: Final = 1_024
DIGEST_SAMPLE_BYTES: Final = 65_536

_HISTDATA_OFFSET_HOURS: Final = -5
_HEADED: Final[tuple[FormatName, ...]] = ("bid_ask", "trades", "ohlc")
_HISTDATA_ROW: Final = re.compile(r"\d{8} \d{9},", re.ASCII)
_BOM: Final = "\xef\xbb\xbf"
"""UTF-8's byte order mark, read as Latin-1."""


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


# ---- before anything starts -----------------------------------------------------------------------------------


def inspect_files(settings: MarketDataSettings) -> list[CsvFile]:
    """The files of the config, each readable and of a known format. Raises: ConfigError with every mistake found."""
    files, mistakes = [], []
    for index, file in enumerate(settings.all_files):
        key = "market_data.path" if settings.path else f"market_data.files[{index}].path"
        try:
            files.append(_inspect(file.path, file.symbol, settings))
        except DataError as error:
            mistakes.append(f"{key} = {file.path!r}: {error.reason}")
        except ValueError as error:
            mistakes.append(f"{key} = {file.path!r}: {error}")
    if not settings.all_files:
        mistakes.append("market_data: a csv source needs `path`, or `files = [{ path, symbol }, ...]`")
    if len(files) > FILES_MAX:
        mistakes.append(f"market_data.files: {len(files)} files, {FILES_MAX} at most")
    if mistakes:
        raise ConfigError(mistakes)
    return files


def _inspect(path: str, symbol: str | None, settings: MarketDataSettings) -> CsvFile:
    # Two pieces: a last line without an end comes as one of its own.
    lines = [line for _, lines in islice(_blocks(path), 2) for line in lines]
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
        step_us=_usual_step_us(rows, _offset_us(detected, settings), "volume" in names) if detected == "ohlc" else 0,
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


def _usual_step_us(rows: list[str], offset_us: int, has_volume: bool) -> int:
    """The commonest distance between the first rows; rows that cannot be used are left to the pass to report."""
    parse = ohlc_parser(offset_us, has_volume)
    times = []
    for row in rows[:STEP_ROWS]:
        try:
            times.append(parse(row)[0])
        except ValueError:
            continue
    steps = Counter(later - earlier for earlier, later in pairwise(times) if later > earlier)
    return min(steps, key=lambda step: (-steps[step], step), default=STEP_DEFAULT_US)


def _offset_us(format_name: str, settings: MarketDataSettings) -> int:
    hours = settings.utc_offset_hours
    if hours is None:
        hours = _HISTDATA_OFFSET_HOURS if format_name == "histdata" else 0
    return round(hours * 3_600_000_000)


# ---- the source -----------------------------------------------------------------------------------------------


class CsvSource:
    is_file: Literal[True] = True

    def __init__(self, settings: MarketDataSettings, symbol_ids: Mapping[str, int]) -> None:
        """Raises: ConfigError if a file is missing, unreadable, empty or of no known format."""
        self._settings, self._symbol_ids = settings, dict(symbol_ids)
        self._files: Final = inspect_files(settings)
        self._has_volume: Final = any(file.has_volume for file in self._files)
        self._epoch: bytes | None = None
        self.counts = SourceCounts()

    @property
    def epoch(self) -> bytes:
        """What decides about the ticks and the bars among them; computed (see _content_digest) when first asked for."""
        if self._epoch is None:
            self._epoch = self._hash()
        return self._epoch

    def check(self) -> None:
        """Looks at the files again. Raises: ConfigError as the constructor does."""
        inspect_files(self._settings)

    def _hash(self) -> bytes:
        settings = self._settings
        rules = [settings.on_bad_row, settings.bars, settings.ohlc_path, sorted(self._symbol_ids.items())]
        files = [
            [file.format, file.symbol, _offset_us(file.format, settings), _content_digest(file.path)]
            for file in self._files
        ]
        return blake2b(msgspec.msgpack.encode([rules, files]), digest_size=16).digest()

    def batches(self, ticks_max: int) -> Iterator[TickBatch]:
        """See FileSource.batches. Memory: one batch, and one block of each file, however long the files are."""
        counts = [SourceCounts() for _ in self._files]
        streams = [chain.from_iterable(self._read(file, one)) for file, one in zip(self._files, counts, strict=True)]
        # heapq.merge is lazy, and where times are equal it keeps the order of its arguments.
        ticks = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=itemgetter(0))
        while chunk := list(islice(ticks, ticks_max)):
            self._keep(counts)
            times, records, volumes = zip(*chunk, strict=True)
            yield TickBatch(
                records=b"".join(records),
                volumes=struct.pack(f"<{len(volumes)}q", *volumes) if self._has_volume else b"",
                count=len(chunk),
                first_time_us=times[0],
                last_time_us=times[-1],
            )
        self._keep(counts)

    def _keep(self, counts: list[SourceCounts]) -> None:
        rows = sum(one.rows for one in counts)
        if rows < self.counts.rows:
            return  # another pass has got further
        self.counts = SourceCounts(
            rows=rows,
            rows_bad=sum(one.rows_bad for one in counts),
            rows_unknown=sum(one.rows_unknown for one in counts),
            first_bad=next((one.first_bad for one in counts if one.first_bad), ""),
        )

    def _read(self, file: CsvFile, counts: SourceCounts) -> Iterator[list[Tick]]:
        """The file's ticks, a block at a time."""
        skip_bad = self._settings.on_bad_row == "skip"
        offset_us = _offset_us(file.format, self._settings)
        if file.format == "ohlc":
            bars = _rows(file, ohlc_parser(offset_us, file.has_volume), counts, skip_bad, apart_us=1)
            ticks = _bars_to_ticks(bars, self._symbol_ids[file.symbol], file.step_us, self._settings.ohlc_path)
        else:
            ticks = _rows(file, self._tick_parser(file, offset_us), counts, skip_bad, apart_us=0)
        if self._has_volume and not file.has_volume:
            return ([(time_us, record, TICK_VOLUME) for time_us, record, _ in block] for block in ticks)
        return ticks

    def _tick_parser(self, file: CsvFile, offset_us: int) -> Callable[[str], Tick | None]:
        if file.format == "trades":
            wanted = self._symbol_ids if not file.symbol else {file.symbol: self._symbol_ids[file.symbol]}
            return trades_parser({symbol.encode().decode("latin-1"): number for symbol, number in wanted.items()})
        make = bid_ask_parser if file.format == "bid_ask" else histdata_parser
        return make(self._symbol_ids[file.symbol], offset_us)


# ---- a file's rows --------------------------------------------------------------------------------------------

Row = TypeVar("Row", Tick, Bar)


def _rows(
    file: CsvFile, parse: Callable[[str], Row | None], counts: SourceCounts, skip_bad: bool, *, apart_us: int
) -> Iterator[list[Row]]:
    """The rows that can be used, in order of time, each at least `apart_us` after the one before.

    Raises: DataError at a row that cannot be used, unless `skip_bad`, and where the file cannot be read on.
    """
    earliest_us = 0
    for first_number, lines in _blocks(file.path):
        good: list[Row] = []
        for number, line in enumerate(lines, first_number):
            if not line or number <= file.header_lines or line.isspace():
                continue
            counts.rows += 1
            try:
                row = parse(line)
                if row is None:
                    counts.rows_unknown += 1
                    continue
                if row[0] < earliest_us:
                    raise BadRowError(_out_of_order(row[0], earliest_us - apart_us))
            except ValueError as error:
                bad = DataError(file.path, number, describe(error, line, file.format))
                if not skip_bad:
                    raise bad from None
                counts.rows_bad += 1
                counts.first_bad = counts.first_bad or str(bad)
                continue
            earliest_us = row[0] + apart_us
            good.append(row)
        yield good


def _bars_to_ticks(
    blocks: Iterator[list[Bar]], symbol_id: int, step_us: int, path: OhlcPath
) -> Iterator[list[Tick]]:
    """A bar is held back until the next one has said how long it may last."""
    held: list[Bar] = []
    for block in blocks:
        bars = held + block
        ticks: list[Tick] = []
        for bar, following in pairwise(bars):
            ticks += bar_ticks(symbol_id, bar, min(step_us, following[0] - bar[0]), path)
        held = bars[-1:]
        yield ticks
    yield [tick for bar in held for tick in bar_ticks(symbol_id, bar, step_us, path)]


def _blocks(path: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines without their ends, quotes and byte order mark), about BLOCK_BYTES each."""
    number, rest = 1, ""
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                text, newline, rest = (rest + block.decode("latin-1")).rpartition("\n")
                if len(rest) > LINE_BYTES_MAX:
                    line = number + text.count("\n") + bool(newline)
                    raise DataError(path, line, f"a line of more than {LINE_BYTES_MAX} bytes")
                if newline:
                    lines = _clean(text, number)
                    yield number, lines
                    number += len(lines)
    except OSError as error:
        raise DataError(path, number, f"cannot be read: {error.strerror or error}") from error
    if rest:
        yield number, _clean(rest, number)


def _clean(text: str, number: int) -> list[str]:
    if number == 1:
        text = text.removeprefix(_BOM)
    return text.replace("\r\n", "\n").removesuffix("\r").replace('"', "").split("\n")


def _out_of_order(time_us: int, before_us: int) -> str:
    if time_us == before_us:
        return f"the same time as the row before ({_iso(time_us)})"
    return f"goes back in time: {_iso(time_us)} after {_iso(before_us)}"


def _iso(time_us: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(microseconds=time_us)).isoformat(sep=" ") + "Z"


# ---- identity -------------------------------------------------------------------------------------------------


def _content_digest(path: str) -> bytes:
    """What a file holds, whatever it is called: the whole of it, or samples and the time of its last change.

    Positions must outlive a restart if and only if the rows are the same. Contents say exactly that, where the
    time of change would give a copied or touched file a new history. Hashing a file of many GiB would hold READY up
    at every restart, so such a file is known by its size, its time of change, and samples spread over it.
    """
    digest = blake2b(digest_size=32)
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_size <= DIGEST_WHOLE_BYTES_MAX:
                while block := file.read(1 << 20):
                    digest.update(block)
                return digest.digest()
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            last = status.st_size - DIGEST_SAMPLE_BYTES
            for index in range(DIGEST_SAMPLES):
                file.seek(last * index // (DIGEST_SAMPLES - 1))
                digest.update(file.read(DIGEST_SAMPLE_BYTES))
    except OSError as error:
        raise ConfigError([f"market_data: {path!r}: {error.strerror or error}"]) from error
    return digest.digest()
