"""What outsiders may take of the gateway: memory, descriptors, subscriptions. Who takes more is cut off.

ZeroMQ limits neither its connections nor their subscriptions nor the frames of a message that does not end; and where
descriptors run out, the next connection to an `ipc://` socket, as the control socket is, aborts the process (libzmq
4.3.5, measured). So the gateway looks at what it holds. Where that is too much the outer sockets are unbound, by which
all their connections end and what they had taken is free, and soon bound anew. Honest clients come back by themselves,
as ZeroMQ does; the control socket is none of these and stays. It is not asked who was the culprit: whoever wants to
look like everybody does.

RLIMIT_DATA (`supervisor.limits.gateway.memory_mb`) stands behind all this: past it the gateway ends, and comes back.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import zmq

from actors.base import Loop
from actors.broadcaster import SUBSCRIBED_BYTES_MAX
from actors.frames import receive_all
from protocol.settings import ProcessLimits

LOOK_S: Final = 0.05
"""An unfinished message grew by 250 MB in a second (measured): some 13 MB between two looks."""
BIND_AGAIN_S: Final = 0.5
"""What an attack that goes on costs: the gateway rests as long."""
OPEN_FILES_MAX: Final = 512
"""Some 30 are its own; the others are connections. Half of what it may open besides its own, where that is less."""
TRIM_S: Final = 5.0
TRIM_FROM_BYTES: Final = 64 << 20
"""Twice what a gateway of two dashboards takes."""
KEPT_FREE_BYTES: Final = 1 << 20

_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class OuterSocket:
    name: str
    socket: zmq.Socket[bytes]
    endpoint: str
    subscribed_bytes: Callable[[], int]
    is_bound: bool = True


class Outsiders:
    """`watch` each outer socket when it is bound; `begin`, and the loop looks after them until `release`."""

    def __init__(
        self, loop: Loop, counters: dict[str, int], log: Any, limits: ProcessLimits, *, is_process: bool
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._log = log
        self._is_process = is_process
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # to be read where no descriptor is left
        taken, data = self._memory_bytes()
        self._memory_room = max(0, (limits.memory_mb << 20) - data) // 2
        """Half of what may still be asked for. 0: no cap."""
        self._memory_bytes_max = taken + self._memory_room
        self._memory_bytes_highest = taken + self._memory_room * 9 // 5
        """A tenth below the cap: more than that is not let in, whosoever the rest is."""
        self._files = limits.files
        self._open_files_max = OPEN_FILES_MAX
        self._outer: list[OuterSocket] = []
        self._monitors: list[zmq.Socket[bytes]] = []
        self._binds_again = False
        """One timer for all of them."""
        counters.update(connections=0, handshakes_failed=0, open_files=0, outsiders_cut=0)

    def watch(self, name: str, made: zmq.Socket[bytes], subscribed_bytes: Callable[[], int] = lambda: 0) -> None:
        """subscribed_bytes: as Broadcaster's."""
        endpoint = made.getsockopt_string(zmq.LAST_ENDPOINT)
        self._outer.append(OuterSocket(name, made, endpoint, subscribed_bytes))
        made.monitor(f"inproc://outsiders-{id(self)}-{name}", zmq.EVENT_ACCEPTED | _FAILED)
        monitor = made.context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq's I/O thread waits where this is full, and all else with it
        monitor.connect(f"inproc://outsiders-{id(self)}-{name}")
        self._monitors.append(monitor)

    def begin(self) -> None:
        own = len(os.listdir("/proc/self/fd"))
        allowed = self._files or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._open_files_max = min(OPEN_FILES_MAX, own + (allowed - own) // 2)
        for monitor in self._monitors:
            self._loop.on_readable(monitor, lambda monitor=monitor: self._count(monitor))
        self._loop.every(LOOK_S, self._look)
        if self._is_process:
            _keep_little_free()
            self._loop.every(TRIM_S, self._trim)

    def release(self) -> None:
        """Before the sockets are closed."""
        for outer, monitor in zip(self._outer, self._monitors, strict=True):
            if not outer.socket.closed:
                outer.socket.disable_monitor()
            monitor.close(0)
        self._outer.clear()
        self._monitors.clear()
        os.close(self._statm)

    def _count(self, monitor: zmq.Socket[bytes]) -> None:
        for event, *_ in receive_all(monitor):
            kind = "connections" if int.from_bytes(event[:2], "little") == zmq.EVENT_ACCEPTED else "handshakes_failed"
            self._counters[kind] += 1
        self._look()

    def look_at_subscriptions(self) -> None:
        """To be called whenever some have been taken in: they are as many as they can be long before LOOK_S."""
        for outer in self._outer:
            if outer.subscribed_bytes() > SUBSCRIBED_BYTES_MAX:
                self._cut([outer], "subscribed_bytes", outer.subscribed_bytes(), SUBSCRIBED_BYTES_MAX)

    def _look(self) -> None:
        if not self._is_process:
            return  # in a thread: memory and descriptors are everybody's
        try:
            open_files = len(os.listdir("/proc/self/fd"))
        except OSError:  # the look takes one, and there is none left
            open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._counters["open_files"] = open_files
        if open_files > self._open_files_max:
            self._cut(self._outer, "open_files", open_files, self._open_files_max)
        memory_bytes = self._memory_bytes()[0]
        if self._memory_room and memory_bytes > self._memory_bytes_max:
            self._cut(self._outer, "memory_bytes", memory_bytes, self._memory_bytes_max)

    def _cut(self, which: list[OuterSocket], what: str, value: int, allowed: int) -> None:
        bound = [outer for outer in which if outer.is_bound]
        if not bound:
            return  # they were cut, and libzmq's threads have not freed everything yet
        self._counters["outsiders_cut"] += 1
        hint = "all connections to these sockets are ended; honest clients come back by themselves"
        names = [outer.name for outer in bound]
        self._log.warning("outsiders_cut", sockets=names, what=what, value=value, allowed=allowed, hint=hint)
        for outer in bound:
            outer.socket.unbind(outer.endpoint)
            outer.is_bound = False
        if not self._binds_again:
            self._binds_again = True
            self._loop.after(BIND_AGAIN_S, self._bind_again)

    def _bind_again(self) -> None:
        if self._is_process:
            self._trim()
            # What is left now is the gateway's own: it is no reason to cut off anybody.
            left = self._memory_bytes()[0] + self._memory_room // 2
            self._memory_bytes_max = min(max(self._memory_bytes_max, left), self._memory_bytes_highest)
        for outer in self._outer:
            if not outer.is_bound:
                try:
                    outer.socket.bind(outer.endpoint)
                    outer.is_bound = True
                except zmq.ZMQError as error:  # its listener is not closed yet, or somebody has taken the port
                    self._log.warning("bind_failed", socket=outer.name, endpoint=outer.endpoint, error=str(error))
        self._binds_again = any(not outer.is_bound for outer in self._outer)
        if self._binds_again:
            self._loop.after(BIND_AGAIN_S, self._bind_again)

    def _memory_bytes(self) -> tuple[int, int]:
        """Resident, and of RLIMIT_DATA. Source: proc(5), statm."""
        fields = os.pread(self._statm, 256, 0).split()
        return int(fields[1]) * _PAGE_BYTES, int(fields[5]) * _PAGE_BYTES

    def _trim(self) -> None:
        """What is free goes back to the system; glibc keeps it else, 600 MB after an attack."""
        if self._memory_bytes()[0] > TRIM_FROM_BYTES and hasattr(_LIBC, "malloc_trim"):
            _LIBC.malloc_trim(0)


_LIBC: Final = ctypes.CDLL(None)
_M_TRIM_THRESHOLD: Final = -1
"""Source: glibc's malloc.h."""


def _keep_little_free() -> None:
    """The free end of each thread's arena goes back to the system where it is longer than KEPT_FREE_BYTES.

    malloc_trim leaves all but the main thread's, and glibc's own limit grows to 64 MB with what is freed (measured).
    """
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
