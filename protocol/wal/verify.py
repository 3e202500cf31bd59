"""Verifying a journal whole: every sealed file, that each goes on where the one before ended, journal.wal by the table.

Reads, and never writes, locks or disturbs: the journal may belong to a live engine. So what is known to be acknowledged
is read first, the journal after it, and what it rolls away meanwhile is looked for again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from protocol.errors import WalCorruptError, WalNotAFileError
from protocol.wal.beside import is_copy, is_in_the_way, sealed_journal_id
from protocol.wal.format import JOURNAL_HEAD, LENGTH_MAX, BadEntry
from protocol.wal.names import JOURNAL_NAME, KEPT_COPIES, WATERMARK_NAME
from protocol.wal.recovery import Found, Kind, Known, Row, Verdict, combine_known, decide, find_later_entry
from protocol.wal.scan import JournalScan, first_lsn_of, journal_id_of
from protocol.wal.sealed import Content, SealedFile, list_sealed, open_sealed
from protocol.wal.storage import File, Storage
from protocol.wal.watermark import Mark, Watermark


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What one file holds, up to its first bad entry."""

    path: Path
    bytes: int
    """On disk: of a packed file, packed."""
    entries: int = 0
    first_lsn: int = 0
    last_lsn: int = 0
    previous_crc: int = 0
    """What its first entry says of the one before."""
    last_crc: int = 0
    durable_lsn: int = 0
    """As its last good entry says."""
    end: int = 0
    """Behind the last good entry."""
    bad: BadEntry | None = None
    journal_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Damage:
    """In what is sealed, or between two files. The start of the engine does not read there; whoever folds back does."""

    path: Path
    offset: int
    lsn: int
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path} at byte {self.offset} (LSN {self.lsn}): expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Examination:
    """All that can be said of a journal without writing a byte."""

    path: Path
    """journal.wal, or the one file that was looked at."""
    current: FileCheck | None
    """None: there is no such file."""
    found: Found
    known: Known
    verdict: Verdict
    is_growing: bool = False
    """The running engine is writing the entry behind the last whole one."""
    sealed: tuple[FileCheck, ...] = ()
    damages: tuple[Damage, ...] = ()
    kept_copies: tuple[Path, ...] = ()
    mark_is_damaged: bool = False
    """The watermark can say nothing: damage at the journal's end may then look like a torn tail."""

    @property
    def files(self) -> tuple[FileCheck, ...]:
        return (*self.sealed, self.current) if self.current else self.sealed

    @property
    def kind(self) -> Kind:
        """The worst that was found."""
        return Kind.CORRUPT if self.damages else self.verdict.kind

    @property
    def entries(self) -> int:
        return sum(file.entries for file in self.files)

    @property
    def durable_lsn(self) -> int:
        """At least up to here the journal is on disk, as far as anything says so."""
        last = self.current or FileCheck(self.path, 0)
        return min(max(self.known.lsn, last.durable_lsn), last.last_lsn)


def check_journal(
    storage: Storage,
    directory: Path,
    known_lsn_of: Callable[[bytes], int],
    *,
    is_live: bool = False,
    with_sealed: bool = True,
    length_max: int = LENGTH_MAX,
) -> Examination:
    """What the next start would find in `directory`, and with `with_sealed` what all who read further back would.

    known_lsn_of: as of Journal.open. is_live: an engine runs there, and may be in the middle of writing.

    Raises: WalError without the extra that a packed file needs, or if a file cannot be opened.
    """
    path = directory / JOURNAL_NAME
    watermark = Watermark(directory / WATERMARK_NAME, storage)
    mark = watermark.read()
    pages_lsn = known_lsn_of(_journal_id(storage, path))
    file = _open_if_there(storage, path)
    files = list_sealed(storage, directory)
    unfinished = {one.first_lsn for one in files if storage.is_same_file(one.path, path)}  # R5
    files = [one for one in files if one.first_lsn not in unfinished]
    names = storage.list_names(directory)
    copies = tuple(directory / name for name in names if name.startswith(KEPT_COPIES))
    if file is None:
        found = Found(False, 0, 0)
        known = combine_known(pages_lsn, mark, journal_id=b"", first_lsn=0, sealed_exists=bool(files), sealed_id=b"")
        result = Examination(path, None, found, known, decide(found, known))
    else:
        sealed_id = sealed_journal_id(storage, files, first_lsn_of(file))
        result = _check_current(file, path, mark, pages_lsn, bool(files), sealed_id, is_live, length_max)
    result = replace(result, kept_copies=copies, mark_is_damaged=watermark.is_damaged)
    if not with_sealed:
        return result
    sealed, damages = _check_sealed(storage, directory, result.current, unfinished, length_max)
    return replace(result, sealed=tuple(sealed), damages=tuple(damages))


def check_file(file: File | Content, path: Path, *, is_sealed: bool, length_max: int = LENGTH_MAX) -> Examination:
    """One file alone, with nothing known from outside. A sealed file was whole when it was sealed: it is never torn."""
    result = _check_current(file, path, None, 0, False, b"", False, length_max)
    check = result.current
    if is_sealed and check and (check.bad or not check.entries):
        verdict = replace(result.verdict, kind=Kind.CORRUPT)
        return replace(result, verdict=verdict, damages=(_not_whole(check, path),))
    return result


def _check_current(
    file: File | Content, path: Path, mark: Mark | None, pages_lsn: int, sealed_exists: bool, sealed_id: bytes,
    is_live: bool, length_max: int,
) -> Examination:  # fmt: skip
    size = file.size()
    scan = JournalScan(file, size, length_max=length_max, mark_lsn=mark.lsn if mark else 0)
    check = _describe(file, path, size, scan)
    bad = scan.bad
    later = find_later_entry(file, size, bad.offset, scan.tail_lsn + 1, length_max) if bad else None
    file.close()
    found = Found(True, scan.tail_lsn, scan.end, bad, later, scan.mark_crc)
    known = combine_known(
        pages_lsn, mark, journal_id=scan.journal_id, first_lsn=scan.first_lsn, sealed_exists=sealed_exists,
        sealed_id=sealed_id,
    )  # fmt: skip
    verdict = decide(found, known)
    is_growing = is_live and verdict.row is Row.TORN_TAIL and bad is not None and bad.incomplete
    if is_growing:
        found = replace(found, bad=None)
        verdict = decide(found, known)
    return Examination(path, check, found, known, verdict, is_growing)


def _describe(file: File | Content, path: Path, size: int, scan: JournalScan) -> FileCheck:
    head = file.read(0, JOURNAL_HEAD.size) if scan.first_lsn else b""
    previous = JOURNAL_HEAD.unpack(head)[7] if head else 0
    return FileCheck(
        path, size, scan.entries, scan.first_lsn, scan.tail_lsn, previous, scan.tail_crc, scan.tail_durable_lsn,
        scan.end, scan.bad, scan.journal_id,
    )  # fmt: skip


def _open_if_there(storage: Storage, path: Path) -> File | None:
    try:
        return storage.open(path, read_only=True)
    except FileNotFoundError:
        return None


def _journal_id(storage: Storage, path: Path) -> bytes:
    """By the first entry alone; b"" if it cannot be read (R3)."""
    file = _open_if_there(storage, path)
    if file is None:
        return b""
    try:
        return journal_id_of(file)
    finally:
        file.close()


# What is sealed.


def _check_sealed(
    storage: Storage, directory: Path, current: FileCheck | None, unfinished: set[int], length_max: int
) -> tuple[list[FileCheck], list[Damage]]:
    checks: list[FileCheck] = []
    damages: list[Damage] = []
    in_the_way: list[Damage] = []
    limit = current.first_lsn if current else 0  # a roll that came since has sealed what was looked at as journal.wal
    for listed in list_sealed(storage, directory):
        if listed.first_lsn in unfinished:
            continue
        if limit and listed.first_lsn >= limit:
            in_the_way += _in_the_way(storage, listed)
            continue
        check, damage = _check_one(storage, directory, listed, length_max)
        if check is None:  # kept no longer: nor is what was before it
            checks, damages = [], []
            continue
        if damage is None and checks:
            damage = _broken_link(checks[-1], check)
        checks.append(check)
        damages += [damage] if damage else []
    if current and current.first_lsn and checks and (damage := _broken_link(checks[-1], current)):
        damages.append(damage)
    return checks, damages + in_the_way


def _in_the_way(storage: Storage, sealed: SealedFile) -> list[Damage]:
    """The next open removes a copy of the journal, and leaves everything else."""
    current = _open_if_there(storage, sealed.path.with_name(JOURNAL_NAME))
    if current is None:
        return []
    with contextlib.closing(current):
        if not is_in_the_way(storage, sealed) or is_copy(storage, sealed, current):
            return []
    expected = f"no file that begins at LSN {sealed.first_lsn}, for {JOURNAL_NAME} does not begin behind it"
    found = "one: until it is moved away no checkpoint can be written when it is its turn"
    return [Damage(sealed.path, 0, sealed.first_lsn, expected, found)]


def _check_one(
    storage: Storage, directory: Path, sealed: SealedFile, length_max: int
) -> tuple[FileCheck | None, Damage | None]:
    """(what is in it, what is wrong with it); (None, None) if it has been removed meanwhile."""
    path = sealed.path
    try:
        on_disk = _size_on_disk(storage, path)
        file = open_sealed(storage, sealed)
        size = file.size()
    except FileNotFoundError:
        again = [one for one in list_sealed(storage, directory) if one.first_lsn == sealed.first_lsn]
        return _check_one(storage, directory, again[0], length_max) if again else (None, None)
    except WalNotAFileError as error:
        return FileCheck(path, 0), Damage(path, 0, sealed.first_lsn, "a sealed file", error.found)
    except WalCorruptError as error:
        check = FileCheck(path, _size_on_disk(storage, path))
        return check, Damage(path, error.offset, sealed.first_lsn, error.expected, error.found)
    scan = JournalScan(file, size, length_max=length_max)
    check = _describe(file, path, size, scan)
    file.close()
    check = replace(check, bytes=on_disk)
    if check.bad or not check.entries:
        return check, _not_whole(check, path, sealed.first_lsn)
    if check.first_lsn != sealed.first_lsn:
        expected = f"LSN {sealed.first_lsn} first, as its name says"
        return check, Damage(path, 0, sealed.first_lsn, expected, f"LSN {check.first_lsn}")
    return check, None


def _size_on_disk(storage: Storage, path: Path) -> int:
    file = storage.open(path, read_only=True)
    size = file.size()
    file.close()
    return size


def _not_whole(check: FileCheck, path: Path, first_lsn: int = 1) -> Damage:
    bad = check.bad or BadEntry(0, "entries", "an empty file", True)
    return Damage(path, bad.offset, check.last_lsn + 1 if check.entries else first_lsn, bad.expected, bad.found)


def _broken_link(before: FileCheck, after: FileCheck) -> Damage | None:
    """None too if what ends badly cannot be compared: that was said already."""
    if before.bad or not before.entries or (after.first_lsn, after.previous_crc) == (
        before.last_lsn + 1, before.last_crc
    ):  # fmt: skip
        return None
    lsn = before.last_lsn + 1
    if after.first_lsn > lsn:
        found = f"LSN {after.first_lsn}: {lsn}..{after.first_lsn - 1} are missing"
        return Damage(after.path, 0, lsn, f"LSN {lsn}, for {before.path.name} ends with {before.last_lsn}", found)
    expected = f"LSN {lsn} after crc32 {before.last_crc:#010x}, where {before.path.name} ends"
    return Damage(after.path, 0, lsn, expected, f"LSN {after.first_lsn} after {after.previous_crc:#010x}")
