"""What becomes of sealed files: removed when they are kept no longer, packed otherwise. In a thread of wal's process.

wal's loop must not wait for it. At most one pass is under way; what a crash leaves half done, the next pass does again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from actors.clock import now_us
from protocol.errors import WalError, WalSyncError
from protocol.settings import Keep
from protocol.wal.sealed import tidy_sealed
from protocol.wal.storage import RealStorage


class Sealing:
    """room_bytes: of the disk, left alone by packing."""

    def __init__(self, directory: Path, keep: Keep, room_bytes: int, log: Any) -> None:
        self._room_bytes = room_bytes
        self._directory = directory
        self._keep = keep
        self._log = log
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """A pass begins, unless one is under way: the next roll brings the next."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sealing", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _has_room(self, path: Path) -> bool:
        """A packed file needs room before the plain one goes: never what the journal itself may need."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize > path.stat().st_size + self._room_bytes

    def _run(self) -> None:
        try:
            tidy_sealed(
                RealStorage(), self._directory, files_max=self._keep.files_max, age_max_s=self._keep.age_max_s,
                now_us=now_us(), has_room=self._has_room,
            )  # fmt: skip
        except (WalError, OSError) as error:  # the files are whole; only their room is not saved
            fact = error.fact if isinstance(error, WalSyncError) else str(error)
            hint = "the engine and its journal go on, and the next roll tries again; see to the disk (space, health)"
            self._log.warning("sealed_files_left", error=fact, hint=hint)
