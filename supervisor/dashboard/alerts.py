"""Alerts out: a command or an address that is told of chosen notices, by a thread of the console's own process.

Never in a trading process. A hook that hangs, fails or is slow holds up nobody but the alerts behind it, of which the
newest of each kind is kept. Of one kind it is told once in a while, the last word always, with how many there were.
"""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from supervisor.dashboard.notices import Notice

USUAL_KINDS: Final = ("halted", "reducing", "violation", "child", "warning", "unreachable", "reachable")
EVERY_S: Final = 60.0
LOOK_S: Final = 0.2
"""Between two looks at what is to be told."""
HOOK_TIMEOUT_S: Final = 10.0

Hook = Callable[[bytes], None]
"""Is told of one alert, as JSON. Raises: whatever it likes, when it fails."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is told."""

    engine: str
    time_us: int
    level: str
    kind: str
    text: str
    more: int
    """Others of this kind, before it, that were not told."""


class Gate:
    """Lets one of a kind through in `every_s`; of those that it holds back the newest comes when its time has. Pure."""

    def __init__(self, kinds: Sequence[str], every_s: float) -> None:
        self._kinds = frozenset(kinds)
        self._every_s = every_s
        self._told_s: dict[str, float] = {}
        self._held: dict[str, tuple[Notice, int]] = {}
        """Kind -> the newest that is held back, and how many others are."""

    def take(self, notice: Notice) -> None:
        if notice.kind in self._kinds:
            _, others = self._held.get(notice.kind, (notice, -1))
            self._held[notice.kind] = notice, others + 1

    def due(self, now_s: float, *, is_last: bool = False) -> list[tuple[Notice, int]]:
        """Those to be told now, each with the number of the others of its kind. is_last: all, for nobody asks again."""
        kinds = [
            kind for kind in self._held
            if is_last or now_s - self._told_s.get(kind, float("-inf")) >= self._every_s
        ]  # fmt: skip
        self._told_s.update(dict.fromkeys(kinds, now_s))
        return [self._held.pop(kind) for kind in kinds]


class Alerts(threading.Thread):
    """`take` notices from any thread; `close` tells what waits, within the hook's own timeout."""

    def __init__(
        self, engine: str, hooks: Sequence[Hook], complain: Callable[[str], None],
        kinds: Sequence[str] = USUAL_KINDS, every_s: float = EVERY_S,
    ) -> None:  # fmt: skip
        super().__init__(name="alerts", daemon=True)
        self._engine = engine
        self._hooks = hooks
        self._complain = complain
        self._gate = Gate(kinds, every_s)
        self._taken = threading.Condition()
        self._is_closing = False

    def take(self, notice: Notice) -> None:
        """Waits for nobody: of one kind the newest is kept, whatever the hook does meanwhile."""
        with self._taken:
            self._gate.take(notice)
            self._taken.notify()

    def run(self) -> None:
        is_last = False
        while not is_last:
            with self._taken:
                self._taken.wait_for(lambda: self._is_closing, LOOK_S)
                is_last = self._is_closing
                due = self._gate.due(time.monotonic(), is_last=is_last)
            for notice, more in due:
                self._tell(notice, more)

    def _tell(self, notice: Notice, more: int) -> None:
        alert = Alert(
            engine=self._engine, time_us=notice.time_us, level=notice.level, kind=notice.kind, text=notice.text,
            more=more,
        )  # fmt: skip
        for hook in self._hooks:
            try:
                hook(msgspec.json.encode(alert))
            except Exception as error:  # whatever a stranger's server or command comes up with: the next is told
                self._complain(f"alert not told ({alert.kind}: {alert.text}): {type(error).__name__}: {error}")

    def close(self) -> None:
        """What is held back is told, as far as the hook does it in time."""
        with self._taken:
            self._is_closing = True
            self._taken.notify()
        self.join(HOOK_TIMEOUT_S)


def command_hook(command: str) -> Hook:
    """A shell's command; the alert is one line on its stdin."""

    def tell(alert: bytes) -> None:
        subprocess.run(command, shell=True, input=alert + b"\n", check=True, timeout=HOOK_TIMEOUT_S)

    return tell


def address_hook(url: str) -> Hook:
    """POSTs the alert. Raises: ValueError if the address is none of http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r}: an address of http:// or https:// is needed, without blanks")

    def tell(alert: bytes) -> None:
        request = urllib.request.Request(url, alert, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=HOOK_TIMEOUT_S):
            pass

    return tell
