"""What a client sees of an engine: a peer on a socket, and a lock that is held."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

Answer = Callable[[bytes], bytes | None]


@contextmanager
def gateway(answer: Answer, endpoint: str = "tcp://127.0.0.1:*") -> Iterator[tuple[str, list[bytes]]]:
    """A REP-like peer: `answer` gives the reply to a request, None for none. Yields its endpoint and what it got."""
    context, got = zmq.Context(), []
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.bind(endpoint)
    stop_sender, stop_receiver = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    stop_receiver.bind("inproc://stop")
    stop_sender.connect("inproc://stop")

    def serve() -> None:
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(stop_receiver, zmq.POLLIN)
        while stop_receiver not in dict(poller.poll()):
            *route, text = router.recv_multipart()
            got.append(text)
            if (reply := answer(text)) is not None:
                router.send_multipart([*route, reply])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield router.getsockopt_string(zmq.LAST_ENDPOINT), got
    finally:
        stop_sender.send(b"")
        thread.join()
        for one in (router, stop_sender, stop_receiver):
            one.close(0)
        context.term()


@contextmanager
def held_lock(run_dir: Path, content: str) -> Iterator[None]:
    """RUN_DIR/lock as a running engine holds it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "lock", "w", encoding="ascii") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
