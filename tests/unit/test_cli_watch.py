"""`--watch`: block below block in a pipe, in place on a terminal, patient with an engine that goes away."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import DEADLINE_S, wait_for
from small_engines import STATUS, engine, health, seawall

from supervisor.cli.looking_verbs import with_seconds

WORDS = (sys.executable, "-m", "supervisor.cli.main")
SCREEN, LEFT = "\x1b[?1049h", "\x1b[?1049l"
"""To the alternate screen, and back. Source: xterm's control sequences."""


class Watched:
    """A `seawall` that runs, and what it has written by now."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process, self.directory = process, directory

    def out(self) -> str:
        return (self.directory / "out").read_text()

    def err(self) -> str:
        return (self.directory / "err").read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)


@contextmanager
def watched(directory: Path, *words: str | Path) -> Iterator[Watched]:
    with open(directory / "out", "wb") as out, open(directory / "err", "wb") as err:
        process = subprocess.Popen([*WORDS, *map(str, words)], stdout=out, stderr=err)
    try:
        yield Watched(process, directory)
    finally:
        process.kill()
        process.wait()


def test_in_a_pipe_one_block_follows_the_other_and_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    with (
        engine(tmp_path / "run", HEALTH=health("REDUCING", "parked")),
        watched(tmp_path, "status", "--watch", "0.1", "--run-dir", tmp_path / "run") as watching,
    ):
        wait_for(lambda: watching.out().count("Warning: risk is parked") > 2, "three blocks")
        assert watching.interrupt() == 0
    blocks = [block for block in watching.out().split("\n\n2") if block]
    assert all(" UTC\ndemo: REDUCING by operator" in block for block in blocks)
    assert all("AAPL[x]" in block for block in blocks[:-1])
    assert "\x1b" not in watching.out()
    assert watching.err() == ""


def test_an_engine_that_goes_away_is_said_once_and_waited_for(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with watched(tmp_path, "positions", "--watch", "0.1", "--run-dir", run_dir) as watching:
        wait_for(lambda: "Waiting for it" in watching.err(), "the word that none is there yet")
        with engine(run_dir):
            wait_for(lambda: "AAPL[x]" in watching.out(), "a block")
        wait_for(lambda: "it last answered at" in watching.err(), "the word that it is gone")
        (run_dir / "ipc").rename(tmp_path / "before")
        seen = len(watching.out())
        with engine(run_dir):
            wait_for(lambda: "AAPL[x]" in watching.out()[seen:], "a block of the next")
            assert watching.interrupt() == 0
    lines = watching.err().splitlines()
    assert len(lines) == 2, lines
    assert lines[0] == f"no engine is running in {run_dir}. Waiting for it; Ctrl-C ends this."


def test_json_is_a_reply_a_line(tmp_path: Path) -> None:
    with (
        engine(tmp_path / "run"),
        watched(tmp_path, "status", "-o", "json", "--watch", "0.1", "--run-dir", tmp_path / "run") as watching,
    ):
        wait_for(lambda: watching.out().count("\n") > 1, "two lines")
        assert watching.interrupt() == 0
    assert set(watching.out().splitlines()) == {json.dumps(STATUS, separators=(",", ":"))}


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_it_is_drawn_in_place_in_colour_and_the_last_stays(
    variables: dict[str, str], coloured: bool, tmp_path: Path
) -> None:
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": "100", **variables}
    words = [*WORDS, "status", "--watch", "0.1", "--run-dir", str(tmp_path / "run")]
    with engine(tmp_path / "run", HEALTH=health("HALTED")):
        terminal, theirs = pty.openpty()
        process = subprocess.Popen(words, stdin=theirs, stdout=theirs, env=environment)
        os.close(theirs)
        text, interrupted = "", False
        while data := _read(terminal):
            text += data
            if text.count("Ctrl-C ends it") > 2 and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
        os.close(terminal)
        assert process.wait(DEADLINE_S) == 0
    assert text.startswith(SCREEN)
    drawn, left = text.split(LEFT)
    assert "demo: HALTED by operator" in left
    assert "AAPL[x]" in left
    assert ("\x1b[1;31mdemo: HALTED" in drawn) is coloured
    assert ("[31m" in text or "[32m" in text) is coloured


def _read(terminal: int) -> str:
    """Source: pty(7): the other end is closed, and Linux says EIO."""
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--watch"], ["--watch=1"]),
        (["--watch", "2.5", "c.toml"], ["--watch", "2.5", "c.toml"]),
        (["--watch", "c.toml"], ["--watch=1", "c.toml"]),
        (["--watch", "--run-dir", "2"], ["--watch=1", "--run-dir", "2"]),
        (["--watch=3"], ["--watch=3"]),
        (["--watch", "0"], ["--watch", "0"]),
    ],
)
def test_the_seconds_may_be_left_out_before_anything(words: list[str], meant: list[str]) -> None:
    assert with_seconds(words) == meant


@pytest.mark.parametrize("words", [("--watch", "0"), ("--watch", "nan"), ("--check", "--watch")])
def test_what_cannot_be_watched_is_a_usage_error(words: tuple[str, ...], tmp_path: Path) -> None:
    with engine(tmp_path / "run"):
        assert seawall("status", "--run-dir", tmp_path / "run", *words).exit_code == 2
