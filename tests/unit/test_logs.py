"""Logs: on stderr only, JSON where nobody reads along, readable on a terminal, one line each."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from actors.logs import configure_logging
from protocol.logs import Log
from protocol.settings import LoggingSettings
configure_logging(LoggingSettings(format=sys.argv[1], level=sys.argv[2]))
assert "structlog" not in sys.modules, "it is imported with the first line"
log = Log(child="risk")
log.debug("fine_detail")
log.info("trading_halted", reason="two\\nlines")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("actor_failed")
print("data")
"""


def lines_of(format: str, level: str = "info") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, format, level], capture_output=True, text=True, check=True
    )
    assert done.stdout == "data\n", "stdout is for data"
    return done.stderr.splitlines()


@pytest.mark.parametrize("format", ["json", "auto"])
def test_away_from_a_terminal_every_line_is_one_json_object(format: str) -> None:
    halted, failed = [json.loads(line) for line in lines_of(format)]
    assert (halted["event"], halted["level"], halted["child"]) == ("trading_halted", "info", "risk")
    assert halted["reason"] == "two\nlines"
    assert halted["timestamp"].endswith("Z")
    assert failed["level"] == "error"
    assert "ZeroDivisionError: division by zero" in failed["exception"]


@pytest.mark.parametrize(
    ("level", "events"),
    [("debug", ["fine_detail", "trading_halted", "actor_failed"]), ("info", ["trading_halted", "actor_failed"]),
     ("warning", ["actor_failed"]), ("error", ["actor_failed"])],
)  # fmt: skip
def test_what_is_below_the_level_is_not_written(level: str, events: list[str]) -> None:
    assert [json.loads(line)["event"] for line in lines_of("json", level)] == events


def test_console_lines_are_for_people() -> None:
    first = lines_of("console")[0]
    assert "trading_halted" in first
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)


def test_on_a_terminal_auto_is_for_people() -> None:
    reader, terminal = os.openpty()
    command = [sys.executable, "-c", PROGRAM, "auto", "warning"]
    subprocess.run(command, stderr=terminal, stdout=subprocess.PIPE, check=True)
    shown = os.read(reader, 65536).decode()
    os.close(reader)
    os.close(terminal)
    assert "actor_failed" in shown
    assert not shown.startswith("{")
