"""risk: checks every signal, keeps positions and orders, appends what follows from the venue's answers.

Owns the decision: only what it has approved becomes an ORDER_PLACE. Its state is the fold of the journal; it
decides on fold and pending together. It never talks to a venue.

Talks to: strategies (signals), wal (tail and appends), market_data (marks). Three parts detach one after the
other at a stop (design section 9): the risk engine (signals), the position engine (derived records), the order
tracker (order updates).
"""

from __future__ import annotations

from typing import Final

import zmq

from actors.base import Place, receive_all
from actors.checks import Approved, ApprovedCancel, CheckInput, InstrumentLimits, RiskLimits, check_signal
from actors.clock import now_us
from actors.fold import (
    Change,
    DuplicateExecution,
    FillBooked,
    ImpossibleReport,
    OrderChanged,
    SignalAnswered,
    TradingStateChanged,
)
from actors.fold_state import take_state
from actors.folding import FoldingActor
from actors.market import MarketClient
from protocol.errors import ConfigError, WireError
from protocol.messages import (
    SIGNAL_ORDER,
    Intent,
    Message,
    Parked,
    SignalHello,
    SignalWelcome,
    decode_message,
    encode_message,
)
from protocol.orders import Side, TradingMode
from protocol.pipeline import SIGNALS
from protocol.records import (
    Checkpoint,
    EngineRun,
    OrderCancel,
    OrderPlace,
    Producer,
    Record,
    RiskViolation,
    SignalRefused,
    TradingState,
)
from protocol.state import encode_state
from protocol.units import decimal_to_micros, product_to_bytes
from protocol.wal.format import Envelope

LATCH_LOOK_S: Final = 0.05
"""risk looks at the latch page for every signal and at least this often (design section 8)."""
INT64: Final = 2**63
DRAWDOWN_REASON: Final = "Max Drawdown Exceeded"


class Risk(FoldingActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.RISK, on_batch=self._on_batch, take_state=self._take_state)
        config = self.config
        self.market = MarketClient(self, self)
        self.instruments: dict[int, InstrumentLimits] = {}
        position = config.risk.max_position_per_symbol
        self.limits = RiskLimits(
            None if position is None else decimal_to_micros(position),
            None if config.market_data.is_file else config.risk.max_signal_age_ms * 1000,
        )
        drawdown = config.risk.max_drawdown
        self.max_drawdown = None if drawdown is None else decimal_to_micros(drawdown) * 1_000_000
        self.pending_orders: dict[int, OrderPlace] = {}
        """ORDER_PLACEs that have not come back: they take exposure and ids already."""
        self.pending_cancels: set[int] = set()
        self.pending_signals: set[tuple[int, int]] = set()
        """(strategy id, number) of those that are decided, and whose answer has not come back."""
        self.lives: dict[str, int] = {}
        """The newest incarnation of each strategy that has said HELLO."""
        self.greeted: dict[bytes, int] = {}
        """Identities that wait for a WELCOME, each until this append is back."""
        self.owed_appended = 0
        """How many of fold.owed are appended in this life."""
        self.next_order_id = 1
        self.halt_appended = 0
        self.violated: set[int] = set()
        self.is_ready = False
        self.risk_engine = self.position_engine = True
        self.counters = {"signals": 0, "refused": 0, "repeated": 0, "bad_messages": 0, "impossible_reports": 0}

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        self.signals = self.bind(SIGNALS)
        self.journal.start()
        self.market.start()
        self.loop.every(LATCH_LOOK_S, self._look_at_latch)

    def detach(self, part: str) -> int:
        if part == "risk_engine":
            if self.is_ready:
                self._read_signals()
            self.risk_engine = False
        elif part == "position_engine":
            self._append_owed()
            self.position_engine = False
        self.journal.flush()
        return self.journal.lsn

    def stop(self, run: EngineRun | None) -> None:
        self.risk_engine = False
        super().stop(run)

    def control(self, message: Message) -> None:
        if isinstance(message, Parked) and self.is_ready:  # said again at READY
            self._cancel_orders_of(message.strategy)

    def outstanding(self) -> int:
        return self.journal.pending_count + len(self.fold.owed)

    # The journal.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        if isinstance(record, OrderPlace):
            self.pending_orders.pop(record.order_id, None)
        elif isinstance(record, OrderCancel):
            self.pending_cancels.discard(record.order_id)
        owed = len(self.fold.owed)
        changes = self.fold.apply(envelope, record)
        if len(self.fold.owed) < owed:
            self.owed_appended = max(0, self.owed_appended - 1)
        if isinstance(record, EngineRun | Checkpoint):
            self._take_run()
        for change in changes:
            self._take_change(change)

    def _take_run(self) -> None:
        limits = {
            instrument.symbol: InstrumentLimits(instrument.tick_micros, instrument.lot_micros)
            for instrument in self.config.instruments
        }
        self.instruments = {index: limits[name] for index, name in enumerate(self.fold.symbols) if name in limits}

    def _take_change(self, change: Change) -> None:
        if isinstance(change, SignalAnswered):
            self.pending_signals.discard((change.strategy_id, change.signal))
        elif isinstance(change, FillBooked) and self.journal.caught_up:
            self._check_drawdown(change.order.symbol_id)
        elif isinstance(change, TradingStateChanged) and self.journal.caught_up:
            self._on_trading_state(change)
        elif isinstance(change, OrderChanged) and self.journal.caught_up:
            if change.order.is_open and self.is_halted():
                self._cancel_if_halted()
        elif isinstance(change, ImpossibleReport):
            self.counters["impossible_reports"] += 1
            self.log.error("impossible_report", order_id=change.order_id, reason=change.reason, lsn=self.fold.lsn)
            if self.journal.caught_up and change.reason == "not_representable":
                self._halt(f"order {change.order_id}: a fill that cannot be represented in 0.000001")
        elif isinstance(change, DuplicateExecution):
            self.log.warning("duplicate_execution", order_id=change.order_id, execution_id=change.execution_id)

    def on_caught_up(self) -> None:
        """The fold is complete: derived records first, then the limits, then READY (design section 3)."""
        if changed := self.fold.changed_multipliers():
            raise ConfigError([f"instruments.multiplier: changed for {name}, which is held" for name in changed])
        self.next_order_id = self.fold.next_order_id
        self._append_owed()
        for symbol_id in self.fold.account.realized:
            self._check_drawdown(symbol_id, at_start=True)
        self._look_at_latch()
        if self.fold.trading.mode is TradingMode.HALTED and not self.latch.is_halted():
            self.latch.halt("risk", self.fold.trading.reason or "the journal says HALTED")
        if self.is_halted():
            self._cancel_if_halted()
        self.loop.after_turn(self._ready_when_drained)

    def _ready_when_drained(self) -> None:
        if self.is_ready or self.journal.pending_count:
            return
        self.is_ready = True
        self.loop.on_readable(self.signals, self._read_signals)
        self.ready(self.journal.lsn)

    def _take_state(self) -> bytes:
        """F3: everyone's start. Pending is no part of it; what is owed is (F2)."""
        return encode_state(take_state(self.fold))

    def _on_batch(self) -> None:
        self._append_owed()
        self._welcome_greeted()
        if self.is_ready and not self.journal.is_full:
            self.loop.on_readable(self.signals, self._read_signals)

    def _append_owed(self) -> None:
        """F1: what the fold owes and this life has not appended yet, in order."""
        if not self.journal.caught_up or not self.position_engine:
            return
        owed = self.fold.owed
        while self.owed_appended < len(owed):
            self.journal.append(owed[self.owed_appended])
            self.owed_appended += 1

    # Signals.

    def _read_signals(self) -> None:
        if self.journal.is_full:
            self.loop.forget(self.signals)  # they wait in the pipe, and age; on_batch listens again
            return
        for frames in receive_all(self.signals):
            try:
                message = decode_message(frames[-1])
            except WireError:
                self.counters["bad_messages"] += 1
                continue
            if isinstance(message, SignalHello):
                self._take_hello(frames[0])
            elif isinstance(message, Intent) and self._may_send(frames[0], message):
                self._take_intent(message)
            else:
                self.counters["bad_messages"] += 1

    def _may_send(self, identity: bytes, intent: Intent) -> bool:
        """A strategy speaks for itself only, in numbers that the journal can hold, and no more when its next life has
        said HELLO: that one was told what became of its signals."""
        name = self.fold.strategy(intent.strategy_id)
        speaker, incarnation = _speaker(identity)
        is_present = incarnation >= self.lives.get(speaker, 0)
        is_own = bool(name) and speaker == f"strategy.{name}"
        return is_own and is_present and all(-INT64 <= n < INT64 for n in _numbers(intent))

    def _take_hello(self, identity: bytes) -> None:
        speaker, incarnation = _speaker(identity)
        if incarnation >= self.lives.get(speaker, 0):
            self.lives[speaker] = incarnation
            self.greeted.setdefault(identity, self.journal.last_seq)
            self._welcome_greeted()

    def _welcome_greeted(self) -> None:
        """As wal does (J2): what was decided before a HELLO is on the tail before the WELCOME that says how far."""
        for identity, seq in list(self.greeted.items()):
            if seq < self.journal.oldest_pending_seq:
                del self.greeted[identity]
                self._welcome(identity)

    def _welcome(self, identity: bytes) -> None:
        try:
            self.signals.send_multipart(
                [identity, encode_message(SignalWelcome(self.spec.incarnation, self.journal.lsn))], zmq.NOBLOCK
            )
        except zmq.ZMQError:
            self.counters["bad_messages"] += 1  # it has gone again; it asks when it is back

    def _take_intent(self, intent: Intent) -> None:
        self.counters["signals"] += 1
        signal = (intent.strategy_id, intent.number)
        if signal in self.pending_signals or self.fold.is_answered(*signal):
            self.counters["repeated"] += 1
            return
        self.pending_signals.add(signal)
        if not self.risk_engine:
            self._refuse(intent, "stopping", "the engine is being stopped")
            return
        # What is not perishable is said again to every life under the same number, and the fold knows what an
        # earlier one has decided: to refuse it here would make the strategy give up a cancel or a close.
        if intent.kind == SIGNAL_ORDER and intent.risk_incarnation != self.spec.incarnation:
            self._refuse(intent, "other_incarnation", "sent to an earlier life of risk")
            return
        decision = check_signal(self._check_input(intent), self.next_order_id)
        if isinstance(decision, Approved):
            self._append_order(decision.place)
        elif isinstance(decision, ApprovedCancel):
            self._append_cancel(decision.cancel)
        else:
            self._refuse(intent, decision.reason, decision.detail)

    def _check_input(self, intent: Intent) -> CheckInput:
        symbol_id = intent.symbol_id
        buy, sell = self.fold.tracker.open_quantities(symbol_id)
        for place in self.pending_orders.values():
            if place.symbol_id == symbol_id:
                buy += place.quantity if place.side is Side.BUY else 0
                sell += place.quantity if place.side is Side.SELL else 0
        return CheckInput(
            intent=intent,
            instrument=self.instruments.get(symbol_id),
            position=self.fold.account.position(symbol_id).quantity,
            open_buy=buy,
            open_sell=sell,
            halted=self.is_halted(),
            mode=self.fold.trading.mode,
            signal_age_us=now_us() - intent.sent_us,
            limits=self.limits,
            disk_low=self.journal.disk_low,
            owner=self._owner(intent.order_id),
        )

    def _owner(self, order_id: int) -> int | None:
        order = self.fold.tracker.orders.get(order_id) or self.pending_orders.get(order_id)
        return None if order is None else order.strategy_id

    def _append_order(self, place: OrderPlace) -> None:
        self.next_order_id = place.order_id + 1
        self.pending_orders[place.order_id] = place
        self.journal.append(place)

    def _append_cancel(self, cancel: OrderCancel) -> None:
        self.pending_cancels.add(cancel.order_id)
        self.journal.append(cancel)

    def _refuse(self, intent: Intent, reason: str, detail: str) -> None:
        self.counters["refused"] += 1
        self.journal.append(SignalRefused(intent.strategy_id, intent.number, intent.symbol_id, reason, detail))

    # Limits after the trade, and HALT.

    def is_halted(self) -> bool:
        return self.fold.halted(self.latch.halt_token)

    def _check_drawdown(self, symbol_id: int, *, at_start: bool = False) -> None:
        limit = self.max_drawdown
        if limit is None or symbol_id in self.violated:
            return
        realized = self.fold.drawdown(symbol_id)
        if realized > limit:
            return
        self.violated.add(symbol_id)
        if at_start and self.is_halted():
            return  # a former life has said so
        self.journal.append(
            RiskViolation(symbol_id, DRAWDOWN_REASON, product_to_bytes(realized), product_to_bytes(limit))
        )
        self._halt(f"{DRAWDOWN_REASON}: {self.fold.symbol(symbol_id)}")

    def _halt(self, reason: str) -> None:
        self.latch.halt("risk", reason)
        self.latch.start_sync()
        self._look_at_latch()

    def _look_at_latch(self) -> None:
        """The page is the word of whoever halted; the record that is missing is risk's to append."""
        if not self.journal.caught_up:
            return
        token = self.latch.halt_token
        if token in (0, self.fold.cleared_token, self.halt_appended) or self.fold.trading.token == token:
            return
        self.halt_appended = token
        self.journal.append(TradingState(TradingMode.HALTED, self.latch.who(), self.latch.reason(), token))

    def _on_trading_state(self, change: TradingStateChanged) -> None:
        if change.state.mode is TradingMode.HALTED:
            self.log.warning(
                "trading_halted", by=change.state.by, reason=change.state.reason, hint="an ordered stop clears it"
            )
            self._cancel_if_halted()

    def _cancel_if_halted(self) -> None:
        if self.config.risk.on_halt == "cancel":
            for order in list(self.fold.tracker.open_orders.values()):
                if not order.reduce_only:
                    self._cancel(order.order_id, "halt")

    def _cancel_orders_of(self, strategy: str) -> None:
        strategy_id = self.fold.strategy_id(strategy)
        for order in list(self.fold.tracker.open_of_strategy(strategy_id)):
            self._cancel(order.order_id, "parked")

    def _cancel(self, order_id: int, by: str) -> None:
        order = self.fold.tracker.orders[order_id]
        if not order.cancel_requested and order_id not in self.pending_cancels:
            self._append_cancel(OrderCancel(order_id, Producer.RISK, 0, by))


def _speaker(identity: bytes) -> tuple[str, int]:
    """(name, incarnation) of `name#incarnation`; incarnation -1 for what is no number."""
    name, _, incarnation = identity.decode("utf-8", "replace").rpartition("#")
    return name, int(incarnation) if incarnation.isdecimal() else -1


def _numbers(intent: Intent) -> tuple[int, ...]:
    return (
        intent.number, intent.symbol_id, intent.order_id, intent.market_position, intent.quantity,
        intent.limit_price, intent.stop_price, intent.stop_loss, intent.take_profit,
    )  # fmt: skip
