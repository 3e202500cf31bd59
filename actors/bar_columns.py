"""A batch's ticks gathered for the bars by columns: what BarBuilder does tick by tick, for batches of hundreds.

A group is the ticks of one symbol within one interval of every timeframe: what a piece of bars.py gathers. Intervals
are multiples of the clock, so all symbols change them together, and a batch in order of time has few.
Imported only where large batches come (NumPy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.sources.batch import TICK_VOLUME, TickBatch
from protocol.topics import TICK_DTYPE
from protocol.units import MICROS_MAX

Integers = npt.NDArray[np.int64]

_TICK = np.dtype(TICK_DTYPE)


class Group(NamedTuple):
    first: int
    """Index of its first tick, within the batch."""
    symbol_id: int
    time_us: int
    """Of its first tick."""
    open: int
    high: int
    low: int
    close: int
    volume: int


def group_ticks(batch: TickBatch, spans_us: Sequence[int]) -> list[Group] | None:
    """The batch's groups in order of their first ticks; None if it is one that must be gathered tick by tick.

    That is a batch with a time that goes back, or with volumes whose sum might outgrow 64 bits.
    """
    ticks = np.frombuffer(batch.records, _TICK)
    times, bids = ticks["timestamp"].astype(np.int64), ticks["bid"].astype(np.int64)
    volumes = np.frombuffer(batch.volumes, "<i8") if batch.volumes else None
    if (times[1:] < times[:-1]).any() or (volumes is not None and volumes.max() > MICROS_MAX // batch.count):
        return None
    symbols = ticks["symbol_id"].astype(np.int64)
    changes = _changes(times, spans_us)
    order: Integers | None = None
    if (symbols != symbols[0]).any():
        # Few bits make NumPy's stable sort a radix sort.
        order = (symbols.astype(np.uint16) if symbols.max() < 65_536 else symbols).argsort(kind="stable")
        cells = np.concatenate([[0], np.cumsum(changes)])[order]
        symbols, times, bids = symbols[order], times[order], bids[order]
        volumes = None if volumes is None else volumes[order]
        changes = (cells[1:] != cells[:-1]) | (symbols[1:] != symbols[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    ends = np.concatenate([starts[1:], [batch.count]])
    columns = (
        starts if order is None else order[starts],
        symbols[starts],
        times[starts],
        bids[starts],
        np.maximum.reduceat(bids, starts),
        np.minimum.reduceat(bids, starts),
        bids[ends - 1],
        (ends - starts) * TICK_VOLUME if volumes is None else np.add.reduceat(volumes, starts),
    )
    groups = [Group(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return groups if order is None else sorted(groups)


def _changes(times: Integers, spans_us: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Where a tick lies in another interval of any timeframe than the one before it."""
    changes = np.zeros(len(times) - 1, np.bool_)
    for span_us in spans_us:
        if times[0] // span_us != times[-1] // span_us:
            cells = times // span_us
            changes |= cells[1:] != cells[:-1]
    return changes
