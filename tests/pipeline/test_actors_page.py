"""The code of actors/README.md runs as it stands: its strategies, its source and its venue, in real engines."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, EngineUnderTest, config_tree, wait_for

from actors.sources import LiveSource
from actors.venues import Venue
from protocol.topics import TICK

PAGE = (ROOT / "actors" / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
IN_THEIR_PLACE = """
import actors.sources, actors.venues.paper, at_once, staircase
actors.sources.SyntheticSource = staircase.Staircase
actors.venues.paper.PaperVenue = at_once.AtOnce
"""
"""What Python runs at every start: the two names by which an engine without further code finds them."""


def block(mark: str) -> str:
    (found,) = [text for _, text in BLOCKS if mark in text]
    return found


def defined(mark: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block(mark), "actors/README.md", "exec"), names)
    return names


def test_every_block_is_run_here() -> None:
    marks = ("class Pullback", "class Reversion", "class Recorder", "class Staircase", "class AtOnce")
    elsewhere = block("bids = state")  # with the README's strategy, in test_readme.py
    python = [text for language, text in BLOCKS if language == "python" and text != elsewhere]
    assert [block(mark) for mark in marks] == python
    assert {language for language, _ in BLOCKS} == {"python", "toml", "sh"}, "the others: test_readme_commands.py"


def test_the_strategies_trade_over_a_file(tmp_path: Path) -> None:
    falling = [110_000 - index % 100 for index in range(4_000)]
    rows = [
        f"2024-01-01 {index // 3600:02}:{index // 60 % 60:02}:{index % 60:02},{bid / 1e5:.5f},{(bid + 1) / 1e5:.5f}"
        for index, bid in enumerate(falling)
    ]
    strategies = [
        {"name": name, "class": f"{name}:{name.capitalize()}", "symbols": ["EURUSD"], "slice": 64}
        for name in ("pullback", "reversion")
    ]
    tree = config_tree(
        strategies=strategies, market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD", "rate": 1.0},
        engine={"mode": "replay"},
    )  # fmt: skip
    files = {
        "pullback.py": block("class Pullback"),
        "reversion.py": block("class Reversion"),
        "ticks.csv": "\n".join(["timestamp,bid,ask", *rows]) + "\n",
    }
    engine = EngineUnderTest(tmp_path, tree, files=files)
    try:
        engine.start()
        assert engine.wait() == 0, engine.log_text()
        filled = {entry.fields["order_id"] for entry in engine.records("ORDER_UPDATE", report=2)}
        placed = [entry.fields for entry in engine.records("ORDER_PLACE")]
        trading = {fields["strategy_id"] for fields in placed if fields["order_id"] in filled}
        assert len(trading) == 2
        assert any(fields["stop_loss_order_id"] in filled for fields in placed)
        assert not engine.log_events("refused")
    finally:
        engine.close()


def test_the_test_of_a_strategy_needs_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pullback.py").write_text(block("class Pullback"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        defined("class Recorder")["test_it_buys_below_the_high"]()
    finally:
        sys.modules.pop("pullback", None)


def test_the_source_gives_whole_ticks_in_order_of_time() -> None:
    (instrument,) = [type("Instrument", (), {"symbol": "EURUSD", "tick_micros": 10})]
    source: LiveSource = defined("class Staircase")["Staircase"](None, [instrument], {"EURUSD": 7}, 1)
    batches = [source.generate(50, now_us) for now_us in (1_000, 900, 2_000)]
    ticks = [tick for batch in batches for tick in TICK.iter_unpack(batch.records)]
    assert len(ticks) == source.counts.rows == 150
    assert [tick[2] for tick in ticks] == [1_000] * 100 + [2_000] * 50
    assert all(tick[:2] == (0, 7) and 0 < tick[3] < tick[4] for tick in ticks)


def test_an_engine_trades_with_the_source_and_at_the_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venue: Venue = defined("class AtOnce")["AtOnce"](None)
    assert venue.cancel(1) == []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    files = {
        "staircase.py": block("class Staircase"),
        "at_once.py": block("class AtOnce"),
        "sitecustomize.py": IN_THEIR_PLACE,
    }
    with EngineUnderTest(tmp_path, config_tree(), files=files) as engine:
        ticks = engine.broadcast(0)
        wait_for(lambda: len(engine.records("POSITION_CLOSE")) >= 3, "three round trips")
        engine.kill_and_wait_ready("order_routing")
        closed = len(engine.records("POSITION_CLOSE"))
        wait_for(lambda: len(engine.records("POSITION_CLOSE")) > closed, "a trade of the venue's next life")
        bids = {(100_000 + level) * 10 for level in range(31)}
        assert {TICK.unpack(frame)[3] for frame in ticks.receive()} <= bids
        prices = {entry.fields["price"] for entry in engine.records("ORDER_UPDATE", report=2)}
        assert prices <= {bid + side for bid in bids for side in (0, 10)}
        engine.assert_ids_are_used_once()
        engine.assert_status_is_folded()
        assert engine.stop() == 0
