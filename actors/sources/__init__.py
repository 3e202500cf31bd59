"""Market data sources: where ticks come from, behind two small faces.

A **file** source is read from the first row to the last, and again whenever asked; the same files and
settings give the same bytes and the same epoch, so positions outlive a restart (design section 2). A
**live** source makes or receives ticks as time goes by; each life of it is a history of its own.

Sources number nothing, pace nothing and open no sockets: that is market_data's. NumPy and pyarrow are imported only
with the source that uses them, for market_data is restarted in a hurry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from actors.sources.batch import SourceCounts, TickBatch
from actors.sources.synthetic import SyntheticSource
from protocol.errors import ConfigError
from protocol.settings import Config

__all__ = ["FileSource", "LiveSource", "Source", "SourceCounts", "TickBatch", "check_source", "make_source"]


class FileSource(Protocol):
    is_file: Literal[True]
    """Write `source.is_file is True`: type checkers narrow by that, not by the bare truth of it."""

    def check(self) -> None:
        """See check_source; making the source has called it once. Raises: ConfigError."""
        ...

    @property
    def epoch(self) -> bytes:
        """16 bytes: a function of what decides about the ticks, and of nothing else."""
        ...

    @property
    def counts(self) -> SourceCounts:
        """Of the pass that got furthest."""
        ...

    def batches(self, ticks_max: int) -> Iterator[TickBatch]:
        """All ticks from the first row on, `ticks_max` at a time (the last batch may be smaller).

        Every call starts anew and is independent of the others; same call, same bytes.
        Raises: DataError (file, line, reason), from the iterator, at a row that cannot be used.
        """
        ...


class LiveSource(Protocol):
    is_file: Literal[False]

    def check(self) -> None: ...

    @property
    def epoch(self) -> bytes:
        """16 bytes, random in each life."""
        ...

    @property
    def counts(self) -> SourceCounts: ...

    def generate(self, count: int, now_us: int) -> TickBatch:
        """`count` (at least 1) further ticks, stamped `now_us`, or the last time given if that is later."""
        ...


Source = FileSource | LiveSource


def make_source(config: Config, symbol_ids: Mapping[str, int], incarnation: int) -> Source:
    """The source that `config` names. Raises: ConfigError if its files, or what reads them, cannot be used."""
    match config.market_data.source:
        case "csv":
            from actors.sources.csv_files import CsvSource

            return CsvSource(config.market_data, symbol_ids)
        case "parquet":
            from actors.sources.parquet_files import ParquetSource

            return ParquetSource(config.market_data, symbol_ids)
        case "synthetic":
            return SyntheticSource(config.market_data, config.instruments, symbol_ids, incarnation)


def check_source(config: Config) -> None:
    """What can be known of the source before anything starts. Raises: ConfigError with every mistake found."""
    match config.market_data.source:
        case "csv":
            from actors.sources import csv_files

            files = csv_files.inspect_files(config.market_data)
            _check_volumes(config, [file.path for file in files if not file.has_volume])
        case "parquet":
            from actors.sources import parquet_files

            files = parquet_files.inspect_files(config.market_data)
            _check_volumes(config, [file.path for file in files if not file.columns.volume])
        case "synthetic":
            ids = {instrument.symbol: index for index, instrument in enumerate(config.instruments, 1)}
            SyntheticSource(config.market_data, config.instruments, ids, incarnation=1)


def _check_volumes(config: Config, without: list[str]) -> None:
    share = config.order_routing.max_participation
    if share is not None and without:
        raise ConfigError([f"order_routing.max_participation = {share}: {path} has no volumes" for path in without])
