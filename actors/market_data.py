"""market_data: brings the source's ticks and bars onto the market stream.

Owns the source and the feed's positions. A file source brings its own clock and waits for every consumer that
the config names (lossless); a live source never waits, and counts what a slow consumer misses. It decides
nothing and appends nothing.
"""

from __future__ import annotations

from typing import Final

from actors.base import Actor, Place
from actors.clock import monotonic_s, now_us
from actors.feed import FILE_CHUNK_TICKS, FileFeed, LiveFeed
from actors.market import REPLAY_CHUNK_TICKS, data_time_us, market_pipe
from actors.peers import Peers
from actors.sources import LiveSource, Source, check_source, make_source
from actors.stream import Consumer, StreamServer
from protocol.messages import HEAD, Hello, Message, Parked, QueueDepth, Statistics, Welcome
from protocol.pipeline import MARKET
from protocol.records import EngineRun

LIVE_TURN_MIN_S: Final = 0.002
LIVE_TURN_MAX_S: Final = 0.05
LIVE_BURST_S: Final = 1.0
"""After a pause of the process at most this much is made up for."""


class MarketData(Actor):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.settings = self.config.market_data
        self.expected = {"risk", "order_routing", "gateway", *(f"strategy.{s.name}" for s in self.config.strategies)}
        self.acknowledged: dict[str, int] = {}
        self.feed: FileFeed | LiveFeed
        self.source: Source
        self.started = self.waking = False

    def load(self) -> None:
        check_source(self.config)

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        ids = {name: index for index, (name, _) in enumerate(run.symbols)}
        self.source = make_source(self.config, ids, self.spec.incarnation)
        pipe = market_pipe(self.config)
        socket = self.bind(pipe)
        if self.source.is_file is True:
            paced = self.settings.speed != "max"
            if self.config.is_replay:  # P12
                # Who goes on behind a tick begins with a chunk of it, or of the next.
                cuts = (self.resume_tick, self.resume_tick + 1) if self.resume_tick else ()
                self.feed = FileFeed(self.source, self.settings.bars, REPLAY_CHUNK_TICKS, pipe.limit, cuts)
            else:
                self.feed = FileFeed(self.source, self.settings.bars, 1 if paced else FILE_CHUNK_TICKS)
            self.loop.after_turn(self._file_turn)
        else:
            self.feed = LiveFeed(self.source, self.settings.bars)
            self.began_s, self.generated = monotonic_s(), 0
            turn_s = min(max(1 / self.settings.rate, LIVE_TURN_MIN_S), LIVE_TURN_MAX_S)
            live = self.source
            self.loop.every(turn_s, lambda: self._live_turn(live))
            self.loop.after_turn(self._pump)
        may_speak = Peers(self.run_dir, self.config).may_speak
        self.server = StreamServer(socket, self.feed, self._on_hello, may_speak=may_speak)
        self.loop.on_readable(socket, self.server.receive)
        self.ready(0)

    def stop(self, run: EngineRun | None) -> None:
        self.stopped(0)

    def control(self, message: Message) -> None:
        if isinstance(message, Parked):
            self.expected.discard(f"strategy.{message.strategy}")

    def queues(self) -> tuple[QueueDepth, ...]:
        return self.server.depths(MARKET.name)

    def statistics(self) -> Statistics:
        counters = {
            **self.source.counts.counters(),
            "data_time_us": self.feed.data_time_us,
            "consumers": len(self.server.consumers),
            **self.server.counters,
        }
        return Statistics(0, self.feed.tail_position, self.feed.at_end, 0, counters)

    def _on_hello(self, consumer: Consumer, hello: Hello) -> None:
        feed = self.feed
        first = hello.from_position if hello.epoch in (b"", feed.epoch) else HEAD
        if isinstance(feed, FileFeed):
            first = max(0, first)
            self.acknowledged[consumer.name] = first
        elif first == HEAD or first > feed.tail_position + 1:
            first = feed.tail_position + 1
        quotes = feed.snapshot(len(self.config.instruments))
        self.server.welcome(
            consumer, Welcome(feed.epoch, first, feed.tail_position, 0, b"", self.source.is_file, quotes)
        )

    def _pump(self) -> None:
        self.page.set_market(self.feed.epoch, max(0, self.feed.tail_position))
        self.server.pump()

    # A file: moves when every expected consumer has done with the window.

    def _file_turn(self) -> None:
        feed = self.feed
        assert isinstance(feed, FileFeed)
        for consumer in self.server.consumers.values():
            self.acknowledged[consumer.name] = max(consumer.acknowledged, self.acknowledged.get(consumer.name, 0))
        if not self.expected <= self.acknowledged.keys():
            return
        least = min((self.acknowledged[name] for name in self.expected), default=0)
        if not self.started:
            self.started = True
            feed.seek(least)
            self.began_s, self.began_us = monotonic_s(), data_time_us(feed.ahead().payload)
        feed.drop(least)
        while feed.has_room and self._is_due(feed):
            feed.advance()
        self._pump()

    def _is_due(self, feed: FileFeed) -> bool:
        """The next chunk's time has come by the recorded pace."""
        if self.settings.speed == "max":
            return True
        time_us = data_time_us(feed.ahead().payload) or self.began_us
        wait_s = self.began_s + (time_us - self.began_us) / 1e6 / self.settings.speed - monotonic_s()
        if wait_s > 0 and not self.waking:
            self.waking = True  # one timer, however many turns there are before it
            self.loop.after(min(wait_s, LIVE_TURN_MAX_S), self._wake)
        return wait_s <= 0

    def _wake(self) -> None:
        self.waking = False

    # A live source: paced by the wall clock.

    def _live_turn(self, source: LiveSource) -> None:
        feed = self.feed
        assert isinstance(feed, LiveFeed)
        rate = self.settings.rate
        due = int((monotonic_s() - self.began_s) * rate)
        behind = due - self.generated
        self.generated = due
        count = min(behind, max(1, int(rate * LIVE_BURST_S)))
        if count > 0:
            feed.add(source.generate(count, now_us()))
