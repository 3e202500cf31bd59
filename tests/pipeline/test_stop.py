"""The ordered stop in its ten steps, and what the next start finds."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import DEADLINE_S, EngineUnderTest, Tree, config_tree, sma_cross, wait_for
from own_files import OWN_FILES, own, seen

STEPS = (
    "market_data stops",
    "gateway stops",
    "risk engine detaches",
    "position engine detaches",
    "order tracker detaches",
    "strategies detach",
    "order_routing stops",
    "strategy processes end",
    "risk process ends",
    "wal syncs, writes the watermark, ends",
)
END_ORDER = ("market_data", "gateway", "order_routing", "strategy.sma", "risk", "wal", "supervisor")


def watch_ends(engine: EngineUnderTest, stop: Callable[[], object]) -> list[list[str]]:
    """The names of the processes in the order of their ends; those that end between two looks stand together."""
    pids = {name: engine.child_pid(name) for name in END_ORDER[:-1]} | {"supervisor": engine.process.pid}
    names = {os.pidfd_open(pid): name for name, pid in pids.items()}
    poller = select.poll()
    for descriptor in names:
        poller.register(descriptor, select.POLLIN)
    stop()
    ends: list[list[str]] = []
    while sum(map(len, ends)) < len(names):
        ended = [descriptor for descriptor, _ in poller.poll(DEADLINE_S * 1000)]
        assert ended, f"still alive after {ends}"
        for descriptor in ended:
            poller.unregister(descriptor)
            os.close(descriptor)
        ends.append([names[descriptor] for descriptor in ended])
    return ends


def assert_lock_is_free(run_dir: Path) -> None:
    with open(run_dir / "lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def assert_no_socket_is_left(directory: Path) -> None:
    assert not [path for path in directory.rglob("*") if path.is_socket()]
    assert not (directory / "run" / "ipc").exists()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineUnderTest, list[list[str]]]]:
    """An engine that SIGTERM has stopped while it traded, and how its processes ended."""
    tree = config_tree(strategies=[sma_cross("sma", ["EURUSD"])])
    with EngineUnderTest(tmp_path_factory.mktemp("stop"), tree) as engine:
        wait_for(lambda: engine.records("POSITION_CLOSE"), "a round trip")
        ends = watch_ends(engine, lambda: engine.process.send_signal(signal.SIGTERM))
        engine.wait()
        yield engine, ends


def test_the_ten_steps_are_logged_in_the_documented_order(stopped: tuple[EngineUnderTest, list[list[str]]]) -> None:
    steps = stopped[0].log_events("stop_step")
    assert [(step["step"], step["what"]) for step in steps] == list(enumerate(STEPS, start=1))
    lsns = [step["lsn"] for step in steps[1:]]
    assert all(lsn > 0 for lsn in lsns), "each step names its last LSN; market_data has none"
    assert lsns[-1] == stopped[0].journal[-1].lsn


def test_the_processes_end_in_that_order(stopped: tuple[EngineUnderTest, list[list[str]]]) -> None:
    found = [name for group in stopped[1] for name in sorted(group, key=END_ORDER.index)]
    assert found == list(END_ORDER)


def test_a_stop_ends_with_code_0_and_leaves_no_process_no_socket_and_no_lock(
    stopped: tuple[EngineUnderTest, list[list[str]]],
) -> None:
    engine = stopped[0]
    assert engine.process.returncode == 0
    engine.assert_gone()
    assert_no_socket_is_left(engine.directory)
    assert_lock_is_free(engine.run_dir)
    assert (engine.run_dir / "lock").exists(), "never unlinked"


def test_the_journal_ends_with_the_operators_stop_all_of_it_durable(
    stopped: tuple[EngineUnderTest, list[list[str]]],
) -> None:
    last = stopped[0].journal[-1]
    assert last.name == "ENGINE_RUN"
    assert (last.fields["event"], last.fields["by"]) == (1, "operator")
    # H3: the stop is appended when all producers have ended, so everything before it is on disk.
    assert last.durable_lsn == last.lsn - 1


def test_nothing_is_logged_as_a_failure_during_a_stop(stopped: tuple[EngineUnderTest, list[list[str]]]) -> None:
    assert not [event for event in stopped[0].log_events() if event["level"] in ("warning", "error", "critical")]


# What the next start finds.


def rows_without_timing(orders: Tree) -> list[Tree]:
    return sorted(orders["orders"], key=lambda row: row["order_id"])


def test_positions_open_orders_and_the_next_order_id_survive_a_stop_and_a_start(tmp_path: Path) -> None:
    tree = config_tree(strategies=[own("Resting")])
    with EngineUnderTest(tmp_path, tree, files=OWN_FILES) as engine:

        def is_settled() -> bool:
            orders = [(row["order_type"], row["status"]) for row in engine.ask("ORDERS")["orders"]]
            return orders == [("limit", "Accepted")] * 2 and "EURUSD" in engine.status_positions()

        wait_for(is_settled, "one position and two resting orders")
        positions, orders = engine.ask("STATUS")["positions"], rows_without_timing(engine.ask("ORDERS"))
        balance = engine.ask("ACCOUNT")["balance"]
        assert engine.stop() == 0

        engine.restart()
        assert engine.ask("STATUS")["positions"] == positions
        assert rows_without_timing(engine.ask("ORDERS")) == orders
        assert engine.ask("ACCOUNT")["balance"] == balance
        assert engine.status_positions() == engine.independent_positions()
        assert engine.stop() == 0

        engine.tree["strategies"] = [own("Resting", more=1)]
        engine.write_config()
        engine.restart()
        wait_for(lambda: len(engine.ask("ORDERS")["orders"]) == 3, "a third resting order")
        new = rows_without_timing(engine.ask("ORDERS"))[-1]
        assert (new["order_id"], new["quantity"], new["limit_price"]) == (4, 400.0, 0.6)
        engine.assert_ids_are_used_once()


def test_on_stop_cancel_ends_open_orders_at_the_stop(tmp_path: Path) -> None:
    tree = config_tree(strategies=[own("Resting"), own("Witness")], order_routing={"on_stop": "cancel"})
    with EngineUnderTest(tmp_path, tree, files=OWN_FILES) as engine:
        wait_for(lambda: [row["status"] for row in engine.ask("ORDERS")["orders"]] == ["Accepted"] * 2, "two")
        assert engine.stop() == 0
        limits = {entry.fields["order_id"] for entry in engine.records("ORDER_PLACE", order_type=1)}
        assert {entry.fields["order_id"] for entry in engine.records("ORDER_UPDATE", report=3)} >= limits
        assert seen(engine, "on_stop"), "strategies are told at step 6"
        engine.restart()
        open_now = {row["order_id"] for row in engine.ask("ORDERS")["orders"]}  # the new run's may be among them
        assert not open_now & limits


def test_sigint_to_the_whole_group_is_one_ordered_stop(tmp_path: Path) -> None:
    """Ctrl-C on a terminal: children ignore it, the supervisor stops in order."""
    with EngineUnderTest(tmp_path) as engine:
        wait_for(lambda: engine.records("ORDER_PLACE"), "an order")
        os.killpg(engine.process.pid, signal.SIGINT)
        assert engine.wait() == 0
        assert [step["step"] for step in engine.log_events("stop_step")] == list(range(1, 11))
        assert engine.journal[-1].fields["by"] == "operator"


HELD = """
import os, sys, time
if "actors" in sys.orig_argv:
    open(f"begun-{os.getpid()}", "w").close()
    while not os.path.exists("signalled"):
        time.sleep(0.01)
"""


def test_sigint_to_the_group_before_the_childrens_own_code_runs_is_one_ordered_stop_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python imports sitecustomize before anything of theirs: here they are held when the signal comes."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = EngineUnderTest(tmp_path, files={"sitecustomize.py": HELD})
    try:
        engine.start()
        wait_for(lambda: list(tmp_path.glob("begun-*")), "the nursery, whose forks they are")
        wait_for((engine.run_dir / "ipc").exists, "the supervisor to be at its work")
        os.killpg(engine.process.pid, signal.SIGINT)
        (tmp_path / "signalled").touch()
        assert engine.wait() == 0
        (line,) = engine.log_events("start_given_up")
        assert line["by"] == "operator"
        assert "Traceback" not in engine.log_text()
        assert "KeyboardInterrupt" not in engine.log_text()
        assert_lock_is_free(engine.run_dir)
    finally:
        engine.close()


def test_seawall_stop_stops_and_then_says_that_nothing_runs(tmp_path: Path) -> None:
    with EngineUnderTest(tmp_path) as engine:
        assert engine.cli("stop", "seawall.toml").returncode == 0
        assert engine.wait() == 0
        assert_lock_is_free(engine.run_dir)
        for verb, code in (("stop", 7), ("ping", 7), ("halt", 7), ("status", 3)):
            done = engine.cli(verb, "seawall.toml")
            assert (done.returncode, done.stdout) == (code, "")
            assert "no engine is running" in done.stderr


def test_a_stop_while_the_engine_is_starting_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = EngineUnderTest(tmp_path)
    try:
        engine.start()
        wait_for(lambda: engine.child_pid("market_data"), "the last child to be spawned")
        assert engine.stop() == 0
        assert_no_socket_is_left(engine.directory)
        assert_lock_is_free(engine.run_dir)
        engine.restart()
        wait_for(lambda: engine.records("ORDER_PLACE"), "an order")
    finally:
        engine.close()
