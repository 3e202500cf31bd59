"""An entry of the journal as JSON-like values, and the names behind its numbers.

Decoded schema-free, as an outsider would, with the field names of protocol/README.md where they are known: a field of a
newer version is `field_N`, bytes that are no array are hex. Integers stay integers (micros, products, microseconds);
`exact_json` is what `-o json` prints of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, get_args, get_origin

import msgpack
import msgspec

from protocol.records import FIRST_STRATEGY, RECORD_TYPES, Checkpoint, EntryType, Producer
from protocol.state import RISK, FoldState, StrategyState
from protocol.units import PRODUCT_BYTES, bytes_to_product
from protocol.wal.format import Envelope

ID_FIELDS: Final = frozenset({"journal_id", "config_hash", "boot_id", "market_epoch", "epoch"})
"""Binaries that are no products."""
STRATEGY_STATE: Final = "strategy."
"""How the names of strategies' states in a CHECKPOINT begin."""
TEACHING: Final = frozenset({EntryType.ENGINE_RUN, EntryType.CHECKPOINT, EntryType.ORDER_PLACE})
"""The types from which Names learns."""

TOKEN_FIELDS: Final = frozenset({"token", "halt_token", "cleared_token", "halt_tokens"})
"""Random integers of 63 bits."""

Described = dict[str, Any]
_TYPE_NAMES: Final = {int(kind): kind.name for kind in EntryType}
_PRODUCER_NAMES: Final = {int(producer): producer.name.lower() for producer in Producer}
_SAID_AS_IT_IS: Final = frozenset({int, str, bool})
_STRUCTS: Final[dict[int, type[msgspec.Struct]]] = {int(kind): record for kind, record in RECORD_TYPES.items()}


class Product(int):
    """A product, told apart from other integers."""


def exact_json(value: Any, key: str = "") -> Any:
    """What JSON's readers keep exact: products and tokens as strings of digits.

    Many read a number as a double, exact up to 2^53 only: 9,007 units of money in 1e-12, and no token. Always, and not
    from a size on, for a key must not change its type. The other integers stay numbers; of micros 2^53 is 9 billion.
    """
    if key == "saved":  # a strategy's own
        return value
    if isinstance(value, dict):
        return {name: exact_json(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [exact_json(item, key) for item in value]
    is_text = isinstance(value, Product) or (key in TOKEN_FIELDS and isinstance(value, int))
    return str(int(value)) if is_text else value


def describe_entry(envelope: Envelope, crc: int, data: bytes) -> Described:
    return {
        "lsn": envelope.lsn,
        "durable_lsn": envelope.durable_lsn,
        "time_us": envelope.time_us,
        "producer": envelope.producer,
        "producer_seq": envelope.producer_seq,
        "previous_crc": envelope.previous_crc,
        "crc": crc,
        "type": type_name(envelope.entry_type),
        "record": decode_fields(envelope.entry_type, data),
    }


def type_name(number: int) -> str:
    return _TYPE_NAMES.get(number) or str(number)


def decode_fields(entry_type: int, data: bytes) -> Described | str:
    """Field name → value; hex if the bytes are no MessagePack array."""
    values = _unpack(data)
    if not isinstance(values, list):
        return data.hex()
    if entry_type == EntryType.CHECKPOINT:
        return _describe_checkpoint(values)
    return _named(_STRUCTS.get(entry_type), values)


def _unpack(data: bytes) -> Any:
    """None if it cannot be unpacked."""
    try:
        return msgpack.unpackb(data, use_list=True, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None


def _named(struct: type[msgspec.Struct] | None, values: Sequence[Any]) -> Described:
    fields = _fields(struct) if struct else ()
    named = {
        name: value if type(value) in _SAID_AS_IT_IS else _typed(name, kind, value)
        for (name, kind), value in zip(fields, values, strict=False)
    }
    for index in range(len(fields), len(values)):
        named[f"field_{index}"] = _plain(values[index])
    return named


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    """(name, type) in wire order."""
    return tuple((field.name, field.type) for field in msgspec.structs.fields(struct))


def _by_name(struct: type[msgspec.Struct], values: Sequence[Any]) -> Described:
    """As they stand on the wire."""
    return dict(zip((name for name, _ in _fields(struct)), values, strict=False))


def _typed(name: str, kind: Any, value: Any) -> Any:
    if kind is bytes and isinstance(value, bytes) and name not in ID_FIELDS and len(value) == PRODUCT_BYTES:
        return Product(bytes_to_product(value))
    if isinstance(value, list) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _named(kind, value)
    if isinstance(value, list) and get_origin(kind) is tuple:
        inner = get_args(kind)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else [*inner, *[None] * len(value)]
        return [_typed(name, one, item) for one, item in zip(kinds, value, strict=False)]
    return _plain(value)


def _plain(value: Any) -> Any:
    """What JSON can say: bytes as hex, keys as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


# Checkpoints.


def _describe_checkpoint(values: list[Any]) -> Described:
    described = _named(Checkpoint, values)
    raw = _by_name(Checkpoint, values)
    if isinstance(raw.get("run"), bytes):
        described["run"] = decode_fields(EntryType.ENGINE_RUN, raw["run"])
    if isinstance(raw.get("states"), list):
        described["states"] = dict(_describe_states(raw["states"]))
    return described


def _describe_states(rows: list[Any]) -> Iterator[tuple[str, Any]]:
    for row in rows:
        match row:
            case [who, lsn, bytes(state), *_]:
                yield str(who), {"lsn": lsn, "bytes": len(state), "state": _describe_state(str(who), state)}
            case _:
                yield f"unreadable {len(str(row))}", _plain(row)


def _describe_state(who: str, state: bytes) -> Any:
    values = _unpack(state)
    if values is None:
        return state.hex()
    if not isinstance(values, list):
        return _plain(values)
    if who.startswith(STRATEGY_STATE):
        return _named(StrategyState, values)
    if who != RISK:
        return _plain(values)
    described = _named(FoldState, values)
    described["owed"] = [_describe_owed(row) for row in _by_name(FoldState, values).get("owed") or ()]
    return described


def _describe_owed(row: Any) -> Any:
    match row:
        case [int(kind), bytes(record)]:
            return {"type": type_name(kind), "record": decode_fields(kind, record)}
        case _:
            return _plain(row)


class Names:
    """The names behind ids: the tables of the last ENGINE_RUN, and whose and in what each order is.

    Of orders it remembers those placed since the last CHECKPOINT but one, and those that were open at the last: what
    comes later of an older one cannot be told by symbol or strategy. So memory stays bounded.
    """

    def __init__(self) -> None:
        self.symbols: Sequence[Any] = ()
        self.strategies: Sequence[Any] = ()
        self._orders: dict[int, tuple[int, int]] = {}
        self._older_orders: dict[int, tuple[int, int]] = {}

    def learn(self, envelope: Envelope, data: bytes) -> None:
        """From an entry of the types in TEACHING; others teach nothing."""
        if envelope.entry_type in TEACHING:
            record = decode_fields(envelope.entry_type, data)
            if isinstance(record, dict):
                self._learn(envelope.entry_type, record)

    def _learn(self, entry_type: int, record: Described) -> None:
        if entry_type == EntryType.ORDER_PLACE:
            self._learn_order(record)
        elif entry_type == EntryType.ENGINE_RUN:
            self.symbols = [row[0] for row in record.get("symbols", ())]
            self.strategies = record.get("strategies", ())
        elif isinstance(record.get("run"), dict):
            self._learn(EntryType.ENGINE_RUN, record["run"])
            self._older_orders, self._orders = self._orders, {}
            for place in open_orders(record):
                self._learn_order(place)

    def _learn_order(self, place: Described) -> None:
        owner = (place.get("symbol_id", -1), place.get("strategy_id", 0))
        for key in ("order_id", "stop_loss_order_id", "take_profit_order_id"):
            if place.get(key):
                self._orders[place[key]] = owner

    @property
    def all_strategies(self) -> list[str]:
        """Strategies, then the other producers: what a filter by strategy may name."""
        return [*map(str, self.strategies), *_PRODUCER_NAMES.values()]

    def symbol(self, number: int) -> str:
        return str(self.symbols[number]) if 0 <= number < len(self.symbols) else f"#{number}"

    def producer(self, number: int) -> str:
        index = number - FIRST_STRATEGY
        if 0 <= index < len(self.strategies):
            return str(self.strategies[index])
        return _PRODUCER_NAMES.get(number) or f"#{number}"

    def symbol_of(self, record: Any) -> str:
        """Of whatever record: by its symbol_id, or by its order. "" if it has neither."""
        number = self._look_up(record, "symbol_id", 0)
        return "" if number is None else self.symbol(number)

    def strategy_of(self, record: Any) -> str:
        number = self._look_up(record, "strategy_id", 1)
        return self.producer(number) if number else ""

    def _look_up(self, record: Any, key: str, index: int) -> int | None:
        if not isinstance(record, dict):
            return None
        number = record.get(key)
        if number is None or (key == "strategy_id" and not number):
            order_id = record.get("order_id")
            owner = self._orders.get(order_id) or self._older_orders.get(order_id) if order_id else None
            number = owner[index] if owner else None
        return number if isinstance(number, int) else None


def open_orders(checkpoint: Described) -> list[Described]:
    """The ORDER_PLACEs of the orders that were open at the CHECKPOINT."""
    states = checkpoint.get("states")
    risk = states.get(RISK) if isinstance(states, dict) else None
    state = risk.get("state") if isinstance(risk, dict) else None
    orders = state.get("orders") if isinstance(state, dict) else None
    return [one["place"] for one in orders or () if isinstance(one, dict) and isinstance(one.get("place"), dict)]
