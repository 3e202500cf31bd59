"""`seawall wal inspect`: the journal, entry by entry, as it stands in the file.

Reads and never writes, locks or disturbs a live engine's journal. Records are decoded schema-free, as an outsider
would, with the field names of protocol/README.md where they are known; integers stay integers in JSON, and become
units and names in the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import click
import msgpack
import msgspec

from protocol.client import engine_pid
from protocol.errors import ExitCode, WalCorruptError, WalTornTailError
from protocol.orders import OrderType, Report, Side, TimeInForce, TradingMode
from protocol.records import FIRST_STRATEGY, RECORD_TYPES, EntryType, Producer, RunEvent
from protocol.units import bytes_to_product, micros_to_float, product_to_float
from protocol.wal.format import BadEntry, Entry, Envelope, decode_envelope, iterate_entries
from protocol.wal.recovery import Found, Kind, Known, decide, find_later_entry
from protocol.wal.scan import read_journal
from protocol.wal.storage import RealStorage
from protocol.wal.watermark import Watermark
from supervisor.cli.output import Failure, note, print_json, show_number

FIELD_NAMES: Final = {int(kind): record.__struct_fields__ for kind, record in RECORD_TYPES.items()}
MICROS_FIELDS: Final = frozenset(
    {"quantity", "price", "net_quantity", "limit_price", "stop_price", "stop_loss", "take_profit", "commission"}
    | {"conversion_rate"}
)
ID_FIELDS: Final = frozenset({"journal_id", "config_hash", "boot_id", "market_epoch"})
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
}
PLAIN_SHOWN_BYTES: Final = 32
"""Of an entry of a plain log, in the table; JSON has them all."""


@click.group()
def wal() -> None:
    """The write-ahead log."""


@wal.command()
@click.argument("path", metavar="PATH_OR_RUN_DIR", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def inspect(path: Path, output: str) -> None:
    """Every entry, in order. Exit code 160 at a torn tail, 161 at a corrupt place."""
    file = find_journal(path)
    names = Names()
    for entry in read_entries(file):
        names.learn(entry)
        print_json(entry) if output == "json" else click.echo(show_entry(entry, names))


def find_journal(path: Path) -> Path:
    """The journal of a run_dir, of a wal directory, or the file itself."""
    if path.is_file():
        return path
    for candidate in (path / "wal" / "journal.wal", path / "journal.wal"):
        if candidate.is_file():
            return candidate
    raise Failure(ExitCode.USAGE, f"{path} has no wal/journal.wal")


def read_entries(file: Path) -> Iterator[dict[str, Any]]:
    """Every entry of the file as JSON-like values. Raises: Failure at a place that cannot be read."""
    if not _is_journal(file):
        yield from _read_plain(file)
        return
    lsn = 0
    try:
        for envelope, crc, data in read_journal(file):
            lsn = envelope.lsn
            yield describe_entry(envelope, crc, data)
    except (WalTornTailError, WalCorruptError) as error:
        _explain_end(file, error, lsn)


def _is_journal(file: Path) -> bool:
    """Whether the first entry has an envelope that fits it; a plain log's data are anybody's."""
    first = next(iterate_entries(RealStorage().open(file, read_only=True).read(0, 1 << 20)), None)
    if not isinstance(first, Entry):
        return True  # read_journal says what is wrong with it
    envelope = decode_envelope(first.data)
    return envelope is not None and envelope.entry_type == first.entry_type and envelope.lsn == 1


def _read_plain(file: Path) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(iterate_entries(file.read_bytes()), 1):
        if isinstance(entry, BadEntry):
            where = f"{file} at byte {entry.offset} (entry {number})"
            code = ExitCode.TORN if entry.incomplete else ExitCode.CORRUPT
            raise Failure(code, f"{where}: expected {entry.expected}, found {entry.found}")
        yield {"entry": number, "offset": entry.offset, "type": _type_name(entry.entry_type), "data": entry.data.hex()}


def _explain_end(file: Path, error: WalTornTailError | WalCorruptError, lsn: int) -> None:
    """Torn or corrupt by the recovery table, as the next start would see it; a live engine's last entry is neither."""
    if isinstance(error, WalTornTailError):
        if engine_pid(file.parent.parent) is not None:
            note(f"Read up to LSN {lsn}; the running engine is writing the next entry.")
            return
        verdict = Kind.TORN
    else:
        verdict = _decide(file, error, lsn)
    if verdict is Kind.TORN:
        raise Failure(ExitCode.TORN, f"torn tail: {error}")
    raise Failure(ExitCode.CORRUPT, f"corrupt: {error}")


def _decide(file: Path, error: WalCorruptError, lsn: int) -> Kind:
    storage = RealStorage()
    opened = storage.open(file, read_only=True)
    try:
        later = find_later_entry(opened, opened.size(), error.offset, lsn + 1)
    finally:
        opened.close()
    mark = Watermark(file.with_name("watermark"), storage).read()
    bad = BadEntry(error.offset, error.expected, error.found, False)
    known = Known(lsn=mark.lsn if mark else 0)
    return decide(Found(True, lsn, error.offset, bad, later), known).kind


def describe_entry(envelope: Envelope, crc: int, data: bytes) -> dict[str, Any]:
    return {
        "lsn": envelope.lsn,
        "durable_lsn": envelope.durable_lsn,
        "time_us": envelope.time_us,
        "producer": envelope.producer,
        "producer_seq": envelope.producer_seq,
        "previous_crc": envelope.previous_crc,
        "crc": crc,
        "type": _type_name(envelope.entry_type),
        "record": _decode_record(envelope.entry_type, data),
    }


def _type_name(number: int) -> str:
    return EntryType(number).name if number in EntryType.__members__.values() else str(number)


def _decode_record(entry_type: int, data: bytes) -> dict[str, Any] | str:
    """Field name → value; a field that this version does not know is `field_N`, bytes that are no array hex."""
    try:
        values = msgpack.unpackb(data, use_list=True)
    except (ValueError, msgpack.UnpackException):
        return data.hex()
    if not isinstance(values, list):
        return data.hex()
    names = FIELD_NAMES.get(entry_type, ())
    keys = (names[index] if index < len(names) else f"field_{index}" for index in range(len(values)))
    name = _type_name(entry_type)
    return {key: _plain_value(name, key, value) for key, value in zip(keys, values, strict=False)}


def _plain_value(type_name: str, key: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    return bytes_to_product(value) if (type_name, key) in PRODUCT_FIELDS else value.hex()


class Names:
    """The id tables of the last ENGINE_RUN that was read."""

    def __init__(self) -> None:
        self.symbols: Sequence[Any] = ()
        self.strategies: Sequence[Any] = ()

    def learn(self, entry: dict[str, Any]) -> None:
        if entry["type"] == EntryType.ENGINE_RUN.name and isinstance(entry.get("record"), dict):
            self.symbols = [row[0] for row in entry["record"].get("symbols", ())]
            self.strategies = entry["record"].get("strategies", ())

    def symbol(self, number: int) -> str:
        return str(self.symbols[number]) if 0 <= number < len(self.symbols) else f"#{number}"

    def producer(self, number: int) -> str:
        index = number - FIRST_STRATEGY
        if 0 <= index < len(self.strategies):
            return str(self.strategies[index])
        return Producer(number).name.lower() if number in Producer.__members__.values() else f"#{number}"


def show_entry(entry: dict[str, Any], names: Names) -> str:
    """One line: LSN, time, producer, type, fields."""
    if "data" in entry:
        data = entry["data"]
        shown = data[: 2 * PLAIN_SHOWN_BYTES] + ("…" if len(data) > 2 * PLAIN_SHOWN_BYTES else "")
        return f"{entry['entry']:>8}  byte {entry['offset']:<10}  {entry['type']:<15} {len(data) // 2} bytes {shown}"
    record = entry["record"]
    if isinstance(record, dict):
        record = " ".join(_show_field(entry["type"], key, value, names) for key, value in record.items())
    time = _show_time(entry["time_us"])
    return f"{entry['lsn']:>8}  {time}  {names.producer(entry['producer']):<13} {entry['type']:<15} {record}"


def _show_field(type_name: str, key: str, value: Any, names: Names) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"{key}={json.dumps(value, ensure_ascii=False) if isinstance(value, str | list) else value}"
    if key == "symbol_id":
        return f"symbol={names.symbol(value)}"
    if key == "strategy_id":
        return f"strategy={names.producer(value) if value else '-'}"
    if key in ENUM_FIELDS and value in ENUM_FIELDS[key].__members__.values():
        return f"{key}={ENUM_FIELDS[key](value).name}"
    if (type_name, key) in PRODUCT_FIELDS:
        return f"{key}={show_number(product_to_float(value))}"
    if key in MICROS_FIELDS:
        return f"{key}={show_number(micros_to_float(value))}"
    return f"{key}={_show_time(value) if key == 'venue_time' and value else value}"


def _show_time(time_us: int) -> str:
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        return str(time_us)
