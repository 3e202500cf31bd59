"""A peer that speaks ZMTP by hand: it can say what libzmq's own sockets never say, and stop wherever it likes.

Source: RFC 23/ZMTP 3.0 (greeting, NULL mechanism, frames).
"""

from __future__ import annotations

import socket
from typing import Final

GREETING: Final = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
"""64 bytes: signature, version 3.0, mechanism, as-server, filler."""
_LONG_SIZE, _COMMAND = 2, 4
"""Of a frame's flags."""
_LONG: Final = b"\xff" + bytes(8) + b"\x7f"
OLD_GREETINGS: Final = {"1.0, no version": b"\x01", "1.0": _LONG + b"\x00\x02", "2.0": _LONG + b"\x01\x02"}
"""All that comes before the peer's identity, whose empty one is two zero bytes (one where the other stands here).

Source: RFC 13/ZMTP 1.0, RFC 15/ZMTP 2.0."""
WAIT_S: Final = 20.0


def frame(body: bytes, *, more: bool = False) -> bytes:
    return _framed(int(more), body)


def command(body: bytes, *, more: bool = False) -> bytes:
    """body: the name's length, the name, its data. No command may have `more`."""
    return _framed(_COMMAND | int(more), body)


def _framed(flags: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | _LONG_SIZE,)) + len(body).to_bytes(8, "big") + body


def ready(socket_type: str, identity: bytes = b"") -> bytes:
    """The handshake's last word, a command."""
    properties = {b"Socket-Type": socket_type.encode(), b"Identity": identity}
    body = b"\x05READY" + b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value for name, value in properties.items()
    )
    return command(body)


def dial(endpoint: str, *, receive_bytes: int = 0) -> socket.socket:
    """A plain connection. receive_bytes: of the kernel's buffer; 0 as usual."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    made = socket.socket()
    made.settimeout(WAIT_S)
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.connect((host, int(port)))
    return made


def shake_hands(endpoint: str, socket_type: str, *, identity: bytes = b"", receive_bytes: int = 0) -> socket.socket:
    """A connection whose handshake is complete; what the peer says from then on is left unread."""
    made = dial(endpoint, receive_bytes=receive_bytes)
    made.sendall(GREETING + ready(socket_type, identity))
    receive(made, len(GREETING))
    head = receive(made, 2)  # its READY; before it libzmq takes whatever comes for a bad handshake
    receive(made, head[1])
    return made


def receive(source: socket.socket, size: int) -> bytes:
    """Raises: ConnectionError if the peer leaves before."""
    data = b""
    while len(data) < size:
        if not (part := source.recv(size - len(data))):
            raise ConnectionError("the peer has gone")
        data += part
    return data
