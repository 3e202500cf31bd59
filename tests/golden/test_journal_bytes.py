"""The journal's file to the byte: written by this version, read by a decoder that shares no code with it."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

import msgpack

from protocol.orders import OrderType, Report, Side
from protocol.records import EngineRun, EntryType, OrderPlace, OrderUpdate, Producer, RunEvent, encode_record
from protocol.wal import Journal
from protocol.wal.storage import MemoryStorage

GOLDEN = Path(__file__).with_name("journal.wal")
JOURNAL_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
RUN = EngineRun(
    journal_id=JOURNAL_ID, event=RunEvent.START, by="operator", version="0.1.0", config_hash=b"\x01" * 16,
    boot_id=b"\x02" * 16, halt_token=0, balance=(10_000 * 10**12).to_bytes(16, "little", signed=True), currency="USD",
    leverage=100, symbols=(("EURUSD", 1_000_000),), strategies=("sma",), quote_currencies=("USD",),
)  # fmt: skip
PLACE = OrderPlace(1, 16, 1, 0, Side.BUY, OrderType.MARKET, 100_000_000, market_epoch=b"\x03" * 16, market_position=5)
UPDATE = OrderUpdate(1, Report.FILL, "P1", 1_100_000, 100_000_000, 0, 1_000_000, "", 1_600_000_000_000_003)


def independent_decode(content: bytes) -> list[tuple[tuple[int, ...], int, list[object]]]:
    """(envelope, crc, fields) of each entry, checked by the rules of the format alone."""
    entries, offset, previous = [], 0, 0
    while offset < len(content):
        magic, kind, length, crc = struct.unpack_from("<IBII", content, offset)
        data = content[offset + 13 : offset + 13 + length]
        envelope = struct.unpack_from("<BQQIQBQ", data)
        assert (magic, crc32(data), len(data)) == (0x48515457, crc, length)
        assert (envelope[0], envelope[1], envelope[3]) == (kind, len(entries) + 1, previous)
        entries.append((envelope, crc, msgpack.unpackb(data[38:])))
        offset, previous = offset + 13 + length, crc
    return entries


def written() -> bytes:
    storage = MemoryStorage()
    journal = Journal(Path("/wal"), storage=storage)
    journal.open(lambda journal_id: 0)
    first = (EntryType.ENGINE_RUN, 1_600_000_000_000_000, Producer.SUPERVISOR, 1, encode_record(RUN))
    journal.create(JOURNAL_ID, first)
    journal.append_batch([(EntryType.ORDER_PLACE, 1_600_000_000_000_001, Producer.RISK, 1, encode_record(PLACE))])
    journal.sync()
    update = (EntryType.ORDER_UPDATE, 1_600_000_000_000_002, Producer.ORDER_ROUTING, 1, encode_record(UPDATE))
    journal.append_batch([update, (*update[:3], 2, update[4])])
    journal.sync()
    return bytes(storage.files[Path("/wal/journal.wal")])


def test_this_version_writes_the_golden_journal() -> None:
    assert written() == GOLDEN.read_bytes()


def test_an_independent_decoder_reads_the_golden_journal() -> None:
    run, place, update, again = independent_decode(GOLDEN.read_bytes())
    assert run[0] == (12, 1, 0, 0, 1_600_000_000_000_000, 5, 1)
    assert run[2] == [
        JOURNAL_ID, 0, "operator", "0.1.0", b"\x01" * 16, b"\x02" * 16, 0,
        (10**16).to_bytes(16, "little"), "USD", 100, [["EURUSD", 1_000_000]], ["sma"], ["USD"],
    ]  # fmt: skip
    assert place[0] == (4, 2, 1, run[1], 1_600_000_000_000_001, 2, 1)
    assert place[2][:8] == [1, 16, 1, 0, int(Side.BUY), int(OrderType.MARKET), 100_000_000, 0]
    assert update[0] == (8, 3, 2, place[1], 1_600_000_000_000_002, 3, 1)
    assert update[2] == [
        1, int(Report.FILL), "P1", 1_100_000, 100_000_000, 0, 1_000_000, "", 1_600_000_000_000_003, 0, 1_000_000
    ]  # fmt: skip
    assert again[0] == (8, 4, 2, update[1], 1_600_000_000_000_002, 3, 2)
