"""`seawall stop`: SIGTERM to the supervisor, and a wait until the engine's lock is free. It asks no socket."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

import click

from protocol.client import LOCK_NAME, engine_pid
from protocol.errors import ExitCode, NotRunningError
from supervisor.cli.asking import hint_not_running
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target
from supervisor.cli.output import Failure, note, print_json
from supervisor.lock import read_ending

STOP_TIMEOUT_S: Final = 60.0
STOP_POLL_S: Final = 0.02


@click.command()
@engine_options(STOP_TIMEOUT_S)
def stop(target: Target, as_json: bool, timeout_s: float) -> None:
    """Ordered stop: SIGTERM to the supervisor, then wait until its lock is free.

    \b
    Example:
      seawall stop --run-dir run/demo
    """
    if target.run_dir is None:
        raise click.UsageError("stop needs the engine's CONFIG or --run-dir: it signals the pid in RUN_DIR/lock")
    try:
        stopped = stop_engine(target.run_dir, timeout_s)
    except NotRunningError as error:
        raise Failure(ExitCode.NOT_RUNNING, str(error), hint=hint_not_running(target)) from error
    except OSError as error:
        raise Failure(ExitCode.FAILURE, f"{target.run_dir}: {error}") from error
    if not stopped:
        raise Failure(
            ExitCode.NO_ANSWER, f"the engine in {target.run_dir} has not stopped within {timeout_s:g} s",
            hint=f"It may be about to: its log says at which step it is. `seawall stop {target.as_option()}` goes on "
                 f"waiting; `seawall health {target.as_option()}` shows who is left.",
        )  # fmt: skip
    code, reason = read_ending(target.run_dir)
    if code:
        raise Failure(ExitCode.FAILURE, f"stopped, with exit code {code}: {reason}")
    print_json({"status": "ok", "response": "Stopped"}) if as_json else note("Stopped.")


def stop_engine(run_dir: Path, timeout_s: float) -> bool:
    """Whether the engine has ended within timeout_s; it is signalled once. Raises: NotRunningError, OSError."""
    if engine_pid(run_dir) is None:
        raise NotRunningError(f"no engine is running in {run_dir}")
    deadline, signalled, told = time.monotonic() + timeout_s, 0, False
    while (pid := engine_pid(run_dir)) is not None:
        if signalled and pid != signalled:
            return True  # a new engine has the lock: the old one has ended
        if pid and not signalled and _terminate(pid, run_dir / LOCK_NAME):
            signalled = pid
        elif pid and not signalled and not told:
            told = True
            note("The supervisor is gone; waiting for its children to end.")
        if time.monotonic() > deadline:
            return False
        time.sleep(STOP_POLL_S)
    return True


def _terminate(pid: int, lock: Path) -> bool:
    """SIGTERM to `pid` if it is the supervisor, that is, if it has the lock file open; whether it is.

    A supervisor that was killed leaves its pid in the file while children still hold the lock (S1); that pid may
    belong to a stranger by now. The pidfd makes sure that who is looked at is who is signalled.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        held = lock.stat()
        if not any(_is_same(file, held) for file in Path(f"/proc/{pid}/fd").iterdir()):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended meanwhile, or is another user's
    finally:
        os.close(descriptor)
    return True


def _is_same(file: Path, held: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), held)
    except OSError:
        return False
