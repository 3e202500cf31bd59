"""Who may come in: what ZAP is answered, and what real CURVE sockets make of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from curve import guest, strangers
from harness import wait_for
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from actors import security
from actors.broadcaster import SUBSCRIPTION_BYTES_MAX
from actors.security import LOGGED_MAX, Security, judge, receive_signed
from protocol.curve_settings import CurveSettings
from protocol.errors import ConfigError
from protocol.key_files import KeyDirectory, read_client_keys
from protocol.keys import Client, ClientKeys, Domain, KeyPair, Role, fingerprint

OPERATOR, OBSERVER = KeyPair.make(), KeyPair.make()
CLIENTS = {
    OPERATOR.public: Client(Role.OPERATOR, OPERATOR.public, "me"),
    OBSERVER.public: Client(Role.OBSERVER, OBSERVER.public, "eye"),
}


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _say(self, event: str, **facts: Any) -> None:
        self.lines.append({"event": event, **facts})

    info = warning = error = _say

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


class House:
    """A key directory with an operator and an observer on the list, and the Security that reads it."""

    def __init__(self, directory: Path) -> None:
        self.keys = KeyDirectory(directory / "keys")
        self.server = self.keys.create().public
        self.operator, self.observer = self.add("me", Role.OPERATOR), self.add("eye", Role.OBSERVER)
        self.log, self.counters = Log(), dict[str, int]()
        self.settings = CurveSettings(keys=str(self.keys.path))
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.bound: list[zmq.Socket[bytes]] = []
        """pyzmq closes a socket that nobody holds."""
        self.security = self.begin()

    def begin(self, *, is_restart: bool = False) -> Security:
        return Security(self.settings, self.log, self.counters, is_restart=is_restart)

    def add(self, name: str, role: Role) -> ClientKeys:
        pair = KeyPair.make()
        path = self.keys.add(Client(role, pair.public, name), pair)
        assert path is not None
        return read_client_keys(path)

    def serve(self) -> None:
        self.security.start(self.context.socket(zmq.ROUTER))

    def bind(self, kind: int, domain: Domain) -> tuple[zmq.Socket[bytes], str]:
        made = self.context.socket(kind)
        made.setsockopt(zmq.MAXMSGSIZE, SUBSCRIPTION_BYTES_MAX)  # of the feeds; too little for a handshake of CURVE
        self.security.protect(made, domain)
        made.bind("tcp://127.0.0.1:*")
        self.bound.append(made)
        return made, made.getsockopt_string(zmq.LAST_ENDPOINT)

    def lets_in(self, secure: Any, endpoint: str, kind: int = zmq.REQ) -> bool:
        with guest(kind, endpoint, secure) as made:
            return made.let_in(self.security.answer_handshakes)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.context.destroy(0)


def request(domain: bytes = b"command", key: str = OPERATOR.public, **other: Any) -> list[bytes]:
    fields = {
        "version": b"1.0", "id": b"7", "domain": domain, "address": b"10.0.0.9", "identity": b"",
        "mechanism": b"CURVE", "credentials": z85.decode(key), **other,
    }  # fmt: skip
    return [b"route", b"", *fields.values()]


@pytest.mark.parametrize(
    ("domain", "pair", "refusal"),
    [
        (b"command", OPERATOR, ""),
        (b"feeds", OPERATOR, ""),
        (b"feeds", OBSERVER, ""),
        (b"command", OBSERVER, "is eye's, observer, who may only subscribe"),
        (b"feeds", KeyPair.make(), "is not on the list"),
        (b"", OPERATOR, "asks for a socket that there is not"),
        (b"elsewhere", OPERATOR, "asks for a socket that there is not"),
    ],
)
def test_a_role_may_connect_where_the_table_says(domain: bytes, pair: KeyPair, refusal: str) -> None:
    verdict = judge(request(domain, pair.public), CLIENTS)
    assert verdict is not None
    assert refusal in verdict.refusal
    status, user = (b"400", b"") if refusal else (b"200", pair.public.encode())
    assert [verdict.reply[index] for index in (0, 1, 2, 3, 4, 6)] == [b"route", b"", b"1.0", b"7", status, user]
    assert (verdict.key, verdict.address) == (pair.public, "10.0.0.9")


@pytest.mark.parametrize(
    "other",
    [{"version": b"2.0"}, {"mechanism": b"NULL"}, {"mechanism": b"PLAIN"}, {"credentials": b""},
     {"credentials": b"x" * 31}, {"one more": b""}],
)  # fmt: skip
def test_whoever_shows_no_key_is_refused(other: dict[str, Any]) -> None:
    verdict = judge(request(**other), CLIENTS)
    assert verdict is not None
    assert verdict.reply[4] == b"400"


def test_while_it_is_not_known_who_may_come_in_clients_are_told_to_come_again() -> None:
    """libzmq's never come again after a 400."""
    verdict = judge(request(), None)
    assert verdict is not None
    assert (verdict.reply[4], "cannot be used" in verdict.refusal) == (b"300", True)


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"", b"1.0", b"command", b"CURVE", b"x" * 32]), max_size=12))
def test_any_frames_are_answered_or_passed_over(frames: list[bytes]) -> None:
    verdict = judge(frames, CLIENTS)
    assert (verdict is None) == (len(frames) < 4)
    assert verdict is None or verdict.reply[4] == b"400"


# With sockets.


@pytest.mark.parametrize("domain", Domain)
def test_zap_with_no_handler_running_accepts_nobody(house: House, domain: Domain) -> None:
    """ZAP with no handler running, NULL or CURVE, accepts everybody; so the domain is enforced."""
    kind, peer = {Domain.COMMAND: (zmq.ROUTER, zmq.REQ), Domain.FEEDS: (zmq.XPUB, zmq.SUB)}[domain]
    _, endpoint = house.bind(kind, domain)
    assert not house.lets_in(house.operator.secure, endpoint, peer)
    for name, secure in strangers(house.server, house.operator).items():
        assert not house.lets_in(secure, endpoint, peer), name


def test_keys_on_the_list_are_let_in_and_nobody_else(house: House) -> None:
    house.serve()
    _, command = house.bind(zmq.ROUTER, Domain.COMMAND)
    _, feed = house.bind(zmq.XPUB, Domain.FEEDS)
    assert house.lets_in(house.operator.secure, command)
    assert house.lets_in(house.operator.secure, feed, zmq.SUB)
    assert house.lets_in(house.observer.secure, feed, zmq.SUB)
    assert not house.lets_in(house.observer.secure, command)
    for name, secure in strangers(house.server, house.operator).items():
        assert not house.lets_in(secure, command), name
        assert not house.lets_in(secure, feed, zmq.SUB), name
    wrong = [line for line in house.log.of("client_refused") if line["reason"] == "is not on the list"]
    assert len(wrong) == 2, "the others show no key that could be told"
    assert house.counters["refused_handshakes"] == 3


def test_sockets_without_a_domain_stay_as_they_are(house: House) -> None:
    """The private control socket and the pipes."""
    house.serve()
    plain = house.context.socket(zmq.ROUTER)
    plain.bind("tcp://127.0.0.1:*")
    assert house.lets_in(lambda _: None, plain.getsockopt_string(zmq.LAST_ENDPOINT))


def test_a_request_comes_with_the_key_of_who_sent_it(house: House) -> None:
    house.serve()
    made, endpoint = house.bind(zmq.ROUTER, Domain.COMMAND)
    with guest(zmq.REQ, endpoint, house.operator.secure) as one:
        assert one.let_in(house.security.answer_handshakes)
        one.socket.send(b"PING")
        made.poll(10_000)
        ((key, frames),) = receive_signed(made, 20)
    assert (key, frames[2]) == (house.operator.pair.public, b"PING")


# The list.


def test_the_list_is_read_again_and_says_who_came_and_went(house: House) -> None:
    key, name = house.operator.pair.public, fingerprint(house.operator.pair.public)
    assert house.security.refusal_of_command(key) == ""
    house.keys.remove("me")
    new = house.add("you", Role.OPERATOR).pair.public
    house.log.lines.clear()
    house.security.reload()
    house.security.reload()
    assert house.log.lines == [
        {"event": "key_list_read", "added": [f"you (operator, {fingerprint(new)})"],
         "removed": [f"me (operator, {name})"]},
    ]  # fmt: skip
    assert house.security.refusal_of_command(new) == ""
    assert name in house.security.refusal_of_command(key)
    assert "observer" in house.security.refusal_of_command(house.observer.pair.public)
    assert house.security.refusal_of_command(""), "who shows no key is nobody"
    assert house.counters["refused_commands"] == 3


@pytest.mark.parametrize("how", ["wrong", "writable", "gone", "a directory"])
def test_a_list_that_became_wrong_changes_nothing_and_is_said_once(house: House, how: str) -> None:
    good = house.keys.list.read_text()
    house.log.lines.clear()
    if how == "wrong":
        house.keys.list.write_text("operator me\n")
    elif how == "writable":
        house.keys.list.chmod(0o622)
    else:
        house.keys.list.unlink()
    if how == "a directory":
        house.keys.list.mkdir()
    for _ in range(3):
        house.security.reload()
    assert len(house.log.of("key_list_unusable")) == len(house.log.lines) == 1
    assert str(house.keys.list) in house.log.lines[0]["error"]
    assert house.counters["key_list_unusable"] == 1
    assert house.security.refusal_of_command(house.operator.pair.public) == ""
    if how == "a directory":
        house.keys.list.rmdir()
    house.keys.list.write_text(good)
    house.keys.list.chmod(0o600)
    house.security.reload()
    assert (house.counters["key_list_unusable"], len(house.log.lines)) == (0, 1)


def test_a_start_with_a_wrong_list_is_refused_and_a_restart_lets_nobody_in_until_it_is_right(house: House) -> None:
    """A gateway that died must not end an engine because of what somebody has just typed into the list."""
    good = house.keys.list.read_text()
    house.keys.list.write_text("root me\n")
    with pytest.raises(ConfigError, match=r"clients\.list:1"):
        house.begin()
    house.security = house.begin(is_restart=True)
    assert house.security.refusal_of_command(house.operator.pair.public)
    house.keys.list.write_text(good)
    house.security.reload()
    assert house.security.refusal_of_command(house.operator.pair.public) == ""


def test_a_restart_without_the_engines_key_is_no_plain_engine(house: House) -> None:
    house.keys.secret.unlink()
    with pytest.raises(ConfigError, match=r"server\.key"):
        house.begin()
    house.security = house.begin(is_restart=True)
    house.serve()
    _, endpoint = house.bind(zmq.ROUTER, Domain.COMMAND)
    for secure in (house.operator.secure, lambda _: None):
        assert not house.lets_in(secure, endpoint)
    assert house.counters["engine_key_unusable"] == 1


# The log.


def test_a_flood_of_refused_clients_does_not_flood_the_log(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.serve()
    now = [1000.0]
    monkeypatch.setattr(security, "monotonic_s", lambda: now[0])
    with zmq.Context.shadow(house.context.underlying).socket(zmq.DEALER) as asking:
        asking.connect(security.ZAP_ENDPOINT)
        count = 500
        for _ in range(count):
            asking.send_multipart(request(key=KeyPair.make().public)[1:])

        def are_counted() -> bool:
            house.security.answer_handshakes()
            return house.counters["refused_handshakes"] == count

        wait_for(are_counted, "every refusal to be counted")
    lines = house.log.of("client_refused")
    assert len(lines) == LOGGED_MAX
    assert len({line["fingerprint"] for line in lines}) == LOGGED_MAX
    assert lines[0]["address"] == "10.0.0.9"
    now[0] += security.LOG_WINDOW_S
    house.security.reload()
    house.security.reload()
    told = {"event": "refusals_not_logged", "count": count - LOGGED_MAX, "within_s": security.LOG_WINDOW_S}
    assert house.log.of("refusals_not_logged") == [told]
