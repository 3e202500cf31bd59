"""Putting another file in a log's place: written beside it, and named only when all of it is on disk.

    NEW    written and synced by the caller (or by copy_prefix)
    link PATH to KEEP_AS, sync the directory       the old file keeps a name
    rename NEW over PATH, sync the directory       PATH is the new file, whatever happens from here on

Before the last sync a crash may leave either file under PATH: nothing may be released from the new one until then (R4).
What a crash leaves beside PATH, remove_leftovers takes away at the next open: NEW, and a KEEP_AS that is still a second
name of PATH, which would else go on growing with it (R5).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from protocol.errors import WalSyncError
from protocol.wal.storage import File, Storage

COPY_BYTES: Final = 1024 * 1024
"""Read and written at a time."""


def replace_file(storage: Storage, new_path: Path, path: Path, keep_as: Path | None = None) -> None:
    """`path` is the file that was `new_path`, on disk; the one before is `keep_as`, or gone if that is None.

    All three lie in one directory, and new_path is synced already. Raises: WalSyncError.
    """
    if keep_as is not None:
        storage.link(path, keep_as)
        storage.sync_directory(path.parent)
    storage.rename(new_path, path)
    storage.sync_directory(path.parent)


def remove_leftovers(storage: Storage, new_path: Path, path: Path, kept_prefix: str) -> None:
    """No new_path is left, and no name that begins with kept_prefix is the file `path` (R5)."""
    if storage.exists(new_path):
        storage.unlink(new_path)
    for name in storage.list_names(path.parent):
        if name.startswith(kept_prefix) and storage.is_same_file(path, path.with_name(name)):
            storage.unlink(path.with_name(name))


def copy_prefix(storage: Storage, source: File, size: int, new_path: Path) -> File:
    """The first `size` bytes of `source` are a file at new_path, synced (its name is not), and open.

    Raises: WalSyncError; then nothing is left at new_path if that can be helped, for the disk may be full.
    """
    new = storage.open(new_path, create=True)
    try:
        new.truncate(0)
        for offset in range(0, size, COPY_BYTES):
            new.write(offset, source.read(offset, min(COPY_BYTES, size - offset)))
        new.sync()
    except WalSyncError:
        new.close()
        with contextlib.suppress(WalSyncError):
            storage.unlink(new_path)
        raise
    return new
