"""The wal actor on a real file, faced by producers written by hand: what it accepts, when it lets go, what ends it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from streams import TRANSPORTS, Clock, Peer, WalUnderTest, Wire, note, notes_payload, open_wire, run_record, until
from structlog.testing import capture_logs
from wal_journals import WatchedStorage

from actors.stream import TAIL_EVERY_S
from actors.venues import Answer
from actors.wal import APPENDABLE
from protocol.codec import encode_append
from protocol.errors import WalSyncError
from protocol.messages import Data, Reset, SayHello, Welcome, encode_message
from protocol.orders import TradingMode
from protocol.records import RECORD_TYPES, EntryType, Producer, RunEvent, TradingState, decode_record, encode_record
from protocol.wal import Journal
from protocol.wal.format import LENGTH_MAX, iterate_payload
from protocol.wal.journal import read_journal


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def wal(wire: Wire, clock: Clock) -> Iterator[WalUnderTest]:
    wal = WalUnderTest(wire).begin()
    yield wal
    wal.die()


def risk(wire: Wire, incarnation: int = 1) -> Peer:
    return Peer(wire, "risk", incarnation, producer=Producer.RISK)


def tail_notes(peer: Peer) -> list[int]:
    """The numbers of the notes that came on the tail, as they came."""
    peer.listen()
    found: list[int] = []
    for message, payload in zip(peer.heard, peer.payloads, strict=True):
        if isinstance(message, Data) and message.count:
            for envelope, _, body in iterate_payload(payload):
                record = decode_record(envelope.entry_type, body)
                if envelope.entry_type == EntryType.SIGNAL_REFUSED:
                    found.append(record.signal)  # type: ignore[attr-defined]
    return found


def welcome(peer: Peer, wal: WalUnderTest, count: int = 1) -> Welcome:
    until(lambda: len(peer.of(Welcome)) == count, wal.turn, what="WELCOME")
    return peer.of(Welcome)[-1]


# Exactly last + 1.


def test_exactly_the_next_number_is_accepted(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire)
    peer.hello()
    assert welcome(peer, wal).last_producer_seq == 0
    for first, numbers in (
        (1, [1, 2]),
        (1, [91, 92]),  # lower: they are there already
        (2, [92, 3]),  # the first half is
        (5, [95]),  # higher: 4 is missing
        (4, [4]),
    ):
        peer.append(first, notes_payload(numbers), len(numbers))
    until(lambda: tail_notes(peer)[-1:] == [4], wal.turn)
    assert tail_notes(peer) == wal.notes() == [1, 2, 3, 4]
    counters = wal.actor.counters
    assert (counters["duplicates"], counters["dropped_gap"], wal.journal.last_producer_seq[Producer.RISK]) == (3, 1, 4)


def test_a_gap_is_closed_after_a_welcome_that_names_the_last_number(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([1]))
    peer.append(3, notes_payload([3]))
    peer.hello(2, credit=1)
    assert welcome(peer, wal, 2).last_producer_seq == 1
    peer.append(2, notes_payload([2, 3]), 2)
    until(lambda: wal.notes() == [1, 2, 3], wal.turn)


def halt_payload(token: int) -> bytes:
    """What the gateway may append."""
    record = encode_record(TradingState(TradingMode.HALTED, "operator", "", token))
    return encode_append([(EntryType.TRADING_STATE, 1, record)])


PAYLOADS = {Producer.RISK: lambda number: notes_payload([number]), Producer.GATEWAY: halt_payload}


def test_every_producer_has_numbers_of_its_own(wire: Wire, wal: WalUnderTest) -> None:
    peers = [risk(wire), Peer(wire, "gateway", producer=Producer.GATEWAY)]
    for peer in peers:
        peer.hello()
        welcome(peer, wal)
        peer.append(1, PAYLOADS[Producer(peer.producer)](7))
    until(lambda: wal.journal.tail_lsn == 3, wal.turn)
    late = Peer(wire, "gateway", 2, producer=Producer.GATEWAY)
    late.hello()
    assert welcome(late, wal).last_producer_seq == 1
    assert wal.notes() == [7]


def test_a_producer_appends_only_what_is_its_own(wire: Wire, wal: WalUnderTest) -> None:
    peer = Peer(wire, "gateway", producer=Producer.GATEWAY)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([1]))
    until(lambda: wal.actor.server.counters["bad_messages"] == 1, wal.turn)
    peer.append(1, halt_payload(7))
    until(lambda: wal.journal.tail_lsn == 2, wal.turn)
    assert wal.notes() == []


def test_whatever_a_venue_says_order_routing_may_append() -> None:
    said = {entry for entry, record in RECORD_TYPES.items() if record in get_args(Answer)}
    assert len(said) > 1
    assert said <= APPENDABLE[Producer.ORDER_ROUTING]


def test_what_is_refused_is_said_once_for_each_life_for_all_behind_it_waits(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    with capture_logs() as logs:
        for count in (1, 2):
            peer.append(1, encode_append([(EntryType.ORDER_UPDATE, 1, b"\x90")]))
            until(lambda count=count: wal.actor.server.counters["bad_messages"] == count, wal.turn)
    refused = [line for line in logs if line["event"] == "append_refused"]
    assert [(line["name"], "is not RISK's to append" in line["reason"]) for line in refused] == [("risk", True)]


# WELCOME is one durable snapshot (J1, J2).


@pytest.mark.parametrize("sync", ["always", "interval", "off"])
def test_a_welcome_tells_of_everything_accepted_and_only_when_it_is_on_disk(
    wire: Wire, clock: Clock, sync: str
) -> None:
    storage = WatchedStorage()
    wal = WalUnderTest(wire, extra=f'[wal]\nsync = "{sync}"\n')
    wal.actor.journal = Journal(wire.run_dir / "wal", sync=sync, storage=storage)
    wal.begin()
    former, new = risk(wire), risk(wire, 2)
    former.hello()
    welcome(former, wal)
    former.append(1, notes_payload([1, 2, 3]), 3)
    # Accepted, not written: no turn of the loop has ended since.
    until(lambda: wal.actor.last_seq.get(Producer.RISK) == 3, wal.actor.server.receive)
    assert wal.journal.tail_lsn == 1
    new.hello()
    until(lambda: wal.actor.hellos, wal.actor.server.receive)
    storage.calls.clear()
    sent = wal.actor.server.welcome

    def watch(consumer: object, message: Welcome) -> None:
        storage.note(f"WELCOME tail {message.tail_position}, last {message.last_producer_seq}")
        sent(consumer, message)  # type: ignore[arg-type]

    wal.actor.server.welcome = watch  # type: ignore[method-assign]
    told = welcome(new, wal)
    assert (told.tail_position, told.last_producer_seq, told.durable) == (4, 3, sync == "always")
    write, sync_call, answer = (
        next(index for index, call in enumerate(storage.calls) if call.startswith(what))
        for what in ("write journal.wal", "sync journal.wal", "WELCOME tail 4, last 3")
    )
    assert write < sync_call < answer
    assert wal.journal.durable_lsn == 4
    wal.die()


def test_what_an_older_incarnation_appends_is_dropped_from_the_newer_hello_on(wire: Wire, wal: WalUnderTest) -> None:
    old, new = risk(wire), risk(wire, 2)
    old.hello()
    welcome(old, wal)
    new.hello()
    assert welcome(new, wal).last_producer_seq == 0
    old.append(1, notes_payload([666]))
    old.hello()
    stale = wal.actor.server.counters
    until(lambda: stale["stale_messages"] == 2, wal.turn)
    new.append(1, notes_payload([1]))
    until(lambda: tail_notes(new) == [1], wal.turn)
    assert (wal.notes(), old.of(SayHello), len(old.of(Welcome))) == ([1], [], 1)


def test_an_append_that_names_another_life_than_its_sender_is_refused(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire, 2)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([666]), incarnation=1)
    peer.append(1, notes_payload([1]))
    until(lambda: wal.notes() == [1], wal.turn)
    assert wal.actor.server.counters["bad_messages"] == 1


# Nothing is let out that is not on disk.


@pytest.mark.parametrize(("sync", "order"), [("always", "sync before tail"), ("interval", "tail before sync")])
def test_records_leave_on_the_tail_after_their_sync_where_that_is_promised(
    wire: Wire, clock: Clock, sync: str, order: str
) -> None:
    storage = WatchedStorage()
    wal = WalUnderTest(wire, extra=f'[wal]\nsync = "{sync}"\ninterval_ms = 100\n')
    wal.actor.journal = Journal(wire.run_dir / "wal", sync=sync, storage=storage)
    wal.begin()
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([1]))
    until(lambda: tail_notes(peer) == [1] and wal.journal.durable_lsn == 2, wal.turn)
    storage.calls.clear()  # the interval begins
    peer.append(2, notes_payload([2]))
    until(lambda: tail_notes(peer) == [1, 2], wal.turn)
    synced = [call for call in storage.calls if call == "sync journal.wal"]
    assert bool(synced) == (order == "sync before tail")
    clock.advance(0.1)
    until(lambda: "sync journal.wal" in storage.calls, wal.turn, what="the sync of the interval")
    wal.die()


def test_many_appends_of_one_turn_share_one_write_and_one_sync(wire: Wire, clock: Clock) -> None:
    storage = WatchedStorage()
    wal = WalUnderTest(wire)
    wal.actor.journal = Journal(wire.run_dir / "wal", storage=storage)
    wal.begin()
    peers = [risk(wire), Peer(wire, "gateway", producer=Producer.GATEWAY)]
    for peer in peers:
        peer.hello()
        welcome(peer, wal)
        for number in (1, 2, 3):
            peer.append(number, PAYLOADS[Producer(peer.producer)](number))
    until(lambda: sum(wal.actor.last_seq.get(peer.producer, 0) for peer in peers) == 6, wal.actor.server.receive)
    storage.calls.clear()
    wal.actor.commit()
    assert [call.split()[0] for call in storage.calls if "journal.wal" in call] == ["write", "sync"]
    wal.die()


def test_what_is_more_than_one_group_commit_holds_waits_for_the_next(
    wire: Wire, wal: WalUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.wal.BATCH_RECORDS_MAX", 3)
    monkeypatch.setattr("actors.wal.RECEIVE_STEP", 1)
    sizes: list[int] = []
    append = wal.journal.append_batch
    monkeypatch.setattr(wal.journal, "append_batch", lambda batch: (sizes.append(len(batch)), append(batch)))
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    for first in range(1, 13, 2):
        peer.append(first, notes_payload([first, first + 1]), 2)
    until(lambda: tail_notes(peer)[-1:] == [12], wal.turn)
    assert wal.notes() == list(range(1, 13))
    assert max(sizes) <= 4, "one message beyond the bound at most"


def test_a_failed_sync_halts_trading_and_acknowledges_nothing(wire: Wire, clock: Clock) -> None:
    storage = WatchedStorage()
    wal = WalUnderTest(wire)
    wal.actor.journal = Journal(wire.run_dir / "wal", storage=storage)
    wal.begin()
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([1]))
    peer.hello()
    until(lambda: wal.actor.batch and wal.actor.hellos, wal.actor.server.receive)
    storage.fail_at = "sync journal.wal"
    with pytest.raises(WalSyncError, match="not written any more"):
        wal.actor.commit()
    assert wal.actor.latch.is_halted()
    assert wal.actor.latch.who() == "wal"
    assert wal.journal.release_lsn == 1
    with pytest.raises(WalSyncError):
        wal.journal.append_batch([(EntryType.SIGNAL_REFUSED, 1, Producer.RISK, 2, encode_record(note(2)))])
    peer.listen()
    assert (tail_notes(peer), len(peer.of(Welcome))) == ([], 1)
    wal.die()


# Positions.


@pytest.mark.parametrize("ahead", [1, 1_000])
def test_a_consumer_that_knows_more_than_the_journal_is_reset(wire: Wire, wal: WalUnderTest, ahead: int) -> None:
    peer = risk(wire)
    peer.hello(1 + 1 + ahead, epoch=wal.journal.journal_id)
    until(lambda: peer.of(Reset), wal.turn, what="RESET")
    assert "the journal ends at LSN 1" in peer.of(Reset)[0].reason
    assert not peer.of(Welcome)
    peer.append(1, notes_payload([666]))
    until(lambda: peer.of(SayHello), wal.turn, what="the reset peer to be unknown")
    assert wal.notes() == []


def test_a_consumer_of_another_journal_is_reset(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire)
    peer.hello(1, epoch=b"f" * 16)
    until(lambda: peer.of(Reset), wal.turn, what="RESET")
    assert (peer.of(Reset)[0].reason, peer.of(Welcome)) == ("another journal", [])


def test_a_consumer_is_fed_from_where_it_asks_and_zero_is_the_first(wire: Wire, wal: WalUnderTest) -> None:
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload(list(range(1, 9))), 8)
    until(lambda: len(wal.notes()) == 8, wal.turn)
    readers = []
    for index, (position, expected) in enumerate([(0, range(1, 9)), (1, range(1, 9)), (6, range(5, 9)), (10, ())]):
        reader = Peer(wire, f"reader{index}")
        reader.hello(position, epoch=wal.journal.journal_id if position else b"")
        assert welcome(reader, wal).first_position == max(1, position)
        readers.append((reader, list(expected)))
    peer.append(9, notes_payload([9]))
    for reader, expected in readers:
        until(lambda reader=reader: tail_notes(reader)[-1:] == [9], wal.turn)
        assert tail_notes(reader) == [*expected, 9]


def test_the_tail_is_told_every_quarter_second(wire: Wire, wal: WalUnderTest, clock: Clock) -> None:
    peer = risk(wire)
    peer.hello()
    until(lambda: peer.chunks(), wal.turn)
    for count in (1, 2):
        clock.advance(TAIL_EVERY_S)
        until(lambda count=count: len(peer.of(Data)) == 1 + count, wal.turn, what="the tail")
    assert peer.of(Data)[-1] == Data(wal.journal.journal_id, 2, 0, 1)


# What a peer may not do.

REFUSED: list[tuple[str, int, bytes]] = [
    ("an ENGINE_RUN, which only wal writes", Producer.RISK, encode_append([(EntryType.ENGINE_RUN, 1, b"\x90")])),
    ("a record beyond the limit", Producer.RISK, encode_append([(EntryType.SIGNAL_REFUSED, 1, bytes(LENGTH_MAX))])),
    ("a payload cut short", Producer.RISK, notes_payload([1])[:-1]),
    ("a producer's number that no byte holds", 256, notes_payload([1])),
    ("a negative producer", -1, notes_payload([1])),
    ("no producer", 0, notes_payload([1])),
    ("wal's own number", Producer.WAL, notes_payload([1])),
    ("the supervisor's number", Producer.SUPERVISOR, notes_payload([1])),
]  # fmt: skip


@pytest.mark.parametrize(("what", "producer", "payload"), REFUSED, ids=[what for what, _, _ in REFUSED])
def test_what_no_producer_may_append_is_counted_and_harms_nobody(
    wire: Wire, wal: WalUnderTest, what: str, producer: int, payload: bytes
) -> None:
    vandal, honest = Peer(wire, "risk", producer=producer), risk(wire, 2)
    vandal.hello()
    if producer in (0, Producer.RISK):  # else the HELLO is refused already
        welcome(vandal, wal)
    run = wal.actor.last_seq[Producer.SUPERVISOR]
    vandal.append(run + 1 if producer == Producer.SUPERVISOR else 1, payload)
    until(lambda: wal.actor.server.counters["bad_messages"], wal.turn, what=f"{what} to be counted")
    honest.hello()
    welcome(honest, wal)
    honest.append(1, notes_payload([7]))
    until(lambda: tail_notes(honest) == [7], wal.turn)
    assert wal.notes() == [7]
    assert wal.actor.last_seq[Producer.SUPERVISOR] == run


@pytest.mark.parametrize("count", [0, 2, 2**64 - 1])
@pytest.mark.parametrize("first_seq", [1, 5])
def test_an_append_that_counts_its_records_wrongly_is_refused_behind_a_gap_too(
    wire: Wire, wal: WalUnderTest, count: int, first_seq: int
) -> None:
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    peer.append(first_seq, notes_payload([1]), count=count)
    until(lambda: wal.actor.server.counters["bad_messages"], wal.turn, what="the append to be counted")
    assert wal.actor.counters["dropped_gap"] == 0
    encode_message(wal.actor.statistics())
    peer.append(1, notes_payload([1]))
    until(lambda: tail_notes(peer) == [1], wal.turn)


def test_a_hello_of_a_life_that_its_child_has_not_begun_shuts_nobody_out(wire: Wire, wal: WalUnderTest) -> None:
    page = wire.page("risk")
    page.begin_life(3, os.getpid())
    strangers = [risk(wire, incarnation) for incarnation in (4, 2**63)]
    for stranger in strangers:
        stranger.hello()
    until(lambda: wal.actor.server.counters["bad_messages"] == 2, wal.turn, what="both HELLOs to be refused")
    peer = risk(wire, 3)
    peer.hello()
    welcome(peer, wal)
    peer.append(1, notes_payload([7]))
    until(lambda: tail_notes(peer) == [7], wal.turn)
    page.close()


def test_newest_lives_are_remembered_of_so_many_names_only(wire: Wire, wal: WalUnderTest, monkeypatch: Any) -> None:
    monkeypatch.setattr("actors.stream.NAMES_MAX", 3)
    peer = risk(wire)
    peer.hello()
    welcome(peer, wal)
    for number in range(10):
        passing = Peer(wire, f"reader{number}")
        passing.hello()
        welcome(passing, wal)
        wal.actor.server.consumers.pop(f"reader{number}#1".encode())
    assert len(wal.actor.server._newest) <= 4
    assert "risk" in wal.actor.server._newest


# The run's records, and the end.


def runs(wal: WalUnderTest) -> list[tuple[RunEvent, bytes]]:
    records = [decode_record(envelope.entry_type, data) for envelope, _, data in read_journal(wal.journal.path)]
    return [(record.event, record.boot_id) for record in records if hasattr(record, "boot_id")]  # type: ignore[attr-defined]


def test_a_start_is_written_once_for_each_start_of_the_engine_however_often_wal_dies(
    tmp_path: Path, clock: Clock
) -> None:
    with open_wire("ipc", tmp_path) as wire:
        lives = [
            WalUnderTest(wire, life, boot_id=boot_id)
            for life, boot_id in enumerate((b"1" * 16, b"1" * 16, b"2" * 16), 1)
        ]
        for wal in lives:
            wal.begin().die()
        assert runs(lives[-1]) == [(RunEvent.START, b"1" * 16), (RunEvent.START, b"2" * 16)]


def test_a_stop_takes_in_what_is_queued_and_is_the_last_record_and_is_written_once(
    tmp_path: Path, clock: Clock
) -> None:
    """H3: a wal that died after the stop was durable, and before it could say so, does not write another."""
    with open_wire("ipc", tmp_path) as wire:
        wal = WalUnderTest(wire).begin()
        peer = risk(wire)
        peer.hello()
        welcome(peer, wal)
        peer.append(1, notes_payload([1, 2]), 2)
        until(lambda: wal.actor.last_seq.get(Producer.RISK) == 2, wal.actor.server.receive)
        stop = run_record(event=RunEvent.STOP)
        wal.actor.stop(stop)
        assert (wal.notes(), wal.journal.durable_lsn, wal.journal.tail_lsn) == ([1, 2], 4, 4)
        wal.die()
        again = WalUnderTest(wire, 2).begin()
        again.actor.stop(stop)
        again.die()
        assert [event for event, _ in runs(again)] == [RunEvent.START, RunEvent.STOP]


def test_without_a_file_records_are_sequenced_in_memory_and_not_called_durable(wire: Wire, clock: Clock) -> None:
    wal = WalUnderTest(wire, extra="[wal]\nenabled = false\n").begin()
    peer = risk(wire)
    peer.hello()
    assert not welcome(peer, wal).durable
    peer.append(1, notes_payload([1, 2]), 2)
    until(lambda: tail_notes(peer) == [1, 2], wal.turn)
    assert not wal.journal.path.exists()
    wal.die()


def test_a_run_with_other_settings_that_decide_about_trading_says_so_once(tmp_path: Path) -> None:
    """A tick_size, say: what stands in the journal was decided by another."""
    with open_wire("inproc", tmp_path) as wire:
        WalUnderTest(wire).begin().die()
        told: list[int] = []
        for incarnation, (boot, config_hash) in enumerate(((b"2", b"h"), (b"3", b"other"), (b"3", b"other")), 2):
            wal = WalUnderTest(wire, incarnation)
            wal.actor.log = wal.actor.log.bind()
            with capture_logs() as logs:
                run = run_record(boot * 16)
                wal.actor.begin(msgspec.structs.replace(run, config_hash=config_hash * 16))
            wal.die()
            told.append(len([line for line in logs if line["event"] == "config_changed"]))
        assert told == [0, 1, 0], "another boot; another config; the same boot again"
