"""The market stream's content: chunks with positions, and the windows that consumers read them from.

A position is 3 x tick + phase (timer 0, bar 1, tick 2; P1), ticks counted from 1. A chunk of ticks k..k+n-1
begins at 3k + 2, or at 3k + 1 if tick k closes bars: bars stand before the tick that closed them, cut into the
chunk as pieces of their own. The end of a file is a chunk after the last tick.
Chunks of a file source are cut by the config alone, so that positions outlive a restart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

import zmq

from actors.bars import BarBatch, BarBuilder
from actors.market import data_time_us
from actors.sources import FileSource, LiveSource, TickBatch
from actors.stream import Chunk
from protocol.codec import MarketKind, decode_market, encode_market, market_head
from protocol.positions import PHASE_BAR, PHASE_TICK, tick_position
from protocol.topics import TICK

FILE_WINDOW_CHUNKS: Final = 2
"""How far consumers of a file may be apart: what an order meets is at most this much later than its cause."""
FILE_CHUNK_TICKS: Final = 32
LIVE_WINDOW_TICKS: Final = 65_536
"""What a live feed keeps for consumers that lag or come back."""


class ChunkBuilder:
    """Numbers the ticks of batches and puts bars before the tick that closed them."""

    def __init__(self, timeframes_minutes: list[int]) -> None:
        self._bars = BarBuilder(timeframes_minutes)
        self.next_tick = 1

    def add(self, batch: TickBatch) -> Chunk:
        """The batch as one chunk, with the bars that its ticks close."""
        pieces = self._bars.split(batch)
        first = tick_position(self.next_tick) if isinstance(pieces[0], TickBatch) else 3 * self.next_tick + PHASE_BAR
        self.next_tick += batch.count
        return Chunk(first, 3 * self.next_tick, batch.count, _encode_pieces(pieces))

    def end(self) -> Chunk:
        """The open bars and the end of the file."""
        bars = self._bars.flush()
        first = 3 * self.next_tick + PHASE_BAR
        payload = _encode_pieces([bars]) if bars.count else b""
        return Chunk(first, first + PHASE_TICK, 1, payload + encode_market(MarketKind.END, 1, b""))


def _encode_pieces(pieces: Sequence[BarBatch | TickBatch]) -> bytes:
    """Copies every record once, however large the batch."""
    parts: list[bytes] = []
    for piece in pieces:
        volumes = piece.volumes if isinstance(piece, TickBatch) else b""
        parts += (market_head(piece.kind, piece.count, volumes), piece.records, volumes)
    return b"".join(parts)


class FileFeed:
    """A file's chunks: a small window that moves when every expected consumer has done with it; lossless.

    A consumer that asks for what lies before the window (a strategy that is warmed) reads the file again by
    itself until it reaches the window.
    """

    def __init__(
        self, source: FileSource, timeframes_minutes: list[int], chunk_ticks: int,
        window_chunks: int = FILE_WINDOW_CHUNKS, cuts: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """cuts: ticks with which a chunk begins, whatever its length."""
        self._source = source
        self._timeframes = timeframes_minutes
        self._chunk_ticks = chunk_ticks
        self._window_chunks = window_chunks
        self._cuts = cuts
        self.epoch = source.epoch
        self._chunks = self._from_start()
        self._window: deque[Chunk] = deque()
        self._next_position = 0
        self._window_start = 0
        """Positions from here on are in the window, or not read yet."""
        self._held: Chunk | None = None
        self._catching_up: dict[str, tuple[Iterator[Chunk], Chunk]] = {}
        self.at_end = False

    def _from_start(self) -> Iterator[Chunk]:
        builder = ChunkBuilder(self._timeframes)
        for batch in self._source.batches(self._chunk_ticks):
            first, start = builder.next_tick, 0
            for cut in self._cuts:
                if start < cut - first < batch.count:
                    yield builder.add(batch.slice(start, cut - first))
                    start = cut - first
            yield builder.add(batch.slice(start, batch.count))
        yield builder.end()

    @property
    def tail_position(self) -> int:
        return self._next_position - 1

    @property
    def data_time_us(self) -> int:
        """About where the feed is by the data's clock: the first tick or bar of its newest chunk; 0 before any."""
        return _newest_time_us(self._window)

    def seek(self, position: int) -> None:
        """The next chunk is the one of `position`, or the end if all have read it; for a feed that comes back."""
        for chunk in self._chunks:
            if chunk.next_position > position or is_end(chunk):
                self._held = chunk
                self._window_start = min(position, chunk.first_position)
                return

    def drop(self, acknowledged: int) -> None:
        """Forgets what all have done with."""
        while self._window and self._window[0].next_position <= acknowledged:
            self._window_start = self._window.popleft().next_position

    @property
    def has_room(self) -> bool:
        return len(self._window) < self._window_chunks and not self.at_end

    def ahead(self) -> Chunk:
        """The chunk that `advance` will bring; only while there is room."""
        if self._held is None:
            self._held = next(self._chunks)
        return self._held

    def advance(self) -> None:
        """The window grows by one chunk; only while there is room."""
        chunk, self._held = self.ahead(), None
        self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        self._window.append(chunk._replace(message=zmq.Frame(chunk.payload)))
        self._next_position = chunk.next_position
        self.at_end = is_end(chunk)

    def read(self, consumer: str, position: int) -> Chunk | None:
        if position < self._window_start:
            return self._catch_up(consumer, position)
        self._catching_up.pop(consumer, None)
        return next((chunk for chunk in self._window if chunk.first_position >= position), None)

    def _catch_up(self, consumer: str, position: int) -> Chunk:
        chunks, chunk = self._catching_up.get(consumer, (None, None))
        if chunks is None or chunk is None or chunk.first_position > position:
            chunks = self._from_start()
            chunk = next(chunks)
        while chunk.first_position < position:
            chunk = next(chunks)
        self._catching_up[consumer] = (chunks, chunk)
        return chunk

    def snapshot(self, symbols: int) -> bytes:
        """The last quote of each of that many symbols, as far as the window has them."""
        return latest_ticks(self._window, symbols)


class LiveFeed:
    """A live feed's chunks: a bounded ring; who falls behind it loses the oldest, counted as a gap."""

    def __init__(self, source: LiveSource, timeframes_minutes: list[int]) -> None:
        self.epoch = source.epoch
        self._builder = ChunkBuilder(timeframes_minutes)
        self._window: deque[Chunk] = deque()
        self._ticks = 0
        self._next_position = tick_position(1)
        self.at_end = False

    @property
    def tail_position(self) -> int:
        return self._next_position - 1

    @property
    def data_time_us(self) -> int:
        """As FileFeed's."""
        return _newest_time_us(self._window)

    def add(self, batch: TickBatch) -> None:
        chunk = self._builder.add(batch)
        self._window.append(chunk)
        self._ticks += chunk.items
        self._next_position = chunk.next_position
        while self._ticks > LIVE_WINDOW_TICKS and len(self._window) > 1:
            self._ticks -= self._window.popleft().items

    def read(self, consumer: str, position: int) -> Chunk | None:
        window = self._window
        if not window or position > window[-1].first_position:
            return None
        oldest = window[0]
        if position < oldest.first_position:
            missed = oldest.first_position // 3 - position // 3 if position > 0 else 0
            return oldest._replace(gap=missed)
        # By halves: whoever is warmed reads a ring of 16,000 chunks from its oldest, and all others wait meanwhile.
        return window[bisect_left(window, position, key=attrgetter("first_position"))]

    def snapshot(self, symbols: int) -> bytes:
        """The last quote of each of that many symbols, as far as the window has them."""
        return latest_ticks(self._window, symbols)


def is_end(chunk: Chunk) -> bool:
    return any(piece.kind is MarketKind.END for piece in decode_market(chunk.payload))


def _newest_time_us(window: deque[Chunk]) -> int:
    """A bare end has no time."""
    return next((time_us for chunk in reversed(window) if (time_us := data_time_us(chunk.payload))), 0)


def latest_ticks(window: deque[Chunk], symbols: int) -> bytes:
    """The last TICK of every symbol in the window; looked for from its end, until all `symbols` are found."""
    latest: dict[int, bytes] = {}
    for chunk in reversed(window):
        found: dict[int, bytes] = {}
        for piece in decode_market(chunk.payload):
            if piece.kind is MarketKind.TICKS:
                for start in range(0, len(piece.records), TICK.size):
                    record = bytes(piece.records[start : start + TICK.size])
                    found[TICK.unpack(record)[1]] = record
        latest = found | latest
        if len(latest) >= symbols:
            break
    return b"".join(latest.values())
