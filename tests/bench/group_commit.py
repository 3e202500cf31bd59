"""Group commit through the real wal actor: several producers, pipe to disk to tail; and how long one append takes.

    python -m tests.bench.group_commit [--json FILE] [--dir DIR] [--records N] [--seconds S] [--rounds N]

wal is a process, started as the supervisor starts it, with sync = "always" and no checkpoints. Three producers (risk,
order_routing, gateway) append as fast as what they have under way (50,000 records each, as in JournalClient) comes back
to them; they and a reader take in the whole tail. Afterwards the journal is verified, and every record must be in it.
The bare figure is the same work without pipes, in one thread: entries chained, one write and one fdatasync by 10,000.

Latency is from the append in one process to the DATA in another, with so many records offered a second.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter, perf_counter_ns
from typing import Any, Final, NamedTuple

import psutil

from protocol.records import EntryType, Producer
from protocol.wal.journal import Journal
from protocol.wal.scan import JournalScan
from protocol.wal.storage import RealStorage
from tests.bench import journal_load
from tests.bench.journal_load import ENTRY_BYTES, PLACE, Told
from tests.bench.report import Report, bench_directory, median, parser, percentile, surroundings
from tests.bench.traffic import JOURNAL_ID, run_entry
from tests.bench.wal_process import WalProcess

RATE_AIM: Final = 250_000
"""Records a second (design section 14), by 64 in a message: what a busy turn of risk appends."""
PRODUCERS: Final = (Producer.RISK, Producer.ORDER_ROUTING, Producer.GATEWAY)
MESSAGE_SIZES: Final = (1, 64, 500, 2000)
"""Records in one APPEND; 2,000 is JournalClient's limit."""
AIMED_SIZE: Final = 64
OFFERED: Final = (1_000, 10_000, 50_000)
NO_CHECKPOINTS: Final = "checkpoint_records = 0\ncheckpoint_mb = 0"
BARE_BATCH: Final = 10_000


class Crew:
    """The processes of one run; all begin at one moment."""

    def __init__(self, endpoint: str, size: int) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._endpoint = endpoint
        self._ready = self._spawn.Barrier(size + 1)
        self._told: Any = self._spawn.Queue()
        self._processes: list[Any] = []

    def add(self, work: Callable[..., None], *arguments: Any, **options: Any) -> None:
        process = self._spawn.Process(
            target=work, args=(self._endpoint, *arguments, self._ready, self._told), kwargs=options, daemon=True
        )
        process.start()
        self._processes.append(process)

    def run(self, deadline_s: float = 120.0) -> dict[str, Told]:
        """What each has told, by name. Raises: queue.Empty, BrokenBarrierError if one has died."""
        self._ready.wait(deadline_s)
        end = monotonic() + deadline_s
        told = [self._told.get(timeout=max(0.1, end - monotonic())) for _ in self._processes]
        for process in self._processes:
            process.join(deadline_s)
        return {one.name: one for one in told}


class Rate(NamedTuple):
    """From the first append to the last record on the reader's tail."""

    records_s: float
    records_a_sync: float
    wal_cpu_us: float
    """Of wal's threads together, a record."""


def measure_rate(directory: Path, records: int, size: int) -> Rate:
    each = records // len(PRODUCERS) // size * size
    total = each * len(PRODUCERS)
    with WalProcess(directory, NO_CHECKPOINTS) as wal:
        crew = Crew(wal.endpoint, len(PRODUCERS) + 1)
        for producer in PRODUCERS:
            crew.add(journal_load.produce, producer, each, size)
        crew.add(journal_load.read_tail, "strategy.sma", total)
        process = psutil.Process(wal.pid)
        before = process.cpu_times()
        told = crew.run()
        after = process.cpu_times()
        counters = wal.statistics().counters
    cpu_s = after.user + after.system - before.user - before.system
    first_s = min(told[producer.name.lower()].first_s for producer in PRODUCERS)
    assert_all_there(directory, total, each)
    return Rate(total / (told["strategy.sma"].last_s - first_s), total / counters["syncs"], 1e6 * cpu_s / total)


def assert_all_there(directory: Path, total: int, each: int) -> None:
    """The journal is whole, and has every record of every producer."""
    file = RealStorage().open(directory / "wal" / "journal.wal", read_only=True)
    scan = JournalScan(file, file.size())
    file.close()
    assert scan.bad is None
    assert scan.entries >= total
    assert all(scan.last_producer_seq[producer] == each for producer in PRODUCERS)


def measure_latency(directory: Path, rate: int, seconds: float) -> tuple[list[int], float]:
    """(microseconds from append to tail of each record but those of the first tenth, how late the last was offered)."""
    with WalProcess(directory, NO_CHECKPOINTS) as wal:
        crew = Crew(wal.endpoint, 2)
        crew.add(journal_load.produce_paced, rate, seconds)
        crew.add(journal_load.read_tail, "strategy.sma", int(rate * seconds), is_timed=True)
        told = crew.run()
    latencies = told["strategy.sma"].latencies_us
    return latencies[len(latencies) // 10 :], told["risk"].behind_us


def measure_bare_rate(directory: Path, records: int) -> float:
    """The same entries through Journal alone, from tuples that are there already."""
    journal = Journal(directory)
    journal.open(lambda journal_id: 0)
    journal.create(JOURNAL_ID, run_entry())
    batch = [(EntryType.ORDER_PLACE, 1, Producer.RISK, seq, PLACE) for seq in range(BARE_BATCH)]
    begun = perf_counter()
    for _ in range(records // BARE_BATCH):
        journal.append_batch(batch)
        journal.sync()
    rate = records / (perf_counter() - begun)
    journal.close()
    return rate


def measure_bare_sync(directory: Path, count: int = 1000) -> float:
    """Microseconds of write + fdatasync of one entry, the median."""
    fd = os.open(directory / "bare", os.O_RDWR | os.O_CREAT, 0o600)
    entry, times = bytes(ENTRY_BYTES), list[int]()
    for number in range(count):
        begun = perf_counter_ns()
        os.pwrite(fd, entry, number * ENTRY_BYTES)
        os.fdatasync(fd)
        times.append(perf_counter_ns() - begun)
    os.close(fd)
    return median(times) / 1e3


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=1_500_000, help="of one run at full speed (%(default)s)")
    options.add_argument("--seconds", type=float, default=5.0, help="of one run at an offered rate (%(default)s)")
    options.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    chosen = options.parse_args()
    rates: dict[int, list[Rate]] = {size: [] for size in MESSAGE_SIZES}
    bare_rates: list[float] = []
    latencies: dict[int, list[tuple[float, float, float]]] = {rate: [] for rate in OFFERED}
    syncs: list[float] = []
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory) | {"entry": f"{ENTRY_BYTES} bytes"}
        for number in range(chosen.rounds):
            bare_rates.append(measure_bare_rate(directory / f"bare-{number}", chosen.records // 5))
            syncs.append(measure_bare_sync(directory))
            for size in MESSAGE_SIZES:
                records = chosen.records if size > 1 else chosen.records // 5
                rates[size].append(measure_rate(directory / f"rate-{number}-{size}", records, size))
            for rate in OFFERED:
                values, behind = measure_latency(directory / f"latency-{number}-{rate}", rate, chosen.seconds)
                latencies[rate].append((percentile(values, 50), percentile(values, 99), behind))
    report = Report("group commit", facts)
    bare, sync = median(bare_rates), median(syncs)
    report.add("Journal alone, no pipes", bare, "records/s", f"by {BARE_BATCH:,}")
    for size in MESSAGE_SIZES:
        rate, by_sync, cpu_us = (median(values) for values in zip(*rates[size], strict=True))
        note = f"{by_sync:,.0f} a sync, wal {cpu_us:.1f} us CPU each, {rate / bare:.2f} of Journal alone"
        name = f"three producers, {size:,} in a message"
        if size == AIMED_SIZE:
            report.add_at_least(name, rate, "records/s", RATE_AIM, note)
        else:
            report.add(name, rate, "records/s", note)
    report.add("write + fdatasync of one entry, p50", sync, "us", "bare")
    for rate in OFFERED:
        p50, p99, behind = (median([row[column] for row in latencies[rate]]) for column in range(3))
        report.add(f"append to tail at {rate:,}/s, p50", p50, "us", f"{p50 / sync:.1f} of the bare sync")
        report.add(f"append to tail at {rate:,}/s, p99", p99, "us", f"offered late by {behind:,.0f} us at the end")
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
