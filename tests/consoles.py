"""`seawall dash` as a process beside an engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from harness import DEADLINE_S, EngineUnderTest, wait_for

TOKEN: Final = "a-token-for-tests"


class Console:
    """Runs until the end of its context; its port is the system's choice."""

    def __init__(
        self, engine: EngineUnderTest, *arguments: str, token: str = TOKEN, named: Sequence[str] = ("--run-dir", "run")
    ) -> None:
        self.engine = engine
        self.arguments = (*named, *arguments)
        self.token = token
        self.log_path: Path = engine.directory / "dash.log"

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "supervisor.cli.main", "dash", "--listen", "127.0.0.1:0"]
        environment = self.engine.environment() | {"SEAWALL_DASH_TOKEN": self.token}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=self.engine.directory, env=environment, stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        """With its token, if it has one."""
        assert self.address.startswith("http://"), self.log_path.read_text()
        self.url = self.address.partition("#")[0].rstrip("/")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        assert self.process.wait(DEADLINE_S) == 0, self.log_path.read_text()
        assert self.process.stdout is not None
        self.process.stdout.close()
        log = self.log_path.read_text()
        assert "Traceback" not in log, log

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self._fetch(urllib.request.Request(self.url + path, headers=headers))

    def command(self, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """POST to /api/command: with the token, unless the headers say otherwise."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {"Authorization": f"Bearer {self.token}"} | headers
        code, text = self._fetch(urllib.request.Request(self.url + "/api/command", data, shown))
        return code, json.loads(text)

    def _fetch(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_for_metric(self, line: str) -> str:
        """All metrics, once `line` is among them."""

        def found() -> str:
            text = self.get("/metrics")[1]
            return text if line in text.splitlines() else ""

        return wait_for(found, f"the metric {line}")
