"""A pipe by which any thread or signal handler wakes the supervisor's loop."""

from __future__ import annotations

import os


class Wakeup:
    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        """Readable when somebody has called `wake`."""
        os.set_blocking(self._write, False)

    def wake(self) -> None:
        """Nothing happens once it is closed: a signal may still come."""
        if self._write >= 0:
            os.write(self._write, b"w")

    def take(self) -> None:
        os.read(self.fd, 64)

    def close(self) -> None:
        write, self._write = self._write, -1
        os.close(self.fd)
        os.close(write)
