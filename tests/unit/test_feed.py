"""The market stream's content: what a file feed owes everyone, what a live feed owes nobody, and how both come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from houses import house_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streams import TRANSPORTS, Clock, Wire, csv_market, open_wire, until

from actors.base import Actor, Place
from actors.feed import FILE_CHUNK_TICKS, FILE_WINDOW_CHUNKS, LIVE_WINDOW_TICKS, FileFeed, LiveFeed, is_end
from actors.market import MarketClient
from actors.market_data import MarketData
from actors.sources import FileSource, LiveSource, make_source
from actors.stream import TAIL_EVERY_S, Chunk
from protocol.codec import MarketPayload
from protocol.messages import HEAD
from protocol.pipeline import MARKET
from protocol.records import EngineRun
from protocol.settings import Config
from protocol.topics import TICK

IDS = {"EURUSD": 0}
CONSUMERS = ("risk", "order_routing", "gateway", "strategy.sma")
"""Whom market_data waits for, by the config of streams.py."""


def file_feed(directory: Path, rows: int, chunk_ticks: int = 4, bars: str = "[]") -> FileFeed:
    config = house_config(directory, "actors.strategies.sma_cross:SmaCross", csv_market(directory, rows, bars))
    source = make_source(config, IDS, 1)
    assert source.is_file is True
    file_source: FileSource = source
    return FileFeed(file_source, config.market_data.bars, chunk_ticks)


def fill(feed: FileFeed) -> None:
    while feed.has_room:
        feed.advance()


def read_all(feed: FileFeed, name: str, position: int = 0) -> list[int]:
    """The first positions of everything that one consumer reads, which is the only one."""
    found: list[int] = []
    while True:
        fill(feed)
        chunk = feed.read(name, position)
        if chunk is None:
            return found
        found.append(chunk.first_position)
        position = chunk.next_position
        feed.drop(position)


# A file's feed by itself.


def test_a_file_is_chunks_of_ticks_and_then_the_end(tmp_path: Path) -> None:
    feed = file_feed(tmp_path, rows=10)
    assert read_all(feed, "risk") == [5, 17, 29, 34]  # ticks 1-4, 5-8, 9-10, and the end in the place of tick 11
    assert (feed.at_end, feed.tail_position) == (True, 35)


def test_the_window_moves_only_with_what_all_have_done_with(tmp_path: Path) -> None:
    feed = file_feed(tmp_path, rows=40)
    fill(feed)
    assert feed.tail_position == 3 * (4 * FILE_WINDOW_CHUNKS + 1) - 1
    feed.drop(3 * 5 - 1)  # one position short of the first chunk's end
    assert not feed.has_room
    feed.drop(3 * 5)
    assert feed.has_room
    fill(feed)
    assert feed.tail_position == 3 * (4 * (FILE_WINDOW_CHUNKS + 1) + 1) - 1


def test_a_feed_tells_where_it_is_by_the_datas_clock(tmp_path: Path) -> None:
    feed = file_feed(tmp_path, rows=10)
    times = [batch.first_time_us for batch in feed._source.batches(4)]
    told = [feed.data_time_us]
    while feed.has_room:
        feed.advance()
        told.append(feed.data_time_us)
        feed.drop(feed.tail_position - 5)
    assert told == [0, *times, times[-1]], "the end has no time of its own"


def test_who_asks_for_what_has_left_the_window_reads_the_file_again_until_it_is_there(tmp_path: Path) -> None:
    feed = file_feed(tmp_path, rows=40)
    for position in (15, 27, 39, 51):
        fill(feed)
        feed.drop(position)
    fill(feed)
    whole = [5, *range(17, 120, 12), 124]
    position, found = 0, []
    while (chunk := feed.read("strategy.one", position)) is not None:
        found.append(chunk.first_position)
        position = chunk.next_position
    assert found == [first for first in whole if first < feed.tail_position], "up to what the others have, no further"
    fresh = feed.read("strategy.two", 0)
    again = feed.read("strategy.one", 0)
    assert fresh == again, "each reads by itself, from the same bytes"


def content(chunk: Chunk | None) -> Chunk:
    """Apart from the message that carries it once more."""
    assert chunk is not None
    return chunk._replace(message=None)


@pytest.mark.parametrize("bars", ["[]", "[1]"])
@pytest.mark.parametrize("reached", [0, 1, 3, 9, 10])
def test_a_feed_that_comes_back_goes_on_at_any_position_with_the_same_chunks(
    tmp_path: Path, reached: int, bars: str
) -> None:
    whole = file_feed(tmp_path, rows=130, chunk_ticks=13, bars=bars)
    chunks, position = [], 0
    while not whole.at_end or whole.read("x", position):
        fill(whole)
        chunk = whole.read("x", position)
        assert chunk is not None
        chunks.append(chunk)
        position = chunk.next_position
        whole.drop(position)
    assert len(chunks) == 11
    again = file_feed(tmp_path, rows=130, chunk_ticks=13, bars=bars)
    assert again.epoch == whole.epoch
    start = chunks[reached].first_position
    again.seek(start)
    fill(again)
    assert content(again.read("x", start)) == content(chunks[reached])
    assert content(again.read("late", 0)) == content(chunks[0]), "what lies before can still be asked for"


def test_a_feed_whose_consumers_have_all_read_the_end_comes_back_at_its_end(tmp_path: Path) -> None:
    feed = file_feed(tmp_path, rows=10)
    feed.seek(10_000)
    fill(feed)
    assert feed.at_end
    chunk = feed.read("risk", 33)
    assert chunk is not None
    assert is_end(chunk)


# A live feed by itself.


def live_feed() -> tuple[LiveFeed, Callable[[int], None]]:
    config = house_config(Path("unused"), "actors.strategies.sma_cross:SmaCross", "[market_data]\nrate = 1000\n")
    source = make_source(config, IDS, 1)
    assert source.is_file is False
    live: LiveSource = source
    feed = LiveFeed(live, [])
    return feed, lambda count: feed.add(live.generate(count, 1_700_000_000_000_000))


def test_a_live_feed_keeps_a_bounded_ring_and_its_newest_whatever_its_size() -> None:
    feed, add = live_feed()
    for _ in range(3):
        add(LIVE_WINDOW_TICKS // 2)
    assert sum(chunk.items for chunk in feed._window) == LIVE_WINDOW_TICKS
    add(LIVE_WINDOW_TICKS + 1)
    newest = feed.read("risk", 0)
    assert newest is not None
    assert newest.items == LIVE_WINDOW_TICKS + 1


def test_who_falls_behind_the_ring_is_told_how_much_it_missed() -> None:
    feed, add = live_feed()
    for _ in range(4):
        add(LIVE_WINDOW_TICKS // 2)
    first_kept = LIVE_WINDOW_TICKS + 1
    chunk = feed.read("risk", 3 * 101)  # it has consumed ticks up to 100
    assert chunk is not None
    assert (chunk.first_position, chunk.gap) == (3 * first_kept + 2, first_kept - 101)
    following = feed.read("risk", chunk.next_position)
    assert following is not None
    assert (following.gap, following.first_position) == (0, 3 * (first_kept + LIVE_WINDOW_TICKS // 2) + 2)
    assert feed.read("risk", following.next_position) is None


def test_every_chunk_of_a_long_ring_is_found_from_any_position() -> None:
    feed, add = live_feed()
    for _ in range(2_000):
        add(3)
    position = 0
    for number in range(2_000):
        chunk = feed.read("risk", position)
        assert chunk is not None
        assert (chunk.first_position, chunk.gap) == (3 * (3 * number + 1) + 2, 0)
        position = chunk.next_position
    assert feed.read("risk", position) is None


# The market_data actor and its consumers.


class Watcher(Actor):
    """A consumer that keeps what it sees, and can be slow."""

    def __init__(self, place: Place, from_first: bool = False) -> None:
        super().__init__(place)
        self.ticks: list[int] = []
        self.gaps = 0
        self.ends = self.bars = 0
        self.holds = False
        self.market = MarketClient(self, self, from_first=from_first, on_chunk=self._done)
        self.market.start()

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        assert len(payload.records) == payload.items * TICK.size
        self.ticks += range(first_tick, first_tick + payload.items)

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None:
        self.bars += payload.items

    def on_end(self) -> None:
        self.ends += 1

    def _done(self, position: int) -> None:
        self.page.set_market(self.market.epoch, position)
        if self.holds:
            self.market.stream.hold_credit()


class Market:
    """market_data and those that it waits for, each turned, killed and started by the test."""

    def __init__(self, wire: Wire, config: Config, *, slow: tuple[str, ...] = ()) -> None:
        self.wire, self.config = wire, config
        self.lives: dict[str, int] = {}
        self.actors: dict[str, Any] = {}
        self.seen: dict[str, list[int]] = {name: [] for name in CONSUMERS}
        """Of the lives that have ended."""
        self.start("market_data")
        for name in CONSUMERS:
            self.start(name)
            self.actors[name].holds = name in slow

    def start(self, name: str) -> None:
        life = self.lives[name] = self.lives.get(name, 0) + 1
        place = self.wire.place(name, life, self.config)
        if name == "market_data":
            actor = MarketData(place)
            actor.begin(RUN)
        else:
            actor = Watcher(place)
        self.actors[name] = actor

    def restart(self, name: str) -> None:
        actor = self.actors.pop(name)
        actor.close_sockets()
        if name != "market_data":
            self.seen[name] += actor.ticks
        self.start(name)
        if name == "market_data":
            for consumer in CONSUMERS:
                self.watcher(consumer).market.stream.say_hello()  # at the supervisor's PEER

    def turn(self, *names: str) -> None:
        for name in names or list(self.actors):
            self.actors[name].loop.turn()

    def watcher(self, name: str) -> Watcher:
        return self.actors[name]

    def all_at_end(self) -> bool:
        return all(self.watcher(name).market.at_end for name in CONSUMERS)

    def ticks(self, name: str) -> list[int]:
        return self.seen[name] + self.watcher(name).ticks


RUN = EngineRun(
    b"j" * 16, 0, "operator", "0", b"h" * 16, b"b" * 16, 0, bytes(16), "USD", 100, (("EURUSD", 1_000_000),), ("sma",),  # type: ignore[arg-type]
)  # fmt: skip


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_everyone_gets_every_tick_of_a_file_once_and_in_order_and_then_the_end(wire: Wire, clock: Clock) -> None:
    rows = FILE_CHUNK_TICKS * 9 + 5
    market = Market(wire, wire.config(csv_market(wire.run_dir, rows, "[1]")))
    until(market.all_at_end, market.turn, what="the end")
    for name in CONSUMERS:
        assert market.ticks(name) == list(range(1, rows + 1))
        assert (market.watcher(name).ends, market.watcher(name).bars) == (1, 5)


def test_nobody_is_further_ahead_of_the_slowest_than_the_window(wire: Wire, clock: Clock) -> None:
    rows = FILE_CHUNK_TICKS * 30
    market = Market(wire, wire.config(csv_market(wire.run_dir, rows)), slow=("gateway",))
    slow, fast = market.watcher("gateway"), market.watcher("risk")
    window = FILE_CHUNK_TICKS * FILE_WINDOW_CHUNKS
    watchers = [market.watcher(name) for name in CONSUMERS]
    until(lambda: len(fast.ticks) == window, market.turn, what="one window")
    for done in range(1, 8):
        for _ in range(8):  # two seconds of waiting move nothing
            clock.advance(TAIL_EVERY_S)
            until(lambda: all(one.market.stream._heard_s == clock.now_s for one in watchers), market.turn, what="tails")
        assert len(fast.ticks) == len(slow.ticks) == window + (done - 1) * FILE_CHUNK_TICKS
        slow.market.stream.release_credit(1)
        until(lambda done=done: len(fast.ticks) == window + done * FILE_CHUNK_TICKS, market.turn)


@pytest.mark.parametrize("missing", CONSUMERS)
def test_a_file_waits_for_everyone_whom_the_config_names(wire: Wire, clock: Clock, missing: str) -> None:
    market = Market(wire, wire.config(csv_market(wire.run_dir, 50)), slow=())
    market_data = market.actors["market_data"]
    others = [name for name in market.actors if name != missing]
    until(lambda: len(market_data.server.consumers) >= 3, lambda: market.turn(*others))
    before = {name: len(market.ticks(name)) for name in CONSUMERS}
    for _ in range(20):
        market.turn(*others)
    if missing not in {consumer.name for consumer in market_data.server.consumers.values()}:
        assert before == dict.fromkeys(CONSUMERS, 0)
    until(market.all_at_end, market.turn, what="the end")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("turn", "turn", "turn", "kill")), st.sampled_from((*CONSUMERS, "market_data"))),
        max_size=60,
    )
)
def test_whoever_dies_and_whenever_no_tick_of_a_file_is_lost_or_seen_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    """Positions outlive the source's restart; a new life goes on after the position on its page."""
    directory, rows = tmp_path_factory.mktemp("run"), FILE_CHUNK_TICKS * 12 + 7
    with pytest.MonkeyPatch.context() as patch, open_wire("ipc", directory) as wire:
        clock = Clock(patch)  # slow beside the pipes: what repeats itself faster than they carry drowns them
        market = Market(wire, wire.config(csv_market(directory, rows)))
        for action, name in steps:
            if action == "kill":
                market.restart(name)
            else:
                market.turn(name, "market_data")
        until(market.all_at_end, market.turn, lambda: clock.advance(0.001), what="the end")
        for name in CONSUMERS:
            assert market.ticks(name) == list(range(1, rows + 1))


def test_a_life_that_begins_anew_reads_a_file_from_its_first_row_and_the_others_wait(wire: Wire, clock: Clock) -> None:
    rows = FILE_CHUNK_TICKS * 12
    market = Market(wire, wire.config(csv_market(wire.run_dir, rows)))
    until(lambda: len(market.ticks("risk")) > rows // 2, market.turn)
    market.actors["gateway"].page.set_market(b"", 0)  # nothing is known of the former life
    market.seen["gateway"] = []
    market.watcher("gateway").ticks.clear()
    market.restart("gateway")
    until(market.all_at_end, market.turn, lambda: clock.advance(0.05), what="the end")
    assert market.ticks("gateway") == list(range(1, rows + 1))
    assert market.ticks("risk") == list(range(1, rows + 1))


def test_a_live_feed_begins_at_its_head_or_for_who_is_warmed_at_the_first_tick_it_has(
    wire: Wire, clock: Clock
) -> None:
    market = Market(wire, wire.config("[market_data]\nrate = 1000\n"))

    def run(condition: Callable[[], Any]) -> None:
        until(condition, market.turn, lambda: clock.advance(0.01))

    run(lambda: len(market.ticks("risk")) > 50)
    late = market.actors["late"] = Watcher(wire.place("late", 1, market.config))
    warmed = market.actors["warmed"] = Watcher(wire.place("warmed", 1, market.config), from_first=True)
    run(lambda: late.ticks and warmed.ticks)
    assert late.ticks[0] > 50
    assert warmed.ticks[0] == 1


def test_a_live_feed_that_comes_back_is_a_new_history_from_its_head(tmp_path: Path, clock: Clock) -> None:
    with open_wire("ipc", tmp_path) as wire:
        market = Market(wire, wire.config("[market_data]\nrate = 1000\n"))
        watcher = market.watcher("risk")
        until(lambda: len(watcher.ticks) > 50, market.turn, lambda: clock.advance(0.01))
        first = watcher.market.epoch
        market.restart("market_data")
        until(lambda: watcher.market.epoch != first, market.turn, lambda: clock.advance(0.001))
        old = len(watcher.ticks)
        until(lambda: len(watcher.ticks) > old + 50, market.turn, lambda: clock.advance(0.001))
        new = watcher.ticks[old:]
        assert new == list(range(new[0], new[-1] + 1))
        assert watcher.market.stream.counters["gap_items"] == 0


def test_a_live_feed_waits_for_nobody_and_counts_what_a_slow_consumer_missed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.feed.LIVE_WINDOW_TICKS", 200)
    with open_wire("inproc", tmp_path) as wire:
        market = Market(wire, wire.config("[market_data]\nrate = 1000\n"), slow=("gateway",))
        slow, fast = market.watcher("gateway"), market.watcher("risk")
        until(lambda: len(slow.ticks) > 0, market.turn, lambda: clock.advance(0.01))
        until(lambda: len(fast.ticks) > 2_000, market.turn, lambda: clock.advance(0.01))
        assert fast.ticks == list(range(fast.ticks[0], fast.ticks[-1] + 1))
        seen = len(slow.ticks)
        slow.holds = False
        slow.market.stream.release_credit(MARKET.limit)
        until(lambda: len(slow.ticks) > seen + 100, market.turn, lambda: clock.advance(0.01))
        missed = slow.ticks[seen] - slow.ticks[seen - 1] - 1
        assert missed > 1_000
        assert slow.market.stream.counters["gap_items"] == missed
        assert slow.ticks[seen:] == list(range(slow.ticks[seen], slow.ticks[-1] + 1))


def test_head_asks_for_what_is_new(tmp_path: Path, clock: Clock) -> None:
    with open_wire("ipc", tmp_path) as wire:
        assert not wire.config().market_data.is_file
        watcher = Watcher(wire.place("risk"))
        assert watcher.market.stream.start_position == HEAD
