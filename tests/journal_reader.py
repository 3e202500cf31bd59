"""A second opinion of the journal: read by its documentation (protocol/README.md) with struct, zlib and msgpack.

It imports nothing of the project, and folds positions in fractions (fraction_ledger.py) where the engine uses integers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack
import zstandard
from fraction_ledger import Held

LOOKS_MAX: Final = 100
FIELDS: Final = {
    "POSITION_OPEN": "cause_lsn symbol_id order_id quantity price net_quantity open_cost",
    "POSITION_CLOSE": "cause_lsn symbol_id order_id quantity price net_quantity open_cost realized",
    "POSITION_MODIFY": "strategy_id symbol_id signal stop_loss take_profit trail side quantity group "
    "stop_loss_order_id take_profit_order_id stop_losses take_profits market_epoch market_position",
    "ORDER_PLACE": "order_id strategy_id signal symbol_id side order_type quantity limit_price stop_price "
    "time_in_force stop_loss take_profit stop_loss_order_id take_profit_order_id reduce_only market_epoch "
    "market_position trail expire_us oco protects",
    "ORDER_CANCEL": "order_id strategy_id signal by",
    "ORDER_REPLACE": "order_id strategy_id signal quantity limit_price stop_price trail expire_us",
    "BALANCE_CHANGE": "cause_lsn order_id profit commission balance",
    "ORDER_UPDATE": "order_id report execution_id price quantity commission conversion_rate reason venue_time "
    "venue_seq conversion_base",
    "TRADING_STATE": "state by reason token",
    "RISK_VIOLATION": "symbol_id reason current_value limit_value strategy_id day",
    "ENGINE_RUN": "journal_id event by version config_hash boot_id halt_token balance currency leverage symbols "
    "strategies quote_currencies",
    "SIGNAL_REFUSED": "strategy_id signal symbol_id reason detail",
    "COMMAND": "token verb argument by ends_lsn outcome",
    "ADJUST": "kind symbol_id amount quantity nights venue_time command_lsn venue_seq",
    "CHECKPOINT": "journal_id run run_lsn producers states",
}
"""The first fields of each record, in order."""
TYPES: Final = {
    1: "POSITION_OPEN",
    2: "POSITION_CLOSE",
    3: "POSITION_MODIFY",
    4: "ORDER_PLACE",
    5: "ORDER_CANCEL",
    6: "BALANCE_CHANGE",
    7: "CHECKPOINT",
    8: "ORDER_UPDATE",
    9: "TRADING_STATE",
    10: "RISK_VIOLATION",
    12: "ENGINE_RUN",
    13: "SIGNAL_REFUSED",
    14: "ORDER_REPLACE",
    15: "COMMAND",
    16: "ADJUST",
}
FILL, SELL, HALTED, START, STOP = 2, 1, 2, 0, 1
MICROS: Final = 10**6


class JournalEntry(NamedTuple):
    name: str
    lsn: int
    durable_lsn: int
    time_us: int
    producer: int
    producer_seq: int
    crc: int
    fields: Mapping[str, Any]


class Holding(NamedTuple):
    """As STATUS shows a position."""

    net_quantity: float
    average_price: float
    realized_pnl: float


def read_entries(path: Path) -> list[JournalEntry]:
    """Every whole entry, sealed files first, each checked against the one before, across files too; an entry that is
    just being written is left out. A live engine may roll and pack files meanwhile: then they are read once more."""
    for _ in range(LOOKS_MAX):
        before = _names(path)
        try:
            data = b"".join(_content(path.with_name(name)) for name in before)
        except FileNotFoundError:
            continue
        if _names(path) == before:
            return _entries(data)
    raise AssertionError(f"{path.parent} changes faster than it can be read")


def _names(path: Path) -> list[str]:
    """In the order of their LSNs; of a file that stands there plain and packed, the plain one."""
    sealed = [name for name in path.parent.glob("journal-*.wal*") if not name.name.endswith(".new")]
    # Between a roll's link and its rename the journal has two names.
    names = sorted(name.name for name in sealed if not _is_same(name, path))
    plain = [name for name in names if not (name.endswith(".zst") and name.removesuffix(".zst") in names)]
    return [*plain, path.name] if path.exists() else plain


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if not path.name.endswith(".zst"):
        return data
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _entries(data: bytes) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    offset, crc, last = 0, 0, 0
    while offset + 13 <= len(data):
        magic, kind, length, checksum = struct.unpack_from("<IBII", data, offset)
        body = data[offset + 13 : offset + 13 + length]
        if len(body) < length:
            break
        assert magic == 0x48515457, f"byte {offset}: magic {magic:#x}"
        assert zlib.crc32(body) == checksum, f"byte {offset}: crc32"
        inner, lsn, durable, previous, time_us, producer, seq = struct.unpack_from("<BQQIQBQ", body)
        if not entries and TYPES[kind] == "CHECKPOINT":
            last, crc = lsn - 1, previous  # what was before is kept no longer
        assert (inner, lsn, previous) == (kind, last + 1, crc), f"byte {offset}: LSN {lsn} does not follow"
        values = msgpack.unpackb(body[38:], raw=False)
        fields = dict(zip(FIELDS[TYPES[kind]].split(), values, strict=False))
        entries.append(JournalEntry(TYPES[kind], lsn, durable, time_us, producer, seq, checksum, fields))
        offset, crc, last = offset + 13 + length, checksum, lsn
    return entries


class PositionFold:
    """Positions from ENGINE_RUN, ORDER_PLACE and ORDER_UPDATE fills alone, in fractions of one unit."""

    def __init__(self) -> None:
        self._symbols: list[tuple[str, Fraction]] = []
        self._orders: dict[int, tuple[int, int]] = {}
        self._executions: set[str] = set()
        self._held: dict[str, Held] = {}
        """By symbol."""
        self._realized: dict[str, Fraction] = {}
        """By symbol, in the account's currency."""

    def apply(self, entry: JournalEntry) -> None:
        fields = entry.fields
        if entry.name == "ENGINE_RUN":
            self._symbols = [(name, Fraction(multiplier, MICROS)) for name, multiplier in fields["symbols"]]
        elif entry.name == "ORDER_PLACE":
            sign = -1 if fields["side"] == SELL else 1
            self._orders[fields["order_id"]] = (fields["symbol_id"], sign)
            for exit_id in (fields["stop_loss_order_id"], fields["take_profit_order_id"]):
                if exit_id:
                    self._orders[exit_id] = (fields["symbol_id"], -sign)
        elif entry.name == "ORDER_UPDATE" and fields["report"] == FILL:
            is_new = fields["execution_id"] not in self._executions
            self._executions.add(fields["execution_id"])
            if is_new:
                self._book(fields)

    def _book(self, fields: Mapping[str, Any]) -> None:
        symbol_id, sign = self._orders[fields["order_id"]]
        symbol, multiplier = self._symbols[symbol_id]
        change, price = sign * Fraction(fields["quantity"], MICROS), Fraction(fields["price"], MICROS)
        before = self._held.get(symbol, Held())
        held = self._held[symbol] = before.after(change, price * multiplier)
        rate = Fraction(fields["conversion_rate"], fields.get("conversion_base", MICROS))
        realized = Fraction(round((held.realized - before.realized) * rate * MICROS**2), MICROS**2)
        self._realized[symbol] = self._realized.get(symbol, Fraction(0)) + realized

    def holdings(self) -> dict[str, Holding]:
        multipliers = dict(self._symbols)
        return {
            symbol: Holding(
                float(held), float(cost / held / multipliers[symbol]) if held else 0.0, float(self._realized[symbol])
            )
            for symbol, (held, cost, _) in self._held.items()
        }
