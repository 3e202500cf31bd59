"""wal's barrier: who is asked, who is waited for and for how long, and what is written while everybody else waits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from streams import DEADLINE_S, TRANSPORTS, Clock, Peer, WalUnderTest, Wire, note, notes_payload, open_wire, until
from structlog.testing import capture_logs

from actors.checkpoints import BARRIER_MAX_S, LATE_RECORDS_MAX, RETRY_S, Checkpoints
from actors.stream import Consumer
from protocol.codec import encode_append
from protocol.messages import Barrier, Data, Reset, State, Welcome
from protocol.records import Checkpoint, EntryType, Producer, decode_record, encode_record
from protocol.state import STATE_BYTES_MAX
from protocol.wal.format import iterate_payload
from protocol.wal.history import read_history

DUE = "[wal]\ncheckpoint_records = 3\n"


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    with open_wire(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Scene:
    """wal, and risk and a strategy played by hand."""

    def __init__(self, wire: Wire, extra: str = DUE) -> None:
        self.wire = wire
        self.wal = WalUnderTest(wire, extra=extra).begin()
        self.risk = Peer(wire, "risk", producer=Producer.RISK)
        self.strategy = Peer(wire, "strategy.sma")
        self.seq = 1
        for peer in (self.risk, self.strategy):
            self.greet(peer)

    def greet(self, peer: Peer, from_position: int = 0) -> Welcome:
        before = len(peer.of(Welcome))
        peer.hello(from_position)
        until(lambda: len(peer.of(Welcome)) > before, self.wal.turn, what="WELCOME")
        return peer.of(Welcome)[-1]

    def append(self, count: int = 1) -> None:
        self.risk.append(self.seq, notes_payload(range(self.seq, self.seq + count)), count)
        self.seq += count

    def barrier(self, count: int = 1) -> Barrier:
        """The `count`th that risk hears of."""
        until(lambda: len(self.risk.of(Barrier)) >= count, self.wal.turn, what="BARRIER")
        return self.risk.of(Barrier)[count - 1]

    def answer(self, peer: Peer, state: bytes = b"state", wrong: dict[str, int] | None = None) -> None:
        barrier = peer.of(Barrier)[-1]
        right = {"barrier": barrier.number, "incarnation": peer.incarnation, "lsn": barrier.lsn}
        peer.say(State(**{**right, **(wrong or {})}), state)

    def until_heard(self, name: str) -> None:
        attempt = self.wal.actor.checkpoints.attempt
        assert attempt is not None
        until(lambda: name in attempt.states, self.wal.turn, what=f"the state of {name}")

    def lose_sealed_files(self) -> None:
        """wal dies, and they are kept no longer."""
        self.wal.die()
        assert self.wal.actor.sealing is not None
        self.wal.actor.sealing.wait(DEADLINE_S)
        for path in self.wal.journal.path.parent.glob("journal-*"):
            path.unlink()

    def checkpoints(self) -> list[tuple[int, Checkpoint]]:
        found = []
        for envelope, _, data in read_history(self.wire.run_dir / "wal"):
            record = decode_record(envelope.entry_type, data)
            if isinstance(record, Checkpoint):
                found.append((envelope.lsn, record))
        return found

    def until_written(self, count: int = 1) -> Checkpoint:
        until(lambda: self.wal.actor.checkpoints.counters["checkpoints"] == count, self.wal.turn, what="the checkpoint")
        return self.checkpoints()[-1][1]


@pytest.fixture
def scene(wire: Wire, clock: Clock) -> Iterator[Scene]:
    scene = Scene(wire)
    yield scene
    scene.wal.die()


def lsns(peer: Peer) -> list[int]:
    peer.listen()
    pairs = zip(peer.heard, peer.payloads, strict=True)
    chunks = [payload for message, payload in pairs if isinstance(message, Data) and message.count]
    return [envelope.lsn for payload in chunks for envelope, _, _ in iterate_payload(payload)]


def test_nothing_is_written_or_released_between_the_barrier_and_the_checkpoint(scene: Scene) -> None:
    scene.append(3)
    barrier = scene.barrier()
    assert barrier.lsn == 4
    scene.append(2)
    late = Peer(scene.wire, "gateway", producer=Producer.GATEWAY)
    late.hello()
    until(lambda: scene.wal.actor.hellos and scene.wal.actor.batch, scene.wal.turn, what="both to have arrived")
    assert (scene.wal.journal.tail_lsn, late.of(Welcome)) == (4, [])
    scene.answer(scene.risk, b"all")
    until(lambda: scene.strategy.of(Barrier), scene.wal.turn)
    scene.answer(scene.strategy, b"mine")
    record = scene.until_written()
    until(lambda: late.of(Welcome), scene.wal.turn)
    until(lambda: lsns(scene.risk)[-1:] == [7], scene.wal.turn)
    assert lsns(scene.risk) == [1, 2, 3, 4, 5, 6, 7]
    assert scene.checkpoints()[0][0] == 5
    assert record.states == (("risk", 4, b"all"), ("strategy.sma", 4, b"mine"))
    assert scene.wal.notes() == [4, 5], "the file goes on behind the checkpoint"
    assert (late.of(Welcome)[0].first_position, late.of(Welcome)[0].tail_position) == (5, 7)


def test_a_risk_that_hangs_holds_the_journal_up_no_longer_than_the_deadline(scene: Scene, clock: Clock) -> None:
    scene.append(3)
    scene.barrier()
    scene.append(2)
    until(lambda: scene.wal.actor.batch, scene.wal.turn, what="the appends to have arrived")
    clock.advance(BARRIER_MAX_S)
    until(lambda: scene.wal.journal.tail_lsn == 6, scene.wal.turn, what="the journal to go on")
    assert scene.checkpoints() == []
    assert scene.wal.actor.checkpoints.counters["checkpoints_dropped"] == 1
    scene.answer(scene.risk)
    for _ in range(10):
        scene.wal.turn()
    assert len(scene.risk.of(Barrier)) == 1, "the next attempt comes later"
    clock.advance(RETRY_S)
    assert scene.barrier(2).lsn == 6
    scene.answer(scene.risk)
    scene.until_heard("risk")
    clock.advance(BARRIER_MAX_S)
    assert scene.until_written().state_of("risk") == (6, b"state")


def test_a_strategy_that_is_late_keeps_its_older_state_and_starts_from_there(scene: Scene, clock: Clock) -> None:
    """F5."""
    scene.append(3)
    scene.barrier()
    scene.answer(scene.risk, b"one")
    until(lambda: scene.strategy.of(Barrier), scene.wal.turn)
    scene.answer(scene.strategy, b"mine")
    scene.until_written()
    scene.append(3)
    scene.barrier(2)
    scene.answer(scene.risk, b"two")
    scene.until_heard("risk")
    clock.advance(BARRIER_MAX_S)
    record = scene.until_written(2)
    assert record.states == (("risk", 8, b"two"), ("strategy.sma", 4, b"mine"))
    new, other = Peer(scene.wire, "strategy.sma", 2), Peer(scene.wire, "strategy.other")
    assert scene.greet(new).first_position == 5
    assert scene.greet(other).first_position == 9
    until(lambda: lsns(new)[-1:] == [9], scene.wal.turn)
    assert lsns(new) == [5, 6, 7, 8, 9]
    scene.lose_sealed_files()
    scene.wal = WalUnderTest(scene.wire, 2).begin()
    assert scene.greet(Peer(scene.wire, "strategy.sma", 3)).first_position == 9, "kept no longer: without saved state"


def test_a_strategy_that_keeps_nothing_any_more_has_no_state(scene: Scene) -> None:
    for number, said in ((1, b"mine"), (2, b"")):
        scene.append(3)
        scene.barrier(number)
        scene.answer(scene.risk)
        until(lambda number=number: len(scene.strategy.of(Barrier)) == number, scene.wal.turn)
        scene.answer(scene.strategy, said)
        record = scene.until_written(number)
    assert [name for name, _, _ in record.states] == ["risk"]


@pytest.mark.parametrize(
    "wrong", [{"barrier": 1}, {"incarnation": 7}, {"lsn": 3}], ids=["another barrier", "another life", "another LSN"]
)
def test_an_answer_to_something_else_is_ignored(scene: Scene, clock: Clock, wrong: dict[str, int]) -> None:
    """F4."""
    scene.append(3)
    scene.barrier()
    scene.answer(scene.risk, wrong=wrong)
    scene.append(1)
    until(lambda: scene.wal.actor.batch, scene.wal.turn, what="what was said after it")
    assert scene.wal.actor.checkpoints.attempt is not None
    clock.advance(BARRIER_MAX_S)
    until(lambda: scene.wal.journal.tail_lsn == 5, scene.wal.turn)
    assert scene.checkpoints() == []


def test_the_answer_of_a_life_that_has_been_replaced_is_ignored(scene: Scene) -> None:
    scene.append(3)
    scene.barrier()
    new = Peer(scene.wire, "risk", 2, producer=Producer.RISK)
    new.hello()
    until(lambda: scene.wal.actor.hellos, scene.wal.turn, what="the new life")
    scene.answer(scene.risk)
    until(lambda: scene.wal.actor.server.counters["stale_messages"], scene.wal.turn)
    assert scene.wal.actor.checkpoints.attempt is not None


def test_without_risk_there_is_no_attempt(wire: Wire, clock: Clock) -> None:
    wal = WalUnderTest(wire, extra=DUE).begin()
    gateway = Peer(wire, "gateway", producer=Producer.GATEWAY)
    gateway.hello()
    until(lambda: gateway.of(Welcome), wal.turn)
    for number in range(5):
        wal.actor.batch.append((EntryType.SIGNAL_REFUSED, 1, Producer.RISK, number + 1, encode_record(note(number))))
    for _ in range(20):
        wal.turn()
    assert (wal.journal.tail_lsn, wal.journal.first_lsn, wal.actor.checkpoints.attempt) == (6, 1, None)
    wal.die()


def test_the_next_life_of_wal_goes_on_behind_the_checkpoint_and_knows_all_numbers(scene: Scene, wire: Wire) -> None:
    scene.append(3)
    scene.barrier()
    scene.answer(scene.risk)
    until(lambda: scene.strategy.of(Barrier), scene.wal.turn)
    scene.answer(scene.strategy)
    scene.until_written()
    scene.wal.die()
    wal = WalUnderTest(wire, 2).begin()
    risk = Peer(wire, "risk", 2, producer=Producer.RISK)
    risk.hello()
    until(lambda: risk.of(Welcome), wal.turn)
    welcome = risk.of(Welcome)[0]
    assert (welcome.first_position, welcome.tail_position, welcome.last_producer_seq) == (5, 5, 3)
    behind = Peer(wire, "gateway", producer=Producer.GATEWAY)
    behind.hello(3, epoch=wal.journal.journal_id)
    until(lambda: lsns(behind)[-1:] == [5], wal.turn)
    assert lsns(behind) == [3, 4, 5]
    wal.die()


def test_whoever_asks_for_what_is_kept_no_longer_is_reset(scene: Scene) -> None:
    """J4."""
    scene.append(3)
    scene.barrier()
    scene.answer(scene.risk)
    until(lambda: scene.strategy.of(Barrier), scene.wal.turn)
    scene.answer(scene.strategy)
    scene.until_written()
    scene.lose_sealed_files()
    wal = WalUnderTest(scene.wire, 2).begin()
    behind = Peer(scene.wire, "gateway", producer=Producer.GATEWAY)
    behind.hello(3, epoch=wal.journal.journal_id)
    until(lambda: behind.of(Reset), wal.turn)
    assert behind.of(Reset)[0].reason == "LSN 3 is kept no longer"
    wal.die()


def test_a_journal_in_memory_does_not_grow_for_ever(wire: Wire, clock: Clock) -> None:
    scene = Scene(wire, DUE + "enabled = false\n")
    for number in range(1, 4):
        scene.append(3)
        scene.barrier(number)
        scene.answer(scene.risk)
        until(lambda number=number: len(scene.strategy.of(Barrier)) == number, scene.wal.turn)
        scene.answer(scene.strategy)
        counters = scene.wal.actor.checkpoints.counters
        until(lambda number=number, counters=counters: counters["checkpoints"] == number, scene.wal.turn)
    storage = scene.wal.journal._storage
    assert storage.list_names(scene.wire.run_dir / "wal") == ["journal.wal", "watermark"]
    scene.wal.die()


def test_an_append_that_is_refused_is_refused_during_a_barrier_too(scene: Scene) -> None:
    scene.append(3)
    scene.barrier()
    scene.risk.append(scene.seq, encode_append([(EntryType.CHECKPOINT, 1, b"\x90")]))
    until(lambda: scene.wal.actor.server.counters["bad_messages"] == 1, scene.wal.turn)


States = dict[str, tuple[int, bytes]]


def checkpoints(records_max: int = 0, bytes_max: int = 0) -> Checkpoints:
    return Checkpoints(records_max, bytes_max, ["sma"], structlog.get_logger())


def warnings(logs: list[Any]) -> list[tuple[str, list[str]]]:
    return [(log["reason"], log["silent"]) for log in logs if log["event"] == "checkpoint_dropped"]


def test_a_risk_that_has_not_been_sent_everything_is_named_once_and_counted_until_a_checkpoint_is_written() -> None:
    with capture_logs() as logs:
        made = checkpoints(records_max=1)
        behind = [consumer("risk"), consumer("strategy.sma")]
        behind[0].cursor = 9
        for tenth in range(46):
            assert made.whom_to_ask(behind, 9, tenth / 10) == []
        assert made.attempt is None
        assert made.counters["checkpoints_dropped"] == 4, "one for each RETRY_S"
        assert warnings(logs) == [("risk is behind, or gives no credit", ["risk"])]
        assert made.whom_to_ask(behind[1:], 9, 5.0) == made.whom_to_ask(behind[1:], 9, 6.0) == []
        assert warnings(logs)[1:] == [("risk is not there", ["risk"])]
        behind[0].cursor = 10
        assert made.whom_to_ask(behind, 9, 6.1) == behind, "at once when it can be asked"
        made.written()
        behind[0].cursor = 9
        assert made.whom_to_ask(behind, 9, 7.0) == made.whom_to_ask(behind, 9, 8.0) == []
        assert len(warnings(logs)) == 3, "another episode"


def test_a_silent_risk_is_named_once_and_every_attempt_is_counted() -> None:
    with capture_logs() as logs:
        made = checkpoints(records_max=1)
        asked = [consumer("risk"), consumer("strategy.sma")]
        for number in range(1, 4):
            barrier = made.begin(asked, 9, number * 100.0)
            made.take(asked[1], State(barrier.number, 1, 9), b"mine")
            assert made.finish({}, number * 100.0 + 1) is None
            assert made.counters["checkpoints_dropped"] == number
        assert warnings(logs) == [("no answer in time", ["risk"])]


def test_nothing_is_synced_for_a_checkpoint_that_nobody_can_be_asked_for(wire: Wire, clock: Clock) -> None:
    wal = WalUnderTest(wire, extra=DUE + 'sync = "interval"\ninterval_ms = 60000\n').begin()
    number = count(1)

    def turn() -> None:
        seq = next(number)
        wal.actor.batch.append((EntryType.SIGNAL_REFUSED, 1, Producer.RISK, seq, encode_record(note(seq))))
        wal.turn()

    turn()  # the first is synced: the last sync was before the clock began
    syncs = wal.actor.counters["syncs"]
    for _ in range(20):
        turn()
    assert wal.actor.counters["syncs"] == syncs
    risk = Peer(wire, "risk", producer=Producer.RISK)
    risk.hello()
    until(lambda: risk.of(Barrier), turn, what="BARRIER")
    assert wal.journal.durable_lsn == risk.of(Barrier)[0].lsn, "the CHECKPOINT needs all before it on disk"
    wal.die()


def test_a_checkpoint_larger_than_its_own_limit_is_not_due_again_at_once() -> None:
    large = checkpoints(bytes_max=1000)
    assert not large.is_due(records=0, size=0, now_s=0.0)
    assert not large.is_due(records=0, size=5000, now_s=0.0), "nothing has come behind it"
    assert not large.is_due(records=9, size=999, now_s=0.0)
    assert large.is_due(records=9, size=1000, now_s=0.0)


def consumer(name: str) -> Consumer:
    return Consumer(f"{name}#1".encode(), name, 1, 0, 10**9, 1, 1)


def finished(states: dict[str, bytes], older: States, lsn: int = 9) -> States:
    """What a checkpoint at `lsn` keeps when these have answered."""
    made = checkpoints(records_max=1)
    asked = made.whom_to_ask([consumer("risk"), consumer("strategy.sma")], lsn, 0.0)
    barrier = made.begin(asked, lsn, 0.0)
    for one in asked:
        if one.name in states:
            made.take(one, State(barrier.number, 1, lsn), states[one.name])
    found = made.finish(older, 1.0)
    assert found is not None
    return found


def test_a_state_that_is_too_large_too_old_or_of_nobody_any_more_is_not_kept() -> None:
    risk = {"risk": b"all"}
    kept = {"risk": (9, b"all")}
    assert finished({**risk, "strategy.sma": b"x" * STATE_BYTES_MAX}, {})["strategy.sma"][0] == 9
    assert finished({**risk, "strategy.sma": b"x" * (STATE_BYTES_MAX + 1)}, {"strategy.sma": (5, b"older")}) == kept
    assert finished(risk, {"strategy.gone": (5, b"older")}) == kept
    late = {"strategy.sma": (5, b"older")}
    assert finished(risk, late) == kept | late
    assert finished(risk, late, 6 + LATE_RECORDS_MAX) == {"risk": (6 + LATE_RECORDS_MAX, b"all")}
