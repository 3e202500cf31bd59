"""SIGKILL to any child at any moment: it comes back by itself, nothing is sent or booked twice, nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from crashes import (
    CHILDREN,
    FILES,
    Tail,
    acted_on,
    assert_sound,
    halt_and_compare,
    kill,
    often,
    trading_engine,
)
from harness import NO_DEADLINES, EngineUnderTest, Tree, config_tree, wait_for
from journal_reader import FILL, HALTED, STOP
from observer import Observer
from wal_kills import assert_nothing_seen_is_lost, kill_group, kill_wal

PAIRS = (
    ("wal", "risk"),
    ("wal", "order_routing"),
    ("wal", "gateway"),
    ("risk", "strategy.often"),
    ("risk", "order_routing"),
    ("strategy.often", "market_data"),
    ("order_routing", "market_data"),
)
"""Those that wait for each other; the long run (kill_loop.py) takes all."""


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """One engine for all that is done to it here; each test leaves it trading."""
    with trading_engine(tmp_path_factory.mktemp("kills")) as engine:
        Tail(engine).wait_for_fills("the start")
        yield engine


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_child_comes_back_and_the_engine_goes_on(trading: EngineUnderTest, name: str) -> None:
    tail = Tail(trading)
    lsn = tail.read().lsn
    kill(trading, name)
    tail.wait_for_fills(f"the death of {name}")
    assert tail.lsn > lsn
    assert_sound(trading)


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_two_that_are_killed_at_once_come_back_and_the_engine_goes_on(
    trading: EngineUnderTest, names: tuple[str, str]
) -> None:
    kill(trading, *names)
    Tail(trading).wait_for_fills(f"the deaths of {names}")


def test_all_children_killed_at_once_come_back_and_the_engine_goes_on(trading: EngineUnderTest) -> None:
    kill(trading, *CHILDREN)
    Tail(trading).wait_for_fills("the death of all")
    assert_sound(trading)


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_that_is_killed_again_on_its_way_back_comes_back_all_the_same(
    trading: EngineUnderTest, name: str
) -> None:
    deaths = len(trading.log_events("child_died", name=name))
    first = trading.kill(name)
    second = wait_for(lambda: _other_than(first, trading.child_pid(name)), f"the next process of {name}")
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: len(trading.log_events("child_died", name=name)) == deaths + 2, f"both deaths of {name}")
    lives = trading.log_events("child_died", name=name)[-2:]
    assert lives[1]["incarnation"] == lives[0]["incarnation"] + 1
    wait_for(
        lambda: trading.log_events("child_ready", name=name, incarnation=lives[1]["incarnation"] + 1),
        f"the third life of {name}",
    )
    Tail(trading).wait_for_fills(f"two deaths of {name}")
    assert_sound(trading)


def _other_than(pid: int, found: int) -> int:
    return found if found != pid else 0


def test_a_wal_that_dies_with_appends_in_flight_loses_and_doubles_none(trading: EngineUnderTest) -> None:
    for _ in range(3):
        wal = trading.child_pid("wal")
        os.kill(wal, signal.SIGSTOP)  # what is appended from now on lies in pipes and in its producers' hands
        before = trading.journal[-1].lsn
        ticks = trading.broadcast(0)
        wait_for(lambda ticks=ticks: len(ticks.receive()) > 200, "ticks that make signals")
        assert trading.journal[-1].lsn == before
        kill(trading, "wal")
        Tail(trading).wait_for_fills("the death of a wal with appends in flight")
    assert_sound(trading)


def test_a_strategy_that_is_killed_is_warmed_and_acts_on_no_tick_again(trading: EngineUnderTest) -> None:
    for _ in range(3):
        orders = len(acted_on(trading))
        kill(trading, "strategy.often")
        wait_for(lambda orders=orders: len(acted_on(trading)) > orders + 2, "orders of the new life")
    assert_sound(trading)
    # Fed again with signals suppressed: that is what warming is. Told once a second, and once before it began.
    wait_for(
        lambda: any(row["name"] == "strategy.often" and row["counters"]["suppressed"] for row in _statistics(trading)),
        "suppressed signals in HEALTH",
    )


def test_what_a_consumer_has_seen_is_in_the_journal_whoever_is_killed(tmp_path: Path) -> None:
    """The long run of this, a hundred kills of each kind, is wal_kills.py."""
    with trading_engine(tmp_path, strategies=[often(stride=10)]) as engine, Observer(engine.run_dir) as observer:
        told = engine.telemetry("order_update")
        tail = Tail(engine)
        kill_wal(engine, tail, 0.0)
        tail = kill_group(engine, 0.0)
        kill_wal(engine, tail, 0.0)
        wait_for(lambda: len(observer.seen) >= tail.lsn, "the consumer to have seen it")
        wait_for(lambda: [e for e in told.events() if e["status"] == "Filled"], "the dashboard to have seen a fill")
        halt_and_compare(engine)
        filled = {event["order_id"] for event in told.events() if event["status"] == "Filled"}
        assert_nothing_seen_is_lost(engine, observer, filled)


def _statistics(engine: EngineUnderTest) -> list[Tree]:
    rows = engine.ask("HEALTH")["children"]
    return rows if all(row["counters"] for row in rows) else []


def test_after_all_that_status_is_the_fold_of_the_journal_and_the_stop_is_in_order(trading: EngineUnderTest) -> None:
    halt_and_compare(trading)
    assert_sound(trading)
    assert trading.stop() == 0
    assert [step["step"] for step in trading.log_events("stop_step")] == list(range(1, 11))
    run = trading.records("ENGINE_RUN")
    assert [entry.fields["event"] for entry in run] == [0, STOP], "one start and one stop, however many lives"
    assert trading.records("CHECKPOINT"), "and all that with rolls in between"


# A file.

ROWS = 6_000
STRIDE = 10
KILLED = (*CHILDREN, *CHILDREN[1:4])


def _csv(rows: int) -> str:
    lines = ["timestamp,bid,ask"]
    for row in range(rows):
        bid = 1_100_000 + (row * 7919 % 1_000) * 10
        time = f"2024-03-04T{row // 3600:02}:{row // 60 % 60:02}:{row % 60:02}"
        lines.append(f"{time},{bid / 1e6:.6f},{bid / 1e6 + 2e-5:.6f}")
    return "\n".join(lines) + "\n"


def _checksum(text: str) -> int:
    checksum = 0
    for line in text.splitlines()[1:]:
        checksum = (checksum * 31 + round(float(line.split(",")[1]) * 1e6)) % 2**61
    return checksum


def test_a_file_whose_readers_are_killed_in_its_middle_is_read_to_its_end_every_row_of_it(tmp_path: Path) -> None:
    text = _csv(ROWS)
    tree = config_tree(
        market_data={"source": "csv", "path": "rows.csv", "symbol": "EURUSD"},
        strategies=[often(stride=STRIDE, report="report.json")],
        supervisor={"restarts": 1000, "window_s": 0.2},
    )
    with EngineUnderTest(tmp_path, tree, files={**FILES, "rows.csv": text}) as engine:
        tail = Tail(engine)
        for number, name in enumerate(KILLED, 1):
            place = 3 * ROWS * number // (len(KILLED) + 2)
            wait_for(lambda place=place: tail.read().last_place > place, f"row {place // 3}")
            kill(engine, name)
        assert engine.wait() == 0
        assert len(engine.log_events("child_died")) == len(KILLED), "each died in the middle, and by our hand"
        assert re.search(rf"^ticks +{ROWS}$", engine.output(), re.M)
        # The last life of the strategy was fed from the first row: it has seen them all, each once, in order.
        assert json.loads((tmp_path / "report.json").read_text()) == [ROWS, _checksum(text)]
        assert_sound(engine)
        placed, filled = engine.records("ORDER_PLACE"), engine.records("ORDER_UPDATE", report=FILL)
        assert {entry.fields["order_id"] for entry in filled} == {entry.fields["order_id"] for entry in placed}
        # Signals that were under way when their sender or risk died are lost, and never sent again; no others are.
        acted = [position for *_, position in acted_on(engine)]
        assert acted[-1] - acted[0] == 3 * (ROWS - STRIDE)
        gaps = [after - before for before, after in pairwise(acted) if after - before != 3 * STRIDE]
        assert all(gap > 0 for gap in gaps), "none twice"
        assert len(gaps) <= len([name for name in KILLED if name in ("risk", "strategy.often")])
        assert engine.records("ENGINE_RUN")[-1].fields["by"] == "end_of_data"


# Parked.


def test_where_the_config_says_parked_one_with_saved_state_comes_back_and_one_without_stays_down(
    tmp_path: Path,
) -> None:
    rest = {"symbols": ["EURUSD"], "on_restart": "parked"}
    saving = {"name": "saving", "class": "saving:Saving", **rest}
    often_parked = {"name": "often", "class": "crashes:Often", **rest}
    with trading_engine(tmp_path, strategies=[saving, often_parked]) as engine:
        wait_for(lambda: engine.log_events("checkpoint_written"), "a checkpoint with the state")
        wait_for(lambda: "strategy.saving" in engine.log_events("checkpoint_written")[-1]["states"], "the state in it")
        for name in ("strategy.often", "strategy.saving"):
            engine.kill(name)
        parked = wait_for(lambda: engine.log_events("child_parked"), "one to be parked")
        wait_for(lambda: len(engine.log_events("child_ready", name="strategy.saving")) == 2, "the other to be back")
        assert [(event["name"], event["reason"]) for event in parked] == [
            ("strategy.often", 'on_restart = "parked", and it has no saved state')
        ]
        assert engine.log_events("child_ready", name="strategy.often")[1:] == []
        Tail(engine).wait_for_fills("both deaths")


# Past the limit.


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """One restart each; two strategies."""
    resting = {"name": "resting", "class": "crashes:Resting", "symbols": ["EURUSD"]}
    settings = {"restarts": 1, "window_s": 600.0}
    with trading_engine(
        tmp_path_factory.mktemp("limited"), strategies=[often(), resting], supervisor=settings
    ) as engine:
        Tail(engine).wait_for_fills("the start")
        yield engine


def test_a_strategy_past_its_limit_is_parked_its_orders_canceled_and_the_others_go_on(
    limited: EngineUnderTest,
) -> None:
    resting = wait_for(lambda: _resting(limited), "its order")
    kill(limited, "strategy.resting")
    limited.kill("strategy.resting")
    wait_for(lambda: limited.log_events("child_parked", name="strategy.resting"), "the strategy to be parked")
    ended = wait_for(lambda: limited.records("ORDER_CANCEL", order_id=resting[0]["order_id"]), "its order's cancel")
    assert ended[0].fields["by"] == "parked"
    wait_for(lambda: not _resting(limited), "no open order of a parked strategy")
    Tail(limited).wait_for_fills("the parking of another")
    wait_for(
        lambda: {"strategy.often": "ready", "strategy.resting": "parked"}.items() <= _states(limited).items(),
        "HEALTH to say so",
    )
    assert not limited.ask("STATUS")["halted"]


def _resting(engine: EngineUnderTest) -> list[Tree]:
    """The open orders of the strategy that is parked."""
    return [row for row in engine.ask("ORDERS")["orders"] if row["strategy"] == "resting"]


def _states(engine: EngineUnderTest) -> dict[str, str]:
    return {row["name"]: row["state"] for row in engine.ask("HEALTH")["children"]}


def test_a_parked_strategy_stays_so_when_risk_and_market_data_come_back(limited: EngineUnderTest) -> None:
    kill(limited, "risk", "market_data")
    Tail(limited).wait_for_fills("the deaths of risk and market_data")
    assert not limited.child_pid("strategy.resting")
    assert not _resting(limited)


def test_a_child_past_its_limit_halts_and_stops_the_engine_in_order_with_code_10(limited: EngineUnderTest) -> None:
    limited.kill("risk")
    assert limited.wait() == 10
    assert [step["step"] for step in limited.log_events("stop_step")] == list(range(1, 11))
    assert "risk died more than 1 times" in limited.log_events("engine_gives_up")[0]["reason"]
    assert limited.records("ENGINE_RUN")[-1].fields["by"] == "escalation"
    limited.restart()
    health = limited.ask("HEALTH")["trading_state"]
    assert (health["state"], health["by"]) == ("HALTED", "supervisor"), "an escalation is no operator's stop"
    assert wait_for(lambda: limited.records("TRADING_STATE", state=HALTED), "the halt in the journal")


LATE = '''
"""Starts when it may."""
import time
from pathlib import Path

from actors.strategies import Strategy


class Late(Strategy):
    def on_start(self):
        while not Path("may start").exists():
            time.sleep(0.01)
'''


def test_who_knew_a_life_that_ended_during_the_start_is_told_of_the_next(tmp_path: Path) -> None:
    """Else the first order after such a start went to the dead life, and was refused."""
    late = {"name": "late", "class": "late:Late", "symbols": ["EURUSD"]}
    tree = config_tree(strategies=[often(), late], supervisor={"deadlines": NO_DEADLINES})
    engine = EngineUnderTest(tmp_path, tree, files={**FILES, "late.py": LATE})
    try:
        engine.start()
        wait_for(lambda: engine.log_events("child_ready", name="strategy.often"), "the first strategy")
        engine.kill_and_wait_ready("risk")
        (tmp_path / "may start").touch()
        engine.wait_ready()
        Tail(engine).wait_for_fills("the start")
        assert not engine.records("SIGNAL_REFUSED")
        assert engine.stop() == 0
    finally:
        engine.close()
