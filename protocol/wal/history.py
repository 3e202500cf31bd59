"""The whole journal, from the oldest sealed file that is kept to the end of journal.wal, read as one.

Reads, verifies and never writes, locks or disturbs: the journal may belong to a live engine, which may roll, pack and
remove files meanwhile. A file is opened by its first LSN, so what has been renamed under the reader is found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.errors import WalCorruptError, WalTornTailError
from protocol.wal.format import JOURNAL_HEAD, LENGTH_MAX, MAGIC_BYTES, Envelope
from protocol.wal.scan import iterate_records
from protocol.wal.sealed import Content, list_sealed, open_sealed
from protocol.wal.storage import File, RealStorage, Storage

JOURNAL_NAME: Final = "journal.wal"
LOOKS_MAX: Final = 10
"""At a directory that changes while it is looked at; a roll takes milliseconds and comes once in many seconds."""


def read_history(
    directory: Path,
    *,
    from_lsn: int = 1,
    whole_file: bool = False,
    storage: Storage | None = None,
    length_max: int = LENGTH_MAX,
) -> Iterator[tuple[Envelope, int, bytes]]:
    """(envelope, crc, record data) of every entry from `from_lsn` on, or from the oldest that is kept; verified.

    Each file is verified from its own beginning, and that it goes on where the one before it ended. whole_file: from
    the beginning of the file that has `from_lsn`, from which it can be folded.

    Raises: as scan.read_journal, and WalCorruptError where a file is missing between two others.
    """
    storage = storage or RealStorage()
    last_lsn = last_crc = 0
    while True:
        file, path, is_last = _open_next(storage, directory, last_lsn + 1 if last_lsn else from_lsn, bool(last_lsn))
        try:
            for envelope, crc, data in _read_file(file, path, is_last, length_max):
                if last_lsn and (envelope.lsn, envelope.previous_crc) != (last_lsn + 1, last_crc):
                    raise WalCorruptError(
                        str(path), 0, lsn=last_lsn + 1, expected=f"LSN {last_lsn + 1} after crc32 {last_crc:#010x}",
                        found=f"LSN {envelope.lsn} after {envelope.previous_crc:#010x}",
                    )  # fmt: skip
                last_lsn, last_crc = envelope.lsn, crc
                if whole_file or last_lsn >= from_lsn:
                    yield envelope, crc, data
        finally:
            file.close()
        if is_last:
            return


def _read_file(
    file: File | Content, path: Path, is_last: bool, length_max: int
) -> Iterator[tuple[Envelope, int, bytes]]:
    size = file.size()
    try:
        yield from iterate_records(file, size, path, length_max=length_max)
    except WalTornTailError as error:
        if is_last:
            raise
        raise WalCorruptError(  # a sealed file was whole and on disk when it was sealed
            str(path), size, lsn=None, expected="whole entries to the end of a sealed file", found=str(error)
        ) from error


def _open_next(
    storage: Storage, directory: Path, lsn: int, must_begin_there: bool
) -> tuple[File | Content, Path, bool]:
    """(file, its path, whether it is journal.wal) of the file that has the entry `lsn`, or, at first, of the oldest."""
    for _ in range(LOOKS_MAX):
        sealed = list_sealed(storage, directory)
        at = [file for file in sealed if file.first_lsn <= lsn]
        current = storage.open(directory / JOURNAL_NAME, read_only=True)
        first_lsn = _first_lsn(current)
        if first_lsn <= lsn or not sealed:
            if must_begin_there and first_lsn not in (0, lsn):
                current.close()
                raise _missing(directory, lsn, first_lsn)
            return current, directory / JOURNAL_NAME, True
        current.close()
        chosen = at[-1] if at else sealed[0]
        if must_begin_there and chosen.first_lsn != lsn:
            if chosen.first_lsn < lsn and sealed[-1] is chosen:
                continue  # a roll came between the two looks
            later = [file.first_lsn for file in sealed if file.first_lsn > lsn]
            raise _missing(directory, lsn, min([*later, first_lsn]))
        try:
            return open_sealed(storage, chosen), chosen.path, False
        except FileNotFoundError:
            continue  # packed or removed between the two looks
    raise _missing(directory, lsn, 0)


def _missing(directory: Path, lsn: int, next_lsn: int) -> WalCorruptError:
    found = f"a file that begins with LSN {next_lsn}" if next_lsn else "none"
    return WalCorruptError(str(directory), 0, lsn=lsn, expected=f"a file that begins with LSN {lsn}", found=found)


def _first_lsn(file: File) -> int:
    """Of the first entry; 0 if it cannot be read, which the reader of the file then says."""
    head = file.read(0, JOURNAL_HEAD.size)
    if len(head) < JOURNAL_HEAD.size or not head.startswith(MAGIC_BYTES):
        return 0
    return JOURNAL_HEAD.unpack(head)[5]
