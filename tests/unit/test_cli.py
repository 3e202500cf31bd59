"""The command line: how a verb finds its engine, what goes to stdout, and every exit code.

The engines here are a held lock and a small peer on the control socket: what the CLI sees of a real one.
"""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gateways import gateway, held_lock
from small_engines import NO_ORDERS, ORDER, STATUS, engine, health, seawall

from actors.latch import LATCH_NAME, Latch
from protocol.client import control_endpoint
from protocol.settings import load_config
from supervisor.cli.project import project_files

VERBS = ("status", "positions", "orders", "account", "health", "ping", "halt")


@pytest.mark.parametrize("verb", [*VERBS, "stop"])
def test_a_verb_that_is_told_no_engine_is_a_usage_error(verb: str) -> None:
    result = seawall(verb)
    assert result.exit_code == 2
    assert "CONFIG, --run-dir DIR, --endpoint URL, or set $SEAWALL_RUN_DIR" in result.stderr


@pytest.mark.parametrize("verb", [*VERBS, "stop"])
def test_an_engine_that_does_not_run_is_told_fast(verb: str, tmp_path: Path) -> None:
    result = seawall(verb, "--run-dir", tmp_path, "--timeout", "60")
    assert result.exit_code == (3 if verb == "status" else 7)
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: no engine is running in {tmp_path}\n")
    assert "`seawall run CONFIG` starts an engine" in result.stderr


def test_naming_the_engine_twice_is_a_usage_error(tmp_path: Path) -> None:
    result = seawall("ping", "--run-dir", tmp_path, "--endpoint", "tcp://127.0.0.1:1")
    assert (result.exit_code, "name the engine once" in result.stderr) == (2, True)


@pytest.mark.parametrize("content", [None, "[engine", "[engine]\nname = 'x'", "engine = 5"])
def test_a_config_without_a_run_dir_is_a_usage_error(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_text(content)
    result = seawall("ping", path)
    assert (result.exit_code, str(path) in result.stderr) == (2, True)


def test_the_engine_is_found_by_config_run_dir_and_variable(tmp_path: Path) -> None:
    config = tmp_path / "half edited.toml"
    config.write_text(f"[engine]\nrun_dir = '{tmp_path}/run'\nnonsense = 1")
    with engine(tmp_path / "run") as got:
        for result in (
            seawall("ping", config),
            seawall("ping", "--run-dir", tmp_path / "run"),
            seawall("ping", env={"SEAWALL_RUN_DIR": f"{tmp_path}/run"}),
            seawall("ping", "--endpoint", control_endpoint(tmp_path / "run")),
        ):
            assert (result.exit_code, result.stdout) == (0, "PONG\n"), result.output
    assert got == [b"PING"] * 4


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "halt"])
def test_a_gateway_that_is_silent_is_exit_code_4(verb: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with engine(run_dir, STATUS=None, PING=None, HEALTH=None, ORDERS=None, ACCOUNT=None):
        result = seawall(verb, "--run-dir", run_dir, "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (4, "")
    what, where, then, _ = result.stderr.splitlines()
    assert what == f"Error: the engine in {run_dir} did not answer within 0.1 s"
    assert where.startswith(f"Asked at {control_endpoint(run_dir)}. Likely: ")
    assert then.startswith(f"Next: `seawall ping --run-dir {run_dir} --timeout 10`")


def test_an_endpoint_at_which_nobody_is_or_answers_is_named_with_what_to_try(tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    result = seawall("ping", "--endpoint", nobody)
    assert (result.exit_code, f"no engine is running at {nobody}" in result.stderr) == (7, True)
    assert "Is it the gateway.command of a running engine" in result.stderr
    with gateway(lambda _: None) as (endpoint, _):
        result = seawall("ping", "--endpoint", endpoint, "--timeout", "0.1")
    assert (result.exit_code, f"Asked at {endpoint}." in result.stderr) == (4, True)
    assert f"Next: `seawall ping --endpoint {endpoint} --timeout 10`" in result.stderr
    assert "halt" not in result.stderr, "that needs the run_dir"


def test_the_account_is_shown_with_what_each_strategy_has_brought(tmp_path: Path) -> None:
    money = {"balance": 9_990.5, "equity": 9_981.0, "profit": -9.5, "margin": 12.0}
    strategies = [{"strategy": "sma", "balance": -9.5, "equity": -19.0, "profit": -9.5, "margin": 12.0}]
    reply = {"status": "ok", "currency": "USD", **money, "margin_free": 9_969.0, "margin_level": 83_175.0,
             "strategies": strategies}  # fmt: skip
    with engine(tmp_path / "run", ACCOUNT=reply):
        table = seawall("account", "--run-dir", tmp_path / "run")
        as_json = seawall("account", "--run-dir", tmp_path / "run", "-o", "json")
    assert (table.exit_code, json.loads(as_json.stdout)) == (0, reply)
    [whole] = [line for line in table.stdout.splitlines() if "the account" in line]
    [own] = [line for line in table.stdout.splitlines() if "sma" in line]
    assert "9990.5" in whole
    assert "-19 " in own


def test_an_error_reply_is_exit_code_1_with_its_words(tmp_path: Path) -> None:
    with engine(tmp_path / "run", PING={"status": "error", "response": "not now"}):
        result = seawall("ping", "--run-dir", tmp_path / "run")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: not now\n")


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("status", STATUS), ("positions", STATUS), ("orders", {"status": "ok", "orders": [ORDER]}),
        ("health", health()), ("ping", {"status": "ok", "response": "PONG"}),
        ("halt", {"status": "ok", "response": "Trading halted"}),
    ],
)  # fmt: skip
def test_json_is_the_reply_alone_on_stdout(verb: str, reply: dict[str, Any], tmp_path: Path) -> None:
    with engine(tmp_path / "run"):
        result = seawall(verb, "--run-dir", tmp_path / "run", "-o", "json")
    assert result.exit_code == 0
    assert result.stdout == json.dumps(reply, separators=(",", ":")) + "\n"


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("status", ["demo: ACTIVE by operator", "lunch", "AAPL[x]", "3", "150.5", "12.75", "risk", "ready"]),
        ("positions", ["AAPL[x]", "net quantity", "3", "150.5", "12.75"]),
        ("orders", ["41", "AAPL", "Buy", "limit", "Accepted", "150.5", "sma"]),
        ("health", ["demo: ACTIVE", "LSN 9", "0.1.0", "risk", "ready", "7", "1.2", "3"]),
    ],
)
def test_tables_have_what_the_reply_has(verb: str, words: list[str], tmp_path: Path) -> None:
    with engine(tmp_path / "run"):
        result = seawall(verb, "--run-dir", tmp_path / "run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [word for word in words if word not in result.stdout] == []


@pytest.mark.parametrize(
    ("halted", "state", "child", "code"),
    [
        (False, "ACTIVE", "ready", 0),
        (True, "HALTED", "ready", 150),
        (True, "ACTIVE", "ready", 150),
        (False, "HALTED", "parked", 150),
        (False, "REDUCING", "restarting", 151),
        (False, "ACTIVE", "restarting", 152),
        (False, "ACTIVE", "parked", 152),
    ],
)
def test_status_check_says_the_worst_by_its_exit_code(
    halted: bool, state: str, child: str, code: int, tmp_path: Path
) -> None:
    with engine(tmp_path / "run", STATUS={**STATUS, "halted": halted}, HEALTH=health(state, child)):
        for output in ("json", "table"):
            result = seawall("status", "--check", "--run-dir", tmp_path / "run", "-o", output)
            assert result.exit_code == code
            assert "AAPL[x]" in result.stdout
        assert seawall("status", "--run-dir", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize(
    ("state", "child", "warnings", "code"),
    [
        ("ACTIVE", "parked", [], 152),
        ("ACTIVE", "ready", ["the disk is nearly full (1 MB free)"], 152),
        ("REDUCING", "parked", ["the disk is nearly full (1 MB free)"], 151),
        ("HALTED", "ready", ["the disk is nearly full (1 MB free)"], 150),
    ],
)
def test_why_an_engine_is_degraded_is_said_line_by_line(
    state: str, child: str, warnings: list[str], code: int, tmp_path: Path
) -> None:
    lines = ["Warning: risk is parked"] * (child == "parked") + [f"Warning: {warning}" for warning in warnings]
    with engine(tmp_path / "run", HEALTH=health(state, child, *warnings)):
        for words, expected in ((["status"], 0), (["status", "--check"], code), (["health"], 0)):
            result = seawall(*words, "--run-dir", tmp_path / "run")
            assert (result.exit_code, result.stderr.splitlines()) == (expected, lines)


def test_the_health_of_an_older_engine_without_warnings_is_read(tmp_path: Path) -> None:
    older = {key: value for key, value in health().items() if key not in ("disk_low", "warnings")}
    with engine(tmp_path / "run", HEALTH=older):
        assert seawall("status", "--check", "--run-dir", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ([], b"HALT"),
        (["too", "fast"], b"HALT too fast"),
        (["x" * 9000], b"HALT " + b"x" * 500),
    ],
)
def test_halt_goes_through_the_gateway_with_its_reason(words: list[str], sent: bytes, tmp_path: Path) -> None:
    with engine(tmp_path / "run", ORDERS=NO_ORDERS) as got:
        result = seawall("halt", *words, env={"SEAWALL_RUN_DIR": f"{tmp_path}/run"})
    assert (result.exit_code, result.stdout) == (0, "Trading halted\n")
    assert "through the gateway" in result.stderr
    assert got == [sent, b"ORDERS"]
    assert not (tmp_path / "run" / LATCH_NAME).exists()


def test_the_first_word_of_halt_may_be_the_config(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f"[engine]\nrun_dir = '{tmp_path}/run'")
    with engine(tmp_path / "run", ORDERS=NO_ORDERS) as got:
        assert seawall("halt", config, "too", "fast").exit_code == 0
        assert seawall("halt", config).exit_code == 0
    assert got == [b"HALT too fast", b"ORDERS", b"HALT", b"ORDERS"]


def test_halt_tells_what_became_of_the_cancels_and_is_no_failure_without_them(tmp_path: Path) -> None:
    open_still = {"status": "ok", "orders": [{**ORDER, "cancel_requested": True}, {**ORDER, "order_id": 9}]}
    with engine(tmp_path / "run", ORDERS=open_still):
        result = seawall("halt", "--run-dir", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (0, "Trading halted\n")
    assert "1 requested, 0 confirmed, 1 unknown" in result.stderr
    with engine(tmp_path / "other", ORDERS=None):
        result = seawall("halt", "--run-dir", tmp_path / "other", "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (0, "Trading halted\n")
    assert "Not known what became of the cancels" in result.stderr


def test_halt_warns_of_what_the_reply_adds(tmp_path: Path) -> None:
    reply = {"status": "ok", "response": "Trading halted", "in_flight": 1, "unsynced": 1}
    with engine(tmp_path / "run", HALT=reply, ORDERS=NO_ORDERS):
        result = seawall("halt", "--run-dir", tmp_path / "run")
    assert result.exit_code == 0
    assert "A send was under way" in result.stderr
    assert "not reached the disk" in result.stderr


@pytest.mark.parametrize("reply", [None, {"status": "error", "response": "confused"}])
def test_halt_sets_the_latch_page_itself_when_the_gateway_does_not_do_it(
    reply: dict[str, Any] | None, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with engine(run_dir, HALT=reply):
        result = seawall("halt", "--run-dir", run_dir, "--timeout", "0.1", "too", "fast", "-o", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"status": "ok", "response": "Trading halted"}
    assert "setting the latch page" in result.stderr
    latch = Latch(run_dir / LATCH_NAME)
    assert (latch.is_halted(), latch.reason()) == (True, "too fast")
    latch.close()


def test_halt_that_failed_both_ways_says_not_halted(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with engine(run_dir, HALT=None):
        (run_dir / LATCH_NAME).write_bytes(b"no latch page")
        result = seawall("halt", "--run-dir", run_dir, "--timeout", "0.1")
    assert (result.exit_code, "NOT HALTED" in result.stderr) == (1, True)


def test_halt_by_endpoint_alone_has_no_page_to_set() -> None:
    with gateway(lambda _: None) as (endpoint, _):
        assert seawall("halt", "--endpoint", endpoint, "--timeout", "0.1").exit_code == 4


SUPERVISOR = """
import fcntl, os, signal, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0) if sys.argv[2] == "good" else None)
lock.write(f"{os.getpid()}\\n"); lock.flush()
print("ready", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def supervisor(run_dir: Path, manner: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock as a supervisor does; a good one ends at SIGTERM."""
    words = [sys.executable, "-c", SUPERVISOR, str(run_dir / "lock"), manner]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_stop_signals_the_supervisor_and_waits_until_the_lock_is_free(tmp_path: Path) -> None:
    with supervisor(tmp_path, "good") as process:
        result = seawall("stop", "--run-dir", tmp_path)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Stopped.\n")
        assert process.wait() == 0
    assert seawall("stop", "--run-dir", tmp_path).exit_code == 7


def test_a_supervisor_that_does_not_stop_is_exit_code_4(tmp_path: Path) -> None:
    with supervisor(tmp_path, "stubborn"):
        result = seawall("stop", "--run-dir", tmp_path, "--timeout", "0.1")
    assert (result.exit_code, "has not stopped within 0.1 s" in result.stderr) == (4, True)


def test_stop_signals_nobody_who_does_not_have_the_lock_open(tmp_path: Path) -> None:
    """The pid of a killed supervisor may belong to a stranger by now; children still hold the lock (S1)."""
    with ExitStack() as stack:
        other = tmp_path / "other"
        other.mkdir()
        stranger = stack.enter_context(supervisor(other, "good"))
        stack.enter_context(held_lock(tmp_path, f"{stranger.pid}\n"))
        result = seawall("stop", "--run-dir", tmp_path, "--timeout", "0.1")
        assert result.exit_code == 4
        assert "supervisor is gone" in result.stderr
        assert stranger.poll() is None


def test_stop_needs_the_run_dir() -> None:
    assert seawall("stop", "--endpoint", "tcp://127.0.0.1:1").exit_code == 2


@pytest.mark.parametrize("verb", ["run", "check"])
def test_every_config_mistake_is_told_with_exit_code_2(verb: str, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[engine]\nrun_dir = 'run'\n[wal]\nsync = 'never'\n[risk]\non_halt = 'panic'\n[[instruments]]\n")
    result = seawall(verb, config)
    assert (result.exit_code, result.stdout) == (2, "")
    for words in ("wal.sync = 'never'", "risk.on_halt = 'panic'", "instruments"):
        assert words in result.stderr


def test_init_writes_what_loads_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a" / "first"
    assert seawall("init", target).exit_code == 0
    assert {path.name for path in target.iterdir()} == {*project_files()}
    live, replay = load_config(target / "seawall.toml"), load_config(target / "replay.toml")
    assert (live.market_data.source, live.strategies[0].class_path) == ("synthetic", "breakout:Breakout")
    assert (replay.engine.mode, replay.market_data.path) == ("replay", "ticks.csv")
    (target / "README.md").write_text("mine")
    (target / "breakout.py").unlink()
    result = seawall("init", target)
    assert (result.exit_code, "nothing was written" in result.stderr) == (1, True)
    assert (target / "README.md").read_text() == "mine"
    assert not (target / "breakout.py").exists()


def test_the_command_answers_without_loading_the_engine_or_numpy() -> None:
    heavy = ("numpy", "supervisor.engine", "actors")
    modules = "supervisor.cli.main, supervisor.cli.looking_verbs"
    script = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_interrupted_pipe_is_no_traceback(tmp_path: Path) -> None:
    """`seawall ... | head`: the reader may leave first."""
    with engine(tmp_path / "run"):
        words = [sys.executable, "-m", "supervisor.cli.main", "status", "--run-dir", str(tmp_path / "run")]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
        process.wait()
        process.stderr.close()
    assert "Traceback" not in errors


def test_the_lock_helpers_of_these_tests_hold_what_the_engine_holds(tmp_path: Path) -> None:
    with supervisor(tmp_path, "good") as process, open(tmp_path / "lock", "rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        process.send_signal(signal.SIGTERM)
        process.wait()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
