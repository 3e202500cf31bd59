"""One engine per run_dir: a lock that outlives the supervisor until its last child is dead (S1).

RUN_DIR/lock is never unlinked. Every child has its descriptor too, so that a new engine cannot touch
what an old one's wal still writes. The file holds the supervisor's pid, for `seawall stop`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path
from typing import Final

from protocol.client import process_is_alive
from protocol.errors import ConfigError

ENDING_NAME: Final = "ended"
LEFTOVER_WAIT_S: Final = 10.0
"""How long a start waits for the children of a supervisor that has died."""
_POLL_S: Final = 0.02


class RunDirLock:
    """Held from construction. Raises: ConfigError if another engine has the run_dir."""

    def __init__(self, run_dir: Path) -> None:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self.fd = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError([f"engine.run_dir = {str(run_dir)!r}: {error.strerror}"]) from error
        try:
            self._acquire(run_dir)
        except ConfigError:
            os.close(self.fd)
            raise
        self._ending = run_dir / ENDING_NAME
        self._ending.unlink(missing_ok=True)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _acquire(self, run_dir: Path) -> None:
        deadline = time.monotonic() + LEFTOVER_WAIT_S
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                text = os.pread(self.fd, 32, 0).strip()
            pid = int(text) if text.isdigit() else 0
            if pid and process_is_alive(pid):
                raise ConfigError(
                    [f"engine.run_dir = {str(run_dir)!r}: locked by another engine, pid {pid}; `seawall stop` ends it"]
                )
            if time.monotonic() > deadline:
                raise ConfigError(
                    [
                        f"engine.run_dir = {str(run_dir)!r}: locked by children of a dead supervisor (pid {pid}) that "
                        f"did not end within {LEFTOVER_WAIT_S:.0f} s; look for processes named `seawall:`"
                    ]
                )
            time.sleep(_POLL_S)

    def release(self, exit_code: int = 0, reason: str = "") -> None:
        """How the engine has ended stands in RUN_DIR/ended, for who has asked it to."""
        with contextlib.suppress(OSError):
            self._ending.write_text(f"{exit_code} {reason}\n", encoding="utf-8")
        os.close(self.fd)


def read_ending(run_dir: Path) -> tuple[int, str]:
    """(exit code, reason) of the engine that ended last in this run_dir; (0, "") if it left no word."""
    try:
        code, _, reason = (run_dir / ENDING_NAME).read_text(encoding="utf-8").strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return 0, ""
    return (int(code) if re.fullmatch(r"\d{1,3}", code) else 0), reason
