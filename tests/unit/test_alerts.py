"""Alerts out: which are told, how often, and that a bad hook harms nobody. Real commands, a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from harness import wait_for

from supervisor.dashboard.alerts import WAITING_MAX, Alerts, Gate, Hook, address_hook, command_hook
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


def test_one_of_a_kind_in_a_while_with_the_number_of_those_held_back() -> None:
    gate = Gate(["halted", "child"], 60.0)
    assert [gate.passes("halted", at) for at in (0.0, 1.0, 59.0, 60.0, 61.0, 200.0)] == [0, None, None, 2, None, 1]
    assert gate.passes("child", 0.0) == 0, "one kind does not hold back another"
    assert gate.passes("refused", 0.0) is None, "not asked for"


def test_a_command_has_the_alert_as_a_line_of_json_on_its_input(tmp_path: Path) -> None:
    said: list[str] = []
    with alerts(command_hook(f"cat >> {tmp_path}/told"), said) as running:
        running.take(HALTED)
        running.take(Notice(6, "info", "refused", "not wanted"))
        running.take(HALTED)
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    told = {"engine": "demo", "time_us": 5, "level": "error", "kind": "halted", "text": HALTED.text, "more": 0}
    assert lines == [told, told]
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
        running.take(HALTED)
        running.take(HALTED)
        wait_for(lambda: len(said) == 2, "both complaints")
    assert (tmp_path / "told").read_text() == "x\nx\n"


def test_behind_a_hook_that_hangs_a_limited_number_waits_and_nobody_else_does() -> None:
    said: list[str] = []
    gate, begun = threading.Event(), threading.Event()

    def hang(alert: bytes) -> None:
        begun.set()
        gate.wait()

    with alerts(hang, said) as running:
        running.take(HALTED)
        assert begun.wait(60)
        for _ in range(WAITING_MAX + 5):
            running.take(HALTED)
        assert running.dropped == 5
        assert len(said) == 5
        gate.set()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="http://"):
        address_hook("file:///etc/passwd")
