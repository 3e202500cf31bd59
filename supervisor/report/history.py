"""The journal as a report needs it: the fills of a run, booked, and the state that the run began with.

A file is read from its first row by every start, so its data's clock goes back and a report is of the last run. A live
feed's clock is the journal's, so there a report is of all that the journal has. Records before the run are folded too,
for names and for the positions carried into it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

from actors.changes import BalanceAdjusted, FillBooked, OrderChanged, SignalAnswered
from actors.fold import Fold, PositionView
from protocol.conversion import PARITY
from protocol.errors import FoldError, WireError
from protocol.orders import OrderStatus
from protocol.records import EngineRun, OrderPlace, Record, RunEvent, decode_record
from protocol.units import MICROS, PRODUCT
from protocol.wal.format import Envelope
from supervisor.report.statistics import Floats, Times
from supervisor.report.trades import Book, Fill

Records = Iterable[tuple[Envelope, int, bytes]]


class FillColumns:
    """The fills of a run, a column each, in the order of the journal; numbers in units, not micros."""

    def __init__(self) -> None:
        self._times, self._symbols, self._strategies = array("q"), array("q"), array("q")
        self._quantities, self._prices, self._cash, self._rates = array("d"), array("d"), array("d"), array("d")
        self._kinds = array("b")

    def append(self, fill: Fill, *, opens: bool) -> None:
        sign = fill.side.sign
        self._times.append(fill.time_us)
        self._symbols.append(fill.symbol_id)
        self._strategies.append(fill.strategy_id)
        self._quantities.append(sign * fill.quantity / MICROS)
        self._prices.append(fill.price / MICROS)
        is_converted = fill.rate != PARITY
        paid = 0 if is_converted else sign * fill.price * fill.quantity * fill.multiplier / (PRODUCT * MICROS)
        self._cash.append(-paid - fill.commission / MICROS)
        self._rates.append(fill.rate.numerator / fill.rate.denominator if is_converted else 1.0)
        self._kinds.append(opens)

    def __len__(self) -> int:
        return len(self._times)

    @property
    def times(self) -> Times:
        """Never going back, so that they can be searched: a venue's clock may."""
        return np.maximum.accumulate(np.array(self._times, np.int64)) if self._times else np.empty(0, np.int64)

    @property
    def symbols(self) -> Times:
        return np.array(self._symbols, np.int64)

    @property
    def strategies(self) -> Times:
        return np.array(self._strategies, np.int64)

    @property
    def quantities(self) -> Floats:
        """Signed: buys above 0."""
        return np.array(self._quantities, np.float64)

    @property
    def prices(self) -> Floats:
        return np.array(self._prices, np.float64)

    @property
    def cash(self) -> Floats:
        """What each fill put into the account, commission taken off; of one in another currency only that."""
        return np.array(self._cash, np.float64)

    @property
    def rates(self) -> Floats:
        """Account currency per quote currency at each fill."""
        return np.array(self._rates, np.float64)

    @property
    def opens(self) -> Times:
        """1 where the fill opened, increased or reversed the account's position, 0 where it only reduced it."""
        return np.array(self._kinds, np.int64)


class RunHistory:
    """What the journal says of a run. `read` once; then it is only looked at."""

    def __init__(self, *, last_run: bool) -> None:
        self.last_run: Final = last_run
        """Each START begins anew; else all runs are one."""
        self.fold: Final = Fold()
        self.runs = 0
        """Starts that the journal has, as far as it is kept."""
        self.is_cut = False
        """What the report covers began before the oldest kept record."""
        self.account = Book()
        self.strategies: dict[int, Book] = {}
        """By strategy id; below FIRST_STRATEGY: the engine's own orders."""
        self.is_attributed = True
        """False: positions were held, nobody knows by which strategy."""
        self.last_lsn = 0
        self.end_us = 0
        """The journal's clock, of the last record."""
        self._begin(0, 0)

    def _begin(self, lsn: int, time_us: int) -> None:
        self.first_lsn, self.start_us = lsn, time_us
        self.start: EngineRun | None = self.fold.run
        self.stop: EngineRun | None = None
        self.start_balance = self.fold.account.balance
        self.realized_before = dict(self.fold.account.realized)
        """Products by symbol id."""
        self.fills = FillColumns()
        self._adjusted: tuple[array[int], array[float]] = array("q"), array("d")
        self.epochs: set[bytes] = set()
        """Of the feed, as the orders name it."""
        self.deposited = 0
        """Product: in the balance, and in no profit."""
        self.orders = self.rejected = 0
        self.refused: Counter[str] = Counter()
        """Signals, by reason."""
        for book in (self.account, *self.strategies.values()):
            book.begin()

    def read(self, records: Records) -> None:
        """Raises: as read_history does, FoldError where a record does not follow; what came before stays."""
        for envelope, _, data in records:
            try:
                record = decode_record(envelope.entry_type, data)
            except WireError as error:
                raise FoldError(envelope.lsn, str(error)) from error
            self._apply(envelope, record)

    def _apply(self, envelope: Envelope, record: Record) -> None:
        is_first = self.fold.run is None
        changes = self.fold.apply(envelope, record)
        if type(record) is EngineRun:
            self._run(envelope, record, is_first)
        elif is_first:
            self._carry(envelope)
        elif type(record) is OrderPlace:
            self.epochs.add(record.market_epoch)
        self.last_lsn, self.end_us = envelope.lsn, max(self.end_us, envelope.time_us)
        for change in changes:
            if type(change) is FillBooked:
                self._book(change)
            elif type(change) is BalanceAdjusted and change.is_deposit:
                self.deposited += change.amount
            elif type(change) is BalanceAdjusted:
                self.account.adjust(change.time_us, change.amount)
                self._adjusted[0].append(change.time_us)
                self._adjusted[1].append(change.amount / PRODUCT)
            elif type(change) is OrderChanged:
                self.orders += change.order.status is OrderStatus.NEW
                self.rejected += change.order.status is OrderStatus.REJECTED
            elif type(change) is SignalAnswered and change.order_id is None:
                self.refused[change.reason] += 1

    def _run(self, envelope: Envelope, run: EngineRun, is_first: bool) -> None:
        if run.event is RunEvent.STOP:
            self.stop = run
            return
        self.runs += 1
        if is_first or self.last_run:
            self.is_cut = False
            self._begin(envelope.lsn, envelope.time_us)
        self.start, self.stop = run, None

    def _carry(self, envelope: Envelope) -> None:
        """The oldest kept record is a CHECKPOINT."""
        held = {symbol: one for symbol, one in self.fold.account.positions.items() if one.quantity}
        for symbol_id, position in held.items():
            self.account.carry(symbol_id, position)
        assert self.fold.run is not None
        self.is_attributed = not held
        self.is_cut = True
        self._begin(envelope.lsn, envelope.time_us)

    def _book(self, change: FillBooked) -> None:
        order = change.order
        fill = Fill(
            change.time_us, order.symbol_id, order.strategy_id, order.side, change.price, change.quantity,
            change.commission, self.fold.multipliers[order.symbol_id], change.rate,
        )  # fmt: skip
        effect = self.account.add(fill)
        book = self.strategies.get(fill.strategy_id)
        if book is None:
            book = self.strategies[fill.strategy_id] = Book()
        book.add(fill)
        self.fills.append(fill, opens=bool(effect.opened))

    # Names and numbers.

    @property
    def adjustments(self) -> tuple[Times, Floats]:
        """(times, money) of what the venue charged or credited apart from fills: swap."""
        times, money = self._adjusted
        return np.array(times, np.int64), np.array(money, np.float64)

    @property
    def currency(self) -> str:
        return self.start.currency if self.start else ""

    @property
    def end_balance(self) -> int:
        """A product, without what was deposited."""
        return self.fold.account.balance - self.deposited

    @property
    def positions(self) -> list[PositionView]:
        return self.fold.snapshot_positions()

    def multiplier(self, symbol_id: int) -> float:
        return self.fold.multipliers[symbol_id] / MICROS
