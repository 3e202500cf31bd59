"""Golden frames of telemetry: the design's three examples verbatim, the others by key and order."""

from __future__ import annotations

import json

import pytest

from protocol import telemetry
from protocol.telemetry import Telemetry, encode_telemetry

GOLDEN: list[tuple[Telemetry, bytes]] = [
    (
        telemetry.OrderUpdateEvent(
            order_id=1, symbol="AAPL", side="Buy", status="Filled", previous_status="Accepted", quantity=1.0,
            price=150.25, filled_quantity=1.0,
        ),
        b'{"type":"order_update","order_id":1,"symbol":"AAPL","side":"Buy","status":"Filled",'
        b'"previous_status":"Accepted","quantity":1.0,"price":150.25,"filled_quantity":1.0}',
    ),
    (
        telemetry.PositionUpdateEvent(symbol="AAPL", net_quantity=1.0, average_price=150.25, realized_pnl=0.0),
        b'{"type":"position_update","symbol":"AAPL","net_quantity":1.0,"average_price":150.25,"realized_pnl":0.0}',
    ),
    (
        telemetry.RiskViolationEvent(
            symbol="AAPL", reason="Max Drawdown Exceeded", current_value=-510.0, limit_value=-500.0
        ),
        b'{"type":"risk_violation","symbol":"AAPL","reason":"Max Drawdown Exceeded","current_value":-510.0,'
        b'"limit_value":-500.0}',
    ),
    (
        telemetry.SignalRefusedEvent(strategy="sma", signal=3, symbol="AAPL", reason="halted", detail=""),
        b'{"type":"signal_refused","strategy":"sma","signal":3,"symbol":"AAPL","reason":"halted","detail":""}',
    ),
    (
        telemetry.TradingStateEvent(state="HALTED", by="gateway", reason="enough"),
        b'{"type":"trading_state","state":"HALTED","by":"gateway","reason":"enough"}',
    ),
    (
        telemetry.AccountEvent(
            currency="USD", balance=10000.0, equity=9990.5, profit=-9.5, margin=1.5, margin_free=9989.0,
            margin_level=666033.333333,
        ),
        b'{"type":"account","currency":"USD","balance":10000.0,"equity":9990.5,"profit":-9.5,"margin":1.5,'
        b'"margin_free":9989.0,"margin_level":666033.333333}',
    ),
    (
        telemetry.ActorStateEvent(name="risk", state="ready", pid=7, incarnation=2, restarts=1),
        b'{"type":"actor_state","name":"risk","state":"ready","pid":7,"incarnation":2,"restarts":1}',
    ),
    (
        telemetry.ActorStatsEvent(
            name="risk", cpu_percent=1.5, memory_bytes=1024, lsn=9, market_position=5, counters={"signals": 3}
        ),
        b'{"type":"actor_stats","name":"risk","cpu_percent":1.5,"memory_bytes":1024,"lsn":9,"market_position":5,'
        b'"counters":{"signals":3}}',
    ),
    (
        telemetry.HeartbeatEvent(
            boot_id="00ff", incarnation=2, time_us=1, telemetry_counts={"account": 2}, broadcast_counts={"TICK": 3}
        ),
        b'{"type":"heartbeat","boot_id":"00ff","incarnation":2,"time_us":1,"telemetry_counts":{"account":2},'
        b'"broadcast_counts":{"TICK":3}}',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "frame"), GOLDEN, ids=lambda value: type(value).__name__)
def test_every_kind_has_its_golden_frame(event: Telemetry, frame: bytes) -> None:
    assert encode_telemetry(event) == frame


@pytest.mark.parametrize(("event", "frame"), GOLDEN, ids=lambda value: type(value).__name__)
def test_type_is_the_first_key_and_a_prefix_to_subscribe_to(event: Telemetry, frame: bytes) -> None:
    pairs = json.loads(encode_telemetry(event), object_pairs_hook=list)
    assert pairs[0][0] == "type"
    assert encode_telemetry(event).startswith(f'{{"type":"{pairs[0][1]}"'.encode())


def test_no_kind_is_without_a_golden_frame() -> None:
    assert {type(event) for event, _ in GOLDEN} == set(Telemetry.__subclasses__())
