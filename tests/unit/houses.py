"""Real actors in one thread, over ipc pipes, turned by hand: what they say to each other is what engines say.

A House holds the supervisor's end of the control pipe and nothing else of it: the test starts, kills and turns the
actors itself, so that it decides who is dead when. (Not inproc: there nobody reconnects to one that bound anew.)
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import zmq

from actors import base
from actors.base import Actor, Place
from actors.latch import LATCH_NAME, Latch
from actors.roles import actor_class
from protocol.messages import Message, Ready, decode_message
from protocol.pipeline import CONTROL, pipe_endpoint
from protocol.records import EngineRun, RunEvent
from protocol.settings import Config, parse_config
from protocol.wal.history import read_history
from supervisor.handed import make_run, make_spec

DEADLINE_S = 20.0
T = TypeVar("T")
CONFIG = """
[engine]
name = "house"
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "one"
class = "{strategy}"
symbols = ["EURUSD"]
[wal]
reserve_mb = 0
[gateway]
command = ""
telemetry = ""
broadcast = ""
"""


def house_config(directory: Path, strategy: str, market_data: str = "") -> Config:
    config = parse_config(CONFIG.format(strategy=strategy) + market_data)
    return msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, run_dir=str(directory)))


class House:
    def __init__(self, config: Config, monkeypatch: Any) -> None:
        monkeypatch.setattr(base, "POLL_MAX_MS", 0)  # nobody sleeps while another has something to do
        self.config = config
        self.run_dir = Path(config.engine.run_dir)
        (self.run_dir / "pages").mkdir(parents=True)
        Latch.create_or_open(self.run_dir / LATCH_NAME).close()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.control = self.context.socket(zmq.ROUTER)
        self.ipc = Path(tempfile.mkdtemp(prefix="house-"))  # short: tmp_path may be too long for a socket
        self.control.bind(pipe_endpoint(CONTROL, self.ipc, config.engine.name))
        self.actors: dict[str, Any] = {}
        self.lives: dict[str, int] = {}
        self.said: list[tuple[str, Message]] = []
        self.forget_states: tuple[str, ...] = ()
        self.run: EngineRun = make_run(config, bytes(16), RunEvent.START, "operator")

    def __enter__(self) -> House:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self.actors):
            self.kill(name)
        self.control.close(0)
        self.context.term()
        shutil.rmtree(self.ipc)

    def spawn(self, name: str) -> Actor:
        """A new life, loaded and not yet told to go."""
        life = self.lives[name] = self.lives.get(name, 0) + 1
        forget, boot_id = self.forget_states, self.run.boot_id
        spec = make_spec(
            self.config, name, life, boot_id, self.ipc, inproc=False, is_restart=life > 1, forget_states=forget
        )
        actor = actor_class(name, self.config)(Place(spec, self.context, False))
        actor.load()
        self.actors[name] = actor
        return actor

    def start(self, *names: str) -> None:
        """New lives, each begun after the READY of the one before."""
        for name in names:
            self.spawn(name).begin(self.run)
            self.until(lambda name=name: self._is_ready(name), f"{name} is READY")

    def _is_ready(self, name: str) -> bool:
        for sender, message in self.said:
            if sender == f"{name}#{self.lives[name]}" and isinstance(message, Ready):
                self.run = message.run or self.run
                return True
        return False

    def kill(self, name: str) -> None:
        """What is pending in it is gone, as after a SIGKILL; what is in its pipes may still arrive."""
        actor = self.actors.pop(name)
        actor.close_sockets()
        actor.release()

    def turn(self) -> None:
        for actor in list(self.actors.values()):
            actor.loop.turn()
        while self.control.poll(0):
            identity, frame = self.control.recv_multipart()
            self.said.append((identity.decode(), decode_message(frame)))

    def until(self, condition: Callable[[], T], what: str) -> T:
        deadline = time.monotonic() + DEADLINE_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
            self.turn()
        return value

    def records(self) -> list[Any]:
        from protocol.records import decode_record

        history = read_history(self.run_dir / "wal")
        return [decode_record(envelope.entry_type, data) for envelope, _, data in history]
