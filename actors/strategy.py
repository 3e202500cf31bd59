"""strategy: runs one strategy's code, feeds it, and carries its signals to risk.

Owns the strategy object and what it has asked for and not heard of. It places nothing: signals go to risk, and
what becomes of them comes back on the journal's tail. Its view of positions and orders is a fold like any other.
How the market becomes hook calls is strategy_feed.py's.

Talks to: market_data (ticks, bars), risk (signals), wal (tail).

A file brings its own clock: after a signal the feed waits here until the answer is in, so that a strategy never runs
ahead of what it has asked for (what the order meets is order_routing's tick, at most feed.py's window later). A live
feed waits for nobody.

A new life without saved state is warmed: fed from the first tick that there still is, signals suppressed up to where
the former life had come (a file) or to the head (a live feed). One with saved state begins at the checkpoint that it is
of (F5): `load`, `on_start`, what the journal has told since, the ticks since, signals suppressed likewise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import zmq

from actors.base import Place, receive_all
from actors.clock import now_us
from actors.fold import Change, FillBooked, OrderChanged, PositionChanged, SignalAnswered, TradingStateChanged
from actors.folding import FoldingActor
from actors.market import MarketClient
from actors.order_tracker import Order
from actors.strategies import Environment, Fill, OrderInfo, PositionInfo, Signal, Strategy
from actors.strategies.loading import load_strategy_class
from actors.strategy_feed import StrategyFeed
from protocol.errors import ExitCode, NotRepresentableError, WireError
from protocol.messages import (
    SIGNAL_CANCEL,
    SIGNAL_CLOSE,
    SIGNAL_MODIFY,
    SIGNAL_ORDER,
    Intent,
    Message,
    SignalHello,
    SignalWelcome,
    Statistics,
    Welcome,
    decode_message,
    encode_message,
)
from protocol.orders import OrderStatus, OrderType, Side, TradingMode
from protocol.pipeline import SIGNALS
from protocol.records import FIRST_STRATEGY, Checkpoint, EngineRun, Record
from protocol.settings import StrategySettings
from protocol.state import StrategyState, decode_strategy_state, encode_strategy_state
from protocol.units import MICROS, PRODUCT, decimal_to_micros
from protocol.wal.format import Envelope

HELLO_REPEAT_S: Final = 0.1
REPEAT_S: Final = 1.0
"""A cancel or close that is not answered is said again after this long (design section 2)."""
NUMBER_BITS: Final = 32
"""A life counts its signals from incarnation << 32, or from the journal's highest where that is above (a run_dir whose
pages were removed): risk takes a number that comes again for a repetition."""
STARTED: Final = b"started"
"""The market epoch on the page of a life that sent a signal from on_start and saw no market yet; no feed has it."""
_SIDES: Final = {"Buy": Side.BUY, "Sell": Side.SELL}


@dataclass(slots=True)
class Sent:
    """A signal that is not answered yet."""

    intent: Intent
    signal: Signal
    lost_after_lsn: int | None = None
    """risk has died since: if the fold passes this LSN without an answer there will be none."""


class StrategyActor(FoldingActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, take_state=self._take_state)
        name = self.name.partition(".")[2]
        self.index = next(i for i, s in enumerate(self.config.strategies) if s.name == name)
        self.settings: StrategySettings = self.config.strategies[self.index]
        self.is_file = self.config.market_data.is_file
        self.unanswered: dict[int, Sent] = {}
        self.unacknowledged: set[int] = set()
        """Own orders that the venue has not answered."""
        self.feed = StrategyFeed(self, must_wait=self._must_wait, on_chunk_done=self._on_chunk_done)
        self.former_epoch, self.former_position = self.page.market()
        self.is_warmed = bool(self.former_epoch)
        self.market = MarketClient(
            self, self.feed, from_first=self.is_warmed, on_chunk=self._end_chunk, on_welcome=self._on_market_welcome
        )
        # A life that is warmed may not act again on what its predecessor has seen.
        self.suppressed_to = self.former_position if self.is_warmed else -1
        """Market position up to which signals are suppressed."""
        self.risk_incarnation = 0
        self.last_number = self.spec.incarnation << NUMBER_BITS
        """The highest number of a signal of this strategy, of this life or in the journal."""
        self.refused_here: deque[OrderInfo] = deque()
        """What on_order must still be told of signals that never left."""
        self.is_ready = self.is_started = self.is_halt_told = self.is_detached = self.is_welcome = False
        self.cancel_later: dict[int, Signal] = {}
        """Cancels of signals that are no orders yet, by the number of what they cancel."""
        self.counters = {"signals": 0, "refused_here": 0, "refused_disk_low": 0, "suppressed": 0, "lost": 0}

    # The life of the actor.

    def load(self) -> None:
        self.strategy: Strategy = load_strategy_class(self.index, self.settings)()

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        self.ids = {name: index for index, (name, _) in enumerate(run.symbols)}
        self.names = dict(enumerate(self.ids))
        self.own = {self.ids[symbol]: symbol for symbol in self.settings.symbols}
        self.strategy_id = FIRST_STRATEGY + run.strategies.index(self.settings.name)
        self.strategy.attach(
            Environment(
                runtime=self,
                name=self.settings.name,
                symbols=tuple(self.settings.symbols),
                symbol_ids={symbol: self.ids[symbol] for symbol in self.settings.symbols},
                params=self.settings.params,
                seed=f"{self.config.market_data.seed}:{self.settings.name}",
                log=self.log.bind(strategy=self.settings.name),
            )
        )
        self.feed.attach(self.strategy, self.own, self.settings.slice)
        self.signals = self.connect(SIGNALS)
        self.loop.on_readable(self.signals, self._read_answers)
        self.loop.every(HELLO_REPEAT_S, self._greet_risk)
        self.loop.every(REPEAT_S, self._repeat)
        self._greet_risk()
        self.journal.start()
        self.loop.after_turn(self._go_on)

    def on_caught_up(self) -> None:
        self.last_number = max((self.last_number, *self.fold.answered.get(self.strategy_id, ())))
        for order in self.fold.tracker.open_of_strategy(self.strategy_id):
            if order.status is OrderStatus.NEW:
                self.unacknowledged.add(order.order_id)
        self._ready_when_greeted()

    def _ready_when_greeted(self) -> None:
        if self.is_ready or not self.journal.caught_up or not self.risk_incarnation:
            return
        self.is_ready = True
        self._start()
        if self.fold.trading.mode is TradingMode.HALTED:
            self._tell_halt()
        self.market.start()
        self.ready(self.journal.lsn)

    def _start(self) -> None:
        if not self.is_started:
            self.is_started = True
            self.feed.call(self.strategy.on_start)

    def _take_state(self) -> bytes | None:
        if self.feed.is_in_bars:
            return None
        saved = self.feed.call(self.strategy.save)
        if saved is None:
            return b""
        return encode_strategy_state(StrategyState(self.feed.take_state(self.market.epoch), saved))

    def _load_state(self, lsn: int, record: Checkpoint) -> None:
        """The checkpoint from which this fold begins may hold this strategy's state as of then."""
        found = record.state_of(self.name)
        if found is None or found[0] != lsn - 1:
            return
        state = decode_strategy_state(found[1])
        self.is_warmed = False
        self.last_number = max((self.last_number, *self.fold.answered.get(self.strategy_id, ())))
        if state.feed.epoch and state.feed.epoch == self.former_epoch:
            self.market.resume(state.feed.epoch, state.feed.chunk)
            self.feed.resume(state.feed)
            self.suppressed_to = self.former_position
        self.feed.call(self.strategy.load, state.saved)
        self._start()

    def _on_market_welcome(self, welcome: Welcome) -> None:
        """Positions of another epoch mean nothing here; a life that is warmed is silent up to a live feed's head."""
        if welcome.epoch != self.former_epoch:
            self.former_epoch = welcome.epoch
            self.former_position, self.suppressed_to = 0, -1
            self.feed.begin_epoch()
        if self.is_warmed and not self.is_welcome and not self.is_file:
            self.suppressed_to = max(self.suppressed_to, welcome.tail_position)
        self.is_welcome = True

    def detach(self, part: str) -> int:
        if not self.is_detached:
            self.is_detached = True
            self.feed.call(self.strategy.on_stop)
        return self.journal.lsn

    def stop(self, run: EngineRun | None) -> None:
        self.stopped(self.journal.lsn)

    def peer(self, name: str) -> None:
        super().peer(name)
        if name == "risk":
            self._say_signal_hello()

    def fail(self, exit_code: ExitCode, message: str) -> None:
        """Where it happened is part of it: the same again at the same place will not get better (P13)."""
        super().fail(exit_code, f"{message} (at market position {self.feed.position})")

    def statistics(self) -> Statistics:
        outstanding = len(self.unanswered) + len(self.unacknowledged) + self.feed.outstanding
        counters = {**self.counters, "ticks": self.feed.ticks}
        return Statistics(self.journal.lsn, self.feed.position, self.market.at_end, outstanding, counters)

    # Signals.

    def _greet_risk(self) -> None:
        if not self.risk_incarnation:
            self._say_signal_hello()

    def _say_signal_hello(self) -> None:
        self._send(SignalHello(self.name, self.spec.incarnation))

    def _send(self, message: Message) -> bool:
        with suppress(zmq.Again):
            self.signals.send(encode_message(message), zmq.NOBLOCK)
            return True
        return False

    def _read_answers(self) -> None:
        for frames in receive_all(self.signals):
            try:
                message = decode_message(frames[-1])
            except WireError:
                continue
            if isinstance(message, SignalWelcome) and message.incarnation > self.risk_incarnation:
                self.risk_incarnation = message.incarnation
                for sent in self.unanswered.values():
                    sent.lost_after_lsn = message.lsn
                self._ready_when_greeted()

    def _give_up_lost(self) -> None:
        """What an earlier life of risk took with it: orders are lost, cancels and closes are said again."""
        lsn = self.journal.lsn
        for number, sent in list(self.unanswered.items()):
            if sent.lost_after_lsn is None or lsn < sent.lost_after_lsn:
                continue
            if sent.intent.kind == SIGNAL_ORDER:
                self.counters["lost"] += 1
                self._answer_refused(number, "lost", "risk died before it decided")
            else:
                sent.lost_after_lsn = None
                self._send_intent(sent)

    def _repeat(self) -> None:
        """Cancels and closes are not perishable: said again until answered."""
        if not self.unanswered:
            return
        self._say_signal_hello()
        for sent in self.unanswered.values():
            if sent.intent.kind != SIGNAL_ORDER and sent.lost_after_lsn is None:
                self._send_intent(sent)

    def _send_intent(self, sent: Sent) -> bool:
        sent.intent = msgspec.structs.replace(sent.intent, risk_incarnation=self.risk_incarnation, sent_us=now_us())
        return self._send(sent.intent)

    def _new_signal(self, symbol: str, side: str, quantity: float) -> Signal:
        self.last_number += 1
        return Signal(self.last_number, symbol, side, quantity)

    def _ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        """The signal is on its way to risk, or suppressed."""
        symbol, number = signal.symbol, signal.number
        # Not from the past either: what a hook is told while the fold is not complete, a former life may have acted on.
        if self.is_detached or not self.journal.caught_up or self.feed.position <= self.suppressed_to:
            self.counters["suppressed"] += 1
            return self._refuse_here(signal, "stopping" if self.is_detached else "suppressed")
        symbol_id = self.ids.get(symbol)
        if symbol_id is None:
            return self._refuse_here(signal, f"unknown_symbol: {symbol!r}; known are {', '.join(self.ids)}")
        if kind == SIGNAL_ORDER and self.journal.disk_low and not self.fold.may_reduce(symbol_id, _SIDES[signal.side]):
            # risk would say the same, in a record: the room is for cancels and fills.
            self.counters["refused_disk_low"] += 1
            return self._refuse_here(signal, "disk_nearly_full: the journal's disk has no room for new orders")
        intent = Intent(
            self.strategy_id, number, self.risk_incarnation, now_us(), self.market.epoch, self.feed.position,
            kind, symbol_id, side=_SIDES[signal.side], **fields,
        )  # fmt: skip
        self.counters["signals"] += 1
        if self.feed.position > self.former_position:
            # Before it leaves: a new life must not act on the same tick again.
            self.page.set_market(self.market.epoch, self.feed.position)
        elif not self.is_warmed:
            self.page.set_market(STARTED, 0)
        sent = self.unanswered[number] = Sent(intent, signal)
        self.feed.pause = True
        if not self._send_intent(sent):
            self.loop.after(0, lambda: self._answer_refused(number, "signals_full", "risk does not keep up"))
        return signal

    def place(
        self, symbol: str, side: str, quantity: float, limit: float | None, stop: float | None,
        stop_loss: float | None, take_profit: float | None,
    ) -> Signal:  # fmt: skip
        kinds = {(False, False): OrderType.MARKET, (True, False): OrderType.LIMIT}
        stops = {(False, True): OrderType.STOP, (True, True): OrderType.STOP_LIMIT}
        order_type = (kinds | stops)[limit is not None, stop is not None]
        try:
            fields = {
                "quantity": decimal_to_micros(quantity),
                "limit_price": self._price(limit),
                "stop_price": self._price(stop),
                "stop_loss": self._price(stop_loss),
                "take_profit": self._price(take_profit),
            }
        except NotRepresentableError as error:
            return self._refuse_here(self._new_signal(symbol, side, quantity), f"not_representable: {error}")
        return self._ask(SIGNAL_ORDER, self._new_signal(symbol, side, quantity), order_type=order_type, **fields)

    def _price(self, price: float | None) -> int:
        """Micros of the float rounded to six digits; 0 for none. risk refuses what is off the tick size."""
        return 0 if price is None else decimal_to_micros(round(price, 6))

    def _refuse_here(self, signal: Signal, reason: str) -> Signal:
        """The signal never leaves; on_order says so after the present hook, before the next tick."""
        self.counters["refused_here"] += 1
        self.refused_here.append(
            OrderInfo(0, signal.number, signal.symbol, signal.side, "Rejected", reason, 0.0, signal.quantity)
        )
        self.feed.pause = True
        self.loop.after(0, self._tell_refused)
        return signal

    def _tell_refused(self) -> None:
        for _ in range(len(self.refused_here)):  # not what these hooks add: that has its own turn
            self.feed.call(self.strategy.on_order, self.refused_here.popleft())

    def cancel(self, target: int | Signal) -> Signal:
        if isinstance(target, Signal) and not target.order_id and target.number in self.unanswered:
            signal = self._new_signal(target.symbol, target.side, target.quantity)
            self.cancel_later[target.number] = signal
            return signal
        order_id = target.order_id if isinstance(target, Signal) else target
        return self._cancel_order(order_id)

    def _cancel_order(self, order_id: int) -> Signal:
        order = self.fold.tracker.orders.get(order_id)
        if order is None:
            return self._refuse_here(self._new_signal("", "Buy", 0.0), f"unknown_order: {order_id}")
        signal = self._new_signal(self.names[order.symbol_id], order.side.label, order.quantity / MICROS)
        return self._ask(SIGNAL_CANCEL, signal, order_id=order_id)

    def modify(self, target: int | str, changes: dict[str, Any]) -> Signal:
        if isinstance(target, str):
            return self._ask(SIGNAL_MODIFY, self._new_signal(target, "Buy", 0.0))
        order = self.fold.tracker.orders.get(target)
        if order is None:
            return self._refuse_here(self._new_signal("", "Buy", 0.0), f"unknown_order: {target}")
        return self._ask(SIGNAL_MODIFY, self._new_signal(self.names[order.symbol_id], "Buy", 0.0), order_id=target)

    def close(self, symbol: str) -> Signal:
        return self._ask(SIGNAL_CLOSE, self._new_signal(symbol, "Buy", 0.0))

    # What the strategy may look at.

    def position(self, symbol: str) -> PositionInfo:
        if symbol not in self.ids:
            raise ValueError(f"{symbol!r} is no [[instruments]]; known are {', '.join(self.ids)}")
        view = self.fold.position_view(self.ids[symbol])
        return PositionInfo(symbol, view.quantity / MICROS, view.average_price_float, view.realized / PRODUCT)

    def orders(self) -> list[OrderInfo]:
        asked = [
            OrderInfo(0, number, sent.signal.symbol, sent.signal.side, "New", "", 0.0, sent.signal.quantity)
            for number, sent in self.unanswered.items()
            if sent.intent.kind in (SIGNAL_ORDER, SIGNAL_CLOSE)
        ]
        return asked + [self._info(order) for order in self.fold.tracker.open_of_strategy(self.strategy_id)]

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        self.feed.every(seconds, hook)

    def _info(self, order: Order) -> OrderInfo:
        return OrderInfo(
            order.order_id, order.signal, self.names[order.symbol_id], order.side.label, order.status.label,
            order.reason, order.filled / MICROS, order.quantity / MICROS,
        )  # fmt: skip

    # The journal: what became of signals and orders.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        if isinstance(record, Checkpoint) and not self.fold.lsn:
            self.fold.apply(envelope, record)
            self._load_state(envelope.lsn, record)
            return
        for change in self.fold.apply(envelope, record):
            if isinstance(change, SignalAnswered) and change.strategy_id == self.strategy_id:
                self.last_number = max(self.last_number, change.signal)
            if self.is_started:
                self._tell(change)

    def _tell(self, change: Change) -> None:
        if isinstance(change, SignalAnswered):
            if change.strategy_id == self.strategy_id:
                self._take_answer(change)
        elif isinstance(change, OrderChanged):
            if change.order.strategy_id == self.strategy_id:
                self._take_order(change.order)
        elif isinstance(change, FillBooked):
            if change.order.strategy_id == self.strategy_id:
                self._take_fill(change)
        elif isinstance(change, PositionChanged):
            if change.symbol_id in self.own:
                self.feed.call(self.strategy.on_position, self.position(self.own[change.symbol_id]))
        elif isinstance(change, TradingStateChanged):
            if change.state.mode is TradingMode.HALTED:
                self._tell_halt()
            else:
                self.is_halt_told = False

    def _tell_halt(self) -> None:
        """Once, when trading halts; a life with saved state may hear of it while it folds."""
        if not self.is_halt_told:
            self.is_halt_told = True
            self.feed.call(self.strategy.on_halt, self.fold.trading.reason)

    def _take_answer(self, change: SignalAnswered) -> None:
        if change.order_id is None:
            self._answer_refused(change.signal, change.reason, change.detail)
            return
        sent = self.unanswered.pop(change.signal, None)
        if sent is None:
            return
        sent.signal.order_id = change.order_id
        if (cancel := self.cancel_later.pop(change.signal, None)) is not None:
            self._ask(SIGNAL_CANCEL, cancel, order_id=change.order_id)
        order = self.fold.tracker.orders.get(change.order_id)
        if sent.intent.kind == SIGNAL_CANCEL and order is not None and not order.is_open:
            self.feed.call(self.strategy.on_order, self._info(order))  # it had ended before; nothing else will come

    def _answer_refused(self, number: int, reason: str, detail: str) -> None:
        sent = self.unanswered.pop(number, None)
        if sent is None:
            return
        signal = sent.signal
        if (cancel := self.cancel_later.pop(number, None)) is not None:
            self._refuse_here(cancel, f"signal {number} never became an order")
        text = f"{reason}: {detail}" if detail else reason
        self.feed.call(
            self.strategy.on_order,
            OrderInfo(sent.intent.order_id, number, signal.symbol, signal.side, "Rejected", text, 0.0, signal.quantity),
        )

    def _take_order(self, order: Order) -> None:
        if order.status is OrderStatus.NEW:
            self.unacknowledged.add(order.order_id)
        else:
            self.unacknowledged.discard(order.order_id)
        self.feed.call(self.strategy.on_order, self._info(order))

    def _take_fill(self, change: FillBooked) -> None:
        order = change.order
        self.feed.call(
            self.strategy.on_fill,
            Fill(
                order.order_id, self.names[order.symbol_id], order.side.label, change.price / MICROS,
                change.quantity / MICROS, change.realized / PRODUCT,
            ),
        )  # fmt: skip

    # The market: chunk by chunk, and for files with a pause after every signal.

    def _end_chunk(self, last_position: int) -> None:
        self.market.stream.hold_credit()
        self.feed.end_chunk(last_position)

    def _on_chunk_done(self, last_position: int) -> None:
        if last_position > self.former_position:
            self.page.set_market(self.market.epoch, last_position)
        self.market.stream.release_credit(1)

    def _go_on(self) -> None:
        if self.unanswered:
            self._give_up_lost()
        self.feed.go_on()

    def _must_wait(self) -> bool:
        self._tell_refused()
        # Nobody acts on what is fed again, and order_routing may need the feed to move to acknowledge an order of the
        # former life: whoever waited for it there would wait for ever.
        if not self.is_file or self.feed.position < self.suppressed_to:
            return False
        return bool(self.unanswered or self.unacknowledged)
