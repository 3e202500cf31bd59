"""A strategy's part of the ring: its hooks run in order of position, up to the horizon or to where it needs an answer.

At every position, what it is told comes first: answers to its own signals when they are due, and what crosses from
others at the first position after a quantum's end (P8). Then timers, bars or the tick. What the hooks send bears that
position.

Without latency a strategy stops where it has sent something: the answer is seen at the next position. With latency it
runs on to the last tick before an answer is due (P5), and stops there until the venue has come so far.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from operator import length_hint
from typing import Any, Final

import msgspec
import numpy as np

from actors.brackets import exit_ids
from actors.desk import SIDES, TIMER_MIN_S, Desk, Sent, asked_state, is_too_late, refusal, refusal_here, sent_of
from actors.fold import (
    FillBooked,
    OrderChanged,
    OrderReplaced,
    PositionChanged,
    SignalAnswered,
    TradingStateChanged,
)
from actors.fold_state import take_state
from actors.order_tracker import Order
from actors.protection import requests_of
from actors.ring.parts import NEVER, Bars, Heard, Part, Ticks, Timer, View, Wait
from actors.ring.ticks import DTYPE
from actors.strategies import Bar, OrderInfo, Signal, Strategy, Tick
from protocol.codec import MarketPayload
from protocol.errors import ResumeError
from protocol.messages import SIGNAL_CANCEL, Intent
from protocol.orders import Report, TradingMode
from protocol.positions import PHASE_BAR, PHASE_TIMER, START, is_quantum_end, tick_position, ticks_done
from protocol.records import (
    BalanceChange,
    EngineRun,
    OrderCancel,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    PositionClose,
    PositionModify,
    PositionOpen,
    Record,
    SignalRefused,
)
from protocol.ring_state import HeldRecord, StrategyRing, encode_ring
from protocol.state import decode_fold_state, encode_state
from protocol.topics import BAR, TICK
from protocol.units import MICROS
from protocol.wal.format import Envelope

_DERIVED: Final = (PositionOpen, PositionClose, BalanceChange)
NOTHING_TO_REDUCE: Final = "nothing_to_reduce"


class StrategyCore:
    """send(intent) to risk; reached(position) answers a GRANT. call(hook, *arguments) calls the author's code, and
    failed(hook, arguments) tells of what raised where `call` would cost too much.
    """

    def __init__(
        self, strategy: Strategy, part: Part, *,
        send: Callable[[Intent], Any], reached: Callable[[int], Any], call: Callable[..., Any],
        failed: Callable[[str, tuple[Any, ...]], Any],
    ) -> None:  # fmt: skip
        self._strategy = strategy
        self._part = part
        self._send = send
        self._report = reached
        self._call = call
        self._failed = failed
        self._is_vectorised = type(strategy).on_ticks is not Strategy.on_ticks
        self.view = View()
        self.desk = Desk(self, self.view, part.symbols, part.strategy_id, part.last_number)
        self.unanswered: dict[int, Sent] = {}
        self.epoch = b""
        """Of the feed."""
        self.position = 0
        """All hooks up to here have returned; within a hook, where it stands."""
        self.ticks = 0
        self._time_us = 0
        self._target = self._venue = 0
        self._owes = False
        """A GRANT is not answered yet."""
        self._end: int | None = None
        self._work: deque[Ticks | Bars] = deque()
        self._own_orders: set[int] = set()
        """Those whose end was not told."""
        self._cancels: dict[int, tuple[int, int, bool]] = {}
        """By own order: (time, LSN, whether it was asked for here) of its first cancel; another's crosses (P8)."""
        self._heard: list[Heard] = []
        self._crossing: list[tuple[Envelope, Record]] = []
        self._is_told_others = False
        self._is_others_fill = False
        """The venue's last word; what it ends for want of a position it ends right behind such a fill (P8)."""
        self._waits: dict[int, Wait] = {}
        self._timers: list[Timer] = []
        self._slice: list[memoryview] = []
        self._asked: list[tuple[Signal, Intent]] = []
        self._stir: list[None] = []
        """Not empty: the present hook has done something that the next tick must not be fed before."""
        self._untold: deque[OrderInfo] = deque()
        self._is_silent = False
        """What a strategy that goes on does in load and on_start was done in its former life."""
        self._start_timers = 0
        """How many on_start made: those that another life can make again."""

    # What comes in.

    def take_ticks(self, first: int, payload: MarketPayload) -> None:
        ticks = np.frombuffer(payload.records, dtype=DTYPE)
        times = ticks["timestamp"].copy().data  # not as it lies: of one tick alone no aligned view could be made
        own = (iter(()), range(0), iter(())) if self._is_vectorised else self._own_ticks(ticks)
        self._work.append(Ticks(first, payload.items, times, payload.records, *own))

    def _own_ticks(self, ticks: Any) -> tuple[Iterator[Tick], Sequence[int], Iterator[Any]]:
        own, ids, numbers = self._part.own, ticks["symbol_id"], range(len(ticks))
        names: Any
        left: Any
        if len(own) == 1 and (ids == next(iter(own))).all():
            names = left = repeat(next(iter(own.values())), len(ticks))
        else:
            numbers = np.flatnonzero(np.isin(ids, list(own))).tolist()
            ticks = ticks[numbers]
            left = iter(ticks["symbol_id"].tolist())
            names = map(own.__getitem__, left)
        # Memoryviews and not lists: a float that is made when its turn comes lies where the last one was (-20 %).
        bids, asks, seconds = ((ticks[key] / MICROS).data for key in ("bid", "ask", "timestamp"))
        return map(Tick, names, bids, asks, seconds), numbers, left

    def take_bars(self, next_tick: int, payload: MarketPayload) -> None:
        self._work.append(Bars(next_tick, bytes(payload.records)))

    def take_end(self, tick: int) -> None:
        """`tick` is the one after the last."""
        self._end = tick

    # Over a crash (P11).

    def take_state(self) -> bytes:
        """As of the last record that was taken, at a quantum's end; empty if another life cannot go on from here.

        Raises: TypeError if what `save` gave cannot be written, and whatever `save` raises.
        """
        saved = self._call(self._strategy.save)
        if saved is None or len(self._timers) != self._start_timers:
            return b""
        asked = [asked_state(sent) for sent in self.unanswered.values()]
        return encode_ring(StrategyRing(
            saved, encode_state(take_state(self.view, with_ended=True)), self._time_us,
            self.desk.last_number, self._strategy.rng.getstate(), tuple(timer.due_us for timer in self._timers),
            tuple(asked), tuple((number, w.acts_us, w.act_position, w.due_us) for number, w in self._waits.items()),
            tuple(sorted(self._own_orders)), tuple((key, *row) for key, row in sorted(self._cancels.items())),
            tuple((heard.due_us, heard.signal, HeldRecord.of(heard.envelope, heard.record)) for heard in self._heard),
            tuple(HeldRecord.of(*held) for held in self._crossing), b"".join(self._slice),
            self._part.source, self._is_others_fill,
        ))  # fmt: skip

    def resume(self, run: EngineRun, tick: int, state: StrategyRing) -> None:
        """Behind `tick` it is as it was: what load and on_start ask for is not asked again.

        Raises: WireError, ResumeError, and whatever `load` and on_start raise.
        """
        if state.source != self._part.source:
            raise ResumeError("its file has changed since the run began: put that back, or begin the run anew")
        self.view.put_state(run, decode_fold_state(state.view))
        self.desk.raise_number(state.last_number)
        self._is_silent = True
        self._call(self._strategy.load, state.saved)
        self._call(self._strategy.on_start)
        self._is_silent = False
        if len(self._timers) != len(state.timers_us):
            raise ResumeError(f"on_start made {len(self._timers)} timers, and had made {len(state.timers_us)}")
        for timer, due_us in zip(self._timers, state.timers_us, strict=True):
            timer.due_us = due_us
        self._start_timers = len(self._timers)
        self._strategy.rng.setstate(state.rng)
        self.position, self._time_us = tick_position(tick), state.time_us
        self.unanswered.update((sent.intent.number, sent) for sent in map(sent_of, state.asked))
        self._waits.update((number, Wait(*row)) for number, *row in state.waits)
        self._own_orders.update(state.own_orders)
        self._is_others_fill = state.is_others_fill
        self._cancels.update((key, (time_us, lsn, asked)) for key, time_us, lsn, asked in state.cancels)
        self._heard += [Heard(due_us, signal, *held.read()) for due_us, signal, held in state.heard]
        self._crossing += [held.read() for held in state.crossing]
        self._slice += [memoryview(state.slice)] if state.slice else []

    def take_record(self, envelope: Envelope, record: Record) -> None:
        """A record of the tail: heard at once, when it is due, or behind the quantum's end."""
        if self.view.run is None:
            self.view.apply(envelope, record)
        elif type(record) not in _DERIVED:
            signal = self._signal_of(envelope, record)
            if signal is not None:
                due_us = record.venue_time + self._part.latency_us if type(record) is OrderUpdate else NEVER
                self._heard.append(Heard(due_us, signal, envelope, record))
            else:
                self._crossing.append((envelope, record))

    def _signal_of(self, envelope: Envelope, record: Record) -> int | None:
        """None: not this strategy's. Else the signal whose answer it is, 0 for what the venue says."""
        if type(record) is OrderUpdate:
            return 0 if self._is_own(record) else None
        if not isinstance(record, OrderPlace | OrderCancel | OrderReplace | PositionModify | SignalRefused):
            return None
        # An order that closes for the operator, or at a halt, bears its strategy's name, and no signal of its (P8).
        is_asked = record.strategy_id == self._part.strategy_id and record.signal != 0
        for request in requests_of(record) if type(record) is PositionModify else (record,):
            if type(request) is OrderPlace and is_asked:
                self._own_orders.update((request.order_id, *exit_ids(request)))
            elif type(request) is OrderCancel and request.order_id in self._own_orders:
                cancel = envelope.time_us, envelope.lsn, is_asked
                self._cancels[request.order_id] = min(cancel, self._cancels.get(request.order_id, cancel))
        return record.signal if is_asked else None

    def _is_own(self, update: OrderUpdate) -> bool:
        """The venue speaks of an own order, and not because of another's cancel, or of another's fill."""
        is_own, is_cancel = update.order_id in self._own_orders, update.report is Report.CANCEL
        if not (is_cancel and update.reason == NOTHING_TO_REDUCE):
            self._is_others_fill = update.report is Report.FILL and not is_own
        _, _, is_asked = self._cancels.get(update.order_id, (0, 0, True))
        is_others_cancel = not is_asked and not update.reason  # else the venue has ended it for a reason of its own
        return is_own and not (is_cancel and (self._is_others_fill or is_others_cancel))

    def grant(self, venue: int, horizon: int) -> None:
        """The token; P7: whether to move is decided here and never again."""
        self._venue, self._owes = venue, True
        self._target = max(horizon, self.position) if venue >= self.position else self.position
        if self._target > self.position > START and is_quantum_end(self.position, self._part.quantum):
            self._is_told_others = True
        self.go_on()

    # Going on.

    def go_on(self) -> None:
        """Runs hooks as far as the GRANT and the ticks that are here allow."""
        while self._owes:
            if self.position >= self._target:
                self._owes = False
                self._report(self.position)
            elif self.position < START:
                if not self._work and self._end is None:
                    return  # the feed's epoch comes with its first ticks, and orders bear it
                self.position = START
                self._call(self._strategy.on_start)
                self._start_timers = len(self._timers)
                self._flush()
            elif not self._step():
                return

    def _step(self) -> bool:
        """The next position; after a tick also those that follow undisturbed. False: its data are missing."""
        tick, phase = divmod(self.position + 1, 3)
        time_us = self._time_of(tick)
        if time_us is None:
            return False
        if phase == PHASE_TIMER and self._must_wait(tick, time_us):
            self._target = self.position
            return True
        self.position, self._time_us = self.position + 1, time_us
        self._tell_due(NEVER if tick == self._end else time_us, phase)
        if phase == PHASE_TIMER:
            self._run_timers(time_us)
        elif phase == PHASE_BAR:
            self._run_bars(tick)
        elif tick == self._end:
            self._run_end()
        else:
            self._run_ticks(tick)
        self._flush()
        return True

    def _time_of(self, tick: int) -> int | None:
        """None while it is not here. The end has the time of the last tick."""
        for work in self._work:
            if isinstance(work, Ticks):
                return work.times[tick - work.first]
        return self._time_us if tick == self._end else None

    def _must_wait(self, tick: int, time_us: int) -> bool:
        """P5: an answer is due before this tick, and the venue has not come to where it is given."""
        for wait in self._waits.values():
            if wait.act_position == NEVER and wait.acts_us <= time_us:
                wait.act_position, wait.due_us = tick_position(tick), time_us + self._part.latency_us
        late = (wait for wait in self._waits.values() if wait.due_us <= time_us and wait.act_position > self._venue)
        return tick != self._end and any(late)

    def _undisturbed_until(self) -> int:
        """The time from which something else than ticks is to be done."""
        if self._is_told_others or self._stir or (self._heard and not self._part.latency_us):
            return 0
        dues = [timer.due_us for timer in self._timers]
        dues += [wait.acts_us if wait.act_position == NEVER else wait.due_us for wait in self._waits.values()]
        dues += [heard.due_us for heard in self._heard]
        return min(dues, default=NEVER)

    # The hooks of the market.

    def _run_timers(self, time_us: int) -> None:
        for timer in self._timers:
            if not timer.due_us:
                timer.due_us = time_us + timer.interval_us
            while timer.due_us <= time_us:
                timer.due_us += timer.interval_us
                self._call(timer.hook)

    def _run_bars(self, tick: int) -> None:
        bars = self._work[0] if self._work else None
        if not isinstance(bars, Bars) or bars.next_tick != tick:
            return
        self._work.popleft()
        for _, symbol_id, timeframe, time_us, *prices in BAR.iter_unpack(bars.records):
            symbol = self._part.own.get(symbol_id)
            if symbol is not None:
                scaled = [price / MICROS for price in prices]
                self._call(self._strategy.on_bar, Bar(symbol, timeframe, time_us / MICROS, *scaled))

    def _run_ticks(self, tick: int) -> None:
        """This tick, and those behind it up to the target, the next event or the end of the chunk."""
        work = self._work[0]
        assert isinstance(work, Ticks), "bars come before their tick"
        start = tick - work.first
        stop = min(work.count, ticks_done(self._target) - work.first + 1)
        stop = min(stop, bisect_left(work.times, self._undisturbed_until(), start + 1))
        run = self._run_slice if self._is_vectorised else self._run_own
        stop = run(work, start, max(stop, start + 1))
        self.ticks += stop - start
        self.position, self._time_us = tick_position(work.first + stop - 1), work.times[stop - 1]
        if stop == work.count:
            self._work.popleft()

    def _run_own(self, work: Ticks, start: int, stop: int) -> int:
        """on_tick for the strategy's ticks among start .. stop, up to one that asks for something; where it stopped."""
        numbers = work.numbers
        first, last = bisect_left(numbers, start), bisect_left(numbers, stop)
        on_tick, stir = self._strategy.on_tick, self._stir
        for tick in islice(work.own, last - first):
            try:
                on_tick(tick)
            except Exception:
                self._failed("on_tick", (tick,))
                raise
            if stir:
                return numbers[len(numbers) - 1 - length_hint(work.left)] + 1
        return stop

    def _run_slice(self, work: Ticks, start: int, stop: int) -> int:
        """P9: on_ticks at the end of each slice, which nothing but the number of ticks cuts."""
        size = self._part.slice_ticks
        tick = work.first + start
        cut = (tick - 1) // size * size + size
        stop = min(stop, cut - work.first + 1)
        self._slice.append(work.records[start * TICK.size : stop * TICK.size])
        if work.first + stop - 1 == cut:
            self._give_slice()
        return stop

    def _give_slice(self) -> None:
        parts, self._slice = self._slice, []
        if parts:
            records = parts[0] if len(parts) == 1 else b"".join(parts)
            self._call(self._strategy.on_ticks, np.frombuffer(records, dtype=DTYPE))

    def _run_end(self) -> None:
        self._give_slice()
        self._call(self._strategy.on_stop)

    # What it is told.

    def _tell_due(self, time_us: int, phase: int) -> None:
        """Answers that are due, in the order in which they are; then, behind a quantum's end, what crosses (P8)."""
        if self._heard:
            waiting = sorted(self._heard, key=lambda heard: (self._due(heard), heard.envelope.lsn))
            count = bisect_right(waiting, time_us, key=self._due)
            told, self._heard = waiting[:count], waiting[count:]
            for heard in told:
                self._tell(heard.envelope, heard.record)
                self._waits.pop(heard.signal, None)
        if phase == PHASE_TIMER and (self._is_told_others or time_us == NEVER):
            self._is_told_others = False
            crossing, self._crossing = self._crossing, []
            for envelope, record in crossing:
                self._tell(envelope, record)

    def _due(self, heard: Heard) -> int:
        """Without latency everything is, in the journal's order."""
        if not self._part.latency_us:
            return 0
        wait = self._waits.get(heard.signal)
        return heard.due_us if wait is None else wait.due_us

    def _tell(self, envelope: Envelope, record: Record) -> None:
        for change in self.view.apply(envelope, record):
            if type(change) is SignalAnswered:
                if change.strategy_id == self._part.strategy_id:
                    self._take_answer(change)
            elif type(change) is OrderChanged:
                if change.order.strategy_id == self._part.strategy_id:
                    self._forget_if_ended(change.order)
                    self._tell_order(self.desk.order_info(change.order))
            elif type(change) is OrderReplaced:
                if change.order.strategy_id == self._part.strategy_id:
                    self._tell_order(self.desk.order_info(change.order))
            elif type(change) is FillBooked:
                if change.order.strategy_id == self._part.strategy_id:
                    self._call(self._strategy.on_fill, self.desk.fill(change))
            elif type(change) is PositionChanged:
                if change.strategy_id == self._part.strategy_id and change.symbol_id in self._part.own:
                    self._call(self._strategy.on_position, self.desk.position(self._part.own[change.symbol_id]))
            elif type(change) is TradingStateChanged and change.state.mode is TradingMode.HALTED:
                self._call(self._strategy.on_halt, change.state.reason)

    def _forget_if_ended(self, order: Order) -> None:
        """The venue speaks of it no more."""
        if not order.is_open:
            self._own_orders.discard(order.order_id)
            self._cancels.pop(order.order_id, None)

    def _take_answer(self, change: SignalAnswered) -> None:
        sent = self.unanswered.pop(change.signal, None)
        if sent is None:
            return
        if change.order_id is None:
            if sent.cancel is not None:
                self.refuse_here(sent.cancel, f"signal {change.signal} never became an order")
            self._tell_order(refusal(sent, change.reason, change.detail))
            return
        sent.signal.order_id = change.order_id
        if sent.cancel is not None:
            self.ask(SIGNAL_CANCEL, sent.cancel, order_id=change.order_id)
        order = self.view.tracker.orders.get(change.order_id)
        if is_too_late(sent, order):
            self._tell_order(refusal(sent, "order_ended", "") if order is None else self.desk.order_info(order))

    def _tell_order(self, info: OrderInfo) -> None:
        self._call(self._strategy.on_order, info)

    # What it asks for (desk.Carrier).

    def ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        if self._is_silent:
            return signal
        symbol_id = self.desk.symbol_id(signal.symbol)
        assert symbol_id is not None, "the desk knows it"
        intent = Intent(
            self._part.strategy_id, signal.number, 0, 0, self.epoch, 0, kind, symbol_id,
            side=SIDES[signal.side], **fields,
        )  # fmt: skip
        self.unanswered[signal.number] = Sent(intent, signal)
        self._asked.append((signal, intent))
        self._stir.append(None)
        return signal

    def refuse_here(self, signal: Signal, reason: str) -> Signal:
        if self._is_silent:
            return signal
        self._untold.append(refusal_here(signal, reason))
        self._stir.append(None)
        return signal

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        if not seconds >= TIMER_MIN_S:
            raise ValueError(f"every({seconds!r}): at least {TIMER_MIN_S} seconds")
        self._timers.append(Timer(round(seconds * MICROS), hook))
        self._stir.append(None)

    def _flush(self) -> None:
        """What the hooks of this position have asked for leaves, with its position and time."""
        while self._untold:
            self._tell_order(self._untold.popleft())
        self._stir.clear()
        if not self._asked:
            return
        for signal, asked in self._asked:
            intent = msgspec.structs.replace(asked, market_position=self.position, sent_us=self._time_us)
            self.unanswered[signal.number].intent = intent
            self._send(intent)
            if self._part.latency_us:
                self._waits[signal.number] = Wait(self._time_us + self._part.latency_us)
        self._asked.clear()
        if not self._part.latency_us and (self._end is None or self.position < 3 * self._end):
            self._target = self.position
