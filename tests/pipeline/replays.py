"""Replays of the tests: a small market in CSV files, and strategies that act on all that they see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import ring_strategies
from harness import EngineUnderTest, Tree, config_tree, wait_for
from ring_model import Tick
from ring_strategies import Busy, Vector

from protocol.wal.format import Envelope
from protocol.wal.history import read_history

Entries = list[tuple[tuple[Envelope, int], bytes]]
START = datetime(2024, 1, 2, 21, 59, 30, tzinfo=UTC)
"""Half a minute before the swap."""
QUANTUM: Final = 300
SYMBOLS = ("S0", "S1")
KINDS = {"s0": (Busy, ["S0", "S1"], 0.05), "s1": (Busy, ["S0"], 0.02), "s2": (Vector, ["S0", "S1"], 0.5)}
"""Name -> (class, symbols, how often it acts): as Case numbers them."""


def market(ticks: int) -> list[Tick]:
    """Two symbols by turns at random; some ticks at one time, where the file named first comes first."""
    random, now, mids = Random(5), 0, [10_000, 10_000]
    made: list[Tick] = []
    for _ in range(ticks):
        now += random.choice((0, 1, 1, 5, 300)) * 1_000
        symbol_id = random.randrange(2)
        mids[symbol_id] += random.randint(-2, 2)
        time_us = int(START.timestamp()) * 1_000_000 + now
        made.append((symbol_id, time_us, (mids[symbol_id] - 1) * 10_000, (mids[symbol_id] + 1) * 10_000))
    return sorted(made, key=lambda tick: (tick[1], tick[0]))


def csv_text(quotes: Iterable[tuple[int, int, int]], digits: int = 2) -> str:
    """Of one symbol: (time, bid, ask) in micros; `digits` of the prices behind the point."""
    lines = ["timestamp,bid,ask"]
    for time_us, bid, ask in quotes:
        when = datetime(1970, 1, 1) + timedelta(microseconds=time_us)
        lines.append(f"{when.isoformat(timespec='microseconds')},{bid / 1e6:.{digits}f},{ask / 1e6:.{digits}f}")
    return "\n".join(lines) + "\n"


STRATEGIES: Final[list[Tree]] = [
    {"name": name, "class": f"ring_strategies:{kind.__name__}", "symbols": symbols, "params": {"rate": rate},
     "slice": 64}
    for name, (kind, symbols, rate) in KINDS.items()
]  # fmt: skip
MODULE: Final = Path(ring_strategies.__file__).read_text(encoding="utf-8")


LIMITS: Final = {
    "require_quote": True, "price_collar": 0.05, "max_gross_exposure": 900.0, "max_orders_per_s": 100,
    "max_repeated_orders": 20, "max_equity_loss_from_peak": 1e6,
}  # fmt: skip
"""For what risk knows of the market and of the rate to be gone on with."""


def replay_engine(
    directory: Path, ticks: list[Tick], *, latency_us: int = 0, checkpoint_ticks: int = 0, code: str = MODULE,
    strategies: Sequence[Tree] = STRATEGIES, files: Mapping[str, str] = {},
) -> EngineUnderTest:  # fmt: skip
    """An engine over `ticks`, not started. code: of the strategies' module."""
    tree = config_tree(
        engine={"mode": "replay"},
        instruments=[
            {"symbol": symbol, "tick_size": 0.01, "lot_size": 1.0, "swap_long": -0.02, "swap_short": 0.01}
            for symbol in SYMBOLS
        ],
        market_data={"source": "csv", "files": [{"path": f"{s}.csv", "symbol": s} for s in SYMBOLS], "seed": 1},
        strategies=list(strategies),
        risk={"max_position_per_symbol": 5.0, "max_drawdown": -50.0, **LIMITS},
        order_routing={"latency_us": latency_us},
        replay={"quantum": QUANTUM, "checkpoint_ticks": checkpoint_ticks},
    )  # fmt: skip
    del tree["market_data"]["rate"]
    feeds = {
        f"{symbol}.csv": csv_text((time_us, bid, ask) for one, time_us, bid, ask in ticks if one == number)
        for number, symbol in enumerate(SYMBOLS)
    }
    return EngineUnderTest(directory, tree, files={**feeds, "ring_strategies.py": code, **files})


def run_to_the_end(engine: EngineUnderTest, *options: str) -> EngineUnderTest:
    try:
        engine.start(*options)
        assert engine.wait() == 0, engine.log_text()[-3000:]
    finally:
        engine.close()
    return engine


def entries_of(engine: EngineUnderTest) -> Entries:
    """Every entry of every file of its journal, whether packed or not."""
    return [((envelope, crc), bytes(data)) for envelope, crc, data in read_history(engine.run_dir / "wal")]


def wait_for_checkpoint(engine: EngineUnderTest) -> None:
    """The first name comes with the link, before the CHECKPOINT is in place (design section 4); a second behind it."""
    wait_for(lambda: len(list((engine.run_dir / "wal").glob("journal-*.wal*"))) > 1, "a checkpoint")


def kill_and_resume(engine: EngineUnderTest) -> None:
    """All of it is killed behind its first checkpoint; the next start goes on, to the end."""
    engine.start()
    wait_for_checkpoint(engine)
    engine.kill_all()
    engine.start("--resume")
    assert engine.wait() == 0, engine.log_text()[-3000:]
