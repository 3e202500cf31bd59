"""strategy: runs one strategy's code, feeds it, and carries its signals to risk.

Owns the strategy object. It places nothing: signals go to risk, and what becomes of them comes back on the journal's
tail. Its view of positions and orders is a fold like any other. What it has asked for and not heard of is asked.py's,
how the market becomes hook calls strategy_feed.py's.

Talks to: market_data (ticks, bars), risk (signals), wal (tail).

A file brings its own clock: after a signal the feed waits here until the answer is in, so that a strategy never runs
ahead of what it has asked for (what the order meets is order_routing's tick, at most feed.py's window later). A live
feed waits for nobody.

A new life without saved state is warmed: fed from the first tick that there still is, signals suppressed up to where
the former life had come (a file) or to the head (a live feed). One with saved state begins at the checkpoint that it is
of (F5): `load`, `on_start`, what the journal has told since, the ticks since, signals suppressed likewise. Where
`on_restart` is "parked", one without ends when its fold is complete, and the supervisor keeps it down: whether there is
a state, it alone knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from actors.asked import UNANSWERED_MAX, Asked
from actors.base import Place
from actors.clock import now_us
from actors.desk import DOES_NOT_TRADE, SIDES, Desk, Sent, is_too_late, refusal
from actors.fold import (
    Change,
    FillBooked,
    OrderChanged,
    OrderReplaced,
    PositionChanged,
    SignalAnswered,
    TradingStateChanged,
)
from actors.folding import FoldingActor
from actors.market import MarketClient
from actors.order_tracker import Order
from actors.strategies import Environment, OrderInfo, Signal, Strategy
from actors.strategies.loading import load_strategy_class
from actors.strategy_feed import StrategyFeed
from protocol.errors import ExitCode, SavedStateError, WireError
from protocol.messages import (
    SIGNAL_CANCEL,
    SIGNAL_ORDER,
    Intent,
    Parked,
    QueueDepth,
    Statistics,
    Welcome,
)
from protocol.orders import OrderStatus, TradingMode
from protocol.queues import SIGNALS_ASKED
from protocol.records import FIRST_STRATEGY, Checkpoint, EngineRun, Record
from protocol.settings import StrategySettings
from protocol.state import STATE_BYTES_MAX, StrategyState, decode_strategy_state, encode_strategy_state
from protocol.wal.format import Envelope

NUMBER_BITS: Final = 32
"""A life counts its signals from incarnation << 32, or from the journal's highest where that is above (a run_dir whose
pages were removed): risk takes a number that comes again for a repetition."""
STARTED: Final = b"started"
"""The market epoch on the page of a life that sent a signal from on_start and saw no market yet; no feed has it."""


class StrategyActor(FoldingActor):
    def __init__(self, place: Place) -> None:
        super().__init__(place, take_state=self._take_state)
        name = self.name.partition(".")[2]
        self.index = next(i for i, s in enumerate(self.config.strategies) if s.name == name)
        self.settings: StrategySettings = self.config.strategies[self.index]
        self.is_file = self.config.market_data.is_file
        self.unacknowledged: set[int] = set()
        """Own orders that the venue has not answered, or whose change it has not."""
        self.feed = StrategyFeed(self, must_wait=self._must_wait, on_chunk_done=self._on_chunk_done)
        self.asked = Asked(self, self.feed, tell=self._tell_order, on_greeted=self._ready_when_greeted)
        self.former_epoch, self.former_position = self.page.market()
        self.is_warmed = bool(self.former_epoch)
        self.market = MarketClient(
            self, self.feed, from_first=self.is_warmed, on_chunk=self._end_chunk, on_welcome=self._on_market_welcome
        )
        # A life that is warmed may not act again on what its predecessor has seen.
        self.suppressed_to = self.former_position if self.is_warmed else -1
        """Market position up to which signals are suppressed."""
        self.is_restored = self.is_parked = False
        self.is_ready = self.is_started = self.is_halt_told = self.is_detached = self.is_welcome = False
        self.counters = {"signals": 0, "refused_here": 0, "refused_disk_low": 0, "suppressed": 0, "lost": 0}

    # The life of the actor.

    def load(self) -> None:
        self.strategy: Strategy = load_strategy_class(self.index, self.settings)()

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        names = [name for name, _ in run.symbols]
        ids = {symbol: names.index(symbol) for symbol in self.settings.symbols}
        self.own = {symbol_id: symbol for symbol, symbol_id in ids.items()}
        self.strategy_id = FIRST_STRATEGY + run.strategies.index(self.settings.name)
        self.desk = Desk(self, self.fold, names, self.strategy_id, self.spec.incarnation << NUMBER_BITS)
        self.strategy.attach(
            Environment(
                runtime=self.desk,
                name=self.settings.name,
                symbols=tuple(self.settings.symbols),
                symbol_ids=ids,
                params=self.settings.params,
                seed=f"{self.config.market_data.seed}:{self.settings.name}",
                log=self.log.bind(strategy=self.settings.name),
            )
        )
        self.feed.attach(self.strategy, self.own, self.settings.slice)
        self.asked.start()
        self.journal.start()
        self.loop.after_turn(self._go_on)

    def on_caught_up(self) -> None:
        self.desk.raise_number(*self.fold.answered.get(self.strategy_id, ()))
        for order in self.fold.tracker.open_of_strategy(self.strategy_id):
            if order.status is OrderStatus.NEW or order.replace is not None:
                self.unacknowledged.add(order.order_id)
        is_own = self.spec.is_restart and not self.spec.is_wanted
        if is_own and not self.is_restored and self.settings.on_restart == "parked":
            self.is_parked = True
            self.tell(Parked(self.settings.name))
            self.loop.stop()
        self._ready_when_greeted()

    def _ready_when_greeted(self) -> None:
        if self.is_ready or self.is_parked or not self.journal.caught_up or not self.asked.risk_incarnation:
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
        state = encode_strategy_state(
            StrategyState(
                self.feed.take_state(self.market.epoch), saved, *self.asked.take_state(), self.settings.class_path
            )
        )
        if len(state) > STATE_BYTES_MAX:  # here too: beyond the limit of a message nobody would hear of it
            hint = "it is not kept: the next life begins as one without saved state; save() must give less"
            self.log.warning("state_too_large", bytes=len(state), bytes_max=STATE_BYTES_MAX, hint=hint)
            return b""
        return state

    def _load_state(self, lsn: int, record: Checkpoint) -> None:
        """The checkpoint from which this fold begins may hold this strategy's state as of then."""
        found = record.state_of(self.name)
        if found is None or found[0] != lsn - 1 or self._is_forgotten():
            return
        try:
            state = decode_strategy_state(found[1])
        except WireError as error:
            raise self._unloadable(found[0], str(error)) from error
        if state.class_path not in ("", self.settings.class_path):
            self.log.warning(
                "state_of_another_class", lsn=found[0], saved_by=state.class_path, config=self.settings.class_path,
                hint="it is ignored: the strategy begins as one without saved state",
            )  # fmt: skip
            return
        self.is_warmed, self.is_restored = False, True
        try:
            asked_number = self.asked.restore(state.asked, state.untold)
        except WireError as error:
            raise self._unloadable(found[0], str(error)) from error
        self.desk.raise_number(asked_number, *self.fold.answered.get(self.strategy_id, ()))
        if state.feed.epoch and state.feed.epoch == self.former_epoch:
            self.market.resume(state.feed.epoch, state.feed.chunk)
            self.feed.resume(state.feed)
            self.suppressed_to = self.former_position
        try:
            self.feed.call(self.strategy.load, state.saved)
        except Exception as error:
            raise self._unloadable(found[0], f"load() raised {type(error).__name__}: {error}") from error
        self._start()

    def _is_forgotten(self) -> bool:
        """The operator wanted it so, and the checkpoint is of an earlier run."""
        run = self.fold.run
        return self.settings.name in self.spec.forget_states and run is not None and run.boot_id != self.spec.boot_id

    def _unloadable(self, lsn: int, reason: str) -> SavedStateError:
        name = self.settings.name
        return SavedStateError(
            f"strategy {name!r} ({self.settings.class_path}) cannot go on from its state saved as of LSN {lsn}: "
            f"{reason}. Mend its load(), or start once with `seawall run CONFIG --forget-state {name}`: it then begins "
            "as one without saved state"
        )

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
            self.asked.say_hello()

    def fail(self, exit_code: ExitCode, message: str, *, is_lasting: bool = False) -> None:
        """Where it happened is part of it: the same again at the same place will not get better (P13)."""
        place = "" if is_lasting else f" (at market position {self.feed.position})"
        super().fail(exit_code, message + place, is_lasting=is_lasting)

    def queues(self) -> tuple[QueueDepth, ...]:
        asked = QueueDepth(SIGNALS_ASKED.name, "risk", len(self.asked.unanswered), SIGNALS_ASKED.limit)
        return (*super().queues(), asked)

    def statistics(self) -> Statistics:
        outstanding = len(self.asked.unanswered) + len(self.unacknowledged) + self.feed.outstanding
        counters = {**self.counters, "ticks": self.feed.ticks}
        return Statistics(self.journal.lsn, self.feed.position, self.market.at_end, outstanding, counters)

    # Signals.

    @property
    def unanswered(self) -> Mapping[int, Sent]:
        return self.asked.unanswered

    def ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        """The signal is on its way to risk, or suppressed."""
        if not self.settings.trades:
            return self.refuse_here(signal, DOES_NOT_TRADE)
        # Not from the past either: what a hook is told while the fold is not complete, a former life may have acted on.
        if self.is_detached or not self.journal.caught_up or self.feed.position <= self.suppressed_to:
            self.counters["suppressed"] += 1
            return self.refuse_here(signal, "stopping" if self.is_detached else "suppressed")
        if self.asked.is_full:
            return self.refuse_here(signal, f"signals_full: {UNANSWERED_MAX} signals wait for their answers")
        if kind == SIGNAL_ORDER and self.journal.disk_low and not self._may_reduce(signal):
            # risk would say the same, in a record: the room is for cancels and fills.
            self.counters["refused_disk_low"] += 1
            return self.refuse_here(signal, "disk_nearly_full: the journal's disk has no room for new orders")
        if self.feed.position > self.former_position:
            # Before it leaves: a new life must not act on the same tick again.
            self.page.set_market(self.market.epoch, self.feed.position)
        elif not self.is_warmed:
            self.page.set_market(STARTED, 0)
        return self._send(kind, signal, **fields)

    def _send(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        symbol_id = self.desk.symbol_id(signal.symbol)
        assert symbol_id is not None, "the desk knows it"
        intent = Intent(
            self.strategy_id, signal.number, self.asked.risk_incarnation, now_us(), self.market.epoch,
            self.feed.position, kind, symbol_id, side=SIDES[signal.side], seen_lsn=self.fold.lsn, **fields,
        )  # fmt: skip
        self.counters["signals"] += 1
        self.asked.send(Sent(intent, signal))
        return signal

    def _may_reduce(self, signal: Signal) -> bool:
        symbol_id = self.desk.symbol_id(signal.symbol)
        return symbol_id is not None and self.fold.may_reduce(symbol_id, SIDES[signal.side])

    def refuse_here(self, signal: Signal, reason: str) -> Signal:
        self.asked.refuse_here(signal, reason)
        return signal

    def every(self, seconds: float, hook: Callable[[], None]) -> None:
        self.feed.every(seconds, hook)

    # The journal: what became of signals and orders.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        if type(record) is Checkpoint and not self.fold.lsn:
            self.fold.apply(envelope, record)
            self._load_state(envelope.lsn, record)
            return
        for change in self.fold.apply(envelope, record):
            if type(change) is SignalAnswered and change.strategy_id == self.strategy_id:
                self.desk.raise_number(change.signal)
            if self.is_started:
                self._tell(change)

    def _tell(self, change: Change) -> None:
        if type(change) is SignalAnswered:
            if change.strategy_id == self.strategy_id:
                self._take_answer(change)
        elif type(change) is OrderChanged or type(change) is OrderReplaced:
            if change.order.strategy_id == self.strategy_id:
                self._take_order(change.order)
        elif type(change) is FillBooked:
            if change.order.strategy_id == self.strategy_id:
                self._take_fill(change)
        elif type(change) is PositionChanged:
            if change.strategy_id == self.strategy_id and change.symbol_id in self.own:
                self.feed.call(self.strategy.on_position, self.desk.position(self.own[change.symbol_id]))
        elif type(change) is TradingStateChanged:
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
            self.asked.refused(change.signal, change.reason, change.detail)
            return
        sent = self.asked.accepted(change.signal, change.order_id)
        if sent is None:
            return
        if sent.cancel is not None:
            self._cancel_at_last(sent.cancel, change.order_id)
        order = self.fold.tracker.orders.get(change.order_id)
        if is_too_late(sent, order):
            self._tell_order(refusal(sent, "order_ended", "") if order is None else self.desk.order_info(order))
        elif order is not None and order.replace is not None:
            self.unacknowledged.add(order.order_id)

    def _cancel_at_last(self, cancel: Signal, order_id: int) -> None:
        """It was asked for when there was no order yet: nothing suppresses it now, wherever the feed stands."""
        if self.is_detached:
            self.refuse_here(cancel, "stopping")
        else:
            self._send(SIGNAL_CANCEL, cancel, order_id=order_id)

    def _take_order(self, order: Order) -> None:
        if order.status is OrderStatus.NEW:
            self.unacknowledged.add(order.order_id)
        else:
            self.unacknowledged.discard(order.order_id)
        self._tell_order(self.desk.order_info(order))

    def _tell_order(self, info: OrderInfo) -> None:
        self.feed.call(self.strategy.on_order, info)

    def _take_fill(self, change: FillBooked) -> None:
        self.feed.call(self.strategy.on_fill, self.desk.fill(change))

    # The market: chunk by chunk, and for files with a pause after every signal.

    def _end_chunk(self, last_position: int) -> None:
        self.market.stream.hold_credit()
        self.feed.end_chunk(last_position)

    def _on_chunk_done(self, last_position: int) -> None:
        if last_position > self.former_position:
            self.page.set_market(self.market.epoch, last_position)
        self.market.stream.release_credit(1)

    def _go_on(self) -> None:
        self.asked.give_up_lost()
        self.feed.go_on()

    def _must_wait(self) -> bool:
        self.asked.tell_refused()
        # Nobody acts on what is fed again, and order_routing may need the feed to move to acknowledge an order of the
        # former life: whoever waited for it there would wait for ever.
        if not self.is_file or self.feed.position < self.suppressed_to:
            return False
        # With latency the venue's answer comes with later ticks, for which a feed that waits here would wait for ever.
        return bool(self.asked.unanswered or (self.unacknowledged and not self.config.order_routing.latency_us))
