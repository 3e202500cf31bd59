"""Rows of a file in NumPy arrays, whatever it was written in: checks that need the rows before, and rows to ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.sources.batch import TICK_VOLUME, SourceCounts
from actors.sources.blocks import Block, Integers, OhlcPath, bar_block, make_block
from actors.sources.files import out_of_order
from protocol.errors import DataError

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class Rows:
    """Rows of one file; once they are checked, in order of time."""

    times: Integers
    symbol_ids: Integers | int
    prices: list[Integers]
    """As the format has them: bid and ask, one price, or open, high, low and close."""
    volumes: Integers | None

    def part(self, start: int, stop: int) -> Rows:
        return self._each(lambda column: column[start:stop])

    def only(self, wanted: Mask) -> Rows:
        return self._each(lambda column: column[wanted])

    def _each(self, change: Callable[[Integers], Integers]) -> Rows:
        ids = self.symbol_ids
        return Rows(
            times=change(self.times),
            symbol_ids=ids if isinstance(ids, int) else change(ids),
            prices=[change(price) for price in self.prices],
            volumes=None if self.volumes is None else change(self.volumes),
        )

    def followed_by(self, later: Rows) -> Rows:
        """Of one symbol only."""
        volumes = None
        if self.volumes is not None and later.volumes is not None:
            volumes = np.concatenate([self.volumes, later.volumes])
        return Rows(
            times=np.concatenate([self.times, later.times]),
            symbol_ids=self.symbol_ids,
            prices=[np.concatenate(pair) for pair in zip(self.prices, later.prices, strict=True)],
            volumes=volumes,
        )


class RowChecks:
    """What becomes of bad rows in one pass over one file."""

    def __init__(self, path: str, counts: SourceCounts, skip_bad: bool, apart_us: int) -> None:
        """`apart_us`: how much later than the good row before each must be."""
        self._path, self._counts, self._skip_bad, self._apart_us = path, counts, skip_bad, apart_us
        self._last_us = -apart_us
        """Of the last good row."""

    def good(
        self, rows: Rows, errors: dict[int, str], unknown: Mask | None, number_of: Callable[[int], int]
    ) -> Rows:
        """`rows` without those of `errors` (reasons by index), of unknown symbols, and out of order.

        Raises: DataError at the first bad row, by its `number_of`, unless bad rows are skipped.
        """
        wanted: Mask | None = None if unknown is None else ~unknown
        if errors:
            wanted = np.ones(len(rows.times), np.bool_) if wanted is None else wanted
            wanted[list(errors)] = False
        late = self._out_of_order(rows.times, wanted)
        if late:
            wanted = np.ones(len(rows.times), np.bool_) if wanted is None else wanted
            wanted[list(late)] = False
            errors = errors | late
        if errors:
            self._count_bad(errors, number_of)
        if wanted is not None:
            rows = rows.only(wanted)
        if len(rows.times):
            self._last_us = int(rows.times[-1])
        return rows

    def _out_of_order(self, times: Integers, wanted: Mask | None) -> dict[int, str]:
        indices = None if wanted is None else np.flatnonzero(wanted)
        times = times if indices is None else times[indices]
        least = self._last_us + self._apart_us
        if not len(times) or (times[0] >= least and bool((times[1:] >= times[:-1] + self._apart_us).all())):
            return {}
        # A row that goes back does not raise the maximum, so the maximum is that of the good ones before.
        latest = np.maximum.accumulate(np.concatenate([[self._last_us], times]))[:-1]
        return {
            place if indices is None else int(indices[place]): out_of_order(int(times[place]), int(latest[place]))
            for place in np.flatnonzero(times < latest + self._apart_us).tolist()
        }

    def _count_bad(self, errors: dict[int, str], number_of: Callable[[int], int]) -> None:
        first = min(errors)
        bad = DataError(self._path, number_of(first), errors[first])
        if not self._skip_bad:
            raise bad
        self._counts.rows_bad += len(errors)
        self._counts.first_bad = self._counts.first_bad or str(bad)


# ---- to ticks -------------------------------------------------------------------------------------------------


def to_ticks(blocks: Iterable[Rows], step_us: int, ohlc_path: OhlcPath, add_volumes: bool) -> Iterator[Block]:
    """The ticks of good rows; `step_us`: the usual distance between bars, 0 if the rows are ticks.

    `ohlc_path`: in which order a bar met its high and low (blocks.bar_block).
    `add_volumes`: a tick without a volume counts one, because ticks of other files have volumes.
    """
    ticks = _bars_to_ticks(blocks, step_us, ohlc_path) if step_us else map(_block, blocks)
    for block in ticks:
        if add_volumes and block.volumes is None:
            yield Block(block.times, block.records, np.full(len(block.times), TICK_VOLUME, np.int64))
        else:
            yield block


def _block(rows: Rows) -> Block:
    return make_block(rows.times, rows.symbol_ids, rows.prices[0], rows.prices[-1], rows.volumes)


def _bars_to_ticks(blocks: Iterable[Rows], step_us: int, ohlc_path: OhlcPath) -> Iterator[Block]:
    """A bar is held back until the next one has said how long it may last."""
    held: Rows | None = None
    for block in blocks:
        bars = block if held is None else held.followed_by(block)
        if not len(bars.times):
            continue
        spans = np.minimum(np.diff(bars.times), step_us)
        yield _bar_ticks(bars.part(0, len(spans)), spans, ohlc_path)
        held = bars.part(len(spans), len(spans) + 1)
    if held is not None:
        yield _bar_ticks(held, np.array([step_us], np.int64), ohlc_path)


def _bar_ticks(bars: Rows, spans: Integers, ohlc_path: OhlcPath) -> Block:
    assert isinstance(bars.symbol_ids, int), "an ohlc file is of one symbol"
    return bar_block(bars.times, bars.symbol_ids, bars.prices, bars.volumes, spans, ohlc_path)
