"""Following a journal that is being written: whole entries as they come, across rolls and restarts of the engine.

Reads only, by looking ten times a second. An entry that does not stand there whole is waited for. What was read may be
taken back: an engine that dies before its sync leaves a tail that the next one cuts, and repair cuts too; then reading
begins again behind what was on disk for certain, with a word about it.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from protocol.errors import ExitCode, WalCorruptError, WireError
from protocol.records import Checkpoint, EngineRun, EntryType, decode_record
from protocol.wal.format import JOURNAL_HEAD, BadEntry, Envelope
from protocol.wal.history import first_lsn_since, open_next
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.scan import JournalScan, first_lsn_of, iterate_runs
from protocol.wal.sealed import Content
from protocol.wal.storage import File, RealStorage
from supervisor.cli.output import Failure, note
from supervisor.cli.wal_entries import Described, Names
from supervisor.cli.wal_filters import Filter, refuse_unknown
from supervisor.cli.wal_journal import Place, find_place
from supervisor.cli.wal_select import describe_records, first_lsn_needed

LOOK_EVERY_S: Final = 0.1
_STORAGE: Final = RealStorage()
_BEGINS: Final = (EntryType.ENGINE_RUN, EntryType.CHECKPOINT)
"""The types that say which journal it is."""

Followed = tuple[Envelope, int, bytes]
"""(envelope, crc, record data)."""


class Follower:
    """The journal in `directory`, from the beginning of the file that has `from_lsn`, or of the oldest.

    Raises, when made: FileNotFoundError if there is no journal, WalError if a file cannot be opened.
    """

    def __init__(self, directory: Path, from_lsn: int) -> None:
        self._path = directory / JOURNAL_NAME
        self._journal_id = b""
        self._lsn = self._crc = self._durable_lsn = self._offset = 0
        """Of the last entry that was read; the offset is behind it."""
        self._skip_below = 0
        self._noted = (0, 0)
        self._open(from_lsn, must_begin_there=False)

    def close(self) -> None:
        self._file.close()

    def read(self) -> Iterator[Followed]:
        """What stands there whole by now, and was not read before.

        Raises: WalCorruptError for damage in a sealed file. Of journal.wal only the next start can tell damage from a
        torn tail: what cannot be read there is noted and waited for.
        """
        while True:
            is_last = self._is_current()  # looked at before reading: what is sealed by then is complete
            bad = yield from self._read_file()
            if is_last:
                if not self._was_replaced(bad):
                    return
            elif not self._go_on(bad):
                return

    def _open(self, lsn: int, *, must_begin_there: bool) -> None:
        while True:
            before = os.stat(self._path)
            file, name, is_last = open_next(_STORAGE, self._path.parent, lsn, must_begin_there)
            if not is_last or os.path.samestat(before, os.stat(self._path)):
                break
            file.close()  # a roll came between
        self._file: File | Content = file
        self._name, self._offset = name, 0
        self._identity = before if is_last else None

    def _is_current(self) -> bool:
        """Whether the open file is journal.wal still; also while there is none, for there is nothing to go on to."""
        if self._identity is None:
            return False
        try:
            return os.path.samestat(self._identity, os.stat(self._path))
        except FileNotFoundError:
            return True

    def _read_file(self) -> Generator[Followed, None, BadEntry | None]:
        size = self._file.size()
        if size < self._offset:
            return None
        before = (self._lsn, self._crc) if self._lsn else None
        runs = iterate_runs(self._file, size, start=self._offset, before=before)
        while True:
            try:
                offset, window, entries = next(runs)
            except StopIteration as stop:
                return stop.value
            at = 0
            for envelope, crc, end in entries:
                record = window[at + JOURNAL_HEAD.size : end]
                self._take(envelope, crc, record)
                self._offset, at = offset + end, end
                if self._lsn >= self._skip_below:
                    yield envelope, crc, record

    def _take(self, envelope: Envelope, crc: int, record: bytes) -> None:
        self._lsn, self._crc, self._durable_lsn = envelope.lsn, crc, envelope.durable_lsn
        if envelope.entry_type in _BEGINS:
            with contextlib.suppress(WireError):  # of a newer version: it is shown, and the id is known already
                begin = decode_record(envelope.entry_type, record)
                assert isinstance(begin, EngineRun | Checkpoint)
                self._journal_id = begin.journal_id

    def _go_on(self, bad: BadEntry | None) -> bool:
        """The open file has been read to its end, and another is journal.wal: whether there is one to be read."""
        if self._identity is None and bad is not None:
            raise WalCorruptError(
                str(self._name), bad.offset, lsn=self._lsn + 1, expected=bad.expected, found=bad.found
            )
        finished = self._file
        try:
            self._open(self._lsn + 1, must_begin_there=True)
        except WalCorruptError:
            current = _STORAGE.open(self._path, read_only=True)
            first_lsn = first_lsn_of(current)
            current.close()
            if first_lsn == 0:
                return False  # its first entry is being written
            if first_lsn <= self._lsn:
                self._begin_again()
                return True
            note(f"What follows LSN {self._lsn} is kept no longer.")
            self._lsn = 0
            self._open(first_lsn, must_begin_there=False)
        finished.close()
        return True

    def _was_replaced(self, bad: BadEntry | None) -> bool:
        """Whether the open file no longer holds what was read of it, so that reading begins again."""
        size = self._file.size()
        if size >= self._offset:
            if bad is None or bad.incomplete or self._noted == (bad.offset, size):
                return False
            self._noted = (bad.offset, size)
            if JournalScan(self._file, size, mark_lsn=self._lsn).mark_crc == self._crc:
                note(f"LSN {self._lsn + 1} cannot be read: expected {bad.expected}, found {bad.found}. Waiting.")
                return False
        self._begin_again()
        return True

    def _begin_again(self) -> None:
        """Behind what the last entry said was on disk; in another journal from its first entry."""
        current = _STORAGE.open(self._path, read_only=True)
        scan = JournalScan(current, current.size())
        current.close()
        is_same = scan.journal_id == self._journal_id
        from_lsn = min(self._durable_lsn, scan.tail_lsn) + 1 if is_same else 1
        what = "The journal was cut back or replaced" if is_same else "Another journal stands there"
        note(f"{what}: reading from LSN {from_lsn}, after LSN {self._lsn} of before.")
        self._file.close()
        self._lsn = self._crc = 0
        self._skip_below = from_lsn
        self._open(from_lsn, must_begin_there=False)


def wait_for_more() -> bool:
    """After a moment: whether anybody still reads stdout."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        time.sleep(LOOK_EVERY_S)
        return True
    poller = select.poll()
    poller.register(descriptor, 0)  # no events asked for: errors are always told
    return not poller.poll(LOOK_EVERY_S * 1000)


def await_place(path: Path) -> Place | None:
    """The journal, when there is one; None if nobody reads stdout any more. Raises: Failure for a file that is none."""
    is_told = False
    while True:
        try:
            return find_place(path)
        except Failure as failure:
            if path.exists() and not path.is_dir():
                raise
            if not is_told:
                is_told = True
                note(f"{failure.message}. Waiting.")
        if not wait_for_more():
            return None


def follow_entries(place: Place, wanted: Filter, last: int) -> Iterator[tuple[Described, Names]]:
    """The last of those wanted, then each when it comes; ends when nobody reads stdout any more.

    Raises: Failure for a file that does not grow.
    """
    if place.file is not None and place.file.name != JOURNAL_NAME:
        raise Failure(ExitCode.USAGE, f"-f follows a journal; {place.file} does not grow")
    names = Names()
    begin = first_lsn_needed(place, wanted, last)
    if wanted.since_us is not None:
        begin = max(begin, first_lsn_since(place.directory, wanted.since_us))
    with contextlib.closing(Follower(place.directory, begin)) as follower:
        kept = deque(describe_records(follower.read(), wanted, names), maxlen=last)
        yield from ((entry, names) for entry in kept)
        try:
            refuse_unknown(wanted, names.symbols, names.all_strategies)
        except Failure as failure:  # a later run may know it
            note(f"{failure.message}. Waiting.")
        while wait_for_more():
            yield from ((entry, names) for entry in describe_records(follower.read(), wanted, names))
