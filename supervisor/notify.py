"""What systemd is told (sd_notify(3)): READY, a line of status, that the main loop still turns, that a stop has begun.

Plain datagrams to $NOTIFY_SOCKET; without it nothing is said. The watchdog is fed by the supervisor's main loop and
nothing else, so that a supervisor that hangs is killed and started again. Children do not inherit the variables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from actors.base import Loop

BEATS_IN_WATCHDOG: Final = 3
SEND_WAIT_S: Final = 0.1
"""For one who does not read: what is not taken by then is lost, the engine goes on."""
VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """`beat_s`: how often systemd is to hear of the main loop; 0: it does not ask for it."""

    def __init__(self, address: str = "", beat_s: float = 0.0) -> None:
        self._beat_s: Final = beat_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Notifier:
        """As the environment says; its variables are taken out of it."""
        address, usec, pid = (environment.pop(name, "") for name in VARIABLES)
        is_ours = usec.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(usec) / 1e6 / BEATS_IN_WATCHDOG if is_ours and address else 0.0)

    def follow(self, loop: Loop) -> None:
        """Its turns feed the watchdog."""
        if self._beat_s:
            loop.every(self._beat_s, lambda: self._send("WATCHDOG=1"))

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Said when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
            to_systemd.settimeout(SEND_WAIT_S)
            to_systemd.sendto(text.encode(), self._address)
