"""How far a file has been run: what is reckoned, when it is said, where it goes."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
import structlog

from protocol.messages import Statistics
from supervisor.progress import (
    LOG_EVERY_S,
    RATE_OVER_S,
    LogLines,
    Progress,
    ProgressMeter,
    ProgressTeller,
    TerminalLine,
    make_teller,
    show_left,
    show_rate,
)

TIME_US = 1_577_916_000_000_000
ALL = 2**62
"""Everybody is done with all that was read."""


def said(ticks: int, *, done: int = 0, total: int = 0, at_end: bool = False) -> Statistics:
    position = 3 * (ticks + at_end) + 2
    counters = {"work_done": done, "work_total": total, "data_time_us": TIME_US}
    return Statistics(0, position, at_end, 0, counters if total else {})


def test_the_share_is_of_the_work_and_the_time_left_as_the_run_has_gone_so_far() -> None:
    meter = ProgressMeter(100.0)
    assert meter.look(said(1000, done=10, total=100), ALL, 102.0) == (1000, TIME_US, 500.0, 0.1, 18.0)
    assert meter.look(said(3000, done=30, total=100), ALL, 104.0) == (3000, TIME_US, 750.0, 0.3, 4.0 * 0.7 / 0.3)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = ProgressMeter(0.0)
    for second in range(1, 11):
        meter.look(said(second * 1_000_000), ALL, float(second))
    slow = [meter.look(said(10_000_000 + second * 10), ALL, 10.0 + second) for second in range(1, 8)]
    assert slow[-1].ticks_per_s == 10
    assert RATE_OVER_S < 7


def test_a_source_that_does_not_say_how_much_there_is_has_no_share_and_no_time_left() -> None:
    assert ProgressMeter(0.0).look(said(10), ALL, 1.0) == (10, 0, 10.0, None, None)


def test_what_was_read_counts_when_everybody_is_done_with_it() -> None:
    meter = ProgressMeter(0.0)
    assert meter.look(said(1000, done=50, total=100), 3 * 500 + 2, 1.0)[:4] == (500, TIME_US, 500.0, 0.25)
    range_is_read = said(1000, done=60, total=100, at_end=True)
    assert meter.look(range_is_read, 3 * 900 + 2, 2.0)[3] == 0.9
    assert meter.look(said(0, done=50, total=100), 0, 3.0)[:4] == (0, TIME_US, 0.0, 0.0)


def test_the_end_of_the_file_is_no_tick_and_no_more_than_all() -> None:
    at_end = said(480, done=120, total=100, at_end=True)
    assert ProgressMeter(0.0).look(at_end, ALL, 1.0)[:4] == (480, TIME_US, 480.0, 1.0)


class Shown:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.closed = 0

    def show(self, progress: Progress) -> None:
        self.times.append(CLOCK[0])
        self.ticks = progress.ticks

    def close(self) -> None:
        self.closed += 1


CLOCK = [0.0]


def test_nothing_is_said_of_a_short_run_and_after_that_at_most_so_often() -> None:
    CLOCK[0], shown = 0.0, Shown()
    teller = ProgressTeller(shown, after_s=10.0, every_s=10.0, clock=lambda: CLOCK[0])
    for quarter in range(1, 161):
        CLOCK[0] = quarter / 4
        teller.look(said(quarter) if quarter != 80 else None, [])
    assert shown.times == [10.0, 20.25, 30.25]
    teller.close()
    assert shown.closed == 1


def test_the_slowest_says_how_far_the_run_is() -> None:
    shown = Shown()
    teller = ProgressTeller(shown, after_s=0.0, every_s=0.0, clock=lambda: 0.0)
    teller.look(said(1000), [said(900), said(300), said(1000)])
    assert shown.ticks == 300


def test_off_a_terminal_it_is_a_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log: Any = structlog.get_logger()
    teller = make_teller(log)
    assert isinstance(teller._display, LogLines)
    assert teller._every_s == LOG_EVERY_S
    with structlog.testing.capture_logs() as logs:
        teller._display.show(Progress(1234, TIME_US, 99.6, 0.4321, 61.7))
        teller._display.show(Progress(1234, 0, 99.6, None, None))
    assert logs == [
        {"event": "progress", "log_level": "info", "ticks": 1234, "data_time": "2020-01-01 22:00:00",
         "ticks_per_s": 100, "percent": 43.2, "left_s": 62},
        {"event": "progress", "log_level": "info", "ticks": 1234, "data_time": "", "ticks_per_s": 100,
         "percent": None, "left_s": None},
    ]  # fmt: skip


def read_all(terminal: int) -> str:
    """What was written to it; nobody has its other end any more."""
    pieces: list[bytes] = []
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65_536):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_on_a_terminal_it_is_one_line_that_goes_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    main, end = pty.openpty()
    try:
        with os.fdopen(end, "w") as stream:
            monkeypatch.setenv("COLUMNS", "100")
            monkeypatch.setenv("TERM", "xterm")
            monkeypatch.setattr(sys, "stderr", stream)
            teller = make_teller(None)
            assert isinstance(teller._display, TerminalLine)
            for share in (0.25, 0.5):
                teller._display.show(Progress(int(4_000_000 * share), TIME_US, 1.23e6, share, 3.0))
            teller.close()
        text = read_all(main)
    finally:
        os.close(main)
    assert "1,000,000 ticks" in text
    assert "2,000,000 ticks" in text
    assert "2020-01-01 22:00:00" in text
    assert "1.23 M/s" in text
    assert "50 %, 0:03 left" in text
    assert "\n" not in text[: text.index("50 %")], "drawn in its place"
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h"), "the cursor is back"


def test_a_terminal_that_has_gone_is_left_alone() -> None:
    main, end = pty.openpty()
    stream = os.fdopen(end, "w")
    line = TerminalLine(stream)
    line.show(Progress(1, 0, 1.0, None, None))
    os.close(main)
    line.show(Progress(2, 0, 1.0, None, None))
    line.close()
    with pytest.raises(OSError, match="Input/output"):  # what the line has swallowed, the stream still has to say
        stream.close()


@pytest.mark.parametrize(
    ("per_s", "text"), [(0, "0"), (999, "999"), (1000, "1 k"), (512_345, "512 k"), (1_234_567, "1.23 M")]
)
def test_a_rate_has_three_digits(per_s: float, text: str) -> None:
    assert show_rate(per_s) == text


@pytest.mark.parametrize(
    ("share", "left_s", "text"),
    [(None, 1.0, ""), (0.5, None, "50 %"), (0.5, 65.2, "50 %, 1:05 left"), (0.01, 7325, "1 %, 2:02:05 left")],
)
def test_time_left_is_shown_as_a_clock(share: float | None, left_s: float | None, text: str) -> None:
    assert show_left(share, left_s) == text


def test_a_start_waits_for_neither_rich_nor_numpy() -> None:
    code = "import sys, supervisor.engine; print([name for name in ('rich', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
