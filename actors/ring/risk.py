"""risk's part of the ring: when every strategy has answered the GRANT it appends what follows, in order of position.

Who stands furthest back says how far everybody's word counts: i. Up to there risk books answers (with latency: at the
tick at which they are due, P5), looks at its limits, and decides on signals, merged by (position, strategy, number);
then DONE(i). What lies beyond i waits. Where risk itself sends something it stops as a strategy does (P3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from copy import deepcopy
from heapq import heappop, heappush
from typing import Any, Final

from actors.fold import Change, FillBooked, ImpossibleReport
from actors.fold_state import take_state
from actors.ring.ticks import HeldTicks
from actors.risk_book import RiskBook
from protocol.codec import MarketPayload
from protocol.errors import WireError
from protocol.messages import Intent
from protocol.orders import END_OF_DATA, TradingMode
from protocol.positions import is_quantum_end, tick_position, ticks_done
from protocol.records import Adjust, Checkpoint, OrderUpdate, Record, TradingState
from protocol.ring_state import RISK_RING, HeldRecord, RiskAnswer, RiskRing, decode_ring, encode_ring
from protocol.state import decode_fold_state, encode_state
from protocol.wal.format import Envelope

FILLED: Final = 0
NOT_REPRESENTABLE: Final = 1
MakeBook = Callable[[Callable[[Record], Any], Callable[[], bool]], RiskBook]


class RiskCore:
    """make_book(append, is_halted). append(record, time_us): into the journal. done(i): the token.
    halt_asked(): who has halted by hand, as a record; it is asked at a quantum's end (P13).
    """

    def __init__(
        self, make_book: MakeBook, strategies: Iterable[int], *, latency_us: int, quantum: int,
        append: Callable[[Record, int], Any], done: Callable[[int], Any],
        halt_asked: Callable[[], TradingState | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.book = make_book(self._append_now, self._is_halted)
        self.ticks = HeldTicks()
        self._strategies = frozenset(strategies)
        self._latency_us, self._quantum = latency_us, quantum
        self._append = append
        self._done = done
        self._halt_asked = halt_asked
        self._halting = False
        self._now_us = self._appended = 0
        """The time of the event that is acted on, and how many records were appended."""
        self._unfolded: deque[tuple[Envelope, Record]] = deque()
        """With latency an answer is not known before it is due, nor is what lies behind it."""
        self._marked = 0
        """The tick whose marks the book has."""
        self._news: list[tuple[int, int]] = []
        """What the fold has learned since it was last acted on: FILLED, symbol id, or NOT_REPRESENTABLE, order id."""
        self._signals: list[tuple[int, int, int, Intent]] = []
        self._reached: dict[int, int] = {}
        self._granted: tuple[int, int] | None = None
        self.position = 0
        """i of the last turn."""
        self.keeps_pen = False
        """An ordered stop: no turn is begun any more."""

    # What comes in.

    def take_ticks(self, first: int, payload: MarketPayload) -> None:
        self.ticks.add(first, payload)

    def take_end(self) -> None:
        self.ticks.add_end()

    def take_record(self, envelope: Envelope, record: Record) -> None:
        self._unfolded.append((envelope, record))
        self._fold(is_due=False)

    def take_signal(self, intent: Intent) -> None:
        heappush(self._signals, (intent.market_position, intent.strategy_id, intent.number, intent))

    def reached(self, strategy_id: int, position: int) -> None:
        self._reached[strategy_id] = position
        self.go_on()

    def grant(self, venue: int, horizon: int) -> None:
        """The token: all that the venue has said up to `venue` has come by take_record."""
        self._granted = venue, horizon
        self.go_on()

    def go_on(self) -> None:
        """P2: the pen is taken when the GRANT is here, every strategy has answered it, and the ticks are here too."""
        if self.keeps_pen or self._granted is None or not self._strategies <= self._reached.keys():
            return
        venue, horizon = self._granted
        position = min(self._reached.values(), default=horizon)
        if ticks_done(position) > self.ticks.last and not self.ticks.holds_all:
            return
        self._granted = None
        self._reached.clear()
        before = self.position
        self.position = self._write(venue, position)
        self._mark(ticks_done(before))
        self.ticks.drop(ticks_done(before))
        self._done(self.position)

    def _mark(self, tick: int) -> None:
        """The marks are those of `tick`, where limits ask for them."""
        if self.book.scopes.needs_market and tick > self._marked:
            for piece in self.ticks.cut(self._marked, min(tick, self.ticks.last)):
                self.book.scopes.take_ticks(memoryview(piece.ticks.view("u1")))
            self._marked = tick

    # The pen.

    def _write(self, venue: int, to: int) -> int:
        """All that follows up to `to` is appended, in order of position; returns how far that came."""
        is_quantum_over = is_quantum_end(venue, self._quantum)
        asked = self._halt_asked() if is_quantum_over else None
        if asked is not None and not self._is_halted():
            self._halt(asked)
        if self._act_on_news(venue, looks_at_losses=is_quantum_over):
            return venue
        while True:
            due, signal = self._next_due(to), self._signals[0] if self._signals else None
            if due is not None and (signal is None or 3 * due <= signal[0]):
                self._now_us = self.ticks.time_of(due)
                self._fold(is_due=True)
                if self._act_on_news(3 * due):
                    return max(venue, 3 * due)
            elif signal is not None and signal[0] <= to:
                heappop(self._signals)
                self._decide(signal[3])
            else:
                return to

    def _next_due(self, to: int) -> int | None:
        """The tick at which the next answer is known; None if that is beyond `to`."""
        if not self._unfolded:
            return None
        _, record = self._unfolded[0]
        assert isinstance(record, OrderUpdate | Adjust), "all else is folded as it comes"
        tick = self.ticks.first_at(record.venue_time + self._latency_us, 0) or self.ticks.end
        return tick if tick is not None and 3 * tick <= to else None

    def _fold(self, *, is_due: bool) -> None:
        """What is known; is_due: the answer at the head too."""
        while self._unfolded:
            envelope, record = self._unfolded[0]
            if self._latency_us and isinstance(record, OrderUpdate | Adjust) and not is_due:
                return
            is_due = False
            self._unfolded.popleft()
            if not self._latency_us:
                self._now_us = envelope.time_us
            self._news += _news_of(self.book.apply(envelope, record))

    def _act_on_news(self, position: int, *, looks_at_losses: bool = False) -> bool:
        """Derived records, then limits. Whether risk has sent something of its own (P3).

        Losses are looked at behind each fill, and by the marks at each quantum's end: to halt at the very tick would
        take a turn of the ring for every tick.
        """
        news, self._news = self._news, []
        self.book.append_owed()
        for kind, number in news:
            if kind == FILLED:
                reason = self.book.check_drawdown(number)
            else:
                reason = f"order {number}: a fill that cannot be represented in 0.000001"
            self._halt_for(reason, position)
            looks_at_losses |= kind == FILLED
        if looks_at_losses and self.book.scopes.needs_losses:
            self._mark(ticks_done(position))
            self._now_us = max(self._now_us, self.book.scopes.marks.newest_us)
            self.book.check_losses(self._now_us, lambda reason: self._halt_for(reason, position))
        before = self._appended
        if self._is_halted():
            self.book.act_on_halt(pending=True)
        return self._appended > before

    def _halt_for(self, reason: str | None, position: int) -> None:
        if reason is not None and not self._is_halted():
            self._halt(TradingState(TradingMode.HALTED, "risk", reason, max(1, position)))

    def _halt(self, state: TradingState) -> None:
        self._halting = True
        self._append_now(state)

    def _is_halted(self) -> bool:
        return self._halting or self.book.fold.halted(0)

    def _decide(self, intent: Intent) -> None:
        self._now_us = intent.sent_us
        if self.book.is_repeated(intent):
            return
        end = self.ticks.end
        if end is not None and intent.market_position >= 3 * end:
            self.book.refuse(intent, END_OF_DATA, "the data have come to their end")
        else:
            self._mark(ticks_done(intent.market_position))
            self.book.decide(intent, self._now_us)

    def _append_now(self, record: Record) -> None:
        self._appended += 1
        self._append(record, self._now_us)

    # Over a crash (P11).

    def take_state(self) -> RiskAnswer:
        """As of the last record that was taken, no GRANT behind it being answered."""
        assert not self._signals, "at a quantum's end nobody is ahead"
        fold = self.book.fold
        known, own = fold, b""
        if self._unfolded:
            known, own = deepcopy(fold), encode_state(take_state(fold, with_ended=True))
            for envelope, record in self._unfolded:
                known.apply(envelope, record)
        unfolded = tuple(HeldRecord.of(*held) for held in self._unfolded)
        self._mark(ticks_done(self.position))
        scopes = self.book.scopes
        ring = RiskRing(
            own, fold.lsn, unfolded, tuple(self._news), tuple(sorted(self.book.violated)), scopes.marks.rows(),
            scopes.take_throttles(),
        )
        return RiskAnswer(encode_state(take_state(known)), encode_ring(ring))

    def resume(self, envelope: Envelope, record: Checkpoint, tick: int) -> None:
        """The CHECKPOINT is the first record that is taken: behind `tick` it is as it was. Raises: WireError."""
        found = record.state_of(RISK_RING)
        if found is None:
            raise WireError("a CHECKPOINT without what risk knew")
        ring = decode_ring(found[1], RiskRing)
        self.position = tick_position(tick)
        self.ticks.begin(tick)
        self._news = list(ring.news)
        self._unfolded.extend(held.read() for held in ring.unfolded)
        if ring.fold:
            self.book.begin_behind(record, decode_fold_state(ring.fold), ring.fold_lsn)
        pending = [held for _, held in self._unfolded]
        self._halting = any(isinstance(held, TradingState) and held.state is TradingMode.HALTED for held in pending)
        self.book.restore(pending, ring.violated)
        self.take_record(envelope, record)
        self._marked = tick
        self.book.scopes.marks.put(ring.quotes)
        self.book.scopes.put_throttles(ring.throttles)


def _news_of(changes: Iterable[Change]) -> Iterable[tuple[int, int]]:
    for change in changes:
        if type(change) is FillBooked:
            yield FILLED, change.order.symbol_id
        elif type(change) is ImpossibleReport and change.reason == "not_representable":
            yield NOT_REPRESENTABLE, change.order_id
