"""Alerts out: a command or an address that is told of chosen notices, by a thread of the console's own process.

Never in a trading process. A hook that hangs, fails or is slow holds up nobody but the alerts behind it, of which it
keeps a limited number; of one kind it is told once in a while, with how many there were meanwhile.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from supervisor.dashboard.notices import Notice

USUAL_KINDS: Final = ("halted", "reducing", "violation", "child", "warning", "unreachable", "reachable")
EVERY_S: Final = 60.0
WAITING_MAX: Final = 100
HOOK_TIMEOUT_S: Final = 10.0

Hook = Callable[[bytes], None]
"""Is told of one alert, as JSON. Raises: OSError, subprocess.SubprocessError when it fails."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is told."""

    engine: str
    time_us: int
    level: str
    kind: str
    text: str
    more: int
    """Others of this kind since the last one that was told."""


class Gate:
    """Lets one of a kind through in `every_s`, and knows how many it held back. Pure."""

    def __init__(self, kinds: Sequence[str], every_s: float) -> None:
        self._kinds = frozenset(kinds)
        self._every_s = every_s
        self._told_s: dict[str, float] = {}
        self._held: Counter[str] = Counter()

    def passes(self, kind: str, now_s: float) -> int | None:
        """How many were held back before it; None: it is held back, or not wanted at all."""
        if kind not in self._kinds:
            return None
        if now_s - self._told_s.get(kind, float("-inf")) < self._every_s:
            self._held[kind] += 1
            return None
        self._told_s[kind] = now_s
        return self._held.pop(kind, 0)


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
        self._waiting: queue.Queue[Alert | None] = queue.Queue(WAITING_MAX)
        self.dropped = 0

    def take(self, notice: Notice) -> None:
        more = self._gate.passes(notice.kind, time.monotonic())
        if more is None:
            return
        alert = Alert(
            engine=self._engine, time_us=notice.time_us, level=notice.level, kind=notice.kind, text=notice.text,
            more=more,
        )  # fmt: skip
        try:
            self._waiting.put_nowait(alert)
        except queue.Full:
            self.dropped += 1
            self._complain(f"alert dropped, {WAITING_MAX} wait for the hook: {notice.text}")

    def run(self) -> None:
        while (alert := self._waiting.get()) is not None:
            for hook in self._hooks:
                try:
                    hook(msgspec.json.encode(alert))
                except (OSError, subprocess.SubprocessError, ValueError) as error:
                    self._complain(f"alert not told ({alert.kind}: {alert.text}): {error}")

    def close(self) -> None:
        try:
            self._waiting.put(None, timeout=HOOK_TIMEOUT_S)
        except queue.Full:
            return
        self.join(HOOK_TIMEOUT_S)


def command_hook(command: str) -> Hook:
    """A shell's command; the alert is one line on its stdin."""

    def tell(alert: bytes) -> None:
        subprocess.run(command, shell=True, input=alert + b"\n", check=True, timeout=HOOK_TIMEOUT_S)

    return tell


def address_hook(url: str) -> Hook:
    """POSTs the alert. Raises: ValueError if the address is none of http or https."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r}: an address of http:// or https:// is needed")

    def tell(alert: bytes) -> None:
        request = urllib.request.Request(url, alert, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=HOOK_TIMEOUT_S):
            pass

    return tell
