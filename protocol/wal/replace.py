"""One file in the place of another, so that a crash at any step leaves the one or the other, whole.

    write the new file, sync it · link the old one to the name under which it is kept, sync the directory ·
    rename the new one over the old, sync the directory

Nothing of the new file may be released before the last step (R4). A crash between link and rename leaves two names
of the old file: whoever opens it next removes the second (R5), and a leftover new file too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from protocol.wal.storage import File, Storage


def write_new(storage: Storage, path: Path, parts: Iterable[bytes]) -> File:
    """The file at `path` holds the parts, and they are on disk; its name is not yet. Raises: WalSyncError."""
    file = storage.open(path, create=True)
    try:
        file.truncate(0)
        end = 0
        for part in parts:
            file.write(end, part)
            end += len(part)
        file.sync()
    except BaseException:
        file.close()
        raise
    return file


def put_in_place(storage: Storage, new_path: Path, path: Path, keep_as: Path | None = None) -> None:
    """`path` names the new file, on disk; the old one is kept as `keep_as`, if that is given. Raises: WalSyncError."""
    if keep_as is not None:
        storage.link(path, keep_as)
        storage.sync_directory(path.parent)
    storage.rename(new_path, path)
    storage.sync_directory(path.parent)
