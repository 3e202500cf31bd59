"""Every decoder that reads bytes from outside or from disk, in one table, and bytes to try it with.

For tests/unit/test_fuzzing.py and tests/faults/fuzz.py. A decoder gives a value or raises what it says; whatever else
comes out of it is a find.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from hypothesis import strategies as st

from actors.latch import Latch, LatchError
from actors.page import read_health
from actors.sources import csv_rows
from actors.sources.csv_files import CsvSource
from actors.venues.books import Books
from actors.venues.desk import DeskError, read_request
from protocol import codec, commands, keys, limits, messages, records, ring_state, settings, state, topics
from protocol.client import broadcast, control, telemetry
from protocol.errors import ConfigError, DataError, GatewayError, WalError, WireError
from protocol.messages import Message
from protocol.ring_state import RiskAnswer, RiskRing, RouterRing, StrategyRing
from protocol.settings import MarketDataSettings, encode_config, load_config
from protocol.wal import WriteAheadLog, scan, watermark
from protocol.wal import format as wal_format
from protocol.wal.format import EntryType
from supervisor import lock, saved_config
from supervisor.cli import wal_entries
from supervisor.cli.wal_filters import LsnRange, Moment

Strategy = st.SearchStrategy[Any]
SYMBOLS: Final = ("EURUSD", "GBPUSD")
CONFIGS: Final = Path(__file__).parents[1] / "deploy" / "configs"
ENCODE: Final = msgspec.msgpack.encode


@dataclass(frozen=True)
class Decoder:
    name: str
    covers: tuple[str, ...]
    """Functions, by module and name."""
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    """What it may raise."""
    valid: Strategy
    """Encodings that it reads, or nearly."""


# What is of the right types, or of none.

INTEGERS: Final = st.integers(-(2**63), 2**64 - 1) | st.sampled_from((0, 1, -1, 2**31, 2**32, 2**63 - 1, 2**64 - 1))
PLAIN: Final = st.none() | st.booleans() | INTEGERS | st.floats() | st.text(max_size=8) | st.binary(max_size=20)
KEY: Final = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
"""Source: zmq_curve(7), its example."""
NESTED: Final = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def of_type(kind: Any) -> Strategy:
    """Plain values that MessagePack carries and that are read as this type, or nearly."""
    return _of(msgspec.inspect.type_info(kind))


def _of(info: Any) -> Strategy:
    match info:
        case msgspec.inspect.StructType(cls=_, fields=fields, array_like=True, tag=tag):
            parts = [_of(field.type) for field in fields]
            return st.tuples(*([st.just(tag)] if tag is not None else []), *parts).map(list)
        case msgspec.inspect.UnionType(types=kinds):
            return st.one_of(*map(_of, kinds))
        case msgspec.inspect.TupleType(item_types=kinds):
            return st.tuples(*map(_of, kinds)).map(list)
        case msgspec.inspect.VarTupleType(item_type=kind) | msgspec.inspect.ListType(item_type=kind):
            return st.lists(_of(kind), max_size=3)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=3)
        case msgspec.inspect.EnumType(cls=kind):
            return st.sampled_from([member.value for member in kind])
        case msgspec.inspect.IntType():
            return st.integers(0, 8) | INTEGERS
        case msgspec.inspect.StrType():
            return st.text(max_size=8)
        case msgspec.inspect.BytesType():
            return st.just(b"j" * 16) | st.binary(max_size=20)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.FloatType():
            return st.floats()
        case msgspec.inspect.NoneType():
            return st.none()
        case _:
            return NESTED


def packed(kind: Any) -> Strategy:
    return of_type(kind).map(ENCODE)


RECORDS: Final = st.one_of(
    *(packed(kind).map(lambda data, entry=entry: bytes([entry]) + data) for entry, kind in records.RECORD_TYPES.items())
)
"""The entry type, then the record."""
ENTRY_TYPES: Final = st.integers(0, 17)


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """Entries that hang together, of records that may be nonsense."""
    found, crc = b"", 0
    for lsn in range(1, draw(st.integers(1, 4)) + 1):
        record = draw(RECORDS)
        data = wal_format.ENVELOPE.pack(record[0], lsn, lsn - 1, crc, 1, 1, lsn) + record[1:]
        entry = wal_format.encode_entry(record[0], data)
        found, crc = found + entry, wal_format.HEADER.unpack_from(entry)[3]
    return found


@st.composite
def books(draw: st.DrawFn) -> bytes:
    """A venue's books whose entries are whole and may be nonsense."""
    place = st.tuples(st.binary(max_size=16), packed(records.OrderPlace)).map(ENCODE)
    kinds = {
        EntryType.ENGINE_RUN: packed(tuple[int, bytes, tuple[str, ...], bytes]),
        EntryType.ORDER_CANCEL: packed(tuple[bytes, int, int]),
        EntryType.ORDER_REPLACE: packed(records.OrderReplace),
        EntryType.POSITION_OPEN: packed(tuple[int, int, int]),
        EntryType.ORDER_PLACE: place,
        EntryType.ORDER_UPDATE: packed(records.OrderUpdate),
        EntryType.POSITION_CLOSE: packed(records.PositionClose),
    }
    found = wal_format.encode_entry(EntryType.ENGINE_RUN, ENCODE((0, b"boot", SYMBOLS, b"j" * 16)))
    for kind in draw(st.lists(st.sampled_from(list(kinds)), max_size=5)):
        found += wal_format.encode_entry(kind, draw(kinds[kind]))
    return found


# Readers of files, on a file of these bytes.


def from_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def of_bytes(data: bytes) -> object:
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
            path = Path(made) / "file"
            path.write_bytes(data)
            return read(path)

    return of_bytes


def _open_books(path: Path) -> None:
    with closing(Books(path, b"boot", SYMBOLS, {0: 1, 1: 1}, 0)):
        pass


def _open_log(path: Path) -> object:
    log = WriteAheadLog(path)
    log.open()
    try:
        return log.read_all()
    finally:
        log.close()


def _open_latch(path: Path) -> object:
    with closing(Latch(path)) as latch:
        return latch.who(), latch.reason(), latch.since_us(), latch.halt_token


def _read_csv(path: Path) -> int:
    source = CsvSource(
        MarketDataSettings(source="csv", path=str(path), symbol=SYMBOLS[0], on_bad_row="skip"),
        {symbol: index for index, symbol in enumerate(SYMBOLS)},
    )
    return sum(len(batch.records) for batch in source.batches(1000))


def _read_saved_config(path: Path) -> object:
    path.rename(path.with_name(saved_config.CONFIG_NAME))
    saved = saved_config.load_saved_config(path.parent)
    return saved and saved.decode()


def _read_ending(path: Path) -> object:
    path.rename(path.with_name(lock.ENDING_NAME))
    return lock.read_ending(path.parent)


def _read_held(data: bytes) -> object:
    return ring_state.decode_ring(data, ring_state.HeldRecord).read()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _row_parser(name: str) -> Callable[[bytes], object]:
    parsers: dict[str, Callable[[str], object]] = {
        "bid_ask": csv_rows.bid_ask_parser(0, 0),
        "histdata": csv_rows.histdata_parser(0, 0),
        "trades": csv_rows.trades_parser({"EURUSD": 0}),
        "ohlc": csv_rows.ohlc_parser(0, 0, True),
    }
    time_of = csv_rows.time_parser(name, 0)

    def parse(data: bytes) -> object:
        line = data.decode("latin-1")
        return time_of(line), parsers[name](line)

    return parse


ROWS: Final = {
    "bid_ask": b"2024-01-01T00:00:00.5+01:00,1.1,1.2",
    "histdata": b"20200101 170000065,1.121200,1.121720,0",
    "trades": b"1704067200000,EURUSD,1.1,3",
    "ohlc": b"2024-01-01 00:00:00,1.1,1.3,1.0,1.2,7",
}
HEADERS: Final = {"bid_ask": b"timestamp,bid,ask\n", "histdata": b"", "trades": b"timestamp_ms,symbol,price,volume\n",
                  "ohlc": b"timestamp,open,high,low,close,volume\n"}  # fmt: skip
FILES: Final = st.sampled_from([HEADERS[name] + b"\n".join([row] * 3) for name, row in ROWS.items()])
TOML: Final = st.sampled_from([path.read_bytes() for path in sorted(CONFIGS.glob("*.toml"))])
REQUESTS: Final = (
    b"PING", b"HALT enough", b"CANCEL 12 id=abc", b"CANCEL ALL", b"DEPOSIT -20.5 a fee", b"FLATTEN EURUSD", b"REDUCE",
    b"RESTART risk",
)  # fmt: skip
DESK: Final = (b"BUY EURUSD 900 0.5", b"SELL GBPUSD 1", b"CANCEL 7", b"TRANSFER EURUSD -25 1.1", b"CUT 3", b"MUTE 1e1")
CONFIG_JSON: Final = encode_config(load_config(CONFIGS / "demo.toml"))
SAVED_CONFIG: Final = b'{"version": "1", "working_directory": "/", "config": %s}' % CONFIG_JSON
RINGS: Final = {kind.__name__: kind for kind in (RiskRing, RouterRing, StrategyRing, RiskAnswer)}

DECODERS: Final = (
    Decoder("command", ("protocol.commands.parse_command",),
            lambda data: commands.parse_command([data]), (), st.sampled_from(REQUESTS)),
    Decoder("message", ("protocol.messages.decode_message",), messages.decode_message, (WireError,), packed(Message)),
    Decoder("record", ("protocol.records.decode_record",),
            lambda data: records.decode_record(data[0] if data else 0, data[1:]), (WireError,), RECORDS),
    Decoder("appends", ("protocol.codec.decode_append",), codec.decode_append, (WireError,),
            st.lists(st.tuples(ENTRY_TYPES, st.integers(0, 2**64 - 1), st.binary(max_size=20)), max_size=4)
            .map(codec.encode_append)),
    Decoder("market", ("protocol.codec.decode_market",), lambda data: list(codec.decode_market(data)), (WireError,),
            st.sampled_from((codec.encode_market(codec.MarketKind.TICKS, 2, bytes(58), bytes(16)),
                             codec.encode_market(codec.MarketKind.BARS, 1, bytes(55))))),
    Decoder("state of risk", ("protocol.state.decode_fold_state",), state.decode_fold_state, (WireError,),
            packed(state.FoldState)),
    Decoder("state of a strategy", ("protocol.state.decode_strategy_state",), state.decode_strategy_state,
            (WireError,), packed(state.StrategyState)),
    *(Decoder(f"ring state {name}", ("protocol.ring_state.decode_ring",),
              lambda data, kind=kind: ring_state.decode_ring(data, kind), (WireError,), packed(kind))
      for name, kind in RINGS.items()),
    Decoder("held record", (), _read_held, (WireError, struct.error),
            packed(ring_state.HeldRecord)),
    Decoder("entries", ("protocol.wal.format.iterate_entries", "protocol.wal.format.is_journal_head"),
            lambda data: (list(wal_format.iterate_entries(data)), wal_format.is_journal_head(data)), (), journals()),
    Decoder("envelope", ("protocol.wal.format.decode_envelope",), wal_format.decode_envelope, (), journals()),
    Decoder("journal", ("protocol.wal.scan.read_journal", "protocol.wal.scan.read_runs",
                        "protocol.wal.scan.iterate_records", "protocol.wal.scan.iterate_runs"),
            from_file(lambda path: list(scan.read_journal(path))), (WalError,), journals()),
    Decoder("plain log", (), from_file(_open_log), (WalError,), journals()),
    Decoder("watermark", ("protocol.wal.watermark.decode_slot",), watermark.decode_slot, (),
            st.just(watermark.encode_slot(1, watermark.Mark(b"j" * 16, 7, 9)))),
    Decoder("health page", ("actors.page.read_health",), from_file(read_health), (), st.binary(max_size=600)),
    Decoder("latch page", (), from_file(_open_latch), (LatchError,), st.binary(max_size=600)),
    Decoder("venue's books", (), from_file(_open_books), (WalError,), books()),
    Decoder("venue's desk", ("actors.venues.desk.read_request",), lambda data: read_request(data, SYMBOLS),
            (DeskError,), st.sampled_from(DESK)),
    *(Decoder(f"row of {name}", (), _row_parser(name), (ValueError,), st.just(row)) for name, row in ROWS.items()),
    Decoder("CSV file", ("actors.sources.csv_columns.read_lines",), from_file(_read_csv), (ConfigError, DataError),
            FILES),
    Decoder("config", ("protocol.settings.load_config", "protocol.settings.parse_config"), from_file(load_config),
            (ConfigError,), TOML),
    Decoder("handed config", ("protocol.settings.decode_config",), settings.decode_config,
            (msgspec.MsgspecError, UnicodeDecodeError), st.just(CONFIG_JSON)),
    Decoder("saved config", ("supervisor.saved_config.load_saved_config",), from_file(_read_saved_config),
            (ConfigError,), st.just(SAVED_CONFIG)),
    Decoder("ending", ("supervisor.lock.read_ending",), from_file(_read_ending), (), st.just(b"10 too often\n")),
    Decoder("key file", ("protocol.keys.decode_key_file",),
            lambda data: keys.decode_key_file(_text(data), "here", ("secret",), ("server",)), (ConfigError,),
            st.just(f"# me\nsecret {KEY}\nserver {KEY}\n".encode())),
    Decoder("allow-list", ("protocol.keys.decode_allow_list",),
            lambda data: keys.decode_allow_list(_text(data), "here"), (ConfigError,),
            st.just(f"# all\noperator {KEY} me\nobserver {KEY} eye\n".encode())),
    Decoder("broadcast", ("protocol.client.broadcast.decode_broadcast",), broadcast.decode_broadcast, (),
            st.just(topics.TICK.pack(0, 1, 2, 3, 4))),
    Decoder("telemetry", (), lambda data: telemetry.EventReader().read(data), (),
            st.just(b'{"type":"trading_state","state":"HALTED","by":"operator","reason":"x"}')),
    Decoder("trading hours", ("protocol.limits.parse_hours",), lambda data: limits.parse_hours(_text(data)),
            (ValueError,), st.sampled_from((b"mon-fri 08:00-17:00", b"22:00-06:00"))),
    Decoder("reply", (), lambda data: control._decode_reply("here", data), (GatewayError,),
            st.just(b'{"status":"ok"}')),
    Decoder("fields of an entry", ("supervisor.cli.wal_entries.decode_fields",),
            lambda data: wal_entries.decode_fields(data[0] if data else 0, data[1:]), (), RECORDS),
    Decoder("--lsn", (), lambda data: LsnRange().convert(_text(data), None, None), (click.UsageError,),
            st.sampled_from((b"12", b"12..40", b"..40", b"12.."))),
    Decoder("--since", (), lambda data: Moment().convert(_text(data), None, None), (click.UsageError,),
            st.sampled_from((b"10m", b"2024-01-01T00:00:00Z", b"99999d"))),
)  # fmt: skip
ELSEWHERE: Final = {
    "protocol.latency.read_latencies": "picks numbers out of a reply that is decoded; test_latency.py",
    "protocol.key_files.read_public_key": "decode_key_file, of a file that it judges first; test_keys.py",
    "protocol.key_files.read_client_keys": "decode_key_file, of a file that it judges first; test_keys.py",
    "protocol.key_files.read_config_keys": "reads two keys of a config, then read_client_keys; test_keys.py",
    "protocol.wal.format.iterate_payload": "of bytes that wal has just verified; test_journal_client.py has garbage",
    "protocol.wal.history.read_history": "read_runs file by file; test_wal_history.py, test_flips.py",
    "protocol.wal.replace.read_parts": "copies bytes and reads nothing in them",
    "actors.strategies.loading.load_strategy_class": "imports what the config names",
    "supervisor.cli.wal_journal.read_records": "read_history for the tools; test_cli_wal_verify.py",
    "supervisor.cli.wal_journal.read_plain": "iterate_entries for the tools",
    "protocol.wal.recovery.iterate_later": "test_wal_recovery.py, and every flip of test_flips.py",
}
"""Functions with such a name that are not in the table, and why."""


# What is tried.

INSERTED: Final = st.binary(min_size=1, max_size=8) | st.sampled_from(
    (b"\0", b"\xff" * 8, b"\x80", b"\n", b",", b"..", b"9" * 30, b"1e999", b"nan", b"-0", b"\xdd\x7f\xff\xff\xff")
)


@st.composite
def mutated(draw: st.DrawFn, valid: Strategy) -> bytes:
    """A valid encoding after up to four flips, cuts, inserts and repeats."""
    data = bytearray(draw(valid))
    for how in draw(st.lists(st.sampled_from(("flip", "cut", "insert", "repeat", "end")), max_size=4)):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 32)))
        if how == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[at:end]
        elif how == "insert":
            data[at:at] = draw(INSERTED)
        elif how == "repeat":
            data[at:at] = data[at:end] * draw(st.integers(1, 50))
        elif how == "end":
            del data[at:]
    return bytes(data)


def inputs(decoder: Decoder) -> Strategy:
    """Any bytes; valid encodings, mutated; values of wrong types in MessagePack, behind a byte and alone."""
    wrong = NESTED.map(ENCODE)
    behind = st.tuples(ENTRY_TYPES.map(lambda number: bytes([number])), wrong).map(b"".join)
    return st.one_of(st.binary(max_size=300), decoder.valid, mutated(decoder.valid), wrong, behind)


def attempt(decoder: Decoder, data: bytes) -> None:
    """Raises what the decoder should not have."""
    with suppress(*decoder.errors):
        decoder.read(data)
