"""What the gateway publishes: telemetry and binary broadcast, each message at the moment of its change.

Turns the fold's changes into the documented records (design sections 6 and 7) and counts what it sent. Sends never
block: a slow subscriber loses messages and never slows the engine.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from actors.broadcaster import SUBSCRIPTIONS_PER_POLL, Broadcaster, Prefixes
from actors.fold import (
    Change,
    FillBooked,
    Fold,
    OrderChanged,
    OrderReplaced,
    PositionChanged,
    SignalAnswered,
    TradingStateChanged,
    ViolationRecorded,
)
from actors.frames import receive_all
from actors.ledger import Valuation
from protocol.messages import ChildState
from protocol.telemetry import (
    AccountEvent,
    ActorStateEvent,
    ActorStatsEvent,
    HeartbeatEvent,
    OrderUpdateEvent,
    PositionUpdateEvent,
    RiskViolationEvent,
    SignalRefusedEvent,
    Telemetry,
    TradingStateEvent,
    encode_telemetry,
)
from protocol.topics import Topic, order_type_byte
from protocol.units import MICROS, PRODUCT, bytes_to_product, product_to_micros

Subscription = tuple[zmq.Socket[bytes], Callable[[], None]]


class Publisher:
    """Either socket may be None: it is turned off in the config."""

    def __init__(
        self, fold: Fold, broadcaster: Broadcaster | None, telemetry: zmq.Socket[bytes] | None, boot_id: str,
        incarnation: int,
    ) -> None:
        self._fold = fold
        self._broadcaster = broadcaster
        self._telemetry = telemetry
        self._boot_id, self._incarnation = boot_id, incarnation
        self._prefixes = Prefixes()
        """Of the telemetry."""
        self._counts: dict[str, int] = {}
        self.account_changed = False

    def subscriptions(self) -> list[Subscription]:
        """The sockets on which subscriptions arrive, and what to do when they do."""
        found: list[Subscription] = []
        if self._broadcaster is not None:
            found.append((self._broadcaster.socket, self._broadcaster.poll_subscriptions))
        if self._telemetry is not None:
            found.append((self._telemetry, self._take_subscriptions))
        return found

    def _take_subscriptions(self) -> None:
        """Every kind is made anyway, for the counts; XPUB itself knows who wants it."""
        if self._telemetry is not None:
            for frames in receive_all(self._telemetry, SUBSCRIPTIONS_PER_POLL):
                for frame in frames:
                    self._prefixes.take(frame)

    def subscribed_bytes(self) -> int:
        """As Broadcaster.subscribed_bytes, of the telemetry."""
        return self._prefixes.size_bytes

    # Telemetry.

    def publish(self, event: Telemetry) -> None:
        kind = event.__struct_config__.tag
        assert isinstance(kind, str)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._telemetry is not None:
            try:
                self._telemetry.send(encode_telemetry(event), zmq.NOBLOCK)
            except zmq.Again:
                return  # XPUB drops for the slow by itself; this is a socket without room at all

    def publish_change(self, change: Change) -> None:
        if type(change) is OrderChanged:
            self._publish_order(change)
        elif type(change) is OrderReplaced:
            self._publish_order(OrderChanged(change.order, change.order.status, change.time_us))
        elif type(change) is FillBooked:
            self._publish_fill(change)
        elif type(change) is PositionChanged:
            self._publish_position(change)
        elif type(change) is ViolationRecorded:
            violation = change.violation
            whose = self._fold.strategy(violation.strategy_id)
            self.publish(
                RiskViolationEvent(
                    symbol=self._fold.symbol(violation.symbol_id),
                    reason=violation.reason + (f" of strategy {whose}" if whose else ""),
                    current_value=bytes_to_product(violation.current_value) / PRODUCT,
                    limit_value=bytes_to_product(violation.limit_value) / PRODUCT,
                )
            )
        elif type(change) is TradingStateChanged:
            state = change.state
            self.publish(TradingStateEvent(state=state.mode.name, by=state.by, reason=state.why))
        elif type(change) is SignalAnswered and change.order_id is None:
            self._publish_refused(change)

    def _publish_order(self, change: OrderChanged) -> None:
        order = change.order
        self.publish(
            OrderUpdateEvent(
                order_id=order.order_id,
                symbol=self._fold.symbol(order.symbol_id),
                side=order.side.label,
                status=order.status.label,
                previous_status=change.previous_status.label,
                quantity=order.quantity / MICROS,
                price=order.shown_price_float,
                filled_quantity=order.filled / MICROS,
            )
        )
        if self._broadcaster is not None:
            kind = order_type_byte(order.order_type, order.side, order.status)
            self._broadcaster.publish_order(
                order.order_id, order.symbol_id, change.time_us, kind, order.quantity, order.shown_price_micros
            )

    def _publish_fill(self, change: FillBooked) -> None:
        self.account_changed = True
        if self._broadcaster is not None:
            order = change.order
            self._broadcaster.publish_trade(
                order.order_id, order.symbol_id, change.time_us, change.quantity, change.price,
                product_to_micros(change.realized),
            )  # fmt: skip

    def _publish_position(self, change: PositionChanged) -> None:
        view = self._fold.position_view(change.symbol_id)
        self.publish(
            PositionUpdateEvent(
                symbol=view.symbol,
                net_quantity=view.quantity / MICROS,
                average_price=view.average_price_float,
                realized_pnl=view.realized / PRODUCT,
            )
        )
        if self._broadcaster is not None:
            self._broadcaster.publish_position(
                view.symbol_id, change.time_us, view.quantity, view.average_price_micros,
                product_to_micros(view.realized),
            )  # fmt: skip

    def _publish_refused(self, change: SignalAnswered) -> None:
        self.publish(
            SignalRefusedEvent(
                strategy=self._fold.strategy(change.strategy_id),
                signal=change.signal,
                symbol=self._fold.symbol(change.symbol_id),
                reason=change.reason,
                detail=change.detail,
            )
        )

    def publish_account(self, valuation: Valuation, currency: str, time_us: int) -> None:
        """EQUITY, MARGIN, ACCOUNT and the account event: at an interval and on change."""
        self.account_changed = False
        self.publish(AccountEvent(currency=currency, **valuation.to_floats()._asdict()))
        if self._broadcaster is not None:
            money = valuation.to_micros()
            self._broadcaster.publish_equity(time_us, money.balance, money.equity, money.margin, money.margin_free)
            self._broadcaster.publish_margin(time_us, money.margin, money.margin_free, money.margin_level)
            self._broadcaster.publish_account(
                time_us, money.balance, money.equity, money.profit, money.margin_level
            )

    def publish_child(self, before: ChildState | None, child: ChildState) -> None:
        """actor_state when a child's state changed, actor_stats always."""
        if before is None or (before.state, before.incarnation) != (child.state, child.incarnation):
            self.publish(
                ActorStateEvent(
                    name=child.name,
                    state=child.state,
                    pid=child.pid,
                    incarnation=child.incarnation,
                    restarts=child.restarts,
                )
            )
        self.publish(
            ActorStatsEvent(
                name=child.name,
                cpu_percent=child.cpu_percent,
                memory_bytes=child.memory_bytes,
                lsn=child.lsn,
                market_position=child.market_position,
                counters=child.counters,
            )
        )

    def publish_heartbeat(self, time_us: int) -> None:
        broadcast = self._broadcaster.topic_counts() if self._broadcaster is not None else {}
        self.publish(
            HeartbeatEvent(
                boot_id=self._boot_id,
                incarnation=self._incarnation,
                time_us=time_us,
                telemetry_counts=dict(self._counts),
                broadcast_counts={Topic(topic).name: count for topic, count in broadcast.items()},
            )
        )

    # The market, as it came.

    def publish_ticks(self, records: bytes | memoryview) -> None:
        if self._broadcaster is not None:
            self._broadcaster.publish_tick_records(records)

    def publish_bars(self, records: bytes | memoryview) -> None:
        if self._broadcaster is not None:
            self._broadcaster.publish_bar_records(records)
