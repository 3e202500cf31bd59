"""The attackers: each a process of its own, which does its harm to a gateway's outer sockets until it is killed.

    python tests/faults/attackers.py NAME COMMAND TELEMETRY BROADCAST

Who is cut off comes back at once. It speaks through libzmq where that can do the harm, else by hand (zmtp.py).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import zmq
import zmtp

ALL_TELEMETRY: Final = b"\x01"
"""A subscription to everything, as ZMTP says it."""
PAUSE_S: Final = 0.02
BLOB_BYTES: Final = 1 << 20
SLOW, DEAD, CROWD, CLASHING = 50, 200, 5000, 50
"""How many of each."""


class Target(NamedTuple):
    command: str
    telemetry: str
    broadcast: str

    @property
    def published(self) -> tuple[str, str]:
        return self.telemetry, self.broadcast


Attack = Callable[[Target], None]


def wait_for_ever() -> None:
    while True:
        signal.pause()


def repeated(piece: bytes) -> bytes:
    return piece * (BLOB_BYTES // len(piece))


@contextlib.contextmanager
def each(made: Callable[[], socket.socket], count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(made()) for _ in range(count)]


def pour(sockets: Sequence[socket.socket], data: bytes, *, read: bool = False) -> None:
    """The data to each, again and again, as fast as it takes them. Raises: OSError when one is cut off."""
    sent = dict.fromkeys(sockets, 0)
    for each_socket in sockets:
        each_socket.setblocking(False)
    while True:
        readable, writable, _ = select.select(sockets if read else (), sockets, ())
        for ready in readable:
            ready.recv(1 << 16)
        for ready in writable:
            at = sent[ready]
            sent[ready] = (at + ready.send(data[at : at + (1 << 16)])) % len(data)


# Subscribers.


def slow_subscribers(target: Target) -> None:
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4 * SLOW)
    subscribers = [context.socket(zmq.SUB) for _ in target.published * SLOW]
    for subscriber, endpoint in zip(subscribers, target.published * SLOW, strict=True):
        subscriber.setsockopt(zmq.RCVHWM, 1)
        subscriber.setsockopt(zmq.RCVBUF, 4096)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(endpoint)
    wait_for_ever()


def dead_subscribers(target: Target) -> None:
    """Their kernels take nothing more: a zero window."""
    endpoints = itertools.cycle(target.published)
    with each(lambda: zmtp.shake_hands(next(endpoints), "SUB", receive_bytes=1024), DEAD) as subscribers:
        for subscriber in subscribers:
            subscriber.sendall(zmtp.frame(ALL_TELEMETRY))
        wait_for_ever()


def stopped_subscribers(target: Target) -> None:
    context = zmq.Context()
    subscribers = [context.socket(zmq.SUB) for _ in target.published]
    for subscriber, endpoint in zip(subscribers, target.published, strict=True):
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(endpoint)
        subscriber.poll(10_000)
    os.kill(os.getpid(), signal.SIGSTOP)


def many_subscriptions(target: Target) -> None:
    """A million different ones, if they let him."""
    prefixes = b"".join(zmtp.frame(ALL_TELEMETRY + os.urandom(random.choice((8, 100)))) for _ in range(100_000))
    with each(lambda: zmtp.shake_hands(random.choice(target.published), "SUB"), 8) as subscribers:
        pour(subscribers, prefixes)


def subscribe_and_leave(target: Target) -> None:
    """XPUB walks all that is subscribed for each of a crowd that leaves at once."""
    prefixes = b"".join(zmtp.frame(ALL_TELEMETRY + os.urandom(100)) for _ in range(600))
    with each(lambda: zmtp.shake_hands(target.telemetry, "SUB"), 400) as subscribers:
        for subscriber in subscribers:
            subscriber.sendall(zmtp.frame(ALL_TELEMETRY + b"\xff"))
        subscribers[0].sendall(prefixes)
        time.sleep(0.5)


# Connections.


def connections(target: Target) -> None:
    """Thousands."""
    endpoints = itertools.cycle(((target.command, "DEALER"), (target.telemetry, "SUB"), (target.broadcast, "SUB")))
    with each(lambda: zmtp.shake_hands(*next(endpoints)), CROWD):
        wait_for_ever()


def half_handshakes(target: Target) -> None:
    """Some stop anywhere in the handshake, some talk on and make no sense."""
    endpoints = itertools.cycle(target)
    whole = zmtp.GREETING + zmtp.ready("SUB")
    with each(lambda: zmtp.dial(next(endpoints)), 300) as peers:
        for number, peer in enumerate(peers):
            said = whole[: number % len(whole)] if number % 2 else os.urandom(number)
            with contextlib.suppress(OSError):
                peer.sendall(said)
        time.sleep(0.2)


def old_protocols(target: Target) -> None:
    """Handshakes of ZMTP 1 and 2, and a byte more of each while those who subscribe to too much are cut off."""
    greetings = itertools.cycle(zmtp.OLD_GREETINGS.values())
    prefixes = b"".join(zmtp.frame(ALL_TELEMETRY + os.urandom(100)) for _ in range(200))
    with each(lambda: zmtp.dial(random.choice(target)), 100) as peers:
        for peer in peers:
            peer.sendall(next(greetings))
        for endpoint in target.published:
            with zmtp.shake_hands(endpoint, "SUB") as greedy:
                greedy.sendall(prefixes)
                for peer in peers:
                    with contextlib.suppress(OSError):
                        peer.sendall(b"\0")
                        time.sleep(0.001)


def comings_and_goings(target: Target) -> None:
    while True:
        for endpoint in target:
            zmtp.dial(endpoint).close()


def wrong_socket_types(target: Target) -> None:
    """Each type at each socket; what can speak speaks."""
    context = zmq.Context()
    talkers = (zmq.PUSH, zmq.DEALER, zmq.PAIR, zmq.PUB, zmq.XPUB, zmq.XSUB, zmq.ROUTER, zmq.REQ)
    kinds = (*talkers, zmq.PULL, zmq.REP, zmq.SUB, zmq.STREAM)
    made = []
    for kind, endpoint in itertools.product(kinds, target):
        one = context.socket(kind)
        one.setsockopt(zmq.RECONNECT_IVL, 10)
        one.connect(endpoint)
        made.append(one)
    while True:
        for one in made:
            with contextlib.suppress(zmq.ZMQError):
                one.send(b"PING", zmq.NOBLOCK)
        time.sleep(PAUSE_S)


def identity_clashes(target: Target) -> None:
    """Many under one name, under those of the engine's own, and under the longest."""
    for identity in itertools.cycle((b"one", b"risk#1", b"\x00\x01\x02\x03\x04", b"x" * 255)):
        with each(lambda name=identity: zmtp.shake_hands(target.command, "DEALER", identity=name), CLASHING) as peers:
            for peer in peers:
                peer.sendall(zmtp.frame(b"", more=True) + zmtp.frame(b"PING"))
            time.sleep(PAUSE_S)


# Messages.


def unfinished_multiparts(target: Target) -> None:
    with (
        zmtp.shake_hands(target.command, "DEALER") as dealer,
        zmtp.shake_hands(target.telemetry, "SUB") as telemetry,
        zmtp.shake_hands(target.broadcast, "SUB") as broadcast,
    ):
        pour((dealer, telemetry, broadcast), repeated(zmtp.frame(b"x", more=True)))


def oversized_frames(target: Target) -> None:
    """Announced, and some of it sent: nothing may be set aside for the rest."""
    for endpoint, size in itertools.product(target, (129, 16_385, 1 << 20, 1 << 31, 1 << 62, (1 << 64) - 1)):
        kind = "DEALER" if endpoint == target.command else "SUB"
        with contextlib.suppress(OSError), zmtp.shake_hands(endpoint, kind) as peer:
            peer.sendall(b"\x02" + size.to_bytes(8, "big") + bytes(1000))
            time.sleep(PAUSE_S)


def protocol_commands(target: Target) -> None:
    """What is libzmq's own to say, whole and cut short, where nobody expects it."""
    names = (b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"READY", b"ERROR", b"HELLO", b"")
    said = [bytes((len(name),)) + name + os.urandom(size) for name in names for size in (0, 1, 2, 3, 18, 100)]
    said += [b"", b"\xff", b"\x04PIN", b"\x05PING"]
    for endpoint, kind in ((target.command, "DEALER"), (target.telemetry, "SUB"), (target.broadcast, "SUB")):
        for body in said:
            with contextlib.suppress(OSError), zmtp.shake_hands(endpoint, kind) as peer:
                peer.sendall(zmtp.command(body) * 3 + zmtp.command(body, more=True) + zmtp.frame(body))


def unread_replies(target: Target) -> None:
    """They ask and never read: REQ, which may ask once, and DEALER."""
    endpoints = itertools.cycle(("REQ", "DEALER"))
    with each(lambda: zmtp.shake_hands(target.command, next(endpoints), receive_bytes=1024), 100) as peers:
        pour(peers, repeated(zmtp.frame(b"", more=True) + zmtp.frame(b"HEALTH")))


def _flood(*requests: bytes) -> Attack:
    said = b"".join(zmtp.frame(b"", more=True) + zmtp.frame(request) for request in requests)

    def attack(target: Target) -> None:
        with each(lambda: zmtp.shake_hands(target.command, "DEALER"), 4) as peers:
            pour(peers, repeated(said), read=True)

    return attack


ATTACKERS: Final[dict[str, Attack]] = {
    "slow subscribers": slow_subscribers,
    "dead subscribers": dead_subscribers,
    "stopped subscribers": stopped_subscribers,
    "many subscriptions": many_subscriptions,
    "subscribe and leave": subscribe_and_leave,
    "connections": connections,
    "half handshakes": half_handshakes,
    "old protocols": old_protocols,
    "comings and goings": comings_and_goings,
    "wrong socket types": wrong_socket_types,
    "identity clashes": identity_clashes,
    "unfinished multiparts": unfinished_multiparts,
    "oversized frames": oversized_frames,
    "protocol commands": protocol_commands,
    "unread replies": unread_replies,
    "ping flood": _flood(b"PING"),
    "status flood": _flood(b"STATUS", b"HEALTH", b"ORDERS", b"LIMITS", b"ACCOUNT", b"SYMBOLS"),
    "bad commands": _flood(b"", b"\xff", b"ping", b"HALT\0", b"CANCEL ALL", b"RESTART wal", b"DEPOSIT 5", b"x" * 9000),
    "halt flood": _flood(b"HALT flood"),
}


def main() -> None:
    name, *endpoints = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    while True:
        with contextlib.suppress(OSError):
            ATTACKERS[name](Target(*endpoints))
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
