"""The demo at a high rate for a long time, while its processes are killed and stopped: does anything grow?

    python -m tests.bench.soak [--json FILE] [--dir DIR] [--minutes N] [--every SECONDS] [--seed N]

2,000 ticks and 80 orders a second; every few seconds a process drawn by chance gets SIGKILL, or SIGSTOP for up to a
second. A row a minute: memory and descriptors of all processes together, PING's round trip, an order's time from its
record to the venue's answer in the journal, orders, restarts. In the end memory is compared with the first rows.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil
import zmq

sys.path[:0] = [str(Path(__file__).parents[1])]  # as pytest does for its tests

from harness import EngineUnderTest, wait_for  # noqa: E402

from tests.bench.report import Report, bench_directory, median, parser, percentile, surroundings  # noqa: E402
from tests.faults.crashes import CHILDREN, Tail, often, trading_engine  # noqa: E402

MIB: Final = 1 << 20
FAULT_EVERY_S: Final = (2.0, 8.0)
PAUSE_S: Final = 1.0
WARM_ROWS: Final = 3
"""Before memory is compared: every process has had its first buffers by then, and some a second life."""
GROWTH_AIM: Final = 1.2
"""Of the last three rows over the first three warm ones."""


@dataclass(frozen=True)
class Row:
    minute: float
    memory_mib: float
    """Resident, all processes together."""
    largest_mib: float
    descriptors: int
    ping_p50_ms: float
    ping_p99_ms: float
    order_p50_ms: float
    order_p99_ms: float
    orders: int
    """In the journal's present file."""
    restarts: int
    faults: int

    def __str__(self) -> str:
        return (
            f"{self.minute:6.1f} min {self.memory_mib:8.1f} MiB (largest {self.largest_mib:6.1f})"
            f" {self.descriptors:5} fds"
            f"  PING {self.ping_p50_ms:5.2f} / {self.ping_p99_ms:7.2f} ms"
            f"  order {self.order_p50_ms:6.2f} / {self.order_p99_ms:8.2f} ms"
            f"  {self.restarts:5} restarts {self.faults:5} faults"
        )


class Soak:
    def __init__(self, engine: EngineUnderTest, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.faults = 0
        self.pings_ms: list[float] = []
        self.rows: list[Row] = []
        self.begun_s = time.monotonic()

    def run(self, minutes: float, every_s: float) -> None:
        end_s = self.begun_s + 60 * minutes
        next_fault_s = next_row_s = self.begun_s
        while (now_s := time.monotonic()) < end_s:
            if now_s >= next_fault_s:
                self._strike()
                next_fault_s = now_s + self.random.uniform(*FAULT_EVERY_S)
            if now_s >= next_row_s + every_s:
                next_row_s = now_s
                self._look()
            self._ping()
            time.sleep(0.05)

    def _strike(self) -> None:
        pid = self.engine.child_pid(self.random.choice(CHILDREN))
        if not pid:
            return
        self.faults += 1
        with suppress(ProcessLookupError):
            if self.random.random() < 0.5:
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(self.random.uniform(0.0, PAUSE_S))
                os.kill(pid, signal.SIGCONT)

    def _ping(self) -> None:
        """While the gateway is away there is none: what waits for its next life is no round trip."""
        with self.engine.context.socket(zmq.REQ) as request:
            request.setsockopt(zmq.LINGER, 0)
            request.connect(self.engine.endpoint("command"))
            begun_s = time.monotonic()
            request.send(b"PING")
            if request.poll(1000):
                request.recv()
                self.pings_ms.append((time.monotonic() - begun_s) * 1000)

    def _look(self) -> None:
        memory, descriptors = [], 0
        for pid in self.engine.pids():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                memory.append(process.memory_info().rss / MIB)
                descriptors += process.num_fds()
        orders_ms, orders = self._orders()
        children = wait_for(lambda: self.engine.ask("HEALTH").get("children"), "HEALTH")
        row = Row(
            (time.monotonic() - self.begun_s) / 60, sum(memory), max(memory), descriptors, median(self.pings_ms),
            percentile(self.pings_ms, 99), median(orders_ms), percentile(orders_ms, 99), orders,
            sum(child["restarts"] for child in children), self.faults,
        )  # fmt: skip
        self.pings_ms.clear()
        self.rows.append(row)
        print(row, file=sys.stderr, flush=True)

    def _orders(self) -> tuple[list[float], int]:
        """Milliseconds from an order's record to the next one of it."""
        placed: dict[int, int] = {}
        answered_ms = []
        for entry in self.engine.journal:
            if entry.name == "ORDER_PLACE":
                placed[entry.fields["order_id"]] = entry.time_us
            elif entry.name == "ORDER_UPDATE" and entry.fields["order_id"] in placed:
                answered_ms.append((entry.time_us - placed.pop(entry.fields["order_id"])) / 1000)
        return answered_ms or [0.0], len(answered_ms)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=30.0, help="(%(default)s)")
    options.add_argument("--every", type=float, default=60.0, help="seconds between two rows (%(default)s)")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    if chosen.minutes * 60 < (3 * WARM_ROWS + 1) * chosen.every:
        options.error(f"--minutes: at least {3 * WARM_ROWS + 1} rows, one every {chosen.every:g} s (--every)")
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        journal = {"keep": 5, "checkpoint_records": 20_000}
        with trading_engine(directory / "engine", strategies=[often()], wal=journal) as engine:
            Tail(engine).wait_for_fills("the start")
            soak = Soak(engine, chosen.seed)
            soak.run(chosen.minutes, chosen.every)
            Tail(engine).wait_for_fills("all that")
            assert engine.stop() == 0
    warm = soak.rows[WARM_ROWS : 2 * WARM_ROWS]
    last = soak.rows[-WARM_ROWS:]
    report = Report("soak", facts | {"faults": str(soak.faults), "minutes": f"{chosen.minutes:g}"})
    growth = sum(row.memory_mib for row in last) / len(last) / (sum(row.memory_mib for row in warm) / len(warm))
    report.add_at_most("memory, last rows over first", growth, "", GROWTH_AIM)
    report.add("descriptors, last row", last[-1].descriptors, "", f"{warm[0].descriptors} in the first")
    report.add("PING p99, worst row", max(row.ping_p99_ms for row in soak.rows), "ms")
    report.add("order to answer p50, worst row", max(row.order_p50_ms for row in soak.rows), "ms")
    report.add("restarts", last[-1].restarts, "")
    report.series = [asdict(row) for row in soak.rows]
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
