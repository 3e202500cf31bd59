"""Disks that refuse: a tmpfs of a few kilobytes, and a process whose system calls strace makes fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

FILL_BYTES: Final = 64 * 1024


class TinyDisk:
    """A file system of its own at `path`; gone with everything in it when the test ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    @property
    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def resize(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(self.path)], check=True)

    def fill(self, leave: int = 0) -> None:
        """Somebody else writes until so many bytes are free, or until nothing more goes in."""
        with open(self._filler, "ab", buffering=0) as file:
            while (more := self.free - leave) > 0:
                with contextlib.suppress(OSError):
                    file.write(bytes(min(more, FILL_BYTES)))

    def make_room(self) -> None:
        self._filler.unlink()


@contextlib.contextmanager
def tiny_disk(path: Path, kilobytes: int) -> Iterator[TinyDisk]:
    """A tmpfs; the test is skipped where none can be mounted."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=0700", "seawall-test", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no mount(8): a full disk cannot be made")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield TinyDisk(path)
    finally:
        # Lazily: a process that a failed test has left must not keep it.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def refusing(pid: int, call: str) -> contextlib.AbstractContextManager[None]:
    """From here on every `call` of the process fails with EIO."""
    return injecting(pid, call, "error=EIO")


@contextlib.contextmanager
def injecting(pid: int, call: str, what: str) -> Iterator[None]:
    """From here on, and as long as it lasts, `what` (strace --inject) befalls every `call` of the process.

    Skips where strace is not, or may not attach.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: nothing else makes a disk fail from outside")
    with subprocess.Popen(
        [strace, "-f", "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={call}:{what}"],
        stderr=subprocess.PIPE, text=True,
    ) as tracer:  # fmt: skip
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        reader = threading.Thread(target=tracer.stderr.read)  # else it blocks at a full pipe, and its process with it
        try:
            if "attached" not in said:
                pytest.skip(f"strace may not attach here: {said.strip()}")
            reader.start()
            yield
        finally:
            tracer.terminate()  # it lets go of the process, if that lives still
            if reader.ident is not None:
                reader.join()
