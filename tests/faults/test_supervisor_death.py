"""The supervisor killed, its journal damaged, its pages gone: what the children do, and what the next start says."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashes import CHILDREN, Tail, assert_sound, halt_and_compare, trading_engine
from harness import DEADLINE_S, EngineUnderTest, wait_for
from journal_reader import START, read_entries

END_ORDER = ("market_data", "gateway", "order_routing", "strategy.often", "risk", "wal")


@pytest.fixture(scope="module")
def orphaned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """An engine that trades; the tests kill its supervisor and start it again."""
    with trading_engine(tmp_path_factory.mktemp("orphans")) as engine:
        Tail(engine).wait_for_fills("the start")
        yield engine


def kill_supervisor(engine: EngineUnderTest) -> list[list[str]]:
    """SIGKILL; the names of the children in the order of their ends, those between two looks together."""
    names = {os.pidfd_open(engine.child_pid(name)): name for name in CHILDREN}
    poller = select.poll()
    for descriptor in names:
        poller.register(descriptor, select.POLLIN)
    engine.process.kill()
    engine.process.wait(DEADLINE_S)
    ends: list[list[str]] = []
    while sum(map(len, ends)) < len(names):
        ended = [descriptor for descriptor, _ in poller.poll(DEADLINE_S * 1000)]
        assert ended, f"still alive after {ends}"
        for descriptor in ended:
            poller.unregister(descriptor)
            os.close(descriptor)
        ends.append([names[descriptor] for descriptor in ended])
    return ends


def test_when_the_supervisor_is_killed_the_children_end_in_the_stop_order_and_no_record_is_lost(
    orphaned: EngineUnderTest,
) -> None:
    updates = orphaned.telemetry("order_update")
    wait_for(lambda: len(updates.events()) > 20, "telemetry")
    ends = kill_supervisor(orphaned)
    found = [name for group in ends for name in sorted(group, key=END_ORDER.index)]
    assert found == list(END_ORDER)
    orphaned.assert_gone()
    # Nothing that anybody was told is missing: what is on the tail is on disk.
    filled = {event["order_id"] for event in updates.events() if event["status"] == "Filled"}
    assert filled <= {entry.fields["order_id"] for entry in orphaned.records("ORDER_UPDATE")}
    journal = orphaned.journal
    assert journal[-1].name != "ENGINE_RUN", "a killed supervisor is no stop"
    assert (orphaned.run_dir / "wal" / "watermark").stat().st_size


def test_the_next_start_works_at_once_and_waits_for_the_last_of_them_to_be_dead(orphaned: EngineUnderTest) -> None:
    """S1: the lock is theirs until they have ended, whoever starts in the meantime waits, and then says nothing."""
    if orphaned.process.poll() is not None:
        orphaned.restart()
    Tail(orphaned).wait_for_fills("the start")
    before = [entry for entry in orphaned.journal if entry.name == "ORDER_PLACE"]
    wal = os.pidfd_open(orphaned.child_pid("wal"))
    orphaned.process.kill()
    orphaned.start()
    orphaned.wait_ready()
    poller = select.poll()
    poller.register(wal, select.POLLIN)
    assert poller.poll(0), "the old wal was dead before the new engine was READY"
    os.close(wal)
    Tail(orphaned).wait_for_fills("the death of the supervisor")
    assert_sound(orphaned)
    assert [entry for entry in orphaned.journal if entry.name == "ORDER_PLACE"][: len(before)] == before
    assert not orphaned.ask("STATUS")["halted"], "a crash alone does not halt"
    starts = orphaned.records("ENGINE_RUN", event=START)
    assert len({entry.fields["boot_id"] for entry in starts}) == len(starts)


def test_after_the_deaths_of_its_supervisors_status_is_the_fold_of_the_journal(orphaned: EngineUnderTest) -> None:
    if orphaned.process.poll() is not None:
        orphaned.restart()
    Tail(orphaned).wait_for_fills("the start")
    assert_sound(orphaned)
    halt_and_compare(orphaned)


def test_a_second_sigint_kills(orphaned: EngineUnderTest) -> None:
    if orphaned.process.poll() is not None:
        orphaned.restart()
    stuck = orphaned.child_pid("gateway")
    os.kill(stuck, signal.SIGSTOP)  # it cannot answer STOP: the ordered stop waits for its deadline
    orphaned.process.send_signal(signal.SIGINT)
    wait_for(lambda: orphaned.log_events("engine_stopping"), "the ordered stop to begin")
    orphaned.process.send_signal(signal.SIGINT)
    assert orphaned.wait() == 1
    assert orphaned.log_events("killed_by_operator")
    assert not orphaned.log_events("stop_deadline_passed"), "nobody waited for a deadline"
    assert orphaned.journal[-1].name != "ENGINE_RUN"


HANGS = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.stdin.read(), sys.argv[1], str(os.getpid()), sys.argv[2]])
print(child.pid, flush=True)
child.wait()
"""
HUNG = """
import sys
import zmq
from actors import base
from protocol.settings import load_config

class Hung(base.Actor):
    def load(self):
        print("hangs", flush=True)
        while True:
            pass

base.ORPHAN_ALARM_S = 1
config = load_config(sys.argv[1])
spec = base.ChildSpec(
    name="risk", incarnation=1, boot_id=bytes(16), parent_pid=int(sys.argv[2]), ipc_dir=sys.argv[3], ends_after=(),
    control_endpoint="", config=config,
)
Hung(base.Place(spec, zmq.Context(), True)).live()
"""
"""A parent, and its child whose loop is never reached again."""


def test_an_orphan_that_hangs_is_ended_all_the_same(tmp_path: Path) -> None:
    """Else it would hold the lock, and no engine could be started again."""
    engine = trading_engine(tmp_path)  # for its config; it is not started
    (engine.run_dir / "pages").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(engine.config_path), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=engine.environment(),
    ) as parent:  # fmt: skip
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(HUNG)
        parent.stdin.close()
        child = os.pidfd_open(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "hangs\n"
        parent.kill()
        poller = select.poll()
        poller.register(child, select.POLLIN)
        assert poller.poll(DEADLINE_S * 1000), "the orphan hangs"
        os.close(child)


# What a start finds.


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an engine that has traded and was killed as a whole, with nothing written at its end."""
    with trading_engine(tmp_path_factory.mktemp("found")) as engine:
        Tail(engine).wait_for_fills("the start", 20)
        engine.kill_all()
        return engine.directory


def engine_over(stopped: Path, directory: Path) -> EngineUnderTest:
    """Another engine on a copy of its run_dir."""
    engine = trading_engine(directory)
    shutil.copytree(stopped / "run", engine.run_dir, symlinks=True, ignore=shutil.ignore_patterns("ipc"))
    return engine


def test_a_torn_tail_is_copied_aside_and_cut_with_a_warning_and_the_engine_trades(
    stopped: Path, tmp_path: Path
) -> None:
    engine = engine_over(stopped, tmp_path)
    whole = engine.journal_path.read_bytes()
    torn = whole[: len(whole) // 3][:70]
    with open(engine.journal_path, "ab") as file:
        file.write(torn)
    lsn = read_entries(engine.journal_path)[-1].lsn
    with engine:
        Tail(engine).wait_for_fills("a torn tail", 1)
        copies = sorted(path.name for path in engine.journal_path.parent.glob("journal.wal.torn-*"))
        assert copies == [f"journal.wal.torn-{lsn + 1}"]
        assert (engine.journal_path.parent / copies[0]).read_bytes() == torn
        (warning,) = engine.log_events("torn_tail_cut", level="warning")
        assert (Path(warning["copy"]).name, warning["lsn"], warning["lost_bytes"]) == (copies[0], lsn + 1, len(torn))
        assert engine.journal_path.read_bytes()[: len(whole)] == whole
        assert_sound(engine)
    assert engine.journal[lsn].name == "ENGINE_RUN"


def test_a_missing_latch_page_over_a_journal_comes_up_halted(stopped: Path, tmp_path: Path) -> None:
    """H5: a HALT may have been lost with it."""
    engine = engine_over(stopped, tmp_path)
    (engine.run_dir / "latch").unlink()
    with engine:
        state = engine.ask("HEALTH")["trading_state"]
        assert (state["state"], state["reason"]) == ("HALTED", "latch page was missing")
        assert engine.ask("STATUS")["halted"]
        orders = len(engine.records("ORDER_PLACE"))
        ticks = engine.broadcast(0)
        wait_for(lambda: len(ticks.receive()) > 500, "ticks that make signals")
        wait_for(lambda: engine.records("SIGNAL_REFUSED", reason="trading_halted"), "a refused signal")
        assert len(engine.records("ORDER_PLACE")) == orders
        assert engine.stop() == 0


def test_a_flipped_bit_refuses_the_start_with_code_161_and_names_file_offset_and_lsn(
    stopped: Path, tmp_path: Path
) -> None:
    engine = engine_over(stopped, tmp_path)
    journal = bytearray(engine.journal_path.read_bytes())
    lsn = len(engine.journal) // 2
    offset = 0
    for _ in range(lsn - 1):
        offset += 13 + int.from_bytes(journal[offset + 5 : offset + 9], "little")
    journal[offset + 13 + 38] ^= 1  # the first byte of its record, behind header and envelope
    engine.journal_path.write_bytes(journal)
    try:
        engine.start()
        assert engine.wait() == 161
        assert f"journal.wal at byte {offset} (LSN {lsn})" in engine.log_text()
        assert engine.journal_path.read_bytes() == journal, "nothing was changed"
        assert not list(engine.journal_path.parent.glob("*torn*"))
        assert not engine.log_events("engine_ready")
    finally:
        engine.close()
