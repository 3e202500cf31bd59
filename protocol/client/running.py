"""Whether an engine is there, and where its private sockets are.

    running        RUN_DIR/lock is flock'ed: the engine, or a child that has outlived it, is alive (S1)
    the endpoint   ipc://RUN_DIR/ipc/control; RUN_DIR/ipc may link to a shorter private directory
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

from protocol.errors import GatewayError
from protocol.pipeline import IPC_PATH_MAX, VENUE_DESK

LOCK_NAME: Final = "lock"


def control_endpoint(run_dir: str | Path) -> str:
    """The control socket of the engine in `run_dir`.

    Raises: GatewayError if the path is longer than a socket's may be and links to no shorter one.
    """
    return _endpoint(run_dir, "control")


def desk_endpoint(run_dir: str | Path) -> str:
    """The desk of the simulated venue of the engine in `run_dir`. Raises: as control_endpoint."""
    return _endpoint(run_dir, VENUE_DESK.name)


def _endpoint(run_dir: str | Path, name: str) -> str:
    path = Path(run_dir) / "ipc" / name
    if path.parent.is_symlink():
        path = path.parent.resolve() / path.name
    if len(os.fsencode(path)) > IPC_PATH_MAX:
        raise GatewayError(f"the socket path {path} is longer than {IPC_PATH_MAX} bytes, and links to no shorter one")
    return f"ipc://{path}"


def engine_pid(run_dir: str | Path) -> int | None:
    """The supervisor's pid in RUN_DIR/lock if the lock is held, else None: the engine is not running.

    0 if the lock is held but no pid stands in it yet. The pid's process may itself be dead while a child
    still holds the lock (S1). Never blocks; the shared lock of the probe is given back at once.

    Raises: OSError if the lock file cannot be read (not the operator's own engine).
    """
    try:
        file = open(Path(run_dir) / LOCK_NAME, "rb")  # noqa: SIM115 - closed below, whatever flock says
    except (FileNotFoundError, NotADirectoryError):
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read(32).strip()
            return int(text) if text.isdigit() else 0
    return None


def process_is_alive(pid: int) -> bool:
    """Whether `pid` is a process that has not ended; one that only waits to be reaped has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Source: proc(5). The state follows the name, which is in brackets and may hold brackets itself.
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def is_listening(endpoint: str) -> bool:
    """Whether a plain connection to `endpoint` is taken. What cannot be tried counts as listening."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "ipc":
        family, target = socket.AF_UNIX, address
    elif scheme == "tcp":
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family, target = (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))
    else:
        return True
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(target)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
