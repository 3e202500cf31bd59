"""What a process of the engine has started in turn: a strategy's helpers end with it, whoever kills whom.

Every child of the engine puts a mark into its environment (RUN_DIR, name, incarnation), and a program that it starts
inherits that. Who ends, or buries a dead child, ends all that has its mark; a new engine all that has its run_dir's.
What is forked without a program of its own watches the process that it was forked from, and ends with that. So nobody
is ended who is not ours; and only a helper that has emptied its environment outlives its strategy.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from pathlib import Path
from typing import Final

MARK_VARIABLE: Final = "SEAWALL_LIFE"


def mark_of(run_dir: Path, name: str, incarnation: int) -> str:
    """The value of MARK_VARIABLE for one life of a child."""
    return f"{_whole(run_dir)}{name}#{incarnation}"


def _whole(run_dir: Path) -> str:
    return f"{os.path.realpath(run_dir)}//"


def end_helpers(run_dir: Path, name: str = "", incarnation: int = 0) -> int:
    """SIGKILL to all that this life has started, or with no name all that any life of this run_dir has, but for this
    process. How many there were.

    With no name only while the run_dir's lock is held and no child lives, whose helpers they would be.
    """
    mark = os.fsencode(f"{MARK_VARIABLE}={mark_of(run_dir, name, incarnation) if name else _whole(run_dir)}")
    ended = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            found = Path(entry.path, "environ").read_bytes().split(b"\0")
            if any(value == mark if name else value.startswith(mark) for value in found):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended


def forks_end_with_this_process() -> None:
    """Whatever is forked from here on ends when this process does. A thread of its own watches, so that whatever the
    fork is doing does not matter."""
    this = os.pidfd_open(os.getpid())

    def watch() -> None:
        poller = select.poll()
        poller.register(this, select.POLLIN)
        poller.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    def begin() -> None:  # a thread of its own for each: a fork of a fork cannot start its parent's again
        threading.Thread(target=watch, name="fork", daemon=True).start()

    os.register_at_fork(after_in_child=begin)
