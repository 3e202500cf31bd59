"""What a console knows of an engine: panels, each with the moment up to which it is known to be true.

Pure: a function of the replies, events and records that it is given, and of the times at which it is given them. The
watcher feeds it; page, terminal, metrics and alerts read it. What grows in it has a limit; what does not is as large as
the engine's own tables (symbols, open orders).

Panels are plain JSON and replaced whole; what only grows stands on tapes (equity, prices, fills, log).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from protocol.client.broadcast import BroadcastRecord, TickRecord, TradeRecord
from protocol.client.telemetry import Event, Gap
from protocol.latency import JOURNAL_SYNC, TICK_TO_ORDER, Latencies, is_latency, read_latencies
from protocol.orders import FINAL_STATUSES
from protocol.telemetry import (
    AccountEvent,
    HeartbeatEvent,
    OrderUpdateEvent,
    PositionUpdateEvent,
    TradingStateEvent,
)
from protocol.units import MICROS
from supervisor.dashboard.notices import ERROR, INFO, WARNING, Changes, Notice, Throttle, notice_of
from supervisor.dashboard.tape import Tape

Panel = dict[str, Any]

ORDERS_MAX: Final = 500
"""Open orders that are shown, the newest; the panel says how many there are."""
SIDES_MAX: Final = 20_000
"""Orders whose side is remembered, for the fills to come."""
POINTS_MAX: Final = 3600
"""Of equity and of prices: an hour of seconds."""
FILLS_MAX: Final = 500
LOG_MAX: Final = 500
WINDOW_S: Final = 60
"""Latencies are those of the last minute."""
FILL_WAITS_US: Final = 1_000_000
"""A fill may come before its order's update, on another socket; then its side is not known."""
DEAF_US: Final = 5_000_000
"""A heartbeat comes every second."""

OF_ENGINE: Final = ("engine", "version", "mode", "boot_id", "lsn", "warnings", "disk_low", "telemetry", "broadcast")
"""Of HEALTH's keys."""
MEASURED: Final = {JOURNAL_SYNC: "wal", TICK_TO_ORDER: "order_routing"}
"""Latency -> the child that counts it."""
_FINAL_LABELS: Final = frozenset(status.label for status in FINAL_STATUSES)
PANELS: Final = ("engine", "trading", "account", "positions", "orders", "refusals", "children", "latencies", "market")
TAPES: Final = ("equity", "prices", "fills", "log")


class Picture:
    def __init__(self, on_notice: Callable[[Notice], None] = lambda notice: None) -> None:
        self.versions: Counter[str] = Counter()
        """Panel -> grows with each change."""
        self.known_us: dict[str, int] = dict.fromkeys(PANELS, 0)
        """Panel -> the moment up to which it is known to be true, by this machine's clock."""
        self.tapes = {
            "equity": Tape(POINTS_MAX), "prices": Tape(POINTS_MAX), "fills": Tape(FILLS_MAX), "log": Tape(LOG_MAX)
        }  # fmt: skip
        self.health: Panel = {}
        """The last reply to HEALTH, whole."""
        self.is_reachable = False
        self.why_not = "not asked yet"
        self.hears_from_us = 0
        """Since when its telemetry is listened to, or when its heartbeat was heard last; 0: it has none."""
        self.hears_market_from_us = 0
        """Since when its broadcast is listened to, of this run; 0: it has none."""
        self.wants_snapshot = True
        """STATUS, ORDERS and ACCOUNT are to be asked for anew."""
        self.wants_orders = False
        """An order has come of which not all is known."""
        self.missed: Counter[str] = Counter()
        self.order_statuses: Counter[str] = Counter()
        """How often an order came into each status, as far as it was heard."""
        self._on_notice = on_notice
        self._throttle = Throttle()
        self._changes = Changes()
        self._panels: dict[str, Any] = {}
        """Those that are replaced whole; positions and orders have their tables."""
        self._positions: dict[str, Panel] = {}
        self._orders: OrderedDict[int, Panel] = OrderedDict()
        self._sides: OrderedDict[int, str] = OrderedDict()
        self._quotes: dict[int, tuple[int, TickRecord]] = {}
        """symbol id -> (arrival, newest)."""
        self._symbols: dict[int, str] = {}
        self._fills: deque[tuple[int, TradeRecord]] = deque()
        """(arrival, fill) of those whose order is not known yet."""
        self._latencies: deque[tuple[int, dict[str, Latencies]]] = deque()
        self._warnings: tuple[str, ...] = ()
        self._is_deaf = False
        self._boot_id = self._heard_boot_id = ""
        self._peak = 0.0
        """The highest equity of this run that this console has seen."""

    # Replies.

    def take_health(self, reply: Panel, now_us: int) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            self._note(Notice(now_us, INFO, "reachable", f"{reply['engine']}, version {reply['version']}"))
            self.hears_from_us = now_us if self.hears_from_us else 0  # it was not to be heard while it was away
        if reply["boot_id"] != self._boot_id:
            self._begin_run(reply["boot_id"], now_us)
        if not reply["telemetry"]:
            self.wants_snapshot = True  # nothing else tells of changes
        self.health = reply
        self._put("engine", now_us, {
            key: reply[key] for key in OF_ENGINE
        } | {"reachable": True, "why_not": ""})  # fmt: skip
        trading = reply["trading_state"]
        self._put("trading", now_us, trading)
        self._note(self._changes.of_trading(trading["state"], trading["by"], trading["reason"], now_us))
        for child in reply["children"]:
            self._note(self._changes.of_child(child, now_us))
        self._put("children", now_us, [_child_row(child) for child in reply["children"]])
        self._put("refusals", now_us, self._refusals())
        self._take_latencies(now_us)
        for warning in reply["warnings"]:
            if warning not in self._warnings:
                self._note(Notice(now_us, WARNING, "warning", warning))
        self._warnings = tuple(reply["warnings"])

    def _begin_run(self, boot_id: str, now_us: int) -> None:
        """Another run: ids mean other symbols and orders, money is another's, and nothing is known of it."""
        self._boot_id = boot_id
        self.wants_snapshot = True
        self._changes.new_run()
        self.hears_market_from_us = now_us if self.hears_market_from_us else 0
        for known in (self._quotes, self._fills, self._sides, self._latencies):
            known.clear()
        self._peak = 0.0
        for name in ("equity", "prices"):
            self.tapes[name].clear()

    def _refusals(self) -> dict[str, int]:
        """Reason -> signals: risk's, and those that strategies refused themselves while the disk was nearly full."""
        found = {
            name.removeprefix("refused_"): count
            for name, count in sorted(self.counters_of("risk").items())
            if name.startswith("refused_") and count
        }
        children = self.health["children"]
        if disk_low := sum(child["counters"].get("refused_disk_low", 0) for child in children):
            found["disk_low"] = disk_low
        return found

    def take_silence(self, why: str, now_us: int) -> None:
        """HEALTH was not answered."""
        self.why_not = why
        if self.is_reachable or not self.known_us["engine"]:
            self._note(Notice(now_us, ERROR, "unreachable", why))
        self.is_reachable = False
        before = self._panels.get("engine", {})
        self._put("engine", now_us, before | {"reachable": False, "why_not": why})

    def note_trouble(self, text: str, now_us: int) -> None:
        """The engine answers, and yet something that it was asked for did not come."""
        self._note(Notice(now_us, WARNING, "warning", text))

    def take_snapshot(self, status: Panel, orders: Panel, account: Panel, symbols: Panel, now_us: int) -> None:
        """STATUS, ORDERS, ACCOUNT, SYMBOLS: what is known from telemetry begins anew with them."""
        self.wants_snapshot = self.wants_orders = False
        self._symbols = {row["symbol_id"]: row["symbol"] for row in symbols["symbols"]}
        self._positions = {row["symbol"]: row for row in status["positions"]}
        self._renew("positions", now_us)
        self.take_orders(orders, now_us)
        self._put("account", now_us, {
            key: value for key, value in account.items() if key not in ("status", "strategies")
        })

    def take_orders(self, reply: Panel, now_us: int) -> None:
        self.wants_orders = False
        self._orders = OrderedDict((row["order_id"], row) for row in reply["orders"])
        for row in reply["orders"]:
            self._know_side(row["order_id"], row["side"])
        self._renew("orders", now_us)

    # Events.

    def take_event(self, event: Event, now_us: int) -> None:
        """Of this engine alone: while it is away another one may have its ports, and be heard there."""
        if isinstance(event, HeartbeatEvent):
            self._hear(event.boot_id)
        if self.hears_it:
            self._take_own(event, now_us)

    def _hear(self, boot_id: str) -> None:
        was_heard, self._heard_boot_id = self.hears_it, boot_id
        if self.hears_it and not was_heard:
            self.wants_snapshot = True  # what was said before this heartbeat was not taken in

    @property
    def hears_it(self) -> bool:
        """The feeds bring what the engine says that was asked, as far as that can be known."""
        if not self.is_reachable:
            return False
        return self._heard_boot_id == self._boot_id or not self.health["telemetry"]

    def _take_own(self, event: Event, now_us: int) -> None:
        match event:
            case OrderUpdateEvent():
                self._take_order(event)
            case PositionUpdateEvent():
                self._positions[event.symbol] = {
                    "symbol": event.symbol, "net_quantity": event.net_quantity, "average_price": event.average_price,
                    "realized_pnl": event.realized_pnl,
                }  # fmt: skip
                self.versions["positions"] += 1
            case AccountEvent():
                self._take_account(event, now_us)
            case TradingStateEvent():
                self._put("trading", now_us, {
                    "state": event.state, "by": event.by, "reason": event.reason, "since_us": now_us
                })  # fmt: skip
                self._note(self._changes.of_trading(event.state, event.by, event.reason, now_us))
            case HeartbeatEvent():
                self._confirm(now_us)
            case Gap():
                self.missed.update(event.missed or {"unknown": 1})
                self.wants_snapshot = True
        self._note(notice_of(event, now_us))

    def _confirm(self, now_us: int) -> None:
        """Nothing was missed up to now: what telemetry tells is true."""
        self.hears_from_us, self._is_deaf = now_us, False
        for name in ("positions", "orders"):
            if self.known_us[name] and not self.wants_snapshot:
                self.known_us[name] = now_us

    def _take_order(self, event: OrderUpdateEvent) -> None:
        if event.status != event.previous_status or event.status == "New":
            self.order_statuses[event.status] += 1
        self._know_side(event.order_id, event.side)
        self.versions["orders"] += 1
        if event.status in _FINAL_LABELS:
            self._orders.pop(event.order_id, None)
            return
        row = self._orders.get(event.order_id)
        if row is None:
            self.wants_orders = True
            row = self._orders[event.order_id] = {"order_id": event.order_id}
        row |= {"symbol": event.symbol, "side": event.side}
        row |= {"status": event.status, "quantity": event.quantity, "filled_quantity": event.filled_quantity}

    def _know_side(self, order_id: int, side: str) -> None:
        self._sides[order_id] = side
        while len(self._sides) > SIDES_MAX:
            self._sides.popitem(last=False)

    def _take_account(self, event: AccountEvent, now_us: int) -> None:
        values = {name: getattr(event, name) for name in event.__struct_fields__}
        self._put("account", now_us, self._panels.get("account", {}) | values)
        self._peak = max(self._peak, event.equity)
        newest = self.tapes["equity"].newest()
        if newest is None or now_us // 1_000_000 != newest["time_s"]:
            self.tapes["equity"].append({
                "time_s": now_us // 1_000_000, "equity": event.equity, "balance": event.balance,
                "drawdown": event.equity - self._peak,
            })  # fmt: skip

    # Records.

    def take_record(self, record: BroadcastRecord, now_us: int) -> None:
        if not self.hears_it:
            return
        if isinstance(record, TickRecord):
            self._quotes[record.symbol_id] = now_us, record
            self.known_us["market"] = now_us
        elif isinstance(record, TradeRecord):
            self._fills.append((now_us, record))

    def turn(self, now_us: int) -> None:
        """What time brings: to be called several times a second."""
        while self._fills and (self._fills[0][1].ticket in self._sides or now_us - self._fills[0][0] > FILL_WAITS_US):
            self._book_fill(*self._fills.popleft())
        self._sample_prices(now_us)
        if self.hears_from_us and now_us - self.hears_from_us > DEAF_US and self.is_reachable and not self._is_deaf:
            self._is_deaf = True
            text = "no telemetry comes: does the engine want a key (SEAWALL_KEY), or is the port not reached?"
            self._note(Notice(now_us, WARNING, "warning", text))
        for notice in self._throttle.take(None, now_us):
            self._tell(notice)

    def _book_fill(self, arrived_us: int, fill: TradeRecord) -> None:
        self.tapes["fills"].append({
            "time_us": arrived_us, "order_id": fill.ticket, "symbol": self._symbol(fill.symbol_id),
            "side": self._sides.get(fill.ticket, ""), "quantity": fill.volume_micros / MICROS,
            "price": fill.price_micros / MICROS, "profit": fill.profit_micros / MICROS,
        })  # fmt: skip

    def _sample_prices(self, now_us: int) -> None:
        newest = self.tapes["prices"].newest()
        if not self._quotes or (newest is not None and newest["time_s"] == now_us // 1_000_000):
            return
        market = []
        for symbol_id, (_, tick) in sorted(self._quotes.items()):
            bid, ask = tick.bid_micros / MICROS, tick.ask_micros / MICROS
            market.append({"symbol": self._symbol(symbol_id), "bid": bid, "ask": ask, "time_us": tick.time_us})
        known_us = self.known_us["market"]
        self._put("market", known_us, market)
        if now_us - known_us < 1_000_000:  # a market that stands still draws no line
            mids = {row["symbol"]: (row["bid"] + row["ask"]) / 2 for row in market}
            self.tapes["prices"].append({"time_s": now_us // 1_000_000, "mids": mids})

    def _symbol(self, symbol_id: int) -> str:
        return self._symbols.get(symbol_id, f"#{symbol_id}")

    # What is read.

    def counters_of(self, child: str) -> Mapping[str, int]:
        """As HEALTH last had them; none if there is no such child."""
        rows = self.health.get("children", ())
        return next((row["counters"] for row in rows if row["name"] == child), {})

    def read(self, name: str) -> Any:
        """The panel, whole; None: nothing is known yet."""
        if not self.known_us[name]:
            return None
        if name == "positions":
            return list(self._positions.values())  # rows that are replaced, and never changed
        if name == "orders":
            shown = islice(reversed(self._orders.values()), ORDERS_MAX)
            return {"open": len(self._orders), "rows": [dict(row) for row in shown][::-1]}
        return self._panels.get(name)

    def quote_arrivals(self) -> list[tuple[str, int]]:
        """(symbol, when its newest quote came, or since when one is waited for), by this machine's clock."""
        if not self.hears_market_from_us:
            return []
        waited = self.hears_market_from_us, None
        return [(name, self._quotes.get(symbol_id, waited)[0]) for symbol_id, name in sorted(self._symbols.items())]

    # Details.

    def _take_latencies(self, now_us: int) -> None:
        found = {}
        for name, child in MEASURED.items():
            if (counted := read_latencies(self.counters_of(child), name)) is not None:
                found[name] = counted
        window = self._latencies
        window.append((now_us, found))
        while len(window) > 2 and now_us - window[0][0] > WINDOW_S * 1_000_000:
            window.popleft()
        shown = {}
        for name, counted in found.items():
            begun = next((then[name] for _, then in window if name in then), counted)
            recent = counted.since(begun)
            shown[name] = {
                "p50_us": recent.quantile_us(0.5), "p99_us": recent.quantile_us(0.99), "count": sum(recent.counts)
            }  # fmt: skip
        self._put("latencies", now_us, shown)

    def _put(self, name: str, known_us: int, value: Any) -> None:
        self.known_us[name] = known_us
        if value != self._panels.get(name):
            self._panels[name] = value
            self.versions[name] += 1

    def _renew(self, name: str, known_us: int) -> None:
        self.known_us[name] = known_us
        self.versions[name] += 1

    def _note(self, notice: Notice | None) -> None:
        if notice is not None:
            for said in self._throttle.take(notice, notice.time_us):
                self._tell(said)

    def _tell(self, notice: Notice) -> None:
        self.tapes["log"].append({
            "time_us": notice.time_us, "level": notice.level, "kind": notice.kind, "text": notice.text
        })  # fmt: skip
        self._on_notice(notice)


def _child_row(child: Panel) -> Panel:
    """As HEALTH's row, but for the counters that are shown elsewhere."""
    counters = {name: count for name, count in child["counters"].items() if not is_latency(name)}
    return child | {"counters": counters}
