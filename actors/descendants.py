"""What a process of the engine has started in turn: a strategy's helpers end with it, whoever kills whom.

A child of the engine is a subreaper: what its descendants leave behind stays below it, and ends when it ends. If
it is killed they fall to the supervisor, which is one too and ends them when it reaps the child. Only what outlives a
SIGKILL of both at once is nobody's; it holds no lock of ours (base.py closes that in what is forked).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from actors.clock import monotonic_s

PR_SET_CHILD_SUBREAPER: Final = 36
"""Source: prctl(2), <linux/prctl.h>."""
END_WAIT_S: Final = 0.5
"""For what was killed to be gone: one that the kernel holds (a disk that hangs) is not waited for any longer."""
_POLL_S: Final = 0.002


class Descendants:
    """Of the process that makes it: orphans among them become its children. Where the system refuses, init's."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._older: Final = children_of(os.getpid())
        """Whoever it was before an exec(3) had them: they are not ours to end."""

    def end(self, keep: Collection[int] = ()) -> int:
        """SIGKILL to every child but those in `keep`, and the dead are reaped. How many there were: theirs fall to this
        process a moment later, so it takes another look."""
        strays = children_of(os.getpid()) - self._older - set(keep)
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return len(strays)

    def end_all(self) -> None:
        """None is left, if the system lets them die."""
        deadline = monotonic_s() + END_WAIT_S
        while self.end() and monotonic_s() < deadline:
            time.sleep(_POLL_S)


def children_of(pid: int) -> set[int]:
    """Its children, dead ones that nobody has reaped included. Source: proc(5), /proc/PID/task/TID/children."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return found
