"""`systemctl` and `journalctl` for a machine that runs no systemd: starts and stops an engine as its unit says.

Run as a program by tests/pipeline/test_operations_page.py, in name spaces where /etc, /opt and /var are its own. It
reads the real unit and its drop-ins, runs ExecStartPre and ExecStart, waits for READY=1 as Type=notify does, and stops
by SIGTERM with the unit's patience. Not kept: the user, the hardening (systemd-analyze looks at these), and restarts.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template
from typing import Final

UNITS: Final = Path("/etc/systemd/system")
STATE: Final = Path("/var/lib")
KEPT: Final = Path("/var/lib/service-manager")
"""Pids and, for services that log to the journal, their lines."""
POLL_S: Final = 0.01
DEFAULT_STOP_S: Final = "90"
"""Source: systemd-system.conf(5), DefaultTimeoutStopSec."""


def read_unit(template: str) -> dict[str, list[str]]:
    texts = [UNITS / f"{template}.service", *sorted((UNITS / f"{template}.service.d").glob("*.conf"))]
    found: dict[str, list[str]] = {}
    for line in "\n".join(path.read_text(encoding="utf-8") for path in texts).splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def expand(text: str, instance: str) -> str:
    return text.replace("%i", instance).replace("%S", str(STATE))


def start(name: str) -> int:
    template, _, instance = name.partition("@")
    unit = read_unit(f"{template}@")
    environment = dict(os.environ, **dict(text.split("=", 1) for text in unit.get("Environment", ())))
    directory = Path(expand(unit["WorkingDirectory"][-1], instance))
    directory.mkdir(mode=0o700, exist_ok=True)
    log = expand(unit.get("StandardError", [f"append:{KEPT}/{name}.log"])[-1], instance).removeprefix("append:")
    with open(log, "ab") as stderr:
        for command in unit.get("ExecStartPre", ()):
            words = shlex.split(expand(command, instance))
            if code := subprocess.run(words, cwd=directory, stderr=stderr, check=False).returncode:
                return code
        command = Template(expand(unit["ExecStart"][-1], instance)).substitute(environment)
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
            heard.bind(f"{short}/notify")
            heard.settimeout(POLL_S)
            life = subprocess.Popen(
                shlex.split(command), cwd=directory, env=environment | {"NOTIFY_SOCKET": f"{short}/notify"},
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True,
            )  # fmt: skip
            (KEPT / f"{name}.pid").write_text(str(life.pid), encoding="utf-8")
            return wait_ready(life, heard) if unit["Type"] == ["notify"] else 0


def wait_ready(life: subprocess.Popen[bytes], heard: socket.socket) -> int:
    while life.poll() is None:
        try:
            if "READY=1" in heard.recv(4096).decode():
                return 0
        except TimeoutError:
            continue
    return life.returncode


def stop(name: str) -> int:
    kept = KEPT / f"{name}.pid"
    if not kept.exists() or not is_alive(pid := int(kept.read_text(encoding="utf-8"))):
        return 0
    unit = read_unit(name.partition("@")[0] + "@")
    deadline = time.monotonic() + float(unit.get("TimeoutStopSec", [DEFAULT_STOP_S])[-1])
    os.kill(pid, signal.SIGTERM)
    while is_alive(pid):
        if time.monotonic() > deadline:
            return 1
        time.sleep(POLL_S)
    return 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main(program: str, words: list[str]) -> int:
    KEPT.mkdir(exist_ok=True)
    if program == "journalctl":
        name = words[words.index("-u") + 1]
        print((KEPT / f"{name}.log").read_text(encoding="utf-8"), end="")
        return 0
    verb, names = words[0], [word for word in words[1:] if "@" in word]
    for name in names:
        read_unit(name.partition("@")[0] + "@")  # it is there
        stops, starts = verb in ("stop", "restart"), verb in ("start", "restart") or "--now" in words
        if code := (stops and stop(name)) or (starts and start(name)) or 0:
            return code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
