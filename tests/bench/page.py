"""Does the page keep up with a busy engine, and does it grow? A real engine, `seawall dash`, a real headless Chromium.

    python -m tests.bench.page [--json FILE] [--dir DIR] [--minutes N] [--events PER_SECOND]

So many events come in a second: ticks and fills of the broadcast, and every fifth one of telemetry, for a strategy
trades without end. A row every half minute: events sent and missed, the page's heap after a collection, its nodes, the
server's memory, the longest wait for a change.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

sys.path[:0] = [str(Path(__file__).parents[1])]  # as pytest does for its tests

from chromium import browser, chromium_path  # noqa: E402
from consoles import Console  # noqa: E402
from harness import EngineUnderTest, config_tree, wait_for  # noqa: E402

from protocol.topics import Topic  # noqa: E402
from tests.bench.report import Report, bench_directory, parser, surroundings  # noqa: E402

MIB: Final = 1 << 20
ROW_S: Final = 30.0
EVENTS_PER_ORDER: Final = 5
"""Measured: four of telemetry, and a fill."""
OF_ORDERS: Final = 0.25
"""Of all events; the others are ticks. An engine beside a browser on two cores does not trade 1,000 times a second."""
ABOVE: Final = 1.1
"""A live market is as late as the machine is slow."""
TAKEN: Final = (Topic.TICK.name, Topic.TRADE.name)
"""What the console subscribes to of the broadcast."""
WARM: Final = 0.2
"""Of the rows, the first are not compared: the page fills its tables and charts."""
GROWS: Final = {"the page's heap": "heap_mib", "its nodes": "nodes", "the server's memory": "server_mib"}
"""What might -> its column."""
GROWTH_AIM: Final = 1.15
WAIT_AIM_MS: Final = 2000.0
MISSED_AIM: Final = 0.001
FILL_AGE: Final = "() => Date.now() - tapes.fills.at(-1).time_us / 1000"
WATCH: Final = """
() => { const own = take; window.waited = 0; let last = performance.now();
        take = (message) => { const now = performance.now(); window.waited = Math.max(window.waited, now - last);
                              last = now; own(message); }; }
"""


@dataclass(frozen=True)
class Row:
    minute: float
    events_s: float
    telemetry_s: float
    """Of these."""
    missed: float
    heap_mib: float
    nodes: int
    server_mib: float
    wait_ms: float
    """The longest between two messages of the stream."""
    fill_age_ms: float
    """Of the newest fill that the page knows."""

    def __str__(self) -> str:
        return (
            f"{self.minute:5.1f} min {self.events_s:8.0f} events/s ({self.telemetry_s:.0f} of telemetry)"
            f" {self.missed:8.0f} missed"
            f"  page {self.heap_mib:6.1f} MiB {self.nodes:6} nodes"
            f"  server {self.server_mib:6.1f} MiB  longest wait {self.wait_ms:6.0f} ms"
            f"  newest fill {self.fill_age_ms:6.0f} ms old"
        )


class Watched:
    def __init__(self, engine: EngineUnderTest, console: Console, page: Any) -> None:
        self.engine, self.console, self.page = engine, console, page
        self.devtools = page.context.new_cdp_session(page)
        self.server = psutil.Process(console.process.pid)
        self.heartbeats = engine.telemetry("heartbeat")
        self.begun_s = time.monotonic()
        self.before = self._sent()

    def _sent(self) -> tuple[float, int, int]:
        """(engine's time in seconds, events of telemetry and of the market so far), from the newest heartbeat."""
        self.heartbeats.frames.clear()
        beat = wait_for(self.heartbeats.events, "a heartbeat")[-1]
        market = sum(beat["broadcast_counts"].get(kind, 0) for kind in TAKEN)
        return beat["time_us"] / 1e6, sum(beat["telemetry_counts"].values()), market

    def look(self) -> Row:
        self.devtools.send("HeapProfiler.collectGarbage")
        nodes = self.devtools.send("Memory.getDOMCounters")["nodes"]
        heap = self.devtools.send("Runtime.getHeapUsage")["usedSize"]
        metrics = self.console.get("/metrics")[1].splitlines()
        missed = next(float(line.split()[1]) for line in metrics if line.startswith("seawall_telemetry_missed_total "))
        then, self.before = self.before, self._sent()
        seconds, telemetry, market = (now - before for now, before in zip(self.before, then, strict=True))
        waited = self.page.evaluate("() => { const waited = window.waited; window.waited = 0; return waited; }")
        return Row(
            (time.monotonic() - self.begun_s) / 60, (telemetry + market) / seconds, telemetry / seconds, missed,
            heap / MIB, nodes, self.server.memory_info().rss / MIB, waited, self.page.evaluate(FILL_AGE),
        )  # fmt: skip


def flooding(directory: Path, events_s: float) -> EngineUnderTest:
    ticks_s = math.ceil(events_s * (1 - OF_ORDERS) * ABOVE)
    period = round(ticks_s / (events_s * OF_ORDERS * ABOVE / EVENTS_PER_ORDER))
    strategy = {
        "name": "steady", "class": "tests.bench.page_strategies:Steady", "symbols": ["EURUSD"],
        "params": {"period": period},
    }  # fmt: skip
    tree = config_tree(
        strategies=[strategy], market_data={"rate": ticks_s}, wal={"keep": 3, "checkpoint_records": 50_000}
    )
    return EngineUnderTest(directory, tree)


def grown(values: Sequence[float]) -> float:
    """The most of the second half over that of the first, without what is warming up."""
    compared = values[int(len(values) * WARM) :]
    half = len(compared) // 2
    return max(compared[half:]) / max(compared[:half])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=10.0, help="(%(default)s)")
    options.add_argument("--events", type=float, default=5000.0, help="a second (%(default)s)")
    chosen = options.parse_args()
    if chromium_path() is None:
        sys.exit("there is no Chromium here (Debian: apt-get install chromium)")
    rows: list[Row] = []
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        with (
            flooding(directory / "engine", chosen.events) as engine,
            Console(engine) as console,
            browser() as chromium,
        ):
            page = chromium.new_page()
            page.goto(console.address, wait_until="domcontentloaded")
            page.wait_for_selector("#fills td")
            page.evaluate(WATCH)
            watched = Watched(engine, console, page)
            for _ in range(round(chosen.minutes * 60 / ROW_S)):
                time.sleep(ROW_S)
                rows.append(watched.look())
                print(rows[-1], file=sys.stderr, flush=True)
    report = Report("page", facts | {"minutes": f"{chosen.minutes:g}"})
    least = min(row.events_s for row in rows[1:] or rows)
    report.add_at_least("events", least, "/s", chosen.events, "the least of a row")
    sent = sum(row.events_s for row in rows) * ROW_S
    report.add_at_most("missed by the console, of all events", rows[-1].missed / sent, "", MISSED_AIM, "asked for anew")
    oldest = max(row.fill_age_ms for row in rows)
    report.add_at_most("age of the newest fill on the page, worst look", oldest, "ms", WAIT_AIM_MS)
    for name, column in GROWS.items():
        growth = grown([getattr(row, column) for row in rows])
        report.add_at_most(f"growth of {name}", growth, "", GROWTH_AIM, "the most of the second half over the first's")
    report.add_at_most("longest wait for a change", max(row.wait_ms for row in rows), "ms", WAIT_AIM_MS)
    report.series = [asdict(row) for row in rows]
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
