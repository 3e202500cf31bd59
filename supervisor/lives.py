"""One life of a child: a process that is born in the nursery (actors/nursery.py), or with `--inproc` a thread.

Nothing here waits for the nursery: a life has no pid until it is born, and is over if that does not come to be. A
nursery that ends, or lets a deadline pass, takes those with it that are not born; the next life begins another.
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
from actors.nursery import MESSAGE_BYTES_MAX
from actors.roles import actor_path
from protocol.settings import Config
from supervisor.nursery import NurseryProcess, begin_nursery

BIRTH_S: Final = 2.0
"""For a fork, of a nursery that has made one; it takes some 5 ms. The first waits for its imports."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER: Final = 36
"""Source: linux/prctl.h."""


class ProcessLife:
    """`exit_code()` is None while it lives, or is to be born; negative: the signal that ended it."""

    def __init__(self, spec: ChildSpec, lock_fd: int, nursery: Nursery) -> None:
        self.pid = 0
        self.pidfd: int | None = None
        self._spec = msgspec.json.encode(spec)
        self._code: int | None = None
        reader, self._stdin = os.pipe()
        try:
            nursery.ask(self, actor_path(spec.name, spec.config), reader, lock_fd)
        finally:
            os.close(reader)

    def begin(self, pid: int) -> None:
        """It is born, as a child of this process."""
        if self._code is not None:  # nobody waits for it any more
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        self.pid, self.pidfd = pid, os.pidfd_open(pid)
        with contextlib.suppress(BrokenPipeError), open(self._stdin, "wb", closefd=False) as pipe:
            pipe.write(self._spec)
        os.close(self._stdin)

    def give_up(self, code: int) -> None:
        """It will not be born, or ends at once. code: its exit code."""
        if self._code is None:
            self._code = code
            os.close(self._stdin)

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
        elif self.exit_code() is None and self.pidfd is not None:
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Nursery:
    """Its process is begun with the first life, if none is given, and again with the next one after it has ended."""

    def __init__(
        self, loop: Loop, config: Config, log: Any, on_birth: Callable[[ProcessLife], object],
        process: NurseryProcess | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._engine = config.engine.name
        self._first_birth_s = self._birth_s = config.supervisor.ready_timeout_s
        self._log = log
        self._on_birth = on_birth
        self._process: NurseryProcess | None = None
        if process is not None:
            self._take_process(process)
        self._unborn: deque[ProcessLife] = deque()
        """In the order in which they were asked for, and will be answered."""

    def ask(self, life: ProcessLife, path: str, stdin: int, lock_fd: int) -> None:
        """life.begin(pid) soon, or life.give_up. path: of the class that it runs."""
        try:
            process = self._process or self._take_process(begin_nursery(self._engine))
            _take_in_orphans(True)
        except OSError as error:  # no process, memory or descriptor is left: as if the child had died of it
            self._log.error("nursery_not_begun", error=str(error))
            life.give_up(-signal.SIGKILL)
            return
        self._unborn.append(life)
        try:
            socket.send_fds(process.requests, [path.encode()], [stdin, lock_fd])
        except OSError as error:  # it has ended; or it takes nothing any more, so many wait
            self._end(str(error))
            return
        self._loop.after(self._birth_s, lambda: self._look_for(life))

    def close(self) -> None:
        """No more lives; those that are not born will not be."""
        if self._process is not None:
            self._end("")

    def _take_process(self, process: NurseryProcess) -> NurseryProcess:
        self._process, self._birth_s = process, self._first_birth_s
        self._loop.on_readable(process.requests.fileno(), self._take_answers)
        return process

    def _take_answers(self) -> None:
        while self._process is not None:
            try:
                answer = self._process.requests.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(str(error))
                return
            if not answer:
                self._end("it has ended")
                return
            self._take(*answer.decode().split(" ", 1))

    def _take(self, pid: str, why_not: str = "") -> None:
        life = self._unborn.popleft()
        self._birth_s = min(BIRTH_S, self._first_birth_s)
        if not self._unborn:
            _take_in_orphans(False)
        if int(pid):
            life.begin(int(pid))
            if life.pidfd is not None:
                self._on_birth(life)
        else:
            self._log.error("fork_failed", error=why_not)
            life.give_up(-signal.SIGKILL)

    def _look_for(self, life: ProcessLife) -> None:
        if life in self._unborn:
            self._end(f"no answer within {self._birth_s:g} s")

    def _end(self, reason: str) -> None:
        assert self._process is not None, "begun"
        self._loop.forget(self._process.requests.fileno())
        code, answers = self._process.end()
        self._process = None
        _take_in_orphans(False)
        if reason:
            self._log.error("nursery_ended", reason=reason, exit_code=code, action="the next life begins another")
        for life in self._unborn:
            life.give_up(-signal.SIGKILL)
        for life, answer in zip(self._unborn, answers, strict=False):
            if pid := int(answer.partition(b" ")[0]):
                life.begin(pid)
        self._unborn.clear()


def _take_in_orphans(does: bool) -> None:
    """While a fork is on its way it becomes this process's child when the one that made it ends. Raises: OSError."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, int(does)):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER is refused")


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
