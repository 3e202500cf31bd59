"""One life of a child: a process that is born in the nursery (actors/nursery.py), or with `--inproc` a thread.

The supervisor's loop does not wait for a birth: until then a life has no pid, and it is over if that does not come to
be. Only the end of a nursery is waited for, 1.2 s at most; it takes the life with it that was asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import zmq

from actors.base import ChildSpec, Loop
from actors.nursery import ANSWER_BYTES_MAX, LENGTH_BYTES
from protocol.settings import Config
from supervisor.nursery import NurseryProcess, begin_nursery

BIRTH_S: Final = 2.0
"""For a fork, which takes some 5 ms. The first waits for the nursery's imports too."""
TRIES: Final = 3
"""Nurseries that one after the other may hang in their imports before their children let the deadline of READY pass."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
"""Source: linux/prctl.h."""


class ProcessLife:
    """`exit_code()` is None while it lives, or is to be born; negative: the signal that ended it."""

    def __init__(self, spec: ChildSpec, lock_fd: int, nursery: Nursery) -> None:
        self.name = spec.name
        self.pid = 0
        self.pidfd: int | None = None
        self._spec = msgspec.json.encode(spec)
        self._lock_fd = lock_fd
        self._pipe = -1
        """Where its spec goes, from when it is asked for until it is born."""
        self._code: int | None = None
        nursery.ask(self)

    def request(self, requests: socket.socket) -> None:
        """Raises: OSError."""
        reader, self._pipe = os.pipe()
        try:
            socket.send_fds(requests, [b"1"], [reader, self._lock_fd])
        finally:
            os.close(reader)

    def begin(self, pid: int) -> None:
        """It is born, as a child of this process."""
        if self._code is not None:  # nobody waits for it any more
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return
        self.pid = pid
        with contextlib.suppress(OSError):  # no descriptor is left: its end is heard of a little later
            self.pidfd = os.pidfd_open(pid)
        with contextlib.suppress(BrokenPipeError), open(self._pipe, "wb", closefd=False) as pipe:
            pipe.write(len(self._spec).to_bytes(LENGTH_BYTES, "little") + self._spec)
        self._close_pipe()

    def give_up(self, code: int) -> None:
        """It will not be born, or ends at once. code: its exit code."""
        if self._code is None:
            self._code = code
            self._close_pipe()

    def exit_code(self) -> int | None:
        if self._code is None and self.pid:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                pid, status = self.pid, 0
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def send_signal(self, number: int) -> None:
        if not self.pid:
            self.give_up(-number)
        elif self.exit_code() is None:
            os.kill(self.pid, number)

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


class Nursery:
    """Lives are born one after the other, in the order in which they are asked for.

    Its process is begun with the first one, if none is given, and again with the next one after it has ended.
    """

    def __init__(
        self, loop: Loop, config: Config, log: Any, on_birth: Callable[[ProcessLife], object],
        process: NurseryProcess | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._engine = config.engine.name
        self._first_birth_s = self._birth_s = config.supervisor.ready_timeout_s / TRIES
        self._log = log
        self._on_birth = on_birth
        self._waiting: deque[ProcessLife] = deque()
        self._asked: ProcessLife | None = None
        """Its answer is on the way."""
        self._process: NurseryProcess | None = None
        if process is not None:
            self._take_process(process)

    def ask(self, life: ProcessLife) -> None:
        """life.begin(pid) soon, or life.give_up."""
        self._waiting.append(life)
        self._ask_next()

    def renew(self) -> None:
        """A fork has died before it could say anything. Should that be the nursery's doing, the next is another's."""
        if self._process is not None and self._asked is None:
            self._end("a fork of it has died before it was loaded", at_once=True)

    def close(self) -> None:
        """No more lives; those that are not born will not be."""
        for life in (*self._waiting, *filter(None, [self._asked])):
            life.give_up(-signal.SIGKILL)
        self._waiting.clear()
        if self._process is not None:
            self._end("")

    def _take_process(self, process: NurseryProcess) -> NurseryProcess:
        self._process, self._birth_s = process, self._first_birth_s
        self._loop.on_readable(process.requests.fileno(), self._take_answer)
        return process

    def _ask_next(self) -> None:
        while self._waiting and self._asked is None:
            life = self._waiting.popleft()
            if life.exit_code() is None:
                self._request(life)

    def _request(self, life: ProcessLife) -> None:
        try:
            process = self._process or self._take_process(begin_nursery(self._engine))
            _ADOPTION.begin()
        except OSError as error:  # no process, memory or descriptor is left: as if the child had died of it
            self._fail(life, str(error))
            return
        self._asked = life
        try:
            life.request(process.requests)
        except OSError as error:
            self._end(str(error))
            return
        wait_s = self._birth_s
        self._loop.after(wait_s, lambda: self._look_for(life, wait_s))

    def _take_answer(self) -> None:
        assert self._process is not None, "it is its socket"
        try:
            answer = self._process.requests.recv(ANSWER_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
        else:
            if answer:
                self._birth_s = min(BIRTH_S, self._first_birth_s)
                self._take(answer)
            else:
                self._end("it has ended")
        self._ask_next()

    def _take(self, answer: bytes) -> None:
        life, self._asked = self._asked, None
        assert life is not None, "nobody answers who is not asked"
        _ADOPTION.end()
        pid, _, why_not = answer.decode().partition(" ")
        if not int(pid):
            self._fail(life, why_not)
            return
        life.begin(int(pid))
        if life.pidfd is not None:
            self._on_birth(life)

    def _fail(self, life: ProcessLife, reason: str) -> None:
        if life.exit_code() is None:
            self._log.error("birth_failed", name=life.name, error=reason)
            life.give_up(-signal.SIGKILL)

    def _look_for(self, life: ProcessLife, wait_s: float) -> None:
        if life is self._asked:
            self._end(f"no answer within {wait_s:g} s", at_once=True)
            self._ask_next()

    def _end(self, reason: str, *, at_once: bool = False) -> None:
        assert self._process is not None, "begun"
        self._loop.forget(self._process.requests.fileno())
        code, answer = self._process.end(at_once=at_once)
        self._process = None
        if reason:
            self._log.error("nursery_ended", reason=reason, exit_code=code, action="the next birth begins another")
        if self._asked is not None:
            self._take(answer or b"0 its nursery has ended")


class _Adoption:
    """While a fork is on its way this process takes orphans in, as it is to become the fork's parent.

    That is the whole process's, and several engines may live in it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._before = 0

    def begin(self) -> None:
        """Raises: OSError."""
        with self._lock:
            if not self._count:
                before = ctypes.c_int()
                self._call(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
                self._call(_PR_SET_CHILD_SUBREAPER, 1)
                self._before = before.value
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self._call(_PR_SET_CHILD_SUBREAPER, self._before)

    @staticmethod
    def _call(option: int, argument: object) -> None:
        """Source: prctl(2)."""
        if _LIBC.prctl(option, argument, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl, CHILD_SUBREAPER: refused")


_ADOPTION: Final = _Adoption()


class ThreadLife:
    """The same actor in a thread of this process: for debugging, tests and notebooks. It cannot be killed."""

    pidfd = None

    def __init__(self, spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.pid = os.getpid()
        self._code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(spec, context), name=spec.name, daemon=True)
        self._thread.start()

    def _run(self, spec: ChildSpec, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        from actors.__main__ import run_child

        code = 1
        try:
            code = int(run_child(spec, context, is_process=False))
        finally:
            self._code = code

    def exit_code(self) -> int | None:
        return None if self._thread.is_alive() else self._code

    def send_signal(self, number: int) -> None:
        """A thread gets no signals."""

    def close(self) -> None:
        """Nothing to release."""
