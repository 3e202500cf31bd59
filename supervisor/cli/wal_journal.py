"""What a PATH names (a run_dir, a wal directory, one file, a plain log), and its entries one after the other.

Reads and never writes, locks or disturbs a live engine's journal. A place that cannot be read ends the reading with the
exit code of what it is: torn or corrupt by the recovery table, as the next start would see it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.client import engine_pid
from protocol.errors import ExitCode, WalCorruptError, WalError, WalTornTailError
from protocol.wal.format import JOURNAL_HEAD, LENGTH_MAX, BadEntry, Entry, Envelope, is_journal_head, iterate_entries
from protocol.wal.history import first_lsn_of, first_lsn_since, read_history
from protocol.wal.log import LENGTH_FIELD_MAX, WriteAheadLog, is_foreign
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.recovery import Kind
from protocol.wal.scan import JournalScan, iterate_records
from protocol.wal.sealed import Content, SealedFile, is_sealed_name, list_sealed, open_sealed
from protocol.wal.storage import File, MemoryStorage, RealStorage
from protocol.wal.verify import Examination, check_file, check_journal
from supervisor.cli.output import Failure, note

STORAGE: Final = RealStorage()
JUDGED_BYTES: Final = 4 * LENGTH_MAX
"""Of a file that does not begin like a log: a whole entry among them shows that it was one."""
Records = Iterator[tuple[Envelope, int, bytes]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal is."""

    directory: Path
    file: Path | None
    """Only this one, of whatever kind; None: the whole journal in `directory`."""
    run_dir: Path | None
    """Of the engine whose journal it is: its lock and its health pages."""

    @property
    def is_live(self) -> bool:
        """An engine, or a child that has outlived it, has the run_dir."""
        return self.run_dir is not None and engine_pid(self.run_dir) is not None

    def known_lsn_of(self, journal_id: bytes) -> int:
        """The highest LSN in the health pages; 0 where there are none."""
        from actors.page import KNOWN_BY, known_lsn  # imported late: the other verbs answer without the actors

        return known_lsn(self.run_dir / "pages", KNOWN_BY, journal_id) if self.run_dir else 0


def find_place(path: Path, *, may_be_missing: bool = False) -> Place:
    """What PATH names. With may_be_missing a run_dir whose journal has gone is one too. Raises: Failure."""
    if not path.exists():
        raise Failure(ExitCode.USAGE, f"{path} does not exist")
    if path.is_file():
        if not is_named_as_journal(path) and _is_no_log(path):
            raise Failure(ExitCode.USAGE, f"{path} is no log")
        return Place(path.parent, path, _run_dir_of(path.parent))
    for directory in (path / "wal", path):
        if (directory / JOURNAL_NAME).is_file() or list_sealed(STORAGE, directory):
            return Place(directory, None, _run_dir_of(directory))
    if may_be_missing and (path / "wal").is_dir():
        return Place(path / "wal", None, path)
    raise Failure(ExitCode.USAGE, f"{path} has no wal/{JOURNAL_NAME}")


def _run_dir_of(directory: Path) -> Path | None:
    absolute = Path(os.path.abspath(directory))
    return absolute.parent if absolute.name == "wal" else None


def is_named_as_journal(file: Path) -> bool:
    """journal.wal, what was kept of it, a sealed file: whatever is in it, it is judged as that."""
    return file.name.startswith(JOURNAL_NAME + ".") or file.name == JOURNAL_NAME or is_sealed_name(file.name)


def is_plain(file: Path) -> bool:
    """Whether the file is no journal: a plain log's data are anybody's. By its name, else by how its data begin."""
    if is_named_as_journal(file):
        return False
    opened = STORAGE.open(file, read_only=True)
    head = opened.read(0, JOURNAL_HEAD.size)
    opened.close()
    return not is_journal_head(head)


def _is_no_log(file: Path) -> bool:
    """By its beginning, and if that is no log's by what the first JUDGED_BYTES hold."""
    opened = STORAGE.open(file, read_only=True)
    head = opened.read(0, JOURNAL_HEAD.size)
    content = opened.read(0, JUDGED_BYTES) if is_foreign(head) else b""
    opened.close()
    return is_foreign(content)


def open_journal_file(path: Path) -> tuple[File | Content, bool]:
    """(the file, unpacked if it is packed, whether it is sealed)."""
    is_sealed = is_sealed_name(path.name)
    return open_sealed(STORAGE, SealedFile(0, path)), is_sealed


# The entries.


def read_records(place: Place, *, from_lsn: int = 1, since_us: int | None = None) -> Records:
    """Every entry from the beginning of the file that has `from_lsn`, or was the journal at `since_us`.

    What comes before is read too, so that names and orders are known. Raises: Failure at a place that cannot be read.
    """
    if place.file is not None:
        return _ending(place, lambda: _read_file(place.file or place.directory))
    if since_us is not None:
        from_lsn = max(from_lsn, first_lsn_since(place.directory, since_us))
    return _ending(place, lambda: read_history(place.directory, from_lsn=from_lsn, whole_file=True))


def _read_file(path: Path) -> Records:
    file, _ = open_journal_file(path)
    try:
        yield from iterate_records(file, file.size(), path)
    finally:
        file.close()


def tail_lsn(place: Place) -> int:
    """The last LSN of the journal, by journal.wal alone, or by the one file."""
    path = place.file or place.directory / JOURNAL_NAME
    try:
        file, _ = open_journal_file(path)
    except FileNotFoundError:
        sealed = list_sealed(STORAGE, place.directory)
        return sealed[-1].first_lsn if sealed else 0
    try:
        return JournalScan(file, file.size()).tail_lsn
    finally:
        file.close()


def _ending(place: Place, read: Callable[[], Records]) -> Records:
    """The records; what ends them early becomes a Failure, or a word if the engine is only writing on."""
    lsn = 0
    try:
        for envelope, crc, data in read():
            lsn = envelope.lsn
            yield envelope, crc, data
    except (WalTornTailError, WalCorruptError) as error:
        result = examine(place)
        if result.kind is not Kind.CLEAN:
            raise fail_at(error, result.kind, _lsn_behind(place, lsn, error)) from error
        if isinstance(error, WalCorruptError):
            reason = f"it changed while it was read, and is whole now; read it again ({error})"
            raise Failure(ExitCode.FAILURE, reason) from error
        note(f"Read up to LSN {lsn}; the running engine is writing the next entry.")


def _lsn_behind(place: Place, lsn: int, error: WalError) -> int:
    """The first LSN of the file behind the place where reading ended, after the entry `lsn`; 0 if there is none."""
    if place.file is not None or not isinstance(error, WalCorruptError):
        return 0
    sealed = list_sealed(STORAGE, place.directory)
    begins = [file.first_lsn for file in sealed]
    bad_lsn = max([lsn + 1, *(file.first_lsn for file in sealed if str(file.path) == error.file)])
    with contextlib.suppress(WalError, OSError):
        current = STORAGE.open(place.directory / JOURNAL_NAME, read_only=True)
        begins.append(first_lsn_of(current))
        current.close()
    return next((first for first in sorted(begins) if first > bad_lsn), 0)


def fail_at(error: WalTornTailError | WalCorruptError, kind: Kind, lsn_behind: int = 0) -> Failure:
    """lsn_behind: where what lies behind the place can be read from; 0: nowhere."""
    facts = {key: getattr(error, key) for key in ("file", "offset", "lsn", "expected", "found") if hasattr(error, key)}
    if kind is Kind.TORN:
        return Failure(ExitCode.TORN, f"torn tail: {error}", **facts)
    behind = f" What lies behind it is read with `--lsn {lsn_behind}..`." if lsn_behind else ""
    if lsn_behind:
        facts["lsn_behind"] = lsn_behind
    return Failure(ExitCode.CORRUPT, f"corrupt: {error}{behind}", **facts)


def examine(place: Place, *, with_sealed: bool = True) -> Examination:
    """What the recovery table says of the place. Raises: WalError, OSError."""
    is_journal = place.file is None or place.file.name == JOURNAL_NAME
    if is_journal:
        return check_journal(
            STORAGE, place.directory, place.known_lsn_of, is_live=place.is_live,
            with_sealed=with_sealed and place.file is None,
        )  # fmt: skip
    assert place.file is not None
    file, is_sealed = open_journal_file(place.file)
    return check_file(file, place.file, is_sealed=is_sealed)


# Plain logs.


@dataclass(frozen=True, slots=True)
class PlainCheck:
    """A plain log, and what `WriteAheadLog.open` would make of it."""

    bytes: int
    entries: int
    """Good ones, before the bad place."""
    end: int
    """Behind the last of them."""
    kind: Kind
    expected: str = ""
    found: str = ""


def check_plain(path: Path) -> PlainCheck:
    """What the next open would find; it is tried, on a copy in memory. Raises: WalError, OSError.

    The limit of an entry's size is the default one, or what the largest good entry shows it to be.
    """
    content = path.read_bytes()
    good = [entry for entry in iterate_entries(content, 0, LENGTH_FIELD_MAX) if isinstance(entry, Entry)]
    length_max = max([LENGTH_MAX, *(len(entry.data) for entry in good)])
    storage = MemoryStorage()
    storage.files[path] = bytearray(content)
    log = WriteAheadLog(path, length_max=length_max, storage=storage)
    try:
        log.open()
    except WalCorruptError as error:
        before = sum(entry.offset < error.offset for entry in good)
        return PlainCheck(len(content), before, error.offset, Kind.CORRUPT, error.expected, error.found)
    end = len(storage.files[path])
    if end == len(content):
        return PlainCheck(end, log.entry_count, end, Kind.CLEAN)
    bad = next(iterate_entries(content, end, length_max))
    expected, found = (bad.expected, bad.found) if isinstance(bad, BadEntry) else ("a known type", str(bad.entry_type))
    return PlainCheck(len(content), log.entry_count, end, Kind.TORN, expected, found)


def read_plain(path: Path) -> Iterator[tuple[int, Entry]]:
    """(number, entry) up to the first bad place. Raises: Failure there."""
    check = check_plain(path)
    entries = iterate_entries(path.read_bytes()[: check.end], 0, LENGTH_FIELD_MAX)
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, Entry):
            yield number, entry
    if check.kind is not Kind.CLEAN:
        raise plain_failure(path, check)


def plain_failure(path: Path, check: PlainCheck) -> Failure:
    code = ExitCode.TORN if check.kind is Kind.TORN else ExitCode.CORRUPT
    where = f"{path} at byte {check.end} (entry {check.entries + 1})"
    return Failure(code, f"{check.kind.value}: {where}: expected {check.expected}, found {check.found}")
