"""What `seawall wal export` takes out of the journal: all entries, or the trade list, or the orders.

    entries  one row an entry: the envelope, names for its numbers, and the fields of all record types side by side
    fills    one row a booked fill: whose, what, at which price, what it realized and what was held after it; `time` is
             the journal's clock, `venue_time` the market's
    orders   one row an order when it has ended, and at the end those that are open; an order that was already open
             at the oldest kept file has no time of placing

Fills and orders come from the fold, so an execution that the venue repeated is one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_origin

import msgspec

from actors.fold import Change, FillBooked, Fold, OrderChanged
from actors.order_tracker import Order
from protocol.errors import ExitCode, FoldError, WireError
from protocol.records import RECORD_TYPES, decode_record
from protocol.units import MICROS
from protocol.wal.format import Envelope
from supervisor.cli.output import Failure
from supervisor.cli.wal_entries import Described, Names
from supervisor.cli.wal_filters import Filter, refuse_unknown
from supervisor.cli.wal_journal import Place, Records, is_plain
from supervisor.cli.wal_select import last_of, select_entries, wanted_records
from supervisor.cli.wal_show import ENUM_FIELDS, MICROS_FIELDS, PRODUCT_FIELDS, enum_name
from supervisor.cli.wal_target import STDOUT, checked_target
from supervisor.cli.wal_writers import Column, Kind, Row, write_rows

LEFT_OUT: Final = frozenset({"run", "producers", "states"})
"""Of a CHECKPOINT: what it holds stands in the entries before it; `wal inspect -o json` shows it."""
TIME_FIELDS: Final = frozenset({"venue_time"})


def export_place(place: Place, wanted: Filter, target: str, form: str, table: str, last: int | None = None) -> int:
    """How many rows of `table` stand in `target`, as `form`. Raises: Failure."""
    if target == STDOUT and form == "parquet":
        raise Failure(ExitCode.USAGE, "Parquet goes to a file, not to stdout")
    if place.file is not None and is_plain(place.file):
        raise Failure(ExitCode.USAGE, f"{place.file} is a plain log, of opaque data: there are no columns")
    if wanted.types and table != "entries":
        raise Failure(ExitCode.USAGE, f"--type chooses entries; --table {table} has none")
    target = checked_target(target)
    if table == "entries":
        entries = select_entries(place, wanted, last)
        return write_rows(target, form, ENTRY_COLUMNS, (entry_row(entry, names) for entry, names in entries))
    columns, rows_of = {"fills": (FILL_COLUMNS, fill_rows), "orders": (ORDER_COLUMNS, order_rows)}[table]
    rows = rows_of(wanted_records(place, wanted, None), wanted)
    return write_rows(target, form, columns, last_of(rows, last))


def _columns_of_records() -> Iterator[Column]:
    """The union of all record types' fields, in the order of types."""
    products = {name for _, name in PRODUCT_FIELDS}
    seen: set[str] = set()
    for record in RECORD_TYPES.values():
        for field in msgspec.structs.fields(record):
            if field.name not in seen | LEFT_OUT:
                seen.add(field.name)
                yield Column(field.name, _kind_of(field.name, field.type, products))


def _kind_of(name: str, kind: Any, products: set[str]) -> Kind:
    if name in products:
        return Kind.PRODUCT
    if name in MICROS_FIELDS:
        return Kind.MICROS
    if name in TIME_FIELDS:
        return Kind.TIME
    if name in ENUM_FIELDS or kind in (str, bytes) or get_origin(kind) is tuple:
        return Kind.TEXT
    return Kind.FLAG if kind is bool else Kind.INTEGER


_HEAD: Final = (
    Column("lsn", Kind.INTEGER), Column("time", Kind.TIME), Column("producer", Kind.TEXT), Column("type", Kind.TEXT),
    Column("symbol", Kind.TEXT), Column("strategy", Kind.TEXT),
)  # fmt: skip
_FIELDS: Final = tuple(_columns_of_records())
ENTRY_COLUMNS: Final = (*_HEAD, *_FIELDS)


def entry_row(entry: Described, names: Names) -> Row:
    """Of an entry of the journal; of a record that cannot be decoded only the envelope."""
    record = entry["record"]
    fields = record if isinstance(record, dict) else {}
    head = (
        entry["lsn"], entry["time_us"], names.producer(entry["producer"]), entry["type"],
        names.symbol_of(record) or None, names.strategy_of(record) or None,
    )  # fmt: skip
    return (*head, *(_cell(entry["type"], column, fields.get(column.name)) for column in _FIELDS))


def _cell(type_name: str, column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind is Kind.PRODUCT and (type_name, column.name) not in PRODUCT_FIELDS:
        return value * MICROS  # `commission` is micros in an ORDER_UPDATE
    if column.kind is Kind.TIME:
        return value or None
    if column.kind is Kind.TEXT and not isinstance(value, str):
        name = enum_name(column.name, value)
        return json.dumps(value, ensure_ascii=False) if name is None else name
    return value


# From the fold.


class Fill(NamedTuple):
    lsn: int
    time: int
    venue_time: int
    order_id: int
    execution_id: str
    strategy: str | None
    symbol: str
    side: str
    quantity: int
    price: int
    commission: int
    profit: int
    net_quantity: int


FILL_COLUMNS: Final = (
    Column("lsn", Kind.INTEGER), Column("time", Kind.TIME), Column("venue_time", Kind.TIME),
    Column("order_id", Kind.INTEGER), Column("execution_id", Kind.TEXT), Column("strategy", Kind.TEXT),
    Column("symbol", Kind.TEXT), Column("side", Kind.TEXT), Column("quantity", Kind.MICROS),
    Column("price", Kind.MICROS), Column("commission", Kind.MICROS), Column("profit", Kind.PRODUCT),
    Column("net_quantity", Kind.MICROS),
)  # fmt: skip
ORDER_COLUMNS: Final = (
    Column("order_id", Kind.INTEGER), Column("placed", Kind.TIME), Column("ended", Kind.TIME),
    Column("strategy", Kind.TEXT), Column("signal", Kind.INTEGER), Column("symbol", Kind.TEXT),
    Column("side", Kind.TEXT), Column("order_type", Kind.TEXT), Column("time_in_force", Kind.TEXT),
    Column("quantity", Kind.MICROS), Column("limit_price", Kind.MICROS), Column("stop_price", Kind.MICROS),
    Column("status", Kind.TEXT), Column("filled_quantity", Kind.MICROS), Column("average_price", Kind.MICROS),
    Column("reason", Kind.TEXT),
)  # fmt: skip


def fill_rows(records: Records, wanted: Filter) -> Iterator[Row]:
    """Raises: Failure where the records contradict each other, or cannot be read."""
    fold = Fold()
    for envelope, changes in _apply_all(fold, records):
        for change in changes:
            if isinstance(change, FillBooked) and _takes(wanted, fold, envelope, change.order):
                yield _fill_row(fold, envelope, change)
    _refuse_unknown(wanted, fold)


def _fill_row(fold: Fold, envelope: Envelope, fill: FillBooked) -> Fill:
    place = fill.order.place
    return Fill(
        envelope.lsn, envelope.time_us, fill.time_us, place.order_id, fill.execution_id,
        fold.strategy(place.strategy_id) or None, fold.symbol(place.symbol_id), place.side.name, fill.quantity,
        fill.price, fill.commission, fill.realized, fold.account.position(place.symbol_id).quantity,
    )  # fmt: skip


def order_rows(records: Records, wanted: Filter) -> Iterator[Row]:
    """LSN and time choose by the entry that ended the order, of an open one by its ORDER_PLACE. Raises: Failure."""
    fold, placed, failure = Fold(), dict[int, Envelope](), None
    try:
        for envelope, changes in _apply_all(fold, records):
            for change in changes:
                if isinstance(change, OrderChanged):
                    yield from _row_if_ended(fold, placed, wanted, envelope, change)
    except Failure as error:
        failure = error
    for order_id, order in sorted(fold.tracker.open_orders.items()):
        begun = placed.get(order_id)
        if _takes(wanted, fold, begun, order):
            yield _order_row(fold, order, begun and begun.time_us, None)
    if failure:
        raise failure
    _refuse_unknown(wanted, fold)


def _refuse_unknown(wanted: Filter, fold: Fold) -> None:
    refuse_unknown(wanted, fold.symbols, fold.run.strategies if fold.run else ())


def _row_if_ended(
    fold: Fold, placed: dict[int, Envelope], wanted: Filter, envelope: Envelope, change: OrderChanged
) -> Iterator[Row]:
    order = change.order
    if order.is_open:
        placed.setdefault(order.order_id, envelope)
        return
    begun = placed.pop(order.order_id, None)
    if _takes(wanted, fold, envelope, order):
        yield _order_row(fold, order, begun and begun.time_us, envelope.time_us)


def _apply_all(fold: Fold, records: Records) -> Iterator[tuple[Envelope, list[Change]]]:
    for envelope, _, data in records:
        try:
            changes = fold.apply(envelope, decode_record(envelope.entry_type, data))
        except FoldError as error:
            raise Failure(ExitCode.CORRUPT, str(error)) from error
        except WireError as error:
            raise Failure(ExitCode.CORRUPT, f"journal LSN {envelope.lsn}: {error}") from error
        yield envelope, changes


def _takes(wanted: Filter, fold: Fold, envelope: Envelope | None, order: Order) -> bool:
    if wanted.order not in (None, order.order_id) or wanted.symbol not in (None, fold.symbol(order.symbol_id)):
        return False
    if wanted.strategy not in (None, fold.strategy(order.strategy_id)):
        return False
    return envelope is None or wanted.takes_envelope(envelope, "")


def _order_row(fold: Fold, order: Order, placed_us: int | None, ended_us: int | None) -> Row:
    place = order.place
    return (
        place.order_id, placed_us, ended_us, fold.strategy(place.strategy_id) or None, place.signal,
        fold.symbol(place.symbol_id), place.side.name, place.order_type.name, place.time_in_force.name, place.quantity,
        place.limit_price or None, place.stop_price or None, order.status.label, order.filled,
        order.average_price_micros if order.filled else None, order.reason or None,
    )  # fmt: skip
