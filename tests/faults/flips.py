"""Every single-bit flip and every truncation of a journal of 500 records of trading gets the verdict of the table.

    python -m tests.faults.flips

By the real scan and the real table, with nothing known from outside, which is the hardest case, and with half of it
known. What survives a verdict of "torn" or "clean" must be, byte for byte, the beginning of what was written: so no
flip and no cut can yield a wrong position without a word. pytest takes a sample of it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # as pytest does for its tests

from protocol.wal.format import JOURNAL_HEAD  # noqa: E402
from protocol.wal.journal import Journal  # noqa: E402
from protocol.wal.recovery import Found, Kind, Known, decide, find_later_entry  # noqa: E402
from protocol.wal.scan import JournalScan  # noqa: E402
from protocol.wal.storage import MemoryFile, MemoryStorage  # noqa: E402
from tests.bench.traffic import JOURNAL_ID, Trading  # noqa: E402

RECORDS = 500
BITS = 8


@dataclass(frozen=True)
class Written:
    """A journal in group commits of one to eight, the last of them not known to be on disk."""

    content: bytes
    offsets: list[int]
    """Where each entry begins, and the end."""
    durable: list[int]
    """durable_lsn of each entry."""

    def entry_at(self, position: int) -> int:
        """LSN of the entry to which the byte belongs."""
        return next(number for number, offset in enumerate(self.offsets[1:], 1) if position < offset)

    def later_says_durable(self, lsn: int) -> bool:
        return any(durable >= lsn for durable in self.durable[lsn:])


def write() -> Written:
    storage, random = MemoryStorage(), Random(1)
    journal, entries = Journal(Path("/wal"), storage=storage), Trading().entries(RECORDS)
    journal.open(lambda journal_id: 0)
    journal.create(JOURNAL_ID, next(entries))
    while journal.tail_lsn < RECORDS:
        size = min(random.randrange(1, 9), RECORDS - journal.tail_lsn)
        journal.append_batch([next(entries) for _ in range(size)])
        journal.sync()
    content = bytes(storage.files[journal.path])
    offsets, durable = [0], []
    while offsets[-1] < len(content):
        fields = JOURNAL_HEAD.unpack_from(content, offsets[-1])
        durable.append(fields[6])
        offsets.append(offsets[-1] + 13 + fields[2])
    return Written(content, offsets, durable)


def judge(content: bytes, known_lsn: int) -> tuple[Kind, int, int]:
    """(verdict, LSN of the last good entry, where it ends), as at a start."""
    file = MemoryFile(bytearray(content))
    scan = JournalScan(file, len(content))
    later = find_later_entry(file, len(content), scan.bad.offset, scan.tail_lsn + 1) if scan.bad else None
    verdict = decide(Found(True, scan.tail_lsn, scan.end, scan.bad, later), Known(known_lsn))
    return verdict.kind, scan.tail_lsn, scan.end


def check_flip(written: Written, position: int, bit: int, known_lsn: int) -> Kind:
    """The verdict. Raises: AssertionError if it is not the table's."""
    damaged = bytearray(written.content)
    damaged[position] ^= 1 << bit
    lsn = written.entry_at(position)
    kind, tail_lsn, end = judge(bytes(damaged), known_lsn)
    is_corrupt = lsn <= known_lsn or written.later_says_durable(lsn)
    place = f"byte {position}, bit {bit}, {known_lsn} known"
    assert (kind, tail_lsn) == (Kind.CORRUPT if is_corrupt else Kind.TORN, lsn - 1), place
    assert damaged[:end] == written.content[:end], place
    return kind


def check_cut(written: Written, size: int, known_lsn: int) -> Kind:
    """The same of the first `size` bytes."""
    good = sum(offset <= size for offset in written.offsets[1:])
    kind, tail_lsn, end = judge(written.content[:size], known_lsn)
    whole = Kind.CLEAN if size in written.offsets else Kind.TORN
    place = f"cut to {size} bytes, {known_lsn} known"
    assert (kind, tail_lsn) == (Kind.CORRUPT if good < known_lsn else whole, good), place
    assert end == written.offsets[good], place
    return kind


def check(written: Written, positions: Iterator[int]) -> Counter[str]:
    """How often which verdict was given, over all bits and the cut at each position."""
    verdicts: Counter[str] = Counter()
    for position in positions:
        for known_lsn in (0, RECORDS // 2):
            for bit in range(BITS):
                verdicts[f"flip {check_flip(written, position, bit, known_lsn).value}"] += 1
            verdicts[f"cut {check_cut(written, position, known_lsn).value}"] += 1
    return verdicts


def main() -> int:
    written, began = write(), time.monotonic()
    verdicts = check(written, iter(range(len(written.content))))
    took = time.monotonic() - began
    print(f"{RECORDS} records, {len(written.content):,} bytes, in {took:.0f} s: every verdict is the table's")
    for name, count in sorted(verdicts.items()):
        print(f"{name:<14} {count:>10,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
