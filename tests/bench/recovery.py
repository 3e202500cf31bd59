"""Reading a journal of trading back: verified, and verified and folded with the self-check.

    python -m tests.bench.recovery [--json FILE] [--dir DIR] [--records N] [--rounds N]

The file was just written, so it comes from the page cache: what is measured is the reading, not the disk. All figures
of a round are taken in turn from one file; a figure is the median of its rounds. The bare loop is the floor: header
and CRC of every entry and nothing else.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final
from zlib import crc32

from actors.fold import Fold
from protocol.records import decode_record
from protocol.wal.format import HEADER, iterate_payload
from protocol.wal.scan import JournalScan, read_journal
from protocol.wal.storage import RealStorage
from tests.bench.report import Report, bench_directory, median, parser, surroundings
from tests.bench.traffic import write_journal

VERIFIED_AIM: Final = 900_000
FOLDED_AIM: Final = 500_000
"""Records a second (design section 14)."""


def read_bare(path: Path) -> int:
    """Every entry's header unpacked and its CRC computed."""
    content = path.read_bytes()
    unpack, at, count = HEADER.unpack_from, 0, 0
    while at < len(content):
        _, _, length, crc = unpack(content, at)
        start = at + HEADER.size
        at = start + length
        assert crc32(content[start:at]) == crc
        count += 1
    return count


def verify(path: Path) -> int:
    """What wal does before it serves anything."""
    file = RealStorage().open(path, read_only=True)
    scan = JournalScan(file, file.size())
    file.close()
    assert scan.bad is None
    return scan.tail_lsn


def read(path: Path) -> int:
    """What tools do."""
    return sum(1 for _ in read_journal(path))


def fold_verified(path: Path) -> int:
    """Read, verified, decoded and folded; every derived record computed again and compared."""
    fold = Fold()
    apply = fold.apply
    for envelope, _, data in read_journal(path):
        apply(envelope, decode_record(envelope.entry_type, data))
    return fold.lsn


def fold_tail(path: Path) -> int:
    """What a child does with the tail that wal serves it: wal has verified those bytes."""
    fold = Fold()
    apply = fold.apply
    for envelope, _, body in iterate_payload(path.read_bytes()):
        apply(envelope, decode_record(envelope.entry_type, body))
    return fold.lsn


READINGS: Final[dict[str, Callable[[Path], int]]] = {
    "bare": read_bare,
    "verified": verify,
    "read": read,
    "folded": fold_verified,
    "tail": fold_tail,
}


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Records a second of each reading, the median of its rounds."""
    rates: dict[str, list[float]] = {name: [] for name in READINGS}
    for _ in range(rounds):
        for name, reading in READINGS.items():
            gc.collect()
            begun = perf_counter()
            records = reading(path)
            rates[name].append(records / (perf_counter() - begun))
    return {name: median(values) for name, values in rates.items()}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=1_000_000, help="(%(default)s)")
    options.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    chosen = options.parse_args()
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        path, fold = write_journal(directory, chosen.records)
        facts["records"], facts["bytes"] = f"{fold.lsn:,}", f"{path.stat().st_size:,}"
        rates = measure(path, chosen.rounds)
    report = Report("recovery", facts)
    bare = rates["bare"]
    report.add("bare header and CRC", bare, "records/s", "the floor")
    for name, text, aim in (
        ("verified", "verified", VERIFIED_AIM),
        ("folded", "verified and folded, self-check included", FOLDED_AIM),
    ):
        report.add_at_least(text, rates[name], "records/s", aim, f"{rates[name] / bare:.2f} of the floor")
    report.add("read entry by entry (tools)", rates["read"], "records/s", f"{rates['read'] / bare:.2f} of the floor")
    report.add("folded from the tail (children)", rates["tail"], "records/s", "not verified again")
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
