"""A replay that goes on: what its former life wrote is not written again, but compared, byte by byte.

The journal of a replay is a function of config and data, so a resumed run says again what stands behind the checkpoint
from which it goes on. Nothing is rolled back: while the run retraces, records are not appended but must equal those on
disk; where those end the journal goes on. So a strategy that does not do the same again is found at its first step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from protocol.errors import ResumeError, WalError
from protocol.records import Checkpoint, EngineRun, EntryType, Producer, TradingState, decode_record
from protocol.state import RISK
from protocol.wal import Journal
from protocol.wal.batch import Chain, NewEntry
from protocol.wal.format import HEADER, Envelope, iterate_payload

READ_BYTES: Final = 1024 * 1024


class Retrace:
    """From the entry `first_lsn` on, an ENGINE_RUN or a CHECKPOINT, which counts as written.

    Raises: ResumeError if that is not kept any more.
    """

    def __init__(self, journal: Journal, first_lsn: int) -> None:
        self._journal = journal
        self._ahead, self._offset = b"", 0
        """Entries read ahead, as they stand on disk, and how far those are passed."""
        self._read_lsn = first_lsn
        envelope, self._crc, data = self._next_entry()
        self.first = envelope
        self.lsn = self.stated_lsn = first_lsn
        """stated_lsn: what entries say of the disk (Journal.stated_lsn)."""
        record = decode_record(envelope.entry_type, data)
        self.producer_seq: dict[int, int] = {envelope.producer: envelope.producer_seq}
        self.states: dict[str, bytes] = {}
        if isinstance(record, Checkpoint):
            self.producer_seq.update(record.producers)
            self.states = {name: state for name, _, state in record.states}
            record = decode_record(EntryType.ENGINE_RUN, record.run)
        assert isinstance(record, EngineRun), "a journal begins with one of both"
        self.run = record

    @property
    def is_over(self) -> bool:
        return self.lsn == self._journal.tail_lsn

    def tells_of_halt(self, token: int) -> bool:
        """Whether what is retraced has a TRADING_STATE with this token."""
        lsn, journal = self.lsn + 1, self._journal
        while lsn <= journal.tail_lsn:
            first, count, payload = journal.read(lsn, READ_BYTES)
            if not count or first != lsn:
                self._cannot_read(lsn)
            for envelope, _, data in iterate_payload(payload):
                if envelope.entry_type == EntryType.TRADING_STATE:
                    record = decode_record(envelope.entry_type, data)
                    if isinstance(record, TradingState) and record.token == token:
                        return True
            lsn = first + count
        return False

    def follow(self, batch: Sequence[NewEntry]) -> int:
        """How many of the batch's first stand on disk already; all others come behind the journal's end.

        Raises: ResumeError at the first that is not what stands there.
        """
        count = min(len(batch), self._journal.tail_lsn - self.lsn)
        chain = Chain(self.lsn, self._crc, self.stated_lsn, self._journal.length_max, {})
        said = b"".join(segment.payload for segment in chain.extend(batch[:count]))
        if not self._is_next(said):
            self._complain(said)
        self._offset += len(said)
        self.lsn, self._crc = chain.lsn, chain.crc
        return count

    def pass_checkpoint(self, states: Mapping[str, bytes]) -> None:
        """The next entry is the CHECKPOINT that is due, and has these states. Raises: ResumeError."""
        envelope, crc, data = self._next_entry()
        record = decode_record(envelope.entry_type, data)
        if not isinstance(record, Checkpoint):
            self._differs(envelope.lsn, "CHECKPOINT", EntryType(envelope.entry_type).name)
        stored = {name: state for name, _, state in record.states}
        for name in sorted(stored.keys() | states.keys()):
            if stored.get(name) != states.get(name):
                self._differs(envelope.lsn, f"a CHECKPOINT with another state of {name}", "written with the first")
        self.lsn = self.stated_lsn = envelope.lsn
        self._crc = crc
        self.producer_seq[Producer.WAL] = envelope.producer_seq

    def _next_entry(self) -> tuple[Envelope, int, memoryview]:
        self._read_ahead(HEADER.size)
        size = HEADER.size + HEADER.unpack_from(self._ahead, self._offset)[2]
        self._read_ahead(size)
        entry = next(iterate_payload(self._ahead[self._offset : self._offset + size]))
        self._offset += size
        return entry

    def _is_next(self, said: bytes) -> bool:
        self._read_ahead(len(said))
        return self._ahead.startswith(said, self._offset)

    def _read_ahead(self, size: int) -> None:
        """So many bytes are there, or all to the journal's end."""
        while len(self._ahead) - self._offset < size and self._read_lsn <= self._journal.tail_lsn:
            first, count, payload = self._journal.read(self._read_lsn, READ_BYTES)
            if not count or first != self._read_lsn:
                self._cannot_read(self._read_lsn)
            self._ahead, self._offset = self._ahead[self._offset :] + payload, 0
            self._read_lsn += count

    def _cannot_read(self, lsn: int) -> NoReturn:
        directory = self._journal.path.parent
        raise ResumeError(
            f"{directory}: LSN {lsn} cannot be read: its file is damaged, or not kept any more (`seawall wal verify "
            f"{directory.parent}` says which). A replay goes on over all that there was: begin again in a new run_dir"
        )

    def _complain(self, said: bytes) -> NoReturn:
        """Names the first difference."""
        for mine, crc, data in iterate_payload(said):
            record = decode_record(mine.entry_type, data)
            if isinstance(record, TradingState) and record.by != RISK:
                raise WalError(
                    f"halted by {record.by} ({record.reason}), with the journal said again up to LSN {mine.lsn - 1}: "
                    "nothing was traded since"
                )
            theirs, their_crc, their_data = self._next_entry()
            if crc != their_crc:
                self._differs(mine.lsn, _text(mine, data), _text(theirs, their_data))
        raise AssertionError("bytes that differ differ somewhere")

    def _differs(self, lsn: int, said: str, stored: str) -> NoReturn:
        raise ResumeError(
            f"{self._journal.path}: LSN {lsn} would now be {said}, and was {stored}. A replay goes on only if all do "
            "again what they did: not so a strategy that draws on more than its ticks, params and self.rng, or whose "
            "save() and load() leave something out, nor a run that was halted. Begin again in a new run_dir"
        )


def _text(envelope: Envelope, data: memoryview) -> str:
    return f"{decode_record(envelope.entry_type, data)} at {envelope.time_us} us by {Producer(envelope.producer).name}"


