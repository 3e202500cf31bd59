"""The process in which children are born (actors/nursery.py): how it is begun, and ended.

Its imports take longer than all else of a start, so `seawall run` begins it before it makes its own: little is here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from actors.nursery import ANSWER_BYTES_MAX
from supervisor.notify import VARIABLES

ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20), "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Unless the caller's own says otherwise. glibc's malloc (mallopt(3)) keeps up to 64 MiB that were freed: by default
each of a replay's chunks of a megabyte is fresh memory from the kernel, zeroed page by page (15 % of a vectorised run).
OpenBLAS, which NumPy brings, else starts a thread a core in every child; they wake with the first import, and spin."""
END_WAIT_S: Final = 0.2
"""For a fork that is on its way, and then the nursery's own end."""
KILL_WAIT_S: Final = 1.0
"""The kernel ends it within a millisecond, if a disk that hangs does not keep it."""


@dataclass(frozen=True, slots=True)
class NurseryProcess:
    process: subprocess.Popen[bytes]
    requests: socket.socket

    def end(self, *, at_once: bool = False) -> tuple[int | None, bytes]:
        """Its exit code, None if the kernel cannot end it yet; and what it has answered last, if that is not read yet.

        at_once: it does nothing any more. Once is enough, and a second time does no harm.
        """
        with contextlib.suppress(OSError):  # it has ended by itself
            self.requests.shutdown(socket.SHUT_WR)
        if at_once or not self._has_ended(END_WAIT_S):
            self.process.kill()
            self._has_ended(KILL_WAIT_S)
        answer = b""
        with self.requests, contextlib.suppress(OSError):
            answer = self.requests.recv(ANSWER_BYTES_MAX)
        return self.process.returncode, answer

    def _has_ended(self, within_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        return self.process.returncode is not None


def begin_nursery(engine: str) -> NurseryProcess:
    """engine: its name, for `ps`. What it and its forks print goes to our stderr."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with theirs, _sigint_blocked():
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", "--nursery", str(theirs.fileno()), engine],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=(theirs.fileno(),),
            env={**ENVIRONMENT, **environment, "PYTHONHASHSEED": "0"},
        )
    return NurseryProcess(process, ours)


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Who is spawned within is deaf to Ctrl-C from its first instruction: the mask is inherited, the group hears it.

    A mask and not SIG_IGN, for that can be set in the main thread only. Here SIGINT waits for the end of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
