"""Replay with the real processes: the same bytes every time, and the fills of the plain loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import ring_strategies
from harness import EngineUnderTest, config_tree
from reference_replay import Reference
from ring_model import Case, Tick
from ring_strategies import Busy, Vector

from protocol.records import Adjust, OrderPlace, OrderUpdate, SignalRefused, decode_record
from protocol.settings import load_config
from protocol.wal.history import read_history

START = datetime(2024, 1, 2, tzinfo=UTC)
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


def csv_text(ticks: list[Tick], symbol_id: int) -> str:
    lines = ["timestamp,bid,ask"]
    for number, time_us, bid, ask in ticks:
        if number == symbol_id:
            when = datetime(1970, 1, 1) + timedelta(microseconds=time_us)
            lines.append(f"{when.isoformat(timespec='microseconds')},{bid / 1e6:.2f},{ask / 1e6:.2f}")
    return "\n".join(lines) + "\n"


def replay(directory: Path, ticks: list[Tick], latency_us: int, *options: str) -> EngineUnderTest:
    """An engine that has replayed `ticks` to their end."""
    tree = config_tree(
        engine={"mode": "replay"},
        instruments=[{"symbol": symbol, "tick_size": 0.01, "lot_size": 1.0} for symbol in SYMBOLS],
        market_data={"source": "csv", "files": [{"path": f"{s}.csv", "symbol": s} for s in SYMBOLS], "seed": 1},
        strategies=[
            {"name": name, "class": f"ring_strategies:{kind.__name__}", "symbols": symbols, "params": {"rate": rate},
             "slice": 64}
            for name, (kind, symbols, rate) in KINDS.items()
        ],
        risk={"max_position_per_symbol": 5.0, "max_drawdown": -50.0},
        order_routing={"latency_us": latency_us},
        replay={"quantum": 500},
    )  # fmt: skip
    del tree["market_data"]["rate"]
    files = {f"{symbol}.csv": csv_text(ticks, number) for number, symbol in enumerate(SYMBOLS)}
    files["ring_strategies.py"] = Path(ring_strategies.__file__).read_text(encoding="utf-8")
    engine = EngineUnderTest(directory, tree, files=files)
    try:
        engine.start(*options)
        assert engine.wait() == 0, engine.log_text()[-3000:]
    finally:
        engine.close()
    return engine


def traded(engine: EngineUnderTest) -> list[str]:
    records = [decode_record(e.entry_type, data) for e, _, data in read_history(engine.run_dir / "wal")]
    return [repr(record) for record in records if isinstance(record, OrderUpdate | Adjust)]


@pytest.mark.parametrize("latency_us", [0, 2_000])
def test_every_replay_gives_the_same_bytes_and_the_fills_of_a_plain_loop(tmp_path: Path, latency_us: int) -> None:
    ticks = market(3_000)
    once = replay(tmp_path / "once", ticks, latency_us)
    again = replay(tmp_path / "again", ticks, latency_us)
    inproc = replay(tmp_path / "inproc", ticks, latency_us, "--inproc")
    content = once.journal_path.read_bytes()
    assert again.journal_path.read_bytes() == content
    assert inproc.journal_path.read_bytes() == content
    fills = traded(once)
    assert len(fills) > 200
    assert sorted(fills) == sorted(reference(once, ticks, latency_us))


def reference(engine: EngineUnderTest, ticks: list[Tick], latency_us: int) -> list[str]:
    config = load_config(engine.config_path)

    def maker(kind: type[Busy], rate: float) -> Any:
        def make() -> Busy:
            made = kind()
            made.rate = rate
            return made

        return make

    makers = [maker(kind, rate) for kind, _, rate in KINDS.values()]
    case = Case(config, ticks, makers, quantum=500, latency_us=latency_us, slice_ticks=64)
    said = Reference(case).run()
    assert any(isinstance(record, OrderPlace) for record in said)
    assert any(isinstance(record, SignalRefused) for record in said)
    return [repr(record) for record in said if isinstance(record, OrderUpdate | Adjust)]
