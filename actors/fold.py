"""The fold: everything that matters, as the journal's records leave it, one after the other.

Used alike by risk, order_routing, gateway, strategies and tools: the same records give the same state, so first
start, restart and replica are one code (design section 3). It does no I/O, asks no clock, and never repairs: a
record that does not follow from those before it is a FoldError that names the place.

What a record changed comes back as a list of Changes, for whoever must act on it or tell of it. They hold the
live Order: read it before the next record is applied.

Derived records (F1, derived.py) are queued in `owed` when their cause is folded, in the order of the causes.
One that arrives must equal the head of the queue. What is left at the tail is risk's to append before READY; it
is part of the fold (F2), never pending.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from actors.changes import (
    STOPPED,
    BalanceAdjusted,
    CancelRequested,
    Change,
    CommandGiven,
    DuplicateExecution,
    FillBooked,
    ImpossibleReport,
    OrderChanged,
    OrderReplaced,
    OrderRestated,
    PositionChanged,
    ReplaceRequested,
    RunChanged,
    SignalAnswered,
    TradingStateChanged,
    TradingStatus,
    ViolationRecorded,
)
from actors.derived import check_run, derived_records, digest_of
from actors.fold_state import difference, put_state, state_as_in
from actors.ledger import Account, Position, PositionView, apply_fill, average_price_float, average_price_micros
from actors.order_tracker import Advance, Duplicate, Impossible, OrderTracker
from actors.protection import requests_of
from protocol.conversion import PARITY, Rate
from protocol.errors import FoldError, NotRepresentableError, WireError
from protocol.limits import LOSS_LIMITS
from protocol.orders import OrderStatus, Report, Side, TradingMode
from protocol.records import (
    FIRST_STRATEGY,
    Adjust,
    AdjustKind,
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
    Record,
    RiskViolation,
    RunEvent,
    SignalRefused,
    TradingState,
    decode_record,
)
from protocol.state import RISK, FoldState, decode_fold_state
from protocol.units import DAY_US, MICROS, bytes_to_product, product_to_bytes
from protocol.wal.format import Envelope

ANSWERED_MAX: Final = 4096
"""Signals of one strategy remembered as answered, so that one that is said again is not acted on twice. No strategy has
more waiting for an answer (asked.py): what it says again is among the newest so many, however late it is."""
COMMAND_TOKENS_MAX: Final = 4096
"""The newest COMMANDs whose tokens are known: one that is said again after so many others is a new one."""
OPERATOR: Final = "operator"
"""ENGINE_RUN's `by` of the only stop that ends a halt (H2)."""
_FILL: Final = Report.FILL
_NEW: Final = OrderStatus.NEW
_RESTATED: Final = (Report.TRIGGER, Report.RESTATE)
_REPLACED: Final = (Report.REPLACE, Report.REPLACE_REJECT)
_ZERO: Final = product_to_bytes(0)
_NO_ACCOUNT: Final = Account()
"""Of who has never traded."""


class Fold:
    """State as of `lsn`. A FoldError leaves it unusable: start over, or refuse to start."""

    def __init__(self) -> None:
        self.lsn = 0
        self.run: EngineRun | None = None
        """The last ENGINE_RUN: id tables, leverage, currency, versions."""
        self.opening_balance = 0
        """Product, of the journal's first ENGINE_RUN."""
        self.multipliers: tuple[int, ...] = ()
        """Micros by symbol id."""
        self.currencies: tuple[str, ...] = ()
        """Quote currencies by symbol id; "": the account's."""
        self.symbol_ids: dict[str, int] = {}
        self.opened_at: dict[int, tuple[int, str]] = {}
        """The multiplier, micros, and the quote currency at which a symbol's position was opened."""
        self.account = Account()
        """The engine's: net positions, as at the venue."""
        self.strategy_accounts: defaultdict[int, Account] = defaultdict(Account)
        """By strategy id: what its own orders have left, from a balance of 0. In each symbol the quantities add up to
        the net position, and with the open profit all the money does, before it is converted; what is realized alone
        does not: one strategy may close what another opens."""
        self.tracker = OrderTracker()
        self.trading = TradingStatus()
        self.cleared_token = 0
        """The latch token that the last operator's stop saw (H2)."""
        self.drawdown_baseline: dict[int, int] = {}
        """Realized product by symbol id from which max_drawdown counts."""
        self.day = 0
        """Days since the epoch, of the newest record that moved money."""
        self.violations: dict[tuple[str, int], tuple[int, bytes]] = {}
        """(day, the limit's value) of each last RISK_VIOLATION of a limit on losses, by (limit, strategy id or 0)."""
        self.commands: dict[int, Operation] = {}
        """By LSN: those that are not carried out yet."""
        self.command_tokens: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """(LSN, digest) of the newest COMMAND_TOKENS_MAX that had one (H1). REDUCE needs none: anyone may say it."""
        self.owed: deque[Record] = deque()
        self.venue_us = 0
        """The venue's time of the newest record that has one …"""
        self.run_venue_us = 0
        """… and since the last start of the engine. 0: none."""
        self.venue_seq = 0
        """The highest number of an external venue's report (V1)."""
        self.halt_tokens: set[int] = set()
        self.answered: defaultdict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
        """By strategy id: the newest ANSWERED_MAX signal numbers that were answered, oldest first."""
        # Any: each handler takes the record type that it stands beside.
        self._handlers: Final[dict[type[Record], Callable[[Envelope, Any], list[Change]]]] = {
            EngineRun: self._run,
            Checkpoint: self._checkpoint,
            OrderPlace: self._place,
            OrderCancel: self._cancel,
            OrderReplace: self._replace,
            PositionModify: self._modify_position,
            OrderUpdate: self._update,
            PositionOpen: self._derived,
            PositionClose: self._derived,
            BalanceChange: self._derived,
            TradingState: self._trading_state,
            RiskViolation: self._violation,
            SignalRefused: self._refused,
            Adjust: self._adjust,
            Operation: self._operation,
        }

    def apply(self, envelope: Envelope, record: Record) -> list[Change]:
        """The state is that after `record`; what it changed, in order.

        Raises: FoldError if the record does not follow from those before it (the journal is not ours, or damaged
        in a way that no CRC shows).
        """
        lsn = envelope.lsn
        if self.run is None:
            self._check_first(lsn, record)
        elif lsn != self.lsn + 1:
            raise FoldError(lsn, f"expected LSN {self.lsn + 1}")
        handler = self._handlers.get(type(record))
        if handler is None:
            raise FoldError(lsn, f"{type(record).__name__} is not known to this version")
        changes = handler(envelope, record)
        self.lsn = lsn
        return changes

    def _check_first(self, lsn: int, record: Record) -> None:
        """A fold starts with the journal's first ENGINE_RUN, or with any CHECKPOINT."""
        if type(record) is Checkpoint:
            return
        if lsn != 1:
            raise FoldError(lsn, "expected LSN 1, or a CHECKPOINT")
        if type(record) is not EngineRun:
            raise FoldError(lsn, f"expected the journal's first ENGINE_RUN, found {record}")

    @property
    def journal_id(self) -> bytes:
        return self.run.journal_id if self.run else b""

    @property
    def next_order_id(self) -> int:
        return self.tracker.next_order_id

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.run.symbols) if self.run else ()

    def symbol(self, symbol_id: int) -> str:
        """The name; "" for an id that is not in the table."""
        return self.run.symbols[symbol_id][0] if self.run and 0 <= symbol_id < len(self.run.symbols) else ""

    def strategy(self, strategy_id: int) -> str:
        """The name; "" for what is no strategy."""
        index = strategy_id - FIRST_STRATEGY
        return self.run.strategies[index] if self.run and 0 <= index < len(self.run.strategies) else ""

    def strategy_id(self, name: str) -> int:
        """Raises: KeyError if the last ENGINE_RUN does not know the strategy."""
        if self.run is None or name not in self.run.strategies:
            raise KeyError(name)
        return FIRST_STRATEGY + self.run.strategies.index(name)

    def halted(self, page_halt: int) -> bool:
        """H2: the fold says so, or the latch page holds a token that no operator's stop has cleared."""
        return self.trading.mode is TradingMode.HALTED or page_halt not in (0, self.cleared_token)

    def drawdown(self, symbol_id: int) -> int:
        """Realized product, before commission, since the journal's start or the last stop that ended a halt."""
        return self.account.realized.get(symbol_id, 0) - self.drawdown_baseline.get(symbol_id, 0)

    def may_reduce(self, symbol_id: int, side: Side) -> bool:
        """Whether an order of this side can reduce the net position; how far, is risk's to say."""
        return self.account.position(symbol_id).quantity * side.sign < 0

    def account_of(self, strategy_id: int) -> Account:
        """To look at: whoever has never traded gets no account by being asked for."""
        return self.strategy_accounts.get(strategy_id, _NO_ACCOUNT)

    def owned_positions(self) -> dict[tuple[int, int], int]:
        """Signed micros by (strategy id, symbol id)."""
        return {
            (strategy_id, symbol_id): held.quantity
            for strategy_id, account in self.strategy_accounts.items()
            for symbol_id, held in account.positions.items()
        }

    def position_view(self, symbol_id: int, strategy_id: int | None = None) -> PositionView:
        """Of the net position, or of one strategy's."""
        account = self.account if strategy_id is None else self.account_of(strategy_id)
        position: Position = account.position(symbol_id)
        multiplier = self.multipliers[symbol_id]
        return PositionView(
            symbol_id,
            self.symbol(symbol_id),
            position.quantity,
            average_price_micros(position, multiplier),
            average_price_float(position, multiplier),
            account.realized.get(symbol_id, 0),
        )

    def snapshot_positions(self) -> list[PositionView]:
        """Every symbol ever traded, flat ones too, by id (STATUS)."""
        return [self.position_view(symbol_id) for symbol_id in sorted(self.account.positions)]

    def _run(self, envelope: Envelope, record: EngineRun) -> list[Change]:
        if self.run is not None:
            check_run(envelope.lsn, self.run, record)
        else:
            self.opening_balance = self.account.balance = bytes_to_product(record.balance)
            self.account.count_losses_anew()
        self._set_run(record)
        if record.event == RunEvent.START:
            self.run_venue_us = 0
        changes: list[Change] = [RunChanged(record, envelope.time_us)]
        if record.event == RunEvent.STOP and record.by == OPERATOR:
            changes += self._stopped_by_operator(envelope, record)
        return changes

    def _set_run(self, record: EngineRun) -> None:
        self.run = record
        self.multipliers = tuple(multiplier for _, multiplier in record.symbols)
        self.currencies = tuple("" if one == record.currency else one for one in record.currencies.values())
        self.symbol_ids = {name: symbol_id for symbol_id, (name, _) in enumerate(record.symbols)}

    def _checkpoint(self, envelope: Envelope, record: Checkpoint) -> list[Change]:
        """F3: the first record that a fold sees is its state; for one that has come here by itself, a comparison."""
        lsn, found = envelope.lsn, record.state_of(RISK)
        if found is None or found[0] != lsn - 1:
            raise FoldError(lsn, "a CHECKPOINT without the state of risk as of the LSN before")
        try:
            state, run = decode_fold_state(found[1]), decode_record(EntryType.ENGINE_RUN, record.run)
            if self.run is None:
                assert isinstance(run, EngineRun)
                self.put_state(run, state)
        except (WireError, ValueError) as error:
            raise FoldError(lsn, str(error)) from error
        self.tracker.forget_ended()
        mine = state_as_in(self, state)
        if mine != state or run != self.run:
            raise FoldError(lsn, f"the CHECKPOINT differs from this fold: {difference(mine, state)}")
        return []

    def put_state(self, run: EngineRun, state: FoldState) -> None:
        """A new fold has the state. Raises: WireError."""
        self._set_run(run)
        put_state(self, state)
        self.trading = TradingStatus(*msgspec.structs.astuple(state.trading))

    def _stopped_by_operator(self, envelope: Envelope, record: EngineRun) -> list[Change]:
        """H2: a halt ends here; REDUCING does not (it has a verb of its own)."""
        if self.halted(record.halt_token):
            self.drawdown_baseline = dict(self.account.realized)
            for account in (self.account, *self.strategy_accounts.values()):
                account.peak_balance = account.balance
            self.violations = {key: said for key, said in self.violations.items() if "daily" in key[0]}
        self.cleared_token = record.halt_token
        self.halt_tokens.add(record.halt_token)
        if self.trading.mode is not TradingMode.HALTED:
            return []
        return self._set_trading(
            TradingStatus(TradingMode.ACTIVE, record.by, STOPPED, record.halt_token, envelope.time_us)
        )

    def _place(self, envelope: Envelope, record: OrderPlace) -> list[Change]:
        if not 0 <= record.symbol_id < len(self.multipliers):
            raise FoldError(envelope.lsn, f"order {record.order_id} in symbol {record.symbol_id}, which has no name")
        order = self.tracker.add(record)
        if order is None:
            raise FoldError(envelope.lsn, f"order id {record.order_id} is used twice: {record}")
        return [*self._answer(record), OrderChanged(order, _NEW, envelope.time_us)]

    def _cancel(self, envelope: Envelope, record: OrderCancel) -> list[Change]:
        order = self.tracker.orders.get(record.order_id)
        if order is not None:
            order.cancel_requested = True
        return [*self._answer(record), CancelRequested(record.order_id, record.by)]

    def _replace(self, envelope: Envelope, record: OrderReplace) -> list[Change]:
        order = self.tracker.orders.get(record.order_id)
        if order is not None and order.is_open:
            order.replace = record
        return [*self._answer(record), ReplaceRequested(record)]

    def _modify_position(self, envelope: Envelope, record: PositionModify) -> list[Change]:
        requests = requests_of(record)
        return [change for request in requests for change in self._handlers[type(request)](envelope, request)]

    def _answer(self, record: OrderPlace | OrderCancel | OrderReplace) -> list[Change]:
        """That the signal behind it was accepted, if there is one."""
        if record.strategy_id < FIRST_STRATEGY:
            return []
        self._remember_answered(record.strategy_id, record.signal)
        return [SignalAnswered(record.strategy_id, record.signal, record.order_id)]

    def _remember_answered(self, strategy_id: int, signal: int) -> None:
        answered = self.answered[strategy_id]
        answered[signal] = None
        if len(answered) > ANSWERED_MAX:
            answered.popitem(last=False)

    def is_answered(self, strategy_id: int, signal: int) -> bool:
        return signal in self.answered.get(strategy_id, ())

    def _update(self, envelope: Envelope, record: OrderUpdate) -> list[Change]:
        if record.venue_seq:
            self.venue_seq = record.venue_seq
        verdict = self.tracker.examine(record)
        if type(verdict) is Advance:
            if record.venue_time:
                self.venue_us = self.run_venue_us = record.venue_time
            if record.report is _FILL:
                return self._fill(envelope, record, verdict)
            order, previous, time_us = verdict.order, verdict.order.status, record.venue_time or envelope.time_us
            self.tracker.commit(verdict, record)
            if order.place.protects:
                held = self.account_of(order.strategy_id).position(order.symbol_id)
                self.tracker.fit_exits(order.strategy_id, order.symbol_id, held.quantity)
            if record.report in _RESTATED:
                return [OrderRestated(order, time_us)]
            if record.report in _REPLACED:
                return [OrderReplaced(order, time_us)] if order.is_open else []
            return [OrderChanged(order, previous, time_us)]
        if type(verdict) is Duplicate:
            return [DuplicateExecution(verdict.order_id, verdict.execution_id)]
        assert type(verdict) is Impossible
        return [ImpossibleReport(verdict.order_id, verdict.reason)]

    def _fill(self, envelope: Envelope, record: OrderUpdate, verdict: Advance) -> list[Change]:
        order, account, price, quantity = verdict.order, self.account, record.price, record.quantity
        symbol_id, previous, commission, rate = order.symbol_id, order.status, record.commission * MICROS, PARITY
        if self.currencies[symbol_id] or record.conversion_rate != MICROS or record.conversion_base != MICROS:
            rate = Rate(record.conversion_rate, record.conversion_base)
            if not self.currencies[symbol_id] or rate == PARITY or min(rate) <= 0:
                # Of the account's money there is no rate, of another's one must be given (1 is 2 / 2): else none moves.
                return [ImpossibleReport(order.order_id, "conversion_rate")]
        before, multiplier = account.position(symbol_id), self.multipliers[symbol_id]
        own_account = self.strategy_accounts[order.strategy_id]
        own = own_account.position(symbol_id)
        try:
            own_effect = effect = apply_fill(before, order.side, price, quantity, multiplier)
            if own is not before and own != before:  # somebody else trades the symbol too
                own_effect = apply_fill(own, order.side, price, quantity, multiplier)
            if rate is not PARITY:
                effect, own_effect = effect.converted(rate), own_effect.converted(rate)
            balance = account.balance_after(effect, commission)
            own_account.balance_after(own_effect, commission)
        except NotRepresentableError:
            return [ImpossibleReport(order.order_id, "not_representable")]
        exits = self.tracker.commit(verdict, record)
        time_us = record.venue_time or envelope.time_us
        self._look_at_day(time_us)
        account.book(symbol_id, effect, commission)
        own_account.book(symbol_id, own_effect, commission)
        self.tracker.fit_exits(order.strategy_id, symbol_id, own_effect.position.quantity)
        if self.violations:
            self._forget_recovered()
        self.owed.extend(derived_records(envelope.lsn, order, price, effect, commission, balance))
        if not before.quantity or (effect.opened and effect.closed):
            self.opened_at[symbol_id] = multiplier, self.currencies[symbol_id]
        changes = [
            OrderChanged(order, previous, time_us),
            FillBooked(
                order, record.execution_id, price, quantity, record.commission, effect.realized, own_effect.realized,
                time_us, rate,
            ),
            PositionChanged(symbol_id, order.strategy_id, time_us),
        ]
        return changes + [OrderChanged(new, _NEW, time_us) for new in exits] if exits else changes

    def _forget_recovered(self) -> None:
        """A loss from the peak is over when there is a new one; the next is said again."""
        for key, who in list(self.violations):
            account = self.account_of(who) if who else self.account
            if "peak" in key and account.balance == account.peak_balance:
                del self.violations[key, who]

    def _look_at_day(self, time_us: int) -> None:
        """Money is about to move: for the first time on this day, perhaps."""
        if time_us // DAY_US <= self.day:  # also where the market's clock goes back: no day comes twice
            return
        self.day = time_us // DAY_US
        for account in (self.account, *self.strategy_accounts.values()):
            account.begin_day()

    def _adjust(self, envelope: Envelope, record: Adjust) -> list[Change]:
        is_deposit = record.kind is AdjustKind.DEPOSIT
        if not is_deposit and not 0 <= record.symbol_id < len(self.multipliers):
            raise FoldError(envelope.lsn, f"an ADJUST in symbol {record.symbol_id}, which has no name")
        if record.venue_time:
            self.venue_us = self.run_venue_us = record.venue_time
        if record.venue_seq:
            self.venue_seq = record.venue_seq
        amount = bytes_to_product(record.amount)
        self._look_at_day(record.venue_time)
        self.commands.pop(record.command_lsn, None)
        try:
            balance = self.account.deposit(amount) if is_deposit else self.account.adjust(amount)
        except NotRepresentableError:
            return [ImpossibleReport(0, "not_representable")]
        self._forget_recovered()
        if amount:
            self.owed.append(BalanceChange(envelope.lsn, 0, record.amount, _ZERO, product_to_bytes(balance)))
        return [BalanceAdjusted(record.symbol_id, amount, record.venue_time or envelope.time_us, is_deposit)]

    def _derived(self, envelope: Envelope, record: Record) -> list[Change]:
        if not self.owed:
            raise FoldError(envelope.lsn, f"expected no derived record, found {record}")
        expected = self.owed.popleft()
        if record != expected:
            raise FoldError(envelope.lsn, f"expected {expected}, found {record}")
        return []

    def _trading_state(self, envelope: Envelope, record: TradingState) -> list[Change]:
        token = record.token
        if token and token in self.halt_tokens:
            return []  # H7: gateway and risk may both have appended it
        if token:
            self.halt_tokens.add(token)
        if self.trading.mode is TradingMode.HALTED and record.state != TradingMode.HALTED:
            return []  # only an operator's stop ends a halt; a REDUCE that was under way when it came does not
        return self._set_trading(TradingStatus(record.state, record.by, record.reason, token, envelope.time_us))

    def _set_trading(self, status: TradingStatus) -> list[Change]:
        previous, self.trading = self.trading.mode, status
        return [TradingStateChanged(previous, status)]

    def _operation(self, envelope: Envelope, record: Operation) -> list[Change]:
        if record.ends_lsn:
            self.commands.pop(record.ends_lsn, None)
            return []
        self.commands[envelope.lsn] = record
        if record.token and record.verb != "REDUCE":
            self.command_tokens[record.token] = envelope.lsn, digest_of(record.verb, record.argument)
            if len(self.command_tokens) > COMMAND_TOKENS_MAX:
                self.command_tokens.popitem(last=False)
        return [CommandGiven(envelope.lsn, record)]

    def _violation(self, envelope: Envelope, record: RiskViolation) -> list[Change]:
        if record.reason in LOSS_LIMITS:
            self.violations[record.reason, record.strategy_id] = record.day, record.limit_value
        return [ViolationRecorded(record)]

    def _refused(self, envelope: Envelope, record: SignalRefused) -> list[Change]:
        self._remember_answered(record.strategy_id, record.signal)
        return [SignalAnswered(record.strategy_id, record.signal, None, record.symbol_id, record.reason, record.detail)]
