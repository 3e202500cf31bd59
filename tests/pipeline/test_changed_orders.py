"""Changes of orders and exits, in engines of processes of which one dies while they are under way."""

from __future__ import annotations

from pathlib import Path

from harness import EngineUnderTest, config_tree, wait_for
from own_files import OWN_FILES, own, seen


def told(engine: EngineUnderTest) -> list[float]:
    """What the strategy knows of its order's quantity."""
    return [event["quantity"] for event in seen(engine, "on_order") if event["status"] == "Accepted"]


def test_a_replace_that_was_under_way_when_order_routing_died_is_done_by_its_next_life_once(tmp_path: Path) -> None:
    tree = config_tree(
        strategies=[own("Replacing")], order_routing={"latency_us": 300_000}, market_data={"rate": 200.0},
    )  # fmt: skip
    with EngineUnderTest(tmp_path, tree, files=OWN_FILES) as engine:
        for killed in range(1, 4):
            wait_for(lambda killed=killed: len(told(engine)) > 2 * killed, "it goes on")
            asked = len(engine.records("ORDER_REPLACE"))
            wait_for(lambda asked=asked: len(engine.records("ORDER_REPLACE")) > asked, "one is under way")
            engine.kill_and_wait_ready("order_routing" if killed < 3 else "risk")
        wait_for(lambda: len(told(engine)) > 8, "it goes on")
        engine.assert_ids_are_used_once()
        assert engine.stop() == 0
        asked_for = [str(entry.fields["signal"]) for entry in engine.records("ORDER_REPLACE")]
        answered = [entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=8)]
        assert answered == asked_for[: len(answered)]
        assert len(asked_for) - len(answered) <= 1
        assert told(engine) == [100.0 + number for number in range(len(told(engine)))]
        assert not engine.log_events("impossible_report")
        assert not engine.log_events("actor_failed")
        assert len(engine.records("ORDER_PLACE")) == 1


def test_the_exits_of_a_position_outlive_every_death_as_two(tmp_path: Path) -> None:
    tree = config_tree(
        strategies=[own("Protected")], order_routing={"latency_us": 100_000}, market_data={"rate": 200.0},
    )  # fmt: skip
    with EngineUnderTest(tmp_path, tree, files=OWN_FILES) as engine:

        def stops() -> list[float]:
            told = seen(engine, "on_order")
            return [e["stop"] for e in told if e["stop"] and e["status"] == "Accepted" and not e["reason"]]

        for number, killed in enumerate(("order_routing", "risk", "order_routing"), 1):
            wait_for(lambda number=number: len(stops()) > 2 * number, "the stop loss moves")
            engine.kill_and_wait_ready(killed)
        wait_for(lambda: len(stops()) > 8, "the stop loss moves")
        engine.assert_ids_are_used_once()
        assert engine.cli("halt", "seawall.toml").returncode == 0
        wait_for(lambda: engine.ask("STATUS")["halted"], "HALTED")
        rows = engine.ask("ORDERS")["orders"]
        assert [(row["order_type"], row["side"], row["quantity"]) for row in rows] == [
            ("stop", "Sell", 100.0), ("limit", "Sell", 100.0),
        ]  # fmt: skip
        assert engine.stop() == 0
        assert len([entry for entry in engine.records("POSITION_MODIFY") if entry.fields["group"]]) == 1
        assert stops() == sorted(set(stops()))
        assert not engine.log_events("impossible_report")
        assert not engine.log_events("actor_failed")
