"""What systemd hears of an engine: READY when it trades, a watchdog that its main loop alone feeds, the stop."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, EngineUnderTest, config_tree, wait_for

from actors.base import Loop
from actors.page import HealthPage
from supervisor.notify import Notifier

UNITS = ROOT / "deploy" / "systemd"
UNIT = (UNITS / "seawall@.service").read_text(encoding="utf-8")
WATCHDOG_S = 0.3
EXPOSURE_MAX = 30
"""Of 100, by systemd-analyze; a unit without hardening has 96."""
TELLER = '''
import os
from pathlib import Path

from actors.strategies import Strategy


class Teller(Strategy):
    """Says what is in its environment."""

    def on_start(self):
        Path("environment").write_text("\\n".join(os.environ))
'''


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"{directory}/notify")
        made.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{directory}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
        yield made


def heard(systemd: socket.socket) -> list[str]:
    found: list[str] = []
    try:
        while True:
            found.append(systemd.recv(4096).decode())
    except BlockingIOError:
        return found


def test_systemd_hears_how_an_engine_is(tmp_path: Path, systemd: socket.socket) -> None:
    tree = config_tree(strategies=[{"name": "teller", "class": "teller:Teller", "symbols": ["EURUSD"]}])
    engine, said = EngineUnderTest(tmp_path, tree, files={"teller.py": TELLER}), []

    def has_said(text: str) -> bool:
        said.extend(heard(systemd))
        return any(text in one for one in said)

    try:
        engine.start()
        wait_for(lambda: has_said("READY=1"), "READY")
        wait_for(lambda: has_said("STATUS=trading; 6 processes, all ready"), "the status")
        wait_for(lambda: not has_said("never") and said.count("WATCHDOG=1") > 3, "the watchdog to be fed")
        assert engine.ask("HALT enough")["status"] == "ok"
        wait_for(lambda: has_said("STATUS=HALTED by operator: enough"), "the halt in the status")
        known = (tmp_path / "environment").read_text().split()
        assert "PATH" in known
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(known), "they are not the children's"
        assert engine.stop() == 0
        assert has_said("STOPPING=1")
    finally:
        engine.close()


def test_a_supervisor_that_hangs_feeds_no_watchdog(tmp_path: Path, systemd: socket.socket) -> None:
    """A heartbeat from a helper thread would: what is fed by the main loop stops with it."""
    loop = Loop(HealthPage.open(tmp_path / "page", writable=True))
    notifier = Notifier.of(os.environ)
    notifier.follow(loop)
    assert heard(systemd) == []
    wait_for(lambda: loop.turn() or heard(systemd), "a beat, as the loop turns")


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "HOME": "/"}
    assert Notifier.of(environment)._beat_s == 0  # pyright: ignore[reportPrivateUsage]
    assert environment == {"HOME": "/"}


def test_the_unit_starts_what_there_is_and_gives_up_where_a_restart_would_repeat_it() -> None:
    lines = [line.split("=", 1) for line in UNIT.splitlines() if "=" in line and not line.startswith("#")]
    settings = dict(lines)
    assert shlex.split(settings["ExecStart"])[1:] == ["run", "--no-progress", "/etc/seawall/%i.toml"]
    assert (settings["Type"], settings["KillMode"], settings["OOMPolicy"]) == ("notify", "mixed", "continue")
    assert settings["RestartPreventExitStatus"].split() == ["2", "10", "11", "161"]


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_is_hardened(path: Path) -> None:
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("no systemd-analyze")
    words = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
