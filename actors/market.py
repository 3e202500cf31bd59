"""The market stream as a consumer sees it: ticks, bars, the end; the position on the health page.

A new life goes on after the position that its predecessor's page names, if the feed is still the same; else a
file is read from its first row and a live feed from its head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, Protocol

from actors.base import Actor
from actors.clock import monotonic_us
from actors.stream import CREDIT_SHARE, StreamClient
from protocol.codec import MarketKind, MarketPayload, decode_market
from protocol.messages import HEAD, Data, Welcome
from protocol.pipeline import MARKET, Pipe
from protocol.positions import tick_position
from protocol.settings import Config
from protocol.topics import BAR, TICK

ARRIVALS_MAX: Final = 4096
"""Messages of the market stream behind which an order's tick is not looked for: it has waited for the disk by then."""
REPLAY_CHUNK_TICKS: Final = 32768
"""A replay is exact however its ticks are cut."""


def market_pipe(config: Config) -> Pipe:
    """The market pipe of this config: in a replay its limit is credit for a quantum and more (P12).

    A quantum that ends within a chunk and begins within another touches one chunk more than it fills; who goes on
    behind a checkpoint begins with a chunk of one tick; and credit that is owed may not be given back yet.
    """
    if not config.is_replay:
        return MARKET
    needed = config.replay.quantum // REPLAY_CHUNK_TICKS + 3
    return replace(MARKET, limit=max(MARKET.limit, needed + needed // (CREDIT_SHARE - 1) + 1))


class MarketHandler(Protocol):
    """What an actor does with the market."""

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None: ...

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None:
        """Bars that tick `next_tick` closed."""
        ...

    def on_end(self) -> None: ...


class MarketClient:
    """One actor's connection to the market stream.

    on_chunk(last_position) is called after each DATA, by those that write the position onto the page themselves
    (they must not be ahead of their own appends); for the others it goes there at once.
    """

    def __init__(
        self,
        actor: Actor,
        handler: MarketHandler,
        *,
        from_first: bool = False,
        on_chunk: Callable[[int], None] | None = None,
        on_welcome: Callable[[Welcome], None] | None = None,
    ) -> None:
        self._page = actor.page
        self._handler = handler
        self.on_chunk = on_chunk
        self._from_first = from_first
        self._welcome = on_welcome
        self._is_file = actor.config.market_data.is_file
        self.at_end = False
        self.arrivals: deque[tuple[int, int]] | None = None
        """(first position, monotonic_us) of the newest DATA, for who asks `arrival_us`."""
        pipe = market_pipe(actor.config)
        self.stream = StreamClient(
            actor.loop,
            actor.connect(pipe),
            name=actor.name,
            incarnation=actor.spec.incarnation,
            credit=pipe.limit,
            on_data=self._take_data,
            on_welcome=self._take_welcome,
            on_reset=lambda reason: None,
        )
        self.former_epoch, self.former_position = actor.page.market()

    def start(self, after_tick: int = 0) -> None:
        """after_tick: a replay goes on behind it, over empty pages (P11)."""
        stream = self.stream
        if self.former_epoch and not self._from_first:
            stream.epoch, stream.position = self.former_epoch, self.former_position
        stream.start_position = 0 if self._is_file or self._from_first else HEAD
        if after_tick:
            stream.start_position = tick_position(after_tick) + 1
        stream.start()

    def keep_arrivals(self) -> None:
        self.arrivals = deque(maxlen=ARRIVALS_MAX)

    def arrival_us(self, position: int) -> int | None:
        """When the tick of this position came here, by monotonic_us. None: that is not known, or long ago."""
        for first, arrived_us in reversed(self.arrivals or ()):
            if first <= position:
                return arrived_us
        return None

    def resume(self, epoch: bytes, position: int) -> None:
        """`start` goes on after this position, whatever the page says."""
        self.former_epoch, self.former_position, self._from_first = epoch, position, False

    def former_quotes(self, welcome: Welcome, symbol_ids: Collection[int]) -> dict[int, tuple[int, int, int]]:
        """(timestamp, bid, ask) of these symbols, as far as a former life may have seen them."""
        if not self.former_position:
            return {}
        ticks = TICK.iter_unpack(welcome.snapshot)
        return {tick[1]: (tick[2], tick[3], tick[4]) for tick in ticks if tick[1] in symbol_ids}

    @property
    def epoch(self) -> bytes:
        return self.stream.epoch

    @property
    def position(self) -> int:
        return self.stream.position

    def _take_welcome(self, welcome: Welcome) -> None:
        stream = self.stream
        if stream.epoch != welcome.epoch or not stream.position:
            stream.epoch = welcome.epoch
            stream.position = max(0, welcome.first_position - 1)
        if self._welcome is not None:
            self._welcome(welcome)

    def _take_data(self, data: Data, frame: bytes) -> int | None:
        first = data.first_position
        if not data.gap and self.stream.position and first // 3 > self.stream.position // 3 + 1:
            return None
        tick = first // 3
        if self.arrivals is not None:
            self.arrivals.append((first, monotonic_us()))
        for piece in decode_market(frame):
            if piece.kind is MarketKind.TICKS:
                self._handler.on_ticks(tick, piece)
                tick += piece.items
            elif piece.kind is MarketKind.BARS:
                self._handler.on_bars(tick, piece)
            else:
                self.at_end = True
                self._handler.on_end()
                tick += 1
        last = tick_position(tick - 1)
        # The page never says that the end was read: a new life must learn of it too, or the engine never stops.
        told = self.stream.position if self.at_end else last
        if self.on_chunk is not None:
            self.on_chunk(told)
        else:
            self._page.set_market(self.stream.epoch, told)
        return last


def data_time_us(payload: bytes) -> int:
    """The time of the first tick or bar in a market payload; 0 for a bare end."""
    first = next(decode_market(payload))
    if first.kind is MarketKind.TICKS:
        return TICK.unpack_from(first.records)[2]
    return BAR.unpack_from(first.records)[3] if first.kind is MarketKind.BARS else 0
