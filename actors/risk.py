"""risk: checks every signal, keeps positions and orders, appends what follows from the venue's answers.

Owns the decision: only what it has approved becomes an ORDER_PLACE. What it knows and how it decides is its book
(risk_book.py), a fold of the journal and what is pending. It never talks to a venue.

Talks to: strategies (signals), wal (tail and appends), market_data (marks). Three parts detach one after the
other at a stop (design section 9): the risk engine (signals), the position engine (derived records), the order
tracker (order updates).
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

import zmq

from actors.base import Place
from actors.changes import UNBOOKED
from actors.clock import now_us
from actors.fold import (
    Change,
    CommandGiven,
    DuplicateExecution,
    FillBooked,
    ImpossibleReport,
    OrderChanged,
    TradingStateChanged,
)
from actors.fold_state import changed_terms, take_state
from actors.folding import FoldingActor
from actors.frames import receive_all
from actors.market import MarketClient
from actors.order_tracker import Order
from actors.peers import Peers, speaker_of
from actors.risk_book import RiskBook
from protocol.codec import MarketPayload
from protocol.errors import ConfigError, WireError
from protocol.messages import (
    OTHER_INCARNATION,
    SIGNAL_ORDER,
    Intent,
    Message,
    Parked,
    QueueDepth,
    SignalHello,
    SignalWelcome,
    Welcome,
    decode_message,
    encode_message,
)
from protocol.orders import OrderStatus, TradingMode
from protocol.pipeline import SIGNALS
from protocol.queues import SIGNALS_EARLY
from protocol.records import EngineRun, Producer, Record, TradingState
from protocol.state import encode_state
from protocol.units import MICROS
from protocol.wal.format import Envelope

LATCH_LOOK_S: Final = 0.05
"""risk looks at the latch page for every signal and at least this often (design section 8)."""
LOSSES_LOOK_S: Final = 0.05
INT64: Final = 2**63
CLOSES_AGAIN: Final = ("not_sent", "nothing_to_reduce")
"""Reasons of closing orders that a venue outside never had, or had for more than was left: the rest is still open."""
EARLY_MAX: Final = SIGNALS_EARLY.limit
"""Signals that wait for this fold to know what their senders knew; more stay in the pipe."""


class Risk(FoldingActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, producer=Producer.RISK, on_batch=self._on_batch, take_state=self._take_state)
        self.market = MarketClient(self, self, on_welcome=self._on_market_welcome)
        self.book = RiskBook(self.config, self.fold, self.journal.append, self.is_halted)
        self.peers = Peers(self.run_dir, self.config)
        self.traders = {strategy.name for strategy in self.config.traders}
        self.lives: dict[str, int] = {}
        """The newest incarnation of each strategy that has said HELLO."""
        self.greeted: dict[bytes, int] = {}
        """Identities that wait for a WELCOME, each until this append is back."""
        self.early: defaultdict[int, deque[Intent]] = defaultdict(deque)
        """By strategy id: signals of senders who know more of the journal than this fold does yet."""
        self.halt_appended = 0
        self.is_ready = False
        self.risk_engine = self.position_engine = True
        self.counters = self.book.counters
        self.counters.update(bad_messages=0, impossible_reports=0, revived=0)

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        self.book.scopes.symbol_count = len(run.symbols) if run is not None else 0
        self.signals = self.bind(SIGNALS)
        self.journal.start()
        self.market.start()
        self.loop.every(LATCH_LOOK_S, self._look_at_latch)
        if self.book.scopes.needs_losses:
            self.loop.every(LOSSES_LOOK_S, self._look_at_losses)

    def detach(self, part: str) -> int:
        if part == "risk_engine":
            if self.is_ready:
                self._read_signals()
                self._take_early(all_of_them=True)
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
            self._take_parked(message)

    def _take_parked(self, parked: Parked) -> None:
        """What its dead life had still to say counts no more; what it has asked for is cancelled."""
        name = f"strategy.{parked.strategy}"
        self.lives[name] = max(self.lives.get(name, 0), parked.incarnation + 1)
        self.early.pop(self.fold.strategy_id(parked.strategy), None)
        self.book.cancel_orders_of(parked.strategy)

    def outstanding(self) -> int:
        return self.journal.pending_count + len(self.fold.owed) + self._early_count()

    def queues(self) -> tuple[QueueDepth, ...]:
        return (*super().queues(), QueueDepth(SIGNALS_EARLY.name, "", self._early_count(), EARLY_MAX))

    def _early_count(self) -> int:
        return sum(map(len, self.early.values()))

    # The journal.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        for change in self.book.apply(envelope, record):
            self._take_change(change)

    def _take_change(self, change: Change) -> None:
        if type(change) is FillBooked and self.journal.caught_up:
            self.book.note_fill(change.order)
            self._check_drawdown(change.order.symbol_id)
            self._look_at_losses()
            if self.is_halted():
                self._act_on_halt()
        elif type(change) is CommandGiven and self.journal.caught_up:
            self.book.carry_out(change.lsn, change.command, now_us())
        elif type(change) is TradingStateChanged and self.journal.caught_up:
            self._on_trading_state(change)
        elif type(change) is OrderChanged and self.journal.caught_up:
            if change.previous_status is OrderStatus.REJECTED:  # be it that it has filled at once
                self._reduce_revived(change.order)
            if self.is_halted():
                if change.order.is_open or self.book.may_close_again(change.order):
                    self._act_on_halt()
            elif change.order.reason in CLOSES_AGAIN and self.risk_engine and self.book.may_close_again(change.order):
                self.book.close_positions([change.order.symbol_id])
        elif type(change) is ImpossibleReport:
            self.counters["impossible_reports"] += 1
            self.log.error("impossible_report", order_id=change.order_id, reason=change.reason, lsn=self.fold.lsn)
            if self.journal.caught_up and change.reason in UNBOOKED:
                self._halt(f"order {change.order_id}: {UNBOOKED[change.reason]}")
        elif type(change) is DuplicateExecution:
            self.log.warning("duplicate_execution", order_id=change.order_id, execution_id=change.execution_id)

    def on_caught_up(self) -> None:
        """The fold is complete: derived records first, then the limits, then READY (design section 3)."""
        if changed := changed_terms(self.fold):
            raise ConfigError([f"instruments.{key}: changed for {name}, which is held" for key, name in changed])
        self.book.begin()
        self._append_owed()
        for symbol_id in self.fold.account.realized:
            self._check_drawdown(symbol_id, at_start=True)
        self._look_at_losses()
        self._look_at_latch()
        if self.fold.trading.mode is TradingMode.HALTED and not self.latch.is_halted():
            self.latch.halt("risk", self.fold.trading.reason or "the journal says HALTED")
        if self.is_halted():
            hint = "no order that opens leaves; an ordered stop and a new start end it"
            self.log.warning("still_halted", by=self.latch.who(), reason=self.latch.reason(), hint=hint)
            self._act_on_halt()
        for lsn, command in list(self.fold.commands.items()):
            words = f"{command.verb} {command.argument}".strip()
            self.log.warning("command_carried_out_late", command=words, lsn=lsn, hint="it was given before this start")
            self.book.carry_out(lsn, command, now_us())
        self._look_for_removed()
        self.loop.after_turn(self._ready_when_drained)

    def _look_for_removed(self) -> None:
        """What the journal holds and the config no longer names: nobody would manage it, or say so."""
        fold, tracker = self.fold, self.fold.tracker
        symbols = {instrument.symbol for instrument in self.config.instruments}
        for symbol_id, symbol in enumerate(fold.symbols):
            quantity = fold.account.position(symbol_id).quantity
            orders = [order.order_id for order in tracker.open_orders.values() if order.symbol_id == symbol_id]
            if symbol not in symbols and (quantity or orders):
                hint = "it gets no ticks and takes no orders: put its [[instruments]] back to close it"
                held = {"quantity": quantity / MICROS, "open_orders": orders}
                self.log.warning("symbol_not_configured", symbol=symbol, **held, hint=hint)
        configured = {settings.name for settings in self.config.strategies}
        for name in fold.run.strategies if fold.run else ():
            orders = [order.order_id for order in tracker.open_of_strategy(fold.strategy_id(name))]
            if name not in self.traders and orders:
                event = "strategy_does_not_trade" if name in configured else "strategy_not_configured"
                hint = "its open orders are cancelled, as those of a parked strategy"
                self.log.warning(event, strategy=name, open_orders=orders, hint=hint)
                self.book.cancel_orders_of(name, "removed")

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
        if self.is_ready:
            self._take_early()
            if not self._is_full():
                self.loop.on_readable(self.signals, self._read_signals)

    def _append_owed(self) -> None:
        if self.journal.caught_up and self.position_engine:
            self.book.append_owed()

    # Signals.

    def _is_full(self) -> bool:
        return self.journal.is_full or self._early_count() >= EARLY_MAX

    def _read_signals(self) -> None:
        if self._is_full():
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
                self.early[message.strategy_id].append(message)
            else:
                self.counters["bad_messages"] += 1
        self._take_early()

    def _take_early(self, *, all_of_them: bool = False) -> None:
        """In each strategy's order, as far as this fold has come to know what it knew."""
        for waiting in self.early.values():
            while waiting and (all_of_them or waiting[0].seen_lsn <= self.journal.lsn):
                self._take_intent(waiting.popleft())

    def _may_send(self, identity: bytes, intent: Intent) -> bool:
        """A strategy speaks for itself only, in numbers that the journal can hold, and no more when its next life has
        said HELLO: that one was told what became of its signals."""
        name = self.fold.strategy(intent.strategy_id)
        speaker, incarnation = speaker_of(identity)
        is_present = incarnation >= self.lives.get(speaker, 0)
        is_own = name in self.traders and speaker == f"strategy.{name}"
        return is_own and is_present and all(-INT64 <= n < INT64 for n in _numbers(intent))

    def _take_hello(self, identity: bytes) -> None:
        speaker, incarnation = speaker_of(identity)
        if not self.peers.may_speak(speaker, incarnation):
            self.counters["bad_messages"] += 1
        elif incarnation >= self.lives.get(speaker, 0):
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
        if self.book.is_repeated(intent):
            return
        if not self.risk_engine:
            self.book.refuse(intent, "stopping", "the engine is being stopped")
        # What is not perishable is said again to every life under the same number, and the book knows what an earlier
        # one has decided: to refuse it here would make the strategy give up a cancel or a close.
        elif intent.kind == SIGNAL_ORDER and intent.risk_incarnation != self.spec.incarnation:
            self.book.refuse(intent, OTHER_INCARNATION, "sent to an earlier life of risk")
        else:
            now = now_us()
            self.book.decide(intent, now, age_us=now - intent.sent_us, disk_low=self.journal.disk_low)

    # The market, as far as limits ask for it.

    def _on_market_welcome(self, welcome: Welcome) -> None:
        """A new life goes on in the market where the former stood."""
        if welcome.snapshot and self.book.scopes.needs_market and not self.book.scopes.marks.newest_us:
            self.book.scopes.take_ticks(memoryview(welcome.snapshot))

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        if self.book.scopes.needs_market:
            self.book.scopes.take_ticks(payload.records)

    # Limits after the trade, and HALT.

    def _reduce_revived(self, order: Order) -> None:
        """V3: the venue speaks of an order that was taken for never sent, and whose exposure was given back."""
        self.counters["revived"] += 1
        self.log.error("order_revived", order_id=order.order_id, hint="it may exceed a limit; trading is REDUCING")
        self.book.reduce(f"order {order.order_id} revived")

    def is_halted(self) -> bool:
        return self.fold.halted(self.latch.halt_token)

    def _act_on_halt(self) -> None:
        """Not during a stop: what it placed then would be left behind."""
        if self.risk_engine:
            self.book.act_on_halt(pending=True)

    def _check_drawdown(self, symbol_id: int, *, at_start: bool = False) -> None:
        reason = self.book.check_drawdown(symbol_id, at_start=at_start)
        if reason is not None:
            self._halt(reason)

    def _look_at_losses(self) -> None:
        """Now and then, too: the market moves the equity without a record."""
        if self.journal.caught_up:
            self.book.check_losses(now_us(), self._halt)

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
            self._act_on_halt()
        else:
            self.log.warning(
                "trading_state", state=change.state.mode.name, by=change.state.by, reason=change.state.reason
            )


def _numbers(intent: Intent) -> tuple[int, ...]:
    return (
        intent.number, intent.symbol_id, intent.order_id, intent.market_position, intent.quantity,
        intent.limit_price, intent.stop_price, intent.stop_loss, intent.take_profit, intent.trail, intent.expire_us,
        intent.oco, intent.seen_lsn,
    )  # fmt: skip
