"""Blocks of ticks in NumPy arrays: made in the layout of the wire, merged by time, cut into batches of equal length.

No Python loop per tick. The merge takes the next block of each file that takes part, and a file takes part only from
its first time on, so that of many files that follow each other in time few are open at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from actors.sources.batch import TickBatch
from protocol.topics import TICK, TICK_DTYPE, Topic

OhlcPath = Literal["by_close", "high_first", "low_first"]
Integers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

_TICK: Final = np.dtype(TICK_DTYPE)
_OPAQUE: Final = np.dtype((np.void, TICK.size))
"""A record as so many bytes: NumPy moves it in one piece, not field by field."""


@dataclass(frozen=True, slots=True)
class Block:
    """Ticks in order of time."""

    times: Integers
    records: Records
    """TICK records, opaque."""
    volumes: Integers | None

    def part(self, start: int, stop: int) -> Block:
        volumes = None if self.volumes is None else self.volumes[start:stop]
        return Block(self.times[start:stop], self.records[start:stop], volumes)


def make_block(
    times: Integers, symbol_ids: Integers | int, bids: Integers, asks: Integers, volumes: Integers | None
) -> Block:
    records = np.empty(len(times), _TICK)
    records["topic"] = Topic.TICK
    records["symbol_id"] = symbol_ids
    records["timestamp"] = times
    records["bid"] = bids
    records["ask"] = asks
    return Block(times, records.view(_OPAQUE), volumes)


def bar_block(
    times: Integers,
    symbol_id: int,
    prices: Sequence[Integers],
    volumes: Integers | None,
    spans: Integers,
    ohlc_path: OhlcPath = "by_close",
) -> Block:
    """Four ticks a bar, bid = ask, at 0, 1/4, 1/2 and 3/4 of its span of time.

    Open, then low and high in the order that `ohlc_path` assumes, then close: a bar does not say which came first.

    by_close: low first if the bar closes at its open or above, else high first, as if it had gone the shorter way.
    high_first, low_first: always so. What hangs on it is which of two orders inside one bar is reached first (a stop
    loss or a take profit), so try both when a result depends on bars alone.

    The volume is shared out equally, to the last micro: what four do not divide goes to the first ticks.
    """
    opened, high, low, close = prices
    low_first = {"by_close": close >= opened, "low_first": True, "high_first": False}[ohlc_path]
    four = np.stack([opened, np.where(low_first, low, high), np.where(low_first, high, low), close], axis=1).ravel()
    at = np.stack([times, times + spans // 4, times + spans // 2, times + spans * 3 // 4], axis=1).ravel()
    shares = None
    if volumes is not None:
        share, rest = np.divmod(volumes, 4)
        shares = np.stack([share + (rest > 0), share + (rest > 1), share + (rest > 2), share], axis=1).ravel()
    return make_block(at, symbol_id, four, four, shares)


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    volumes = [block.volumes for block in blocks if block.volumes is not None]
    return Block(
        np.concatenate([block.times for block in blocks]),
        np.concatenate([block.records for block in blocks]),
        np.concatenate(volumes) if volumes else None,
    )


# ---- cut ------------------------------------------------------------------------------------------------------


def cut(blocks: Iterable[Block], ticks_max: int) -> Iterator[TickBatch]:
    """All ticks of `blocks`, `ticks_max` at a time; the last batch may be smaller."""
    held: list[Block] = []
    count = 0
    for block in blocks:
        start, stop = 0, len(block.times)
        while count + stop - start >= ticks_max:
            end = start + ticks_max - count
            yield _batch([*held, block.part(start, end)])
            held, count, start = [], 0, end
        if start < stop:
            held.append(block.part(start, stop))
            count += stop - start
    if held:
        yield _batch(held)


def _batch(blocks: Sequence[Block]) -> TickBatch:
    block = _joined(blocks)
    times, volumes = block.times, block.volumes
    return TickBatch(
        records=block.records.tobytes(),
        volumes=b"" if volumes is None else volumes.tobytes(),
        count=len(times),
        first_time_us=int(times[0]),
        last_time_us=int(times[-1]),
    )


# ---- merge ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """A file within the merge: what is held of it, and whether more may come."""

    blocks: Iterator[Block]
    held: Block | None = None


def merge(streams: Sequence[tuple[int, Iterator[Block]]]) -> Iterator[Block]:
    """All ticks by time; where times are equal, those of the stream named first come first.

    `streams`: of each a time before which it has no tick, and its blocks, which are asked for from that time on.
    What lies at or before the (time, stream) that one of them has been read up to, of all streams the smallest, can be
    followed by nothing smaller. The stream that this is of gives its block whole and is read on.
    """
    frontier = [(first_us, index) for index, (first_us, _) in enumerate(streams)]
    heapq.heapify(frontier)
    runs: dict[int, _Run] = {}
    while frontier:
        until_us, least = frontier[0]
        if block := _taken(runs, until_us, least):
            yield block
        run = runs.get(least)
        if run is None:
            run = runs[least] = _Run(streams[least][1])
            runs = dict(sorted(runs.items()))
        run.held = next((block for block in run.blocks if len(block.times)), None)
        if run.held is None:
            heapq.heappop(frontier)
            del runs[least]
        else:
            heapq.heapreplace(frontier, (int(run.held.times[-1]), least))


def _taken(runs: dict[int, _Run], until_us: int, least: int) -> Block | None:
    """The ticks up to (until_us, least), in order; they are no longer held."""
    pieces: list[Block] = []
    for index, run in runs.items():
        held = run.held
        if held is None:
            continue
        stop = len(held.times)
        if index != least:
            stop = int(held.times.searchsorted(until_us, "right" if index < least else "left"))
        if stop:
            pieces.append(held.part(0, stop))
            run.held = held.part(stop, len(held.times)) if stop < len(held.times) else None
    if not pieces:
        return None
    whole = _joined(pieces)
    if len(pieces) == 1:
        return whole
    order = whole.times.argsort(kind="stable")  # merges runs; pieces stand in the order of the streams
    volumes = None if whole.volumes is None else whole.volumes[order]
    return Block(whole.times[order], whole.records.take(order), volumes)
