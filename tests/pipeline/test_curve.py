"""A real engine under CURVE: who is let in at its three sockets, and what becomes of it while the list changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from curve import Secure, add_client, curve_tree, guest, make_keys, strangers
from harness import DEADLINE_S, EngineUnderTest, Tree, to_toml, wait_for

from protocol.client import ControlClient
from protocol.errors import ExitCode, NoAnswerError, RefusedError
from protocol.key_files import KeyDirectory
from protocol.keys import ClientKeys, KeyPair, Role, fingerprint
from protocol.settings import parse_config
from supervisor.engine import Engine

FEEDS = ("telemetry", "broadcast")


class Curve:
    def __init__(self, directory: Path) -> None:
        self.engine = EngineUnderTest(directory, curve_tree())
        self.operator, self.observer = make_keys(self.engine)

    def client(self, keys: ClientKeys | None, timeout_s: float = DEADLINE_S) -> ControlClient:
        return ControlClient(self.engine.endpoint("command"), timeout_s, keys=keys)

    def ask(self, keys: ClientKeys | None, text: str = "PING") -> Tree:
        with self.client(keys) as client:
            return client.request(text)

    def is_let_in(self, keys: ClientKeys) -> bool:
        try:
            return self.ask(keys)["status"] == "ok"
        except RefusedError:
            return False

    def is_kept_out(self, keys: ClientKeys) -> bool:
        """The gateway's present life has refused somebody; whoever is let in gets an answer, and that is an error."""
        with self.client(keys, 0.2) as client, pytest.raises(NoAnswerError):
            client.ping()
        return self.counter("refused_handshakes") > 0

    def hears(self, which: str, secure: Secure) -> bool:
        with guest(zmq.SUB, self.engine.endpoint(which), secure) as made:
            return made.let_in() and bool(made.socket.recv())

    def health(self) -> Tree:
        with self.engine.client as client:
            return client.health()

    def counter(self, name: str) -> int:
        return self.engine.row("gateway")["counters"].get(name, -1)


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Curve]:
    made = Curve(tmp_path_factory.mktemp("curve"))
    with made.engine:
        yield made


def test_an_operator_hears_both_feeds_and_has_every_verb_on_tcp(curve: Curve) -> None:
    for which in FEEDS:
        assert curve.hears(which, curve.operator.secure)
    taken = wait_for(lambda: curve.ask(curve.operator, "DEPOSIT 1 a gift id=gift").get("lsn"), "it is on disk")
    assert curve.ask(curve.operator, "DEPOSIT 1 a gift id=gift")["lsn"] == taken
    objections = {verb: curve.ask(curve.operator, f"{verb} nobody")["response"] for verb in ("PARK", "CANCEL")}
    assert not [text for text in objections.values() if "control socket" in text]


def test_an_observer_hears_both_feeds_and_may_command_nothing(curve: Curve) -> None:
    for which in FEEDS:
        assert curve.hears(which, curve.observer.secure)
    for verb in ("PING", "STATUS", "HALT"):
        with pytest.raises(RefusedError, match=fingerprint(curve.observer.pair.public)):
            curve.ask(curve.observer, verb)
    assert curve.health()["trading_state"]["state"] == "ACTIVE"


@pytest.mark.parametrize("name", strangers("", ClientKeys(KeyPair("", ""), "")))
def test_a_stranger_is_refused_at_every_socket(curve: Curve, name: str) -> None:
    secure = strangers(curve.operator.server, curve.operator)[name]
    for which in FEEDS:
        with guest(zmq.SUB, curve.engine.endpoint(which), secure) as made:
            assert not made.let_in()
    with guest(zmq.REQ, curve.engine.endpoint("command"), secure) as made:
        assert not made.let_in()


def test_the_client_says_why_it_is_refused(curve: Curve) -> None:
    other = KeyPair.make()
    with pytest.raises(RefusedError, match=f"{fingerprint(other.public)}.*not on its list"):
        curve.ask(ClientKeys(other, curve.operator.server))
    with pytest.raises(RefusedError, match=r"wants a key.*\$SEAWALL_KEY"):
        curve.ask(None)
    wrong = ClientKeys(curve.operator.pair, other.public)
    with curve.client(wrong, 0.3) as client, pytest.raises(Exception, match="engine's public key"):
        client.ping()


def test_the_control_socket_needs_no_key(curve: Curve) -> None:
    """It is private by its directory."""
    with curve.engine.client as client:
        assert client.ping()["response"] == "PONG"


def test_the_command_line_takes_its_keys_from_the_environment_or_the_config(
    curve: Curve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ping(*words: str) -> tuple[int, str]:
        done = curve.engine.cli("ping", *words, "--endpoint", curve.engine.endpoint("command"))
        return done.returncode, done.stdout + done.stderr

    code, text = ping()
    assert (code, "wants a key" in text) == (ExitCode.FAILURE, True)
    assert ping("seawall.toml") == (ExitCode.OK, "PONG\n")
    key_file = curve.engine.directory / "mine.key"
    key_file.write_text(f"secret {curve.operator.pair.secret}\n")
    key_file.chmod(0o600)
    monkeypatch.setenv("SEAWALL_KEY", str(key_file))
    code, text = ping()
    assert (code, "SEAWALL_SERVER_KEY" in text) == (ExitCode.USAGE, True)
    for server in (curve.operator.server, "keys/server.pub"):
        monkeypatch.setenv("SEAWALL_SERVER_KEY", server)
        assert ping() == (ExitCode.OK, "PONG\n")
    key_file.chmod(0o640)
    code, text = ping()
    assert (code, "0640" in text) == (ExitCode.USAGE, True)


def test_the_list_holds_from_the_second_in_which_it_is_written(tmp_path: Path) -> None:
    curve = Curve(tmp_path)
    with curve.engine as engine, guest(zmq.REQ, engine.endpoint("command"), curve.operator.secure) as living:
        living.socket.send(b"PING")
        assert json.loads(living.socket.recv())["response"] == "PONG"
        # Refused, with its fingerprint in the log and counted in health.
        stranger = ClientKeys(KeyPair.make(), curve.operator.server)
        assert not curve.is_let_in(stranger)
        wait_for(
            lambda: engine.log_events("client_refused", fingerprint=fingerprint(stranger.pair.public)), "it is logged"
        )
        wait_for(lambda: curve.counter("refused_handshakes") == 1, "it is counted")
        # Added, and let in without a restart.
        added = add_client(engine, "you", Role.OPERATOR)
        wait_for(lambda: curve.is_let_in(added), "a client that was added to be let in")
        # Wrong: the last good one holds, and is told of once.
        clients = KeyDirectory(engine.directory / "keys").list
        good = clients.read_text()
        clients.write_text(good + "admin x y\n")
        wait_for(lambda: [text for text in curve.health()["warnings"] if "list of keys" in text], "a warning")
        assert curve.is_let_in(added)
        assert len(engine.log_events("key_list_unusable")) == 1
        # A gateway that dies now comes back closed, and open when the list is right: who was in comes again by himself.
        engine.kill_and_wait_ready("gateway")
        wait_for(lambda: curve.is_kept_out(added), "its next life to refuse")
        # So does one that an operator has asked for: trading goes on.
        lives = len(engine.log_events("child_ready", name="gateway"))
        assert engine.cli("restart", "gateway", "--run-dir", str(engine.run_dir)).returncode == 0
        wait_for(lambda: len(engine.log_events("child_ready", name="gateway")) > lives, "the one that was asked for")
        wait_for(lambda: curve.is_kept_out(added), "that one to refuse, too")
        clients.write_text(good)
        wait_for(lambda: curve.is_let_in(added), "the list to be read")
        # Removed: its commands are refused, on a connection that lives too; who is on the list stays.
        living.socket.send(b"PING")
        assert json.loads(living.socket.recv())["response"] == "PONG"
        KeyDirectory(engine.directory / "keys").remove("me")
        wait_for(lambda: not curve.is_let_in(curve.operator), "what was removed to be refused")
        living.socket.send(b"HALT")
        reply = json.loads(living.socket.recv())
        assert (reply["status"], "is not on the list" in reply["response"]) == ("error", True)
        assert curve.is_let_in(added)
        assert curve.health()["trading_state"]["state"] == "ACTIVE"
        assert engine.stop() == 0


def test_an_engine_whose_keys_are_wrong_does_not_start(tmp_path: Path) -> None:
    engine = EngineUnderTest(tmp_path, curve_tree())
    try:
        make_keys(engine)
        KeyDirectory(tmp_path / "keys").secret.chmod(0o644)
        checked = engine.cli("check", "seawall.toml")
        engine.start()
        assert engine.wait() == checked.returncode == ExitCode.USAGE
        for text in (checked.stderr, engine.log_text()):
            assert "gateway.curve.keys = 'keys': keys/server.key: mode 0644" in text
    finally:
        engine.close()


def test_in_one_process_a_key_is_let_in_and_a_wrong_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All actors share a ZeroMQ context then, and the pipes with it."""
    monkeypatch.chdir(tmp_path)
    keys = KeyDirectory("keys")
    made = EngineUnderTest(tmp_path, curve_tree())
    operator, _ = make_keys(made)
    made.close()
    assert keys.read_list()
    with Engine(parse_config(to_toml(made.tree)), inproc=True):
        with ControlClient(made.endpoint("command"), keys=operator) as client:
            assert client.ping()["response"] == "PONG"
        with guest(zmq.SUB, made.endpoint("telemetry"), operator.secure) as feed:
            assert feed.let_in()
        for name, secure in strangers(operator.server, operator).items():
            with guest(zmq.REQ, made.endpoint("command"), secure) as stranger:
                assert not stranger.let_in(), name
