"""One Parquet file's rows, checked: which columns they have, which rows are wanted, which are bad.

A row is judged as csv_rows.py and csv_files.py judge theirs, in the same order: symbol, time, prices, bid against
ask, volume, order of time. Rows outside the range of time are not looked at any further, and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np

from actors.sources.arrow_columns import (
    Column,
    Integers,
    import_pyarrow,
    number_mistake,
    price_column,
    symbol_column,
    symbol_mistake,
    time_column,
    time_unit,
    volume_column,
)
from actors.sources.batch import SourceCounts
from actors.sources.rows import RowChecks, Rows
from protocol.settings import WHOLE_RANGE, MarketDataSettings, TimeRange
from protocol.units import MICROS

FormatName = Literal["bid_ask", "trades", "ohlc"]

PRICES: Final[Mapping[FormatName, tuple[str, ...]]] = {
    "bid_ask": ("bid", "ask"),
    "trades": ("price",),
    "ohlc": ("open", "high", "low", "close"),
}
TIME_NAMES: Final = tuple(
    f"{name}{unit}" for name in ("timestamp", "time", "datetime", "date") for unit in ("", "_s", "_ms", "_us", "_ns")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of a file's columns as they are written there; "" where it has none."""

    format: FormatName
    time: str
    unit: str
    prices: tuple[str, ...]
    volume: str
    symbol: str

    @property
    def names(self) -> list[str]:
        return [name for name in (self.time, *self.prices, self.volume, self.symbol) if name]


def find_columns(schema: Any, settings: MarketDataSettings) -> Columns:
    """Raises: ValueError that says what is missing, ambiguous or of a type that is not read."""
    actual: dict[str, str] = {}
    for name in schema.names:
        if actual.setdefault(name.lower(), name) != name or schema.names.count(name) > 1:
            raise ValueError(f"two columns are called {name.lower()!r}")
    form = _format(actual, settings.format)
    times = [name for name in TIME_NAMES if name in actual]
    if len(times) != 1:
        wanted = "no column of times" if not times else f"{len(times)} columns of times ({', '.join(times)})"
        raise ValueError(f"{wanted}; one of timestamp, time, datetime or date, or such a name with _s, _ms, _us or _ns")
    time = actual[times[0]]
    found = Columns(
        format=form,
        time=time,
        unit=time_unit(time, schema.field(time).type, settings.time_unit),
        prices=tuple(actual[name] for name in PRICES[form]),
        volume=actual.get("volume", ""),
        symbol=actual.get("symbol", ""),
    )
    _check_types(found, schema, settings)
    return found


def _format(names: Iterable[str], asked: str) -> FormatName:
    fitting: list[FormatName] = [form for form, prices in PRICES.items() if set(prices) <= set(names)]
    wanted = "; ".join(f"{form!r}: {', '.join(prices)}" for form, prices in PRICES.items())
    if asked != "auto":
        fitting = [form for form in fitting if form == asked]
    if not fitting:
        kind = "no known format" if asked == "auto" else f"not format {asked!r}"
        raise ValueError(f"the columns are {', '.join(names)}: {kind} ({wanted})")
    if len(fitting) > 1:
        raise ValueError(f"the columns fit formats {' and '.join(map(repr, fitting))}: say market_data.format")
    return fitting[0]


def _check_types(columns: Columns, schema: Any, settings: MarketDataSettings) -> None:
    mistakes = {name: number_mistake(schema.field(name).type, settings.integer_prices, True) for name in columns.prices}
    if columns.volume:
        mistakes[columns.volume] = number_mistake(schema.field(columns.volume).type, None, False)
    if columns.symbol:
        mistakes[columns.symbol] = symbol_mistake(schema.field(columns.symbol).type)
    for name, mistake in mistakes.items():
        if mistake:
            raise ValueError(f"column {name!r} is of type {schema.field(name).type}: {mistake}")


class RowReader:
    """One pass over one file."""

    def __init__(
        self,
        path: str,
        columns: Columns,
        settings: MarketDataSettings,
        symbol_ids: Mapping[str, int],
        own_symbol: str,
        offset_us: int,
        counts: SourceCounts,
    ) -> None:
        """`own_symbol`: the only one whose rows are wanted, or "" for those of all `symbol_ids`."""
        self._columns, self._settings, self._counts = columns, settings, counts
        self._symbol_ids = {own_symbol: symbol_ids[own_symbol]} if own_symbol else symbol_ids
        self._own_id = symbol_ids[own_symbol] if own_symbol else -1
        self._offset_us = offset_us
        self._range: TimeRange = settings.time_range
        apart_us = 1 if columns.format == "ohlc" else 0
        self._checks = RowChecks(path, counts, settings.on_bad_row == "skip", apart_us)

    def read(self, first_row: int, batch: Any) -> Rows:
        """The good rows among `batch`, whose first is the file's row `first_row`, counted from 1.

        Raises: DataError at the first bad row, unless bad rows are skipped.
        """
        batch, times, symbol_ids, chosen = self._wanted(batch)
        columns = self._columns
        prices = [price_column(name, batch.column(name), self._settings.integer_prices) for name in columns.prices]
        volumes = volume_column(columns.volume, batch.column(columns.volume)) if columns.volume else None
        errors = _merged(times, *prices)
        self._check_prices([price.values for price in prices], errors)
        errors = errors if volumes is None else volumes.errors | errors
        rows = Rows(
            times=times.values,
            symbol_ids=symbol_ids,
            prices=[price.values for price in prices],
            volumes=None if volumes is None else volumes.values,
        )
        return self._checks.good(
            rows, errors, None, lambda index: first_row + (index if chosen is None else int(chosen[index]))
        )

    def _wanted(self, batch: Any) -> tuple[Any, Column, Integers | int, Integers | None]:
        """The rows in the range of time, of known symbols, counted: with times, ids, and their indices if not all."""
        columns = self._columns
        times = time_column(columns.time, batch.column(columns.time), columns.unit, self._offset_us)
        chosen: Integers | None = None
        if self._range != WHOLE_RANGE:
            inside = (times.values >= self._range.start_us) & (times.values < self._range.end_us)
            inside[list(times.errors)] = True
            chosen = None if inside.all() else np.flatnonzero(inside)
        self._counts.rows += batch.num_rows if chosen is None else len(chosen)
        symbol_ids: Integers | int = self._own_id
        if columns.symbol:
            symbol_ids = symbol_column(batch.column(columns.symbol), self._symbol_ids)
            known = symbol_ids >= 0
            if chosen is not None:
                self._counts.rows_unknown += int(np.count_nonzero(~known[chosen]))
                chosen = chosen[known[chosen]]
            elif not known.all():
                chosen = np.flatnonzero(known)
                self._counts.rows_unknown += len(known) - len(chosen)
        if self._own_id >= 0:
            symbol_ids = self._own_id
        if chosen is None:
            return batch, times, symbol_ids, None
        errors = {}
        if times.errors:
            places = {index: place for place, index in enumerate(chosen.tolist())}
            errors = {places[index]: reason for index, reason in times.errors.items() if index in places}
        if not isinstance(symbol_ids, int):
            symbol_ids = symbol_ids[chosen]
        return batch.take(import_pyarrow().array(chosen)), Column(times.values[chosen], errors), symbol_ids, chosen

    def _check_prices(self, prices: list[Integers], errors: dict[int, str]) -> None:
        if self._columns.format == "bid_ask":
            bids, asks = prices
            for index in np.flatnonzero(bids > asks).tolist():
                errors.setdefault(index, f"bid {_shown(bids[index])} is above ask {_shown(asks[index])}")
        elif self._columns.format == "ohlc":
            opened, high, low, close = prices
            outside = (opened < low) | (opened > high) | (close < low) | (close > high)
            for index in np.flatnonzero(outside).tolist():
                errors.setdefault(
                    index,
                    f"open {_shown(opened[index])}, close {_shown(close[index])}: "
                    f"not within low {_shown(low[index])} and high {_shown(high[index])}",
                )


def _merged(*columns: Column) -> dict[int, str]:
    """The errors of columns, those of an earlier one first."""
    errors: dict[int, str] = {}
    for column in reversed(columns):
        errors |= column.errors
    return errors


def _shown(micros: int) -> str:
    return f"{Decimal(int(micros)) / MICROS:f}"
