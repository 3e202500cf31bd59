"""The supervisor's end of the control pipe: what the children say, and what they are told.

Owns the socket, and who is told of what: that another has come back, that one stays down, how all of them are. It
decides nothing. A message counts only if the child's present life has sent it; one that cannot be told is dropped, for
whatever matters is asked or told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import zmq

from actors.frames import receive_all
from actors.peers import speaker_of
from protocol.errors import WireError
from protocol.messages import Ask, Children, Message, Parked, Peer, decode_message, encode_message
from supervisor.child import Child, ChildPhase
from supervisor.health import observe

TOLD_OF_PARKED: Final = frozenset({"risk", "market_data"})
"""risk cancels its orders, market_data waits for it no longer."""


class ControlPipe:
    """on_message(child, message): called for each message of a present life."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        children: Mapping[str, Child],
        on_message: Callable[[Child, Message], None],
        log: Any,
    ) -> None:
        self._children = children
        self._on_message = on_message
        self._log = log
        self.question = 0
        """The number of the newest round of ASKs."""
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(endpoint)

    def close(self) -> None:
        self.socket.close(0)

    def receive(self) -> None:
        for frames in receive_all(self.socket):
            try:
                message = decode_message(frames[-1])
            except WireError:
                self._log.error("bad_control_message", sender=frames[0])
                continue
            name, incarnation = speaker_of(frames[0])
            child = self._children.get(name)
            if child is not None and incarnation == child.incarnation:
                self._on_message(child, message)

    def tell(self, child: Child, message: Message) -> None:
        try:
            self.socket.send_multipart([child.identity, encode_message(message)], zmq.NOBLOCK)
        except zmq.ZMQError:
            self._log.debug("child_unreachable", name=child.name, message=type(message).__name__)

    def ask_all(self) -> None:
        """Every child that is READY is asked how it is; `question` is the round's number."""
        self.question += 1
        for child in self._ready():
            self.tell(child, Ask())

    def tell_of_life(self, child: Child) -> None:
        """All others learn that `child` is READY in a new life."""
        for other in self._ready():
            if other is not child:
                self.tell(other, Peer(child.name, child.incarnation))

    def tell_of_parked(self, parked: Child) -> None:
        for name in TOLD_OF_PARKED:
            self.tell(self._children[name], _parked(parked))

    def tell_of_all_parked(self, child: Child) -> None:
        """They forget it when they die."""
        if child.name in TOLD_OF_PARKED:
            for other in self._children.values():
                if other.phase is ChildPhase.PARKED:
                    self.tell(child, _parked(other))

    def tell_children(self) -> None:
        """The gateway learns how all are, for HEALTH."""
        gateway = self._children["gateway"]
        if gateway.phase is ChildPhase.READY:
            self.tell(gateway, Children(tuple(observe(child) for child in self._children.values())))

    def _ready(self) -> list[Child]:
        return [child for child in self._children.values() if child.phase is ChildPhase.READY]


def _parked(child: Child) -> Parked:
    return Parked(child.name.partition(".")[2], child.incarnation)
