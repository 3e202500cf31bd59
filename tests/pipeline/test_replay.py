"""Replay with the real processes: the same bytes every time, and the fills of the plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import EngineUnderTest
from reference_replay import Reference
from replays import KINDS, QUANTUM, STRATEGIES, market, replay_engine, run_to_the_end
from ring_model import Case, Tick
from ring_strategies import Busy

from protocol.records import Adjust, OrderPlace, OrderUpdate, SignalRefused, decode_record
from protocol.settings import load_config
from protocol.wal.history import read_history


def replay(directory: Path, ticks: list[Tick], latency_us: int, *options: str) -> EngineUnderTest:
    """An engine that has replayed `ticks` to their end."""
    return run_to_the_end(replay_engine(directory, ticks, latency_us=latency_us), *options)


def traded(engine: EngineUnderTest) -> list[str]:
    records = [decode_record(e.entry_type, data) for e, _, data in read_history(engine.run_dir / "wal")]
    return [repr(record) for record in records if isinstance(record, OrderUpdate | Adjust)]


@pytest.mark.parametrize("latency_us", [0, 2_000])
def test_every_replay_gives_the_same_bytes_and_the_fills_of_a_plain_loop(tmp_path: Path, latency_us: int) -> None:
    ticks = market(1_800)
    once = replay(tmp_path / "once", ticks, latency_us)
    again = replay(tmp_path / "again", ticks, latency_us)
    inproc = replay(tmp_path / "inproc", ticks, latency_us, "--inproc")
    content = once.journal_path.read_bytes()
    assert again.journal_path.read_bytes() == content
    assert inproc.journal_path.read_bytes() == content
    fills = traded(once)
    assert len(fills) > 100
    assert any(said.startswith("Adjust(") for said in fills), "the swap"
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
    case = Case(config, ticks, makers, quantum=QUANTUM, latency_us=latency_us, slice_ticks=64)
    said = Reference(case).run()
    assert any(isinstance(record, OrderPlace) for record in said)
    assert any(isinstance(record, SignalRefused) for record in said)
    return [repr(record) for record in said if isinstance(record, OrderUpdate | Adjust)]


def test_a_replay_whose_strategy_is_not_there_says_so_and_nothing_else(tmp_path: Path) -> None:
    unknown = {**STRATEGIES[0], "class": "nowhere:Nobody"}
    engine = replay_engine(tmp_path, market(10), strategies=[unknown, *STRATEGIES[1:]])
    try:
        engine.start()
        assert engine.wait() == 2
        assert "nowhere" in engine.log_text().splitlines()[-1]
        assert "Traceback" not in engine.log_text()
    finally:
        engine.close()
