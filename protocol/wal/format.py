"""The bytes of the journal's file, as they stand on disk and on the journal stream.

    entry     [magic:4][type:1][length:4][crc32:4][data:length]      little-endian, header 13 bytes
    envelope  type, lsn, durable_lsn, previous entry's crc32, time_us, producer, producer_seq   38 bytes

The CRC covers the data only, so the journal's data begins with the envelope, which says the type again,
links to the entry before by its CRC, and says how far the disk was when it was written (design section 4).
The plain log knows entries only; the envelope belongs to the journal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from protocol.records import EntryType

MAGIC: Final = 0x48515457
MAGIC_BYTES: Final = MAGIC.to_bytes(4, "little")
HEADER: Final = struct.Struct("<IBII")
ENVELOPE: Final = struct.Struct("<BQQIQBQ")
JOURNAL_HEAD: Final = struct.Struct("<IBIIBQQIQBQ")
"""HEADER and ENVELOPE at once, 51 bytes: how every entry of the journal begins."""
LENGTH_MAX: Final = 16 * 1024 * 1024
"""Default limit of an entry's data, bytes: a CHECKPOINT of a large book fits, a wild length is recognised."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    entry_type: int
    lsn: int
    durable_lsn: int
    previous_crc: int
    time_us: int
    producer: int
    producer_seq: int


class Entry(NamedTuple):
    """An entry of the file as it was found: where, of what type, and its data."""

    offset: int
    entry_type: int
    crc: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BadEntry:
    """Where reading stopped before the end, and what stood there."""

    offset: int
    expected: str
    found: str
    incomplete: bool
    """The file ended within the entry."""


def encode_entry(entry_type: int, data: bytes) -> bytes:
    return HEADER.pack(MAGIC, entry_type, len(data), crc32(data)) + data


def iterate_entries(
    buffer: bytes | memoryview, offset: int = 0, length_max: int = LENGTH_MAX
) -> Iterator[Entry | BadEntry]:
    """The entries of `buffer` from `offset`, in order; a BadEntry, if any, is the last thing that comes."""
    view = memoryview(buffer)
    size = len(view)
    unpack = HEADER.unpack_from
    while offset < size:
        if size - offset < HEADER.size:
            rest = bytes(view[offset:])
            yield BadEntry(offset, "a header of 13 bytes", f"{size - offset} bytes: {rest.hex(' ')}", True)
            return
        magic, entry_type, length, crc = unpack(view, offset)
        if magic != MAGIC:
            yield BadEntry(offset, f"magic {MAGIC:#010x}", f"{magic:#010x}", False)
            return
        if length > length_max:
            yield BadEntry(offset, f"a length up to {length_max}", f"{length}", False)
            return
        start = offset + HEADER.size
        if start + length > size:
            yield BadEntry(offset, f"{length} bytes of data", f"{size - start}", True)
            return
        data = bytes(view[start : start + length])
        if crc32(data) != crc:
            yield BadEntry(offset, f"crc32 {crc:#010x}", f"{crc32(data):#010x}", False)
            return
        yield Entry(offset, entry_type, crc, data)
        offset = start + length


def is_journal_head(head: bytes) -> bool:
    """Whether a file that begins so is an engine's journal, by its first envelope: JOURNAL_HEAD.size bytes will do."""
    if len(head) < JOURNAL_HEAD.size or not head.startswith(MAGIC_BYTES):
        return False
    _, _, _, _, kind, lsn, durable_lsn, previous, _, _, _ = JOURNAL_HEAD.unpack_from(head)
    begins = (kind, lsn, durable_lsn, previous) == (EntryType.ENGINE_RUN, 1, 0, 0)
    goes_on = kind == EntryType.CHECKPOINT and lsn > 1 and durable_lsn == lsn - 1
    return begins or goes_on


def decode_envelope(data: bytes) -> Envelope | None:
    """The envelope at the head of `data`, or None if it is too short."""
    if len(data) < ENVELOPE.size:
        return None
    return Envelope(*ENVELOPE.unpack_from(data))


def iterate_payload(payload: bytes | memoryview) -> Iterator[tuple[Envelope, int, memoryview]]:
    """(envelope, crc, record data) of each entry in a DATA payload of the journal stream.

    For bytes that wal has just written or verified: the CRC is not computed again.
    """
    view = memoryview(payload)
    offset, size = 0, len(view)
    unpack, header_size, head_size = JOURNAL_HEAD.unpack_from, HEADER.size, JOURNAL_HEAD.size
    while offset < size:
        _, _, length, crc, kind, lsn, durable_lsn, previous_crc, time_us, producer, seq = unpack(view, offset)
        start, offset = offset + head_size, offset + header_size + length
        yield Envelope(kind, lsn, durable_lsn, previous_crc, time_us, producer, seq), crc, view[start:offset]
