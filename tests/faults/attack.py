"""The gateway under attack: outsiders that do on purpose what no client should, one kind after the other, then all.

    python -m tests.faults.attack --seconds 20 [--attacks "half handshakes,ping flood"]

While each goes on the engine trades, no child of it ends, the gateway's memory stays below its cap, and the control
socket answers. After it the gateway's descriptors and memory are back, an old and a new subscriber get their data,
STATUS is the fold of the journal, and HEALTH has counted what happened. At the end `seawall halt` is carried out while
all attack at once. The attackers are processes of their own (attackers.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from attackers import ATTACKERS
from crashes import FILES, Tail, often
from harness import DEADLINE_S, POLL_S, EngineUnderTest, Subscriber, config_tree, wait_for

from protocol.client import ControlClient

MEMORY_MB: Final = 400
"""The gateway's cap: as little as makes the attacks on its memory short."""
FILES_MAX: Final = 1000
MEMORY_LEFT_BYTES: Final = 64 << 20
"""What may be left of an attack: what libzmq and the allocator keep for the next."""
FILES_LEFT: Final = 8
WITHOUT_HALT: Final = tuple(name for name in ATTACKERS if name != "halt flood")
COUNTED: Final = {
    "many subscriptions": "outsiders_cut",
    "connections": "outsiders_cut",
    "unfinished multiparts": "outsiders_cut",
    "half handshakes": "handshakes_failed",
    "old protocols": "outsiders_cut",
    "wrong socket types": "handshakes_failed",
    "unread replies": "dropped_replies",
    "ping flood": "commands",
    "bad commands": "bad_commands",
}
"""Attack -> the gateway's counter that must say so, where it is not `connections`."""


KEEPS_FILES: Final = "identity clashes"
"""libzmq closes no connection whose identity another has taken over; a cut does."""


@dataclass(frozen=True)
class Row:
    """What one attack did."""

    name: str
    fills: int
    memory_mb: int
    """The most of the gateway."""
    files: int
    ping_ms: float
    """The slowest, on the control socket, each over a new connection."""
    cut: int
    """How often outsiders were cut off."""


@contextlib.contextmanager
def attacked(engine: EngineUnderTest, *names: str) -> Iterator[None]:
    endpoints = [engine.endpoint(which) for which in ("command", "telemetry", "broadcast")]
    script = str(Path(__file__).with_name("attackers.py"))
    attackers = [
        subprocess.Popen([sys.executable, script, name, *endpoints], env=engine.environment()) for name in names
    ]
    try:
        yield
        for name, attacker in zip(names, attackers, strict=True):
            assert attacker.poll() is None, f"{name} has ended by itself"
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()


class Siege:
    """An engine, and what is seen of it."""

    def __init__(self, engine: EngineUnderTest) -> None:
        self.engine = engine
        self.tail = Tail(engine)
        self.tail.wait_for_fills("the start")
        self.pids = engine.pids()
        self.gateway = engine.child_pid("gateway")
        self.friends = self.subscribers()
        self.memory, self.files = self.memory_bytes(), self.open_files()

    def subscribers(self) -> tuple[Subscriber, Subscriber]:
        return self.engine.telemetry("order_update"), self.engine.broadcast(0)

    def memory_bytes(self) -> int:
        return int(Path(f"/proc/{self.gateway}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.gateway}/fd"))

    def client(self) -> ControlClient:
        """On the control socket, over a new connection."""
        return ControlClient.for_run_dir(self.engine.run_dir, timeout_s=DEADLINE_S)

    def counters(self) -> dict[str, int]:
        """As HEALTH has them, a second old."""
        return self.engine.row("gateway", with_counters=True)["counters"]

    def cuts(self) -> int:
        return len(self.engine.log_events("outsiders_cut"))

    def endure(self, name: str, seconds: float) -> Row:
        """One attack. Raises: AssertionError naming what does not hold."""
        before, fills, cuts = self.counters(), self.tail.read().fills, self.cuts()
        memory = files = 0
        ping_s = 0.0
        with attacked(self.engine, name):
            wait_for(lambda: self.is_felt(name, before), f"the gateway to count {name}")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                begun = time.monotonic()
                with self.client() as client:
                    assert client.ping()["response"] == "PONG"
                ping_s = max(ping_s, time.monotonic() - begun)
                memory, files = max(memory, self.memory_bytes()), max(files, self.open_files())
                assert memory < MEMORY_MB << 20, f"{name}: the gateway has taken {memory >> 20} MB"
                time.sleep(POLL_S)
            self.tail.wait_for_fills(name)
            self.assert_nobody_ended(name)
        fills = self.tail.read().fills - fills
        if name == KEEPS_FILES:
            self.provoke_cut()
        self.assert_as_before(name)
        return Row(name, fills, memory >> 20, files, ping_s * 1000, self.cuts() - cuts)

    def provoke_cut(self) -> None:
        cuts = self.cuts()
        with attacked(self.engine, "connections"):
            wait_for(lambda: self.cuts() > cuts, "outsiders to be cut off")

    def is_felt(self, name: str, before: dict[str, int]) -> bool:
        counter = COUNTED.get(name, "connections")
        return self.counters()[counter] > before[counter]

    def assert_nobody_ended(self, name: str) -> None:
        assert self.engine.pids() == self.pids, f"{name}: {self.engine.log_events('child_died')}"

    def assert_as_before(self, name: str) -> None:
        wait_for(lambda: self.open_files() <= self.files + FILES_LEFT, f"the descriptors to be back after {name}")
        wait_for(
            lambda: self.memory_bytes() <= self.memory + MEMORY_LEFT_BYTES, f"the memory to be back after {name}"
        )
        strangers = self.subscribers()
        for friend in (*self.friends, *strangers):
            friend.frames.clear()
            wait_for(friend.receive, f"data for a subscriber after {name}")
        for stranger in strangers:
            stranger.socket.close(0)
        wait_for(lambda: self.counters()["outsiders_cut"] == self.cuts(), f"HEALTH to count the cuts of {name}")
        self.engine.assert_status_is_folded()
        self.assert_nobody_ended(name)

    def halt_under_all(self) -> float:
        """`seawall halt` while all attack at once; how long the command took, in seconds."""
        with attacked(self.engine, *WITHOUT_HALT):
            cuts = self.cuts()
            wait_for(lambda: self.cuts() > cuts, "outsiders to be cut off")
            begun = time.monotonic()
            halted = self.engine.cli("halt", "siege", "--run-dir", "run")
            took = time.monotonic() - begun
            assert halted.returncode == 0, halted.stderr
            with self.client() as client:
                assert client.status()["halted"]
        self.assert_nobody_ended("all at once")
        return took

    def halt_flood(self) -> None:
        """Of a halted engine: it answers all of them, and is halted as before."""
        commands = self.counters()["commands"]
        with attacked(self.engine, "halt flood"):
            wait_for(lambda: self.counters()["commands"] > commands + 1000, "a thousand HALTs")
            with self.client() as client:
                assert client.halt("one more")["response"] == "Trading halted"
                assert client.status()["halted"]
        assert 1 <= len(self.engine.records("TRADING_STATE")) <= 2, "the gateway's and risk's (H7), and no more"
        self.assert_nobody_ended("halt flood")


def besieged_engine(directory: Path) -> EngineUnderTest:
    limits = {"gateway": {"memory_mb": MEMORY_MB, "files": FILES_MAX}}
    return EngineUnderTest(directory, config_tree(strategies=[often()], supervisor={"limits": limits}), files=FILES)


def run(directory: Path, names: Sequence[str], seconds: float) -> Iterator[Row]:
    with besieged_engine(directory) as engine:
        siege = Siege(engine)
        for name in names:
            yield siege.endure(name, seconds)
        yield Row("halt, under all at once", 0, 0, 0, siege.halt_under_all() * 1000, 0)
        siege.halt_flood()
        assert engine.stop() == 0


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=10.0, help="of each attack (%(default)s)")
    options.add_argument("--attacks", default=",".join(WITHOUT_HALT), help="(%(default)s)")
    parsed = options.parse_args(arguments)
    print(f"{'attack':26}{'fills':>7}{'memory':>9}{'files':>7}{'slowest ping':>14}{'cut off':>9}")
    with tempfile.TemporaryDirectory() as directory:
        for row in run(Path(directory), parsed.attacks.split(","), parsed.seconds):
            print(
                f"{row.name:26}{row.fills:7}{row.memory_mb:6} MB{row.files:7}{row.ping_ms:11.1f} ms{row.cut:9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
