"""What a console makes of replies, events and records: it shows what it knows, and everything has a limit."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.client.broadcast import TickRecord, TradeRecord
from protocol.client.telemetry import Gap
from protocol.latency import JOURNAL_SYNC, TICK_TO_ORDER, LatencyCounters
from protocol.telemetry import (
    AccountEvent,
    HeartbeatEvent,
    OrderUpdateEvent,
    PositionUpdateEvent,
    RiskViolationEvent,
    SignalRefusedEvent,
    Telemetry,
    TradingStateEvent,
)
from supervisor.dashboard.notices import IN_A_SECOND_MAX, Notice
from supervisor.dashboard.picture import DEAF_US, FILL_WAITS_US, FILLS_MAX, ORDERS_MAX, PANELS, SIDES_MAX, Picture
from supervisor.dashboard.server import Cursor
from supervisor.dashboard.tape import Tape

S = 1_000_000
BEGIN = 1000 * S


def child(name: str, **facts: Any) -> dict[str, Any]:
    row = {"name": name, "state": "ready", "counters": {}, "queues": [], "incarnation": 1, "restarts": 0}
    return row | {"last_error": ""} | facts


def health(*children: dict[str, Any], boot_id: str = "aa", state: str = "ACTIVE", **facts: Any) -> dict[str, Any]:
    return {
        "status": "ok", "engine": "demo", "version": "1", "mode": "paper", "boot_id": boot_id, "time_us": 1, "lsn": 7,
        "trading_state": {"state": state, "by": "", "reason": "", "since_us": 0}, "children": list(children),
        "warnings": [], "disk_low": False, "telemetry": "tcp://x", "broadcast": "",
    } | facts  # fmt: skip


def snapshot(picture: Picture, *orders: dict[str, Any], now: int = BEGIN) -> None:
    account = {"status": "ok", "currency": "USD", "balance": 10.0, "equity": 10.0, "strategies": [{"strategy": "sma"}]}
    picture.take_snapshot(
        {"positions": [{"symbol": "EURUSD", "net_quantity": 1.0}]}, {"orders": list(orders)}, account,
        {"symbols": [{"symbol_id": 3, "symbol": "EURUSD"}]}, now,
    )  # fmt: skip


def order(order_id: int, status: str = "Accepted", before: str = "New", filled: float = 0.0) -> OrderUpdateEvent:
    return OrderUpdateEvent(
        order_id=order_id, symbol="EURUSD", side="Buy", status=status, previous_status=before, quantity=2.0, price=1.1,
        filled_quantity=filled,
    )  # fmt: skip


def beat(boot_id: str = "aa") -> HeartbeatEvent:
    return HeartbeatEvent(boot_id=boot_id, incarnation=1, time_us=1, telemetry_counts={}, broadcast_counts={})


def known(*children: dict[str, Any], told: list[Notice] | None = None) -> Picture:
    """Asked, heard, and asked for everything; what is told of that is not in `told`."""
    picture = Picture(lambda notice: None if told is None else told.append(notice))
    picture.take_health(health(*children), BEGIN)
    picture.take_event(beat(), BEGIN)
    snapshot(picture)
    if told is not None:
        told.clear()
    return picture


def log(picture: Picture) -> list[tuple[str, str]]:
    return [(row["kind"], row["text"]) for row in picture.tapes["log"]]


def test_without_telemetry_everything_is_asked_for_each_time() -> None:
    picture = known()
    assert not picture.wants_snapshot
    picture.take_health(health(telemetry=""), BEGIN + S)
    assert picture.wants_snapshot


def test_before_anything_is_heard_every_panel_is_unknown() -> None:
    picture = Picture()
    assert [picture.read(name) for name in PANELS] == [None] * len(PANELS)
    assert picture.known_us == dict.fromkeys(PANELS, 0)
    assert picture.wants_snapshot


def test_a_snapshot_is_changed_by_events_and_confirmed_by_heartbeats() -> None:
    picture = known()
    event = PositionUpdateEvent(symbol="EURUSD", net_quantity=-2.0, average_price=1.2, realized_pnl=3.0)
    picture.take_event(event, BEGIN + S)
    assert [row["net_quantity"] for row in picture.read("positions")] == [-2.0]
    assert picture.known_us["positions"] == BEGIN, "one event says nothing of the others"
    picture.take_event(beat(), BEGIN + 2 * S)
    assert picture.known_us["positions"] == picture.known_us["orders"] == BEGIN + 2 * S


@pytest.mark.parametrize("gap", [Gap(missed={"order_update": 3}), Gap(missed={})], ids=["counted", "another life"])
def test_behind_a_gap_nothing_is_confirmed_before_a_new_snapshot(gap: Gap) -> None:
    picture = known()
    picture.take_event(gap, BEGIN + S)
    picture.take_event(beat(), BEGIN + S)
    assert picture.wants_snapshot
    assert picture.known_us["positions"] == BEGIN
    assert picture.missed.total() == (3 if gap.missed else 1)
    snapshot(picture, now=BEGIN + 2 * S)
    assert not picture.wants_snapshot
    assert picture.known_us["positions"] == BEGIN + 2 * S


def test_another_run_of_the_engine_is_asked_for_everything_anew() -> None:
    picture = known()
    picture.take_health(health(boot_id="bb"), BEGIN + S)
    assert picture.wants_snapshot


def test_an_order_that_is_not_known_whole_is_asked_for_and_one_that_has_ended_is_gone() -> None:
    picture = known()
    picture.take_event(order(5), BEGIN)
    assert picture.wants_orders
    assert picture.read("orders")["rows"][0] == {
        "order_id": 5, "symbol": "EURUSD", "side": "Buy", "status": "Accepted", "quantity": 2.0, "filled_quantity": 0.0
    }  # fmt: skip
    picture.take_orders({"orders": [{"order_id": 5, "side": "Buy", "limit_price": 1.5}]}, BEGIN)
    picture.take_event(order(5, "PartiallyFilled", "Accepted", 1.0), BEGIN)
    assert not picture.wants_orders
    assert picture.read("orders")["rows"][0]["limit_price"] == 1.5
    picture.take_event(order(5, "Filled", "PartiallyFilled", 2.0), BEGIN)
    assert picture.read("orders") == {"open": 0, "rows": []}
    assert picture.order_statuses == {"Accepted": 1, "PartiallyFilled": 1, "Filled": 1}


def test_of_very_many_orders_the_newest_are_shown_and_all_are_counted() -> None:
    picture = known()
    for number in range(ORDERS_MAX + 7):
        picture.take_event(order(number), BEGIN)
    found = picture.read("orders")
    assert (found["open"], len(found["rows"])) == (ORDERS_MAX + 7, ORDERS_MAX)
    assert found["rows"][-1]["order_id"] == ORDERS_MAX + 6


def fill(ticket: int) -> TradeRecord:
    return TradeRecord(ticket, 3, 1, 2_000_000, 1_100_000, -500_000)


def test_a_fill_waits_for_its_orders_side_but_not_for_ever() -> None:
    picture = known()
    picture.take_record(fill(8), BEGIN)
    picture.turn(BEGIN + 1)
    assert not len(picture.tapes["fills"])
    picture.take_event(order(8, "Filled"), BEGIN + 2)
    picture.turn(BEGIN + 3)
    picture.take_record(fill(9), BEGIN + 4)
    picture.turn(BEGIN + 5 + FILL_WAITS_US)
    assert list(picture.tapes["fills"]) == [
        {
            "time_us": at, "order_id": ticket, "symbol": "EURUSD", "side": side, "quantity": 2.0, "price": 1.1,
            "profit": -0.5,
        }
        for at, ticket, side in ((BEGIN, 8, "Buy"), (BEGIN + 4, 9, ""))
    ]  # fmt: skip


def test_equity_is_one_point_a_second_with_its_fall_from_the_highest() -> None:
    picture = known()
    for at, equity in ((0, 100.0), (S // 2, 130.0), (S, 120.0), (2 * S, 140.0)):
        values = {"balance": 1.0, "profit": 0.0, "margin": 0.0, "margin_free": 0.0, "margin_level": 0.0}
        picture.take_event(AccountEvent(currency="USD", equity=equity, **values), BEGIN + at)
    points = [(row["time_s"] - 1000, row["equity"], row["drawdown"]) for row in picture.tapes["equity"]]
    assert points == [(0, 100.0, 0.0), (1, 120.0, -10.0), (2, 140.0, 0.0)]
    assert "strategies" not in picture.read("account"), "events do not bring them: they would grow old unseen"


def test_prices_are_one_point_a_second_and_none_while_the_market_stands_still() -> None:
    picture = known()
    for at in (0, S // 2, S, 5 * S):
        if at < 5 * S:
            picture.take_record(TickRecord(3, 77, 1_000_000 + at, 1_200_000 + at), BEGIN + at)
        picture.turn(BEGIN + at)
    assert [(row["time_s"] - 1000, row["mids"]) for row in picture.tapes["prices"]] == [
        (0, {"EURUSD": 1.1}), (1, {"EURUSD": 2.1}),
    ]  # fmt: skip
    assert picture.read("market") == [{"symbol": "EURUSD", "bid": 2.0, "ask": 2.2, "time_us": 77}]
    assert picture.known_us["market"] == BEGIN + S, "its age goes on"
    assert picture.quote_arrivals() == [], "the broadcast is not listened to"
    picture.hears_market_from_us = BEGIN
    assert picture.quote_arrivals() == [("EURUSD", BEGIN + S)]


def test_latencies_are_those_of_the_last_minute() -> None:
    counters: dict[str, int] = {}
    sync = LatencyCounters(counters, JOURNAL_SYNC)
    picture = known()
    for second in range(100):
        sync.note(80 if second > 30 else 900_000)
        picture.take_health(health(child("wal", counters=dict(counters))), BEGIN + second * S)
        if not second:
            assert picture.read("latencies")[JOURNAL_SYNC]["count"] == 0, "the whole life is no minute"
    assert picture.read("latencies") == {JOURNAL_SYNC: {"p50_us": 100, "p99_us": 100, "count": 60}}
    assert TICK_TO_ORDER not in picture.read("latencies")
    assert picture.read("children")[0]["counters"] == {}, "they are shown once"


def test_refusals_are_risks_own_counters() -> None:
    risk = child("risk", counters={"refused": 5, "refused_price_collar": 4, "refused_halted": 1, "refused_lot": 0})
    assert known(risk).read("refusals") == {"price_collar": 4, "halted": 1}


def test_silence_is_said_once_and_what_was_known_keeps_its_age() -> None:
    picture = known()
    for second in (1, 2):
        picture.take_silence("no answer within 2 s", BEGIN + second * S)
    assert not picture.is_reachable
    assert picture.read("engine")["engine"] == "demo"
    assert (picture.read("engine")["reachable"], picture.read("engine")["why_not"]) == (False, "no answer within 2 s")
    assert picture.known_us["trading"] == BEGIN
    picture.take_health(health(), BEGIN + 3 * S)
    assert [kind for kind, _ in log(picture)] == ["reachable", "unreachable", "reachable"]


def test_an_engine_that_was_never_there_is_said_too() -> None:
    picture = Picture()
    picture.take_silence("no engine is running", BEGIN)
    assert log(picture) == [("unreachable", "no engine is running")]


def test_a_feed_that_brings_nothing_is_said_with_what_to_look_at() -> None:
    picture = known()
    picture.hears_from_us = BEGIN
    for at in (DEAF_US, DEAF_US + 1, DEAF_US + 2):
        picture.turn(BEGIN + at)
    assert [kind for kind, text in log(picture) if "SEAWALL_KEY" in text] == ["warning"]


SAID: list[tuple[Telemetry | Gap, str, str]] = [
    (TradingStateEvent(state="HALTED", by="risk", reason="enough"), "halted", "HALTED by risk: enough"),
    (TradingStateEvent(state="REDUCING", by="x", reason=""), "reducing", "REDUCING by x"),
    (TradingStateEvent(state="ACTIVE", by="x", reason=""), "active", "ACTIVE by x"),
    (
        RiskViolationEvent(symbol="", reason="Max Drawdown Exceeded", current_value=-5.0, limit_value=-4.0),
        "violation", "account: Max Drawdown Exceeded, -5 (limit -4)",
    ),
    (
        SignalRefusedEvent(strategy="sma", signal=3, symbol="EURUSD", reason="price_collar", detail="1.2"), "refused",
        "sma's signal 3 in EURUSD: price_collar (1.2)",
    ),
    (order(4, "Rejected"), "rejected", "order 4: Buy 2 EURUSD"),
    (Gap(missed={"order_update": 2}), "missed", "2 order_update"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "kind", "text"), SAID, ids=lambda value: value if isinstance(value, str) else "")
def test_what_an_operator_would_want_to_have_heard_is_said(event: Telemetry | Gap, kind: str, text: str) -> None:
    told: list[Notice] = []
    picture = known(told=told)
    if isinstance(event, TradingStateEvent) and event.state == "ACTIVE":
        picture.take_event(TradingStateEvent(state="HALTED", by="y", reason=""), BEGIN)
        told.clear()
    picture.take_event(event, BEGIN)
    assert log(picture)[-1] == (kind, text)
    assert [(notice.kind, notice.text, notice.time_us) for notice in told] == [(kind, text, BEGIN)]


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        ({"state": "dead", "last_error": "killed"}, "error", "wal dead: killed"),
        ({"state": "hung"}, "error", "wal hung"),
        ({"state": "slow"}, "warning", "wal slow"),
        ({"incarnation": 2, "restarts": 1, "last_error": "killed"}, "warning", "wal ready, life 2: killed"),
    ],
    ids=["dead", "hung", "slow", "a life that ended between two looks"],
)
def test_what_becomes_of_a_process_is_said(facts: dict[str, Any], level: str, text: str) -> None:
    picture = known(child("wal"), child("risk"))
    for second in (1, 2):
        picture.take_health(health(child("wal", **facts), child("risk")), BEGIN + second * S)
    assert [(row["level"], row["text"]) for row in picture.tapes["log"] if row["kind"] == "child"] == [(level, text)]


def test_a_restart_that_is_seen_halfway_is_a_new_life_all_the_same() -> None:
    picture = known(child("wal"))
    life = {"incarnation": 2, "restarts": 1, "last_error": "killed"}
    for second, state in enumerate(("starting", "ready", "ready"), 1):
        picture.take_health(health(child("wal", **life, state=state)), BEGIN + second * S)
    assert [text for kind, text in log(picture) if kind == "child"] == ["wal ready, life 2: killed"]


def test_what_health_misses_for_a_while_is_not_forgotten() -> None:
    picture = known(child("wal"))
    picture.take_health(health(), BEGIN + S)
    picture.take_health(health(child("wal", incarnation=2, restarts=1)), BEGIN + 2 * S)
    assert ("child", "wal ready, life 2") in log(picture)


@pytest.mark.parametrize("source", ["HEALTH", "telemetry", "both"])
def test_a_halt_is_said_once_whoever_tells_of_it(source: str) -> None:
    picture = known()
    if source != "HEALTH":
        picture.take_event(TradingStateEvent(state="HALTED", by="cli", reason="enough"), BEGIN)
    if source != "telemetry":
        reply = health()
        reply["trading_state"] |= {"state": "HALTED", "by": "cli", "reason": "enough"}
        for second in (1, 2):
            picture.take_health(reply, BEGIN + second * S)
    assert [text for kind, text in log(picture) if kind == "halted"] == ["HALTED by cli: enough"]


def test_an_engine_that_is_halted_when_one_begins_to_look_is_said_to_be() -> None:
    picture = Picture()
    picture.take_health(health(state="HALTED"), BEGIN)
    assert ("halted", "HALTED") in log(picture)


def test_of_another_run_no_quote_fill_or_equity_is_carried_over() -> None:
    picture = known()
    picture.take_record(TickRecord(3, 77, 1_000_000, 1_200_000), BEGIN)
    picture.turn(BEGIN)
    values = {"balance": 1.0, "profit": 0.0, "margin": 0.0, "margin_free": 0.0, "margin_level": 0.0}
    picture.take_event(AccountEvent(currency="USD", equity=100.0, **values), BEGIN)
    picture.take_health(health(boot_id="bb"), BEGIN + S)
    picture.take_event(beat("bb"), BEGIN + S)
    assert (len(picture.tapes["equity"]), len(picture.tapes["prices"])) == (0, 0)
    picture.take_event(AccountEvent(currency="USD", equity=40.0, **values), BEGIN + S)
    picture.turn(BEGIN + S)
    assert [row["drawdown"] for row in picture.tapes["equity"]] == [0.0]
    assert len(picture.tapes["prices"]) == 0


def test_an_outage_is_no_deafness() -> None:
    picture = known()
    picture.hears_from_us = BEGIN
    picture.take_silence("away", BEGIN + S)
    picture.take_health(health(), BEGIN + 100 * S)
    picture.turn(BEGIN + 100 * S + 1)
    assert "warning" not in [kind for kind, _ in log(picture)]


def test_each_page_is_told_what_has_changed_since_it_was_told_last() -> None:
    picture, cursor = known(), Cursor()
    picture.take_record(fill(8), BEGIN)
    picture.turn(BEGIN + FILL_WAITS_US + 1)
    first = cursor.changes(picture, BEGIN)
    assert {"engine", "positions", "orders"} <= set(first["panels"])
    assert first["tapes"]["fills"]["is_whole"]
    again = cursor.changes(picture, BEGIN)
    assert (again["panels"], again["tapes"]) == ({}, {})
    picture.take_event(order(5), BEGIN)
    assert set(cursor.changes(picture, BEGIN)["panels"]) == {"orders"}
    for number in range(FILLS_MAX + 3):
        picture.take_record(fill(number), BEGIN)
    picture.turn(BEGIN + FILL_WAITS_US + 1)
    slow = cursor.changes(picture, BEGIN)["tapes"]["fills"]
    assert (slow["is_whole"], len(slow["rows"])) == (True, FILLS_MAX)


def test_a_process_of_another_run_is_no_new_life() -> None:
    picture = known(child("wal"))
    picture.take_health(health(child("wal", incarnation=5, restarts=4), boot_id="bb"), BEGIN + S)
    assert "child" not in [kind for kind, _ in log(picture)]


def test_an_order_that_goes_its_way_is_not_said() -> None:
    picture = known()
    before = log(picture)
    picture.take_event(order(4, "Filled"), BEGIN)
    assert log(picture) == before


def test_what_a_halt_refuses_is_counted_and_does_not_hide_who_has_halted() -> None:
    picture = known()
    before = log(picture)
    event = SignalRefusedEvent(strategy="sma", signal=3, symbol="EURUSD", reason="trading_halted", detail="")
    picture.take_event(event, BEGIN)
    assert log(picture) == before


def test_of_another_engine_at_the_same_ports_nothing_is_taken_in() -> None:
    """While this one is away, or before it has been heard: both have the default ports, say."""
    picture = known()
    foreign = PositionUpdateEvent(symbol="EURUSD", net_quantity=777.0, average_price=1.0, realized_pnl=0.0)

    def is_taken() -> bool:
        picture.take_event(foreign, BEGIN + S)
        picture.take_record(TickRecord(3, 77, 1_000_000, 1_200_000), BEGIN + S)
        picture.turn(BEGIN + S)
        return picture.read("positions")[0]["net_quantity"] == 777.0 or picture.read("market") is not None

    picture.take_silence("stopped", BEGIN)
    assert not is_taken()
    picture.take_event(beat("of another"), BEGIN)
    picture.take_health(health(boot_id="bb"), BEGIN)
    assert not is_taken()
    snapshot(picture)
    picture.take_event(beat("bb"), BEGIN)
    assert picture.wants_snapshot, "what was said before this heartbeat was not taken in"
    assert is_taken()


def test_a_flood_of_one_kind_is_said_in_a_line_and_hides_no_other() -> None:
    picture = known()
    for number in range(5000):
        picture.take_event(
            SignalRefusedEvent(strategy="sma", signal=number, symbol="EURUSD", reason="lot", detail=""), BEGIN
        )
    picture.take_event(TradingStateEvent(state="HALTED", by="risk", reason=""), BEGIN)
    picture.turn(BEGIN + S)
    kinds = [kind for kind, _ in log(picture)]
    assert kinds.count("refused") == IN_A_SECOND_MAX + 1
    assert "halted" in kinds
    assert log(picture)[-1] == ("refused", f"and {5000 - IN_A_SECOND_MAX} more in that second")


def test_everything_has_a_limit() -> None:
    picture = known()
    for number in range(SIDES_MAX + 100):
        picture.take_event(order(number, "Filled"), BEGIN)
        picture.take_record(fill(number), BEGIN)
        picture.turn(BEGIN + number)
    assert len(picture.tapes["fills"]) == FILLS_MAX
    assert len(picture._sides) == SIDES_MAX
    assert not picture._fills


@pytest.mark.parametrize(("seen", "expected"), [(0, [3, 4, 5]), (2, [3, 4, 5]), (4, [5]), (5, []), (6, [])])
def test_a_tape_gives_what_is_new_as_far_as_it_still_has_it(seen: int, expected: list[int]) -> None:
    tape = Tape(3)
    for number in range(1, 6):
        tape.append({"n": number})
    assert [row["n"] for row in tape.since(seen)] == expected
