"""A SUB socket as the engine's feeds want it; it connects again by itself, and loses what came meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

import zmq

from protocol.errors import GatewayError
from protocol.key_files import keys_of_environment
from protocol.keys import ClientKeys

MESSAGE_BYTES_MAX: Final = 1 << 20
"""A longer message is the peer's mistake; ZeroMQ cuts the connection."""
QUEUE_MAX: Final = 100_000
"""Messages that wait for a reader; more are dropped."""


def connect_subscriber(
    socket: zmq.Socket[Any], endpoint: str, prefixes: Iterable[bytes], keys: ClientKeys | None,
    queue_max: int = QUEUE_MAX,
) -> None:  # fmt: skip
    """`socket` hears what begins with one of `prefixes`; of what waits for its reader it keeps queue_max messages.

    keys: of CURVE; None: those that the environment names, if it does. Raises: GatewayError if the endpoint is
    none (the socket is closed then), ConfigError if a key cannot be used.
    """
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, queue_max)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.IPV6, "[" in endpoint)
        shown = keys_of_environment() if keys is None else keys
        if shown is not None:
            shown.secure(socket)
        for prefix in prefixes:
            socket.setsockopt(zmq.SUBSCRIBE, prefix)
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise GatewayError(f"{endpoint} is no endpoint: {error}") from error


def poll_ms(timeout_s: float | None) -> int | None:
    return None if timeout_s is None else max(0, round(timeout_s * 1000))


class Subscriber:
    """A context manager; `close` ends it. Raises: as connect_subscriber."""

    def __init__(
        self, endpoint: str, prefixes: Iterable[bytes], keys: ClientKeys | None, queue_max: int = QUEUE_MAX
    ) -> None:
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        """To be polled together with others."""
        connect_subscriber(self.socket, endpoint, prefixes, keys, queue_max)

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
