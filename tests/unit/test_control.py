"""The supervisor's end of the control pipe: only present lives are heard, and who comes back learns what it missed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
import zmq

from protocol.messages import Ask, Failed, Message, Parked, Peer, Statistics, decode_message, encode_message
from supervisor.child import Child, ChildPhase
from supervisor.control import ControlPipe
from supervisor.restart import RestartPolicy

NAMES = ("risk", "strategy.one", "gateway", "market_data")


class Scene:
    """Children that are READY in their second life, and what was heard of them."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.children = {name: Child(name, RestartPolicy(10, 60.0)) for name in NAMES}
        self.heard: list[tuple[str, Message]] = []
        self.context = context
        log = structlog.get_logger()
        self.pipe = ControlPipe(context, "inproc://control", self.children, self._take, log)
        for child in self.children.values():
            child.incarnation, child.phase = 2, ChildPhase.READY
        self.sockets = {name: self.connect(f"{name}#2") for name in NAMES}

    def connect(self, identity: str) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.DEALER)
        made.setsockopt(zmq.IDENTITY, identity.encode())
        made.connect("inproc://control")
        return made

    def _take(self, child: Child, message: Message) -> None:
        self.heard.append((child.name, message))

    def told(self, name: str) -> list[Message]:
        found = []
        while self.sockets[name].poll(0):
            found.append(decode_message(self.sockets[name].recv()))
        return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield Scene(context)
    context.destroy(0)


def test_only_the_present_life_of_a_known_child_is_heard(scene: Scene) -> None:
    for identity in ("risk#1", "risk#3", "nobody#2", "risk"):
        scene.connect(identity).send(encode_message(Failed(1, "former")))
    scene.sockets["gateway"].send(b"garbage")
    scene.sockets["risk"].send(encode_message(Failed(1, "present")))
    while not scene.heard:
        scene.pipe.receive()
    assert scene.heard == [("risk", Failed(1, "present"))]


def test_a_child_that_cannot_be_told_harms_nobody(scene: Scene) -> None:
    scene.children["risk"].incarnation = 7
    scene.pipe.ask_all()
    assert (scene.told("risk"), scene.told("gateway")) == ([], [Ask()])
    assert scene.pipe.question == 1


def test_the_others_learn_of_a_new_life_and_it_learns_who_stays_down(scene: Scene) -> None:
    children = scene.children
    children["strategy.one"].phase = ChildPhase.PARKED
    scene.pipe.tell_of_parked(children["strategy.one"])
    scene.pipe.tell_of_life(children["risk"])
    scene.pipe.tell_of_all_parked(children["risk"])
    scene.pipe.tell_of_all_parked(children["gateway"])
    assert scene.told("risk") == [Parked("one", 2), Parked("one", 2)]
    assert scene.told("market_data") == [Parked("one", 2), Peer("risk", 2)]
    assert scene.told("gateway") == [Peer("risk", 2)]
    assert scene.told("strategy.one") == []


def test_what_a_child_says_of_itself_is_kept_with_the_question_that_it_answers(scene: Scene) -> None:
    child = scene.children["risk"]
    child.take(Statistics(9, 0, True, 0, {}), 4)
    child.take(Failed(2, "why"), 5)
    assert (child.lsn, child.statistics_round, child.last_word()) == (9, 4, Failed(2, "why"))
