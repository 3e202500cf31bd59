"""A replay that was interrupted goes on, and its journal is that of one that never was (P11, P13)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from harness import EngineUnderTest, to_toml, wait_for
from replays import (
    MODULE,
    STRATEGIES,
    Entries,
    entries_of,
    kill_and_resume,
    market,
    replay_engine,
    run_to_the_end,
    wait_for_checkpoint,
)

from actors.latch import halt_page
from protocol.orders import TradingMode
from protocol.records import EntryType, TradingState, decode_record

Undisturbed = Callable[..., Entries]
TICKS = 800
STATELESS = MODULE.replace("def save(self)", "def not_saved(self)")
BEFORE_ACTING = '        self.act("tick", tick.symbol'
FAILS = '''
        if len(self.heard) > 450 and {condition}:
            import pathlib

            pathlib.Path("failed").touch()
            raise RuntimeError("a bad day")
'''
DIES = """
        if len(self.heard) > 450:
            import os

            os._exit(1)
"""


def doing(what: str) -> str:
    """The strategies' module, in which Busy does that at some tick."""
    assert MODULE.count(BEFORE_ACTING) == 1
    return MODULE.replace(BEFORE_ACTING, what.lstrip("\n") + BEFORE_ACTING)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The journal of a run that nothing happens to: (code, latency_us) -> its entries.

    In one process: test_replay.py proves that its bytes are those of nine, which take four times as long.
    """

    @cache
    def run(code: str = MODULE, latency_us: int = 0) -> Entries:
        directory = tmp_path_factory.mktemp("once") / "engine"
        engine = replay_engine(directory, market(TICKS), latency_us=latency_us, checkpoint_ticks=300, code=code)
        return entries_of(run_to_the_end(engine, "--inproc"))

    return run


@pytest.mark.parametrize(("code", "latency_us"), [(MODULE, 2_000), (STATELESS, 0)])
def test_a_replay_killed_whole_and_resumed_has_the_journal_of_one_that_never_crashed(
    tmp_path: Path, undisturbed: Undisturbed, code: str, latency_us: int
) -> None:
    expected = undisturbed(code, latency_us)
    engine = replay_engine(tmp_path / "killed", market(TICKS), latency_us=latency_us, checkpoint_ticks=300, code=code)
    try:
        engine.start()
        wait_for_checkpoint(engine)
        engine.kill_all()
        assert entries_of(engine) != expected
        engine.start("--resume")
        assert engine.wait() == 0, engine.log_text()[-3000:]
        assert entries_of(engine) == expected
        [resumed] = engine.log_events("replay_resumed")
        assert (resumed["tick"] > 0) == (code == MODULE)
        assert bool(engine.log_events("replay_begins_again")) == (code == STATELESS)
    finally:
        engine.close()


def test_a_replay_that_was_stopped_goes_on_and_one_that_has_ended_stays_as_it_is(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    expected = undisturbed()
    engine = replay_engine(tmp_path / "stopped", market(TICKS), checkpoint_ticks=300)
    try:
        engine.start()
        wait_for_checkpoint(engine)
        assert engine.stop() == 0
        assert not engine.log_events("actor_failed") + engine.log_events("stop_deadline_passed")
        for _ in range(2):
            engine.start("--resume")
            assert engine.wait() == 0, engine.log_text()[-3000:]
            assert entries_of(engine) == expected
    finally:
        engine.close()


def test_a_replay_whose_market_dies_goes_on_by_itself(tmp_path: Path, undisturbed: Undisturbed) -> None:
    """The others, and all of them at once, with no latency: tests/faults/test_replay_kills.py."""
    expected = undisturbed()
    engine = replay_engine(tmp_path / "killed", market(TICKS), checkpoint_ticks=300)
    try:
        engine.start()
        wait_for_checkpoint(engine)
        engine.kill("market_data")
        assert engine.wait() == 0, engine.log_text()[-3000:]
        assert len(engine.log_events("replay_broken")) == 1
        assert entries_of(engine) == expected
    finally:
        engine.close()


def test_a_save_that_changes_its_strategy_is_called_again_where_a_run_begins_anew(tmp_path: Path) -> None:
    """One strategy without state sends all back to the first tick: the other's saves count for its state."""
    code = MODULE.replace("return [self.heard,", "self.hear('saved')\n        return [self.heard,")
    assert code.count("self.hear('saved')") == 1
    strategies = [STRATEGIES[0], {**STRATEGIES[1], "class": "ring_strategies:Forgetful"}]
    ticks = market(2 * TICKS)

    def engine_in(name: str) -> EngineUnderTest:
        return replay_engine(tmp_path / name, ticks, checkpoint_ticks=300, code=code, strategies=strategies)

    expected = entries_of(run_to_the_end(engine_in("undisturbed"), "--inproc"))
    engine = engine_in("killed")
    try:
        kill_and_resume(engine)
        assert engine.log_events("replay_begins_again")
        assert entries_of(engine) == expected
    finally:
        engine.close()


def test_an_exception_that_comes_once_is_survived(tmp_path: Path, undisturbed: Undisturbed) -> None:
    expected = undisturbed()
    code = doing(FAILS.format(condition='not __import__("pathlib").Path("failed").exists()'))
    engine = replay_engine(tmp_path / "failed", market(TICKS), checkpoint_ticks=300, code=code)
    try:
        engine.start()
        assert engine.wait() == 0, engine.log_text()[-3000:]
        assert len(engine.log_events("replay_broken")) == 1
        assert said(entries_of(engine)) == said(expected)
    finally:
        engine.close()


def said(entries: Entries) -> list[tuple[int, int, int, bytes]]:
    """What two files of code that do the same must have in common: a CHECKPOINT knows the file."""
    rows = ((envelope.lsn, envelope.entry_type, envelope.time_us, data) for (envelope, _), data in entries)
    return [(*row[:3], b"" if row[1] == EntryType.CHECKPOINT else row[3]) for row in rows]


def test_an_exception_that_comes_again_at_the_same_position_ends_the_run(tmp_path: Path) -> None:
    code = doing(FAILS.format(condition="True"))
    engine = replay_engine(tmp_path / "failed", market(TICKS), checkpoint_ticks=300, code=code)
    try:
        engine.start()
        assert engine.wait() == 1
        assert len(engine.log_events("replay_broken")) == 1
        [ended] = engine.log_events("engine_gives_up")
        assert "a bad day (at market position" in ended["reason"]
    finally:
        engine.close()


def test_what_a_resumed_run_does_otherwise_is_named_with_its_place_and_nothing_is_overwritten(tmp_path: Path) -> None:
    engine = replay_engine(tmp_path / "changed", market(TICKS), checkpoint_ticks=0)
    try:
        engine.start()
        wait_for(lambda: engine.journal_path.exists() and engine.journal_path.stat().st_size > 6_000, "a journal")
        engine.kill_all()
        before = engine.journal_path.read_bytes()
        module = engine.directory / "ring_strategies.py"
        usual = "dice.randrange(1, 4) * self.lot"
        assert usual in MODULE
        module.write_text(MODULE.replace(usual, "dice.randrange(1, 3) * self.lot"), encoding="utf-8")
        engine.start("--resume")
        assert engine.wait() == 2
        assert "would now be" in engine.log_text()
        after = engine.journal_path.read_bytes()
        assert before.startswith(after[: len(after)])
        assert len(after) > len(before) - 2_000, "no more than a torn tail is gone"
    finally:
        engine.close()


def test_the_journal_of_another_config_or_of_changed_code_is_not_gone_on_with(tmp_path: Path) -> None:
    engine = replay_engine(tmp_path / "other", market(TICKS), checkpoint_ticks=300)
    try:
        engine.start()
        wait_for_checkpoint(engine)
        engine.kill_all()
        usual, module = engine.config_path.read_text(encoding="utf-8"), engine.directory / "ring_strategies.py"
        engine.tree["instruments"][0]["lot_size"] = 0.5
        engine.config_path.write_text(to_toml(engine.tree), encoding="utf-8")
        engine.start("--resume")
        assert engine.wait() == 2
        assert "of another config or of other data" in engine.log_text()
        engine.config_path.write_text(usual, encoding="utf-8")
        module.write_text(MODULE + "\n# changed\n", encoding="utf-8")
        engine.start("--resume")
        assert engine.wait() == 2
        assert "its file has changed since the run began" in engine.log_text()
    finally:
        engine.close()


def test_a_child_that_dies_without_a_word_at_the_same_place_is_not_brought_back_for_ever(tmp_path: Path) -> None:
    engine = replay_engine(tmp_path / "dies", market(TICKS), checkpoint_ticks=300, code=doing(DIES))
    engine.tree["supervisor"] = {"restarts": 2}
    engine.config_path.write_text(to_toml(engine.tree), encoding="utf-8")
    try:
        engine.start()
        assert engine.wait() == 1
        assert len(engine.log_events("replay_broken")) == 2
        assert "--resume" in engine.log_events("engine_gives_up")[0]["reason"]
    finally:
        engine.close()


def halts_in(entries: Entries) -> list[TradingState]:
    records = [decode_record(envelope.entry_type, data) for (envelope, _), data in entries]
    return [record for record in records if isinstance(record, TradingState)]


def test_a_replay_that_was_halted_is_not_gone_on_with_unseen(tmp_path: Path, undisturbed: Undisturbed) -> None:
    """P13: the HALT acts at a quantum's end; behind the last checkpoint nobody could say it again."""
    engine = replay_engine(tmp_path / "halted", market(TICKS), checkpoint_ticks=0)
    try:
        engine.start()
        engine.wait_ready()
        assert engine.client.request("HALT enough")["status"] == "ok"
        halts = wait_for(lambda: halts_in(entries_of(engine)), "TRADING_STATE")
        assert [(halt.state, halt.reason) for halt in halts] == [(TradingMode.HALTED, "enough")]
        engine.kill_all()
        engine.start("--resume")
        assert engine.wait() == 2
        assert "was halted by operator (enough)" in engine.log_text()
    finally:
        engine.close()
    assert not halts_in(undisturbed())


def test_a_halt_that_no_record_tells_of_is_over_when_the_operator_resumes(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    engine = replay_engine(tmp_path / "halted", market(TICKS), checkpoint_ticks=300)
    try:
        engine.start()
        wait_for_checkpoint(engine)
        engine.kill_all()
        halt_page(engine.run_dir, "cli", "while it was down")
        engine.start("--resume")
        assert engine.wait() == 0, engine.log_text()[-3000:]
        assert entries_of(engine) == undisturbed()
    finally:
        engine.close()


HELD = """import pathlib
import time

while pathlib.Path("held").exists():
    time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [MODULE, STATELESS])
def test_a_halt_while_a_replay_comes_back_by_itself_is_not_over(tmp_path: Path, code: str) -> None:
    """It acts at the next quantum's end; where the journal is still being said again, the run ends there."""
    engine = replay_engine(tmp_path / "halted", market(TICKS), checkpoint_ticks=300, code=_behind_future(code))
    # Where wal ends at the halt it ends so again in the stop, and who drains waits for it until this is over.
    engine.tree["supervisor"] = {"stop_timeout_s": 2.0}
    engine.write_config()
    try:
        engine.start()
        wait_for_checkpoint(engine)
        (engine.directory / "held").touch()
        engine.kill("risk")
        wait_for(lambda: engine.log_events("replay_broken"), "the next lives")
        halt_page(engine.run_dir, "cli", "enough")
        (engine.directory / "held").unlink()
        exit_code = engine.wait()
        assert not engine.log_events("halt_cleared")
        if exit_code:
            [ended] = engine.log_events("engine_gives_up")
            assert "halted by cli (enough)" in ended["reason"]
        assert code == MODULE or exit_code == 1, "what is said again has more than a quantum"
        assert exit_code or [halt.reason for halt in halts_in(entries_of(engine))] == ["enough"]
        engine.start("--resume")
        assert engine.wait() == (0 if exit_code else 2), "a halt in the journal stays there"
    finally:
        engine.close()


def _behind_future(code: str) -> str:
    future = "from __future__ import annotations\n"
    assert code.count(future) == 1
    return code.replace(future, future + HELD)
