"""One file in the place of another, so that a crash at any step leaves the one or the other, whole.

    write the new file, sync it · link the old one to the name under which it is kept, sync the directory ·
    rename the new one over the old, sync the directory

Nothing of the new file may be released before the last step (R4). A crash between link and rename leaves two names
of the old file: whoever opens it next removes the second (R5), and a leftover new file too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from protocol.errors import WalSyncError
from protocol.wal.storage import File, Storage

COPY_BYTES: Final = 1024 * 1024
"""Read and written at a time."""


class Readable(Protocol):
    def read(self, offset: int, length: int) -> bytes: ...


def read_parts(file: Readable, start: int, end: int, step: int = COPY_BYTES) -> Iterator[bytes]:
    """The bytes of `file` from `start` to `end`, so many at a time that no file is too large."""
    for offset in range(start, end, step):
        yield file.read(offset, min(step, end - offset))


def write_new(storage: Storage, path: Path, parts: Iterable[bytes]) -> File:
    """The file at `path` holds the parts, and they are on disk; its name is not yet.

    Raises: WalSyncError; then nothing is left there if that can be helped, for the disk may be full.
    """
    file = storage.open(path, create=True)
    try:
        file.truncate(0)
        end = 0
        for part in parts:
            file.write(end, part)
            end += len(part)
        file.sync()
    except BaseException as error:
        file.close()
        if isinstance(error, WalSyncError):
            with contextlib.suppress(WalSyncError):
                storage.unlink(path)
        raise
    return file


def put_in_place(storage: Storage, new_path: Path, path: Path, keep_as: Path | None = None) -> None:
    """`path` names the new file, on disk; the old one is kept as `keep_as`, if that is given. Raises: WalSyncError."""
    if keep_as is not None:
        storage.link(path, keep_as)
        storage.sync_directory(path.parent)
    storage.rename(new_path, path)
    storage.sync_directory(path.parent)
