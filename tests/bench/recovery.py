"""Reading a journal of trading back: verified, and verified and folded with the self-check.

    python -m tests.bench.recovery [--json FILE] [--dir DIR] [--records N] [--rounds N]

The journal is rolled as an engine rolls it, and read from its first file to its last. The files were just
written, so they come from the page cache: what is measured is the reading, not the disk. All figures of a round are
taken in turn from the same files; a figure is the median of its rounds. The bare loop is the floor: header and CRC of
every entry and nothing else.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final
from zlib import crc32

from actors.fold import Change, Fold
from actors.ledger import FillEffect
from actors.order_tracker import Order
from protocol.records import Checkpoint, Record, decode_record
from protocol.wal.format import HEADER, Envelope, iterate_payload
from protocol.wal.history import read_history
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.scan import JournalScan
from protocol.wal.sealed import list_sealed
from protocol.wal.storage import RealStorage
from tests.bench.report import Report, bench_directory, median, parser, surroundings
from tests.bench.traffic import write_history

VERIFIED_AIM: Final = 900_000
FOLDED_AIM: Final = 500_000
"""Records a second (design section 14)."""


def files_of(directory: Path) -> list[Path]:
    """Every file of the journal, oldest first."""
    sealed = [file.path for file in list_sealed(RealStorage(), directory)]
    return [*sealed, directory / JOURNAL_NAME]


def read_bare(directory: Path) -> int:
    """Every entry's header unpacked and its CRC computed."""
    unpack, count = HEADER.unpack_from, 0
    for path in files_of(directory):
        content, at = path.read_bytes(), 0
        while at < len(content):
            _, _, length, crc = unpack(content, at)
            start = at + HEADER.size
            at = start + length
            assert crc32(content[start:at]) == crc
            count += 1
    return count


def verify(directory: Path) -> int:
    """What wal does with journal.wal before it serves anything, with every file."""
    count = 0
    for path in files_of(directory):
        file = RealStorage().open(path, read_only=True)
        scan = JournalScan(file, file.size())
        file.close()
        assert scan.bad is None
        count += scan.entries
    return count


def read(directory: Path) -> int:
    """What tools do."""
    return sum(1 for _ in read_history(directory))


class UncheckedFold(Fold):
    """Derived records and states are neither computed nor compared: what the self-check costs. No actor folds so."""

    def _owe(
        self, lsn: int, order: Order, price: int, effect: FillEffect, commission: int, balance: int
    ) -> None: ...

    def _derived(self, envelope: Envelope, record: Record) -> list[Change]:
        return []

    def _checkpoint(self, envelope: Envelope, record: Checkpoint) -> list[Change]:
        self.tracker.forget_ended()
        return []


def fold_verified(directory: Path, fold: Fold) -> int:
    """Read, verified, decoded and folded; every derived record computed again and compared."""
    apply = fold.apply
    for envelope, _, data in read_history(directory):
        apply(envelope, decode_record(envelope.entry_type, data))
    return fold.lsn


def fold_tail(directory: Path, fold: Fold) -> int:
    """What a child does with the tail that wal serves it: wal has verified those bytes."""
    apply = fold.apply
    for path in files_of(directory):
        for envelope, _, body in iterate_payload(path.read_bytes()):
            apply(envelope, decode_record(envelope.entry_type, body))
    return fold.lsn


READINGS: Final[dict[str, Callable[[Path], int]]] = {
    "bare": read_bare,
    "verified": verify,
    "read": read,
    "folded": lambda directory: fold_verified(directory, Fold()),
    "unchecked": lambda directory: fold_verified(directory, UncheckedFold()),
    "tail": lambda directory: fold_tail(directory, Fold()),
}


def measure(directory: Path, rounds: int) -> dict[str, float]:
    """Records a second of each reading, the median of its rounds."""
    rates: dict[str, list[float]] = {name: [] for name in READINGS}
    for _ in range(rounds):
        for name, reading in READINGS.items():
            gc.collect()
            begun = perf_counter()
            records = reading(directory)
            rates[name].append(records / (perf_counter() - begun))
    return {name: median(values) for name, values in rates.items()}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=1_000_000, help="(%(default)s)")
    options.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    chosen = options.parse_args()
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        records, _ = write_history(directory, chosen.records)
        files = files_of(directory)
        facts["records"], facts["files"] = f"{records:,}", str(len(files))
        facts["bytes"] = f"{sum(path.stat().st_size for path in files):,}"
        rates = measure(directory, chosen.rounds)
    report = Report("recovery", facts)
    bare = rates["bare"]
    report.add("bare header and CRC", bare, "records/s", "the floor")
    for name, text, aim in (
        ("verified", "verified", VERIFIED_AIM),
        ("folded", "verified and folded, self-check included", FOLDED_AIM),
        ("unchecked", "verified and folded, without it", FOLDED_AIM),
    ):
        report.add_at_least(text, rates[name], "records/s", aim, f"{rates[name] / bare:.2f} of the floor")
    report.add("read entry by entry (tools)", rates["read"], "records/s", f"{rates['read'] / bare:.2f} of the floor")
    report.add("folded from the tail (children)", rates["tail"], "records/s", "not verified again")
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
