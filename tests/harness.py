"""The engine under test: real processes in a directory and on ports of their own, seen from outside only.

Owns everything that the end-to-end tests share: a config with fast defaults, the start of the real `seawall run`,
its log lines, sockets like any outsider's, and what journal_reader.py says of the journal. It imports nothing of the
engine but `protocol.client`, so that what it finds is a second opinion. Whatever a test does, no process outlives its
EngineUnderTest: the engine runs in a session of its own, which is killed and counted at the end.

The tests themselves do not sleep: they wait for a condition with `wait_for`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import zmq
from journal_reader import FILL, Holding, JournalEntry, PositionFold, read_entries

from protocol.client import ControlClient

ROOT: Final = Path(__file__).parents[1]
DEADLINE_S: Final = float(os.environ.get("SEAWALL_TEST_DEADLINE_S", "60"))
"""For whatever must happen: far above what it takes, so that a busy machine fails nothing."""
POLL_S: Final = 0.005
WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Of pytest-xdist: each has ports of its own, four at most."""
PORTS: Final = range(15_000, 31_000)[WORKER % 4 * 4_000 : WORKER % 4 * 4_000 + 4_000]
"""Below the range from which the system takes the ports of outgoing connections (32768 up on Linux): a subscriber
that connects before the engine has bound would else, now and then, be connected to itself and take the port."""

TICKS_S: Final = 200.0
"""Of a synthetic feed: it trades within a second. At 2,000 an engine takes 1.3 cores only for being up, at this 0.5:
what waits beside it waits less. Whoever needs a flood asks for it."""

T = TypeVar("T")
Tree = dict[str, Any]


def wait_for(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`. Raises: AssertionError naming `what` when the deadline passes."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(POLL_S)
    return value


_ports_given: Final[set[int]] = set()


def free_endpoint() -> str:
    """A tcp endpoint on loopback that nobody has bound, and that no other call of this process was given."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        if port in _ports_given:
            continue
        _ports_given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"tcp://127.0.0.1:{port}"


# Configs.


def config_tree(**sections: Any) -> Tree:
    """A config that trades within a second: synthetic ticks, SmaCross 5 over 10. `sections` are merged over it."""
    tree: Tree = {
        "engine": {"name": "test", "mode": "paper", "run_dir": "run"},
        "account": {"balance": 10000.0, "currency": "USD", "leverage": 100},
        "instruments": [{"symbol": "EURUSD", "tick_size": 0.00001, "lot_size": 1.0}],
        "market_data": {"source": "synthetic", "seed": 7, "rate": TICKS_S},
        "strategies": [sma_cross("sma", ["EURUSD"])],
        # On a busy machine a signal may be older than a second; the strategies of some tests send each only once.
        "risk": {"max_position_per_symbol": 1000.0, "max_signal_age_ms": 60_000},
        "order_routing": {"venue": "paper"},
        "wal": {"enabled": True, "sync": "always", "reserve_mb": 1},  # of each run_dir that is kept for a look
        "gateway": {
            "command": free_endpoint(),
            "telemetry": free_endpoint(),
            "broadcast": free_endpoint(),
            "account_interval_ms": 100,
        },
        "logging": {"level": "info", "format": "json"},
    }
    for key, value in sections.items():
        merged = isinstance(value, dict) and isinstance(tree.get(key), dict)
        tree[key] = {**tree[key], **value} if merged else value
    return tree


def sma_cross(name: str, symbols: list[str], *, fast: int = 5, slow: int = 10, quantity: float = 100.0) -> Tree:
    return {
        "name": name,
        "class": "actors.strategies.sma_cross:SmaCross",
        "symbols": symbols,
        "params": {"fast": fast, "slow": slow, "quantity": quantity},
    }


NO_DEADLINES: Final[Tree] = dict.fromkeys(("idle", "working", "hook", "venue_call", "syncing"), 0.0)
"""For `supervisor.deadlines`, where a test stops a process for as long as it likes."""


def to_toml(tree: Tree) -> str:
    lines: list[str] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *_pairs(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                lines += ["", f"[[{key}]]", *_pairs(item)]
        else:
            lines.insert(0, f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _pairs(table: Tree) -> Iterator[str]:
    return (f"{json.dumps(key)} = {_value(value)}" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return f"{value:f}" if isinstance(value, float) and abs(value) < 0.001 else json.dumps(value)


# The engine.


class Subscriber:
    """A SUB socket that loses nothing on its own side; connect it before what it shall see."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, topics: Iterable[bytes]) -> None:
        self.socket = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
        for topic in topics:
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)
        self.socket.connect(endpoint)
        self.frames: list[bytes] = []
        """All that came, in order."""

    def receive(self) -> list[bytes]:
        """What has come by now is in `frames`."""
        while self.socket.poll(0):
            self.frames.append(self.socket.recv())
        return self.frames

    def events(self, kind: str = "") -> list[Tree]:
        """Telemetry that has come by now, of one kind or of all."""
        events: list[Tree] = [json.loads(frame) for frame in self.receive()]
        return [event for event in events if not kind or event["type"] == kind]


class EngineUnderTest:
    """`seawall run` in `directory`. A context manager: entering starts it and waits until it is ready."""

    def __init__(self, directory: Path, tree: Tree | None = None, *, files: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.tree = config_tree() if tree is None else tree
        self.name: str = self.tree["engine"]["name"]
        self.run_dir = directory / self.tree["engine"]["run_dir"]
        self.config_path = directory / "seawall.toml"
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._subscribers: list[Subscriber] = []
        self._lives: list[subprocess.Popen[bytes]] = []
        self._sessions: set[int] = set()
        """Of lives that may have processes left. One that is known to be empty is forgotten: its number may be given
        to a stranger, who must not be killed for it."""
        self._clients: list[ControlClient] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.write_config()
        for name, text in (files or {}).items():
            (directory / name).write_text(text, encoding="utf-8")

    def write_config(self) -> None:
        """The config file is what `tree` is now."""
        self.config_path.write_text(to_toml(self.tree), encoding="utf-8")

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- the engine's log, {self.log_path} ---\n{self.log_text()[-8000:]}")
        self.close()

    # Its life.

    def start(self, *options: str, launcher: Sequence[str] = ()) -> None:
        """The supervisor's process runs; nothing is waited for. launcher: the command that becomes its process."""
        with open(self._log_file(len(self._lives)), "wb") as log, open(self._out_file(len(self._lives)), "wb") as out:
            life = subprocess.Popen(
                [*launcher, sys.executable, "-m", "supervisor", str(self.config_path), *options],
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        self._lives.append(life)
        self._sessions.add(life.pid)

    def wait_ready(self, deadline_s: float = DEADLINE_S) -> None:
        """Every child is READY."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"ended with code {self.process.returncode}:\n{self.log_text()}"
            return bool(self.log_events("engine_ready"))

        wait_for(is_ready, f"engine_ready in {self.log_path}", deadline_s)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """The exit code, when the engine has ended by itself; nothing of it is left."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the engine has not ended within {deadline_s:g} s:\n{self.log_text()}") from None
        self.assert_gone()
        return code

    def stop(self, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM to the supervisor; the exit code. Nothing of it is left."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def restart(self) -> None:
        self.start()
        self.wait_ready()

    def kill_all(self) -> None:
        """Every process of the engine dies at once, as on a machine that kills the whole group."""
        for session in self._sessions:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGKILL)
        wait_for(lambda: not self.pids(), f"the end of {self.pids()}")
        for life in self._lives:
            life.wait(DEADLINE_S)
        self._sessions.clear()

    def assert_gone(self) -> None:
        left = [pid for pid in self.pids() if pid != self.process.pid]
        assert not left, f"left behind: {[command_line(pid) for pid in left]}"
        if self.process.returncode is not None:
            self._sessions.clear()

    def close(self) -> None:
        """No process is left, and no socket."""
        self.kill_all()
        for client in self._clients:
            client.close()
        for subscriber in self._subscribers:
            subscriber.socket.close(0)
        self.context.destroy(0)

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return dict(os.environ, PYTHONPATH=path)

    # Its processes.

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        return self._lives[-1]

    def pids(self) -> list[int]:
        """Every living process of the engine, the supervisor included, by its session."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _living_session(int(entry.name)) in self._sessions:
                found.append(int(entry.name))
        return sorted(found)

    def titles(self) -> dict[str, int]:
        """Process title -> pid, as `ps` shows them."""
        return {title: pid for pid in self.pids() if (title := command_line(pid))}

    def child_pid(self, name: str) -> int:
        """The pid of a child by its name: `risk`, `strategy.sma`. 0 while it has none."""
        title = f"seawall: {name.replace('.', ' ')} [{self.name}]"
        spawned = f"-m actors {name}"
        found = [pid for text, pid in self.titles().items() if text == title or text.endswith(spawned)]
        return found[-1] if found else 0

    def kill(self, name: str) -> int:
        """SIGKILL to a child; its pid."""
        pid = wait_for(lambda: self.child_pid(name), f"a process of {name}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_and_wait_ready(self, name: str) -> None:
        """SIGKILL to a child, and its next life is READY."""
        before = len(self.log_events("child_ready", name=name))
        self.kill(name)
        wait_for(
            lambda: len(self.log_events("child_ready", name=name)) > before, f"the next life of {name} to be READY"
        )

    # What it says.

    def _log_file(self, life: int) -> Path:
        return self.directory / f"stderr-{life}.log"

    def _out_file(self, life: int) -> Path:
        return self.directory / f"stdout-{life}.log"

    @property
    def log_path(self) -> Path:
        return self._log_file(len(self._lives) - 1)

    def log_text(self) -> str:
        """Standard error of the present life."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def output(self) -> str:
        """Standard output of the present life."""
        return self._out_file(len(self._lives) - 1).read_text(encoding="utf-8")

    def log_events(self, event: str = "", **facts: Any) -> list[Tree]:
        """The log lines of the present life with this event and these facts."""
        found: list[Tree] = []
        text = self.log_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            if not line.startswith("{"):
                continue
            entry = json.loads(line)
            if event in ("", entry["event"]) and all(entry.get(key) == value for key, value in facts.items()):
                found.append(entry)
        return found

    # Its sockets.

    def endpoint(self, which: str) -> str:
        return self.tree["gateway"][which]

    @property
    def client(self) -> ControlClient:
        """By the control socket, as the CLI."""
        self._clients.append(ControlClient.for_run_dir(self.run_dir, timeout_s=DEADLINE_S))
        return self._clients[-1]

    def ask(self, text: str | bytes, endpoint: str = "") -> Tree:
        """The reply to a request by plain pyzmq, on tcp unless told otherwise."""
        with self.context.socket(zmq.REQ) as request:
            request.setsockopt(zmq.LINGER, 0)
            request.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
            request.connect(endpoint or self.endpoint("command"))
            request.send(text if isinstance(text, bytes) else text.encode())
            return json.loads(request.recv())

    def row(self, name: str, *, with_counters: bool = False) -> Tree:
        """What HEALTH says of one child. The gateway is told of them a moment after they are READY, and of their
        counters a second after that."""

        def found() -> Tree | None:
            with ControlClient.for_run_dir(self.run_dir, timeout_s=DEADLINE_S) as client:
                rows = [row for row in client.health()["children"] if row["name"] == name]
            return next((row for row in rows if row["counters"] or not with_counters), None)

        return wait_for(found, f"HEALTH to know {name}")

    def telemetry(self, *kinds: str) -> Subscriber:
        """A SUB on the JSON telemetry, of these kinds or of all. Works before the start, too."""
        topics = [f'{{"type":"{kind}"'.encode() for kind in kinds] or [b""]
        return self._subscribe(self.endpoint("telemetry"), topics)

    def broadcast(self, *topics: int) -> Subscriber:
        """A SUB on the binary broadcast."""
        return self._subscribe(self.endpoint("broadcast"), [bytes([topic]) for topic in topics] or [b""])

    def _subscribe(self, endpoint: str, topics: Iterable[bytes]) -> Subscriber:
        self._subscribers.append(Subscriber(self.context, endpoint, topics))
        return self._subscribers[-1]

    def status_positions(self) -> dict[str, Holding]:
        """STATUS by symbol."""
        return {
            row["symbol"]: Holding(row["net_quantity"], row["average_price"], row["realized_pnl"])
            for row in self.ask("STATUS")["positions"]
        }

    def cli(self, *arguments: str, deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """The `seawall` command, in the engine's directory."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor.cli.main", *arguments],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )

    # Its journal.

    @property
    def journal_path(self) -> Path:
        return self.run_dir / "wal" / "journal.wal"

    @property
    def journal(self) -> list[JournalEntry]:
        return read_entries(self.journal_path)

    def records(self, name: str, **facts: Any) -> list[JournalEntry]:
        """The journal's entries of one type with these facts."""
        return [
            entry
            for entry in self.journal
            if entry.name == name and all(entry.fields[key] == value for key, value in facts.items())
        ]

    def independent_positions(self) -> dict[str, Holding]:
        """What STATUS must say when the whole journal is folded."""
        fold = PositionFold()
        for entry in self.journal:
            fold.apply(entry)
        return fold.holdings()

    def assert_status_is_folded(self) -> None:
        """STATUS of a running engine is the fold of a prefix of its journal."""
        status = self.status_positions()
        fold = PositionFold()
        seen = [fold.holdings()]
        for entry in self.journal:
            fold.apply(entry)
            if entry.name == "ORDER_UPDATE":
                seen.append(fold.holdings())
        assert status in seen, f"{status}; the journal ends with {seen[-1]}"

    def assert_ids_are_used_once(self) -> None:
        """Order ids are 1, 2, 3 ... in the order of the journal, and no order is filled beyond its quantity."""
        journal = self.journal  # read once: it grows
        placed = [entry.fields for entry in journal if entry.name == "ORDER_PLACE"]
        assert [fields["order_id"] for fields in placed] == list(range(1, len(placed) + 1))
        filled: dict[int, int] = {}
        executions = [e.fields for e in journal if e.name == "ORDER_UPDATE" and e.fields["report"] == FILL]
        for fields in {fields["execution_id"]: fields for fields in executions}.values():
            filled[fields["order_id"]] = filled.get(fields["order_id"], 0) + fields["quantity"]
        wanted = {fields["order_id"]: fields["quantity"] for fields in placed}
        assert all(quantity <= wanted[order_id] for order_id, quantity in filled.items())


def command_line(pid: int) -> str:
    """The title that `ps` shows; empty when the process is gone."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return data.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _living_session(pid: int) -> int:
    """The session of a process that has not ended; 0 otherwise."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # Source: proc(5). After the name in brackets: state, ppid, pgrp, session.
    state, _, _, session = stat.rpartition(")")[2].split()[:4]
    return 0 if state in ("Z", "X") else int(session)
