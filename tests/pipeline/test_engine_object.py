"""Other ways to run the same engine: as a Python object, as threads of one process, with less of a journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from harness import ROOT, EngineUnderTest, Tree, config_tree, to_toml, wait_for
from journal_reader import PositionFold, read_entries
from market_files import bid_ask, quotes

from protocol.client import ControlClient
from protocol.errors import ConfigError, ExitCode, SupervisionError, WalError
from protocol.settings import Config, parse_config
from supervisor.engine import Engine


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tree], Config]:
    """Parses a config tree; its run_dir and files are in tmp_path, and children find the packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return lambda tree: parse_config(to_toml(tree))


def assert_no_children() -> None:
    assert not [child for child in psutil.Process().children() if "seawall:" in " ".join(child.cmdline())]


def test_the_engine_object_starts_stops_and_recovers_its_positions(
    config: Callable[[Tree], Config], tmp_path: Path
) -> None:
    tree = config_tree()
    with Engine(config(tree)) as engine:
        assert engine.is_running
        with ControlClient(tree["gateway"]["command"]) as client:
            wait_for(lambda: client.status()["positions"], "a position")
        with pytest.raises(SupervisionError):
            engine.start()
        with pytest.raises(SupervisionError):
            engine.disable_wal()
    assert not engine.is_running
    assert engine.exit_code == ExitCode.OK
    assert_no_children()

    fold = PositionFold()
    for entry in read_entries(tmp_path / "run" / "wal" / "journal.wal"):
        fold.apply(entry)
    recovered = engine.recover_from_wal()
    assert {view.symbol: view.quantity / 1e6 for view in recovered} == {
        symbol: holding.net_quantity for symbol, holding in fold.holdings().items()
    }
    engine.start()
    assert engine.stop() == ExitCode.OK
    assert_no_children()


def test_an_engine_that_is_started_again_holds_no_more_than_before(config: Callable[[Tree], Config]) -> None:
    def descriptors_after_a_run() -> int:
        with Engine(config(config_tree())):
            pass
        return len(os.listdir("/proc/self/fd"))

    before = descriptors_after_a_run()
    assert descriptors_after_a_run() <= before


def test_wait_returns_when_the_file_has_ended(config: Callable[[Tree], Config], tmp_path: Path) -> None:
    (tmp_path / "ticks.csv").write_text(bid_ask(quotes(50)))
    engine = Engine(config(config_tree(market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD"})))
    with engine:
        assert engine.wait() == ExitCode.OK
    assert not engine.is_running
    assert_no_children()


def test_what_is_enabled_before_start_overrides_the_config(config: Callable[[Tree], Config], tmp_path: Path) -> None:
    tree = config_tree()
    engine = Engine(config(tree))
    assert (engine.is_broadcasting, engine.is_wal_enabled) == (True, True)
    engine.disable_broadcasting()
    engine.disable_wal()
    assert (engine.is_broadcasting, engine.is_wal_enabled) == (False, False)
    engine.enable_broadcasting(tree["gateway"]["broadcast"])
    engine.enable_wal(tmp_path / "elsewhere")
    assert (engine.is_broadcasting, engine.is_wal_enabled) == (True, True)
    journal = tmp_path / "elsewhere" / "wal" / "journal.wal"
    with engine:
        assert engine.is_broadcasting
        wait_for(lambda: len(read_entries(journal)) > 10, "records elsewhere")
    assert not (tmp_path / "run").exists()

    engine.enable_wal(tmp_path / "elsewhere", truncate=True)
    assert engine.recover_from_wal() == []
    assert not journal.exists()


def test_an_engine_that_cannot_start_raises_and_leaves_nothing(
    config: Callable[[Tree], Config], tmp_path: Path
) -> None:
    tree = config_tree()
    tree["strategies"][0]["class"] = "nowhere:Some"
    engine = Engine(config(tree))
    with pytest.raises(ConfigError, match="nowhere"):
        engine.start()
    assert not engine.is_running
    assert_no_children()


def test_recover_from_wal_refuses_a_journal_that_contradicts_itself(
    config: Callable[[Tree], Config], tmp_path: Path
) -> None:
    tree = config_tree()
    engine = Engine(config(tree))
    journal = tmp_path / "run" / "wal" / "journal.wal"
    with engine:
        wait_for(lambda: len(read_entries(journal)) > 10, "records")
    data = bytearray(journal.read_bytes())
    data[60] ^= 0xFF
    journal.write_bytes(data)
    with pytest.raises(WalError, match="byte 0"):
        engine.recover_from_wal()


def test_the_engine_object_runs_as_threads_of_one_process(config: Callable[[Tree], Config]) -> None:
    tree = config_tree()
    engine = Engine(config(tree), inproc=True)
    with engine:
        with ControlClient(tree["gateway"]["command"]) as client:
            wait_for(lambda: client.status()["positions"], "a position")
        assert_no_children()
    assert engine.exit_code == ExitCode.OK


def test_inproc_on_the_command_line_is_one_process_that_trades_and_stops_in_order(tmp_path: Path) -> None:
    engine = EngineUnderTest(tmp_path)
    telemetry = engine.telemetry("order_update")
    try:
        engine.start("--inproc")
        engine.wait_ready()
        assert list(engine.titles()) == ["seawall: supervisor [test]"]
        wait_for(lambda: [e for e in telemetry.events() if e["status"] == "Filled"], "a fill")
        engine.assert_status_is_folded()
        assert engine.ask("HALT")["response"] == "Trading halted"
        assert engine.stop() == 0
        assert [step["step"] for step in engine.log_events("stop_step")] == list(range(1, 11))
    finally:
        engine.close()


@pytest.mark.parametrize("sync", ["interval", "off"])
def test_a_journal_that_is_synced_less_often_trades_and_survives_a_stop(tmp_path: Path, sync: str) -> None:
    with EngineUnderTest(tmp_path, config_tree(wal={"sync": sync})) as engine:
        wait_for(lambda: len(engine.records("POSITION_CLOSE")) >= 3, "three round trips")
        engine.assert_status_is_folded()
        (warned,) = engine.log_events("promise_not_kept", level="warning")
        assert warned["reason"].startswith(f'wal.sync = "{sync}": orders leave before they are on disk')
        assert engine.stop() == 0
        positions = engine.independent_positions()
        before = engine.journal[-1].lsn
        engine.tree["strategies"] = []
        engine.write_config()
        engine.restart()
        assert engine.status_positions() == positions
        assert engine.stop() == 0
        assert [entry.name for entry in engine.journal[before:]] == ["ENGINE_RUN", "ENGINE_RUN"]


def test_without_a_journal_the_engine_trades_and_forgets(tmp_path: Path) -> None:
    engine = EngineUnderTest(tmp_path, config_tree(wal={"enabled": False}))
    updates = engine.telemetry("order_update")
    with engine:
        wait_for(lambda: [event for event in updates.events() if event["status"] == "Filled"], "a fill")
        assert engine.stop() == 0
        assert not engine.journal_path.exists()
        (warned,) = engine.log_events("promise_not_kept", level="warning")
        assert warned["reason"].startswith("wal.enabled = false: nothing is on disk")
        engine.tree["strategies"] = []
        engine.write_config()
        engine.restart()
        assert engine.ask("STATUS") == {"status": "ok", "halted": False, "positions": []}
        assert engine.stop() == 0
