"""What the actors share whose state is a fold of the journal and who follow the market.

risk, order_routing, gateway and the strategies start by folding the journal, stay on its tail, hear the market
stream, and stop when their own appends are back, so on disk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from actors.base import Actor, Place
from actors.fold import Fold
from actors.journal import JournalClient
from actors.market import MarketClient
from protocol.codec import MarketPayload
from protocol.messages import Done, Grant, QueueDepth, Statistics
from protocol.pipeline import JOURNAL
from protocol.queues import APPENDS
from protocol.records import EngineRun, Record
from protocol.wal.format import Envelope


class FoldingActor(Actor):
    """`producer`: its number in the journal; 0 if it appends nothing. `on_batch`, `take_state`: see JournalClient.

    A subclass makes its `market`, and starts both when its own order of things allows.
    """

    market: MarketClient

    def __init__(
        self,
        place: Place,
        *,
        producer: int = 0,
        on_batch: Callable[[], None] | None = None,
        take_state: Callable[[], bytes | None] | None = None,
        on_token: Callable[[Grant | Done], None] | None = None,
    ) -> None:
        super().__init__(place)
        self.fold = Fold()
        self.journal = JournalClient(
            self.loop,
            self.connect(JOURNAL),
            self.page,
            name=self.name,
            incarnation=self.spec.incarnation,
            on_record=self.on_record,
            on_caught_up=self.on_caught_up,
            producer=producer,
            on_batch=on_batch,
            take_state=take_state,
            on_token=on_token,
        )
        self.counters: dict[str, int] = {}

    @abstractmethod
    def on_record(self, envelope: Envelope, record: Record) -> None:
        """Every record, in order, from LSN 1 or a CHECKPOINT: to be folded. No effects before `on_caught_up`."""

    @abstractmethod
    def on_caught_up(self) -> None:
        """Once: the fold is complete."""

    # The market, for those who only need to know where it is.

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None: ...

    def on_bars(self, next_tick: int, payload: MarketPayload) -> None: ...

    def on_end(self) -> None: ...

    # What they share.

    def stop(self, run: EngineRun | None) -> None:
        self.loop.after_turn(self._stop_when_drained)

    def _stop_when_drained(self) -> None:
        if not self.journal.pending_count:
            self.stopped(self.journal.lsn)

    def peer(self, name: str) -> None:
        if name == "wal":
            self.journal.stream.say_hello()
        elif name == "market_data":
            self.market.stream.say_hello()

    def outstanding(self) -> int:
        """What has not come back yet; 0 everywhere means that the engine is quiet."""
        return self.journal.pending_count

    def queues(self) -> tuple[QueueDepth, ...]:
        return (QueueDepth(APPENDS.name, "wal", self.journal.pending_count, APPENDS.limit),)

    def statistics(self) -> Statistics:
        return Statistics(
            self.journal.lsn, self.market.position, self.market.at_end, self.outstanding(), dict(self.counters)
        )
