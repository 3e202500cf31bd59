"""One replay by the real `seawall run`, timed by its own log, its children measured from outside while it runs.

The time of the data is from `engine_ready` (or the first strategy's on_start, if that came before) to the last
strategy's on_stop, which is the end of the data for it: log lines with their timestamps. The supervisor's own word for
the end comes up to 0.1 s later, for it asks. The whole time is that of the process, with start, stop and summary.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import psutil

sys.path[:0] = [str(Path(__file__).parents[1])]  # as pytest does for its tests

from harness import ROOT, EngineUnderTest, Tree, config_tree, free_endpoint  # noqa: E402

from tests.bench.replay_market import TICK_MICROS, Market  # noqa: E402
from tests.bench.replay_strategies import BEGAN, ENDED  # noqa: E402

SAMPLE_S: Final = 0.1
"""Between two looks at the children: costs 1 ms."""
RUN_S_MAX: Final = 1800.0
OFF: Final = {"command": "", "telemetry": "", "broadcast": ""}
TITLE: Final = re.compile(r"seawall: (\S+)(?: (\S+))? \[")


@dataclass(slots=True)
class Child:
    """A process of the engine: what was seen of it."""

    rss_max: int = 0
    """Bytes."""
    looks: list[tuple[float, float]] = field(default_factory=list)
    """(wall time, seconds of CPU by then)."""

    def share(self, begun: float, ended: float) -> float:
        """Of one core, between two looks within these times; 0 if there were none."""
        within = [look for look in self.looks if begun <= look[0] <= ended]
        if len(within) < 2:
            return 0.0
        (first, before), (last, after) = within[0], within[-1]
        return (after - before) / (last - first)


@dataclass(frozen=True, slots=True)
class Run:
    ticks: int
    begun: float
    """Wall time."""
    seconds: float
    """Of the data."""
    whole_s: float
    """Of the process."""
    children: dict[str, Child]
    shares: dict[str, float]
    """Of one core, by child, while the data ran."""
    summary: dict[str, str]
    """What `seawall run` prints at its end."""

    @property
    def speed(self) -> float:
        """Ticks a second."""
        return self.ticks / self.seconds

    @property
    def busiest(self) -> str:
        """CPU seconds of the data: of the three that took most, and of all children."""
        taken = sorted(((share * self.seconds, name) for name, share in self.shares.items()), reverse=True)
        total = sum(seconds for seconds, _ in taken)
        return "CPU: " + ", ".join(f"{name} {seconds:.2f}" for seconds, name in [*taken[:3], (total, "all")])


def strategy(kind: str, market: Market, name: str = "bench", **more: Any) -> Tree:
    """A strategy of replay_strategies.py over all symbols."""
    path = f"tests.bench.replay_strategies:{kind}"
    return {"name": name, "class": path, "symbols": list(market.symbols), **more}


def replay_tree(market: Market, strategies: list[Tree], **sections: Any) -> Tree:
    """The engine's defaults, but for what a bench has to say: an account that no fill can end, and no sockets."""
    tree = config_tree(
        engine={"name": "bench", "mode": "replay"},
        account={"balance": 1_000_000.0},
        instruments=[{"symbol": symbol, "tick_size": TICK_MICROS / 1e6, "lot_size": 1.0} for symbol in market.symbols],
        strategies=strategies,
        risk={"max_position_per_symbol": 1_000_000.0},
        gateway=OFF,
    )
    tree["market_data"] = market.settings()
    tree["wal"] = {"enabled": True}
    for key, value in sections.items():
        tree[key] = {**tree.get(key, {}), **value}
    return tree


def run_replay(directory: Path, market: Market, tree: Tree) -> Run:
    """Raises: AssertionError with the engine's log if it did not come to the end of the data by itself."""
    shutil.rmtree(directory, ignore_errors=True)
    engine = EngineUnderTest(directory, tree)
    children: dict[str, Child] = {}
    begun = monotonic()
    try:
        engine.start("--no-progress")
        while engine.process.poll() is None:
            assert monotonic() - begun < RUN_S_MAX, f"not within {RUN_S_MAX:g} s:\n{engine.log_text()[-3000:]}"
            _look(engine.process.pid, children)
            try:
                engine.process.wait(SAMPLE_S)
            except subprocess.TimeoutExpired:
                continue
        whole_s = monotonic() - begun
        assert engine.wait() == 0, engine.log_text()[-3000:]
        lines = engine.log_events()
        summary = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in engine.output().splitlines() if "  " in line)
    finally:
        engine.close()
    first = min(_time(line) for line in lines if line["event"] in ("engine_ready", BEGAN))
    ends = [_time(line) for line in lines if line["event"] == ENDED]
    assert len(ends) == len(tree["strategies"]), f"{len(ends)} strategies came to the end of the data"
    assert summary["ticks"] == str(market.ticks), summary
    shares = {name: child.share(first, max(ends)) for name, child in children.items()}
    return Run(market.ticks, first, max(ends) - first, whole_s, children, shares, summary)


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _look(supervisor: int, children: dict[str, Child]) -> None:
    try:
        processes = psutil.Process(supervisor).children()
    except psutil.Error:
        return
    for process in processes:
        try:
            with process.oneshot():
                title = TITLE.match(" ".join(process.cmdline()))
                rss, cpu = process.memory_info().rss, process.cpu_times()
        except psutil.Error:
            continue
        if title is not None:
            child = children.setdefault(".".join(filter(None, title.groups())), Child())
            child.rss_max = max(child.rss_max, rss)
            child.looks.append((time(), cpu.user + cpu.system))


__all__ = ["OFF", "ROOT", "RUN_S_MAX", "Run", "Tree", "free_endpoint", "replay_tree", "run_replay", "strategy"]
