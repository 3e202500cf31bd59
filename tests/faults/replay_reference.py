"""The long run: data files replayed by the real processes, and every fill compared with that of one plain loop.

    python -m tests.faults.replay_reference FILE... [--symbol S] [--latency-us N]...

Over ipc, with four strategies (SmaCross, and three that place every kind of order at random: two tick by tick, one
vectorised), bars, commission, slippage, swap, and a share of the volume where the file has any. The loop
(reference_replay.py) shares the venue, the checks and the folds with the engine, and nothing of what decides who runs
when; it gets its ticks and bars from plain_rows.py, which shares nothing. What the venue said must be the same to the
last digit. Ends with code 1, and the directory kept, if not.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # as pytest does for its tests

import ring_strategies  # noqa: E402
from harness import EngineUnderTest, Tree, config_tree, sma_cross  # noqa: E402
from plain_rows import PlainFile, bars_of, read_plain  # noqa: E402
from reference_replay import Reference  # noqa: E402
from ring_model import Case  # noqa: E402

from actors.strategies import Strategy  # noqa: E402
from actors.strategies.sma_cross import SmaCross  # noqa: E402
from protocol.records import Adjust, OrderPlace, OrderUpdate, Record, decode_record  # noqa: E402
from protocol.settings import load_config  # noqa: E402
from protocol.wal.history import read_history  # noqa: E402

LATENCIES_US = (0, 250_000)
QUANTUM = 512
SLICE = 64
ACTS = 1_000
"""How often, about, each strategy that draws lots acts at a tick: a file of few ticks is traded more densely."""
DEADLINE_S = 600.0


def strategies_of(read: PlainFile, symbol: str) -> list[Tree]:
    ticks, tick_size = read.ticks, 10.0**-read.digits
    moves = [abs(later[2] - earlier[2]) / 1e6 for earlier, later in pairwise(ticks)]
    step = max(1, round(statistics.fmean(moves) / tick_size)) * tick_size
    span_s = (ticks[-1][1] - ticks[0][1]) / 1e6
    rate = min(0.3, ACTS / len(ticks))
    params = {"rate": rate, "step": round(step, 6), "span": 20 * span_s / len(ticks), "timer": span_s / 200}
    by_slice = params | {"rate": min(0.3, rate * SLICE / 4)}
    busy = {"symbols": [symbol], "params": params, "slice": SLICE}
    return [
        sma_cross("s0", [symbol], fast=5, slow=20, quantity=2.0) | {"slice": SLICE},
        {"name": "s1", "class": "ring_strategies:Hashed"} | busy,
        {"name": "s2", "class": "ring_strategies:HashedVector"} | busy | {"params": by_slice},
        {"name": "s3", "class": "ring_strategies:Hashed"} | busy | {"params": params | {"rate": rate / 4}},
    ]


def engine_of(directory: Path, path: Path, read: PlainFile, symbol: str, latency_us: int) -> EngineUnderTest:
    value = statistics.median(tick[2] for tick in read.ticks) / 1e6
    routing: Tree = {
        "latency_us": latency_us,
        "commission_per_lot": round(value * 1e-5, 6),
        "slippage_ticks": 1,
        "trail_step_ticks": 2,
        "swap_triple": "none",
    }
    if any(read.volumes):
        routing["max_participation"] = max(1e-6, round(4 / (statistics.median(read.volumes) / 1e6), 6))
    instrument = {"symbol": symbol, "tick_size": 10.0**-read.digits, "lot_size": 1.0}
    tree = config_tree(
        engine={"mode": "replay"},
        instruments=[instrument | {"swap_long": -0.00002, "swap_short": 0.00001}],
        market_data={"source": "csv", "path": str(path.resolve()), "symbol": symbol, "seed": 1, "bars": [1]},
        strategies=strategies_of(read, symbol),
        risk={"max_position_per_symbol": 40.0},
        order_routing=routing,
        replay={"quantum": QUANTUM},
    )
    del tree["market_data"]["rate"]
    source = Path(ring_strategies.__file__).read_text(encoding="utf-8")
    return EngineUnderTest(directory, tree, files={"ring_strategies.py": source})


def maker(strategy: Tree) -> Callable[[], Strategy]:
    kind: Any = getattr(ring_strategies, strategy["class"].partition(":")[2], SmaCross)

    def make() -> Strategy:
        made = kind()
        for key, value in strategy["params"].items():
            setattr(made, key, value)
        return made

    return make


def replay(engine: EngineUnderTest) -> list[Record]:
    try:
        engine.start()
        code = engine.wait(DEADLINE_S)
        assert code == 0, f"code {code}:\n{engine.log_text()[-3000:]}"
    finally:
        engine.close()
    return [decode_record(entry.entry_type, data) for entry, _, data in read_history(engine.run_dir / "wal")]


def reference(engine: EngineUnderTest, read: PlainFile, latency_us: int) -> list[Record]:
    case = Case(
        load_config(engine.config_path), read.ticks, [maker(strategy) for strategy in engine.tree["strategies"]],
        QUANTUM, latency_us, bars_of(read, 1), SLICE, volumes=read.volumes,
    )  # fmt: skip
    return Reference(case).run()


def said(records: list[Record]) -> list[str]:
    """By the venue."""
    return sorted(repr(record) for record in records if isinstance(record, OrderUpdate | Adjust))


def compare(directory: Path, path: Path, symbol: str, latency_us: int) -> bool:
    read = read_plain(path, symbol)
    engine = engine_of(directory, path, read, symbol, latency_us)
    began = time.monotonic()
    found = replay(engine)
    between = time.monotonic()
    expected = reference(engine, read, latency_us)
    ended = time.monotonic()
    ours, plain = said(found), said(expected)
    orders = sum(isinstance(record, OrderPlace) for record in found)
    fills = sum(isinstance(record, OrderUpdate) and record.quantity > 0 for record in found)
    agreed = ours == plain and fills > 0
    print(
        f"{path.name:<32} {latency_us:>8} {read.rows:>8} {len(read.ticks):>8} {orders:>7} {fills:>7} {len(ours):>8} "
        f"{between - began:>7.1f} {ended - between:>7.1f}  {'yes' if agreed else 'NO'}",
        flush=True,
    )
    if ours != plain:
        shown = [(ours_line, line) for ours_line, line in zip(ours, plain, strict=False) if ours_line != line][:1]
        print(f"{len(ours)} and {len(plain)}; first difference, engine's and loop's: {shown}", file=sys.stderr)
    return agreed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.replay_reference", description="The ring against a plain loop."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV in one of the README's formats")
    parser.add_argument("--symbol", default="EURUSD", help="the file's, or which of its symbols (default EURUSD)")
    parser.add_argument("--latency-us", type=int, action="append", help=f"may be repeated (default {LATENCIES_US})")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="seawall-replay-"))
    print(f"directory {directory}", file=sys.stderr)
    print(f"{'file':<32} {'latency':>8} {'rows':>8} {'ticks':>8} {'orders':>7} {'fills':>7} {'records':>8} "
          f"{'ring s':>7} {'loop s':>7}  agreed")  # fmt: skip
    agreed = True
    for number, path in enumerate(arguments.files):
        for latency_us in arguments.latency_us or LATENCIES_US:
            agreed &= compare(directory / f"{number}-{latency_us}", path, arguments.symbol, latency_us)
    if agreed:
        shutil.rmtree(directory)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
