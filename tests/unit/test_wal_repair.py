"""Repair: what it would do for each row of the table, what is lost, and that a crash at any step loses no more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_wal_history import three_files
from test_wal_recovery import offsets_of
from test_wal_roll import opened
from wal_journals import DIRECTORY, WatchedStorage, build, entry, knows, nobody_knows

from protocol.errors import WalCorruptError, WalError, WalSyncError
from protocol.wal.format import Envelope
from protocol.wal.history import read_history
from protocol.wal.recovery import Kind, Row
from protocol.wal.repair import Action, NothingToRepairError, Plan, carry_out, lost_entries, plan_repair
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import MemoryStorage, RealStorage, Storage
from protocol.wal.verify import Examination, check_journal

JOURNAL = DIRECTORY / "journal.wal"
NEWEST = sealed_path(DIRECTORY, 13)


def one_file() -> MemoryStorage:
    """LSN 1..12."""
    storage = MemoryStorage()
    build(storage)
    return storage


def damaged_at(lsn: int) -> MemoryStorage:
    storage = one_file()
    content = storage.files[JOURNAL]
    content[offsets_of(bytes(content))[lsn] - 1] ^= 1
    return storage


def cut_to(lsn: int, extra: int = 0) -> MemoryStorage:
    storage = one_file()
    content = storage.files[JOURNAL]
    del content[offsets_of(bytes(content))[lsn] + extra :]
    return storage


def without_journal(content: bytes | None = None) -> MemoryStorage:
    """Two sealed files, and nothing that can be read after them."""
    storage = three_files()
    if content is None:
        storage.unlink(JOURNAL)
    else:
        storage.files[JOURNAL] = bytearray(content)
    return storage


def examined(storage: Storage, known: int = 0) -> Examination:
    return check_journal(storage, DIRECTORY, knows(known))


def plan_of(storage: Storage, known: int = 0) -> Plan:
    return plan_repair(examined(storage, known), storage.list_names(DIRECTORY))


CASES = [
    (Row.CONTRADICTED, lambda: damaged_at(5), 0, Action.CUT, 4),
    (Row.KNOWN_BAD, lambda: damaged_at(12), 12, Action.CUT, 11),
    (Row.TAIL_SHORT, lambda: cut_to(9), 12, Action.FORGET, 9),
    (Row.TORN_TAIL, lambda: cut_to(9, extra=5), 9, Action.CUT, 9),
    (Row.TORN_TAIL, lambda: cut_to(0, extra=5), 0, Action.CUT, 0),
    (Row.MISSING, without_journal, 17, Action.REOPEN, 16),
    (Row.MISSING, lambda: without_journal(b""), 0, Action.REOPEN, 16),
    (Row.MISSING, lambda: without_journal(b"\0" * 99), 17, Action.REOPEN, 16),
]
IDS = [f"{row}-{number}" for number, (row, *_) in enumerate(CASES)]
Case = tuple[Row, Callable[[], MemoryStorage], int, Action, int]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_each_row_is_repaired_in_its_way_and_keeps_the_damaged_file(case: Case) -> None:
    row, make, known, action, tail_lsn = case
    storage = make()
    before = bytes(storage.files[JOURNAL]) if JOURNAL in storage.files else None
    result = examined(storage, known)
    plan = plan_repair(result, storage.list_names(DIRECTORY))
    assert (result.verdict.row, plan.action, plan.tail_lsn, plan.known_lsn) == (row, action, tail_lsn, known)
    history = [entry for entry in readable(storage) if entry[0].lsn <= tail_lsn]
    pages = [known]
    carry_out(storage, plan, pages.clear)
    assert pages == []
    if plan.keep_as is not None:
        assert bytes(storage.files[plan.keep_as]) == before
    if plan.action is Action.CUT and before is not None:
        assert plan.lost_bytes == len(before) - len(storage.files[JOURNAL])
    after = examined(storage)
    assert (after.kind, after.found.tail_lsn) == (Kind.CLEAN, tail_lsn)
    journal = opened(storage)
    assert (journal.tail_lsn, readable(storage)) == (tail_lsn, history)
    if tail_lsn:
        assert journal.checkpoint(99_000, ()) == tail_lsn + 1, "it rolls: no sealed name is in the way"


def readable(storage: Storage) -> list[tuple[Envelope, int, bytes]]:
    """What the history gives before its first bad place."""
    entries: list[tuple[Envelope, int, bytes]] = []
    with suppress(WalError, FileNotFoundError):
        for entry in read_history(DIRECTORY, storage=storage):
            entries.append(entry)
    return entries


class Crashing(WatchedStorage):
    """The process dies at the n-th call that changes something."""

    def __init__(self, inner: MemoryStorage, number: int) -> None:
        super().__init__(inner)
        self.number = number

    def note(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) == self.number:
            raise WalSyncError(f"{call}: the process died")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_after_a_crash_at_any_step_the_start_or_a_second_repair_comes_to_the_same(case: Case) -> None:
    _, make, known, _, tail_lsn = case
    storage = make()
    history = [entry for entry in readable(storage) if entry[0].lsn <= tail_lsn]
    number = 1
    while crashed := crash_at(number, make(), known):
        storage, pages = crashed
        start_or_repair(storage, pages)
        assert (examined(storage, pages[0]).kind, readable(storage)) == (Kind.CLEAN, history), number
        copies = [name for name in storage.list_names(DIRECTORY) if name.startswith("journal.wal.damaged-")]
        assert not any(storage.is_same_file(DIRECTORY / name, JOURNAL) for name in copies)
        number += 1
    assert number > 3


def crash_at(number: int, storage: MemoryStorage, known: int) -> tuple[MemoryStorage, list[int]] | None:
    """The disk, and what the pages know, after a repair that died at its n-th step; None if it had fewer."""
    storage._held.clear()
    crashing, pages = Crashing(storage, number), [known]
    try:
        carry_out(crashing, plan_of(storage, known), lambda: forget(crashing, pages))
    except WalSyncError:
        return storage, pages
    return None


def forget(storage: Crashing, pages: list[int]) -> None:
    storage.note("forget the pages")
    pages[0] = 0


def start_or_repair(storage: MemoryStorage, pages: list[int]) -> None:
    """As an operator: start; if that is refused, repair and start again."""
    try:
        opened(storage, known=pages[0])._release()
    except WalCorruptError:
        storage._held.clear()
        carry_out(storage, plan_of(storage, pages[0]), lambda: pages.__setitem__(0, 0))
        storage._held.clear()
        opened(storage)._release()


def test_what_is_known_is_reset_last() -> None:
    """R6."""
    storage = WatchedStorage(damaged_at(5))
    plan = plan_of(storage)
    carry_out(storage, plan, lambda: storage.note("forget the pages"))
    assert plan.keep_as == DIRECTORY / "journal.wal.damaged-5"
    assert storage.calls == [
        "truncate journal.wal.new 0",
        f"write journal.wal.new 0+{plan.prefix_bytes}",
        "sync journal.wal.new",
        "link journal.wal journal.wal.damaged-5",
        "sync directory",
        "rename journal.wal.new journal.wal",
        "sync directory",
        "forget the pages",
        "write watermark 0+1024",
        "sync watermark",
    ]


def test_a_packed_sealed_file_becomes_the_journal_again(tmp_path: Path) -> None:
    storage = RealStorage()
    build(storage, tmp_path)
    journal = opened(storage, tmp_path)
    journal.checkpoint(13_000, ())
    journal._release()
    history = list(read_history(tmp_path))[:12]
    packed = pack_sealed(storage, list_sealed(storage, tmp_path)[0])
    (tmp_path / "journal.wal").unlink()
    plan = plan_repair(check_journal(storage, tmp_path, nobody_knows), storage.list_names(tmp_path))
    carry_out(storage, plan, lambda: None)
    assert not packed.path.exists()
    assert list_sealed(storage, tmp_path) == []
    assert list(read_history(tmp_path)) == history
    assert opened(storage, tmp_path).checkpoint(14_000, ()) == 13


def test_a_second_repair_keeps_the_first_ones_copy() -> None:
    storage = damaged_at(5)
    first = plan_of(storage)
    storage.files[DIRECTORY / "journal.wal.damaged-5"] = bytearray(b"an older one")
    second = plan_of(storage)
    assert [plan.keep_as.name for plan in (first, second) if plan.keep_as] == [
        "journal.wal.damaged-5", "journal.wal.damaged-5.1",
    ]  # fmt: skip


def lost_lsns(storage: Storage, known: int = 0) -> list[int]:
    result = examined(storage, known)
    plan = plan_repair(result, storage.list_names(DIRECTORY))
    return [envelope.lsn for _, envelope, _ in lost_entries(storage, result, plan)]


def test_what_can_still_be_read_behind_the_bad_place_is_listed_over_several_bad_places() -> None:
    assert lost_lsns(damaged_at(5)) == [6, 7, 8, 9, 10, 11, 12]
    twice = damaged_at(5)
    twice.files[JOURNAL][offsets_of(bytes(one_file().files[JOURNAL]))[8] - 1] ^= 1
    assert lost_lsns(twice) == [6, 7, 9, 10, 11, 12]
    assert lost_lsns(damaged_at(12), known=12) == []
    assert lost_lsns(cut_to(9), known=12) == []
    assert lost_lsns(without_journal()) == []


def test_what_follows_a_bad_checkpoint_is_listed() -> None:
    storage = three_files()
    journal = opened(storage)
    journal.append_batch([entry(18), entry(19)])
    journal._release()
    storage.files[JOURNAL][40] ^= 1
    assert lost_lsns(storage) == [18, 19]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (one_file, "clean"),
        (lambda: damaged_sealed(), "cannot be repaired, and need not be for a start"),
        (lambda: damaged_at(1), "nothing to go on from"),
        (lambda: damaged_sealed(without_journal()), "damaged too"),
    ],
    ids=["clean", "sealed", "first entry", "both"],
)
def test_repair_is_refused_where_there_is_nothing_to_do_or_to_go_on_from(
    make: Callable[[], MemoryStorage], reason: str
) -> None:
    with pytest.raises(NothingToRepairError, match=reason):
        plan_of(make())


def damaged_sealed(storage: MemoryStorage | None = None) -> MemoryStorage:
    storage = storage or three_files()
    storage.files[NEWEST][-1] ^= 1
    return storage
