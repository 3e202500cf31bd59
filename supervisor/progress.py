"""How far a file has been run: one line on a terminal, elsewhere a line of the log now and then, always on stderr.

Fed with what the children say of themselves when the supervisor asks; nobody is asked more often for it. What counts is
what the last of those who hear the market is done with: market_data reads ahead of them. A terminal's line
is drawn by rich, which is imported when a run has lasted a moment; the log gets an event `progress`, in its own form.
Nothing here may end a run: a terminal that has gone is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any, Final, NamedTuple, Protocol

from actors.clock import monotonic_s
from protocol.messages import Statistics

LOOK_EVERY_S: Final = 0.25
"""How often the line on a terminal changes."""
TERMINAL_AFTER_S: Final = 0.5
LOG_EVERY_S: Final = 10.0
RATE_OVER_S: Final = 5.0
"""The rate is that of the last so many seconds: strategies may be slower in one place than in another."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Progress(NamedTuple):
    """How far a file has been run."""

    ticks: int
    data_time_us: int
    """Of the newest tick; 0: not known."""
    ticks_per_s: float
    share: float | None
    """0 to 1; None: the source does not say how much there is."""
    left_s: float | None


class ProgressMeter:
    """Rate and time left, from what was said and when."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._seen: deque[tuple[float, int]] = deque([(now_s, 0)])
        """(when, ticks), of the last RATE_OVER_S."""

    def look(self, said: Statistics, reached: int, now_s: float) -> Progress:
        """said: by market_data; reached: the market position with which everybody is done."""
        read = max(said.market_position // 3 - said.at_end, 0)
        ticks = min(reached // 3, read)
        counters: Mapping[str, int] = said.counters
        total = counters.get("work_total", 0)
        share = None
        if total:
            # Behind the end of a date range there may be more in the files.
            share = 1.0 if said.at_end else min(counters.get("work_done", 0) / total, 1.0)
            share *= ticks / read if read else 0.0
        seen = self._seen
        while len(seen) > 1 and now_s - seen[0][0] > RATE_OVER_S:
            seen.popleft()
        before_s, before_ticks = seen[0]
        per_s = max(ticks - before_ticks, 0) / max(now_s - before_s, 1e-9)
        # By the whole run: a source reads in large pieces, so there may be none of them in the last seconds.
        left_s = (now_s - self._began_s) * (1 - share) / share if share else None
        seen.append((now_s, ticks))
        return Progress(ticks, counters.get("data_time_us", 0), per_s, share, left_s)


class Display(Protocol):
    def show(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class ProgressTeller:
    """Shows what there is to show, when it is time; `look` may be called as often as one likes."""

    def __init__(
        self, display: Display, *, after_s: float, every_s: float, clock: Callable[[], float] = monotonic_s
    ) -> None:
        self._display, self._every_s, self._clock = display, every_s, clock
        self._began_s = clock()
        self._due_s = self._began_s + after_s
        self._meter = ProgressMeter(self._began_s)

    def look(self, said: Statistics | None, others: Iterable[Statistics]) -> None:
        now_s = self._clock()
        if said is None or now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        reached = min((other.market_position for other in others), default=said.market_position)
        self._display.show(self._meter.look(said, reached, now_s))

    def close(self) -> None:
        """The line has gone from the terminal."""
        self._display.close()


def make_teller(log: Any) -> ProgressTeller:
    """The right one for where stderr goes."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return ProgressTeller(TerminalLine(sys.stderr), after_s=TERMINAL_AFTER_S, every_s=LOOK_EVERY_S)
    return ProgressTeller(LogLines(log), after_s=LOG_EVERY_S, every_s=LOG_EVERY_S)


class LogLines:
    def __init__(self, log: Any) -> None:
        self._log = log

    def show(self, progress: Progress) -> None:
        share, left_s = progress.share, progress.left_s
        self._log.info(
            "progress",
            ticks=progress.ticks,
            data_time=show_data_time(progress.data_time_us),
            ticks_per_s=round(progress.ticks_per_s),
            percent=None if share is None else round(100 * share, 1),
            left_s=None if left_s is None else round(left_s),
        )

    def close(self) -> None:
        """A log keeps its lines."""


class TerminalLine:
    """One line, drawn anew in its place. The cursor waits at its beginning, so that other processes' log lines, which
    go to the same terminal, write over it rather than behind it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._line: Any = None

    def show(self, progress: Progress) -> None:
        with contextlib.suppress(OSError):
            if self._line is None:
                self._line = _RichLine(self._stream)
            self._line.draw(progress)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self._line is not None:
                self._line.close()
                self._line = None


class _RichLine:
    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console  # late: no start waits for it, and no short run
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._stream = stream
        self._progress = RichProgress(
            TextColumn("{task.fields[ticks]} ticks"),
            TextColumn("{task.fields[time]}", style="dim"),
            TextColumn("{task.fields[rate]}/s"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
            console=Console(file=stream, force_terminal=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, ticks="0", time="", rate="0", left="")
        self._progress.start()

    def draw(self, progress: Progress) -> None:
        share = progress.share
        self._progress.update(
            self._task,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            ticks=f"{progress.ticks:,}",
            time=show_data_time(progress.data_time_us),
            rate=show_rate(progress.ticks_per_s),
            left=show_left(share, progress.left_s),
        )
        self._progress.refresh()
        self._stream.write("\r")
        self._stream.flush()

    def close(self) -> None:
        self._progress.stop()


def show_data_time(time_us: int) -> str:
    """UTC, to the second; "" if it is not known."""
    if time_us <= 0:
        return ""
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return ""


def show_rate(per_s: float) -> str:
    """Three digits: 1.23 M."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if per_s >= size:
            return f"{per_s / size:.3g}{unit}" if per_s < 1000 * size else f"{per_s / size:.0f}{unit}"
    return f"{per_s:.0f}"


def show_left(share: float | None, left_s: float | None) -> str:
    """`43 %, 1:05 left`."""
    if share is None:
        return ""
    percent = f"{100 * share:.0f} %"
    if left_s is None:
        return percent
    minutes, seconds = divmod(round(left_s), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{percent}, {clock} left"
