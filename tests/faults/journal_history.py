"""Histories of the journal against a list: what was acknowledged is there, in order, unchanged, whatever happened.

Acknowledged is what a consumer could have been given under sync = "always" (`release_lsn`), and in every mode what a
sync or an open that returned had promised to be on disk. The health pages (R3) are one number here: the highest LSN
that a consumer has seen under "always". Being mapped memory, it survives a kill as it stands, and a power loss as
anything since it was last on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from history import ATTEMPTS_MAX, DIRECTORY, Counts, History, must_refuse
from simulated_disk import Choose, ProcessDied

from protocol.errors import WalError, WalSyncError
from protocol.records import Checkpoint, EngineRun, EntryType, Producer, RunEvent, encode_record
from protocol.wal.format import ENVELOPE, HEADER, Envelope, iterate_payload
from protocol.wal.history import read_history
from protocol.wal.journal import Journal, NewEntry, Recovery
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.recovery import Kind
from protocol.wal.sealed import list_sealed, tidy_sealed

PATH: Final = DIRECTORY / JOURNAL_NAME
MODES: Final = ("always", "always", "interval", "off")
SIZES: Final = (0, 3, 50, 700)
"""Of a record: an empty one, short ones, and one that lies over a sector's end."""
OPEN_CALLS, CREATE_CALLS, CLOSE_CALLS, CHECKPOINT_CALLS, TIDY_CALLS = 20, 8, 7, 9, 18
"""How many calls of the disk each may make, roughly: the nth of them meets the fault."""
STATES_MAX, KEEP_MAX = 3, 5
RECENT_BYTES: Final = (1 << 20, 0, 500)
"""So that what is served comes from memory, from the file, or from either."""

RUN: Final = EngineRun(
    journal_id=bytes(16), event=RunEvent.START, by="test", version="0.1.0", config_hash=b"h" * 16, boot_id=b"b" * 16,
    halt_token=0, balance=bytes(16), currency="USD", leverage=100, symbols=(), strategies=(),
)  # fmt: skip


class JournalHistory(History):
    STEPS = (
        "commit", "commit", "commit", "append", "append", "sync", "consume", "consume", "read_anywhere",
        "write_watermark", "checkpoint", "checkpoint", "checkpoint", "checkpoint", "tidy", "tidy", "close_and_open",
        "recover_twice", "kill_or_lose_power",
    )  # fmt: skip

    def __init__(self, choose: Choose, counts: Counts | None = None) -> None:
        super().__init__(choose, counts)
        self.records: list[NewEntry] = []
        """All that the journal holds, or may hold, from LSN 1 on."""
        self.promised = 0
        """The highest LSN that may never be lost."""
        self.seen = self.seen_durable = 0
        """What the health pages say, and what of that is certainly on disk."""
        self.kept_from = 1
        """The lowest LSN that no retention may have removed."""
        self.has_failed = False
        """What the latch page says (`note_journal_failure`): the next start goes on in a copy, fresh_file=True."""
        self.journal_id = b""
        self.number = 0
        self._open()

    # Steps.

    def append(self) -> None:
        records = self._new_records()
        self._perform(lambda: self.journal.append_batch(records), 1, records)

    def commit(self) -> None:
        records = self._new_records()

        def action() -> None:
            self.journal.append_batch(records)
            self._sync()

        self._perform(action, 2, records)

    def sync(self) -> None:
        self._perform(self._sync, 1)

    def consume(self) -> None:
        """A consumer reads on, from the oldest that is kept (J4); under "always" its page says how far."""
        lsn = max(min(self.seen, self.journal.release_lsn), self.kept_from - 1)
        while lsn < self.journal.release_lsn and self.choose(4) < 3:
            lsn += self._read(lsn + 1)
        if self.journal.sync_mode == "always":
            self.seen = max(self.seen, lsn)

    def read_anywhere(self) -> None:
        """Somebody comes from far back: from memory, the file, or a sealed one."""
        self._read(self.kept_from + self.choose(max(self.journal.release_lsn - self.kept_from, 0) + 1))

    def write_watermark(self) -> None:
        self._perform(self.journal.write_watermark, 4)

    def checkpoint(self) -> None:
        states = [(f"child{number}", self.journal.tail_lsn, b"s" * number) for number in range(self.choose(STATES_MAX))]
        barrier, seq = self.journal.tail_lsn, self.journal.last_producer_seq.get(Producer.WAL, 0) + 1
        assert self.journal.last_run is not None
        producers = self.journal.last_producer_seq | {int(Producer.WAL): seq}
        record = Checkpoint(
            self.journal_id, encode_record(self.journal.last_run), self.journal.last_run_lsn,
            tuple(sorted(producers.items())), tuple(sorted(states)),
        )  # fmt: skip

        def action() -> None:
            self._sync()
            assert self.journal.checkpoint(7, states) == barrier + 1, "R4"
            self.counts.rolls += 1

        self._perform(action, CHECKPOINT_CALLS, [(EntryType.CHECKPOINT, 7, Producer.WAL, seq, encode_record(record))])

    def tidy(self, keep: int | None = None) -> None:
        keep = self.choose(KEEP_MAX) if keep is None else keep
        begins = [*(file.first_lsn for file in list_sealed(self.disk, DIRECTORY)), self.journal.first_lsn]
        self.kept_from = max(self.kept_from, begins[-1 - keep :][0])

        def action() -> None:
            try:
                tidy_sealed(self.disk, DIRECTORY, files_max=keep, age_max_s=None, now_us=0)
            except WalError as error:  # only room was not saved: the journal goes on
                History.failed(self, error)

        self._perform(action, TIDY_CALLS)

    def close_and_open(self) -> None:
        if self._perform(self.journal.close, CLOSE_CALLS) or not self.journal.is_open:
            self._open()

    def recover_twice(self) -> None:
        """Recovery of a recovered journal changes nothing."""
        self._next_life()
        self.has_failed = False
        before = self.disk.contents()
        self.disk = self.disk.kill()
        self.is_last_attempt = True
        self._begin_life()
        assert self._open_once().verdict.kind is Kind.CLEAN
        assert self.disk.contents() == before

    def kill_or_lose_power(self) -> None:
        self._next_life()

    def check(self) -> None:
        journal = self.journal
        assert journal.durable_lsn <= journal.tail_lsn == len(self.records)
        self._keep_promise()
        assert self.promised <= journal.tail_lsn

    def failed(self, error: WalError) -> None:
        super().failed(error)
        # wal may die before it can note it; it notes less than a failed write or sync too (of the watermark's opening).
        if self.choose(4) < (3 if isinstance(error, WalSyncError) else 1):
            self.has_failed = True

    def on_power_loss(self) -> None:
        self.has_failed = self.has_failed and self.choose(2) == 0  # the note may not have come to the disk
        self.seen = self.seen_durable = self.seen - self.choose(self.seen - self.seen_durable + 1)

    # What the steps do.

    def _keep_promise(self) -> None:
        if self.journal.sync_mode == "always":
            self.promised = max(self.promised, self.journal.release_lsn)

    def _new_records(self) -> list[NewEntry]:
        return [self._new_record() for _ in range(1 + self.choose(3))]

    def _new_record(self) -> NewEntry:
        self.number += 1
        which = self.choose(len(SIZES) + 2)
        if which == len(SIZES):
            run = encode_record(msgspec.structs.replace(RUN, journal_id=self.journal_id))
            return (EntryType.ENGINE_RUN, self.number, Producer.SUPERVISOR, self.number, run)
        size = SIZES[which] if which < len(SIZES) else self.size_to_sector_end(PATH, HEADER.size + ENVELOPE.size)
        data = (b"%d," % self.number * (size // 2 + 1))[:size]
        return (EntryType.SIGNAL_REFUSED, self.number, Producer.RISK, self.number, data)

    def _sync(self) -> None:
        self.journal.sync()
        self.promised = max(self.promised, self.journal.tail_lsn)

    def _read(self, lsn: int) -> int:
        """What is served from `lsn` on is what was appended, whole, in order, and not beyond what may be released."""
        first, count, payload = self.journal.read(lsn, (1, 300, 1 << 20)[self.choose(3)])
        assert first == lsn
        assert (count > 0) == (lsn <= self.journal.release_lsn), f"{count} entries from LSN {lsn} on"
        assert lsn + count - 1 <= self.journal.release_lsn
        self._compare([(envelope, bytes(data)) for envelope, _, data in iterate_payload(payload)], lsn)
        return count

    def _compare(self, entries: Sequence[tuple[Envelope, bytes]], first_lsn: int) -> None:
        """Raises: AssertionError unless these are the records from `first_lsn` on."""
        for lsn, (envelope, data) in enumerate(entries, first_lsn):
            found = (envelope.entry_type, envelope.time_us, envelope.producer, envelope.producer_seq, data)
            assert (envelope.lsn, found) == (lsn, self.records[lsn - 1])

    def _perform(self, action: Callable[[], object], calls: int, more: Sequence[NewEntry] = ()) -> bool:
        """Whether it returned. If not, any beginning of `more` may stand there, and a new life has begun."""
        self.arm(calls)
        try:
            action()
        except ProcessDied as where:
            self.died(where)
            self.records += more
            self._next_life()
            return False
        except WalSyncError as error:
            self.failed(error)
            self.records += more
            self._refuses_everything(str(error))
            self._next_life()
            return False
        except WalError as error:  # no room for a checkpoint, or something could not be read: nothing has happened
            self.failed(error)
            self.disk.disarm()
            return False
        self.disk.disarm()
        self.records += more
        return True

    def _refuses_everything(self, after: str) -> None:
        """A failed write or sync is final: nothing is written or acknowledged any more."""
        self.disk.disarm()
        journal, calls, released = self.journal, self.disk.calls, self.journal.release_lsn
        for action in (
            lambda: journal.append_batch(self._new_records()), journal.sync, journal.write_watermark,
            lambda: journal.checkpoint(1, ()),
        ):  # fmt: skip
            must_refuse(action, after)
        journal.close()
        assert (self.disk.calls, journal.release_lsn) == (calls, released)
        self._keep_promise()

    # From life to life.

    def _next_life(self) -> None:
        self.end_process()
        self._open()

    def _begin_life(self) -> None:
        self.counts.starts += 1
        mode, recent = MODES[self.choose(len(MODES))], RECENT_BYTES[self.choose(len(RECENT_BYTES))]
        self.journal = Journal(DIRECTORY, sync=mode, storage=self.disk, recent_bytes_max=recent)

    def _open(self) -> None:
        """Opened in the end, and created if need be, however many starts that takes."""
        for attempt in range(ATTEMPTS_MAX):
            self.is_last_attempt = attempt + 1 == ATTEMPTS_MAX
            self._begin_life()
            try:
                self._open_once()
                return
            except ProcessDied as where:
                self.died(where)
                self.end_process()
            except WalSyncError as error:
                self.failed(error)
                self.end_process()
            except WalError as error:
                self.failed(error)
                self.end_process()
        raise AssertionError("the last attempt was undisturbed, and yet failed")

    def _open_once(self) -> Recovery:
        self._arm_start(OPEN_CALLS)
        was_there = self.disk.exists(PATH)
        with self.watching_cut(PATH):
            recovery = self.journal.open(self._known_lsn, fresh_file=self.has_failed)
        self.disk.disarm()
        assert (recovery.kept is not None) == (self.has_failed and was_there)
        self.counts.fresh_files += recovery.kept is not None
        self.has_failed = self.has_failed and self.choose(4) == 3  # the note may outlive it, if wal dies here
        self._verify()
        if self.journal.is_new:
            self._create()
        return recovery

    def _arm_start(self, calls: int) -> None:
        if not self.is_last_attempt:
            self.arm(calls)

    def _create(self) -> None:
        self.seen = self.seen_durable = 0  # R2: the pages are zeroed and synced before
        self.number += 1
        self.journal_id = self.number.to_bytes(16, "big")
        run = encode_record(msgspec.structs.replace(RUN, journal_id=self.journal_id))
        self.records = [(EntryType.ENGINE_RUN, 1, Producer.SUPERVISOR, 1, run)]
        self._arm_start(CREATE_CALLS)
        self.journal.create(self.journal_id, self.records[0])
        self.disk.disarm()
        self.promised = 1

    def _known_lsn(self, journal_id: bytes) -> int:
        return self.seen if journal_id in (b"", self.journal_id) else 0

    def _verify(self) -> None:
        """What an open journal is: a prefix of what was written, with all that was promised, all of it on disk."""
        tail = self.journal.tail_lsn
        assert self.promised <= tail <= len(self.records), f"{tail} entries, {self.promised} promised"
        self.records = self.records[:tail]
        self.promised = tail
        if not tail:
            return
        entries = [(envelope, data) for envelope, _, data in read_history(DIRECTORY, storage=self.disk)]
        first_lsn = entries[0][0].lsn
        assert first_lsn <= self.kept_from, f"LSN {self.kept_from} and later were to be kept, {first_lsn} is the first"
        assert first_lsn + len(entries) - 1 == tail
        self._compare(entries, first_lsn)
        for path in [PATH, *(file.path for file in list_sealed(self.disk, DIRECTORY))]:
            assert self.disk.is_durable(path), f"{path.name} is not on disk"
