"""The journal's disk fails under a running engine: code 11, an ordered stop, nothing lost, HALTED until an operator."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashes import Tail, assert_sound, trading_engine
from disks import TinyDisk, refusing, tiny_disk
from harness import EngineUnderTest, Subscriber, config_tree, wait_for
from journal_reader import HALTED, STOP, JournalEntry, PositionFold

MIB = 1024 * 1024
CAREFUL = '''
"""Trades as Often does, with one order resting, which it cancels when it hears that the disk is nearly full."""
from pathlib import Path

from actors.strategies import Strategy


class Careful(Strategy):
    def __init__(self):
        self.ticks = 0
        self.resting = None
        self.refusals = []

    def on_tick(self, tick):
        self.ticks += 1
        if self.resting is None:
            self.resting = self.buy(tick.symbol, 5, limit=0.5)
        if self.ticks % 25 == 0:
            if self.position(tick.symbol).quantity > 0:
                self.sell(tick.symbol, 10)
            else:
                self.buy(tick.symbol, 10)
        elif Path("noisy").exists():  # of a slow machine's two buys in a row it would close the second at this tick too
            self.close(tick.symbol)

    def on_order(self, order):
        if order.status == "Rejected" and order.reason.startswith("disk_nearly_full"):
            self.refusals.append(order.reason)
            Path("refusals").write_text(str(len(self.refusals)))
            if len(self.refusals) == 1:
                self.cancel(self.resting)
'''


def assert_ended_in_order(engine: EngineUnderTest, words: str) -> None:
    assert engine.wait() == 11
    assert [step["step"] for step in engine.log_events("stop_step")] == list(range(1, 11))
    reason = engine.log_events("engine_gives_up")[0]["reason"]
    assert "journal.wal" in reason
    assert words in reason
    assert not engine.log_events("child_died", exit_code=-9), "nobody had to be killed"
    assert not engine.records("ENGINE_RUN", event=STOP), "nothing was written after the failure"


def assert_comes_up_halted_in_a_new_file(engine: EngineUnderTest, updates: Subscriber) -> None:
    """And with all that anybody was told."""
    engine.restart()
    (copied,) = engine.log_events("journal_copied_after_failure")
    assert (engine.directory / copied["kept"]).stat().st_ino != engine.journal_path.stat().st_ino
    state = engine.ask("HEALTH")["trading_state"]
    assert (state["state"], state["by"]) == ("HALTED", "wal")
    wait_for(lambda: engine.records("TRADING_STATE", state=HALTED, by="wal"), "the halt in the journal")
    filled = {event["order_id"] for event in updates.events() if event["status"] == "Filled"}
    assert filled
    assert filled <= {entry.fields["order_id"] for entry in engine.records("ORDER_UPDATE")}
    wait_for(lambda: not engine.ask("ORDERS")["orders"], "no open order under a halt")
    assert engine.status_positions() == engine.independent_positions()
    assert_sound(engine)


def assert_trades_after_an_operators_stop(engine: EngineUnderTest) -> None:
    kept = sorted(engine.journal_path.parent.glob("journal.wal.failed-*"))
    assert engine.stop() == 0
    engine.restart()
    Tail(engine).wait_for_fills("an operator's stop")
    assert not engine.log_events("journal_copied_after_failure")
    assert sorted(engine.journal_path.parent.glob("journal.wal.failed-*")) == kept
    assert_sound(engine)


def test_a_disk_that_refuses_halts_and_stops_the_engine_with_code_11_and_loses_nothing_that_was_told(
    tmp_path: Path,
) -> None:
    engine = trading_engine(tmp_path)
    updates = engine.telemetry("order_update")
    with engine:
        wait_for(lambda: len(updates.events()) > 20, "telemetry")
        with refusing(engine.child_pid("wal"), "fdatasync"):
            assert_ended_in_order(engine, "fdatasync failed: Input/output error")
        assert_comes_up_halted_in_a_new_file(engine, updates)
        assert_trades_after_an_operators_stop(engine)


def test_a_disk_that_refuses_the_record_of_an_ordered_stop_ends_it_in_order_with_code_11(tmp_path: Path) -> None:
    """No other life of wal is asked to write it: the file has failed."""
    resting = {"name": "resting", "class": "crashes:Resting", "symbols": ["EURUSD"]}
    with trading_engine(tmp_path, strategies=[resting]) as engine:
        watermark = engine.journal_path.with_name("watermark")
        wait_for(lambda: engine.records("ORDER_UPDATE"), "the order's answer")
        last = engine.journal[-1]
        wait_for(lambda: _says(watermark.read_bytes(), last.lsn), "the watermark, which ends all writing")
        with refusing(engine.child_pid("wal"), "fdatasync"):
            engine.process.send_signal(signal.SIGTERM)
            assert engine.wait() == 11
        events = [entry["event"] for entry in engine.log_events()]
        assert events.index("engine_stopping") < events.index("engine_gives_up")
        assert [step["step"] for step in engine.log_events("stop_step")] == list(range(1, 11))
        assert len(engine.log_events("child_ready", name="wal")) == 1
        engine.restart()
        assert engine.log_events("journal_copied_after_failure")
        assert engine.ask("HEALTH")["trading_state"]["by"] == "wal"


def _says(watermark: bytes, lsn: int) -> bool:
    """One of its two slots names the LSN (protocol/wal/watermark.py)."""
    return any(int.from_bytes(watermark[at + 28 : at + 36], "little") == lsn for at in (0, 512))


# A disk that is full.


@pytest.fixture
def on_tiny_disk(tmp_path: Path) -> Iterator[tuple[EngineUnderTest, TinyDisk]]:
    """An engine that trades, its journal on a disk of 8 MiB of which 1 is the reserve."""
    careful = {"name": "often", "class": "careful:Careful", "symbols": ["EURUSD"]}
    tree = config_tree(strategies=[careful], market_data={"rate": 2000.0})
    engine = EngineUnderTest(tmp_path, tree, files={"careful.py": CAREFUL})
    with tiny_disk(engine.run_dir / "wal", 8 * 1024) as disk:
        try:
            yield engine, disk
        finally:
            engine.close()


def test_a_disk_that_is_nearly_full_refuses_new_orders_and_a_full_one_ends_the_engine_in_order(
    on_tiny_disk: tuple[EngineUnderTest, TinyDisk],
) -> None:
    engine, disk = on_tiny_disk
    updates = engine.telemetry("order_update")
    with engine:
        Tail(engine).wait_for_fills("the start")
        wait_for(lambda: engine.row("wal")["counters"].get("disk_low") == 0, "HEALTH of a disk with room")

        disk.fill(leave=MIB // 2)
        wait_for(lambda: engine.log_events("disk_nearly_full", level="error"), "the alarm")
        wait_for(lambda: _refusals(engine) > 10, "refusals")
        alarm = _lsn_of_the_resting_orders_cancel(engine)
        wait_for(lambda: engine.independent_positions()["EURUSD"].net_quantity == 0, "the position's end")
        wait_for(lambda: engine.row("wal")["counters"].get("disk_low") == 1, "HEALTH to say so")
        assert not _increasing_orders(engine, alarm)
        lsn, refusals = engine.journal[-1].lsn, _refusals(engine)
        wait_for(lambda: _refusals(engine) > refusals + 20, "more refusals")
        assert engine.journal[-1].lsn == lsn, "refusals take no room from cancels and fills"

        disk.make_room()
        wait_for(lambda: engine.log_events("disk_has_room_again"), "the end of the alarm")
        Tail(engine).wait_for_fills("the end of the alarm")
        assert len(engine.log_events("disk_nearly_full")) == 1

        (engine.directory / "noisy").touch()  # what risk refuses is written, alarm or not
        disk.fill()
        wait_for(lambda: engine.log_events("disk_reserve_spent"), "the reserve to be given up")
        while engine.process.poll() is None:
            disk.fill()
        assert_ended_in_order(engine, "No space left on device")

        (engine.directory / "noisy").unlink()
        engine.start()
        assert engine.wait() == 11, "still no room, not even for a copy"
        disk.make_room()
        assert_comes_up_halted_in_a_new_file(engine, updates)


def _refusals(engine: EngineUnderTest) -> int:
    """How many orders the strategy was told of that the disk had no room for."""
    path = engine.directory / "refusals"
    text = path.read_text() if path.exists() else ""
    return int(text) if text else 0


def _increasing_orders(engine: EngineUnderTest, after_lsn: int) -> list[JournalEntry]:
    """On a busy machine the strategy sells twice before it hears of a fill: a buy is no increase then."""
    fold = PositionFold()
    increasing: list[JournalEntry] = []
    for entry in engine.journal:
        if entry.name == "ORDER_PLACE" and entry.lsn > after_lsn:
            held = fold.holdings()["EURUSD"].net_quantity
            if held * (-1 if entry.fields["side"] else 1) >= 0:
                increasing.append(entry)
        fold.apply(entry)
    return increasing


def _lsn_of_the_resting_orders_cancel(engine: EngineUnderTest) -> int:
    resting = engine.records("ORDER_PLACE", limit_price=500_000)[0].fields["order_id"]
    wait_for(lambda: engine.records("ORDER_UPDATE", order_id=resting, report=3), "the cancel, which still fits")
    return engine.records("ORDER_CANCEL", order_id=resting)[0].lsn


def test_an_engine_on_a_disk_too_small_for_its_reserve_starts_and_says_so(
    on_tiny_disk: tuple[EngineUnderTest, TinyDisk],
) -> None:
    engine, disk = on_tiny_disk
    disk.fill(leave=MIB // 2)
    with engine:
        assert engine.log_events("disk_reserve_spent")
        wait_for(lambda: _refusals(engine) > 10, "refusals")
        assert not engine.records("ORDER_PLACE")
        assert not (disk.path / "reserve").exists()
        disk.make_room()
        Tail(engine).wait_for_fills("room")
        assert (disk.path / "reserve").stat().st_size == MIB
        assert engine.stop() == 0
