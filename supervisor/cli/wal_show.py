"""One line of the table for each entry: LSN, time, producer, type, and the fields with their names and units."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final

import msgspec

from protocol.orders import OrderType, Report, Side, TimeInForce, TradingMode
from protocol.records import RECORD_TYPES, AdjustKind, EntryType, RunEvent
from protocol.state import RISK
from protocol.units import micros_to_float, product_to_float
from supervisor.cli.output import show_number
from supervisor.cli.wal_entries import ID_FIELDS, Described, Names

MICROS_FIELDS: Final = frozenset(
    {"quantity", "price", "net_quantity", "limit_price", "stop_price", "stop_loss", "take_profit", "commission"}
    | {"conversion_rate", "conversion_base", "trail"}
)
TIME_FIELDS: Final = frozenset({"venue_time", "expire_us"})
PRODUCT_FIELDS: Final = frozenset(
    (kind.name, field.name)
    for kind, record in RECORD_TYPES.items()
    for field in msgspec.structs.fields(record)
    if field.type is bytes and field.name not in ID_FIELDS
)
"""(record type, field): every binary that is no id is a product."""
ENUM_FIELDS: Final[dict[str, type[IntEnum]]] = {
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "report": Report,
    "state": TradingMode,
    "event": RunEvent,
    "kind": AdjustKind,
}
_ENUM_NAMES: Final = {key: {int(one): one.name for one in enum} for key, enum in ENUM_FIELDS.items()}
PLAIN_SHOWN_BYTES: Final = 32
"""Of an entry of a plain log; JSON has them all."""


def show_entry(entry: Described, names: Names) -> str:
    """One line: LSN, time, producer, type, fields."""
    if "data" in entry:
        data = entry["data"]
        shown = data[: 2 * PLAIN_SHOWN_BYTES] + ("…" if len(data) > 2 * PLAIN_SHOWN_BYTES else "")
        return f"{entry['entry']:>8}  byte {entry['offset']:<10}  {entry['type']:<15} {len(data) // 2} bytes {shown}"
    record = entry["record"]
    if isinstance(record, dict):
        if entry["type"] == EntryType.CHECKPOINT.name:
            record = _show_checkpoint(record, names)
        else:
            record = " ".join(_show_field(entry["type"], key, value, names) for key, value in record.items())
    time = show_time(entry["time_us"])
    return f"{entry['lsn']:>8}  {time}  {names.producer(entry['producer']):<13} {entry['type']:<15} {record}"


def _show_field(type_name: str, key: str, value: Any, names: Names) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"{key}={json.dumps(value, ensure_ascii=False) if isinstance(value, str | list | dict) else value}"
    if key == "symbol_id":
        return f"symbol={names.symbol(value)}"
    if key == "strategy_id":
        return f"strategy={names.producer(value) if value else '-'}"
    if (enum := enum_name(key, value)) is not None:
        return f"{key}={enum}"
    if (type_name, key) in PRODUCT_FIELDS:
        return f"{key}={show_number(product_to_float(value))}"
    if key in MICROS_FIELDS:
        return f"{key}={show_number(micros_to_float(value))}"
    return f"{key}={show_time(value) if key in TIME_FIELDS and value else value}"


def enum_name(key: str, value: Any) -> str | None:
    """`BUY` for side 0; None if the field is none of a closed set, or the value none of its."""
    names = _ENUM_NAMES.get(key)
    return names.get(value) if names else None


def _show_checkpoint(record: Described, names: Names) -> str:
    """What one looks for in a checkpoint: which journal, and of each state whose, as of when and how large."""
    run, states = record.get("run"), record.get("states")
    words = [f"journal_id={record.get('journal_id')}", f"run_lsn={record.get('run_lsn')}"]
    if isinstance(run, dict):
        words.append(f"version={run.get('version')}")
    for who, row in states.items() if isinstance(states, dict) else ():
        state = row.get("state") if isinstance(row, dict) else None
        shown = _show_risk(state, names) if who == RISK and isinstance(state, dict) else ""
        words.append(f"{who}@{row['lsn']}({row['bytes']} bytes{shown})" if isinstance(row, dict) else f"{who}={row}")
    return " ".join(words)


def _show_risk(state: Described, names: Names) -> str:
    held = [
        f"{names.symbol(row['symbol_id'])} {show_number(micros_to_float(row['quantity']))}"
        for row in state.get("positions", ())
        if row["quantity"]
    ]
    trading = state.get("trading", {})
    return (
        f"; {enum_name('state', trading.get('mode'))}, balance {show_number(product_to_float(state['balance']))}, "
        f"{', '.join(held) or 'flat'}, {len(state.get('orders', ()))} open orders, {len(state['owed'])} owed"
    )


def show_time(time_us: int) -> str:
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        return str(time_us)
