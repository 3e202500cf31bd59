"""A consumer of the journal stream written from the messages' table (protocol/messages.py) with msgpack alone.

It keeps (LSN, crc32) of every record that it has seen, over every death of wal: all of it must be in the journal.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import msgpack
import zmq

HELLO, WELCOME, DATA, CREDIT, RESET, SAY_HELLO = 1, 2, 3, 4, 6, 7
CREDITS: Final = 16
SILENCE_S: Final = 0.3


class Observer:
    """Follows the journal of `run_dir` in a thread of its own, from the moment it is entered."""

    def __init__(self, run_dir: Path) -> None:
        self._ipc = run_dir / "ipc"
        self.seen: dict[int, int] = {}
        """crc32 by LSN."""
        self.wrong: list[str] = []
        """What must never happen."""
        self._epoch = b""
        self._position = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        while not self._ends.is_set():
            directory = self._ipc.resolve()  # a link to a short directory, another one after a restart
            with context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.IDENTITY, b"observer#1")
                socket.setsockopt(zmq.RECONNECT_IVL, 5)
                socket.connect(f"ipc://{directory}/journal")
                while not self._ends.is_set() and self._ipc.resolve() == directory:
                    self._follow(socket)
        context.destroy(0)

    def _follow(self, socket: zmq.Socket[bytes]) -> None:
        """One HELLO, and what follows until there is silence."""
        self._say(socket, [HELLO, "observer", 1, self._epoch, self._position + 1, CREDITS, 0])
        grant, heard_s = 0, time.monotonic()
        while time.monotonic() - heard_s < SILENCE_S and not self._ends.is_set():
            if not socket.poll(20):
                continue
            frames = socket.recv_multipart()
            message: list[Any] = msgpack.unpackb(frames[0])
            heard_s = time.monotonic()
            if message[0] == WELCOME:
                self._epoch, grant = message[1], message[8]
                self._position = max(self._position, message[2] - 1)
            elif message[0] == DATA and len(frames) > 1 and grant:
                self._take(message[2], frames[1])
                self._say(socket, [CREDIT, 1, grant])
            elif message[0] == SAY_HELLO and grant:
                return
            elif message[0] == RESET:
                self.wrong.append(f"RESET: {message[1]}")
                return

    def _say(self, socket: zmq.Socket[bytes], message: list[Any]) -> None:
        try:
            socket.send(msgpack.packb(message), zmq.NOBLOCK)  # type: ignore[arg-type]
        except zmq.Again:
            time.sleep(0.01)

    def _take(self, first: int, payload: bytes) -> None:
        offset, lsn = 0, first
        while offset < len(payload):
            length, crc = (int.from_bytes(payload[offset + at : offset + at + 4], "little") for at in (5, 9))
            if self.seen.setdefault(lsn, crc) != crc:
                self.wrong.append(f"LSN {lsn} was {self.seen[lsn]:#010x} and is now {crc:#010x}")
            offset, lsn = offset + 13 + length, lsn + 1
        if first > self._position + 1:
            self.wrong.append(f"LSN {first} after {self._position}")
        self._position = max(self._position, lsn - 1)
