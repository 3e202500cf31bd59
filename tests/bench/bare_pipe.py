"""The floor of every hop: over `ipc://` to a process that does nothing but send it back, by ROUTER and DEALER."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Final

import zmq

from tests.bench.report import median

INTERVAL_S: Final = 0.001
"""Between two messages: pipes that have been idle for a moment are slower, and an engine's mostly have."""
WARM_UP: Final = 100


def echo(endpoint: str) -> None:
    """Sends back what comes, until an empty message."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(endpoint)
        while (frames := router.recv_multipart())[-1]:
            router.send_multipart(frames)


def measure_round_trip(directory: Path, size: int, count: int = 1000) -> float:
    """Microseconds there and back, the median, with `size` bytes."""
    endpoint = f"ipc://{directory}/echo"
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(endpoint,), daemon=True)
    process.start()
    times: list[int] = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 1000)
        dealer.connect(endpoint)
        for _ in range(WARM_UP + count):
            begun = time.perf_counter_ns()
            dealer.send(bytes(size))
            dealer.recv()
            times.append(time.perf_counter_ns() - begun)
            time.sleep(INTERVAL_S)
        dealer.send(b"")
    process.join()
    return median(times[WARM_UP:]) / 1e3
