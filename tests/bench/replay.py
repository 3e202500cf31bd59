"""Replays by the real `seawall run`, six processes with their journal: ticks a second, and what they cost.

    python -m tests.bench.replay [--json FILE] [--dir DIR] [--ticks N] [--only ROW,...] [--rival-python PATH]

Rows: python (a hook a tick), broadcast (the same, each TICK sent singly to one outside subscriber that gets them all),
vector (NumPy slices), trading (beside NautilusTrader, where it can be imported), costs (of the journal and of a
broadcast that nobody hears), memory, scaling. What is timed, replay_run.py says. Each speed is the median of rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.replay_market import INTERVAL_US, Market, write_market
from tests.bench.replay_run import OFF, ROOT, RUN_S_MAX, Run, Tree, free_endpoint, replay_tree, run_replay, strategy
from tests.bench.report import Report, bench_directory, median, parser, surroundings

PYTHON_AIM, BROADCAST_AIM, VECTOR_AIM = 2.0e6, 1.05e6, 8.0e6
"""Ticks a second."""
RIVAL_AIM: Final = 5.0
"""Times the speed of NautilusTrader in the same run."""
BROADCAST_COST_AIM, WAL_COST_AIM = 2.0, 25.0
"""Percent."""
RSS_AIM_MIB: Final = 150.0
SLICE: Final = 8192
FAST, SLOW, QUANTITY = 200, 600, 1000
"""Averages that cross about twice in 1,000 ticks of this market."""
LATENCY_US: Final = 200 * INTERVAL_US
MEMORY_TIMES: Final = 10
MIB: Final = 1 << 20


@dataclass(slots=True)
class Bench:
    """The runs of one bench, in `directory`; markets are made once."""

    directory: Path
    options: Namespace
    report: Report
    markets: dict[tuple[int, int], Market] = field(default_factory=dict)

    def market(self, ticks: int, symbols: int = 1) -> Market:
        if (ticks, symbols) not in self.markets:
            self.markets[ticks, symbols] = write_market(self.directory, ticks, symbols)
        return self.markets[ticks, symbols]

    def leave_out(self, name: str, reason: str) -> None:
        self.report.facts[name] = f"left out: {reason}"

    def run(self, market: Market, strategies: list[Tree], **sections: Any) -> Run:
        if self.options.checkpoint_ticks is not None:
            sections["replay"] = {"checkpoint_ticks": self.options.checkpoint_ticks}
        return run_replay(self.directory / "engine", market, replay_tree(market, strategies, **sections))

    def rounds(self, kind: str, *, ticks: int = 0, sections: Tree | None = None, **more: Any) -> Run:
        """The run of median speed of one strategy over the usual market."""
        market = self.market(ticks or self.options.ticks)
        own = [strategy(kind, market, **more)]
        return middle([self.run(market, own, **(sections or {})) for _ in range(self.options.rounds)])


def middle(runs: list[Run]) -> Run:
    return sorted(runs, key=lambda run: run.speed)[len(runs) // 2]


def told(run: Run) -> str:
    return f"{run.seconds:.2f} s, process {run.whole_s:.2f} s; {run.busiest}"


def told_trades(run: Run) -> str:
    fills = int(run.summary["fills"])
    return f"{run.summary['orders'].partition(' ')[0]} orders, {fills} fills; {told(run)}"


# ---- rows -----------------------------------------------------------------------------------------------------


def add_python(bench: Bench) -> None:
    run = bench.rounds("EmaCross")
    bench.report.add_at_least("a Python hook a tick", run.speed, "ticks/s", PYTHON_AIM, told(run))


def add_vector(bench: Bench) -> None:
    run = bench.rounds("VectorCrosses", slice=SLICE)
    bench.report.add_at_least(f"NumPy, slices of {SLICE}", run.speed, "ticks/s", VECTOR_AIM, told(run))


def add_broadcast(bench: Bench) -> None:
    from protocol.settings import GatewaySettings

    name = "the hook, each TICK broadcast singly to one subscriber"
    if "broadcast_lossless" not in GatewaySettings.__struct_fields__:
        bench.leave_out("broadcast", "this version has no gateway.broadcast_lossless")
        return
    runs: list[tuple[float, Run]] = []
    market = bench.market(bench.options.ticks)
    for _ in range(bench.options.rounds):
        gateway = {**OFF, "broadcast": free_endpoint(), "broadcast_lossless": True}
        with _listener(gateway["broadcast"], market.ticks) as listener:
            run = bench.run(market, [strategy("EmaCross", market)], gateway=gateway)
            heard = json.loads(listener.communicate(timeout=RUN_S_MAX)[0])
        assert heard["is_ordered"], "a TICK came twice, or too early"
        seconds = max(run.seconds, heard["ended"] - run.begun)
        runs.append((market.ticks / seconds, run))
    speed, run = sorted(runs, key=lambda pair: pair[0])[len(runs) // 2]
    note = f"all {market.ticks:,} received, to the last one; {told(run)}"
    bench.report.add_at_least(name, speed, "ticks/s", BROADCAST_AIM, note)


@contextmanager
def _listener(endpoint: str, ticks: int) -> Iterator[subprocess.Popen[str]]:
    """Its SUB socket connects before the engine binds, so that the first TICK finds it."""
    command = [sys.executable, "-m", "tests.bench.replay_listener", endpoint, str(ticks)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "subscribed\n"
            yield listener
        finally:
            listener.kill()


def add_trading(bench: Bench) -> None:
    """MarketFlips beside the rival's, round by round; then what other orders cost."""
    params = {"fast": FAST, "slow": SLOW, "quantity": float(QUANTITY)}
    market = bench.market(bench.options.ticks)
    runs: list[Run] = []
    rivals: list[Tree] = []
    for _ in range(bench.options.rounds):
        runs.append(bench.run(market, [strategy("MarketFlips", market, params=params)]))
        rivals += filter(None, [_rival(bench, market)])
    run = middle(runs)
    if rivals:
        rival = median([said["ticks"] / said["seconds"] for said in rivals])
        said = rivals[-1]
        facts = f"{said['ticks']:,} ticks, {said['orders']} orders, {said['fills']} fills"
        bench.report.add(f"NautilusTrader {said['version']}", rival, "ticks/s", f"run() only; {facts}")
        bench.report.add_at_least("market orders", run.speed, "ticks/s", RIVAL_AIM * rival, told_trades(run))
        bench.report.add_at_least("market orders over NautilusTrader", run.speed / rival, "x", RIVAL_AIM)
    else:
        bench.report.add("market orders", run.speed, "ticks/s", told_trades(run))
    for name, kind, latency_us in (
        (f"market orders, latency {LATENCY_US // 1000} ms", "MarketFlips", LATENCY_US),
        ("resting limits that fill", "RestingLimits", 0),
        ("brackets", "Brackets", 0),
    ):
        run = bench.rounds(kind, params=params, sections={"order_routing": {"latency_us": latency_us}})
        bench.report.add(name, run.speed, "ticks/s", told_trades(run))


def _rival(bench: Bench, market: Market) -> Tree | None:
    """What it said; None, with a word, where it cannot be run."""
    ticks = min(bench.options.rival_ticks, market.ticks)
    arguments = map(str, (market.path, ticks, FAST, SLOW, QUANTITY))
    done = subprocess.run(
        [bench.options.rival_python, "-m", "tests.bench.replay_rival", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip
    if done.returncode:
        bench.leave_out("NautilusTrader", (done.stderr.strip().splitlines() or ["it failed"])[-1])
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def add_costs(bench: Bench) -> None:
    """Each round without both, with the journal, and with the broadcast too; ratios within a round."""
    market = bench.market(bench.options.ticks)
    own = [strategy("MarketFlips", market, params={"fast": FAST, "slow": SLOW, "quantity": float(QUANTITY)})]
    wal, broadcast = [], []
    for _ in range(bench.options.cost_rounds):
        bare = bench.run(market, own, wal={"enabled": False})
        kept = bench.run(market, own)
        heard = bench.run(market, own, gateway={**OFF, "broadcast": free_endpoint()})
        wal.append(100 * (kept.seconds / bare.seconds - 1))
        broadcast.append(100 * (heard.seconds / kept.seconds - 1))
    note = f"median of {len(wal)} rounds; of the run without it, at the rate of market orders"
    bench.report.add_at_most("cost of the journal", median(wal), "%", WAL_COST_AIM, f"{note}; {spread(wal)}")
    told_broadcast = f"{note}; {spread(broadcast)}"
    bench.report.add_at_most(
        "cost of a broadcast without a subscriber", median(broadcast), "%", BROADCAST_COST_AIM, told_broadcast
    )


def spread(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


def add_memory(bench: Bench) -> None:
    """The greatest RSS of each child, and how much more it is over ten times the ticks."""
    ticks = bench.options.ticks
    params = {"fast": FAST, "slow": SLOW, "quantity": float(QUANTITY)}
    once, often = (
        bench.run(market, [strategy("MarketFlips", market, params=params)])
        for market in map(bench.market, (ticks, MEMORY_TIMES * ticks))
    )
    for name, child in sorted(often.children.items()):
        grown = (child.rss_max - once.children[name].rss_max) / MIB
        note = f"{grown:+.1f} MiB over the run of {ticks:,} ticks"
        bench.report.add_at_most(f"RSS of {name}", child.rss_max / MIB, "MiB", RSS_AIM_MIB, note)


def add_scaling(bench: Bench) -> None:
    ticks = bench.options.ticks // 2
    for count in (1, 5, 20):
        market = bench.market(ticks)
        run = bench.run(market, [strategy("EmaCross", market, f"bench{number}") for number in range(count)])
        bench.report.add(f"{count} strategies", run.speed, "ticks/s", told(run))
    for count in (1, 10, 100):
        market = bench.market(ticks, count)
        run = bench.run(market, [strategy("EmaCrosses", market)])
        bench.report.add(f"{count} symbols", run.speed, "ticks/s", told(run))


ROWS: Final[dict[str, Callable[[Bench], None]]] = {
    "python": add_python,
    "broadcast": add_broadcast,
    "vector": add_vector,
    "trading": add_trading,
    "costs": add_costs,
    "memory": add_memory,
    "scaling": add_scaling,
}


def rows(text: str) -> list[str]:
    """--only. Raises: ValueError, which argparse tells."""
    names = text.split(",")
    if unknown := set(names) - ROWS.keys():
        raise ValueError(f"no such rows: {', '.join(sorted(unknown))}")
    return names


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--ticks", type=int, default=4_000_000, help="(%(default)s)")
    options.add_argument("--only", type=rows, default=list(ROWS), metavar="ROW,...", help=", ".join(ROWS))
    options.add_argument("--rounds", type=int, default=3, help="of each speed (%(default)s)")
    options.add_argument("--cost-rounds", type=int, default=7, help="of the row costs (%(default)s)")
    options.add_argument("--checkpoint-ticks", type=int, help="replay.checkpoint_ticks (the engine's default)")
    options.add_argument("--rival-python", default=sys.executable, metavar="PATH", help="that has nautilus_trader")
    options.add_argument("--rival-ticks", type=int, default=500_000, help="the first of the market (%(default)s)")
    chosen = options.parse_args()
    with bench_directory(chosen.dir) as directory:
        facts = {**surroundings(directory), "ticks": f"{chosen.ticks:,}", "rounds": str(chosen.rounds)}
        bench = Bench(directory, chosen, Report("replay", facts))
        for name in chosen.only:
            ROWS[name](bench)
    bench.report.finish(chosen.json)


if __name__ == "__main__":
    main()
