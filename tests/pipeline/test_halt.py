"""HALT: what it stops, what survives it, what clears it. And the limits that halt or refuse by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import EngineUnderTest, Tree, config_tree, sma_cross, wait_for
from journal_reader import FILL, HALTED, JournalEntry
from own_files import OWN_FILES, own, seen

HALT_REPLY = {"status": "ok", "response": "Trading halted"}
ACCEPT, REJECT, CANCEL = 1, 4, 3


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """An engine that was halted while it traded; its strategies go on sending signals."""
    tree = config_tree(strategies=[sma_cross("sma", ["EURUSD"]), own("Witness"), own("Raises")])
    with EngineUnderTest(tmp_path_factory.mktemp("halt"), tree, files=OWN_FILES) as engine:
        wait_for(lambda: len(engine.records("ORDER_UPDATE", report=FILL)) >= 3, "fills")
        reply = engine.ask("HALT enough for today")
        assert {key: reply[key] for key in HALT_REPLY} == HALT_REPLY
        assert reply.keys() <= {*HALT_REPLY, "in_flight", "unsynced"}, "on a busy machine 50 ms may pass"
        wait_for_refusals(engine, 20)
        yield engine


def wait_for_refusals(engine: EngineUnderTest, count: int) -> None:
    """So many more signals were refused because trading is halted."""
    before = len(engine.records("SIGNAL_REFUSED", reason="trading_halted"))
    wait_for(
        lambda: len(engine.records("SIGNAL_REFUSED", reason="trading_halted")) >= before + count,
        f"{count} signals refused after HALT",
    )


def limit_orders(engine: EngineUnderTest) -> list[Tree]:
    """Those that rest at the venue."""
    orders = engine.ask("ORDERS")["orders"]
    return [row for row in orders if (row["order_type"], row["status"]) == ("limit", "Accepted")]


def assert_nothing_leaves(journal: list[JournalEntry]) -> None:
    """After TRADING_STATE no new order is accepted; after the first refused signal none is even placed."""
    state = next(entry.lsn for entry in journal if entry.name == "TRADING_STATE" and entry.fields["state"] == HALTED)
    refused = next(entry.lsn for entry in journal if entry.fields.get("reason") == "trading_halted")
    placed = {entry.fields["order_id"]: entry.lsn for entry in journal if entry.name == "ORDER_PLACE"}
    assert max(placed.values()) < refused, "the latch is looked at for every signal"
    for entry in journal:
        if entry.name == "ORDER_UPDATE" and placed[entry.fields["order_id"]] > state:
            # Approved before the page was set and written after the record: the latch turned it back.
            assert (entry.fields["report"], entry.fields["reason"]) == (REJECT, "trading_halted")


def test_after_halt_no_new_order_is_placed_while_strategies_go_on_signalling(halted: EngineUnderTest) -> None:
    assert_nothing_leaves(halted.journal)


def test_a_handler_that_raises_lets_no_order_pass(halted: EngineUnderTest) -> None:
    """Kill switch: "the handler raised and orders kept coming" (hummingbot #2534)."""
    wait_for(lambda: halted.log_events("hook_failed", hook="on_halt"), "the handler of HALT to have raised")
    wait_for(lambda: halted.log_events("child_ready", name="strategy.raises", incarnation=2), "its next life")
    wait_for_refusals(halted, 20)
    assert_nothing_leaves(halted.journal)


def test_status_and_health_say_that_trading_is_halted_by_whom_and_why(halted: EngineUnderTest) -> None:
    assert halted.ask("STATUS")["halted"] is True
    state = halted.ask("HEALTH")["trading_state"]
    assert (state["state"], state["by"], state["reason"]) == ("HALTED", "operator", "enough for today")
    assert state["since_us"] > 0


def test_the_journal_has_one_halt_and_strategies_are_told_of_it(halted: EngineUnderTest) -> None:
    states = [entry.fields for entry in halted.records("TRADING_STATE")]
    assert len({fields["token"] for fields in states}) == 1, "H7: a second record has the same token"
    assert states[0]["reason"] == "enough for today"
    told = wait_for(lambda: seen(halted, "on_halt"), "on_halt")
    assert [event["reason"] for event in told] == ["enough for today"]


def test_halt_is_answered_the_same_way_again(halted: EngineUnderTest) -> None:
    reply = halted.ask("HALT")
    assert reply["response"] == "Trading halted"
    assert halted.ask("HEALTH")["trading_state"]["reason"] == "enough for today"


def test_the_command_line_shows_a_halted_engine_and_halts_it_again(halted: EngineUnderTest) -> None:
    assert halted.cli("status", "--check", "seawall.toml").returncode == 150
    again = halted.cli("halt", "seawall.toml", "once", "more", "-o", "json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == HALT_REPLY | {"already": "by operator: enough for today"}
    assert "Trading was halted before, by operator: enough for today" in again.stderr
    assert halted.ask("HALT enough for today") == HALT_REPLY


@pytest.mark.parametrize("name", ["risk", "order_routing", "gateway"])
def test_halted_survives_the_death_of_any_who_know_it(halted: EngineUnderTest, name: str) -> None:
    halted.kill_and_wait_ready(name)
    assert halted.ask("STATUS")["halted"] is True
    wait_for_refusals(halted, 5)
    assert_nothing_leaves(halted.journal)


def test_halted_survives_the_death_of_the_whole_engine_until_an_ordered_stop_and_a_start(
    halted: EngineUnderTest,
) -> None:
    """Kill switch: "HALTED not kept over a restart"."""
    halted.kill_all()
    halted.restart()
    assert halted.ask("STATUS")["halted"] is True
    wait_for_refusals(halted, 5)
    assert_nothing_leaves(halted.journal)
    last = halted.journal[-1].lsn

    assert halted.stop() == 0
    halted.restart()
    assert halted.ask("STATUS")["halted"] is False
    assert halted.ask("HEALTH")["trading_state"]["reason"] == "an ordered stop ended the halt"
    wait_for(lambda: [e for e in halted.records("ORDER_UPDATE", report=FILL) if e.lsn > last], "trading goes on")
    assert halted.stop() == 0
    halted.assert_ids_are_used_once()


def test_halt_on_the_command_line_cancels_open_orders(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = config_tree(strategies=[own("Resting")])
    with EngineUnderTest(tmp_path_factory.mktemp("cancels"), tree, files=OWN_FILES) as engine:
        wait_for(lambda: len(limit_orders(engine)) == 2, "two resting orders")
        done = engine.cli("halt", "seawall.toml", "by", "hand")
        assert (done.returncode, done.stdout.strip()) == (0, "Trading halted")
        wait_for(lambda: not engine.ask("ORDERS")["orders"], "no open order")
        cancelled = {entry.fields["order_id"] for entry in engine.records("ORDER_UPDATE", report=CANCEL)}
        limits = {entry.fields["order_id"] for entry in engine.records("ORDER_PLACE", order_type=1)}
        assert cancelled == limits
        assert engine.status_positions()["EURUSD"].net_quantity == 100.0, "on_halt = cancel keeps positions"


def test_on_halt_hold_keeps_open_orders(tmp_path_factory: pytest.TempPathFactory) -> None:
    limits = {"on_halt": "hold", "max_position_per_symbol": 1_000_000.0}  # two strategies share a symbol here
    tree = config_tree(strategies=[own("Resting"), sma_cross("sma", ["EURUSD"])], risk=limits)
    with EngineUnderTest(tmp_path_factory.mktemp("holds"), tree, files=OWN_FILES) as engine:
        before = wait_for(lambda: found if len(found := limit_orders(engine)) == 2 else None, "two resting orders")
        engine.ask("HALT")
        wait_for_refusals(engine, 5)
        assert limit_orders(engine) == before
        assert not engine.records("ORDER_CANCEL")


def test_a_drawdown_at_its_limit_sends_a_risk_violation_and_halts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a market that stands still every round costs the spread, so the limit is reached for certain."""
    tree = config_tree(
        market_data={"volatility": 0.0},
        strategies=[own("Churn")],
        risk={"max_drawdown": -0.005},
    )
    engine = EngineUnderTest(tmp_path_factory.mktemp("drawdown"), tree, files=OWN_FILES)
    violations, states = engine.telemetry("risk_violation"), engine.telemetry("trading_state")
    with engine:
        wait_for(lambda: engine.ask("STATUS")["halted"], "the halt")
        event = wait_for(violations.events, "risk_violation")[0]
        assert tuple(event) == ("type", "symbol", "reason", "current_value", "limit_value")
        assert (event["symbol"], event["reason"], event["limit_value"]) == ("EURUSD", "Max Drawdown Exceeded", -0.005)
        assert event["current_value"] <= -0.005
        state = wait_for(states.events, "trading_state")[0]
        assert (state["state"], state["by"]) == ("HALTED", "risk")
        wait_for_refusals(engine, 5)
        assert_nothing_leaves(engine.journal)
        record = engine.records("RISK_VIOLATION")[0].fields
        realized = int.from_bytes(record["current_value"], "little", signed=True)
        assert realized / 10**12 == event["current_value"]
        assert engine.status_positions() == engine.independent_positions()
        assert engine.stop() == 0

        # After an operator's stop the drawdown counts from what was realized by then (design section 8).
        trades = len(engine.records("ORDER_UPDATE", report=FILL))
        engine.restart()
        wait_for(lambda: len(engine.records("ORDER_UPDATE", report=FILL)) >= trades + 4, "trading goes on")


def test_max_position_refuses_what_could_pass_it_open_orders_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = config_tree(strategies=[own("Resting")], risk={"max_position_per_symbol": 150.0})
    engine = EngineUnderTest(tmp_path_factory.mktemp("limit"), tree, files=OWN_FILES)
    refusals = engine.telemetry("signal_refused")
    with engine:
        events = wait_for(lambda: found if len(found := refusals.events()) == 2 else None, "two refused signals")
        for event in events:
            assert tuple(event) == ("type", "strategy", "signal", "symbol", "reason", "detail")
            assert (event["strategy"], event["symbol"], event["reason"]) == (
                "resting", "EURUSD", "max_position_per_symbol",
            )  # fmt: skip
        assert [entry.fields["quantity"] for entry in engine.records("ORDER_PLACE")] == [100_000_000]
