"""wal in a replay: the ring's tokens go through it, and what they are about goes with them.

Records wait for nobody's sync (a resumed replay says them again), and are sent on with the token behind which their
hearer acts on them: so a turn of the ring costs each of its members one waking. Who has no token, as the gateway, is
fed now and then. Nothing depends on when: the bytes of the journal are a function of config and data.

P11: at some quantum ends the GRANT is held until everybody has said where it stands and a CHECKPOINT is written. A run
that is resumed goes on from the last one, or from the start where a strategy has no state, and retraces what its former
life wrote behind it (retrace.py).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from actors.base import Place
from actors.clock import monotonic_s
from actors.page import Activity
from actors.retrace import Retrace
from actors.stream import Consumer
from actors.wal import Wal
from protocol.errors import ConfigError, WalError, WireError
from protocol.messages import Append, Done, Grant, Ready, Statistics
from protocol.positions import START, is_checkpoint, is_quantum_end, ticks_done
from protocol.records import EngineRun, Producer
from protocol.ring_state import RING, RISK_RING, ROUTER, RiskAnswer, decode_ring, state_bytes_max
from protocol.settings import config_hash
from protocol.state import RISK

FEED_EVERY_S: Final = 0.02
"""Those who have no token hear of what there is, and at the end everybody."""


class ReplayWal(Wal):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.always = False
        self.event_us = 0
        """The time of the newest record that was appended."""
        self.retrace: Retrace | None = None
        self.resume_tick = self.checkpoint_tick = 0
        """Where this life began, and the tick of the last checkpoint."""
        self.first_lsn = 1
        """Where every consumer's fold begins."""
        self.checkpoints.state_bytes_max = state_bytes_max(self.config)
        self.granted = {RISK, *(f"strategy.{strategy.name}" for strategy in self.config.traders)}
        """Who hears GRANTs, and whose state a CHECKPOINT has: bystanders stand at no quantum's end (P13)."""
        self._cleared_token = 0
        """Of the HALT that stood when the operator started the engine; a later one is not over."""
        self._held: Grant | None = None
        """Waits for a checkpoint."""
        self._fed_s = 0.0
        self.loop.every(FEED_EVERY_S, lambda: None)

    def make_journal_id(self) -> bytes:
        """Of the config and the data, so that the same run has the same bytes."""
        from actors.sources import make_source

        ids = {instrument.symbol: number for number, instrument in enumerate(self.config.instruments)}
        return blake2b(config_hash(self.config) + make_source(self.config, ids, 1).epoch, digest_size=16).digest()

    def time_us(self) -> int:
        """Of what came before."""
        return self.event_us

    def statistics(self) -> Statistics:
        return msgspec.structs.replace(super().statistics(), lsn=self.tail_lsn)

    # The start, and going on.

    def take_up(self, run: EngineRun) -> EngineRun:
        journal, self._cleared_token = self.journal, run.halt_token
        if self.has_begun:
            journal.stated_lsn = 1
            return super().take_up(msgspec.structs.replace(run, halt_token=0))
        if journal.journal_id != self.make_journal_id():
            raise ConfigError([
                f"--resume: the journal in {self.run_dir} is of another config or of other data (all matters "
                "but engine.run_dir and the sections wal, gateway, supervisor, logging): put that back, or begin in a "
                "new run_dir"
            ])  # fmt: skip
        self.retrace = retrace = Retrace(journal, self._first_lsn())
        self._check_resumable(run, retrace)
        tick = msgspec.msgpack.decode(retrace.states[RING], type=int) if retrace.states else 0
        self.checkpoint_tick = self.resume_tick = tick
        self.first_lsn, self.event_us = retrace.lsn, retrace.first.time_us
        self.run, self.last_seq = retrace.run, dict(retrace.producer_seq)
        self.backlog.released = retrace.lsn
        self.log.info("replay_resumed", tick=tick, lsn=retrace.lsn, retraced=journal.tail_lsn - retrace.lsn)
        return retrace.run

    def _check_resumable(self, run: EngineRun, retrace: Retrace) -> None:
        if retrace.run.version != run.version:
            raise ConfigError([
                f"--resume: {self.run_dir} was begun by version {retrace.run.version}, and this is {run.version}: a "
                "state is only understood by the version that wrote it. Go on with that, or begin in a new run_dir"
            ])  # fmt: skip
        token = run.halt_token
        if token and retrace.tells_of_halt(token):
            raise ConfigError([
                f"--resume: {self.run_dir} was halted by {self.latch.who()} ({self.latch.reason()}) behind its last "
                "checkpoint, and no run that goes on would do that again: begin in a new run_dir"
            ])  # fmt: skip
        if token:
            hint = "--resume goes on as if it had not been: nothing in the journal behind the checkpoint tells of it"
            self.log.warning("halt_cleared", by=self.latch.who(), reason=self.latch.reason(), hint=hint)

    def cleared_token(self, run: EngineRun) -> int:
        """An operator's --resume says that the HALT before it is over; the journal of a replay tells of no stop."""
        return self._cleared_token

    def record_stop(self, run: EngineRun) -> None:
        """The journal of a replay has one ENGINE_RUN: one that is stopped is one that can be resumed."""

    def _first_lsn(self) -> int:
        """Of the last CHECKPOINT, if it has all that is needed."""
        states = self.journal.checkpoint_states
        without = [s.name for s in self.config.traders if f"strategy.{s.name}" not in states]
        if self.journal.first_lsn > 1 and not without:
            return self.journal.first_lsn
        if self.journal.first_lsn > 1:
            hint = "all begin again, and what they do is compared with the journal: save() and load() would spare that"
            self.log.warning("replay_begins_again", without_state=without, hint=hint)
        return 1

    def ready_message(self, run: EngineRun) -> Ready:
        """With the token: the next life, if this one breaks, is told of the same halt."""
        return Ready(self.tail_lsn, msgspec.structs.replace(run, halt_token=self._cleared_token), self.resume_tick)

    @property
    def tail_lsn(self) -> int:
        """Of what was said in this life, or counts as that."""
        return self.journal.tail_lsn if self.retrace is None else self.retrace.lsn

    def start_of(self, consumer: Consumer) -> int:
        return self.first_lsn

    # The ring.

    def token_handler(self) -> Callable[[Consumer, Grant | Done], None]:
        return self.on_token

    def on_token(self, consumer: Consumer, token: Grant | Done) -> None:
        """It goes on to whom it is for, behind the records that came before it."""
        if self.batch:
            self.write()
        if isinstance(token, Grant) and token.venue > START and is_quantum_end(token.venue, self.config.replay.quantum):
            self._end_quantum()
            if self._is_checkpoint_due(token.venue):
                self.checkpoint_tick = ticks_done(token.venue)
                self._hold(token)
                return
        self._pass_on(token)

    def _pass_on(self, token: Grant | Done) -> None:
        token, now = msgspec.structs.replace(token, lsn=self.tail_lsn), monotonic_s()
        for hearer in self._members(self.granted if isinstance(token, Grant) else {ROUTER}):
            if not self.server.feed(hearer, now, token):
                raise WalError(f"the ring is broken: {hearer.name} cannot be told {type(token).__name__}")

    def _members(self, names: set[str]) -> list[Consumer]:
        """Raises: WalError if one is not there: all others would wait for it."""
        members = [consumer for consumer in self.server.consumers.values() if consumer.name in names]
        if len(members) < len(names):
            raise WalError(f"the ring is broken: {', '.join(sorted(names - {c.name for c in members}))} is gone")
        return members

    def _end_quantum(self) -> None:
        """It is on disk, and from here on entries say so."""
        if self.retrace is not None:
            self.retrace.stated_lsn = self.retrace.lsn
        else:
            self.sync()
        self.journal.stated_lsn = self.tail_lsn

    def _is_checkpoint_due(self, position: int) -> bool:
        """Once at a quantum's end, however often it is granted."""
        if ticks_done(position) <= self.checkpoint_tick or not self.config.wal.enabled:
            return False
        return is_checkpoint(position, self.config.replay.quantum, self.config.replay.checkpoint_ticks)

    # Checkpoints.

    def _hold(self, token: Grant) -> None:
        if self.retrace is not None and self.retrace.is_over:
            self._leave_trace()
        self._held = token
        now = monotonic_s()
        holders = self._members({ROUTER, *self.granted})
        barrier = self.checkpoints.begin(holders, self.tail_lsn, now)
        for holder in holders:
            self.server.feed(holder, now)
            if not self.server.tell(holder, barrier):
                raise WalError(f"the ring is broken: {holder.name} cannot be told BARRIER")

    def _go_on(self) -> None:
        """Everybody has answered: the CHECKPOINT is written, or compared with the former life's; the GRANT goes on."""
        attempt, token, self._held = self.checkpoints.attempt, self._held, None
        assert attempt is not None
        assert token is not None
        self.checkpoints.attempt = None
        answer = decode_ring(attempt.states.pop(RISK)[1], RiskAnswer)
        lsn = self.tail_lsn
        states = {name: state for name, (_, state) in attempt.states.items() if state}
        states |= {RISK: answer.fold, RISK_RING: answer.ring, RING: msgspec.msgpack.encode(self.checkpoint_tick)}
        if self.retrace is not None:
            self.retrace.pass_checkpoint(states)
            self.last_seq[Producer.WAL] = self.retrace.producer_seq[Producer.WAL]
            self.backlog.released = self.retrace.lsn
        else:
            self._write_checkpoint([(name, lsn, state) for name, state in states.items()])
        self._pass_on(token)

    def _write_checkpoint(self, states: list[tuple[str, int, bytes]]) -> None:
        self.page.set_activity(Activity.SYNCING)
        try:
            self.journal.checkpoint(self.event_us, states)
        except WalError as error:  # without it the bytes would be those of another run
            self.journal_failed(error)
        self.page.set_activity(Activity.WORKING)
        self.checkpoints.written()
        self.journal.stated_lsn = self.backlog.released = self.tail_lsn
        self.last_seq[Producer.WAL] = self.journal.last_producer_seq[Producer.WAL]
        if self.sealing is not None:
            self.sealing.start()

    # The group commit.

    def on_append(self, consumer: Consumer, append: Append, payload: bytes) -> None:
        """Raises: WalError if something is missing: a token that tells of it may be right behind."""
        dropped = self.counters["dropped_gap"]
        try:
            super().on_append(consumer, append, payload)
        except WireError as error:
            raise WalError(f"the ring is broken: an APPEND of {consumer.name}: {error}") from error
        if self.counters["dropped_gap"] > dropped:
            raise WalError(f"the ring is broken: an APPEND of {consumer.name} was lost before this one")
        if self.batch:
            self.event_us = self.batch[-1][1]

    def write(self) -> None:
        if self.retrace is not None:
            del self.batch[: self.retrace.follow(self.batch)]
            self.backlog.released = self.retrace.lsn
            if not self.batch:
                return
            self._leave_trace()
        super().write()

    def _leave_trace(self) -> None:
        """The former life's journal ends here."""
        if self.retrace is not None:
            self.journal.stated_lsn, self.retrace = self.retrace.stated_lsn, None

    def sync_is_due(self) -> bool:
        """By no clock."""
        return False

    def commit(self) -> None:
        now = monotonic_s()
        self.look_at_disk()
        if self.hellos and self._held is None:
            if self.batch:
                self.write()
            self.answer_hellos()
            self._fed_s = 0.0
        if self._held is not None:
            self.server.pump()
            if self.checkpoints.attempt is not None and not self.checkpoints.attempt.asked:
                self._go_on()
        elif now - self._fed_s >= FEED_EVERY_S or self.stopping:
            self._fed_s = now
            if self.batch:
                self.write()
            self.server.pump()
            self.write_watermark()
