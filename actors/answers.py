"""The read-only verbs of the gateway: replies computed from its own fold, marks and what the supervisor said.

Pure reading: nothing here changes anything or waits for anybody. The keys are a contract (protocol/README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from actors.clock import now_us
from actors.conversions import Conversions
from actors.fold import Fold
from actors.journal import JournalClient
from actors.latch import Latch
from actors.ledger import Account, Valuation, value_account
from actors.limit_usage import limit_rows
from actors.marks import Quote
from actors.order_tracker import Order
from actors.scopes import ENGINE, Scopes
from protocol import VERSION
from protocol.commands import (
    AccountReply,
    ChildRow,
    HealthReply,
    LimitsReply,
    OrderRow,
    OrdersReply,
    PositionRow,
    QueueRow,
    Reply,
    StatusReply,
    StrategyAccountRow,
    SymbolRow,
    SymbolsReply,
    TextReply,
    TradingStateRow,
)
from protocol.messages import Children, ChildState, QueueDepth
from protocol.orders import TradingMode
from protocol.queues import QUEUES
from protocol.records import FIRST_STRATEGY
from protocol.settings import Config
from protocol.units import MICROS, PRODUCT


class Sources(Protocol):
    """What the answers are computed from: the gateway."""

    fold: Fold
    latch: Latch
    config: Config
    journal: JournalClient
    children: Children
    marks: dict[int, Quote]
    market_time_us: int


def _counters_of(name: str, rows: Sequence[ChildRow]) -> dict[str, int]:
    """As the child last said; nothing if it has not."""
    return next((row.counters for row in rows if row.name == name), {})


def disk_warnings(rows: Sequence[ChildRow]) -> list[str]:
    """That the disk is nearly full, with what wal and the strategies last said of it."""
    counters = _counters_of("wal", rows)
    refused = sum(row.counters.get("refused_disk_low", 0) for row in rows)
    free_mb, wanted_mb = counters.get("disk_free_mb"), counters.get("disk_wanted_mb")
    room = "" if wanted_mb is None else f" ({free_mb} MB free, {wanted_mb} MB wanted)"
    so_far = f" ({refused} so far)" if refused else ""
    return [
        f"the journal's disk is nearly full{room}: new orders are refused{so_far}; cancels, reductions and fills go on"
    ]


def venue_warnings(rows: Sequence[ChildRow]) -> list[str]:
    """That no order can leave, as order_routing last said of itself."""
    if not _counters_of("order_routing", rows).get("reconciling"):
        return []
    return ["the venue cannot be reached, or its books are being compared: new orders are refused, what closes waits"]


def key_warnings(rows: Sequence[ChildRow]) -> list[str]:
    """That the key files of CURVE are wrong, as the gateway last said of itself."""
    counters = _counters_of("gateway", rows)
    found = {
        "engine_key_unusable": "the engine's key cannot be used: nobody can connect; mend it and restart the gateway",
        "key_list_unusable": "the list of keys cannot be used; the last good one holds, if there is one; see the log",
    }
    return [warning for counter, warning in found.items() if counters.get(counter)]


class Answers:
    def __init__(self, gateway: Sources) -> None:
        self._gateway = gateway
        self._fold = gateway.fold
        self._conversions = Conversions(gateway.config)
        self.verbs: Mapping[str, Callable[[str], Reply]] = {
            "PING": lambda _: TextReply(response="PONG"),
            "STATUS": lambda _: self.status(),
            "HEALTH": lambda _: self.health(),
            "ORDERS": lambda _: self.orders(),
            "SYMBOLS": lambda _: self.symbols(),
            "ACCOUNT": lambda _: self.account(),
            "LIMITS": lambda _: self.limits(),
        }

    def status(self) -> StatusReply:
        positions = [
            PositionRow(
                symbol=view.symbol,
                net_quantity=view.quantity / MICROS,
                average_price=view.average_price_float,
                realized_pnl=view.realized / PRODUCT,
            )
            for view in self._fold.snapshot_positions()
        ]
        return StatusReply(halted=self.is_halted(), positions=positions)

    def is_halted(self) -> bool:
        return self._fold.halted(self._gateway.latch.halt_token)

    def orders(self) -> OrdersReply:
        return OrdersReply(orders=[self._order_row(order) for order in self._fold.tracker.open_orders.values()])

    def _order_row(self, order: Order) -> OrderRow:
        return OrderRow(
            order_id=order.order_id,
            symbol=self._fold.symbol(order.symbol_id),
            side=order.side.label,
            order_type=order.order_type.name.lower(),
            status=order.status.label,
            quantity=order.quantity / MICROS,
            filled_quantity=order.filled / MICROS,
            limit_price=order.limit_price / MICROS,
            average_price=order.average_price_float,
            strategy=self._fold.strategy(order.strategy_id),
            signal=order.signal,
            stop_price=(order.stop_price or order.place.stop_price) / MICROS,
            reduce_only=order.reduce_only,
            cancel_requested=order.cancel_requested,
        )

    def symbols(self) -> SymbolsReply:
        rows = [SymbolRow(symbol_id=index, symbol=name) for index, name in enumerate(self._fold.symbols)]
        return SymbolsReply(symbols=rows)

    def valuation(self) -> Valuation:
        return self._value(self._fold.account)

    def _value(self, account: Account) -> Valuation:
        fold = self._fold
        assert fold.run is not None, "answers begin after the fold"
        marks, conversions = self._gateway.marks, self._conversions
        conversions.take_run(fold.run)
        return value_account(account, marks, fold.multipliers, fold.run.leverage, conversions.rates(marks))

    def account(self) -> AccountReply:
        fold = self._fold
        assert fold.run is not None, "answers begin after the fold"
        values = self.valuation().to_floats()._asdict()
        rows = [self._strategy_account(*named) for named in enumerate(fold.run.strategies, FIRST_STRATEGY)]
        return AccountReply(currency=fold.run.currency, **values, strategies=rows)

    def _strategy_account(self, strategy_id: int, name: str) -> StrategyAccountRow:
        own = self._value(self._fold.account_of(strategy_id)).to_floats()
        return StrategyAccountRow(
            strategy=name, balance=own.balance, equity=own.equity, profit=own.profit, margin=own.margin
        )

    def limits(self) -> LimitsReply:
        gateway, now = self._gateway, now_us()
        scopes = Scopes(gateway.config, self._fold, {})
        scopes.take_run()
        scopes.marks.quotes, scopes.marks.newest_us = gateway.marks, gateway.market_time_us
        rows = list(limit_rows(scopes, gateway.config.risk, ENGINE, "", now))
        for strategy in gateway.config.strategies:
            rows += limit_rows(scopes, strategy.limits, self._fold.strategy_id(strategy.name), strategy.name, now)
        return LimitsReply(limits=rows)

    def health(self) -> HealthReply:
        gateway, run = self._gateway, self._fold.run
        assert run is not None, "answers begin after the fold"
        rows = [self._child_row(child) for child in gateway.children.children]
        return HealthReply(
            engine=gateway.config.engine.name,
            version=VERSION,
            mode=gateway.config.engine.mode,
            boot_id=run.boot_id.hex(),
            time_us=now_us(),
            trading_state=self._trading_state(),
            lsn=self._fold.lsn,
            market_position=max((row.market_position for row in rows), default=0),
            children=rows,
            disk_low=gateway.journal.disk_low,
            warnings=[
                *(disk_warnings(rows) if gateway.journal.disk_low else []), *venue_warnings(rows), *key_warnings(rows)
            ],
            telemetry=gateway.config.gateway.telemetry,
            broadcast=gateway.config.gateway.broadcast,
        )

    def _trading_state(self) -> TradingStateRow:
        """The page's word if it is ahead of the journal's."""
        trading, latch = self._fold.trading, self._gateway.latch
        if self.is_halted() and trading.mode is not TradingMode.HALTED:
            return TradingStateRow(state="HALTED", by=latch.who(), reason=latch.reason(), since_us=latch.since_us())
        return TradingStateRow(
            state=trading.mode.name, by=trading.by, reason=trading.why, since_us=trading.since_us
        )

    def _child_row(self, child: ChildState) -> ChildRow:
        return ChildRow(
            name=child.name,
            state=child.state,
            pid=child.pid,
            incarnation=child.incarnation,
            restarts=child.restarts,
            cpu_percent=child.cpu_percent,
            memory_bytes=child.memory_bytes,
            lsn=child.lsn,
            journal_lag=max(0, self._fold.lsn - child.lsn) if child.lsn else 0,
            market_position=child.market_position,
            counters=child.counters,
            started_us=child.started_us,
            last_error=child.last_error,
            queues=[_queue_row(queue) for queue in child.queues],
        )


def _queue_row(queue: QueueDepth) -> QueueRow:
    when_full = QUEUES[queue.name].when_full
    return QueueRow(name=queue.name, peer=queue.peer, depth=queue.depth, limit=queue.limit, when_full=when_full)
