"""Telemetry (`gateway.telemetry`, PUB): compact JSON, one frame, `type` always the first key.

So the prefix `{"type":"order_update"` subscribes to one kind. order_update, position_update and
risk_violation have exactly these keys, by contract (design section 7); the others are ours to shape.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all telemetry; the tag is the first key."""


class OrderUpdateEvent(Telemetry, tag="order_update", frozen=True, kw_only=True):
    order_id: int
    symbol: str
    side: str
    status: str
    previous_status: str
    quantity: float
    price: float
    """The average of its fills once there are any, else the limit price, else 0.0."""
    filled_quantity: float


class PositionUpdateEvent(Telemetry, tag="position_update", frozen=True, kw_only=True):
    symbol: str
    net_quantity: float
    average_price: float
    realized_pnl: float


class RiskViolationEvent(Telemetry, tag="risk_violation", frozen=True, kw_only=True):
    symbol: str
    reason: str
    current_value: float
    limit_value: float


class SignalRefusedEvent(Telemetry, tag="signal_refused", frozen=True, kw_only=True):
    strategy: str
    signal: int
    symbol: str
    reason: str
    detail: str


class TradingStateEvent(Telemetry, tag="trading_state", frozen=True, kw_only=True):
    state: str
    by: str
    reason: str


class AccountEvent(Telemetry, tag="account", frozen=True, kw_only=True):
    currency: str
    balance: float
    equity: float
    profit: float
    margin: float
    margin_free: float
    margin_level: float


class ActorStateEvent(Telemetry, tag="actor_state", frozen=True, kw_only=True):
    """A child changed its state: starting, ready, restarting, parked, stopped."""

    name: str
    state: str
    pid: int
    incarnation: int
    restarts: int


class ActorStatsEvent(Telemetry, tag="actor_stats", frozen=True, kw_only=True):
    name: str
    cpu_percent: float
    memory_bytes: int
    lsn: int
    market_position: int
    counters: dict[str, int]


class HeartbeatEvent(Telemetry, tag="heartbeat", frozen=True, kw_only=True):
    """Once a second: what was sent so far, by which a subscriber knows that it missed some."""

    boot_id: str
    incarnation: int
    """Of the gateway: with each life of it the counts begin anew."""
    time_us: int
    telemetry_counts: dict[str, int]
    broadcast_counts: dict[str, int]


_ENCODER: Final = msgspec.json.Encoder()

encode_telemetry = _ENCODER.encode
