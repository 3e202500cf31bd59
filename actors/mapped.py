"""Files of one page that processes share by mapping them, and who of those processes is still alive.

Owns how such a file comes to be (whole and on disk before its name appears, and never replaced after that), how
it reaches the disk again, and what a process is called so that a recycled pid is not taken for it. It knows
nothing of what stands in a page: latch.py and page.py do.

Words are aligned and 8 bytes long, stored only through `memoryview(page).cast("Q")[i] = n` (H4: struct.pack_into
zeroes the field first, and other processes see the zero). They are in the machine's byte order: a page never
leaves its machine.

Whoever truncates a page under a running engine ends it: the next process that looks there gets SIGBUS, which no code of
ours can answer. That is left so. A process without its page could not see a HALT; the children of a supervisor that
died of it end in the stop order with every record on disk, and the next start refuses a latch that is no page, and
makes a health page anew (H5).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import threading
from pathlib import Path
from typing import Final

from protocol.durable import sync_directory

PAGE_BYTES: Final = 4096
SECTOR_BYTES: Final = 512
"""What a disk writes as a whole; nothing longer is assumed to survive a power loss in one piece."""

_fence_lock = threading.Lock()


def fence() -> None:
    """Every store before this is seen by other processes before any load after it is made (H4).

    Taking and releasing a lock is an atomic read-modify-write. Twice, because on weakly ordered machines one pair lets
    what stands around it move in between; the second acquire cannot pass the first release. Below 1 microsecond.
    """
    with _fence_lock:
        pass
    with _fence_lock:
        pass


def process_start(pid: int) -> int:
    """When process `pid` started, in clock ticks since boot; 0 if there is none, or it is dead and not yet reaped.

    Source: proc(5), /proc/PID/stat, fields 3 (state) and 22 (starttime).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The command's name may hold blanks and brackets: the fields begin after its last one.
    fields = stat[stat.rfind(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def process_lives(pid: int, start: int) -> bool:
    return pid != 0 and start != 0 and process_start(pid) == start


class MappedPage:
    """The file `path` as memory. Changes are seen by every process that maps it, at once."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Raises: FileNotFoundError; ValueError if the file is not one page long."""
        self.fd: int = -1
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size != PAGE_BYTES:
                raise ValueError(f"{size} bytes long, not {PAGE_BYTES}")
            self.memory = mmap.mmap(fd, PAGE_BYTES, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        self.bytes = memoryview(self.memory)
        self.words = self.bytes.cast("Q")

    def sync(self) -> None:
        """The page is on disk. Raises: OSError.

        fsync, not mmap.flush: on Linux both write the mapped page, but flush holds the GIL while it waits (measured
        with a delay injected into msync: every thread of the process stood still), and HALT must not (H5).
        """
        os.fsync(self.fd)

    def close(self) -> None:
        if self.fd >= 0:
            self.words.release()
            self.bytes.release()
            self.memory.close()
            os.close(self.fd)
            self.fd = -1


def create_page(path: Path, content: bytes) -> bool:
    """A page with `content` stands at `path`, on disk; False if one stood there before (it is left alone).

    The file gets its name by link(2), which never replaces: whoever maps the page maps it for good (H5).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Written in full, so that the disk has room for it: a store into a hole of a full disk is a SIGBUS.
        os.write(fd, content.ljust(PAGE_BYTES, b"\0"))
        os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
            return True
        return False
    finally:
        os.close(fd)
        os.unlink(fresh)
        sync_directory(path.parent)
