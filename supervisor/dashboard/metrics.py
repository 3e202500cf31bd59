"""The picture as Prometheus metrics, made when they are asked for.

What counts is counted by the engine's own processes and begins anew with their lives, as Prometheus expects. What is
not known is left out, but for `seawall_up`. The names are a contract: rules and dashboards in deploy/ are made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.clock import now_us
from protocol.latency import BOUNDS_US, is_latency, read_latencies
from protocol.orders import TradingMode
from supervisor.dashboard.picture import MEASURED, Picture
from supervisor.dashboard.watcher import Watcher

VALUES: Final = frozenset({
    "disk_free_mb", "disk_wanted_mb", "disk_low", "reconciling", "open_files", "known_keys", "engine_key_unusable",
    "key_list_unusable", "data_time_us", "work_total",
})  # fmt: skip
"""Among what HEALTH calls counters those that may fall."""
UP_STATES: Final = ("ready", "slow")
_SECONDS: Final = 1_000_000


class EngineCollector(Collector):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        yield from self._watcher.read(lambda picture: list(metrics_of(picture, now_us())))


def metrics_of(picture: Picture, now: int) -> Iterator[Metric]:
    yield _gauge("seawall_up", "1: the engine answers", float(picture.is_reachable))
    yield _counter("seawall_telemetry_missed", "Events that this console missed", float(picture.missed.total()))
    if picture.hears_from_us:
        age_s = (now - picture.hears_from_us) / _SECONDS
        yield _gauge("seawall_telemetry_age_seconds", "Since the last heartbeat", age_s)
    if not picture.is_reachable:
        return
    yield from _engine(picture)
    yield from _children(picture)
    yield from _latencies(picture)
    yield from _orders(picture)
    yield from _money(picture)
    yield from _market(picture, now)


def _engine(picture: Picture) -> Iterator[Metric]:
    engine, state = picture.read("engine"), picture.read("trading")["state"]
    trading = GaugeMetricFamily("seawall_trading_state", "1 for the present state", labels=["state"])
    for mode in TradingMode:
        trading.add_metric([mode.name], float(mode.name == state))
    yield trading
    yield _gauge("seawall_journal_lsn", "Of the gateway's fold", engine["lsn"])
    yield _gauge("seawall_disk_low", "1: the journal's disk is nearly full, new orders are refused", engine["disk_low"])


def _children(picture: Picture) -> Iterator[Metric]:
    rows = picture.read("children")
    up = GaugeMetricFamily("seawall_child_up", "1: it is ready, or slow", labels=["child"])
    state = GaugeMetricFamily("seawall_child_state", "1 for the present state", labels=["child", "state"])
    restarts = CounterMetricFamily("seawall_child_restarts", "Of its lives, by an operator too", labels=["child"])
    cpu = GaugeMetricFamily("seawall_child_cpu_percent", "Of one core", labels=["child"])
    memory = GaugeMetricFamily("seawall_child_memory_bytes", "Resident", labels=["child"])
    lag = GaugeMetricFamily("seawall_child_journal_lag_records", "Behind the gateway's tail", labels=["child"])
    depth = GaugeMetricFamily("seawall_queue_depth", "What waits in it", labels=["child", "queue", "peer"])
    limit = GaugeMetricFamily("seawall_queue_limit", "What it holds", labels=["child", "queue", "peer"])
    events = CounterMetricFamily("seawall_child_events", "The child's own counters", labels=["child", "event"])
    values = GaugeMetricFamily("seawall_child_value", "What the child says of itself", labels=["child", "name"])
    for row in rows:
        name = row["name"]
        up.add_metric([name], float(row["state"] in UP_STATES))
        state.add_metric([name, row["state"]], 1.0)
        restarts.add_metric([name], row["restarts"])
        cpu.add_metric([name], row["cpu_percent"])
        memory.add_metric([name], row["memory_bytes"])
        lag.add_metric([name], row["journal_lag"])
        for queue in row["queues"]:
            depth.add_metric([name, queue["name"], queue["peer"]], queue["depth"])
            limit.add_metric([name, queue["name"], queue["peer"]], queue["limit"])
        for event, count in row["counters"].items():
            if not is_latency(event):
                (values if event in VALUES else events).add_metric([name, event], count)
    yield from (up, state, restarts, cpu, memory, lag, depth, limit, events, values)


def _latencies(picture: Picture) -> Iterator[Metric]:
    documentation = {"journal_sync": "One sync of the journal", "tick_to_order": "From a tick to the order it caused"}
    for name, child in MEASURED.items():
        counted = read_latencies(picture.counters_of(child), name)
        if counted is None:
            continue
        so_far, buckets = 0, []
        for bound, count in zip((*BOUNDS_US, None), counted.counts, strict=True):
            so_far += count
            buckets.append(("+Inf" if bound is None else str(bound / _SECONDS), so_far))
        family = HistogramMetricFamily(f"seawall_{name}_seconds", documentation[name])
        family.add_metric([], buckets, counted.sum_us / _SECONDS)
        yield family


def _orders(picture: Picture) -> Iterator[Metric]:
    if (orders := picture.read("orders")) is not None:
        yield _gauge("seawall_orders_open", "Open orders", orders["open"])
    heard = CounterMetricFamily("seawall_orders", "Orders that came into a status, as heard", labels=["status"])
    for status, count in sorted(picture.order_statuses.items()):
        heard.add_metric([status], count)
    yield heard
    refused = CounterMetricFamily("seawall_signals_refused", "Signals that a check refused", labels=["reason"])
    for reason, count in (picture.read("refusals") or {}).items():
        refused.add_metric([reason], count)
    yield refused


def _money(picture: Picture) -> Iterator[Metric]:
    account: dict[str, Any] | None = picture.read("account")
    if account is not None:
        for name in ("balance", "equity", "margin"):
            family = GaugeMetricFamily(f"seawall_account_{name}", "In the account's currency", labels=["currency"])
            family.add_metric([account["currency"]], account[name])
            yield family
    quantity = GaugeMetricFamily("seawall_position_quantity", "Net, signed", labels=["symbol"])
    realized = GaugeMetricFamily("seawall_position_realized_profit", "Before commission", labels=["symbol"])
    for row in picture.read("positions") or ():
        quantity.add_metric([row["symbol"]], row["net_quantity"])
        realized.add_metric([row["symbol"]], row["realized_pnl"])
    yield from (quantity, realized)


def _market(picture: Picture, now: int) -> Iterator[Metric]:
    age = GaugeMetricFamily("seawall_market_age_seconds", "Since its newest quote came", labels=["symbol"])
    for symbol, arrived_us in picture.quote_arrivals():
        age.add_metric([symbol], (now - arrived_us) / _SECONDS)
    yield age


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value)
