"""What stands beside journal.wal and is not what it was before: leftovers of a crash, and files of another journal.

At open leftovers go (R5) and the rest is named; verifying only looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocol.errors import WalError
from protocol.logs import Log
from protocol.wal.names import JOURNAL_NAME, NEW_SUFFIX
from protocol.wal.replace import COPY_BYTES
from protocol.wal.scan import Readable, first_lsn_of, journal_id_of
from protocol.wal.sealed import SealedFile, open_sealed
from protocol.wal.storage import Storage

_log = Log()


def remove_leftovers(storage: Storage, path: Path) -> None:
    """R5: a roll or a repair that a crash cut short left a new file, or a second name of this one; it would go on
    growing."""
    leftovers = [
        other
        for name in storage.list_names(path.parent)
        if name.startswith("journal") and (other := path.with_name(name)) != path
        and (name.endswith(NEW_SUFFIX) or storage.is_same_file(other, path))
    ]  # fmt: skip
    _remove(storage, leftovers)


def clear_the_way(storage: Storage, journal: Readable, in_the_way: Sequence[SealedFile]) -> None:
    """What stands where a roll will seal journal.wal has gone if it is a copy of it; everything else is named."""
    copies = [file for file in in_the_way if is_copy(storage, file, journal)]
    _remove(storage, [file.path for file in copies])
    for file in in_the_way:
        if file not in copies:
            hint = "it is none of this journal's: move it away, or no checkpoint can be written when it is its turn"
            _log.warning("sealed_file_in_the_way", file=str(file.path), lsn=file.first_lsn, hint=hint)


def _remove(storage: Storage, paths: Sequence[Path]) -> None:
    for path in paths:
        storage.unlink(path)
    if paths:
        storage.sync_directory(paths[0].parent)


def sealed_journal_id(storage: Storage, sealed: Sequence[SealedFile], first_lsn: int) -> bytes:
    """Of the newest that goes before journal.wal, which begins with `first_lsn`, or else of the newest; b"" if there is
    none, or it cannot be told."""
    if not sealed:
        return b""
    before = [file for file in sealed if file.first_lsn < first_lsn]
    try:
        file = open_sealed(storage, (before or sealed)[-1])
    except (WalError, FileNotFoundError):
        return b""
    try:
        return journal_id_of(file)
    except WalError:
        return b""
    finally:
        file.close()


def is_in_the_way(storage: Storage, sealed: SealedFile) -> bool:
    """It begins where journal.wal does, or behind, and is not journal.wal: no roll has made it.

    Asked in this order a live engine may roll at any moment: what a roll seals begins before what is journal.wal then.
    """
    path = sealed.path.with_name(JOURNAL_NAME)
    if storage.is_same_file(sealed.path, path):
        return False
    try:
        file = storage.open(path, read_only=True)
    except FileNotFoundError:
        return False
    first_lsn = first_lsn_of(file)
    file.close()
    return 0 < first_lsn <= sealed.first_lsn


def is_copy(storage: Storage, sealed: SealedFile, journal: Readable) -> bool:
    """The sealed file holds nothing but what `journal` begins with. A copy of the directory makes it, one that broke
    the two names of a roll apart."""
    try:
        file = open_sealed(storage, sealed)
    except (WalError, FileNotFoundError):
        return False
    try:
        size = file.size()
        starts = range(0, size, COPY_BYTES)
        lengths = (min(COPY_BYTES, size - start) for start in starts)
        return all(
            file.read(start, length) == journal.read(start, length)
            for start, length in zip(starts, lengths, strict=True)
        )
    except WalError:
        return False
    finally:
        file.close()
