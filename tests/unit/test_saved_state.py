"""A strategy's save and load: its next life goes on where the last checkpoint found it, and hears what came since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
from houses import House, house_config

from actors.strategies import Fill, Strategy, Tick
from protocol.errors import SavedStateError
from protocol.messages import Failed, Parked
from protocol.records import Checkpoint, OrderPlace, RunEvent
from protocol.settings import Config
from protocol.state import STATE_BYTES_MAX, decode_strategy_state
from supervisor.handed import make_run
from supervisor.run_dir import begin_page

EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")
FEED = "[market_data]\nrate = 2000\n"
ROWS = 400


class Counting(Strategy):
    """Counts what it has seen, over all its lives; buys and sells in turn every tenth tick."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.fills: list[int] = []
        self.events: list[str] = []

    def on_start(self) -> None:
        self.events.append("start")

    def on_tick(self, tick: Tick) -> None:
        self.seen.append(tick.time)
        if len(self.seen) % 10 == 0:
            (self.buy if len(self.seen) % 20 else self.sell)("EURUSD", 1)

    def on_fill(self, fill: Fill) -> None:
        self.events.append("fill")
        self.fills.append(fill.order_id)

    def save(self) -> Any:
        return {"seen": self.seen, "fills": self.fills}

    def load(self, state: Any) -> None:
        self.events.append("load")
        self.seen, self.fills = list(state["seen"]), list(state["fills"])


class Vectorised(Counting):
    on_tick = Strategy.on_tick

    def on_ticks(self, batch: Any) -> None:
        self.seen += [int(time) for time in batch["timestamp"]]
        if len(self.seen) % 5 == 0:
            self.buy("EURUSD", 1)


class NoState(Counting):
    def save(self) -> Any:
        return None


class BadState(Counting):
    def save(self) -> Any:
        return object()


def csv_feed(directory: Path) -> str:
    lines = [f"2024-01-01T00:{i // 60:02}:{i % 60:02},1.1,1.2" for i in range(ROWS)]
    (directory / "rows.csv").write_text("\n".join(["timestamp,bid,ask", *lines]) + "\n", encoding="utf-8")
    return f'[market_data]\nsource = "csv"\npath = "{directory}/rows.csv"\nsymbol = "EURUSD"\nbars = [1]\n'


def config_of(directory: Path, kind: str, feed: str = FEED) -> Config:
    """A checkpoint every 20 records."""
    config = house_config(directory / "run", f"{__name__}:{kind}", feed)
    strategy = msgspec.structs.replace(config.strategies[0], slice=7)
    wal = msgspec.structs.replace(config.wal, checkpoint_records=20)
    return msgspec.structs.replace(config, strategies=[strategy], wal=wal)


def strategy_of(house: House) -> Any:
    return house.actors["strategy.one"].strategy


def last_checkpoint(house: House, *, with_strategy: bool = True) -> Checkpoint | None:
    found = [record for record in house.records() if isinstance(record, Checkpoint)]
    found = [record for record in found if bool(record.state_of("strategy.one")) == with_strategy]
    return found[-1] if found else None


def test_a_new_life_is_loaded_started_told_and_fed_from_where_the_checkpoint_found_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config_of(tmp_path, "Counting"), monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: last_checkpoint(house), "a checkpoint with the strategy's state")
        house.until(lambda: len(strategy_of(house).fills) > 5, "fills")
        missed = house.actors["strategy.one"].feed.position // 3 - len(strategy_of(house).seen)
        house.kill("strategy.one")
        record = last_checkpoint(house)
        assert record is not None
        row = record.state_of("strategy.one")
        assert row is not None
        state = decode_strategy_state(row[1])
        house.start("strategy.one")
        strategy = strategy_of(house)
        house.until(lambda: len(strategy.seen) > len(state.saved["seen"]) + 20, "ticks of the new life")
        assert strategy.events[:2] == ["load", "start"]
        assert strategy.seen[: len(state.saved["seen"])] == state.saved["seen"]
        assert house.actors["strategy.one"].feed.position // 3 - len(strategy.seen) == missed, "every tick once"
        assert sorted(strategy.seen) == strategy.seen
        house.until(lambda: len(strategy.fills) > len(state.saved["fills"]), "fills")
        own = [record.order_id for record in house.records() if isinstance(record, OrderPlace)]
        assert strategy.fills == own[: len(strategy.fills)], "each fill once, those while it was away too"


@pytest.mark.parametrize("kind", ["Counting", "Vectorised"])
def test_over_a_file_every_row_is_seen_once_and_no_tick_is_acted_on_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with House(config_of(tmp_path, kind, csv_feed(tmp_path)), monkeypatch) as house:
        house.start(*EVERYONE)
        for part in (4, 2):
            house.until(lambda part=part: len(strategy_of(house).seen) > ROWS // part, "a part of the file")
            house.until(lambda: last_checkpoint(house), "a checkpoint")
            house.kill("strategy.one")
            house.start("strategy.one")
            assert strategy_of(house).events[:2] == ["load", "start"]
        house.until(lambda: len(strategy_of(house).seen) >= ROWS, "the whole file")
        assert len(strategy_of(house).seen) == len(set(strategy_of(house).seen)) == ROWS
        places = [record.market_position for record in house.records() if isinstance(record, OrderPlace)]
        assert len(places) == len(set(places))
        assert places == sorted(places)


def test_a_strategy_that_saves_nothing_is_warmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with House(config_of(tmp_path, "NoState"), monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: last_checkpoint(house, with_strategy=False), "a checkpoint without its state")
        first = strategy_of(house).seen[0]
        house.kill("strategy.one")
        house.start("strategy.one")
        house.until(lambda: strategy_of(house).seen, "ticks")
        assert strategy_of(house).events[0] == "start"
        assert strategy_of(house).seen[0] <= first, "from the first tick that there still is"


class TooMuch(Counting):
    def save(self) -> Any:
        return "x" * (STATE_BYTES_MAX + 1)


def test_a_state_that_is_too_large_is_warned_of_where_it_is_made_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 64 MiB no pipe would carry it, and nobody would hear of it."""
    with House(config_of(tmp_path, "TooMuch"), monkeypatch) as house:
        with structlog.testing.capture_logs() as logs:
            house.start(*EVERYONE)
            assert house.actors["strategy.one"]._take_state() == b""
        told = [log for log in logs if log["event"] == "state_too_large" and log["child"] == "strategy.one"]
        assert told[0]["bytes_max"] == STATE_BYTES_MAX < told[0]["bytes"]


class NeverLoads(Counting):
    def load(self, state: Any) -> None:
        raise ValueError("not mine")


def leave_a_state(house: House) -> int:
    """A run has ended with a saved state in the journal, and a new one begins; returns what the state is as of."""
    house.start(*EVERYONE)
    house.until(lambda: len(strategy_of(house).seen) > 20, "ticks")
    take_checkpoint(house)
    found = last_checkpoint(house)
    begin_new_run(house, b"1" * 16)
    row = found and found.state_of("strategy.one")
    assert row
    return row[0]


def begin_new_run(house: House, boot_id: bytes) -> None:
    for name in EVERYONE:
        house.kill(name)
        begin_page(house.run_dir, name)
    house.run = make_run(house.config, boot_id, RunEvent.START, "operator")
    house.said.clear()


def with_class(house: House, kind: str) -> None:
    strategy = msgspec.structs.replace(house.config.strategies[0], class_path=f"{__name__}:{kind}")
    house.config = msgspec.structs.replace(house.config, strategies=[strategy])


def no_checkpoints(directory: Path) -> Config:
    """But those that the test takes."""
    config = config_of(directory, "Counting")
    return msgspec.structs.replace(config, wal=msgspec.structs.replace(config.wal, checkpoint_records=0))


def test_a_state_of_another_class_under_the_same_name_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(no_checkpoints(tmp_path), monkeypatch) as house:
        leave_a_state(house)
        with_class(house, "NeverLoads")
        with structlog.testing.capture_logs() as logs:
            house.start(*EVERYONE)
        assert [log["saved_by"] for log in logs if log["event"] == "state_of_another_class"] == [f"{__name__}:Counting"]
        house.until(lambda: strategy_of(house).seen, "ticks")
        assert strategy_of(house).events[0] == "start"


def test_a_load_that_raises_is_told_with_the_strategy_the_lsn_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(no_checkpoints(tmp_path), monkeypatch) as house:
        lsn = leave_a_state(house)
        monkeypatch.setattr(Counting, "load", NeverLoads.load)
        with pytest.raises(SavedStateError) as told:
            house.start(*EVERYONE)
        for words in ("'one'", f"LSN {lsn}", "ValueError: not mine", "--forget-state one"):
            assert words in str(told.value)
        house.actors["strategy.one"]._report(told.value)
        house.until(lambda: any(isinstance(m, Failed) and m.is_lasting for _, m in house.said), "its last word")


def test_a_state_that_is_forgotten_is_not_loaded_and_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(no_checkpoints(tmp_path), monkeypatch) as house:
        lsn = leave_a_state(house)
        house.forget_states = ("one",)
        house.start(*EVERYONE)
        assert strategy_of(house).events[0] == "start"
        house.until(lambda: is_gone(house, lsn), "a checkpoint without it")
        house.until(lambda: len(strategy_of(house).seen) > 20, "ticks")
        take_checkpoint(house)
        house.kill("strategy.one")
        house.start("strategy.one")
        assert strategy_of(house).events[0] == "load", "what this run has saved counts"


def is_gone(house: House, lsn: int) -> bool:
    rows = [record.state_of("strategy.one") for record in house.records() if isinstance(record, Checkpoint)]
    return len(rows) > 1 and (rows[-1] is None or rows[-1][0] > lsn)
@pytest.mark.parametrize("kind", ["Counting", "NoState"])
def test_only_a_strategy_without_saved_state_is_parked_where_the_config_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = config_of(tmp_path, kind)
    config = msgspec.structs.replace(
        config, strategies=[msgspec.structs.replace(config.strategies[0], on_restart="parked")]
    )
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        take_checkpoint(house)
        house.until(lambda: strategy_of(house).seen, "ticks")
        house.kill("strategy.one")
        house.spawn("strategy.one").begin(house.run)
        one = house.actors["strategy.one"]
        house.until(lambda: one.is_ready or ("strategy.one#2", Parked("one")) in house.said, "READY, or its last word")
        assert one.is_ready == one.loop._running == (kind == "Counting")
        assert strategy_of(house).events == (["load", "start"] if kind == "Counting" else [])


def test_a_state_that_is_no_value_ends_that_strategy_and_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config_of(tmp_path, "BadState"), monkeypatch) as house:
        house.start(*EVERYONE)
        with pytest.raises(TypeError, match=r"save\(\)"):
            house.until(lambda: False, "never")
        house.kill("strategy.one")
        house.until(lambda: last_checkpoint(house, with_strategy=False), "a checkpoint without it")


class OnTimer(Counting):
    """Trades by a timer, so that a checkpoint may fall between a tick's timers and its on_tick."""

    def on_start(self) -> None:
        self.turns = 0
        self.every(10, self.on_timer)

    def on_timer(self) -> None:
        self.turns += 1
        (self.buy if self.turns % 2 else self.sell)("EURUSD", 1)

    def on_tick(self, tick: Tick) -> None:
        self.seen.append(tick.time)


class TakesProfit(Counting):
    """Buys once; sells what its fill tells it of."""

    def on_tick(self, tick: Tick) -> None:
        self.seen.append(tick.time)
        if len(self.seen) == 30 and not self.fills:
            self.buy("EURUSD", 1)

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill.order_id)
        if fill.side == "Buy":
            self.sell("EURUSD", 1, limit=5.0)


def take_checkpoint(house: House) -> None:
    wal = house.actors["wal"]
    count = wal.checkpoints.counters["checkpoints"]
    wal._begin_checkpoint()
    house.until(lambda: wal.checkpoints.counters["checkpoints"] > count, "the checkpoint")


def is_at_end(house: House) -> bool:
    actor = house.actors["strategy.one"]
    return actor.market.at_end and not actor.feed.outstanding and not actor.asked.unanswered


def test_no_state_says_that_a_tick_was_seen_which_on_tick_never_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config_of(tmp_path, "OnTimer", csv_feed(tmp_path)), monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: is_at_end(house), "the end of the file")
        rows = [record.state_of("strategy.one") for record in house.records() if isinstance(record, Checkpoint)]
        states = [decode_strategy_state(row[1]) for row in rows if row]
        assert len(states) > 3
        assert [state.feed.tick // 3 for state in states] == [len(state.saved["seen"]) for state in states]


def test_what_a_partial_slice_holds_is_fed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, "Vectorised", csv_feed(tmp_path))
    config = msgspec.structs.replace(config, wal=msgspec.structs.replace(config.wal, checkpoint_records=0))
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        feed = house.actors["strategy.one"].feed
        strategy = strategy_of(house)
        house.until(lambda: len(strategy.seen) > 50 and feed._slice and not feed.outstanding, "a partial slice")
        market_data = house.actors.pop("market_data")  # nothing more comes meanwhile
        take_checkpoint(house)
        house.actors["market_data"] = market_data
        house.kill("strategy.one")
        house.start("strategy.one")
        house.until(lambda: is_at_end(house), "the end of the file")
        assert len(strategy_of(house).seen) == len(set(strategy_of(house).seen)) == ROWS


def test_a_new_feed_is_seen_from_its_head_whatever_the_saved_state_has_seen_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(config_of(tmp_path, "Counting"), monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: len(strategy_of(house).seen) > 1000, "ticks of the first feed")
        take_checkpoint(house)
        for name in ("strategy.one", "market_data"):
            house.kill(name)
            house.start(name)
        for actor in house.actors.values():
            actor.peer("market_data")
        seen = len(strategy_of(house).seen)
        house.until(lambda: len(strategy_of(house).seen) > seen + 20, "ticks of the new feed")
        assert house.actors["market_data"].feed.tail_position // 3 < 1000, "long before the old one's count"


def test_in_a_new_run_nothing_is_done_again_about_what_was_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, "TakesProfit")
    config = msgspec.structs.replace(config, wal=msgspec.structs.replace(config.wal, checkpoint_records=0))
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: strategy_of(house).seen, "ticks")
        take_checkpoint(house)
        house.until(lambda: len(orders(house)) == 2, "the buy, and the sale that its fill led to")
        for name in EVERYONE:
            house.kill(name)
            begin_page(house.run_dir, name)
        house.run = make_run(config, b"1" * 16, RunEvent.START, "operator")
        house.said.clear()
        house.start(*EVERYONE)
        house.until(lambda: len(strategy_of(house).seen) > 60, "ticks of the new run")
        assert strategy_of(house).fills == [1], "it was told again"
        assert len(orders(house)) == 2


def orders(house: House) -> list[OrderPlace]:
    return [record for record in house.records() if isinstance(record, OrderPlace)]
