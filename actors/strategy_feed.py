"""How the market becomes hook calls: ticks, slices, bars and timers, in order, with a pause wherever one must wait.

Owns the chunks that a strategy has not done with, the position it stands at, its timers and its partial slice; every
hook is called through here, so that a failure is logged with what it was called with. It knows nothing of signals:
the actor says when the feed must wait, and is told when a chunk is done.

Each piece of a chunk becomes a generator that calls hooks and yields wherever the feed may have to wait: after a
hook that sent something, after a bar, after a slice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from actors.base import Actor
from actors.desk import TIMER_MIN_S
from actors.page import Activity
from actors.strategies import Bar, Strategy, Tick
from protocol.codec import VOLUME, MarketPayload
from protocol.positions import PHASE_BAR
from protocol.state import FeedState
from protocol.topics import BAR, TICK, TICK_DTYPE
from protocol.units import MICROS

NOTHING_SEEN: Final = FeedState(b"", 0, 0, 0)
_HOOK: Final = Activity.HOOK


class Timer:
    """A hook on the data's clock; the first tick starts it."""

    __slots__ = ("due_us", "hook", "interval_us")

    def __init__(self, interval_us: int, hook: Callable[[], None]) -> None:
        self.interval_us = interval_us
        self.hook = hook
        self.due_us = 0


class StrategyFeed:
    """must_wait(): asked before every step; while it is true nothing more is fed.
    on_chunk_done(last_position): every hook of a chunk has returned.
    """

    def __init__(
        self, actor: Actor, *, must_wait: Callable[[], bool], on_chunk_done: Callable[[int], None]
    ) -> None:
        self._page = actor.page
        self._log = actor.log
        self._loop = actor.loop
        self._is_file = actor.config.market_data.is_file
        self._must_wait = must_wait
        self._on_chunk_done = on_chunk_done
        self._work: deque[Iterator[None] | int] = deque()
        """What is not done with: the pieces of each chunk, then its last position."""
        self._timers: list[Timer] = []
        self._slice = bytearray()
        self._slice_ticks = 1
        self._is_vectorised = False
        self._own: Mapping[int, str] = {}
        self.is_in_bars = False
        """Some of the bars that one tick closed have been told, not all: no position says that."""
        self._seen = self._slice_position = self._bar_position = self._chunk_position = 0
        """Of the last tick whose on_tick has returned, that an on_ticks has seen; of the last bar; and of the last
        chunk of which nothing is needed again."""
        self._chunk_ends: deque[int] = deque()
        """Of chunks that are done with, but whose last ticks wait in the partial slice."""
        self._skip = NOTHING_SEEN
        """What a saved state has seen already."""
        self.position = 0
        """Of the tick whose hooks run now, or ran last."""
        self.pause = False
        """Set by whoever must be asked before the next tick: a hook has sent something."""
        self.ticks = 0

    def attach(self, strategy: Strategy, own: Mapping[int, str], slice_ticks: int) -> None:
        """Hooks of `strategy` are called from here on; `own` names its symbols by id."""
        self._strategy = strategy
        self._own = own
        self._slice_ticks = slice_ticks
        self._is_vectorised = type(strategy).on_ticks is not Strategy.on_ticks

    @property
    def outstanding(self) -> int:
        """Pieces that have not been worked off."""
        return len(self._work)

    def call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        """What the hook returns. One that raises ends this life; the log says what it was called with."""
        self._page.set_activity(Activity.HOOK)
        try:
            result = hook(*arguments)
        except Exception:
            self._log_failure(getattr(hook, "__name__", repr(hook)), arguments)
            raise
        self._page.set_activity(Activity.WORKING)
        return result

    def take_state(self, epoch: bytes) -> FeedState:
        """Where a life with the present state goes on after; what a partial slice holds is fed to it again."""
        tick = self._slice_position if self._is_vectorised else self._seen
        while self._chunk_ends and self._chunk_ends[0] <= self._slice_position:
            self._chunk_position = self._chunk_ends.popleft()
        return FeedState(epoch, self._chunk_position, tick, self._bar_position)

    def resume(self, state: FeedState) -> None:
        """The stream goes on behind the state's chunk; what the strategy has seen since is not fed again."""
        self._skip = state
        self._chunk_position, self._bar_position = state.chunk, state.bar
        self.position = self._seen = self._slice_position = state.tick

    def begin_epoch(self) -> None:
        """Positions so far mean nothing in the market that comes now."""
        self.resume(NOTHING_SEEN)
        self._chunk_ends.clear()

    def _log_failure(self, hook: str, arguments: tuple[Any, ...]) -> None:
        self._log.error("hook_failed", hook=hook, arguments=repr(arguments), position=self.position)

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        """Calls `hook` every `seconds` of the feed's clock. Raises: ValueError below TIMER_MIN_S."""
        if not seconds >= TIMER_MIN_S:
            raise ValueError(f"every({seconds!r}): at least {TIMER_MIN_S} seconds")
        if self._is_file:
            self._timers.append(Timer(round(seconds * MICROS), hook))
        else:
            self._loop.every(seconds, lambda: self.call(hook))

    # What comes in (market.MarketHandler).

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        seen = min(payload.items, max(0, self._skip.tick // 3 - first_tick + 1))
        if seen:
            first_tick, payload = first_tick + seen, _without_first(payload, seen)
        if payload.items:
            feed = self._feed_slices if self._is_vectorised else self._feed_ticks
            self._work.append(feed(first_tick, payload))

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None:
        if 3 * next_tick + PHASE_BAR > self._skip.bar:
            self._work.append(self._feed_bars(next_tick, payload))

    def on_end(self) -> None:
        self._work.append(self._feed_end())

    def end_chunk(self, last_position: int) -> None:
        self._work.append(last_position)

    # What goes on.

    def go_on(self) -> None:
        """Feeds until there is nothing left, or something must be waited for."""
        while self._work and not self._must_wait():
            work = self._work[0]
            if isinstance(work, int):
                self._keep_chunk_end(work)
                self._on_chunk_done(work)
            elif next(work, self) is not self:
                continue
            self._work.popleft()

    def _keep_chunk_end(self, position: int) -> None:
        if self._is_vectorised:
            self._chunk_ends.append(position)
            if self._chunk_ends[0] <= self._slice_position:
                self._chunk_position = self._chunk_ends.popleft()
        else:
            self._chunk_position = position

    def _feed_ticks(self, first_tick: int, payload: MarketPayload) -> Iterator[None]:
        own, on_tick, position = self._own, self._strategy.on_tick, 3 * first_tick + 2
        begin_hook = self._page.set_activity
        self.ticks += payload.items
        for _, symbol_id, time_us, bid, ask in TICK.iter_unpack(payload.records):
            self.position = position
            self._seen = position - 3  # not this one: a timer's signal may be waited for before its on_tick
            position += 3
            if self._timers:
                self._run_timers(time_us)
                if self.pause:
                    self.pause = False
                    yield
            symbol = own.get(symbol_id)
            if symbol is None:
                continue
            tick = Tick(symbol, bid / MICROS, ask / MICROS, time_us / MICROS)
            begin_hook(_HOOK)
            try:
                on_tick(tick)
            except Exception:
                self._log_failure("on_tick", (tick,))
                raise
            self._seen = self.position
            if self.pause:
                self.pause = False
                yield

        self._seen = self.position
        self._page.set_activity(Activity.WORKING)

    def _run_timers(self, time_us: int) -> None:
        for timer in self._timers:
            if not timer.due_us:
                timer.due_us = time_us + timer.interval_us
            while timer.due_us <= time_us:
                timer.due_us += timer.interval_us
                self.call(timer.hook)

    def _feed_slices(self, first_tick: int, payload: MarketPayload) -> Iterator[None]:
        """A file gives fixed slices (P9); a live feed what there is."""
        self.ticks += payload.items
        self._slice += payload.records
        size = self._slice_ticks * TICK.size if self._is_file else len(self._slice)
        self.position = 3 * (first_tick + payload.items - 1) + 2
        if self._timers:
            self._run_timers(TICK.unpack_from(payload.records, len(payload.records) - TICK.size)[2])
            yield
        while len(self._slice) >= size:
            self._feed_slice(size)
            self._slice_position = self.position - 3 * (len(self._slice) // TICK.size)
            yield

    def _feed_slice(self, size: int) -> None:
        import numpy as np

        records, self._slice = bytes(self._slice[:size]), self._slice[size:]
        self.call(self._strategy.on_ticks, np.frombuffer(records, dtype=np.dtype(TICK_DTYPE)))

    def _feed_bars(self, next_tick: int, payload: MarketPayload) -> Iterator[None]:
        self.position = self._bar_position = 3 * next_tick + PHASE_BAR
        self.is_in_bars = True
        for _, symbol_id, timeframe, time_us, *prices in BAR.iter_unpack(payload.records):
            symbol = self._own.get(symbol_id)
            if symbol is None:
                continue
            scaled = [price / MICROS for price in prices]
            self.call(self._strategy.on_bar, Bar(symbol, timeframe, time_us / MICROS, *scaled))
            yield
        self.is_in_bars = False

    def _feed_end(self) -> Iterator[None]:
        if self._is_vectorised and self._slice:
            self._feed_slice(len(self._slice))
        yield


def _without_first(payload: MarketPayload, count: int) -> MarketPayload:
    volumes = payload.volumes
    return payload._replace(
        items=payload.items - count,
        records=payload.records[count * TICK.size :],
        volumes=None if volumes is None else volumes[count * VOLUME.size :],
    )
