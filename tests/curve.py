"""An engine under CURVE, and its clients as an outsider has them: what becomes of their handshakes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import zmq
from harness import DEADLINE_S, EngineUnderTest, Tree, config_tree, wait_for

from protocol.key_files import KeyDirectory, read_client_keys
from protocol.keys import Client, ClientKeys, KeyPair, Role

HANDSHAKES = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): True,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): False,
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): False,
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): False,
}
Secure = Callable[[zmq.Socket[bytes]], object]


@dataclass
class Guest:
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]

    def let_in(self, look: Callable[[], object] = lambda: None) -> bool:
        """What its first handshake came to. look: called while it is waited for."""

        def is_over() -> bool:
            look()
            return bool(self.monitor.poll(10))

        wait_for(is_over, "the end of the handshake")
        return HANDSHAKES[struct.unpack("=HI", self.monitor.recv_multipart()[0])[0]]


@contextmanager
def guest(kind: int, endpoint: str, secure: Secure) -> Iterator[Guest]:
    """A socket that is connected, or tries to be."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        if kind == zmq.SUB:
            socket.subscribe(b"")
        secure(socket)
        monitor: zmq.Socket[bytes] = socket.get_monitor_socket(sum(HANDSHAKES))
        socket.connect(endpoint)
        try:
            yield Guest(socket, monitor)
        finally:
            socket.disable_monitor()
            monitor.close(0)


def strangers(server: str, listed: ClientKeys) -> dict[str, Secure]:
    """Everybody who is to be refused, whatever he connects to. listed: a pair that is on the list."""

    def with_password(socket: zmq.Socket[bytes]) -> None:
        socket.plain_username, socket.plain_password = b"operator", b"operator"

    return {
        "wrong key": ClientKeys(KeyPair.make(), server).secure,
        "wrong key of the engine": ClientKeys(listed.pair, KeyPair.make().public).secure,
        "no key": lambda socket: socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode()),
        "plain client": lambda socket: None,
        "a password": with_password,
    }


def curve_tree(**sections: Any) -> Tree:
    gateway = config_tree()["gateway"]
    curve = {"keys": "keys", "client_key": "keys/clients/me.key"}
    return config_tree(gateway={**gateway, "curve": curve}, **sections)


def add_client(engine: EngineUnderTest, name: str, role: Role) -> ClientKeys:
    pair = KeyPair.make()
    path = KeyDirectory(engine.directory / "keys").add(Client(role, pair.public, name), pair)
    assert path is not None
    return read_client_keys(path)


def make_keys(engine: EngineUnderTest) -> tuple[ClientKeys, ClientKeys]:
    """The engine's keys, an operator's and an observer's."""
    keys = KeyDirectory(engine.directory / "keys")
    keys.create()
    return add_client(engine, "me", Role.OPERATOR), add_client(engine, "eye", Role.OBSERVER)
