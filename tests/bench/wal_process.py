"""The wal actor in a process of its own, as the supervisor starts it: spec over standard input, GO, READY, STOP."""

from __future__ import annotations

import secrets
import select
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import zmq

from actors.base import Loop, page_path
from actors.page import HealthPage
from protocol.logs import Log
from protocol.messages import (
    Ask,
    Failed,
    Go,
    Loaded,
    Message,
    Ready,
    Statistics,
    Stop,
    Stopped,
    decode_message,
    encode_message,
)
from protocol.pipeline import CONTROL, JOURNAL, pipe_endpoint
from protocol.records import RunEvent
from protocol.settings import Config, parse_config
from supervisor.handed import OPERATOR, make_run, make_spec
from supervisor.lives import Nursery, ProcessLife
from supervisor.lock import RunDirLock
from supervisor.run_dir import begin_page, open_latch, prepare_ipc, remove_ipc

ENGINE: Final = "bench"
DEADLINE_S: Final = 60.0
"""For an answer of wal; far above what it takes."""
CONFIG: Final = """
[engine]
name = "bench"
run_dir = "RUN_DIR"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "sma"
class = "actors.strategies.sma_cross:SmaCross"
symbols = ["EURUSD"]
[gateway]
command = ""
telemetry = ""
broadcast = ""
[logging]
level = "warning"
"""

M = TypeVar("M", bound=Message)


def bench_config(run_dir: Path, wal: str) -> Config:
    """`wal`: the lines of the config's [wal]."""
    return parse_config(f"{CONFIG.replace('RUN_DIR', str(run_dir))}\n[wal]\n{wal}\n")


class WalProcess:
    """A context manager: inside it wal is READY; leaving it stops wal in order, as an operator does."""

    def __init__(self, run_dir: Path, wal: str = "") -> None:
        self.run_dir = run_dir
        self.config = bench_config(run_dir, wal)
        self.boot_id = secrets.token_bytes(16)
        self.ready = Ready(0)
        self.stopped = Stopped(0)

    def __enter__(self) -> Self:
        self._lock = RunDirLock(self.run_dir)
        open_latch(self.run_dir, self.boot_id).close()
        self.ipc = prepare_ipc(self.run_dir)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._control.bind(pipe_endpoint(CONTROL, self.ipc, ENGINE))
        incarnation = begin_page(self.run_dir, "wal")
        spec = make_spec(self.config, "wal", incarnation, self.boot_id, self.ipc, inproc=False)
        self._page = HealthPage.open(page_path(self.run_dir, "supervisor"), writable=True)
        loop = Loop(self._page)
        self._nursery = Nursery(loop, self.config, Log(), on_birth=lambda life: None)
        self._life = ProcessLife(spec, self._lock.fd, self._nursery)
        while not self._life.pid and self._life.exit_code() is None:
            loop.turn()
        self._identity = f"wal#{incarnation}".encode()
        try:
            self._wait_for(Loaded)
            self._tell(Go(make_run(self.config, self.boot_id, RunEvent.START, OPERATOR)))
            self.ready = self._wait_for(Ready)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._tell(Stop(make_run(self.config, self.boot_id, RunEvent.STOP, OPERATOR)))
                self.stopped = self._wait_for(Stopped)
        finally:
            self._close()

    @property
    def pid(self) -> int:
        return self._life.pid

    @property
    def endpoint(self) -> str:
        """Of the journal stream."""
        return pipe_endpoint(JOURNAL, self.ipc, ENGINE)

    def statistics(self) -> Statistics:
        self._tell(Ask())
        return self._wait_for(Statistics)

    def _tell(self, message: Message) -> None:
        self._control.send_multipart([self._identity, encode_message(message)])

    def _wait_for(self, kind: type[M]) -> M:
        while self._control.poll(int(DEADLINE_S * 1000)):
            message = decode_message(self._control.recv_multipart()[-1])
            if isinstance(message, kind):
                return message
            if isinstance(message, Failed):
                raise RuntimeError(f"wal has failed: {message.message}")
        raise RuntimeError(f"wal did not say {kind.__name__} within {DEADLINE_S:g} s")

    def _close(self) -> None:
        if not self.stopped.lsn:
            self._life.send_signal(signal.SIGKILL)
        assert self._life.pidfd is not None, "closed once"
        select.select([self._life.pidfd], [], [])
        self._life.exit_code()  # reaps it
        self._life.close()
        self._nursery.close()
        self._page.close()
        self._control.close(0)
        self._context.term()
        remove_ipc(self.run_dir)
        self._lock.release()
