"""The engine's journal: envelope, LSNs, chain, group commit and recovery around one file.

Owns `DIRECTORY/journal.wal`, its lock and its watermark; used by one thread of the wal actor. Decides nothing
about producers (who may append which number is the actor's business) and never releases anything itself: it
says how far a consumer may be fed (`release_lsn`).

    journal.wal             entries (format.py), the first an ENGINE_RUN, or after a roll a CHECKPOINT (R4)
    journal-FIRST.wal[.zst] what was journal.wal before a roll (sealed.py)
    journal.wal.new         a file that a crash kept from becoming journal.wal; removed at open (R5)
    journal.wal.lock        flock, never unlinked
    journal.wal.torn-LSN    a torn tail that was cut, LSN the first one lost; `.1`, `.2` … if there was one before
    journal.wal.failed-LSN  a file that failed, kept as it was; LSN the first that only its successor has
    watermark               two slots (watermark.py)

Open, then, if `is_new`, create; then append_batch, sync, read, and now and then checkpoint. A failed write or sync is
final: everything that writes raises WalSyncError from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.errors import WalCorruptError, WalError, WalSyncError
from protocol.logs import Log
from protocol.records import Checkpoint, EngineRun, EntryType, Producer, decode_record, encode_record
from protocol.wal.batch import Chain, NewEntry, Segment
from protocol.wal.beside import clear_the_way, remove_leftovers, sealed_journal_id
from protocol.wal.format import ENVELOPE, HEADER, LENGTH_MAX, encode_entry
from protocol.wal.names import (
    FAILED_PREFIX,
    JOURNAL_NAME,
    TORN_PREFIX,
    WATERMARK_NAME,
    free_path,
    lock_path,
    new_path,
)
from protocol.wal.recovery import Found, Kind, Verdict, combine_known, decide, find_later_entry
from protocol.wal.replace import COPY_BYTES, put_in_place, read_parts, write_new
from protocol.wal.scan import JournalScan, read_journal
from protocol.wal.sealed import SealedFile, list_sealed, packed_path, sealed_path
from protocol.wal.storage import Closeable, File, MemoryFile, RealStorage, Storage
from protocol.wal.tail import RecentSegments, SealedEntries, SparseIndex, cut_entries
from protocol.wal.watermark import Mark, Watermark

RECENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of recent segments kept in memory for consumers that follow closely: seconds of a busy journal."""
SYNC_MODES: Final = ("always", "interval", "off")

_ENGINE_RUN: Final = int(EntryType.ENGINE_RUN)
_log = Log()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What open found and did."""

    verdict: Verdict
    entries: int
    bytes: int
    rewritten_bytes: int
    """Good entries that were written and synced again, for nobody had said that they were on disk (R1)."""
    tail_copy: Path | None
    """Where the torn tail was copied before it was cut."""
    kept: Path | None = None
    """Where the file stands that failed, if its good part was copied into a new one."""


class Journal:
    """The journal in `directory`, opened by one writer at a time.

    sync: "always", "interval" or "off" (design section 4). The caller decides when to call sync(); the mode
    decides what may be released: durable entries only, or all.
    storage: MemoryStorage() sequences in memory only (`wal.enabled = false`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: str = "always",
        storage: Storage | None = None,
        length_max: int = LENGTH_MAX,
        recent_bytes_max: int = RECENT_BYTES_MAX,
    ) -> None:
        if sync not in SYNC_MODES:
            raise ValueError(f"sync = {sync!r}: one of {', '.join(SYNC_MODES)}")
        self.path: Final = directory / JOURNAL_NAME
        self.sync_mode: Final = sync
        self.length_max: Final = length_max
        self.journal_id = b""
        self.first_lsn = self.tail_lsn = self.durable_lsn = self.last_crc = 0
        """first_lsn: of journal.wal; what is older stands in sealed files."""
        self.stated_lsn: int | None = None
        """What entries say of the disk, where that is not durable_lsn: in a replay no clock may decide it."""
        self.unreadable_lsn = 0
        """The highest LSN at which a sealed file could not be read on; 0 if none."""
        self.checkpoint_states: dict[str, tuple[int, bytes]] = {}
        """name → (LSN that it is as of, state), of the last CHECKPOINT."""
        self.last_producer_seq: dict[int, int] = {}
        self.last_run: EngineRun | None = None
        self.last_run_lsn = 0
        """Equal to tail_lsn with last_run.event STOP: nothing follows the stop (H3)."""
        self._storage = storage or RealStorage()
        self._watermark = Watermark(directory / WATERMARK_NAME, self._storage)
        self._recent = RecentSegments(recent_bytes_max)
        self._index = SparseIndex([], [])
        self._sealed = SealedEntries(self._storage, directory)
        self._file: File | None = None
        self._lock: Closeable | None = None
        self._end = self._first_bytes = 0
        self._durable_crc = 0
        self._failure: str | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        return self._lock is not None

    @property
    def is_new(self) -> bool:
        """No entry yet: create() comes next."""
        return self.tail_lsn == 0

    @property
    def release_lsn(self) -> int:
        """The highest LSN that a consumer may be given: what is on disk, or all where sync is not "always"."""
        return self.durable_lsn if self.sync_mode == "always" else self.tail_lsn

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._end

    @property
    def grown_bytes(self) -> int:
        """Bytes of the file behind its first entry."""
        return self._end - self._first_bytes

    # Opening and recovery.

    def open(self, known_lsn_of: Callable[[bytes], int], *, fresh_file: bool = False) -> Recovery:
        """The journal is recovered, and every entry in it is on disk; is_new tells whether there is any.

        known_lsn_of: the highest LSN in the health pages for a journal id; asked with b"" (any journal) when the
        first entry cannot be read (R3). It must count only LSNs acknowledged under sync = "always".
        fresh_file: a write or sync of the file has failed. It is not written again: the good part goes on in a copy.

        Raises: WalLockedError (another writer), WalCorruptError (nothing was changed), WalSyncError (the disk).
        """
        if self.is_open or self._closed:
            raise WalError(f"{self.path}: this object was opened before; a new life needs a new Journal")
        if self._failure is not None:
            raise WalSyncError(self._failure)
        try:
            self._storage.make_directory(self.path.parent)
            self._lock = self._storage.lock(lock_path(self.path))
            return self._recover(known_lsn_of, fresh_file)
        except BaseException as error:
            if isinstance(error, WalSyncError):
                self._fail(error)
            self._release()
            raise

    def _recover(self, known_lsn_of: Callable[[bytes], int], fresh_file: bool) -> Recovery:
        mark = self._watermark.read()
        sealed = list_sealed(self._storage, self.path.parent)
        sealed = [file for file in sealed if not self._storage.is_same_file(file.path, self.path)]  # R5
        try:
            self._file = file = self._storage.open(self.path)
        except FileNotFoundError:
            nothing = JournalScan(MemoryFile(bytearray()), 0)
            verdict = self._judge(Found(False, 0, 0), mark, nothing, sealed, known_lsn_of)
            remove_leftovers(self._storage, self.path)
            return Recovery(verdict, 0, 0, 0, None)
        size = file.size()
        scan = JournalScan(file, size, length_max=self.length_max, mark_lsn=mark.lsn if mark else 0)
        bad = scan.bad
        later = find_later_entry(file, size, bad.offset, scan.tail_lsn + 1, self.length_max) if bad else None
        found = Found(True, scan.tail_lsn, scan.end, bad, later, scan.mark_crc)
        verdict = self._judge(found, mark, scan, sealed, known_lsn_of)
        remove_leftovers(self._storage, self.path)
        clear_the_way(self._storage, file, [one for one in sealed if one.first_lsn >= scan.first_lsn > 0])
        if fresh_file:
            kept = self._move_to_fresh_file(file, scan, verdict)
            self._adopt(scan)
            self.durable_lsn, self._durable_crc = self.tail_lsn, self.last_crc
            return Recovery(verdict, scan.entries, scan.end, scan.end, None, kept)
        tail_copy = self._cut_tail(file, scan, verdict) if verdict.kind is Kind.TORN else None
        self._adopt(scan)
        rewritten = self._rewrite_undurable(file, scan.tail_durable_lsn)
        return Recovery(verdict, scan.entries, scan.end, rewritten, tail_copy)

    def _judge(
        self, found: Found, mark: Mark | None, scan: JournalScan, sealed: list[SealedFile],
        known_lsn_of: Callable[[bytes], int],
    ) -> Verdict:  # fmt: skip
        """The table's verdict. Raises: WalCorruptError."""
        known = combine_known(
            known_lsn_of(scan.journal_id), mark,
            journal_id=scan.journal_id, first_lsn=scan.first_lsn, sealed_exists=bool(sealed),
            sealed_id=sealed_journal_id(self._storage, sealed, scan.first_lsn),
        )  # fmt: skip
        verdict = decide(found, known)
        if verdict.kind is Kind.CORRUPT:
            raise WalCorruptError(
                str(self.path), verdict.offset, lsn=verdict.lsn, expected=verdict.expected,
                found=f"{verdict.found} [{verdict.row}]",
            )  # fmt: skip
        return verdict

    def _cut_tail(self, file: File, scan: JournalScan, verdict: Verdict) -> Path:
        """The tail stands in a file of its own, on disk, before it goes from the journal (W6)."""
        copy_path = self._free_path(f"{TORN_PREFIX}{verdict.lsn}")
        write_new(self._storage, copy_path, read_parts(file, scan.end, scan.size)).close()
        self._storage.sync_directory(self.path.parent)
        file.truncate(scan.end)
        _log.warning(
            "torn_tail_cut", file=str(self.path), offset=scan.end, lsn=verdict.lsn, lost_bytes=scan.size - scan.end,
            expected=verdict.expected, found=verdict.found, copy=str(copy_path),
        )  # fmt: skip
        return copy_path

    def _move_to_fresh_file(self, file: File, scan: JournalScan, verdict: Verdict) -> Path:
        """After a failed sync nobody knows which pages of the file will ever be written (fsync(2)): the entries go on
        in a new file, the old one stays as it is, tail and all."""
        path = new_path(self.path)
        kept = self._free_path(f"{FAILED_PREFIX}{scan.tail_lsn + 1}")
        self._file = write_new(self._storage, path, read_parts(file, 0, scan.end))
        file.close()
        copied = JournalScan(self._file, scan.end, length_max=self.length_max)
        if (copied.tail_lsn, copied.tail_crc) != (scan.tail_lsn, scan.tail_crc):  # the cache has lost something
            raise WalSyncError(f"{self.path}: read twice, it gave different entries. See to the disk; start again.")
        put_in_place(self._storage, path, self.path, kept)
        _log.warning(
            "journal_copied_after_failure", file=str(self.path), kept=str(kept), lsn=scan.tail_lsn,
            lost_bytes=scan.size - scan.end, verdict=verdict.kind.value, expected=verdict.expected, found=verdict.found,
        )  # fmt: skip
        return kept

    def _free_path(self, name: str) -> Path:
        return free_path(self.path.with_name(name), self._storage.exists)

    def _adopt(self, scan: JournalScan) -> None:
        self.journal_id, self.last_run, self.last_run_lsn = scan.journal_id, scan.last_run, scan.last_run_lsn
        self.first_lsn, self.tail_lsn = scan.first_lsn, scan.tail_lsn
        self.last_crc, self._end, self._first_bytes = scan.tail_crc, scan.end, scan.first_bytes
        if scan.checkpoint:
            self.checkpoint_states = _states_by_name(scan.checkpoint)
        self.last_producer_seq = scan.last_producer_seq
        self._index = SparseIndex(scan.index_lsns, scan.index_offsets)

    def _rewrite_undurable(self, file: File, durable_lsn: int) -> int:
        """R1: what the last life wrote but may not have synced is read from the page cache, and a power loss could
        still take it back (after a failed sync even the next fdatasync would not write it). So it is written again,
        in place, and synced, before anything is released or appended."""
        start = self._index.offset_of(file, durable_lsn + 1) if durable_lsn < self.tail_lsn else self._end
        for offset in range(start, self._end, COPY_BYTES):
            file.write(offset, file.read(offset, min(COPY_BYTES, self._end - offset)))
        file.sync()
        self._storage.sync_directory(self.path.parent)
        self.durable_lsn, self._durable_crc = self.tail_lsn, self.last_crc
        return self._end - start

    def create(self, journal_id: bytes, first: NewEntry) -> None:
        """A new journal stands on disk with its first entry: an ENGINE_RUN that carries `journal_id` (16 bytes).

        A watermark left by an earlier journal is zeroed and synced before; file and directory are synced before
        this returns (R2). The caller does the same with its pages before it calls.
        """
        if not self.is_open or not self.is_new:
            raise WalError(f"{self.path}: create() needs an open journal without entries")
        run = _decode_run(first[4]) if first[0] == _ENGINE_RUN else None
        if run is None or run.journal_id != journal_id or len(journal_id) != 16:
            raise ValueError("the first entry of a journal is an ENGINE_RUN with its 16-byte journal id")
        try:
            self._watermark.reset()
            if self._file is None:
                self._file = self._storage.open(self.path, create=True)
            self.first_lsn = 1
            self.append_batch((first,))
            self.sync()
            self._storage.sync_directory(self.path.parent)
        except WalSyncError as error:
            self._fail(error)
            raise
        self.journal_id = journal_id

    # Group commit.

    def append_batch(self, records: Iterable[NewEntry]) -> None:
        """The records are entries from tail_lsn + 1 on, in one write; on disk only after sync().

        Raises: WalError if a record is larger than the limit, WireError for an unreadable ENGINE_RUN (in both
        cases nothing was written), WalSyncError if the write failed, for good.
        """
        file = self._writable()
        stated_lsn = self.durable_lsn if self.stated_lsn is None else self.stated_lsn
        chain = Chain(self.tail_lsn, self.last_crc, stated_lsn, self.length_max, {})
        try:
            segments = list(chain.extend(records))
        except WalError as error:
            raise WalError(f"{self.path}: {error}") from error
        run = _decode_run(chain.run[1]) if chain.run else self.last_run
        if segments:
            self._write(file, segments)
            self.tail_lsn, self.last_crc = chain.lsn, chain.crc
            self.last_run, self.last_run_lsn = run, chain.run[0] if chain.run else self.last_run_lsn
            self.last_producer_seq.update(chain.producer_seq)

    def _write(self, file: File, segments: list[Segment]) -> None:
        try:
            file.write(self._end, b"".join([segment.payload for segment in segments]))
        except WalSyncError as error:
            self._fail(error)
            raise
        for segment in segments:
            self._index.add(segment.first_lsn, self._end)
            self._recent.add(segment)
            self._end += len(segment.payload)

    def sync(self) -> None:
        """Everything appended is on disk: durable_lsn is tail_lsn. Raises: WalSyncError, for good."""
        file = self._writable()
        if self.durable_lsn == self.tail_lsn:
            return
        try:
            file.sync()
        except WalSyncError as error:
            self._fail(error)
            raise
        self.durable_lsn, self._durable_crc = self.tail_lsn, self.last_crc

    # Checkpoint and roll.

    def checkpoint(self, time_us: int, states: Iterable[tuple[str, int, bytes]]) -> int:
        """The journal goes on in a new file that begins with a CHECKPOINT; returns its LSN, tail_lsn + 1 of before.

        states: (who, LSN that it is as of, state). Everything before must be on disk (`sync`), and nothing, the
        CHECKPOINT included, may be released before this returns (R4). The old file is sealed.

        Raises: WalError if there was no room for it, or it is too large (the journal goes on as it was), WalSyncError
        if the disk failed in mid-roll, for good.
        """
        file = self._writable()
        if self.is_new or self.durable_lsn < self.tail_lsn:
            raise WalError(f"{self.path}: a checkpoint needs everything before it on disk")
        keep_as = sealed_path(self.path.parent, self.first_lsn)
        for path in (keep_as, packed_path(keep_as)):
            if self._storage.exists(path):  # before anything is done: no failure of the disk
                raise WalError(f"{path} is there, and is none of this journal's: no checkpoint until it is moved away")
        record, payload = self._encode_checkpoint(time_us, states)
        path = new_path(self.path)
        try:
            new_file = write_new(self._storage, path, (payload,))
        except WalSyncError as error:  # the journal's own file has not been touched
            raise WalError(f"{self.path}: no checkpoint: {error.fact}") from error
        try:
            put_in_place(self._storage, path, self.path, keep_as)
        except WalSyncError as error:
            self._fail(error)
            new_file.close()
            raise
        file.close()
        self._sealed.add(SealedFile(self.first_lsn, keep_as))
        self._begin_file(new_file, payload, record)
        return self.tail_lsn

    def forget_sealed(self) -> None:
        """Sealed files have gone: for a journal in memory, which would grow for ever."""
        for sealed in list_sealed(self._storage, self.path.parent):
            self._storage.unlink(sealed.path)
        self._sealed.close()

    def _encode_checkpoint(self, time_us: int, states: Iterable[tuple[str, int, bytes]]) -> tuple[Checkpoint, bytes]:
        assert self.last_run is not None, "a journal begins with ENGINE_RUN"
        seq = self.last_producer_seq.get(Producer.WAL, 0) + 1
        producers = sorted((self.last_producer_seq | {int(Producer.WAL): seq}).items())
        run = encode_record(self.last_run)
        record = Checkpoint(self.journal_id, run, self.last_run_lsn, tuple(producers), tuple(sorted(states)))
        lsn, durable = self.tail_lsn + 1, self.durable_lsn
        head = ENVELOPE.pack(EntryType.CHECKPOINT, lsn, durable, self.last_crc, time_us, Producer.WAL, seq)
        data = head + encode_record(record)
        if len(data) > self.length_max:
            raise WalError(f"{self.path}: a CHECKPOINT of {len(data)} bytes; the limit is {self.length_max}")
        return record, encode_entry(EntryType.CHECKPOINT, data)

    def _begin_file(self, file: File, payload: bytes, record: Checkpoint) -> None:
        """`file` is journal.wal, and holds the CHECKPOINT, on disk."""
        self._file, self._end, self._first_bytes = file, len(payload), len(payload)
        self.first_lsn = self.tail_lsn = self.durable_lsn = self.tail_lsn + 1
        self.last_crc = self._durable_crc = HEADER.unpack_from(payload)[3]
        self._index = SparseIndex([self.tail_lsn], [0])
        self._recent.add(Segment(self.tail_lsn, self.tail_lsn, payload))
        self.last_producer_seq.update(record.producers)
        self.checkpoint_states = _states_by_name(record)

    # Leaving.

    def write_watermark(self) -> None:
        """The watermark says durable_lsn, and that is on disk. Nothing beyond the last sync() is claimed."""
        self._writable()
        if self.is_new:
            raise WalError(f"{self.path}: a journal without entries has no watermark")
        try:
            self._watermark.write(Mark(self.journal_id, self.durable_lsn, self._durable_crc))
        except WalSyncError as error:
            self._fail(error)
            raise

    def close(self) -> None:
        """Synced, the watermark written, the lock free. After a failure it only lets go."""
        self._closed = True
        try:
            if self._failure is None and self._file is not None and not self.is_new:
                self.sync()
                self.write_watermark()
        finally:
            self._release()

    def _writable(self) -> File:
        if self._failure is not None:
            raise WalSyncError(self._failure)
        if self._file is None:
            raise WalError(f"{self.path}: not open, or not yet created")
        if self._file.size() != self._end:  # 1 us; unseen, a hole would be acknowledged and sealed
            found = f"{self._file.size()} bytes long, and was left at {self._end}"
            error = WalSyncError(f"{self.path} is {found}: somebody else has changed it, and entries may be lost")
            self._fail(error)
            raise error
        return self._file

    def _fail(self, error: WalSyncError) -> None:
        self._failure = str(error)

    def _release(self) -> None:
        self._watermark.close()
        self._sealed.close()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Serving consumers.

    def read(self, from_lsn: int, bytes_max: int, *, to_lsn: int | None = None) -> tuple[int, int, bytes]:
        """(first LSN, count, entries as they stand in the file) from `from_lsn` on (0: from first_lsn on, J4).

        At most bytes_max, but always at least one entry if there is one; never beyond `to_lsn` (default and
        limit: release_lsn). count 0: nothing there yet, or no longer.
        """
        from_lsn = from_lsn or self.first_lsn
        last = self.release_lsn if to_lsn is None else min(to_lsn, self.release_lsn)
        if from_lsn > last or self._file is None:
            return from_lsn, 0, b""
        recent = self._recent.read(from_lsn, last, bytes_max)
        if recent is not None:
            return from_lsn, *recent
        if from_lsn < self.first_lsn:
            sealed = self._sealed.read(from_lsn, min(last, self.first_lsn - 1), bytes_max)
            if sealed is None:
                self.unreadable_lsn = max(self.unreadable_lsn, from_lsn)
                return from_lsn, 0, b""
            return from_lsn, *sealed
        offset = self._index.offset_of(self._file, from_lsn)
        window = self._file.read(offset, min(max(bytes_max, HEADER.size), self._end - offset))
        length = HEADER.size + HEADER.unpack_from(window)[2]
        if length > len(window):
            return from_lsn, 1, self._file.read(offset, length)
        taken, size = cut_entries(window, 0, last - from_lsn + 1, bytes_max)
        return from_lsn, taken, window[:size]

    def can_serve(self, lsn: int) -> bool:
        """`read` from `lsn` on gives entries."""
        return self.first_lsn <= lsn <= self.release_lsn or self.read(lsn, 1)[1] > 0


def _states_by_name(record: Checkpoint) -> dict[str, tuple[int, bytes]]:
    return {name: (lsn, state) for name, lsn, state in record.states}


def _decode_run(data: bytes) -> EngineRun:
    run = decode_record(_ENGINE_RUN, data)
    assert isinstance(run, EngineRun)
    return run


__all__ = ["Journal", "NewEntry", "Recovery", "read_journal"]
