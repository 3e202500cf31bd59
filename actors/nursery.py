"""Where the processes of the actors are born: imports are most of a start, so one process makes them and is forked.

It holds nothing that a fork must not have: no thread, no ZeroMQ context, no lock, no file of the engine's. It ends with
the supervisor, whose end of the socket is then closed; the kernel ends it even if it has been stopped.

A request is one message: a class (actors/roles.py) whose module is to be there, and two descriptors: the fork's
standard input, over which its spec comes once the supervisor knows of it, and the run_dir's lock (S1), which is not
kept here. The answer is the fork's pid, or 0 and why there is none. A fork is the supervisor's child, as if that had
made it: the process between the two ends at once, and the supervisor takes orphans in until then (prctl(2),
PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import time
from typing import Final

import setproctitle

from actors.roles import ACTORS
from protocol import logs

MESSAGE_BYTES_MAX: Final = 200
ADOPTED_POLL_S: Final = 0.0005
_PR_SET_PDEATHSIG: Final = 1
"""Source: linux/prctl.h. SIGKILL has no handler, so what actors/base.py says against it is no matter here."""


def serve(requests: socket.socket, engine: str) -> int | None:
    """Returns in each fork: its descriptor of the lock. Returns None, in the nursery, when the supervisor has gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a whole group's: the supervisor got it too, and ends the nursery
    setproctitle.setproctitle(f"seawall: nursery [{engine}]")
    poller = select.poll()
    poller.register(requests, select.POLLIN)
    ahead = [*ACTORS.values()]
    while True:
        while ahead and not poller.poll(0):
            _import(ahead.pop(0))
        request, descriptors, *_ = socket.recv_fds(requests, MESSAGE_BYTES_MAX, 2, socket.MSG_CMSG_CLOEXEC)
        if not request:
            return None
        _import(request.decode())
        answer = _fork()
        if answer is None:
            return _begin_life(requests, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(answer)


def _import(path: str) -> None:
    with contextlib.suppress(Exception):  # the fork meets it again, and says what it is
        importlib.import_module(path.partition(":")[0])
        logs.load()
    gc.freeze()  # so that a fork's collections leave the pages alone that it shares


def _fork() -> bytes | None:
    """What the supervisor is told; None in the fork, which is the supervisor's child by then."""
    reader, writer = os.pipe()
    try:
        if not (between := os.fork()):
            _fork_and_end(writer)
            os.close(reader)
            return None
        os.close(writer)
        said = os.read(reader, MESSAGE_BYTES_MAX)
        os.waitpid(between, 0)
    except OSError as error:
        os.close(writer)
        said = _why_not(error)
    os.close(reader)
    return said or b"0 it was killed in its birth"


def _fork_and_end(writer: int) -> None:
    """Says the fork's pid, or why there is none, and ends; returns in the fork, and closes `writer` there."""
    between = os.getpid()
    try:
        if pid := os.fork():
            os.write(writer, str(pid).encode())
            os._exit(0)
    except OSError as error:
        os.write(writer, _why_not(error))
        os._exit(1)
    os.close(writer)
    while os.getppid() == between:
        time.sleep(ADOPTED_POLL_S)


def _why_not(error: OSError) -> bytes:
    return f"0 {error.strerror}".encode()


def _begin_life(requests: socket.socket, given: int, lock_fd: int) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    requests.close()
    os.dup2(given, 0)
    os.close(given)
    return lock_fd
