"""Alerts out: which are told, how often, and that a bad hook harms nobody. Real commands, a real HTTP server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from harness import wait_for

from supervisor.dashboard.alerts import Alerts, Gate, Hook, address_hook, command_hook
from supervisor.dashboard.notices import Notice

HALTED = Notice(5, "error", "halted", "HALTED by risk: enough")


@contextmanager
def alerts(hook: Hook, said: list[str], kinds: tuple[str, ...] = ("halted",), every_s: float = 0.0) -> Iterator[Alerts]:
    made = Alerts("demo", [hook], said.append, kinds, every_s)
    made.start()
    try:
        yield made
    finally:
        made.close()


def test_one_of_a_kind_in_a_while_and_the_last_word_always_comes() -> None:
    gate = Gate(["halted", "child"], 60.0)

    def told(now_s: float, *texts: str, kind: str = "halted") -> list[tuple[str, int]]:
        for text in texts:
            gate.take(Notice(0, "error", kind, text))
        return [(notice.text, more) for notice, more in gate.due(now_s)]

    assert told(0.0, "a") == [("a", 0)]
    assert told(1.0, "b", "c") == []
    assert told(2.0, "x", kind="child") == [("x", 0)], "one kind does not hold back another"
    assert told(59.0, "d") == []
    assert told(60.0) == [("d", 2)], "the newest, though nothing more has come"
    assert told(61.0) == []
    assert told(62.0, "not asked for", kind="refused") == []
    assert told(63.0, "e") == []
    assert [notice.text for notice, _ in gate.due(64.0, is_last=True)] == ["e"]


def test_a_command_has_the_alert_as_a_line_of_json_on_its_input(tmp_path: Path) -> None:
    said: list[str] = []
    with alerts(command_hook(f"cat >> {tmp_path}/told"), said, every_s=3600.0) as running:
        running.take(HALTED)
        running.take(Notice(6, "info", "refused", "not wanted"))
        wait_for(lambda: (tmp_path / "told").exists(), "the first")
        running.take(HALTED)
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    told = {"engine": "demo", "time_us": 5, "level": "error", "kind": "halted", "text": HALTED.text, "more": 0}
    assert lines == [told, told], "what is held back is told at the end"
    assert said == []


class Receiver(BaseHTTPRequestHandler):
    got: list[bytes]

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204 if self.path == "/alerts" else 500)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []
    server = HTTPServer(("127.0.0.1", 0), type("One", (Receiver,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_gets_it_posted_and_one_that_refuses_is_complained_of(receiver: tuple[str, list[bytes]]) -> None:
    url, got = receiver
    said: list[str] = []
    with alerts(address_hook(f"{url}/alerts"), said) as running:
        running.take(HALTED)
        wait_for(lambda: got, "the alert")
    assert json.loads(got[0])["text"] == HALTED.text
    with alerts(address_hook(f"{url}/nowhere"), said) as running:
        running.take(HALTED)
        wait_for(lambda: said, "the complaint")
    assert HALTED.text in said[0]
    assert "500" in said[0]


@pytest.mark.parametrize("command", ["exit 3", "no-such-command-here"])
def test_a_command_that_fails_is_complained_of_and_the_next_is_told(command: str, tmp_path: Path) -> None:
    said: list[str] = []
    with alerts(command_hook(f"echo x >> {tmp_path}/told; {command}"), said) as running:
        for number in (1, 2):
            running.take(HALTED)
            wait_for(lambda number=number: len(said) == number or None, "the complaint")
    assert (tmp_path / "told").read_text() == "x\nx\n"


def test_a_server_that_answers_garbage_ends_nothing() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(b"garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with alerts(address_hook(f"http://127.0.0.1:{server.getsockname()[1]}/"), said) as running:
            for number in (1, 2):
                running.take(HALTED)
                wait_for(lambda number=number: len(said) == number or None, "the complaint")
        thread.join()


def test_behind_a_hook_that_hangs_nobody_waits_and_the_newest_is_told() -> None:
    said: list[str] = []
    told: list[str] = []
    gate, begun = threading.Event(), threading.Event()

    def hang(alert: bytes) -> None:
        begun.set()
        gate.wait()
        told.append(json.loads(alert)["text"])

    with alerts(hang, said) as running:
        running.take(Notice(1, "error", "halted", "first"))
        assert begun.wait(60)
        for number in range(1000):
            running.take(Notice(1, "error", "halted", f"{number}"))
        gate.set()
        wait_for(lambda: len(told) == 2 or None, "the newest")
    assert told == ["first", "999"]
    assert said == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://a b/", "nonsense"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        address_hook(url)
