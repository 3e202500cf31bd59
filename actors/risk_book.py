"""risk's book: what it knows, what it has approved and not seen back, and what it decides. No sockets, no clock.

Owns the fold and the pending appends together (design section 3), the identifiers, and the limits after the trade. What
it decides it hands to `append`; where records come from, and when, is the actor's: a live engine as they come, a replay
by position (seams P).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from actors.brackets import exit_ids
from actors.check_input import NO_SYMBOL, CheckInput, Target
from actors.checks import CHECK_FAILED, Approved, ApprovedCancel, ApprovedReplace, check_signal
from actors.fold import Change, Fold, SignalAnswered
from actors.ledger import PRODUCT_MAX
from actors.operations import ALL, closing_orders, deposit, end_of, state_change
from actors.order_tracker import Order
from actors.protection import requests_of
from actors.protection_checks import Exit, check_protection, highest_id
from actors.scopes import ENGINE, BrokenLimit, Scopes
from protocol.limits import LOSS_LIMITS
from protocol.messages import SIGNAL_MODIFY, Intent
from protocol.orders import END_OF_DATA, TradingMode
from protocol.records import (
    FIRST_STRATEGY,
    BalanceChange,
    Checkpoint,
    EngineRun,
    EntryType,
    Operation,
    OrderCancel,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    PositionClose,
    PositionModify,
    PositionOpen,
    Producer,
    Record,
    RiskViolation,
    SignalRefused,
    TradingState,
    decode_record,
)
from protocol.settings import Config
from protocol.state import FoldState
from protocol.units import bytes_to_product, decimal_to_micros, product_to_bytes
from protocol.wal.format import Envelope

CLOSED_AGAIN_MAX: Final = 20
"""In a row, of which none has filled."""
DRAWDOWN_REASON: Final = "Max Drawdown Exceeded"
_RUN_TYPES: Final = (EngineRun, Checkpoint)
"""What brings id tables. Records and changes are told apart by `type(x) is`: to ask a struct isinstance takes 0.1 to
0.2 us, and every record of a start is asked several times."""


class RiskBook:
    """`append` puts a record into the journal; it is pending until it comes back by `apply`.
    `is_halted` says whether trading is, by the fold or by whoever else may halt.
    """

    def __init__(
        self, config: Config, fold: Fold, append: Callable[[Record], Any], is_halted: Callable[[], bool]
    ) -> None:
        self.fold = fold
        self.is_halted = is_halted
        self._append = append
        self._config = config
        drawdown = config.risk.max_drawdown
        self._max_signal_age_us = None if config.market_data.is_file else config.risk.max_signal_age_ms * 1000
        self.max_drawdown = None if drawdown is None else decimal_to_micros(drawdown) * 1_000_000
        """Product."""
        self.pending_orders: dict[int, OrderPlace] = {}
        """ORDER_PLACEs that have not come back: they take exposure and ids already."""
        self.pending_replaces: dict[int, OrderReplace] = {}
        """By order id; there is one at a time."""
        self.scopes = Scopes(config, fold, self.pending_orders, self.pending_replaces)
        self.pending_cancels: set[int] = set()
        self.pending_signals: set[tuple[int, int]] = set()
        """(strategy id, number) of those that are decided, and whose answer has not come back."""
        self.owed_appended = 0
        """How many of fold.owed are appended in this life."""
        self.next_order_id = 1
        self.violated: set[int] = set()
        self.pending_violations: set[tuple[str, int, int, int]] = set()
        """(limit, strategy id or 0, day, the limit's value) of those on losses that are said and have not come back."""
        self.pending_modes: deque[TradingMode] = deque()
        """Of TRADING_STATEs that have not come back; a HALT is `is_halted`'s to say."""
        self._closed_again = 0
        self.is_over = False
        """The venue has said that the data have ended: what closes can arrive no more, however often it is placed."""
        self._counted_cancels: Counter[int] = Counter()
        """By order id: cancels that this life has decided, and counted, and that have not come back."""
        self.counters = {"signals": 0, "refused": 0, "repeated": 0}

    # The journal.

    def apply(self, envelope: Envelope, record: Record) -> list[Change]:
        """The record is in the fold, and pending no more. Raises: FoldError."""
        if type(record) is OrderPlace:
            if self.pending_orders.pop(record.order_id, None) is None and record.signal:  # a former life's
                self.scopes.sent_order(record, envelope.time_us)
        elif type(record) is OrderCancel:
            self.pending_cancels.discard(record.order_id)
            if self._counted_cancels[record.order_id] > 0:
                self._counted_cancels -= Counter([record.order_id])
            elif record.strategy_id >= FIRST_STRATEGY:
                self.scopes.sent_message(record.strategy_id, envelope.time_us)
        elif type(record) is PositionModify:
            if (record.strategy_id, record.signal) not in self.pending_signals:
                self.scopes.sent_message(record.strategy_id, envelope.time_us)
            self._expect(record, is_back=True)
        elif type(record) is OrderReplace:
            if self.pending_replaces.pop(record.order_id, None) is None:
                self.scopes.sent_message(record.strategy_id, envelope.time_us)
        elif type(record) is OrderUpdate:
            self.is_over |= record.reason == END_OF_DATA
        elif type(record) is RiskViolation:
            self.pending_violations.discard(_said(record))
        elif type(record) is TradingState and self.pending_modes and record.state is self.pending_modes[0]:
            self.pending_modes.popleft()
        starts_here = self.fold.run is None
        owed = len(self.fold.owed)
        changes = self.fold.apply(envelope, record)
        if len(self.fold.owed) < owed:
            self.owed_appended = max(0, self.owed_appended - 1)
        if type(record) in _RUN_TYPES:
            self.is_over = False  # behind a CHECKPOINT too: who goes on from there knows no better
            self.scopes.take_run()
            if starts_here and type(record) is Checkpoint:
                self.scopes.begin_behind(envelope.time_us)
        for change in changes:
            if type(change) is SignalAnswered:
                self.pending_signals.discard((change.strategy_id, change.signal))
        return changes

    def begin(self) -> None:
        """The fold is complete: ids go on where the journal ended."""
        self.next_order_id = max(self.next_order_id, self.fold.next_order_id)

    def begin_behind(self, record: Checkpoint, state: FoldState, lsn: int) -> None:
        """The fold stands at `lsn`, before the CHECKPOINT and what is yet to be applied. Raises: WireError."""
        run = decode_record(EntryType.ENGINE_RUN, record.run)
        assert isinstance(run, EngineRun), "of its type"
        self.fold.put_state(run, state)
        self.fold.lsn = lsn
        self.scopes.take_run()

    def restore(self, pending: Iterable[Record], violated: Iterable[int]) -> None:
        """A replay goes on, at `begin`: what this book had appended and its fold has not seen, and what it had said."""
        self.violated.update(violated)
        for record in pending:
            if isinstance(record, OrderPlace):
                self.pending_orders[record.order_id] = record
                self.next_order_id = max((self.next_order_id - 1, record.order_id, *exit_ids(record))) + 1
            elif isinstance(record, OrderCancel):
                self.pending_cancels.add(record.order_id)
            elif isinstance(record, OrderReplace):
                self.pending_replaces[record.order_id] = record
            elif isinstance(record, PositionModify):
                self._expect(record)
            if isinstance(record, OrderPlace | OrderCancel | OrderReplace | PositionModify | SignalRefused):
                self.pending_signals.add((record.strategy_id, record.signal))
            elif isinstance(record, TradingState) and record.state is not TradingMode.HALTED:
                self.pending_modes.append(record.state)
            elif isinstance(record, RiskViolation) and record.reason in LOSS_LIMITS:
                self.pending_violations.add(_said(record))
            self.owed_appended += isinstance(record, PositionOpen | PositionClose | BalanceChange)

    def append_owed(self) -> None:
        """F1: what the fold owes and this life has not appended yet, in order."""
        owed = self.fold.owed
        while self.owed_appended < len(owed):
            self._append(owed[self.owed_appended])
            self.owed_appended += 1

    # Signals.

    def is_repeated(self, intent: Intent) -> bool:
        """It was taken before; else it is from here on."""
        self.counters["signals"] += 1
        signal = (intent.strategy_id, intent.number)
        if signal in self.pending_signals or self.fold.is_answered(*signal):
            self.counters["repeated"] += 1
            return True
        self.pending_signals.add(signal)
        return False

    def decide(self, intent: Intent, now_us: int, *, age_us: int = 0, disk_low: bool = False) -> None:
        """What the signal became is appended: an order, a cancel, a change, a refusal. `now_us`: the record's time."""
        try:
            given = self.check_input(intent, now_us, age_us, disk_low)
        except Exception as error:  # what cannot be computed has not been passed
            self.refuse(intent, CHECK_FAILED, f"input: {error!r}")
            return
        if intent.kind == SIGNAL_MODIFY and not intent.order_id:
            self._protect(given, now_us)
            return
        decision = check_signal(given, self.next_order_id)
        if isinstance(decision, Approved):
            place = decision.place
            self.next_order_id = max((place.order_id, *exit_ids(place))) + 1
            self.pending_orders[place.order_id] = place
            self.scopes.sent_order(place, now_us)
            self._append(place)
        elif isinstance(decision, ApprovedCancel):
            self.scopes.sent_message(intent.strategy_id, now_us)
            self._counted_cancels[decision.cancel.order_id] += 1
            self._append_cancel(decision.cancel)
        elif isinstance(decision, ApprovedReplace):
            self.scopes.sent_message(intent.strategy_id, now_us)
            self.pending_replaces[decision.replace.order_id] = decision.replace
            self._append(decision.replace)
        else:
            self.refuse(intent, decision.reason, decision.detail)

    def _protect(self, given: CheckInput, now_us: int) -> None:
        intent = given.intent
        try:
            decision = check_protection(given, self._exits(intent), self.next_order_id)
        except Exception as error:
            decision = CHECK_FAILED, repr(error)
        if isinstance(decision, PositionModify):
            self.scopes.sent_message(intent.strategy_id, now_us)
            self._expect(decision)
            self._append(decision)
        else:
            self.refuse(intent, *decision)

    def _expect(self, record: PositionModify, *, is_back: bool = False) -> None:
        """It is pending, or no more, and so is all that it comes down to."""
        self.next_order_id = max(self.next_order_id - 1, highest_id(record)) + 1
        for request in requests_of(record):
            order_id = request.order_id
            if isinstance(request, OrderCancel):
                (self.pending_cancels.discard if is_back else self.pending_cancels.add)(order_id)
                continue
            table: dict[int, Any] = self.pending_orders if isinstance(request, OrderPlace) else self.pending_replaces
            if is_back:
                table.pop(order_id, None)
            else:
                table[order_id] = request

    def _exits(self, intent: Intent) -> list[Exit]:
        """Of the strategy's position, those that are open and not being canceled."""
        owned = intent.strategy_id, intent.symbol_id
        found = [
            Exit(order.order_id, order.place, order.stop_price, order.replace is not None)
            for order in self.fold.tracker.exits_of(*owned) if not order.cancel_requested
        ]  # fmt: skip
        found += [
            Exit(place.order_id, place) for place in self.pending_orders.values()
            if place.protects and (place.strategy_id, place.symbol_id) == owned
        ]  # fmt: skip
        replaces, cancels = self.pending_replaces, self.pending_cancels
        return [
            one._replace(is_changing=one.is_changing or one.order_id in replaces)
            for one in found if one.order_id not in cancels
        ]  # fmt: skip

    def refuse(self, intent: Intent, reason: str, detail: str) -> None:
        counters = self.counters
        counters["refused"] += 1
        counters[f"refused_{reason}"] = counters.get(f"refused_{reason}", 0) + 1
        self._append(SignalRefused(intent.strategy_id, intent.number, intent.symbol_id, reason, detail))

    def check_input(self, intent: Intent, now_us: int, age_us: int = 0, disk_low: bool = False) -> CheckInput:
        """Everything that decides about the signal, as it stands."""
        symbol_id, scopes = intent.symbol_id, self.scopes
        return CheckInput(
            intent=intent,
            instrument=scopes.instruments.get(symbol_id),
            engine=scopes.scope(ENGINE, intent, now_us),
            own=scopes.scope(intent.strategy_id, intent, now_us),
            halted=self.is_halted(),
            mode=self.mode,
            signal_age_us=age_us,
            max_signal_age_us=self._max_signal_age_us,
            market_us=scopes.clock_us(now_us),
            quote=scopes.quote(symbol_id),
            rate=scopes.rate(symbol_id),
            leverage=scopes.leverage,
            disk_low=disk_low,
            owner=self._owner(intent.order_id),
            target=self._target(intent) if intent.kind == SIGNAL_MODIFY else None,
        )

    @property
    def mode(self) -> TradingMode:
        mode = self.fold.trading.mode
        return self.pending_modes[-1] if self.pending_modes and mode is not TradingMode.HALTED else mode

    def _owner(self, order_id: int) -> int | None:
        order = self.fold.tracker.orders.get(order_id) or self.pending_orders.get(order_id)
        return None if order is None else order.strategy_id

    def _target(self, intent: Intent) -> Target | None:
        order_id = intent.order_id
        order, is_changing = self.fold.tracker.orders.get(order_id), order_id in self.pending_replaces
        is_ending = order_id in self.pending_cancels
        if order is None:
            place = self.pending_orders.get(order_id)
            if place is None:
                return None
            return Target(place, is_ending=is_ending, is_changing=is_changing, is_exit=place.protects != 0)
        return Target(
            order.place, order.filled, order.is_open, is_ending or order.cancel_requested,
            is_changing or order.replace is not None, order.parent_id != 0,
        )  # fmt: skip

    # Limits after the trade, and risk's own cancels.

    def check_drawdown(self, symbol_id: int, *, at_start: bool = False) -> str | None:
        """Why trading must halt, the violation being appended; None if it need not, or was said before."""
        limit = self.max_drawdown
        if limit is None or symbol_id in self.violated:
            return None
        realized = self.fold.drawdown(symbol_id)
        if realized > limit:
            return None
        self.violated.add(symbol_id)
        if at_start and self.is_halted():
            return None  # a former life has said so
        self._append(RiskViolation(symbol_id, DRAWDOWN_REASON, product_to_bytes(realized), product_to_bytes(limit)))
        return f"{DRAWDOWN_REASON}: {self.fold.symbol(symbol_id)}"

    def check_losses(self, now_us: int, halt: Callable[[str], object]) -> None:
        """Whatever limit is reached and was not said to be: what follows, and then the RISK_VIOLATION.

        In that order: where a crash lets only the first of them into the journal, the next life does both again.
        """
        if not self.scopes.needs_losses:
            return
        for broken in self.scopes.broken_losses(now_us):
            said = broken.key, broken.who, broken.day, broken.limit
            if said in self.pending_violations or self._was_said(broken):
                continue
            self.pending_violations.add(said)
            if broken.action == "halt":
                halt(broken.reason)
            elif broken.action == "reduce":
                self.reduce(broken.reason)
            loss, limit = product_to_bytes(min(broken.loss, PRODUCT_MAX)), product_to_bytes(broken.limit)
            self._append(RiskViolation(NO_SYMBOL, broken.key, loss, limit, broken.who, broken.day))

    def reduce(self, reason: str) -> None:
        if self.mode is TradingMode.ACTIVE:
            self._set_mode(TradingState(TradingMode.REDUCING, "risk", reason, 0))

    def _set_mode(self, state: TradingState) -> None:
        self.pending_modes.append(state.state)
        self._append(state)

    def _was_said(self, broken: BrokenLimit) -> bool:
        """By this limit: a loss of the day on this day, one from the peak since there is this peak."""
        day, limit = self.fold.violations.get((broken.key, broken.who), (None, b""))
        is_same = day is not None and limit == product_to_bytes(broken.limit)
        return is_same and (day == broken.day or "daily" not in broken.key)

    def act_on_halt(self, *, pending: bool = False) -> None:
        """`risk.on_halt`: every open order but the protective ones is cancelled, those that are pending too, if asked;
        "flatten" closes what is held besides. It is said as often as something changes, and asks for nothing twice.
        """
        on_halt = self._config.risk.on_halt
        if on_halt == "hold":
            return
        self._cancel_unprotected("halt")
        if pending:
            self._cancel_pending("halt")
        if on_halt == "flatten" and not self.is_over:
            self.close_positions(self.fold.account.positions)

    def may_close_again(self, order: Order) -> bool:
        """It was to close a position and has ended without: the router saw another under way, say. It is counted, and
        not for ever."""
        was_closing = order.reduce_only and not order.signal and not order.parent_id and order.remaining > 0
        self._closed_again += was_closing
        return was_closing and self._closed_again <= CLOSED_AGAIN_MAX

    def note_fill(self, order: Order) -> None:
        """What closes positions gets through."""
        if order.reduce_only and not order.signal:
            self._closed_again = 0

    def _cancel_unprotected(self, by: str, symbol_id: int | None = None) -> int:
        """How many."""
        orders = [
            order
            for order in self.fold.tracker.open_orders.values()
            if not order.reduce_only and not order.is_external and symbol_id in (None, order.symbol_id)
        ]
        return sum(self._cancel(order.order_id, by) for order in orders)

    def _cancel_pending(self, by: str, symbol_id: int | None = None) -> int:
        """How many of what is approved and has not come back: it follows its ORDER_PLACE in the journal."""
        places = [
            place
            for place in self.pending_orders.values()
            if not place.reduce_only and symbol_id in (None, place.symbol_id)
            and place.order_id not in self.pending_cancels
        ]  # fmt: skip
        for place in places:
            self._append_cancel(OrderCancel(place.order_id, Producer.RISK, 0, by))
        return len(places)

    def close_positions(self, symbol_ids: Iterable[int]) -> int:
        """How many orders it took."""
        count = 0
        for symbol_id in sorted(self.scopes.instruments.keys() & set(symbol_ids)):
            for place in list(closing_orders(self.fold, self.pending_orders.values(), symbol_id, self.next_order_id)):
                self.next_order_id = place.order_id + 1
                self.pending_orders[place.order_id] = place
                self._append(place)
                count += 1
        return count

    def _held_without_config(self, symbol_ids: Iterable[int]) -> str:
        """What no venue can be asked to close: their [[instruments]] have gone."""
        missing = set(symbol_ids) - self.scopes.instruments.keys()
        held = (symbol_id for symbol_id in missing if self.fold.account.position(symbol_id).quantity)
        return ", ".join(self.fold.symbol(symbol_id) for symbol_id in sorted(held))

    # An operator's commands.

    def carry_out(self, lsn: int, command: Operation, now_us: int) -> None:
        """H1: once in each life that finds it unfinished; it ends with a record that names it."""
        if command.verb == "DEPOSIT":
            self._append(deposit(self.fold, lsn, command))
            return
        if command.verb in ("REDUCE", "RESUME"):
            mode = TradingMode.HALTED if self.is_halted() else self.mode
            state, outcome = state_change(mode, command)
            if state is not None:
                self._set_mode(state)
                if state.state is TradingMode.ACTIVE:
                    outcome = "; ".join([outcome, *map(_still_refused, self.scopes.broken_losses(now_us))])
        elif command.verb == "CANCEL":
            outcome = f"{self._cancel_commanded(command)} cancels requested"
        elif command.verb == "FLATTEN":
            symbols = self.fold.symbol_ids if not command.argument else (command.argument,)
            symbol_ids = [self.fold.symbol_ids[name] for name in symbols if name in self.fold.symbol_ids]
            cancels = sum(
                self._cancel_unprotected(command.by, symbol_id) + self._cancel_pending(command.by, symbol_id)
                for symbol_id in symbol_ids
            )
            outcome = f"{cancels} cancels requested, {self.close_positions(symbol_ids)} closing orders placed"
            if left := self._held_without_config(symbol_ids):
                outcome += f"; not configured, and left: {left}"
        else:
            outcome = "refused: this version does not know the verb"
        self._append(end_of(lsn, command, outcome))

    def _cancel_commanded(self, command: Operation) -> int:
        tracker = self.fold.tracker
        if command.argument == ALL:
            ours = [order.order_id for order in tracker.open_orders.values() if not order.is_external]
            cancels = sum(self._cancel(order_id, command.by) for order_id in ours)
            return cancels + self._cancel_pending(command.by)
        order_id = int(command.argument) if command.argument.isdecimal() else 0
        return int(order_id in tracker.open_orders and self._cancel(order_id, command.by))

    def cancel_orders_of(self, strategy: str, by: str = "parked") -> None:
        """The orders of a strategy that is parked, or is not configured any more, those that have not come back too;
        but not what protects its position, or closes it: nobody else does."""
        strategy_id = self.fold.strategy_id(strategy)
        for order in list(self.fold.tracker.open_of_strategy(strategy_id)):
            if not order.reduce_only:
                self._cancel(order.order_id, by)
        for place in list(self.pending_orders.values()):
            is_its = place.strategy_id == strategy_id and not place.reduce_only
            if is_its and place.order_id not in self.pending_cancels:
                self._append_cancel(OrderCancel(place.order_id, Producer.RISK, 0, by))

    def _cancel(self, order_id: int, by: str) -> bool:
        """Whether it had to be asked for."""
        order = self.fold.tracker.orders[order_id]
        is_new = not order.cancel_requested and order_id not in self.pending_cancels
        if is_new:
            self._append_cancel(OrderCancel(order_id, Producer.RISK, 0, by))
        return is_new

    def _append_cancel(self, cancel: OrderCancel) -> None:
        self.pending_cancels.add(cancel.order_id)
        self._append(cancel)


def _still_refused(broken: BrokenLimit) -> str:
    """Else a RESUME whose loss limit is used up would seem to do nothing."""
    return f"{broken.reason}: what raises exposure is refused"


def _said(record: RiskViolation) -> tuple[str, int, int, int]:
    return record.reason, record.strategy_id, record.day, bytes_to_product(record.limit_value)
