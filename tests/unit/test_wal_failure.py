"""A failed write or sync is final: noted on the latch page, HALTED, code 11; the next wal goes on in a new file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from streams import Clock, Peer, WalUnderTest, Wire, notes_payload, open_wire, until
from wal_journals import WatchedStorage

from actors.latch import LATCH_NAME, Latch
from actors.mapped import MappedPage
from protocol.errors import ExitCode, WalSyncError
from protocol.messages import Data, Welcome
from protocol.records import EntryType, Producer, SignalRefused, decode_record
from protocol.wal import Journal
from protocol.wal.journal import read_journal


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with open_wire("inproc", tmp_path) as made:
        Clock(monkeypatch)
        yield made


@pytest.fixture
def latch(wire: Wire) -> Iterator[Latch]:
    """The page as the next start and everybody else finds it."""
    page = Latch.create_or_open(wire.run_dir / LATCH_NAME)
    yield page
    page.close()


def wal_on(wire: Wire, storage: WatchedStorage, incarnation: int = 1) -> WalUnderTest:
    wal = WalUnderTest(wire, incarnation)
    wal.actor.journal = Journal(wire.run_dir / "wal", storage=storage)
    return wal


def risk(wire: Wire, wal: WalUnderTest, incarnation: int = 1) -> Peer:
    peer = Peer(wire, "risk", incarnation, producer=Producer.RISK)
    peer.hello()
    until(lambda: peer.of(Welcome), wal.turn)
    return peer


def append_one(peer: Peer, wal: WalUnderTest, number: int) -> None:
    """Acknowledged: it has come back on the tail."""
    before = len(peer.chunks())
    peer.append(number, notes_payload([number]))
    until(lambda: len(peer.chunks()) > before, wal.turn)


def notes(storage: WatchedStorage, path: Path) -> list[int]:
    records = [decode_record(envelope.entry_type, data) for envelope, _, data in read_journal(path, storage=storage)]
    return [record.signal for record in records if isinstance(record, SignalRefused)]


def names(storage: WatchedStorage, path: Path) -> list[str]:
    return storage.list_names(path.parent)


@pytest.mark.parametrize("call", ["write journal.wal", "sync journal.wal"])
def test_the_next_life_goes_on_in_a_new_file_with_all_that_was_acknowledged(
    wire: Wire, latch: Latch, call: str
) -> None:
    storage = WatchedStorage()
    wal = wal_on(wire, storage).begin()
    peer = risk(wire, wal)
    append_one(peer, wal, 1)
    assert latch.journal_failed_us == 0
    peer.append(2, notes_payload([2]))
    storage.fail_at = call
    with pytest.raises(WalSyncError, match="not written any more"):
        until(lambda: False, wal.turn)
    assert (latch.journal_failed_us > 0, latch.is_halted(), latch.who()) == (True, True, "wal")
    assert call in latch.reason()
    assert len(peer.chunks()) == 2, "the second was not acknowledged"
    failed = storage.inner.files[wal.journal.path]
    content = bytes(failed)
    wal.die()

    again = wal_on(wire, storage, 2).begin()
    assert latch.journal_failed_us == 0
    assert latch.is_halted(), "the halt is not the note's to clear"
    kept = [name for name in names(storage, wal.journal.path) if name.startswith("journal.wal.failed-")]
    assert [bytes(storage.inner.files[wal.journal.path.with_name(name)]) for name in kept] == [content]
    reader = risk(wire, again, 2)
    last = reader.of(Welcome)[0].last_producer_seq
    assert last in (1, 2)
    append_one(reader, again, last + 1)
    assert notes(storage, wal.journal.path) == list(range(1, last + 2))
    assert bytes(failed) == content, "the file that failed is not written again"
    again.die()
    third = wal_on(wire, storage, 3).begin()
    assert [name for name in names(storage, wal.journal.path) if name.startswith("journal.wal.failed-")] == kept
    third.die()


def test_a_watermark_that_cannot_be_written_ends_wal_too(wire: Wire, latch: Latch) -> None:
    storage = WatchedStorage()
    wal = wal_on(wire, storage).begin()
    storage.fail_at = "write watermark"
    with pytest.raises(WalSyncError):
        until(lambda: False, wal.turn)
    assert (latch.journal_failed_us > 0, latch.is_halted()) == (True, True)
    wal.die()


@pytest.mark.parametrize("call", ["sync journal.wal", "write journal.wal", "sync watermark", "sync directory"])
def test_a_disk_that_refuses_a_new_journal_is_noted_and_halts(wire: Wire, latch: Latch, call: str) -> None:
    storage = WatchedStorage()
    wal = wal_on(wire, storage)
    storage.fail_at = call
    with pytest.raises(WalSyncError):
        wal.begin()
    assert (latch.journal_failed_us > 0, latch.is_halted()) == (True, True)
    wal.die()
    again = wal_on(wire, storage, 2).begin()
    assert latch.journal_failed_us == 0
    append_one(risk(wire, again, 2), again, 1)
    again.die()


@pytest.mark.parametrize("call", ["sync journal.wal", "write journal.wal.new", "link", "rename", "sync directory"])
def test_a_disk_that_refuses_the_recovery_is_noted_and_halts(wire: Wire, latch: Latch, call: str) -> None:
    storage = WatchedStorage()
    wal = wal_on(wire, storage).begin()
    append_one(risk(wire, wal), wal, 1)
    wal.die()
    if call != "sync journal.wal":
        latch.note_journal_failure()
    again = wal_on(wire, storage, 2)
    storage.fail_at = call
    with pytest.raises(WalSyncError):
        again.begin()
    assert (latch.journal_failed_us > 0, latch.is_halted()) == (True, True)
    again.die()
    third = wal_on(wire, storage, 3).begin()
    assert (latch.journal_failed_us, notes(storage, wal.journal.path)) == (0, [1])
    third.die()


def test_the_note_stays_until_the_page_without_it_is_on_disk(
    wire: Wire, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(page: MappedPage) -> None:
        raise OSError(errno.EIO, "Input/output error")

    storage = WatchedStorage()
    wal_on(wire, storage).begin().die()
    latch.note_journal_failure()
    wal = wal_on(wire, storage, 2)
    monkeypatch.setattr(MappedPage, "sync", fail)
    with pytest.raises(WalSyncError, match="a page could not be synced"):
        wal.begin()
    assert (latch.journal_failed_us > 0, latch.is_halted()) == (True, True)
    wal.die()


def test_a_journal_that_cannot_be_closed_is_noted_and_gives_code_11(wire: Wire, latch: Latch) -> None:
    storage = WatchedStorage()
    wal = wal_on(wire, storage).begin()
    storage.fail_at = "sync watermark"
    wal.actor.release()
    assert (wal.actor.exit_code, latch.journal_failed_us > 0, latch.is_halted()) == (
        ExitCode.JOURNAL_FAILURE, True, True,
    )  # fmt: skip
    wal.die()


def test_a_journal_in_memory_leaves_the_note_to_one_on_disk(wire: Wire, latch: Latch) -> None:
    latch.note_journal_failure()
    noted = latch.journal_failed_us
    wal = WalUnderTest(wire, extra="[wal]\nenabled = false\n").begin()
    append_one(risk(wire, wal), wal, 1)
    assert latch.journal_failed_us == noted
    wal.die()


def test_what_waited_for_the_failed_sync_hears_nothing(wire: Wire, latch: Latch) -> None:
    """Neither DATA nor WELCOME: both would acknowledge."""
    storage = WatchedStorage()
    wal = wal_on(wire, storage).begin()
    peer, late = risk(wire, wal), Peer(wire, "gateway", producer=Producer.GATEWAY)
    heard = len(peer.of(Data))
    peer.append(1, notes_payload([1]))
    late.hello()
    until(lambda: wal.actor.batch and wal.actor.hellos, wal.actor.server.receive)
    storage.fail_at = "sync journal.wal"
    with pytest.raises(WalSyncError):
        wal.actor.commit()
    with pytest.raises(WalSyncError):
        wal.journal.append_batch([(EntryType.SIGNAL_REFUSED, 1, Producer.RISK, 2, b"")])
    assert (len(peer.of(Data)), late.of(Welcome)) == (heard, [])
    wal.die()
