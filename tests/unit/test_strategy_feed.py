"""How chunks become hook calls: in order, with a stop after whatever sent something, in slices that a file fixes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from actors.base import Loop
from actors.page import HealthPage
from actors.strategies import Bar, Strategy, Tick
from actors.strategies.loading import load_strategy_class
from actors.strategy_feed import StrategyFeed
from protocol.codec import MarketKind, decode_market, encode_market
from protocol.errors import ConfigError
from protocol.settings import StrategySettings
from protocol.topics import BAR, TICK
from protocol.units import MICROS

SECOND_US = 1_000_000
OWN = {0: "EURUSD"}


class Feeder:
    """A feed over a real page and loop; the strategy writes what it is called with into `seen`."""

    def __init__(self, page: HealthPage, strategy: Strategy, *, is_file: bool = True, slice_ticks: int = 4) -> None:
        self.waiting = False
        self.done: list[int] = []
        self.next_tick = 1
        actor: Any = SimpleNamespace(
            page=page, loop=Loop(page), log=structlog.get_logger(),
            config=SimpleNamespace(market_data=SimpleNamespace(is_file=is_file)),
        )  # fmt: skip
        self.feed = StrategyFeed(actor, must_wait=lambda: self.waiting, on_chunk_done=self.done.append)
        self.feed.attach(strategy, OWN, slice_ticks)

    def ticks(self, *ticks: tuple[int, int]) -> None:
        """A chunk of (symbol id, second)s; the bid is the second."""
        records = b"".join(TICK.pack(0, sid, at * SECOND_US, at * MICROS, at * MICROS) for sid, at in ticks)
        (piece,) = decode_market(encode_market(MarketKind.TICKS, len(ticks), records))
        self.feed.on_ticks(self.next_tick, piece)
        self.next_tick += len(ticks)
        self.feed.end_chunk(3 * self.next_tick - 1)

    def seconds(self, *seconds: int) -> None:
        self.ticks(*[(0, second) for second in seconds])

    def bars(self, *symbol_ids: int) -> None:
        prices = [number * MICROS for number in (1, 4, 0, 2, 9)]
        records = b"".join(BAR.pack(1, symbol_id, 5, 60 * SECOND_US, *prices) for symbol_id in symbol_ids)
        (piece,) = decode_market(encode_market(MarketKind.BARS, len(symbol_ids), records))
        self.feed.on_bars(1, piece)


class Seeing(Strategy):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_tick(self, tick: Tick) -> None:
        self.seen.append(tick.bid)

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar)


class Slices(Strategy):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_ticks(self, batch: Any) -> None:
        assert batch.dtype.names[-4:] == ("symbol_id", "timestamp", "bid", "ask")
        self.seen.append([int(bid) // MICROS for bid in batch["bid"]])


@pytest.fixture
def page(tmp_path: Path) -> Iterator[HealthPage]:
    opened = HealthPage.open(tmp_path / "a.page", writable=True)
    yield opened
    opened.close()


def test_ticks_of_other_symbols_pass_unseen_and_count_as_positions(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Seeing())
    feeder.ticks((0, 1), (9, 2), (0, 3))
    feeder.feed.go_on()
    assert (strategy.seen, feeder.feed.position, feeder.feed.ticks) == ([1.0, 3.0], 11, 3)
    assert (feeder.done, feeder.feed.outstanding) == ([11], 0)


def test_a_chunk_is_done_when_its_last_hook_has_returned_and_not_before(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Seeing())
    feeder.seconds(1, 2)
    feeder.waiting = True
    feeder.feed.go_on()
    assert (strategy.seen, feeder.done, feeder.feed.outstanding) == ([], [], 2)
    feeder.waiting = False
    feeder.feed.go_on()
    assert (strategy.seen, feeder.done) == ([1.0, 2.0], [8])


def test_after_a_hook_that_sent_something_nothing_is_fed_until_the_answer(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Seeing())
    on_tick = strategy.on_tick

    def send_at_two(tick: Tick) -> None:
        on_tick(tick)
        if tick.bid == 2.0:
            feeder.feed.pause = feeder.waiting = True

    strategy.on_tick = send_at_two
    feeder.feed.attach(strategy, OWN, 4)
    feeder.seconds(1, 2, 3, 4)
    feeder.feed.go_on()
    feeder.feed.go_on()
    assert strategy.seen == [1.0, 2.0]
    feeder.waiting = False
    feeder.feed.go_on()
    assert strategy.seen == [1.0, 2.0, 3.0, 4.0]


def test_bars_come_between_the_ticks_where_they_stand(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Seeing())
    feeder.seconds(1)
    feeder.bars(9, 0)
    feeder.seconds(2)
    feeder.feed.go_on()
    assert strategy.seen == [1.0, Bar("EURUSD", 5, 60.0, 1.0, 4.0, 0.0, 2.0, 9.0), 2.0]


@pytest.mark.parametrize("cut", [[10], [1] * 10, [3, 3, 3, 1], [5, 5]])
def test_a_file_s_slices_are_fixed_whatever_the_chunks(page: HealthPage, cut: list[int]) -> None:
    feeder = Feeder(page, strategy := Slices())
    second = 0
    for size in cut:
        feeder.seconds(*range(second + 1, second + size + 1))
        second += size
        feeder.feed.go_on()
    assert strategy.seen == [[1, 2, 3, 4], [5, 6, 7, 8]]
    feeder.feed.on_end()
    feeder.feed.go_on()
    assert strategy.seen == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_a_live_feed_s_slices_are_what_there_is(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Slices(), is_file=False)
    feeder.seconds(1)
    feeder.seconds(2, 3, 4, 5, 6)
    feeder.feed.go_on()
    assert strategy.seen == [[1], [2, 3, 4, 5, 6]]


@pytest.mark.parametrize("strategy", [Seeing(), Slices()], ids=["ticks", "slices"])
def test_timers_follow_the_data_s_clock_and_miss_no_turn(page: HealthPage, strategy: Any) -> None:
    feeder, turns = Feeder(page, strategy), list[int]()
    feeder.feed.every(2, lambda: turns.append(feeder.feed.position))
    for second in (10, 11, 12, 13, 19):
        feeder.seconds(second)
    feeder.feed.go_on()
    assert turns == [11, 17, 17, 17], "first after one interval from the first tick"


def test_a_timer_comes_before_the_tick_at_which_it_is_due(page: HealthPage) -> None:
    feeder = Feeder(page, strategy := Seeing())
    feeder.feed.every(1, lambda: strategy.seen.append("timer"))
    feeder.seconds(1, 2, 3)
    feeder.feed.go_on()
    assert strategy.seen == [1.0, "timer", 2.0, "timer", 3.0]


@pytest.mark.parametrize("seconds", [0, -1, 0.0000001, float("nan")])
@pytest.mark.parametrize("is_file", [True, False])
def test_a_timer_without_a_pause_is_refused(page: HealthPage, seconds: float, is_file: bool) -> None:
    feeder = Feeder(page, Seeing(), is_file=is_file)
    with pytest.raises(ValueError, match=r"at least 0\.001 seconds"):
        feeder.feed.every(seconds, lambda: None)


@pytest.mark.parametrize(("hook", "shown"), [("on_tick", "Tick(EURUSD, bid=2.0"), ("on_bar", "Bar(symbol='EURUSD'")])
def test_a_hook_that_raises_is_logged_with_what_it_was_called_with(page: HealthPage, hook: str, shown: str) -> None:
    strategy: Any = Seeing()

    def fail(value: Any) -> None:
        if getattr(value, "bid", 2.0) == 2.0:
            raise ZeroDivisionError

    fail.__name__ = hook
    setattr(strategy, hook, fail)
    feeder = Feeder(page, strategy)
    feeder.seconds(1)
    feeder.bars(0)
    feeder.seconds(2)
    if hook == "on_tick":
        strategy.on_bar = lambda bar: None
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        feeder.feed.go_on()
    (line,) = logs
    assert (line["event"], line["hook"], shown in line["arguments"]) == ("hook_failed", hook, True)


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        ("no_such_module:Class", "cannot be imported: ModuleNotFoundError"),
        ("actors.strategies.sma_cross:Nothing", "has no Strategy named Nothing"),
        ("actors.strategies.sma_cross:OPEN_STATUSES", "has no Strategy named OPEN_STATUSES"),
        ("pathlib:Path", "has no Strategy named Path"),
        ("broken_module:Class", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_class_that_cannot_be_had_is_a_mistake_that_names_the_key(
    path: str, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_strategy_class(3, StrategySettings(name="a", class_path=path, symbols=[]))
    (text,) = caught.value.mistakes
    assert text.startswith(f"strategies[3].class = {path!r}: ")
    assert mistake in text


def test_a_class_anywhere_importable_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from actors.strategies import Strategy\nclass Mine(Strategy): ...\n"
    (tmp_path / "my_strategies.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = load_strategy_class(0, StrategySettings(name="a", class_path="my_strategies:Mine", symbols=[]))
    assert (found.__module__, found.__name__) == ("my_strategies", "Mine")


@pytest.mark.parametrize(
    ("params", "mistakes"),
    [
        ({"window": 3, "quantity": 2.0}, []),
        ({"windw": 3}, ["strategies[0].params.windw: Mine has no such attribute; it has quantity, window"]),
        ({"buy": 3, "on_tick": 1}, ["strategies[0].params.buy", "strategies[0].params.on_tick"]),
    ],
)
def test_params_that_the_class_does_not_have_or_must_not_lose_are_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], mistakes: list[str]
) -> None:
    (tmp_path / "mine_with_params.py").write_text(
        "from actors.strategies import Strategy\n\n\nclass Mine(Strategy):\n    window = 5\n    quantity: float\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = StrategySettings(name="a", class_path="mine_with_params:Mine", symbols=[], params=params)
    if not mistakes:
        assert load_strategy_class(0, settings).__name__ == "Mine"
        return
    with pytest.raises(ConfigError) as refused:
        load_strategy_class(0, settings)
    assert [text[: len(start)] for text, start in zip(refused.value.mistakes, mistakes, strict=True)] == mistakes
