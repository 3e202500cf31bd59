"""`seawall report` over real runs: the data read again gives what the journal says, and a note where it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import EngineUnderTest, config_tree, sma_cross, wait_for
from journal_reader import FILL
from market_files import bid_ask, quotes

ROWS = quotes(600, step_s=10.0)


def make_engine(directory: Path, **market: Any) -> EngineUnderTest:
    tree = config_tree(
        market_data={"source": "csv", "path": "market.csv", "symbol": "EURUSD", **market},
        strategies=[sma_cross("sma", ["EURUSD"])],
        order_routing={"commission_per_lot": 0.01},
    )
    return EngineUnderTest(directory, tree, files={"market.csv": bid_ask(ROWS)})


def figures(engine: EngineUnderTest) -> dict[str, Any]:
    """Asked for from elsewhere: paths are relative to where the run was."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", "report", str(engine.run_dir), "-o", "json"],
        cwd="/", env=engine.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_figures_are_the_journals_and_the_datas_and_a_changed_file_is_told(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    try:
        engine.start()
        assert engine.wait() == 0
        found = figures(engine)
        holding = engine.independent_positions()["EURUSD"]
        fills = [entry.fields for entry in engine.records("ORDER_UPDATE", report=FILL)]
        commission = sum(fields["commission"] for fields in fills) / 1e6
        mark = ROWS[-1].bid if holding.net_quantity > 0 else ROWS[-1].ask
        open_profit = holding.net_quantity * (mark / 1e6 - holding.average_price)
        total = found["total"]
        assert (found["basis"], found["notes"], found["stopped_by"]) == ("marked", [], "end_of_data")
        assert total["open_profit"] == pytest.approx(open_profit, abs=1e-9)
        assert total["net_profit"] == pytest.approx(holding.realized_pnl + open_profit - commission, abs=1e-9)
        assert found["end_equity"] == pytest.approx(10_000 + total["net_profit"], abs=1e-9)
        assert (total["fills"], total["commission"]) == (len(fills), pytest.approx(commission))
        spreads = {row.time_us: (row.ask - row.bid) / 1e6 for row in ROWS}
        half_spreads = sum(fields["quantity"] / 1e6 * spreads[fields["venue_time"]] / 2 for fields in fills)
        assert total["spread_paid"] == pytest.approx(half_spreads, abs=1e-8)
        assert found["strategies"]["sma"]["net_profit"] == pytest.approx(total["net_profit"])
        said = dict(line.split("  ", 1) for line in engine.output().splitlines())
        assert f"{total['trades']}, " in said["trades"]
        assert "open positions at the last quotes" in said["net profit"]
        market = tmp_path / "market.csv"
        market.write_text(market.read_text() + bid_ask(ROWS[-1:]).splitlines()[1] + "\n")
        changed = figures(engine)
        assert changed["basis"] == "realized"
        assert "has changed" in changed["notes"][0]
        assert changed["total"]["open_profit"] is None
        market.unlink()
        assert "market.csv" in figures(engine)["notes"][0]
    finally:
        engine.close()


def test_a_run_that_was_stopped_is_marked_as_far_as_it_came(tmp_path: Path) -> None:
    with make_engine(tmp_path, speed=400.0) as engine:
        wait_for(lambda: len(engine.records("ORDER_UPDATE", report=FILL)) > 3, "some fills")
        running = figures(engine)
        assert running["stopped_by"] is None
        assert engine.stop() == 0
        found = figures(engine)
    assert (found["basis"], found["stopped_by"]) == ("marked", "operator")
    assert "not come to the end of its data" in found["notes"][0]
    last = max(entry.fields["venue_time"] for entry in engine.records("ORDER_UPDATE", report=FILL))
    assert _iso(last) <= found["end"] < _iso(ROWS[-1].time_us)


def _iso(time_us: int) -> str:
    from supervisor.report.text import show_time

    return show_time(time_us, "microseconds").replace(" ", "T") + "Z"


def test_a_live_feed_is_reported_from_the_journal_alone_over_all_its_runs(tmp_path: Path) -> None:
    with EngineUnderTest(tmp_path, config_tree()) as engine:
        wait_for(lambda: len(engine.records("ORDER_UPDATE", report=FILL)) > 3, "some fills")
        assert engine.stop() == 0
        engine.restart()
        first = len(engine.records("ORDER_UPDATE", report=FILL))
        wait_for(lambda: len(engine.records("ORDER_UPDATE", report=FILL)) > first + 3, "some more")
        assert engine.stop() == 0
        found = figures(engine)
        fills = len(engine.records("ORDER_UPDATE", report=FILL))
    assert (found["basis"], found["runs"], found["total"]["fills"]) == ("realized", 2, fills)
    assert "live" in found["notes"][0]
    assert 0 < found["total"]["exposure"] <= 1
