"""The whole journal, from the oldest sealed file that is kept to the end of journal.wal, read as one.

Reads, verifies and never writes, locks or disturbs: the journal may belong to a live engine, which may roll, pack and
remove files meanwhile. A file is opened by its first LSN, so what has been renamed under the reader is found again.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.errors import MEND_JOURNAL, RESTORE_SEALED, WalCorruptError, WalTornTailError
from protocol.wal.format import JOURNAL_HEAD, LENGTH_MAX, Envelope
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.scan import Run, first_lsn_of, read_runs, records_of
from protocol.wal.sealed import Content, SealedFile, list_sealed, open_sealed
from protocol.wal.storage import File, RealStorage, Storage

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

    Raises: as scan.read_journal, and WalCorruptError where a file is missing between two others, or journal.wal
    behind them.
    """
    storage = storage or RealStorage()
    files = JournalFiles(storage, directory)
    last_lsn = last_crc = 0
    while True:
        must_follow = last_lsn + 1 if last_lsn else 0
        file, path, is_last = files.open_next(must_follow or from_lsn, bool(must_follow))
        try:
            for run in _read_file(file, path, is_last, length_max):
                first = run.entries[0][0]
                if last_lsn and (first.lsn, first.previous_crc) != (last_lsn + 1, last_crc):
                    raise WalCorruptError(
                        str(path), 0, lsn=last_lsn + 1, expected=f"LSN {last_lsn + 1} after crc32 {last_crc:#010x}",
                        found=f"LSN {first.lsn} after {first.previous_crc:#010x}", next_step=RESTORE_SEALED,
                    )  # fmt: skip
                last, last_crc, _ = run.entries[-1]
                last_lsn = last.lsn
                yield from records_of(run, 0 if whole_file else from_lsn)
        finally:
            file.close()
        if is_last:
            if must_follow > last_lsn:
                raise _missing(directory, must_follow, 0)  # an empty file: nothing in it says that it is damaged
            return


def first_lsn_since(directory: Path, since_us: int, *, storage: Storage | None = None) -> int:
    """Where to begin for what was appended from `since_us` on: the first LSN of the file that was the journal then.

    By the times of the files' first entries, so that the files before it need not be read.
    """
    storage = storage or RealStorage()
    sealed = list_sealed(storage, directory)
    try:
        number = bisect_right(sealed, since_us, key=lambda file: _first_time_us(storage, file))
    except FileNotFoundError:  # packed or removed meanwhile
        return 1
    return sealed[number - 1].first_lsn if number else 1


def _first_time_us(storage: Storage, sealed: SealedFile) -> int:
    file = open_sealed(storage, sealed)
    head = file.read(0, JOURNAL_HEAD.size)
    file.close()
    return JOURNAL_HEAD.unpack(head)[8] if len(head) == JOURNAL_HEAD.size else 0


def _read_file(file: File | Content, path: Path, is_last: bool, length_max: int) -> Iterator[Run]:
    size = file.size()
    try:
        yield from read_runs(file, size, path, length_max=length_max)
    except WalTornTailError as error:
        if is_last:
            raise
        raise WalCorruptError(  # a sealed file was whole and on disk when it was sealed
            str(path), size, lsn=None, expected="whole entries to the end of a sealed file", found=str(error)
        ) from error


def open_next(
    storage: Storage, directory: Path, lsn: int, must_begin_there: bool
) -> tuple[File | Content, Path, bool]:
    """As JournalFiles.open_next, for who opens only one."""
    return JournalFiles(storage, directory).open_next(lsn, must_begin_there)


class JournalFiles:
    """The files in `directory`, opened one after the other. The directory is listed once, and again when what was
    listed is at its end, or gone: to list it for each file would take the square of their number."""

    def __init__(self, storage: Storage, directory: Path) -> None:
        self._storage = storage
        self._directory = directory
        self._listed: dict[int, SealedFile] = {}
        """By first LSN: those that went before journal.wal when it was looked at."""

    def open_next(self, lsn: int, must_begin_there: bool) -> tuple[File | Content, Path, bool]:
        """(file, its path, whether it is journal.wal) of the file that has the entry `lsn`, or else of the oldest.

        Raises: WalCorruptError if it must begin there and no file does, or if the file is sealed and empty;
        FileNotFoundError if there is no file at all.
        """
        if must_begin_there and (listed := self._listed.get(lsn)):
            with contextlib.suppress(FileNotFoundError):  # packed or removed since
                return self._open(listed)
        next_lsn = 0
        for _ in range(LOOKS_MAX):
            sealed = list_sealed(self._storage, self._directory)
            current, current_lsn = _open_current(self._storage, self._directory, is_needed=not sealed)
            self._listed = {file.first_lsn: file for file in sealed if not 0 < current_lsn <= file.first_lsn}
            chosen = _choose(sealed, current_lsn, lsn, must_begin_there)
            if chosen is None and current is not None:
                later = [file.first_lsn for file in sealed if file.first_lsn > lsn]
                if not must_begin_there or current_lsn == lsn or (current_lsn == 0 and not later):
                    return current, self._directory / JOURNAL_NAME, True
                next_lsn = min([*later, current_lsn])  # or a roll came between the two looks
            if current is not None:
                current.close()
            if chosen is not None:
                with contextlib.suppress(FileNotFoundError):  # packed or removed between the two looks
                    return self._open(chosen)
        raise _missing(self._directory, lsn, next_lsn)

    def _open(self, sealed: SealedFile) -> tuple[File | Content, Path, bool]:
        file = open_sealed(self._storage, sealed)
        if file.size() == 0:  # nothing in it would say that it is damaged, and reading would not get past it
            file.close()
            raise WalCorruptError(
                str(sealed.path), 0, lsn=sealed.first_lsn, expected="entries in a sealed file", found="an empty file"
            )
        return file, sealed.path, False


def _choose(sealed: list[SealedFile], current_lsn: int, lsn: int, must_begin_there: bool) -> SealedFile | None:
    """The sealed file that is to be read; None for journal.wal."""
    if must_begin_there:
        return None if current_lsn == lsn else next((file for file in sealed if file.first_lsn == lsn), None)
    if not sealed or 0 < current_lsn <= lsn:
        return None
    return [file for file in sealed if file.first_lsn <= lsn or file is sealed[0]][-1]


def _open_current(storage: Storage, directory: Path, *, is_needed: bool) -> tuple[File | None, int]:
    """(journal.wal, LSN of its first entry). (None, 0) if it is missing and what is sealed can be read without it."""
    try:
        current = storage.open(directory / JOURNAL_NAME, read_only=True)
    except FileNotFoundError:
        if is_needed:
            raise
        return None, 0
    return current, first_lsn_of(current)


def _missing(directory: Path, lsn: int, next_lsn: int) -> WalCorruptError:
    found = f"a file that begins with LSN {next_lsn}" if next_lsn else "none"
    return WalCorruptError(
        str(directory), 0, lsn=lsn, expected=f"a file that begins with LSN {lsn}", found=found,
        next_step=RESTORE_SEALED if next_lsn else MEND_JOURNAL,
    )  # fmt: skip
