"""What the ring's actors share: the journal with its tokens, the ticks in order, credit for what they are done with.

In a replay nobody is restarted alone: whatever dies, all stop, and the run is resumed from its last checkpoint.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque

from actors.base import Place
from actors.folding import FoldingActor
from actors.market import MarketClient
from protocol.messages import Done, Grant
from protocol.records import Checkpoint, Record
from protocol.wal.format import Envelope


class ReplayActor(FoldingActor):
    def __init__(self, place: Place, *, producer: int = 0) -> None:
        super().__init__(place, producer=producer, on_token=self.on_token, take_state=self.take_state)
        self.market = MarketClient(self, self, on_chunk=self._hold_chunk)
        self._chunks: deque[int] = deque()
        """The last position of each chunk whose credit is not given back."""

    @abstractmethod
    def on_token(self, token: Grant | Done) -> None:
        """Every record before it has been heard."""

    @abstractmethod
    def take_record(self, envelope: Envelope, record: Record) -> None:
        """Every record, in order."""

    @abstractmethod
    def resume(self, envelope: Envelope, record: Checkpoint) -> None:
        """The CHECKPOINT from which this life goes on, its first record: it is as it was at `resume_tick`."""

    @abstractmethod
    def take_state(self) -> bytes:
        """What another life needs to go on from here, at a quantum's end; empty if it could not (P11)."""

    @abstractmethod
    def go_on(self) -> None:
        """More ticks are here."""

    @abstractmethod
    def is_over(self) -> bool:
        """Nothing more will be done."""

    def on_record(self, envelope: Envelope, record: Record) -> None:
        if self.resume_tick and not self.journal.caught_up:
            assert isinstance(record, Checkpoint), "wal has said so, and serves nothing else"
            self.resume(envelope, record)
        else:
            self.take_record(envelope, record)

    def outstanding(self) -> int:
        return self.journal.pending_count + len(self.fold.owed) + (not self.is_over())

    def _hold_chunk(self, last_position: int) -> None:
        self.market.stream.hold_credit()
        self._chunks.append(last_position)
        self.go_on()

    def keep_page(self, position: int) -> None:
        """P12: credit for the chunks that lie behind `position`, and are needed no more."""
        done = 0
        while self._chunks and self._chunks[0] <= position:
            self._chunks.popleft()
            done += 1
        if done:
            self.market.stream.release_credit(done)
            self.page.set_market(self.market.epoch, position)
