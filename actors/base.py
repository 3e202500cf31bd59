"""The only event loop, and what every actor has in common: control pipe, health page, orderly end.

An actor is the code of one process (or, in-process, of one thread). It owns its sockets; it talks to the
supervisor over the control pipe by this sequence:

    LOADED (imports and config checked)  <- GO (all before it are READY)  READY  ...  <- STOP  STOPPED

Anything that an actor raises ends its process with an exit code that the supervisor understands; the
supervisor decides what follows. When the parent is gone, the children end by themselves in the stop order.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from actors.clock import monotonic_s
from actors.descendants import end_helpers, forks_end_with_this_process
from actors.frames import receive_all
from actors.latch import LATCH_NAME, Latch
from actors.page import Activity, HealthPage, is_alive
from actors.process_limits import keep_within
from protocol.errors import (
    ConfigError,
    DataError,
    ExitCode,
    FoldError,
    ResumeError,
    SavedStateError,
    WalCorruptError,
    WalError,
    WalSyncError,
)
from protocol.logs import Log
from protocol.messages import (
    MESSAGE_BYTES_MAX,
    Ask,
    Detach,
    Detached,
    Failed,
    Go,
    Loaded,
    Message,
    Peer,
    QueueDepth,
    Ready,
    Statistics,
    Stop,
    Stopped,
    decode_message,
    encode_message,
)
from protocol.pipeline import CONTROL, Pipe, pipe_endpoint
from protocol.records import EngineRun
from protocol.settings import Config

POLL_MAX_MS: Final = 50
"""The longest sleep of a loop: the latch is looked at and the page beats at least this often (design section 8)."""
RECONNECT_MS: Final = 10
RECONNECT_MAX_MS: Final = 100
LAST_WORD_MS: Final = 1000
"""For STOPPED and FAILED to reach the supervisor: on a local socket more than enough."""
ORPHAN_POLL_S: Final = 0.01
ORPHAN_WAIT_S: Final = 4.0
"""How long an orphan waits for those that end before it in the stop order. Together they need 0.3 s, and some ten times
that on a busy machine."""
ORPHAN_DRAIN_S: Final = 1.5
ORPHAN_ALARM_S: Final = 8
"""SIGALRM then ends an orphan that hangs: before a start that waits for the lock gives up (LEFTOVER_WAIT_S, 10)."""


class ChildSpec(msgspec.Struct, frozen=True):
    """What the supervisor hands to a child: all that it needs to begin."""

    name: str
    incarnation: int
    boot_id: bytes
    parent_pid: int
    ipc_dir: str | None
    """The private directory of the pipes; None for inproc."""
    ends_after: tuple[str, ...]
    """The children that end before this one in the stop order."""
    control_endpoint: str
    """The socket for operators, of the gateway or of a venue's desk, in the private directory; "" for none."""
    config: Config
    forget_states: tuple[str, ...] = ()
    """Strategies whose states from before this run of the engine count no more (`run --forget-state`)."""
    is_restart: bool = False
    """The engine was ready before this life began: it follows another of the same run."""
    is_wanted: bool = False
    """An operator has asked for this life."""
    lock_fd: int = -1
    """The run_dir's lock (S1), which the nursery hands to its fork; -1 in a thread."""


Handler = Callable[[], object]


class Loop:
    """One poller, its handlers and timers. Handlers run in this thread, one after the other."""

    def __init__(self, page: HealthPage) -> None:
        self._page = page
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Handler] = {}
        self._timers: list[tuple[float, int, float, Handler]] = []
        self._order = itertools.count()
        self._after_turn: list[Handler] = []
        self._running = True

    def on_readable(self, source: zmq.Socket[bytes] | int, handler: Handler) -> None:
        """`handler` is called whenever `source` can be read; a second call replaces the handler."""
        if source not in self._handlers:
            self._poller.register(source, zmq.POLLIN)
        self._handlers[source] = handler

    def forget(self, source: zmq.Socket[bytes] | int) -> None:
        if self._handlers.pop(source, None) is not None:
            self._poller.unregister(source)

    def after(self, delay_s: float, handler: Handler) -> None:
        """Calls `handler` once, `delay_s` from now."""
        heapq.heappush(self._timers, (monotonic_s() + delay_s, next(self._order), 0.0, handler))

    def every(self, interval_s: float, handler: Handler) -> None:
        """Calls `handler` every `interval_s`, first after one interval. Missed turns are not made up for."""
        heapq.heappush(self._timers, (monotonic_s() + interval_s, next(self._order), interval_s, handler))

    def after_turn(self, handler: Handler) -> None:
        """Calls `handler` at the end of every turn, whatever happened in it."""
        self._after_turn.append(handler)

    def stop(self) -> None:
        """The loop ends after the present turn."""
        self._running = False

    def run(self) -> None:
        while self._running:
            self.turn()

    def turn(self) -> None:
        self._page.set_activity(Activity.IDLE)
        events = self._poller.poll(self._timeout_ms())
        self._page.set_activity(Activity.WORKING)
        self._page.loop()
        for source, _ in events:
            handler = self._handlers.get(source)
            if handler is not None:
                handler()
        self._run_timers()
        for handler in self._after_turn:
            handler()

    def _timeout_ms(self) -> int:
        if not self._timers:
            return POLL_MAX_MS
        wait_ms = (self._timers[0][0] - monotonic_s()) * 1000
        return 0 if wait_ms <= 0 else min(POLL_MAX_MS, int(wait_ms) + 1)

    def _run_timers(self) -> None:
        now = monotonic_s()
        while self._timers and self._timers[0][0] <= now and self._running:
            _, order, interval, handler = heapq.heappop(self._timers)
            if interval:
                heapq.heappush(self._timers, (now + interval, order, interval, handler))
            handler()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor lives: what its shell gives to the actor's code."""

    spec: ChildSpec
    context: zmq.Context[zmq.Socket[bytes]]
    is_process: bool


class Actor:
    """Base of the actors. Subclasses fill in the hooks; all of them run in the actor's own loop.

    load()      before anything is bound: imports, files, ports; raises ConfigError
    begin(run)  at GO; it leads to `ready(lsn)` sooner or later
    detach(part), stop(run)   in the stop order; stop leads to `stopped(lsn)` when all is drained
    statistics()              what HEALTH shows, and whether anything is outstanding
    peer(name)                another child is READY in a new life
    control(message)          messages that only this actor gets
    """

    def __init__(self, place: Place) -> None:
        spec = place.spec
        self.spec = spec
        self.config = spec.config
        self.name = spec.name
        self.context = place.context
        self.is_process = place.is_process
        self.run_dir = Path(spec.config.engine.run_dir)
        self.log = Log(child=spec.name, pid=os.getpid())
        self.page = HealthPage.open(page_path(self.run_dir, spec.name), writable=True)
        self.page.begin_life(spec.incarnation, os.getpid())
        # The supervisor has made the page. One that is gone since may have held a HALT, and others hold it still (H5).
        self.latch = Latch.create_or_open(self.run_dir / LATCH_NAME, over_journal=True)
        self.loop = Loop(self.page)
        self.exit_code = ExitCode.OK
        self.stopping = self.orphaned = False
        self.resume_tick = 0
        """A replay goes on behind this tick (P11)."""
        self._sockets: list[zmq.Socket[bytes]] = []
        self._bound: list[tuple[zmq.Socket[bytes], str]] = []
        """To inproc names."""
        self._control = self.connect(CONTROL)
        self.loop.on_readable(self._control, self._on_control)
        if place.is_process:
            self._watch_parent()

    # Hooks.

    def load(self) -> None: ...

    def begin(self, run: EngineRun | None) -> None:
        self.ready(0)

    def stop(self, run: EngineRun | None) -> None:
        self.stopped(0)

    def detach(self, part: str) -> int:
        """Returns the last LSN at which the part had a say."""
        return 0

    def statistics(self) -> Statistics:
        return Statistics(0, 0, True, 0, {})

    def queues(self) -> tuple[QueueDepth, ...]:
        """What waits here, as HEALTH shows it."""
        return ()

    def peer(self, name: str) -> None: ...

    def control(self, message: Message) -> None: ...

    def release(self) -> None:
        """Called last, whatever happened: files are closed."""

    # What actors call.

    def socket(self, kind: int, pipe_limit: int) -> zmq.Socket[bytes]:
        """A socket with the house's options; closed with the actor."""
        made = self.context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        made.setsockopt(zmq.SNDHWM, pipe_limit)
        made.setsockopt(zmq.RCVHWM, pipe_limit)
        self._sockets.append(made)
        return made

    def connect(self, pipe: Pipe) -> zmq.Socket[bytes]:
        """A DEALER under the identity `name#incarnation`, so that a new life is never taken for the old."""
        made = self.socket(zmq.DEALER, 2 * pipe.limit)
        made.setsockopt(zmq.IDENTITY, f"{self.name}#{self.spec.incarnation}".encode())
        made.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        made.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        made.connect(self.endpoint(pipe))
        return made

    def bind(self, pipe: Pipe) -> zmq.Socket[bytes]:
        """A ROUTER that says so when a peer is gone (else it drops in silence)."""
        made = self.socket(zmq.ROUTER, 2 * pipe.limit)
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)
        made.setsockopt(zmq.ROUTER_HANDOVER, 1)
        endpoint = self.endpoint(pipe)
        made.bind(endpoint)
        if endpoint.startswith("inproc:"):
            self._bound.append((made, endpoint))
        return made

    def close_sockets(self, last_word_ms: int = 0) -> None:
        """All are closed, and the next life may bind what this one had bound.

        last_word_ms: for what was said last to reach the supervisor.
        """
        # close alone frees an inproc name when libzmq's reaper thread gets round to it, unbind at once.
        for made, endpoint in self._bound:
            made.unbind(endpoint)
        self._bound.clear()
        for made in self._sockets:
            made.close(linger=last_word_ms if made is self._control else 0)

    def endpoint(self, pipe: Pipe) -> str:
        directory = None if self.spec.ipc_dir is None else Path(self.spec.ipc_dir)
        return pipe_endpoint(pipe, directory, self.config.engine.name)

    def ready(self, lsn: int) -> None:
        self.tell(Ready(lsn))

    def stopped(self, lsn: int) -> None:
        """The actor is drained: says so and ends."""
        self.tell(Stopped(lsn))
        self.loop.stop()

    def fail(self, exit_code: ExitCode, message: str, *, is_lasting: bool = False) -> None:
        """The actor cannot go on: says why and ends."""
        self.exit_code = exit_code
        self.tell(Failed(exit_code, message, is_lasting))
        self.loop.stop()

    def tell(self, message: Message) -> None:
        """To the supervisor; dropped if it is gone or does not read (questions are asked again)."""
        try:
            self._control.send(encode_message(message), zmq.NOBLOCK)
        except zmq.Again:
            self.log.warning("control_pipe_full", message=type(message).__name__)

    # The life of an actor.

    def live(self) -> ExitCode:
        """Runs from LOADED to the end; returns the exit code."""
        try:
            self.page.set_activity(Activity.STARTING)
            if self.is_process:
                keep_within(self.name, self.config.supervisor.limits_of(self.name))
            self.load()
            self.tell(Loaded(self.name, self.spec.incarnation, os.getpid()))
            self.loop.run()
        except Exception as error:
            self._report(error)
        finally:
            self._end()
        return self.exit_code

    def _report(self, error: Exception) -> None:
        code = exit_code_of(error)
        expected = isinstance(error, ConfigError | DataError | WalError | ResumeError | SavedStateError)
        if not isinstance(error, ConfigError):  # the supervisor says that one, once
            self.log.error("actor_failed", error=str(error), kind=type(error).__name__, exc_info=not expected)
        self.fail(code, str(error) or type(error).__name__, is_lasting=isinstance(error, ResumeError | SavedStateError))

    def _end(self) -> None:
        self.release()
        # A dead supervisor reads nothing: every orphan would wait, and those after it in the stop order for all.
        self.close_sockets(0 if self.orphaned else LAST_WORD_MS)
        if self.is_process:
            self.context.term()
            end_helpers(self.run_dir, self.name, self.spec.incarnation)

    def _on_control(self) -> None:
        for frame in receive_all(self._control):
            message = decode_message(frame[-1])
            if isinstance(message, Go):
                self.resume_tick = message.resume_tick
                self.begin(message.run)
            elif isinstance(message, Stop):
                self._stop(message.run)
            elif isinstance(message, Detach):
                self.tell(Detached(message.part, self.detach(message.part)))
            elif isinstance(message, Ask):
                self.tell(msgspec.structs.replace(self.statistics(), queues=self.queues()))
            elif isinstance(message, Peer):
                self.peer(message.name)
            else:
                self.control(message)

    def _stop(self, run: EngineRun | None) -> None:
        self.stopping = True
        self.page.set_activity(Activity.STOPPING)
        self.stop(run)

    # Signals, and the parent's death.

    def _watch_parent(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._wakeup = (reader, writer)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)  # the loop hears of it
        self.loop.on_readable(reader.fileno(), self._on_signal)
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(self.spec.parent_pid)
        if os.getppid() != self.spec.parent_pid:
            sys.exit(ExitCode.FAILURE)  # the supervisor died while this child was born: nothing has begun
        self.loop.on_readable(self._pidfd, self._on_orphaned)
        threading.Thread(target=_end_when_orphaned, args=(self._pidfd,), name="orphan", daemon=True).start()
        forks_end_with_this_process()
        # What a strategy starts is no part of the engine, and must not hold its lock.
        os.register_at_fork(after_in_child=lambda: _close_quietly(self.spec.lock_fd))

    def _on_signal(self) -> None:
        self._wakeup[0].recv(64)
        if self.stopping:
            self.loop.stop()  # the supervisor's deadline has passed: end without what could not drain
        else:
            # systemd without KillMode=mixed, or a kill of the whole group: the supervisor got it too and stops us.
            self.log.info("sigterm_ignored", hint="children are stopped by their supervisor")

    def _on_orphaned(self) -> None:
        """The supervisor is gone: end, after those that end first in the stop order."""
        self.loop.forget(self._pidfd)
        if self.orphaned:
            return
        self.orphaned = True
        if self.stopping:
            self.loop.after(ORPHAN_DRAIN_S, self.loop.stop)
            return
        self.stopping = True
        self.log.error("supervisor_died", action="ending in the stop order")
        self._orphan_deadline = monotonic_s() + ORPHAN_WAIT_S
        self._orphan_step()

    def _orphan_step(self) -> None:
        first = (page_path(self.run_dir, name) for name in self.spec.ends_after)
        if monotonic_s() < self._orphan_deadline and any(is_alive(path) for path in first):
            self.loop.after(ORPHAN_POLL_S, self._orphan_step)
            return
        self.stop(None)
        # Nothing answers any more: what could not drain by now never will.
        self.loop.after(ORPHAN_DRAIN_S, self.loop.stop)


def _end_when_orphaned(parent: int) -> None:
    """A backstop in a thread, should the loop never be reached again.

    PR_SET_PDEATHSIG cannot be it: a main thread that comes back from a system call as the signal comes may never run
    its handler (CPython 3.11 clears eval_breaker), and then not end.

    parent: its pidfd, in this thread's poll until the end.
    """
    poller = select.poll()
    poller.register(parent, select.POLLIN)
    poller.poll()
    signal.alarm(ORPHAN_ALARM_S)


def _close_quietly(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)


def page_path(run_dir: Path, name: str) -> Path:
    return run_dir / "pages" / f"{name}.page"


def exit_code_of(error: Exception) -> ExitCode:
    """A journal that cannot be folded is as final as one that cannot be read: another life would find the same."""
    if isinstance(error, WalCorruptError | FoldError):
        return ExitCode.CORRUPT
    if isinstance(error, ConfigError | DataError | ResumeError):
        return ExitCode.USAGE
    return ExitCode.JOURNAL_FAILURE if isinstance(error, WalSyncError) else ExitCode.FAILURE
