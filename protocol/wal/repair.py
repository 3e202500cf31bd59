"""Repairing a damaged journal: what would be done and lost (pure), and doing it, crash by crash.

Only on an operator's word: what is cut off had been acknowledged, or may have been. Nothing is thrown away: the damaged
file stays beside the journal as it is. The rows of the recovery table, and what repair makes of them:

    W1           no first entry, but a sealed file   REOPEN  the newest sealed file is the journal again
    W1 W2        no first entry, and nothing sealed  refused: there is nothing to go on from
    W2 W3 W5 W6  a bad entry                         CUT     the good prefix, in a new file
    W4 W5        none, but a tail too short, or      FORGET  the file stays; what is known of it goes
                 another history
    W5           another journal's file              refused: the right one is to be put in its place
    W7           nothing bad                         refused

The order of steps (R6): the new file is on disk and in place first, what is known is reset last. A crash at any step
leaves the damaged journal as it was, or the new one with a watermark above its tail: that is W4, so that the engine
does not start and repair goes on with FORGET; or a repaired journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from protocol.errors import WalError
from protocol.wal.format import Envelope
from protocol.wal.names import DAMAGED_PREFIX, WATERMARK_NAME, free_path, new_path
from protocol.wal.recovery import Kind, iterate_later
from protocol.wal.replace import put_in_place, read_parts, write_new
from protocol.wal.sealed import SealedFile, list_sealed, open_sealed, packed_path, sealed_path
from protocol.wal.storage import Storage
from protocol.wal.verify import Examination
from protocol.wal.watermark import Watermark


class Action(Enum):
    CUT = "cut"
    REOPEN = "reopen"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Plan:
    """What repair would do. LSNs beyond `tail_lsn` are lost."""

    action: Action
    path: Path
    """journal.wal."""
    tail_lsn: int
    """Of the last entry that stays."""
    keep_as: Path | None
    """The name under which the damaged file stays; None if there is none, or it is not touched."""
    prefix_bytes: int = 0
    """CUT: what stays of the file."""
    lost_bytes: int = 0
    """Of journal.wal, bad and good."""
    known_lsn: int = 0
    """Up to here somebody was told that it was on disk."""
    reopened_lsn: int = 0
    """REOPEN: first LSN of the sealed file that becomes the journal."""


class NothingToRepairError(WalError):
    """The journal needs no repair, or none can help."""


def plan_repair(examination: Examination, names: Iterable[str]) -> Plan:
    """What repair would do, given all that is in the directory. Raises: NothingToRepairError with the reason."""
    verdict, found, path = examination.verdict, examination.found, examination.path
    if verdict.kind is Kind.CLEAN:
        raise NothingToRepairError(_why_not(examination))
    if other := examination.known.other:
        raise NothingToRepairError(
            f"{path} is of journal {other.journal_id.hex()}, and {other.what} beside it of journal "
            f"{other.its_id.hex()}: another engine's file, or one from before a new beginning. Put the right one in "
            "its place; what belongs to another journal needs a run_dir of its own."
        )
    taken = {path.with_name(name) for name in names}
    damaged = path.with_name(f"{DAMAGED_PREFIX}{verdict.lsn}")
    keep_as = free_path(damaged, taken.__contains__) if found.exists else None
    known_lsn = examination.known.lsn
    size = examination.current.bytes if examination.current else 0
    if found.tail_lsn == 0 and verdict.kind is Kind.CORRUPT:
        newest = examination.sealed[-1] if examination.sealed else None
        if newest is None:
            raise NothingToRepairError(
                f"{path}: its first entry cannot be read and no sealed file is there: nothing to go on from. "
                "Restore the directory from a copy, or start with a new run_dir."
            )
        if any(damage.path == newest.path for damage in examination.damages):
            raise NothingToRepairError(
                f"{path}: its first entry cannot be read, and {newest.path.name}, from which it could go on, is "
                "damaged too. Restore either from a copy."
            )
        return Plan(
            Action.REOPEN, path, newest.last_lsn, keep_as, lost_bytes=size, known_lsn=known_lsn,
            reopened_lsn=newest.first_lsn,
        )  # fmt: skip
    if found.bad is None:
        return Plan(Action.FORGET, path, found.tail_lsn, None, known_lsn=known_lsn)
    return Plan(
        Action.CUT, path, found.tail_lsn, keep_as, prefix_bytes=found.end, lost_bytes=size - found.end,
        known_lsn=known_lsn,
    )  # fmt: skip


def _why_not(examination: Examination) -> str:
    if not examination.damages:
        return f"{examination.path} is clean: nothing to repair"
    first = examination.damages[0]
    return (
        f"{first}. What is sealed cannot be repaired, and need not be for a start: {examination.path.name} is clean, "
        "and goes on from its own CHECKPOINT. Restore the file from a copy, if there is one."
    )


def lost_entries(
    storage: Storage, examination: Examination, plan: Plan
) -> Iterator[tuple[int, Envelope, int, bytes]]:
    """(offset, envelope, crc, record data) of what is cut off and can still be read behind the bad place."""
    bad = examination.found.bad
    if plan.action is Action.FORGET or bad is None:
        return
    file = storage.open(plan.path, read_only=True)
    try:
        yield from iterate_later(file, file.size(), bad.offset, plan.tail_lsn)
    finally:
        file.close()


def carry_out(storage: Storage, plan: Plan, forget_pages: Callable[[], None]) -> None:
    """The journal is what the plan says, on disk; nothing is known of it any more.

    To be called while no engine can start. forget_pages: resets what the health pages know, on disk. Raises: WalError;
    then repair is to be called again, and the engine refuses to start, or is as if repair had not been called.
    """
    _remove_second_names(storage, plan.path)
    if plan.action is Action.CUT:
        _cut(storage, plan)
    elif plan.action is Action.REOPEN:
        _reopen(storage, plan)
    watermark = Watermark(plan.path.with_name(WATERMARK_NAME), storage)
    try:
        forget_pages()
        watermark.reset()
    finally:
        watermark.close()


def _remove_second_names(storage: Storage, path: Path) -> None:
    """What a repair left that was cut short between its link and its rename."""
    for name in storage.list_names(path.parent):
        if name.startswith(DAMAGED_PREFIX) and storage.is_same_file(path.with_name(name), path):
            storage.unlink(path.with_name(name))


def _cut(storage: Storage, plan: Plan) -> None:
    path = new_path(plan.path)
    damaged = storage.open(plan.path, read_only=True)
    try:
        write_new(storage, path, read_parts(damaged, 0, plan.prefix_bytes)).close()
    finally:
        damaged.close()
    put_in_place(storage, path, plan.path, plan.keep_as)


def _reopen(storage: Storage, plan: Plan) -> None:
    """One rename: the file is sealed, or it is the journal, and never both."""
    directory = plan.path.parent
    (sealed,) = [file for file in list_sealed(storage, directory) if file.first_lsn == plan.reopened_lsn]
    plain = sealed_path(directory, plan.reopened_lsn)
    if sealed.is_packed:
        _unpack(storage, sealed, plain)
    packed = packed_path(plain)
    if storage.exists(packed):
        storage.unlink(packed)
        storage.sync_directory(directory)
    put_in_place(storage, plain, plan.path, plan.keep_as)


def _unpack(storage: Storage, sealed: SealedFile, plain: Path) -> None:
    path = new_path(plain)
    content = open_sealed(storage, sealed)
    try:
        write_new(storage, path, read_parts(content, 0, content.size())).close()
    finally:
        content.close()
    put_in_place(storage, path, plain)
