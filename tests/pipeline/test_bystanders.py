"""P13 and P12 with real processes: who looks on changes nothing, and a quantum may be far longer than a chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import EngineUnderTest, config_tree, wait_for
from market_files import bid_ask, quotes
from replays import SYMBOLS, entries_of, kill_and_resume, market, replay_engine, run_to_the_end

from protocol.records import Checkpoint, EngineRun, OrderPlace, OrderUpdate, Report, decode_record
from protocol.wal.history import read_history

WATCHERS = """
from ring_strategies import Busy

class Slow(Busy):
    rate = 0.05

    def on_tick(self, tick):
        sum(range(3_000))
        super().on_tick(tick)

    def on_order(self, order):
        if not hasattr(self, "is_told"):
            self.is_told = True
            self.log.info("asked_in_vain", status=order.status, reason=order.reason)

class Eager(Slow):
    rate = 1.0
"""


def strategy(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "class": kind, "symbols": list(SYMBOLS), **more}


TRADERS = [strategy("s0", "ring_strategies:Busy", params={"rate": 0.05})]
BYSTANDERS = [
    strategy("slow", "watchers:Slow", trades=False),
    strategy("eager", "watchers:Eager", trades=False, params={"rate": 1.0}),
]


def engine_of(directory: Path, strategies: list[dict[str, Any]], latency_us: int) -> EngineUnderTest:
    """An engine over a market of two symbols, with checkpoints on the way."""
    return replay_engine(
        directory, market(3_000), latency_us=latency_us, checkpoint_ticks=1_000, strategies=strategies,
        files={"watchers.py": WATCHERS},
    )  # fmt: skip


def replay(directory: Path, strategies: list[dict[str, Any]], latency_us: int, *options: str) -> EngineUnderTest:
    """It has come to its end. With --inproc the journal is the same (test_replay.py), for a fourth of the time."""
    return run_to_the_end(engine_of(directory, strategies, latency_us), *options)


def records(engine: EngineUnderTest) -> list[Any]:
    """All that the journal says but ENGINE_RUN, and CHECKPOINT that has it: it names the strategies and the config."""
    said = [decode_record(e.entry_type, data) for e, _, data in read_history(engine.run_dir / "wal")]
    return [record for record in said if not isinstance(record, EngineRun | Checkpoint)]


@pytest.mark.parametrize("latency_us", [2_000])
def test_bystanders_change_no_record_of_the_journal(tmp_path: Path, latency_us: int) -> None:
    alone = records(replay(tmp_path / "alone", TRADERS, latency_us, "--inproc"))
    engine = replay(tmp_path / "watched", [*TRADERS, *BYSTANDERS], latency_us)
    assert records(engine) == alone
    assert sum(isinstance(record, OrderPlace) for record in alone) > 50
    assert sum(isinstance(record, OrderUpdate) and record.report is Report.FILL for record in alone) > 20
    vain = engine.log_events("asked_in_vain")
    assert {event["strategy"] for event in vain} == {"slow", "eager"}
    assert {event["reason"] for event in vain} == {"does_not_trade: trades = false in the config"}


def test_a_replay_with_bystanders_is_resumed_and_they_begin_again(tmp_path: Path) -> None:
    expected = entries_of(replay(tmp_path / "once", [*TRADERS, *BYSTANDERS], 0, "--inproc"))
    engine = engine_of(tmp_path / "killed", [*TRADERS, *BYSTANDERS], 0)
    try:
        kill_and_resume(engine)
        assert engine.log_events("replay_resumed")[0]["tick"] > 0
        assert entries_of(engine) == expected
    finally:
        engine.close()


def test_a_quantum_far_above_the_chunk_does_not_starve(tmp_path: Path) -> None:
    tree = config_tree(
        engine={"mode": "replay"},
        market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD"},
        strategies=[{"name": "quiet", "class": "quiet:Quiet", "symbols": ["EURUSD"]}],
        replay={"quantum": 250_000},  # the second touches nine chunks: one more than the pipe's credit by itself
    )
    quiet = "from actors.strategies import Strategy\n\n\nclass Quiet(Strategy):\n    pass\n"
    engine = EngineUnderTest(tmp_path, tree, files={"ticks.csv": bid_ask(quotes(510_000)), "quiet.py": quiet})
    try:
        engine.start()
        assert engine.wait() == 0, engine.log_text()[-3000:]
    finally:
        engine.close()


def test_in_a_paper_engine_what_it_asks_for_is_refused_too(tmp_path: Path) -> None:
    tree = config_tree()
    tree["strategies"][0]["trades"] = False
    tree["strategies"][0]["class"] = "asking:Asking"
    asking = (
        "from actors.strategies import Strategy\n\n\nclass Asking(Strategy):\n"
        "    fast = slow = quantity = 0\n"
        "    def on_tick(self, tick):\n        self.buy(tick.symbol, 1)\n"
        "    def on_order(self, order):\n        self.log.info('asked_in_vain', reason=order.reason)\n"
    )
    with EngineUnderTest(tmp_path, tree, files={"asking.py": asking}) as engine:
        vain = wait_for(lambda: engine.log_events("asked_in_vain"), "a refusal")
        assert vain[0]["reason"] == "does_not_trade: trades = false in the config"
        assert engine.stop() == 0
    assert not engine.records("ORDER_PLACE")
    assert not engine.records("SIGNAL_REFUSED")
