"""A venue outside, with books of its own: what is in doubt, what came from elsewhere, and what differs (V1, V3-V5).

What users of other engines complain about in their reconciliation has a test that names it, each.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import EngineUnderTest, wait_for
from venue_books import FIRST_EXTERNAL, books
from venues import desk, do, net_position, orders_of, statuses, venue_engine, wait_until_agreed

PENDING, ACCEPT, FILL, CANCEL, REJECT = range(5)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    with venue_engine(tmp_path_factory.mktemp("venue")) as engine:
        yield engine


def last_order(engine: EngineUnderTest) -> int:
    """The engine's own."""
    ids = (entry.fields["order_id"] for entry in engine.records("ORDER_PLACE"))
    return max(order_id for order_id in ids if order_id < FIRST_EXTERNAL)


def place(engine: EngineUnderTest, line: str) -> int:
    """The order's id, once it is in the journal."""
    before = len(engine.records("ORDER_PLACE"))
    do(engine, line)
    wait_for(lambda: len(engine.records("ORDER_PLACE")) > before, f"the order of {line}")
    return last_order(engine)


def test_an_ambiguous_submit_is_unknown_and_never_rejected_while_the_venue_holds_it(engine: EngineUnderTest) -> None:
    """NautilusTrader #4152: it became Rejected while the venue held it. The venue hears the order, and is not heard."""
    desk(engine, "MUTE 600")
    order = place(engine, "self.buy('EURUSD', 10)")
    wait_for(lambda: statuses(engine, order), "the order to be unknown")
    assert statuses(engine, order) == [PENDING]

    def told() -> list[str]:
        return [row["status"] for row in orders_of(engine) if row["order_id"] == order]

    wait_for(lambda: told() == ["PendingNew"], "the gateway to know of it")
    assert len(books(engine).fills) == 1, "the venue has filled it long since"
    desk(engine, "MUTE 0")
    wait_until_agreed(engine)
    assert statuses(engine, order) == [PENDING, ACCEPT, FILL]


def test_an_order_that_never_arrived_ends_as_not_sent_and_is_never_sent_again(engine: EngineUnderTest) -> None:
    desk(engine, "CUT 600")
    order = place(engine, "self.buy('EURUSD', 10)")
    wait_for(lambda: statuses(engine, order), "the order to be unknown")
    desk(engine, "CUT 0")
    wait_for(lambda: len(statuses(engine, order)) > 1, "its end")
    assert statuses(engine, order) == [PENDING, REJECT]
    assert engine.records("ORDER_UPDATE", order_id=order)[-1].fields["reason"] == "not_sent"
    assert order not in {there for _, there, _ in books(engine).orders.values()}


def test_while_the_venue_is_lost_new_orders_end_here_and_cancels_wait(engine: EngineUnderTest) -> None:
    resting = place(engine, "self.buy('EURUSD', 10, limit=0.5)")
    wait_for(lambda: ACCEPT in statuses(engine, resting), "it to rest")
    losses = len(engine.log_events("venue_lost"))
    desk(engine, "CUT 600")
    wait_for(lambda: len(engine.log_events("venue_lost")) > losses, "the silence to be noticed")
    order = place(engine, "self.buy('EURUSD', 10)")
    wait_for(lambda: statuses(engine, order), "its end")
    assert engine.records("ORDER_UPDATE", order_id=order)[-1].fields["reason"] == "venue_lost"
    do(engine, f"self.cancel({resting})")
    desk(engine, "CUT 0")
    wait_for(lambda: CANCEL in statuses(engine, resting), "the cancel to come through")


def test_fills_during_a_disconnect_are_asked_for(engine: EngineUnderTest) -> None:
    """Lean's plugin for Interactive Brokers, #249: they never were."""
    before = len(books(engine).fills)
    do(engine, "self.sell('EURUSD', 10, limit=tick.ask + 0.0001)", "self.buy('EURUSD', 10, limit=tick.bid - 0.0001)")
    order = last_order(engine)
    wait_for(lambda: statuses(engine, order), "both to be answered")
    desk(engine, "MUTE 600")
    wait_for(lambda: len(books(engine).fills) > before, "a fill that nobody hears of")
    desk(engine, "MUTE 0")

    def is_booked() -> bool:
        """Fill by fill: where both sides were filled meanwhile, the position has agreed all the time."""
        booked = {entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)}
        return booked == set(books(engine).fills)

    wait_for(is_booked, "every fill to be booked")
    do(engine, "[self.cancel(order.id) for order in self.orders()]")


def test_orders_placed_while_order_routing_is_down_end_as_not_sent(engine: EngineUnderTest) -> None:
    """V5. The supervisor stands still, so that nothing brings it back before the order is there."""
    wait_until_agreed(engine)
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(engine.child_pid("order_routing"), signal.SIGKILL)
        order = place(engine, "self.buy('EURUSD', 10)")
    finally:
        engine.process.send_signal(signal.SIGCONT)
    wait_for(lambda: REJECT in statuses(engine, order), "its end")
    assert engine.records("ORDER_UPDATE", order_id=order)[-1].fields["reason"] == "not_sent"
    wait_until_agreed(engine)


def test_a_warm_restart_invents_no_fill_and_the_strategy_knows_its_position(engine: EngineUnderTest) -> None:
    """NautilusTrader #4736: an opposite fill was invented, and the strategy believed that it was flat."""
    order = place(engine, "self.buy('EURUSD', 30)")
    wait_for(lambda: FILL in statuses(engine, order), "its fill")
    wait_until_agreed(engine)
    fills = len(engine.records("ORDER_UPDATE", report=FILL))
    held = net_position(engine)
    assert engine.stop() == 0
    engine.start()
    engine.wait_ready()
    do(engine, "open('held', 'w').write(str(self.position('EURUSD').quantity))")
    assert float((engine.directory / "held").read_text()) * 1e6 == held == net_position(engine)
    assert len(engine.records("ORDER_UPDATE", report=FILL)) == fills


def test_an_order_that_came_from_elsewhere_counts_has_one_id_for_ever_and_is_nobodys_to_cancel(
    engine: EngineUnderTest,
) -> None:
    """NautilusTrader #3878: synthetic ids differed at each restart. hummingbot #3214: it cancelled other people's."""
    number = int(desk(engine, "BUY EURUSD 900 0.5").split()[-1])
    external = FIRST_EXTERNAL + number

    def seen() -> bool:
        return external in {row["order_id"] for row in orders_of(engine)}

    wait_for(seen, "the order in ORDERS")
    refused = len(engine.records("SIGNAL_REFUSED"))
    do(engine, "self.buy('EURUSD', 150)")  # 1,000 is the limit: together they are above it
    wait_for(lambda: len(engine.records("SIGNAL_REFUSED")) > refused, "the refusal")
    assert "position" in engine.records("SIGNAL_REFUSED")[-1].fields["reason"]
    assert engine.stop() == 0
    engine.start()
    engine.wait_ready()
    assert seen()
    assert len(engine.records("ORDER_PLACE", order_id=external)) == 1
    ours = place(engine, "self.buy('EURUSD', 10, limit=0.5)")
    wait_for(lambda: ACCEPT in statuses(engine, ours), "ours to rest")
    assert engine.ask("HALT")["status"] == "ok"
    wait_for(lambda: CANCEL in statuses(engine, ours), "the cancel of ours")
    wait_for(lambda: [row["order_id"] for row in orders_of(engine)] == [external], "theirs alone to be left")
    assert engine.stop() == 0


def test_what_no_report_explains_is_taken_over_or_stops_the_start(tmp_path: Path) -> None:
    with venue_engine(tmp_path, order_routing={"reconcile": "halt"}) as engine:
        desk(engine, "TRANSFER EURUSD 25 1.1")
        assert engine.stop() == 0
        engine.start()
        assert engine.wait() != 0
        assert "the venue holds 25 EURUSD, the journal 0" in engine.log_text() + engine.output()
        [violation] = engine.records("RISK_VIOLATION")
        assert violation.fields["reason"] == "reconciliation"
        engine.tree["order_routing"]["reconcile"] = "adopt"
        engine.write_config()
        engine.start()
        engine.wait_ready()
        wait_for(lambda: net_position(engine) == 25_000_000, "the gateway to know of it")
        do(engine, "open('held', 'w').write(str(self.position('EURUSD').quantity))")
        assert float((engine.directory / "held").read_text()) == 0, "it is nobody's"
        assert engine.stop() == 0
        engine.start()
        engine.wait_ready()
        assert len(engine.records("RISK_VIOLATION")) == 2, "it is said once, and then known"
        assert engine.stop() == 0


def test_every_fill_arrives_though_heartbeats_are_healthy_and_most_reports_are_lost(tmp_path: Path) -> None:
    """Lean's plugin for TradeStation, PR 95: heartbeats were healthy while 4 of 18 fills arrived."""
    with venue_engine(tmp_path, line={"drop": 0.7, "duplicate": 0.3, "reorder": 0.3, "delay_ms": 20.0}) as engine:
        do(engine, *["self.buy('EURUSD', 10)", "self.sell('EURUSD', 5)"] * 9)

        def is_settled() -> bool:
            return len(engine.records("ORDER_PLACE")) == 18 and not orders_of(engine)

        wait_for(is_settled, "every order to have ended")
        wait_until_agreed(engine)
        assert {entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)} == set(
            books(engine).fills
        )
        assert engine.stop() == 0
