"""A process in order_routing's place at the latch, which sends without end: the most that a HALT can find under way.

Where an engine was halted before, its own order_routing sends nothing any more, whatever the page says: the journal
knows of the halt. This one knows the page alone, so that each HALT on a page that was cleared is the first one for it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from actors.latch import Latch

SEND_ROUNDS: Final = 1000
"""Of an empty loop in each send: some 20 us, as long as the paper venue takes."""
LOOK_ROUNDS: Final = 256
"""Sends between two looks whether the bench still lives."""


class Sender:
    """A context manager: inside it the process has taken over at the page of `run_dir`, or is about to."""

    def __init__(self, page: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._sends: Any = spawn.RawValue(ctypes.c_uint64, 0)
        self._process = spawn.Process(target=send_without_end, args=(page, self._sends, os.getpid()), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    @property
    def sends(self) -> int:
        """Sends that the latch has let pass; each is counted between its begin and its end."""
        return self._sends.value


def send_without_end(page: Path, sends: Any, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bench ends it
    latch = Latch(page)
    latch.adopt_router(os.getpid())
    while os.getppid() == parent:
        for _ in range(LOOK_ROUNDS):
            if latch.begin_send():
                sends.value += 1
                for _ in range(SEND_ROUNDS):
                    pass
            latch.end_send()
