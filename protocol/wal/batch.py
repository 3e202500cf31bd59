"""The bytes of a group commit: records become entries, each linked to the one before, in segments of bounded size.

Pure. One segment follows the other in the file; tail.py keeps and finds them one by one, so that serving a consumer
from a batch of a hundred thousand records never steps through all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple
from zlib import crc32

from protocol.errors import WalError
from protocol.records import EntryType
from protocol.wal.format import ENVELOPE, HEADER, MAGIC

SEGMENT_ENTRIES: Final = 512
"""As the points of the sparse index: some 60 KB."""

NewEntry = tuple[int, int, int, int, bytes]
"""(entry type, time_us, producer, producer_seq, record data)."""
_ENGINE_RUN: Final = int(EntryType.ENGINE_RUN)


class Segment(NamedTuple):
    """Entries that follow each other, as they stand in the file."""

    first_lsn: int
    last_lsn: int
    payload: bytes


@dataclass(slots=True)
class Chain:
    """Where the next entry links on; `extend` makes entries, and the chain then ends with the last of them."""

    lsn: int
    crc: int
    durable_lsn: int
    length_max: int
    producer_seq: dict[int, int]
    """The newest number of each producer in what was added."""
    run: tuple[int, bytes] | None = None
    """(LSN, record data) of the last ENGINE_RUN in what was added."""

    def extend(self, records: Iterable[NewEntry]) -> Iterator[Segment]:
        """Raises: WalError if a record is larger than the limit."""
        rest = iter(records)
        while entries := list(islice(rest, SEGMENT_ENTRIES)):
            first_lsn = self.lsn + 1
            yield Segment(first_lsn, first_lsn + len(entries) - 1, self._encode(entries))

    def _encode(self, records: list[NewEntry]) -> bytes:
        pack_envelope, pack_header, magic, engine_run = ENVELOPE.pack, HEADER.pack, MAGIC, _ENGINE_RUN
        lsn, crc, durable_lsn, length_max, sequence = (
            self.lsn, self.crc, self.durable_lsn, self.length_max, self.producer_seq
        )  # fmt: skip
        parts: list[bytes] = []
        add = parts.append
        for entry_type, time_us, producer, producer_seq, data in records:
            lsn += 1
            body = pack_envelope(entry_type, lsn, durable_lsn, crc, time_us, producer, producer_seq) + data
            length = len(body)
            if length > length_max:
                raise WalError(f"a record of {length} bytes; the limit is {length_max}")
            crc = crc32(body)
            add(pack_header(magic, entry_type, length, crc))
            add(body)
            sequence[producer] = producer_seq
            if entry_type == engine_run:
                self.run = (lsn, data)
        self.lsn, self.crc = lsn, crc
        return b"".join(parts)
