"""Where the processes of the actors are born: imports are most of a start, so one process makes them and is forked.

It holds nothing that a fork must not have: no thread, no ZeroMQ context, no lock, no file of the engine's; nor NumPy,
which few need. It ends with the supervisor, whose end of the socket is then closed; the kernel ends it even if it has
been stopped.

A request is a byte and two descriptors: a pipe, over which the fork's spec comes once the supervisor knows of it, and
the run_dir's lock (S1), which is not kept here. The answer is the fork's pid, or 0 and why there is none. A fork is the
supervisor's child, as if that had made it: the process between the two ends at once, and the supervisor takes orphans
in until then (prctl(2), PR_SET_CHILD_SUBREAPER).
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

ANSWER_BYTES_MAX: Final = 200
LENGTH_BYTES: Final = 4
"""Before a spec, little-endian. It does not end with the pipe, which a fork of a notebook's own may have open too."""
ADOPTED_POLL_S: Final = 0.0005
"""The process between lives about as long."""
PARENT_LOOK_MS: Final = 100
_PR_SET_PDEATHSIG: Final = 1
"""Source: linux/prctl.h. SIGKILL has no handler, so what actors/base.py says against it is no matter here."""


def serve(requests: socket.socket, engine: str) -> tuple[bytes, int] | None:
    """Returns in each fork: its spec, and its descriptor of the lock. Returns None when the supervisor has gone, or
    does not want the fork any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a whole group's: the supervisor got it too, and ends the nursery
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as one may inherit it, it would take waitpid's answer
    setproctitle.setproctitle(f"seawall: nursery [{engine}]")
    _import_all()
    while True:
        request, descriptors, *_ = socket.recv_fds(requests, 1, 2, socket.MSG_CMSG_CLOEXEC)
        if not request:
            return None
        answer = _fork()
        if answer is None:
            requests.close()
            return _begin_life(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(answer)


def _import_all() -> None:
    for path in ACTORS.values():
        with contextlib.suppress(Exception):  # the fork meets it again, and says what it is
            importlib.import_module(path.partition(":")[0])
    logs.load()
    gc.freeze()  # so that a fork's collections leave the pages alone that it shares


def _fork() -> bytes | None:
    """What the supervisor is told; None in the fork, which is the supervisor's child by then."""
    try:
        reader, writer = os.pipe()
    except OSError as error:
        return _why_not(error)
    try:
        between = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return _why_not(error)
    if not between:
        os.close(reader)
        _fork_and_end(writer)
        return None
    os.close(writer)
    said = os.read(reader, ANSWER_BYTES_MAX)
    os.close(reader)
    os.waitpid(between, 0)
    return said or b"0 it was killed in its birth"


def _fork_and_end(writer: int) -> None:
    """Says the fork's pid, or why there is none, and ends, whatever happens; returns in the fork."""
    between = os.getpid()
    try:
        if pid := os.fork():
            os.write(writer, str(pid).encode())
    except OSError as error:
        os.write(writer, _why_not(error))
    finally:
        if os.getpid() == between:
            os._exit(0)
    os.close(writer)
    while os.getppid() == between:
        time.sleep(ADOPTED_POLL_S)


def _why_not(error: OSError) -> bytes:
    return f"0 {error.strerror}".encode()


def _begin_life(pipe: int, lock_fd: int) -> tuple[bytes, int] | None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    spec = _read_spec(pipe)
    os.close(pipe)
    return (spec, lock_fd) if spec else None


def _read_spec(pipe: int) -> bytes:
    """Empty if none comes."""
    parent, data, size = os.getppid(), b"", LENGTH_BYTES
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while len(data) < size:
        if poller.poll(PARENT_LOOK_MS):
            part = os.read(pipe, 1 << 16)
            if not part:
                return b""
            data += part
            size = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        elif os.getppid() != parent:
            return b""
    return data[LENGTH_BYTES:]
