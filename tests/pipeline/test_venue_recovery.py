"""A venue outside when two things go wrong: HALT while it is lost, other books, an older journal, the end of data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import DEADLINE_S, EngineUnderTest, wait_for
from venue_books import FIRST_EXTERNAL, books
from venues import desk, desk_endpoint, do, net_position, orders_of, statuses, venue_engine, wait_until_agreed

from protocol.errors import ExitCode

PENDING, ACCEPT, FILL, CANCEL, REJECT = range(5)
EAGER = '''
"""Cancels what protects its position as soon as it hears of it."""
from actors.strategies import Strategy


class Eager(Strategy):
    bought = 0

    def on_tick(self, tick):
        if not self.orders() and self.bought < 8:
            self.bought += 1
            self.buy(tick.symbol, 10, stop_loss=tick.bid - 0.1, take_profit=tick.ask + 5)

    def on_fill(self, fill):
        for order in self.orders():
            self.cancel(order.id)
'''


def buy_and_lose_the_venue(engine: EngineUnderTest) -> None:
    do(engine, "self.buy('EURUSD', 10)")
    wait_for(lambda: net_position(engine) == 10_000_000, "the position")
    losses = len(engine.log_events("venue_lost"))
    desk(engine, "CUT 600")
    wait_for(lambda: len(engine.log_events("venue_lost")) > losses, "the silence to be noticed")


def is_flat(engine: EngineUnderTest) -> bool:
    return books(engine).position == 0 == net_position(engine) and not orders_of(engine)


def test_the_cancel_of_an_exit_that_overtakes_its_accept_reaches_the_venue(tmp_path: Path) -> None:
    with venue_engine(
        tmp_path, line={"delay_ms": 40.0, "reorder": 0.5}, strategy=("eager:Eager", {"eager.py": EAGER})
    ) as engine:
        wait_for(lambda: len(books(engine).fills) >= 8, "the fills")

        def is_over() -> bool:
            ended = sum(report[1] == CANCEL for report in books(engine).reports)
            return ended >= 16 and not orders_of(engine)

        wait_for(is_over, "every exit to be canceled there")
        wait_until_agreed(engine)
        assert not engine.log_events("impossible_report")
        assert engine.stop() == 0


@pytest.mark.parametrize("command", ["HALT", "FLATTEN"])
def test_what_flattens_while_the_venue_is_lost_waits_for_it(tmp_path: Path, command: str) -> None:
    with venue_engine(tmp_path, risk={"on_halt": "flatten"}) as engine:
        buy_and_lose_the_venue(engine)
        assert engine.client.request(command)["status"] == "ok"
        wait_for(lambda: orders_of(engine), "the closing order")
        desk(engine, "CUT 0")
        wait_for(lambda: is_flat(engine), "the position to be closed, here and there")
        assert len(engine.records("ORDER_PLACE")) == 2, "it was asked for once"
        assert engine.stop() == 0


@pytest.mark.parametrize("command", ["HALT", "FLATTEN"])
@pytest.mark.parametrize("by_hand", [10, 4])
def test_a_close_that_waited_is_looked_at_again_before_it_leaves(tmp_path: Path, command: str, by_hand: int) -> None:
    """Somebody closes the position by hand meanwhile: to close it as well would open another (H6)."""
    with venue_engine(tmp_path, risk={"on_halt": "flatten"}) as engine:
        buy_and_lose_the_venue(engine)
        assert engine.client.request(command)["status"] == "ok"
        wait_for(lambda: orders_of(engine), "the closing order")
        desk(engine, f"SELL EURUSD {by_hand}")
        desk(engine, "CUT 0")
        wait_for(lambda: is_flat(engine), "to be flat, here and there")
        own = [(there, place[6]) for _, there, place in books(engine).orders.values() if there]
        assert own == [(1, 10_000_000)] + [(3, 6_000_000)] * (by_hand == 4), "what was left of it, and no more"
        assert engine.stop() == 0


def test_what_flattens_is_asked_for_again_when_order_routing_dies_while_it_waits(tmp_path: Path) -> None:
    with venue_engine(tmp_path) as engine:
        buy_and_lose_the_venue(engine)
        assert engine.client.request("FLATTEN")["status"] == "ok"
        [close] = wait_for(lambda: orders_of(engine), "the closing order")
        engine.kill_and_wait_ready("order_routing")
        desk(engine, "CUT 0")
        wait_for(lambda: is_flat(engine), "the position to be closed, here and there")
        assert engine.records("ORDER_UPDATE", order_id=close["order_id"])[-1].fields["reason"] == "not_sent"
        assert engine.stop() == 0


def test_a_stop_names_the_closes_that_never_left(tmp_path: Path) -> None:
    with venue_engine(tmp_path, risk={"on_halt": "flatten"}) as engine:
        buy_and_lose_the_venue(engine)
        assert engine.ask("HALT")["status"] == "ok"
        [close] = wait_for(lambda: orders_of(engine), "the closing order")
        assert engine.stop() != 0
        assert f"never left, so that positions stay open: {close['order_id']}" in engine.log_text()
        assert len(engine.records("ORDER_PLACE")) == 2


def test_a_close_that_waits_can_be_canceled_and_ends_here(tmp_path: Path) -> None:
    with venue_engine(tmp_path, order_routing={"on_stop": "cancel"}) as engine:
        buy_and_lose_the_venue(engine)
        do(engine, "self.close('EURUSD')")
        [close] = wait_for(lambda: orders_of(engine), "the closing order")
        do(engine, f"self.cancel({close['order_id']})")
        wait_for(lambda: statuses(engine, close["order_id"]) == [CANCEL], "its end")
        desk(engine, "CUT 0")
        wait_for(lambda: len(engine.log_events("venue_reconciled")) > 1, "the venue to be back")
        assert close["order_id"] not in {there for _, there, _ in books(engine).orders.values()}
        # What cannot be canceled at a stop is said, and the engine does not end as if all was well.
        do(engine, "self.buy('EURUSD', 10, limit=0.5)")
        [resting] = wait_for(lambda: [row for row in orders_of(engine) if row["status"] == "Accepted"], "it to rest")
        desk(engine, "CUT 600")
        wait_for(lambda: "venue cannot be reached" in str(engine.ask("HEALTH")["warnings"]), "HEALTH to say so")
        told = engine.cli("stop", "--run-dir", str(engine.run_dir), "--timeout", "60")
        assert told.returncode == ExitCode.FAILURE
        assert "stopped, with exit code 1: order_routing: orders left open" in told.stderr
        assert engine.wait() != 0
        assert f"left open at the venue, where they may fill: {resting['order_id']}" in engine.log_text()


def test_books_that_are_none_halt_and_end_the_engine(tmp_path: Path) -> None:
    with venue_engine(tmp_path) as engine:
        do(engine, "self.buy('EURUSD', 10)")
        wait_for(lambda: net_position(engine) == 10_000_000, "the position")
        (engine.run_dir / "venue.log").write_bytes(b"something else")
        engine.kill("venue")
        assert engine.wait() == ExitCode.ESCALATED
        assert "venue.log" in engine.log_events("engine_gives_up")[0]["reason"]


def test_an_order_with_latency_is_canceled_at_a_stop_all_the_same(tmp_path: Path) -> None:
    with venue_engine(tmp_path, order_routing={"on_stop": "cancel", "latency_us": 100_000}) as engine:
        do(engine, "self.buy('EURUSD', 10, limit=0.5)")
        [resting] = wait_for(lambda: [row for row in orders_of(engine) if row["status"] == "Accepted"], "it to rest")
        assert engine.stop() == 0
        assert statuses(engine, resting["order_id"]) == [ACCEPT, CANCEL]


def test_transfers_orders_by_hand_and_a_new_journal_over_old_books(tmp_path: Path) -> None:
    with venue_engine(tmp_path, risk={"on_halt": "flatten"}) as engine:
        for quantity, net in (("25", 25_000_000), ("10", 35_000_000)):  # no entry tells of either
            desk(engine, f"TRANSFER EURUSD {quantity} 1.1")
            desk(engine, "CUT 1.5")
            wait_for(lambda net=net: net_position(engine) == net, "it to be taken over")
        numbers = [desk(engine, "BUY EURUSD 5 0.5").split()[-1] for _ in range(2)]
        desk(engine, "BUY EURUSD 3")
        wait_for(lambda: net_position(engine) == 38_000_000, "the fill of the order by hand")
        by_hand = {FIRST_EXTERNAL + int(number) for number in numbers}
        assert {row["order_id"] for row in orders_of(engine)} == by_hand, "they are no alternatives"
        do(engine, "self.buy('EURUSD', 50)")
        wait_until_agreed(engine)
        assert engine.stop() == 0
        for path in engine.run_dir.iterdir():
            if not path.name.startswith("venue.log"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        engine.start()
        engine.wait_ready()
        wait_for(lambda: net_position(engine) == 88_000_000, "all of it to be taken over")
        by_hand.add(FIRST_EXTERNAL + int(desk(engine, "SELL EURUSD 900 1.5").split()[-1]))  # on the side that closes
        wait_for(lambda: {row["order_id"] for row in orders_of(engine)} == by_hand, "it to be seen")
        assert engine.ask("HALT")["status"] == "ok"
        wait_for(lambda: books(engine).position == 0 == net_position(engine), "nobody's position to be closed")
        assert {row["order_id"] for row in orders_of(engine)} == by_hand, "these are nobody's to cancel"
        assert engine.stop() == 0


def delete_the_books(run_dir: Path) -> None:
    (run_dir / "venue.log").unlink()


def restore_the_books(run_dir: Path) -> None:
    shutil.copy(run_dir.parent / "older" / "venue.log", run_dir)


def restore_the_journal(run_dir: Path) -> None:
    older = run_dir.parent / "older"
    for name in ("wal", "pages"):
        shutil.rmtree(run_dir / name)
        shutil.copytree(older / name, run_dir / name)
    shutil.copy(older / "latch", run_dir)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (delete_the_books, "not those that this journal has traded with"),
        (restore_the_books, "an older copy"),
        (restore_the_journal, "it is an older copy"),
    ],
)
def test_books_and_a_journal_that_do_not_belong_together_are_refused(
    spoil: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    with venue_engine(tmp_path) as engine:
        do(engine, "self.buy('EURUSD', 10)")
        wait_until_agreed(engine)
        assert engine.stop() == 0
        shutil.copytree(engine.run_dir, tmp_path / "older", ignore=shutil.ignore_patterns("ipc"))
        engine.start()
        engine.wait_ready()
        do(engine, "self.buy('EURUSD', 20)", "self.buy('EURUSD', 5, limit=0.5)")
        wait_for(lambda: net_position(engine) == 30_000_000, "the fill")
        assert engine.stop() == 0
        spoil(engine.run_dir)
        places = engine.records("ORDER_PLACE")
        engine.start()
        assert engine.wait() != 0
        assert why in engine.log_text()
        assert engine.records("ORDER_PLACE") == places, "nothing was traded, and nothing taken over"


def test_a_file_that_ends_while_the_venue_is_lost_waits_for_what_has_happened_there(tmp_path: Path) -> None:
    rows = "".join(
        f"2024-01-02T00:00:{second:02}.000000,{bid:.5f},{bid + 0.0001:.5f}\n"
        for second, bid in enumerate([1.1] * 40 + [1.102] * 20)
    )
    (tmp_path / "ticks.csv").write_text("timestamp,bid,ask\n" + rows)
    source = {"source": "csv", "path": "ticks.csv", "symbol": "EURUSD", "speed": 10.0}
    with venue_engine(tmp_path, market_data=source, line={"delay_ms": 300.0}) as engine:
        do(engine, "self.sell('EURUSD', 10, limit=1.1015)")
        wait_for(lambda: orders_of(engine), "it to rest")
        desk(engine, "MUTE 600")
        wait_for(lambda: len(books(engine).fills) == 1, "a fill that nobody hears of", DEADLINE_S)
        wait_for(lambda: market_ended(engine), "the end of the file")
        desk(engine, "MUTE 0")
        assert engine.wait() == 0
        assert [entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)] == list(
            books(engine).fills
        )


def market_ended(engine: EngineUnderTest) -> bool:
    return engine.row("market_data")["market_position"] > 3 * 60


def test_the_desk_can_be_asked_where_all_is_one_process(tmp_path: Path) -> None:
    engine = venue_engine(tmp_path)
    try:
        engine.start("--inproc")
        engine.wait_ready()
        assert engine.ask("CANCEL 99", desk_endpoint(engine.run_dir))["response"] == "no order 99 is open here"
        desk(engine, "BUY EURUSD 7")
        wait_for(lambda: net_position(engine) == 7_000_000, "the fill of the order by hand")
        assert engine.stop() == 0
    finally:
        engine.close()
