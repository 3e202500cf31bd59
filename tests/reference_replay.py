"""A replay as one plain loop: position after position, everybody in turn, nothing ahead of anything.

The reference that the ring is compared with: no sockets, no tokens, no horizon. It shares the pure parts (the venue,
the checks, the folds, the desk) and nothing of what decides who runs when.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

from actors.desk import Desk, Sent, refusal, refusal_here
from actors.fold import (
    Change,
    FillBooked,
    Fold,
    OrderChanged,
    OrderReplaced,
    PositionChanged,
    SignalAnswered,
    TradingStateChanged,
)
from actors.protection import requests_of
from actors.ring.strategy import Part, View
from actors.strategies import Bar, OrderInfo, Signal, Strategy, Tick
from actors.venues import Answer
from actors.venues.paper import PaperVenue
from protocol.messages import SIGNAL_CANCEL, SIGNAL_MODIFY, Intent
from protocol.orders import Report, Side, TradingMode
from protocol.records import (
    Adjust,
    BalanceChange,
    OrderCancel,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    PositionClose,
    PositionModify,
    PositionOpen,
    Record,
    SignalRefused,
    TradingState,
    entry_type_of,
)
from protocol.units import MICROS
from protocol.wal.format import Envelope
from tests.ring_model import Case, attach, structured

NEVER = 2**63
ANSWERS = (OrderPlace, OrderCancel, OrderReplace, PositionModify, SignalRefused)
DERIVED = (PositionOpen, PositionClose, BalanceChange)


class Heard(NamedTuple):
    due_us: int
    lsn: int
    record: Record
    time_us: int


class Runner:
    """One strategy, told and asked position by position."""

    def __init__(self, number: int, case: Case) -> None:
        self.part: Part = case.part(number)
        self.strategy = case.strategies[number]()
        self.view = View()
        self.desk = Desk(self, self.view, self.part.symbols, self.part.strategy_id, 0)
        attach(self.strategy, self.part, self.desk)
        self.unanswered: dict[int, Sent] = {}
        self.asked: list[Intent] = []
        self.untold: list[OrderInfo] = []
        self.timers: list[list[Any]] = []
        self.heard: list[Heard] = []
        self.crossing: list[Heard] = []
        self.slice: list[Any] = []
        self.orders: set[int] = set()
        self.filled = 0
        """The order of the fill behind which the venue ends what has nothing left to reduce."""
        self.cancels: dict[int, tuple[int, int, bool]] = {}
        self.is_vectorised = type(self.strategy).on_ticks is not Strategy.on_ticks

    def ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        symbol_id = self.desk.symbol_id(signal.symbol)
        assert symbol_id is not None
        side = Side.BUY if signal.side == "Buy" else Side.SELL
        intent = Intent(self.part.strategy_id, signal.number, 0, 0, b"", 0, kind, symbol_id, side=side, **fields)
        self.unanswered[signal.number] = Sent(intent, signal)
        self.asked.append(intent)
        return signal

    def refuse_here(self, signal: Signal, reason: str) -> Signal:
        self.untold.append(refusal_here(signal, reason))
        return signal

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        self.timers.append([round(seconds * MICROS), hook, 0])

    def hear(self, heard: Heard, answer_due_us: Callable[[int], int]) -> None:
        record = heard.record
        if self.view.run is None:
            self.apply(heard)
            return
        if isinstance(record, DERIVED):
            return
        is_mine, due_us = False, 0
        if isinstance(record, OrderUpdate):
            _, _, is_asked = self.cancels.get(record.order_id, (0, 0, True))
            is_mine = record.order_id in self.orders and (
                is_asked or record.report is not Report.CANCEL or bool(record.reason)
            )
            is_reduced = record.report is Report.CANCEL and record.reason == "nothing_to_reduce"
            if record.report is Report.FILL:
                self.filled = record.order_id
            elif not is_reduced:
                self.filled = 0
            is_mine = is_mine and not (is_reduced and self.filled and self.filled not in self.orders)
            due_us = heard.due_us
        elif isinstance(record, ANSWERS) and record.strategy_id == self.part.strategy_id and record.signal:
            is_mine, due_us = True, answer_due_us(record.signal)
            for asked in requests_of(record) if isinstance(record, PositionModify) else [record]:
                if isinstance(asked, OrderPlace):
                    self.orders |= {asked.order_id, asked.stop_loss_order_id, asked.take_profit_order_id} - {0}
        for asked in requests_of(record) if isinstance(record, PositionModify) else [record]:
            if isinstance(asked, OrderCancel) and asked.order_id in self.orders:
                cancel = heard.time_us, heard.lsn, is_mine
                self.cancels[asked.order_id] = min(cancel, self.cancels.get(asked.order_id, cancel))
        (self.heard if is_mine else self.crossing).append(heard._replace(due_us=due_us))

    def tell(self, now_us: int | None, others: int) -> None:
        """One's own, as far as it is due (now_us None: all); then so many of what crosses."""
        told = [heard for heard in self.heard if now_us is None or heard.due_us <= now_us]
        self.heard = [heard for heard in self.heard if heard not in told]
        for heard in sorted(told, key=lambda heard: (heard.due_us, heard.lsn)):
            self.apply(heard)
        crossing, self.crossing = self.crossing[:others], self.crossing[others:]
        for heard in crossing:
            self.apply(heard)

    def apply(self, heard: Heard) -> None:
        envelope = Envelope(entry_type_of(heard.record), heard.lsn, 0, 0, heard.time_us, 0, 0)
        for change in self.view.apply(envelope, heard.record):
            self.take(change)

    def take(self, change: Change) -> None:
        strategy, own = self.strategy, self.part.strategy_id
        if isinstance(change, SignalAnswered) and change.strategy_id == own:
            self.answer(change)
        elif isinstance(change, OrderChanged | OrderReplaced) and change.order.strategy_id == own:
            strategy.on_order(self.desk.order_info(change.order))
        elif isinstance(change, FillBooked) and change.order.strategy_id == own:
            strategy.on_fill(self.desk.fill(change))
        elif isinstance(change, PositionChanged) and change.strategy_id == own:
            if change.symbol_id in self.part.own:
                strategy.on_position(self.desk.position(self.part.own[change.symbol_id]))
        elif isinstance(change, TradingStateChanged) and change.state.mode is TradingMode.HALTED:
            strategy.on_halt(change.state.reason)

    def answer(self, change: SignalAnswered) -> None:
        sent = self.unanswered.pop(change.signal, None)
        if sent is None:
            return
        if change.order_id is None:
            if sent.cancel is not None:
                self.refuse_here(sent.cancel, f"signal {change.signal} never became an order")
            self.strategy.on_order(refusal(sent, change.reason, change.detail))
            return
        sent.signal.order_id = change.order_id
        if sent.cancel is not None:
            self.ask(SIGNAL_CANCEL, sent.cancel, order_id=change.order_id)
        order = self.view.tracker.orders.get(change.order_id)
        if sent.intent.kind in (SIGNAL_CANCEL, SIGNAL_MODIFY) and (order is None or not order.is_open):
            self.strategy.on_order(self.desk.order_info(order) if order else refusal(sent, "order_ended", ""))

    def run_timers(self, time_us: int) -> None:
        for timer in self.timers:
            timer[2] = timer[2] or time_us + timer[0]
            while timer[2] <= time_us:
                timer[2] += timer[0]
                timer[1]()

    def run_bars(self, bars: list[tuple[int, ...]]) -> None:
        for symbol_id, timeframe, time_us, *prices in bars:
            if symbol_id in self.part.own:
                scaled = [price / MICROS for price in prices]
                self.strategy.on_bar(Bar(self.part.own[symbol_id], timeframe, time_us / MICROS, *scaled))

    def run_tick(self, number: int, tick: tuple[int, int, int, int]) -> None:
        symbol_id, time_us, bid, ask = tick
        if self.is_vectorised:
            self.slice.append(tick)
            if number % self.part.slice_ticks == 0:
                self.run_slice()
        elif symbol_id in self.part.own:
            self.strategy.on_tick(Tick(self.part.own[symbol_id], bid / MICROS, ask / MICROS, time_us / MICROS))

    def run_slice(self) -> None:
        ticks, self.slice = self.slice, []
        if ticks:
            self.strategy.on_ticks(structured(ticks))

    def take_asked(self) -> list[Intent]:
        while self.untold:
            self.strategy.on_order(self.untold.pop(0))
        asked, self.asked = self.asked, []
        return asked


class Reference:
    """The whole engine, one position at a time. `journal` has the records, in an order of its own."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.ticks = case.ticks
        self.times = [time_us for _, time_us, _, _ in case.ticks]
        self.lsn = 0
        self.now_us = 0
        self.fold = Fold()
        """Of everything, as it is said."""
        self.records: list[Record] = []
        self.halting = False
        self.book = case.book(self._append_by_risk, lambda: self.halting or self.book.fold.halted(0))
        self.unbooked: list[Heard] = []
        """What risk does not know yet, and what lies behind it."""
        self.venue = PaperVenue(case.policies())
        self.runners = [Runner(number, case) for number in range(len(case.strategies))]
        self.sent_us: dict[tuple[int, int], int] = {}
        self.to_venue: list[tuple[OrderPlace | OrderCancel | OrderReplace, int]] = []

    def run(self) -> list[Record]:
        self._say(self.case.run_record())
        self._book(None)
        self._position(0, 2, lambda runner: runner.strategy.on_start())
        for number, tick in enumerate(self.ticks, 1):
            self.now_us = tick[1]
            bars = self.case.bars.get(number, [])
            self._position(number, 0, lambda runner: runner.run_timers(self.now_us))
            self._position(number, 1, lambda runner, bars=bars: runner.run_bars(bars))
            self._position(number, 2, lambda runner, number=number, tick=tick: runner.run_tick(number, tick), tick)
        self._end()
        return self.records

    def _position(
        self, number: int, phase: int, hooks: Callable[[Runner], object], tick: tuple[int, int, int, int] | None = None
    ) -> None:
        latency_us = self.case.latency_us
        is_behind_quantum = phase == 0 and number > 1 and (number - 1) % self.case.quantum == 0
        crossing = [len(runner.crossing) if is_behind_quantum else 0 for runner in self.runners]
        if not latency_us:
            self._book(None)  # risk too hears of what was done at the position before
        if is_behind_quantum:
            self._look_at_losses(self.ticks[number - 2][1])
        if latency_us and phase == 0:
            self._book(self.now_us)
        if tick is not None:
            self.book.scopes.take_ticks(memoryview(structured([tick]).view("u1")))
        signals: list[Intent] = []
        for runner, others in zip(self.runners, crossing, strict=True):
            if phase == 0 or not latency_us:
                runner.tell(self.now_us if latency_us else None, others)
            hooks(runner)
            signals += runner.take_asked()
        for intent in sorted(signals, key=lambda intent: (intent.strategy_id, intent.number)):
            self._decide(intent)
        if latency_us:
            self._send()
        if tick is not None:
            symbol_id, time_us, bid, ask = tick
            volume = self.case.volumes[number - 1] if self.case.volumes else 0
            self._hear(self.venue.on_tick(symbol_id, time_us, bid, ask, volume))
        if not latency_us:
            self._send()

    def _end(self) -> None:
        self._hear(self.venue.end())
        crossing = [len(runner.crossing) for runner in self.runners]
        if not self.case.latency_us:
            self._book(None)
        late: list[Intent] = []
        for runner, others in zip(self.runners, crossing, strict=True):
            runner.tell(None, others)
            runner.run_timers(self.now_us)
            late += runner.take_asked()
            runner.run_bars(self.case.bars.get(len(self.ticks) + 1, []))
            late += runner.take_asked()
            runner.run_slice()
            runner.strategy.on_stop()
            late += runner.take_asked()
        while self.unbooked or self.to_venue:
            self._book(None)
            self._send()
        for intent in late:
            self.sent_us[intent.strategy_id, intent.number] = self.now_us
            if not self.book.is_repeated(intent):
                self.book.refuse(intent, "end_of_data", "the data have come to their end")

    # risk.

    def _decide(self, intent: Intent) -> None:
        self.sent_us[intent.strategy_id, intent.number] = self.now_us
        if not self.book.is_repeated(intent):
            self.book.decide(intent, self.now_us)

    def _append_by_risk(self, record: Record) -> None:
        if isinstance(record, OrderPlace | OrderCancel | OrderReplace):
            self.to_venue.append((record, self.now_us))
        elif isinstance(record, PositionModify):
            self.to_venue += [(request, self.now_us) for request in requests_of(record)]
        self._say(record)

    def _book(self, now_us: int | None) -> None:
        """What risk knows by now, and what follows; with latency one answer at a time. now_us None: all of it."""
        while self.unbooked:
            news: list[Change] = []
            while self.unbooked and not (news and self.case.latency_us and self._is_answer(self.unbooked[0])):
                head = self.unbooked[0]
                late = self._is_answer(head) and head.due_us > (head.due_us if now_us is None else now_us)
                if late:
                    break
                self.unbooked.pop(0)
                envelope = Envelope(entry_type_of(head.record), head.lsn, 0, 0, head.time_us, 0, 0)
                news += self.book.apply(envelope, head.record)
            if not news and self.unbooked and self._is_late(self.unbooked[0], now_us):
                return
            self._follow(news)

    def _is_answer(self, heard: Heard) -> bool:
        return bool(self.case.latency_us) and isinstance(heard.record, OrderUpdate | Adjust)

    def _is_late(self, heard: Heard, now_us: int | None) -> bool:
        return self._is_answer(heard) and now_us is not None and heard.due_us > now_us

    def _follow(self, news: list[Change]) -> None:
        self.book.append_owed()
        for change in news:
            if isinstance(change, FillBooked):
                self._halt_for(self.book.check_drawdown(change.order.symbol_id))
        if any(isinstance(change, FillBooked) for change in news):
            self.book.check_losses(self.now_us, self._halt_for)
        self._cancel_if_halted()

    def _look_at_losses(self, now_us: int) -> None:
        """At a quantum's end, whose tick's time it is still."""
        self.now_us, later_us = now_us, self.now_us
        self.book.check_losses(now_us, self._halt_for)
        self._cancel_if_halted()
        self.now_us = later_us

    def _halt_for(self, reason: str | None) -> None:
        if reason is not None and not self.book.is_halted():
            self.halting = True
            self._append_by_risk(TradingState(TradingMode.HALTED, "risk", reason, 1))

    def _cancel_if_halted(self) -> None:
        if self.book.is_halted():
            self.book.act_on_halt(pending=True)
            if not self.case.latency_us:
                self._send()

    # The venue, and what is said.

    def _send(self) -> None:
        arrivals, self.to_venue = self.to_venue, []
        for record, time_us in arrivals:
            if isinstance(record, OrderPlace):
                self._hear(self.venue.place(record, time_us))
            elif isinstance(record, OrderReplace):
                self._hear(self.venue.replace(record, time_us))
            else:
                self._hear(self.venue.cancel(record.order_id, time_us))

    def _hear(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._say(answer)

    def _say(self, record: Record) -> None:
        self.lsn += 1
        self.records.append(record)
        latency_us, due_us = self.case.latency_us, 0
        if latency_us and isinstance(record, OrderUpdate | Adjust):
            due_us = record.venue_time + latency_us
        heard = Heard(due_us, self.lsn, record, self.now_us)
        self.unbooked.append(heard)
        for runner in self.runners:
            runner.hear(heard, lambda signal, runner=runner: self._answer_due_us(runner, signal))

    def _answer_due_us(self, runner: Runner, signal: int) -> int:
        """P5: of the tick at which it acts, plus the way back."""
        latency_us = self.case.latency_us
        if not latency_us:
            return 0
        acts_us = self.sent_us[runner.part.strategy_id, signal] + latency_us
        act = bisect_left(self.times, acts_us)
        return NEVER if act == len(self.times) else self.times[act] + latency_us
