"""Durable appends one at a time: WriteAheadLog.append beside a bare pwrite + fdatasync of the same bytes.

    python -m tests.bench.append [--json FILE] [--dir DIR] [--appends N] [--rounds N]

Both write to files of their own in one directory, turn by turn, so that whatever else the disk does hits both alike.
Which of the two goes first alternates. The ratio of a round is that of its two medians; the figure is the median of
the rounds' ratios.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter_ns
from typing import Final

from protocol.records import EntryType
from protocol.wal.format import encode_entry
from protocol.wal.log import WriteAheadLog
from tests.bench.report import Report, bench_directory, median, parser, percentile, surroundings
from tests.bench.traffic import place_record

AIM_RATIO: Final = 1.15
"""Design section 14: of the raw call's median."""


class BareFile:
    """The floor: the two system calls that no durable append can do without."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._end = 0

    def append(self, entry: bytes) -> None:
        os.pwrite(self._fd, entry, self._end)
        os.fdatasync(self._fd)
        self._end += len(entry)

    def close(self) -> None:
        os.close(self._fd)


def measure(log: WriteAheadLog, bare: BareFile, data: bytes, appends: int) -> tuple[list[int], list[int]]:
    """Nanoseconds of each append, (log, bare)."""
    entry = encode_entry(EntryType.ORDER_PLACE, data)
    ours: list[int] = []
    floor: list[int] = []

    def ours_once() -> None:
        begun = perf_counter_ns()
        log.append(EntryType.ORDER_PLACE, data)
        ours.append(perf_counter_ns() - begun)

    def floor_once() -> None:
        begun = perf_counter_ns()
        bare.append(entry)
        floor.append(perf_counter_ns() - begun)

    for number in range(appends):
        first, second = (ours_once, floor_once) if number % 2 else (floor_once, ours_once)
        first()
        second()
    return ours, floor


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--appends", type=int, default=3000, help="of each kind, in one round (%(default)s)")
    options.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    chosen = options.parse_args()
    data = place_record(1_000_000)
    ours: list[int] = []
    floor: list[int] = []
    ratios: list[float] = []
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        bare = BareFile(directory / "bare.wal")
        with WriteAheadLog(directory / "plain.wal") as log:
            measure(log, bare, data, chosen.appends // 10)  # the files get their first blocks
            for _ in range(chosen.rounds):
                some, others = measure(log, bare, data, chosen.appends)
                ratios.append(median(some) / median(others))
                ours, floor = ours + some, floor + others
        bare.close()
    report = Report("append", facts)
    size = f"{len(data)} bytes of data"
    report.add("WriteAheadLog.append p50", median(ours) / 1e3, "us", size)
    report.add("WriteAheadLog.append p99", percentile(ours, 99) / 1e3, "us")
    report.add("pwrite + fdatasync p50", median(floor) / 1e3, "us", "the same bytes, in turn")
    report.add("pwrite + fdatasync p99", percentile(floor, 99) / 1e3, "us")
    report.add_at_most("p50 over bare p50", median(ratios), "x", AIM_RATIO, f"median of {chosen.rounds} rounds")
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
