"""The outsider's hand: one request, one reply, and a plain word about why there is none.

It holds no state of the engine and repeats no request by itself: a HALT that was not answered is the caller's decision.

Every request has a socket of its own: a request that was never answered must not be delivered to another
engine an hour later, as a socket that reconnects would do.

Under CURVE the client shows its key: the one that it is given, or the one that $SEAWALL_KEY names. The
socket's monitor tells at once what a refused handshake would else hide behind a timeout.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import zmq

from protocol.client.running import control_endpoint, engine_pid, is_listening
from protocol.errors import GatewayError, NoAnswerError, NotRunningError, RefusedError
from protocol.key_files import KEY_VARIABLE, keys_of_environment
from protocol.keys import ClientKeys, fingerprint

PROBE_AFTER_S: Final = 0.05
"""A command is answered within 50 ms (design section 8); after that one asks whether anybody is there."""
BROKEN_OFF_MAX: Final = 3
"""Handshakes in a row. An engine that wants a key may end the connection before its own greeting has been read."""
REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A larger reply is the peer's mistake; ZeroMQ cuts the connection."""
_HANDSHAKE_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_EVENT: Final = struct.Struct("=HI")
"""A monitor's first frame: event, value. Source: zmq_socket_monitor(3)."""


class ControlClient:
    """One request at a time to a gateway.

    With `run_dir` given (or made by `for_run_dir`) the lock there tells "not running" from "no answer", so a
    gateway that is being restarted is waited for; else the endpoint is tried with a plain connection.

    keys: of CURVE; None: those that the environment names, if it does, but for the control socket of a `run_dir`.
    """

    def __init__(
        self, endpoint: str, timeout_s: float = 2.0, *, run_dir: str | Path | None = None,
        keys: ClientKeys | None = None,
    ) -> None:  # fmt: skip
        """Raises: ConfigError if the environment names a key that cannot be used."""
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.keys = keys_of_environment() if keys is None and run_dir is None else keys
        self._suspicion = ""
        """What the last handshakes let one think of a timeout."""
        self._broken_off = 0
        self._context = zmq.Context()

    @classmethod
    def for_run_dir(cls, run_dir: str | Path, timeout_s: float = 2.0) -> ControlClient:
        """The client of the engine in `run_dir`. Raises: NotRunningError if its lock is free."""
        if engine_pid(run_dir) is None:
            raise NotRunningError(f"no engine is running in {run_dir}")
        return cls(control_endpoint(run_dir), timeout_s, run_dir=run_dir)

    def request(self, text: str) -> dict[str, Any]:
        """The reply to `text`, also when it says `"status":"error"`.

        Raises: NotRunningError if nobody is there, RefusedError if somebody is and does not let this client in,
        NoAnswerError if he said nothing within timeout_s, GatewayError if the endpoint is none or the reply is no JSON
        object.
        """
        with self._context.socket(zmq.REQ) as request, _handshake(request) as handshake:
            if self.keys is not None:
                self.keys.secure(request)
            request.setsockopt(zmq.LINGER, 0)
            request.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES_MAX)
            request.setsockopt(zmq.IPV6, "[" in self.endpoint)
            try:
                request.connect(self.endpoint)
            except zmq.ZMQError as error:
                raise GatewayError(f"{self.endpoint} is no endpoint: {error}") from error
            return _decode_reply(self.endpoint, self._exchange(request, handshake, text.encode()))

    def _exchange(self, request: zmq.Socket[bytes], handshake: zmq.Socket[bytes], text: bytes) -> bytes:
        deadline = time.monotonic() + self.timeout_s
        self._suspicion, self._broken_off = "", 0
        with suppress(zmq.Again):  # refused already, and the handshake says so
            request.send(text, zmq.NOBLOCK)
        if not self._wait(request, handshake, min(PROBE_AFTER_S, self.timeout_s)):
            if not self.is_running():
                raise NotRunningError(f"no engine is running {self._place()}")
            if not self._wait(request, handshake, deadline - time.monotonic()):
                if not self.is_running():
                    raise NotRunningError(f"the engine {self._place()} ended before it answered")
                raise NoAnswerError(
                    f"the engine {self._place()} did not answer within {self.timeout_s:g} s{self._suspicion}"
                )
        return request.recv()

    def _wait(self, request: zmq.Socket[bytes], handshake: zmq.Socket[bytes], timeout_s: float) -> bool:
        """Whether the reply has come. Raises: RefusedError as soon as it is known that none will."""
        deadline = time.monotonic() + timeout_s
        poller = zmq.Poller()
        poller.register(request, zmq.POLLIN)
        poller.register(handshake, zmq.POLLIN)
        while ready := dict(poller.poll(_milliseconds(deadline - time.monotonic()))):
            if request in ready:
                return True
            self._look_at_failure(*_EVENT.unpack(handshake.recv_multipart()[0]))
        return False

    def _look_at_failure(self, event: int, value: int) -> None:
        """Measured: a client's key that is refused gives AUTH 400, once; a wrong engine's key gives NO_DETAIL, with
        every try anew, but so does a gateway that is restarted meanwhile."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and self.keys is not None:
            key = fingerprint(self.keys.pair.public)
            why = "it is not on its list, or an observer's, who may only subscribe"
            raise RefusedError(f"the engine {self._place()} refuses the key {key}: {why}")
        if value == int(zmq.Event.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH):
            what = "wants a key (CURVE), and none" if self.keys is None else "speaks plain text, and a key"
            raise RefusedError(f"the engine {self._place()} {what} was given; ${KEY_VARIABLE} names the file of one")
        self._broken_off += 1
        if self.keys is not None:
            self._suspicion = "; it broke the handshake off: is that the engine's public key?"
        elif self._broken_off >= BROKEN_OFF_MAX:
            what = "breaks every handshake off: it wants a key (CURVE), it seems, and none"
            raise RefusedError(f"the engine {self._place()} {what} was given; ${KEY_VARIABLE} names the file of one")

    def is_running(self) -> bool:
        """Whether an engine is there, answering or not."""
        if self.run_dir is not None:
            return engine_pid(self.run_dir) is not None
        return is_listening(self.endpoint)

    def _place(self) -> str:
        return f"at {self.endpoint}" if self.run_dir is None else f"in {self.run_dir}"

    def ping(self) -> dict[str, Any]:
        return self._ask("PING")

    def status(self) -> dict[str, Any]:
        return self._ask("STATUS")

    def halt(self, reason: str = "") -> dict[str, Any]:
        """No send that can raise exposure begins after this has returned (H6)."""
        return self._ask(f"HALT {reason}".strip())

    def health(self) -> dict[str, Any]:
        return self._ask("HEALTH")

    def orders(self) -> dict[str, Any]:
        return self._ask("ORDERS")

    def symbols(self) -> dict[str, Any]:
        return self._ask("SYMBOLS")

    def account(self) -> dict[str, Any]:
        return self._ask("ACCOUNT")

    def _ask(self, text: str) -> dict[str, Any]:
        """The reply, which says ok. Raises: as `request`, and GatewayError with what an error reply says."""
        reply = self.request(text)
        if reply.get("status") != "ok":
            raise GatewayError(str(reply.get("response", reply)))
        return reply

    def close(self) -> None:
        self._context.term()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _handshake(request: zmq.Socket[bytes]) -> Iterator[zmq.Socket[bytes]]:
    """The events of handshakes that fail on `request`."""
    monitor: zmq.Socket[bytes] = request.get_monitor_socket(_HANDSHAKE_FAILED)
    try:
        yield monitor
    finally:
        request.disable_monitor()
        monitor.close(0)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _decode_reply(endpoint: str, frame: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(frame)
    except ValueError as error:
        raise GatewayError(f"{endpoint} answered with {frame[:80]!r}, which is no JSON") from error
    if not isinstance(reply, dict):
        raise GatewayError(f"{endpoint} answered with {frame[:80]!r}, which is no JSON object")
    return reply
