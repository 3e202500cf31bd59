"""wal: sequences the journal, puts it on disk, and only then lets it out on the tail.

Owns the journal's file. Its turn is the group commit: take in what is queued, one write, one sync, release all
of it. It decides nothing about money; records are opaque to it but for ENGINE_RUN.

Now and then it takes a checkpoint (checkpoints.py): appends wait for a moment, risk and the strategies say their
states, and the journal goes on in a new file; sealing.py sees to the old ones.

Talks to: risk, order_routing, gateway (append and tail), strategies (tail); the supervisor, which hands it the
run's records with GO and STOP (H3: a durable ENGINE_RUN(stop) is the stop).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from actors.base import Actor, Place
from actors.checkpoints import BARRIER_MAX_S, Checkpoints
from actors.clock import monotonic_s, monotonic_us, now_us
from actors.derived import with_tables
from actors.frames import RECEIVE_MAX
from actors.page import KNOWN_BY, Activity, forget_acknowledged, known_lsn
from actors.peers import Peers
from actors.sealing import Sealing
from actors.stream import Chunk, Consumer, StreamServer
from protocol.codec import decode_append
from protocol.errors import ConfigError, ExitCode, WalError, WalNotAFileError, WalSyncError, WireError
from protocol.latency import JOURNAL_SYNC, LatencyCounters
from protocol.messages import Append, Done, Grant, Hello, QueueDepth, Ready, Statistics, Welcome
from protocol.pipeline import JOURNAL
from protocol.queues import BATCH
from protocol.records import APPENDABLE, EngineRun, EntryType, Producer, RunEvent, encode_record
from protocol.wal import Journal
from protocol.wal.format import ENVELOPE, JOURNAL_HEAD
from protocol.wal.reserve import DiskReserve, DiskState
from protocol.wal.storage import MemoryStorage

MIB: Final = 1024 * 1024
WATERMARK_EVERY_S: Final = 1.0
LATCH_SYNC_S: Final = 0.05
"""How long a wal that fails waits for the halt to reach a disk that may have failed too."""
BATCH_RECORDS_MAX: Final = BATCH.limit
"""A sync is paid for many times over by then; a batch that grows with the load would make all wait for all of it."""
RECEIVE_STEP: Final = 16
"""Messages taken in before the batch is looked at again."""
CHUNK_BYTES_MAX: Final = 256 * 1024
"""Of one DATA on the tail."""
PACKING_ROOM: Final = 8
"""Reserves that stay free beside a file that is being packed: far from where the disk counts as nearly full."""
SEALING_WAIT_S: Final = 2.0
"""At a stop, for a sealed file that is being packed; what is left is done in the next run."""
_entry_type = itemgetter(0)


@dataclass(slots=True)
class JournalBacklog:
    """The released part of the journal, as chunks for the stream."""

    journal: Journal
    released: int = 0

    @property
    def epoch(self) -> bytes:
        return self.journal.journal_id

    @property
    def tail_position(self) -> int:
        return self.released

    def read(self, consumer: str, position: int) -> Chunk | None:
        if position > self.released:
            return None
        first, count, payload = self.journal.read(position, CHUNK_BYTES_MAX, to_lsn=self.released)
        return Chunk(first, first + count, count, payload) if count else None


class Wal(Actor):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        settings = self.config.wal
        directory = self.run_dir / "wal"
        self.reserve = DiskReserve(directory, settings.reserve_mb * MIB if settings.enabled else 0)
        self.journal = self.make_journal(directory)
        self.always = self.journal.sync_mode == "always"
        self.boot = os.urandom(8)
        self.batch: list[tuple[int, int, int, int, bytes]] = []
        self.last_seq: dict[int, int] = {}
        self.hellos: list[tuple[Consumer, Hello]] = []
        self.refused: dict[str, int] = {}
        """Whose APPEND could not be taken: name → incarnation."""
        self.synced_s = self.watermark_s = 0.0
        self.watermark_lsn = -1
        self.has_begun = False
        """The journal is this life's own."""
        self.run: EngineRun | None = None
        """The newest ENGINE_RUN."""
        self.checkpoints = Checkpoints(
            settings.checkpoint_records, settings.checkpoint_mb * MIB,
            [strategy.name for strategy in self.config.strategies], self.log,
        )  # fmt: skip
        room = PACKING_ROOM * settings.reserve_mb * MIB
        self.sealing = Sealing(directory, settings.keep_rule, room, self.log) if settings.enabled else None
        self.counters = {"appended": 0, "duplicates": 0, "dropped_gap": 0, "syncs": 0}
        self.sync_latency = LatencyCounters(self.counters, JOURNAL_SYNC)

    def make_journal(self, directory: Path) -> Journal:
        """Not opened yet."""
        if not self.config.wal.enabled:
            return Journal(directory, sync="off", storage=MemoryStorage())
        return Journal(directory, sync=self.config.journal_sync)

    def make_journal_id(self) -> bytes:
        return os.urandom(16)

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "the supervisor starts wal with the run's record"
        self.page.set_activity(Activity.FOLDING)
        try:
            self._open_journal(run)
        except WalSyncError as error:
            self.journal_failed(error)
        except WalNotAFileError as error:  # every life would find the same
            raise ConfigError([str(error)]) from error
        self.backlog = JournalBacklog(self.journal, self.journal.tail_lsn)
        run = self.take_up(run)
        self.latch.set_cleared(self.cleared_token(run))
        socket = self.bind(JOURNAL)
        may_speak = Peers(self.run_dir, self.config).may_speak
        take_state = self.checkpoints.take
        self.server = StreamServer(
            socket, self.backlog, self._on_hello, self.on_append, take_state, may_speak, self.token_handler()
        )
        self._tell_disk()
        self.loop.on_readable(socket, self._receive)
        self.loop.after_turn(self.commit)
        self.tell(self.ready_message(run))

    def take_up(self, run: EngineRun) -> EngineRun:
        """The journal goes on where it ended; the run's record as it stands there."""
        self.last_seq = dict(self.journal.last_producer_seq)
        self.run = self.journal.last_run
        run = self._append_start(run)
        self._forget_states()
        return run

    def cleared_token(self, run: EngineRun) -> int:
        """Of the HALT that is over."""
        return run.halt_token

    def ready_message(self, run: EngineRun) -> Ready:
        return Ready(self.tail_lsn, run)

    @property
    def tail_lsn(self) -> int:
        """What a consumer may be told of."""
        return self.journal.tail_lsn

    def stop(self, run: EngineRun | None) -> None:
        """All producers have ended: take in what is queued, write the stop, sync, write the watermark."""
        if self.journal.is_open:
            self.server.receive()
            self.checkpoints.attempt = None
            if run is not None and not self._is_stopped(run):
                self.record_stop(run)
            self.commit()
            self.sync()
            self.write_watermark(at_once=True)
        self.stopped(self.journal.tail_lsn)

    def record_stop(self, run: EngineRun) -> None:
        if run.by != "operator":
            run = msgspec.structs.replace(run, halt_token=self._last_run.halt_token)
        self._append_own(msgspec.structs.replace(with_tables(self._last_run, run), journal_id=self.journal.journal_id))

    def queues(self) -> tuple[QueueDepth, ...]:
        return (QueueDepth(BATCH.name, "", len(self.batch), BATCH.limit), *self.server.depths(JOURNAL.name))

    def statistics(self) -> Statistics:
        counters = self.counters | self.checkpoints.counters | self.reserve.counters()
        return Statistics(self.journal.durable_lsn, 0, True, len(self.batch), counters)

    def release(self) -> None:
        try:
            self.journal.close()
        except WalError as error:
            self._note_failure(error)
            self.log.error("journal_not_closed", error=str(error))
            self.exit_code = ExitCode.JOURNAL_FAILURE
        if self.sealing is not None:
            self.sealing.wait(SEALING_WAIT_S)

    def _open_journal(self, run: EngineRun) -> None:
        """Recovered, or new. After a failure it goes on in a new file, and only then the failure is forgotten."""
        pages = self.run_dir / "pages"
        failed = self.config.wal.enabled and self.latch.journal_failed_us > 0
        # Before and after: the recovery may need the room, and the directory may be new.
        self.reserve.open(monotonic_s(), self._journal_bytes() if failed else 0)
        recovery = self.journal.open(lambda journal_id: known_lsn(pages, KNOWN_BY, journal_id), fresh_file=failed)
        self.reserve.open(monotonic_s())
        try:
            if failed:
                self.latch.forget_journal_failure()
            if self.journal.is_new:
                forget_acknowledged(pages, KNOWN_BY)  # R2: what spoke of another journal must not speak of this one
        except OSError as error:
            raise WalSyncError(f"{self.run_dir}: a page could not be synced: {error.strerror}") from error
        if self.journal.is_new:
            self.has_begun = True
            journal_id = self.make_journal_id()
            record = encode_record(msgspec.structs.replace(run, journal_id=journal_id))
            self.journal.create(journal_id, (EntryType.ENGINE_RUN, self.time_us(), Producer.SUPERVISOR, 1, record))
            self.log.info("journal_created", journal_id=journal_id.hex())
        else:
            self.log.info("journal_opened", verdict=recovery.verdict.kind.name.lower(), lsn=self.journal.tail_lsn)

    # The run's own records.

    @property
    def _last_run(self) -> EngineRun:
        assert self.run is not None, "a journal begins with ENGINE_RUN"
        return self.run

    def _is_stopped(self, run: EngineRun) -> bool:
        """Written by a former life of wal that died before it could say so (H3)."""
        last = self._last_run
        return last.event is RunEvent.STOP and last.boot_id == run.boot_id

    def _append_start(self, run: EngineRun) -> EngineRun:
        """The run's START, once for each start of the engine; a restarted wal finds it there."""
        last = self._last_run
        if last.boot_id == run.boot_id:
            return last
        if last.currency != run.currency:  # amounts, limits and positions would be taken for others
            raise ConfigError([
                f"account.currency = {run.currency!r}: the journal in {self.run_dir} counts in {last.currency!r}. Put "
                "that back, or begin with a new run_dir"
            ])  # fmt: skip
        if last.balance != run.balance:
            self.log.warning("account_balance_ignored", hint="the journal's opening balance stays in force")
        if last.config_hash != run.config_hash:
            self.log.info("config_changed", hint="what decides about trading is not what it was in the last run")
        run = msgspec.structs.replace(
            with_tables(last, run), journal_id=self.journal.journal_id, balance=last.balance,
            halt_token=last.halt_token,
        )  # fmt: skip
        self._append_own(run)
        self.write()
        return run

    def _forget_states(self) -> None:
        """`run --forget-state`: what was saved before this run's START goes, and a CHECKPOINT without it is due."""
        states, start_lsn = self.journal.checkpoint_states, self.journal.last_run_lsn
        for name in (f"strategy.{strategy}" for strategy in self.spec.forget_states):
            if name in states and states[name][0] < start_lsn:
                self.log.warning("state_forgotten", name=name, lsn=states.pop(name)[0], hint="--forget-state said so")
                self.checkpoints.is_wanted = True

    def _append_own(self, run: EngineRun) -> None:
        self.run = run
        seq = self.last_seq.get(Producer.SUPERVISOR, 0) + 1
        self.last_seq[Producer.SUPERVISOR] = seq
        self.batch.append((EntryType.ENGINE_RUN, self.time_us(), Producer.SUPERVISOR, seq, encode_record(run)))

    def time_us(self) -> int:
        """Of wal's own records."""
        return now_us()

    def token_handler(self) -> Callable[[Consumer, Grant | Done], None] | None:
        """Nobody has a token outside a replay."""
        return None

    # The stream.

    def _on_hello(self, consumer: Consumer, hello: Hello) -> None:
        self.hellos.append((consumer, hello))

    def _receive(self) -> None:
        """Takes in what is queued, as long as one group commit may hold it; what waits for a checkpoint has waited."""
        for _ in range(RECEIVE_MAX // RECEIVE_STEP):
            is_all = self.server.receive(RECEIVE_STEP)
            if is_all or (len(self.batch) >= BATCH_RECORDS_MAX and self.checkpoints.attempt is None):
                return

    def on_append(self, consumer: Consumer, append: Append, payload: bytes) -> None:
        """Accepts exactly last + 1: lower is a duplicate, higher a gap that the producer closes after a WELCOME.

        Raises: WireError for what cannot be taken. One peer's mistake must not end the journal of all, but nothing of
        that producer comes in behind it: said once for each of its lives.
        """
        try:
            self._take_append(consumer, append, payload)
        except WireError as error:
            if self.refused.get(consumer.name) != consumer.incarnation:
                self.refused[consumer.name] = consumer.incarnation
                hint = "all that it appends from here on waits in vain: a mistake in its code, or in this version"
                self.log.error("append_refused", name=consumer.name, reason=str(error), hint=hint)
            raise

    def _take_append(self, consumer: Consumer, append: Append, payload: bytes) -> None:
        if append.incarnation != consumer.incarnation or consumer.producer not in APPENDABLE:
            raise WireError("APPEND of another life, or of no producer")
        producer = consumer.producer
        last = self.last_seq.get(producer, 0)
        seq = append.first_producer_seq
        records = decode_append(payload)
        if append.count != len(records):
            raise WireError("an APPEND that counts its records wrongly")
        if seq > last + 1:
            self.counters["dropped_gap"] += len(records)
            return
        length_max = self.journal.length_max - ENVELOPE.size
        strange = set(map(_entry_type, records)) - APPENDABLE[Producer(producer)]
        if strange:
            raise WireError(f"record type {min(strange)} is not {Producer(producer).name}'s to append")
        if len(payload) > length_max and any(len(data) > length_max for _, _, data in records):
            raise WireError("a record beyond the limit")
        if seq <= last:
            known = last + 1 - seq
            self.counters["duplicates"] += min(known, len(records))
            del records[:known]
        numbered = enumerate(records, last + 1)
        self.batch += [(kind, time_us, producer, seq, data) for seq, (kind, time_us, data) in numbered]
        self.last_seq[producer] = last + len(records)

    def commit(self) -> None:
        """The group commit: one write, one sync, then release; then HELLOs, whose snapshot is durable (J1, J2).

        While a checkpoint is under way appends and HELLOs wait, and only what lies before the barrier is sent.
        """
        self.look_at_disk()
        if self.checkpoints.attempt is not None:
            if not self.checkpoints.is_over(monotonic_s()):
                self.server.pump()
                return
            self._checkpoint()
        if self.batch:
            self.write()
        elif self.sync_is_due():
            self.sync()
        if self.hellos:
            if self.journal.durable_lsn < self.journal.tail_lsn:
                self.sync()  # J2
            self.answer_hellos()
        self.server.pump()
        self.write_watermark()
        journal = self.journal
        records = journal.tail_lsn - journal.first_lsn
        if self.checkpoints.is_due(records, journal.grown_bytes, monotonic_s()):
            self._begin_checkpoint()

    def write(self) -> None:
        batch, self.batch = self.batch, []
        self.page.set_activity(Activity.SYNCING)  # a write can hang with the disk, too
        try:
            self.journal.append_batch(batch)
        except WalError as error:
            self.journal_failed(error)
        self.counters["appended"] += len(batch)
        if self.always or self.sync_is_due():
            self.sync()
        self.page.set_activity(Activity.WORKING)
        self.backlog.released = self.journal.tail_lsn

    def sync_is_due(self) -> bool:
        if self.config.wal.sync == "off" or self.journal.durable_lsn == self.journal.tail_lsn:
            return False
        return monotonic_s() - self.synced_s >= self.config.wal.interval_ms / 1000

    def sync(self) -> None:
        self.page.set_activity(Activity.SYNCING)
        begun_us = monotonic_us()
        try:
            self.journal.sync()
        except WalError as error:
            self.journal_failed(error)
        self.sync_latency.note(monotonic_us() - begun_us)
        self.page.set_activity(Activity.WORKING)
        self.synced_s = monotonic_s()
        self.counters["syncs"] += 1

    def journal_failed(self, error: WalError) -> NoReturn:
        """A failed write or sync is final: nothing more is acknowledged, trading stops, the file is not used again."""
        self._note_failure(error)
        raise WalSyncError(f"{error}; the journal is not written any more") from error

    def _note_failure(self, error: WalError) -> None:
        """On the latch page, before anything else: the next wal, and everyone who trades, must know of it."""
        self.latch.note_journal_failure()
        self.latch.halt("wal", str(error))
        self.latch.sync_in_background(LATCH_SYNC_S)

    # The disk's room.

    def look_at_disk(self) -> None:
        """Before the write that might not fit: the reserve is given up first."""
        now = monotonic_s()
        if self.reserve.is_due(now):
            about_to_write = sum(JOURNAL_HEAD.size + len(entry[-1]) for entry in self.batch)
            if self.reserve.look(now, about_to_write):
                self._tell_disk()

    def _tell_disk(self) -> None:
        """One line for each change of state; the consumers are told in every DATA."""
        room = self.reserve.room()
        if self.reserve.is_low:
            event = "disk_nearly_full" if self.reserve.state is DiskState.LOW else "disk_reserve_spent"
            hint = "new orders are refused until wanted_mb are free; cancels, reductions and fills go on: make room"
            self.log.error(event, **room, hint=hint)
        elif self.server.disk_low:
            self.log.info("disk_has_room_again", **room)
        self.server.set_disk_low(self.reserve.is_low)

    def _journal_bytes(self) -> int:
        path = self.journal.path
        return path.stat().st_size if path.exists() else 0

    # Checkpoints.

    def _begin_checkpoint(self) -> None:
        tail = self.journal.tail_lsn
        asked = self.checkpoints.whom_to_ask(self.server.consumers.values(), tail, monotonic_s())
        if not asked:
            return
        if self.journal.durable_lsn < tail:
            self.sync()
        barrier = self.checkpoints.begin(asked, tail, monotonic_s())
        for consumer in asked:
            self.server.tell(consumer, barrier)
        self.loop.after(BARRIER_MAX_S, lambda: None)  # wakes the loop; the commit at the turn's end sees the time

    def _checkpoint(self) -> None:
        """R4: the CHECKPOINT has the barrier's LSN + 1, and is released only when the roll is on disk."""
        states = self.checkpoints.finish(self.journal.checkpoint_states, monotonic_s())
        if states is None:
            return
        self.page.set_activity(Activity.SYNCING)
        try:
            lsn = self.journal.checkpoint(now_us(), [(name, *row) for name, row in states.items()])
        except WalSyncError as error:
            self.journal_failed(error)
        except WalError as error:
            self.checkpoints.drop(str(error), monotonic_s())
            return
        self.page.set_activity(Activity.WORKING)
        self.backlog.released = lsn
        self.checkpoints.written()
        self.last_seq[Producer.WAL] = self.journal.last_producer_seq[Producer.WAL]
        self.write_watermark(at_once=True)
        self.log.info("checkpoint_written", lsn=lsn, states=sorted(states))
        if self.sealing is not None:
            self.sealing.start()
        else:
            self.journal.forget_sealed()

    # WELCOMEs.

    def answer_hellos(self) -> None:
        for consumer, hello in self.hellos:
            tail = self.tail_lsn
            first = hello.from_position or self.start_of(consumer)
            if hello.epoch and hello.epoch != self.backlog.epoch:
                self.server.reset(consumer, "another journal")
            elif first > tail + 1:
                self.server.reset(consumer, f"the journal ends at LSN {tail}")
            elif first <= tail and not self.journal.can_serve(first):
                self.server.reset(consumer, f"LSN {first} is kept no longer")
            else:
                last = self.last_seq.get(consumer.producer, 0)
                self.server.welcome(consumer, Welcome(self.backlog.epoch, first, tail, last, self.boot, self.always))
        self.hellos.clear()

    def start_of(self, consumer: Consumer) -> int:
        """J4: the last CHECKPOINT; F5: for a strategy that was late, the one that its state is as of, if it is kept."""
        lsn, _ = self.journal.checkpoint_states.get(consumer.name, (0, b""))
        older, journal = lsn + 1, self.journal
        # Where reading has failed behind it, the next life would be stuck there like the last.
        is_kept = journal.unreadable_lsn < older < journal.first_lsn and lsn and journal.can_serve(older)
        return older if is_kept else journal.first_lsn

    def write_watermark(self, *, at_once: bool = False) -> None:
        """At most once a second, and only when there is something new."""
        now = monotonic_s()
        if self.journal.durable_lsn == self.watermark_lsn:
            return
        if at_once or now - self.watermark_s >= WATERMARK_EVERY_S:
            self.watermark_s, self.watermark_lsn = now, self.journal.durable_lsn
            try:
                self.journal.write_watermark()
            except WalError as error:
                self.journal_failed(error)
