"""The client: one request, one reply, or a plain word about why there is none. The peers are real sockets."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from gateways import gateway, held_lock

from protocol.client import ControlClient, control_endpoint, engine_pid, process_is_alive
from protocol.errors import GatewayError, NoAnswerError, NotRunningError


def _ok(text: bytes) -> bytes:
    return b'{"status":"ok","response":"%s"}' % text


def test_a_request_is_one_frame_of_text_and_the_reply_comes_back_as_it_is() -> None:
    with gateway(_ok) as (endpoint, got), ControlClient(endpoint) as client:
        assert client.request("PING") == {"status": "ok", "response": "PING"}
        assert client.request("HALT für heute".strip())["response"] == "HALT für heute"
    assert got == [b"PING", "HALT für heute".encode()]


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (ControlClient.ping, b"PING"),
        (ControlClient.status, b"STATUS"),
        (ControlClient.halt, b"HALT"),
        (lambda client: client.halt("too fast"), b"HALT too fast"),
        (ControlClient.health, b"HEALTH"),
        (ControlClient.orders, b"ORDERS"),
        (ControlClient.symbols, b"SYMBOLS"),
        (ControlClient.account, b"ACCOUNT"),
    ],
)
def test_every_helper_sends_its_verb(call: Callable[[ControlClient], object], sent: bytes) -> None:
    with gateway(_ok) as (endpoint, got), ControlClient(endpoint) as client:
        call(client)
    assert got == [sent]


def test_an_error_reply_is_returned_by_request_and_raised_by_helpers() -> None:
    with gateway(lambda _: b'{"status":"error","response":"no such thing"}') as (endpoint, _):
        client = ControlClient(endpoint)
        assert client.request("PING")["status"] == "error"
        with pytest.raises(GatewayError, match="no such thing"):
            client.ping()
        client.close()


@pytest.mark.parametrize("frame", [b"hello", b"[1]", b"\xff", b""])
def test_a_reply_that_is_no_json_object_is_the_gateways_mistake(frame: bytes) -> None:
    with gateway(lambda _: frame) as (endpoint, _), ControlClient(endpoint) as client:  # noqa: SIM117
        with pytest.raises(GatewayError, match="no JSON") as caught:
            client.ping()
    assert not isinstance(caught.value, NotRunningError | NoAnswerError)


def test_a_peer_that_does_not_answer_is_no_answer_and_the_next_request_works() -> None:
    answers = iter([None, b'{"status":"ok","response":"PONG"}'])
    with gateway(lambda _: next(answers)) as (endpoint, _), ControlClient(endpoint, timeout_s=0.1) as client:
        with pytest.raises(NoAnswerError, match=r"0\.1 s"):
            client.ping()
        client.timeout_s = 10.0
        assert client.ping()["response"] == "PONG"


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    """The first request is answered only when the second one is there; each socket has its own answer."""
    held: list[bytes] = []

    def late(text: bytes) -> bytes | None:
        held.append(text)
        return None if len(held) == 1 else _ok(text)

    with gateway(late) as (endpoint, _), ControlClient(endpoint, timeout_s=0.1) as client:
        with pytest.raises(NoAnswerError):
            client.request("FIRST")
        client.timeout_s = 10.0
        assert client.request("SECOND")["response"] == "SECOND"


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_a_refused_connection_is_not_running(scheme: str, tmp_path: Path) -> None:
    if scheme == "tcp":
        with socket.socket() as taken:  # bound but not listening: refuses, and nobody else gets the port
            taken.bind(("127.0.0.1", 0))
            _expect_not_running(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    else:
        _expect_not_running(f"ipc://{tmp_path}/control")


def _expect_not_running(endpoint: str) -> None:
    with ControlClient(endpoint, timeout_s=60.0) as client, pytest.raises(NotRunningError, match=endpoint):
        client.ping()


@pytest.mark.parametrize("endpoint", ["", "5556", "tcp://", "tcp://127.0.0.1:port", "http://127.0.0.1:80"])
def test_what_is_no_endpoint_is_said_to_be_none(endpoint: str) -> None:
    with ControlClient(endpoint) as client, pytest.raises(GatewayError, match="is no endpoint"):
        client.ping()


def test_an_unanswered_request_is_never_delivered_later() -> None:
    """A HALT that nobody took must not stop the engine that is started an hour later."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        client = ControlClient(endpoint)
        with pytest.raises(NotRunningError):
            client.halt()
    with gateway(_ok, endpoint) as (_, got):
        client.ping()
    client.close()
    assert got == [b"PING"]


def test_a_run_dir_without_a_held_lock_is_not_running(tmp_path: Path) -> None:
    assert engine_pid(tmp_path / "nowhere") is None
    assert engine_pid(tmp_path) is None
    (tmp_path / "lock").write_text(str(os.getpid()))
    assert engine_pid(tmp_path) is None, "the lock decides, not the pid in the file"
    with pytest.raises(NotRunningError, match=str(tmp_path)):
        ControlClient.for_run_dir(tmp_path)


@pytest.mark.parametrize(("content", "pid"), [("4711\n", 4711), ("4711", 4711), ("", 0), ("x", 0)])
def test_a_held_lock_is_a_running_engine(tmp_path: Path, content: str, pid: int) -> None:
    with held_lock(tmp_path, content):
        assert engine_pid(tmp_path) == pid
    assert engine_pid(tmp_path) is None


def test_the_probe_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert engine_pid(tmp_path) is None
    with open(tmp_path / "lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_running_engine_without_a_gateway_is_no_answer(tmp_path: Path) -> None:
    """The gateway may be in a restart: the socket is gone, the engine is not."""
    with held_lock(tmp_path, "1"), ControlClient.for_run_dir(tmp_path, timeout_s=0.1) as client:  # noqa: SIM117
        with pytest.raises(NoAnswerError):
            client.ping()


def test_a_gateway_that_comes_back_within_the_timeout_answers(tmp_path: Path) -> None:
    (tmp_path / "ipc").mkdir()
    with held_lock(tmp_path, "1"), ControlClient.for_run_dir(tmp_path, timeout_s=30.0) as client:
        replies: list[object] = []
        asking = threading.Thread(target=lambda: replies.append(client.ping()))
        asking.start()
        with gateway(_ok, control_endpoint(tmp_path)):
            asking.join()
    assert replies == [{"status": "ok", "response": "PING"}]


def test_the_control_endpoint_follows_the_link_to_a_short_directory(tmp_path: Path) -> None:
    assert control_endpoint(tmp_path) == f"ipc://{tmp_path}/ipc/control"
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(GatewayError, match="longer than 107 bytes"):
        control_endpoint(deep)
    short = tmp_path / "s"
    short.mkdir()
    (deep / "ipc").symlink_to(short)
    assert control_endpoint(deep) == f"ipc://{short.resolve()}/control"


def test_a_process_that_only_waits_to_be_reaped_is_not_alive() -> None:
    assert process_is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process_is_alive(child.pid)
    child.communicate()
    assert not process_is_alive(child.pid)
