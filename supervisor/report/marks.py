"""The data, read again: equity at every tick, prices for the charts, the spread that the fills paid.

The fills of the journal are applied by time, a whole batch of ticks at once, in NumPy. A fill counts from the first
tick that is not earlier than it. Positions are marked as the ledger marks them: bid if long, ask if short, and at their
average price until the data has a first quote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from actors.ledger import FLAT, Position, average_price_float
from actors.sources import TickBatch
from protocol.conversion import Route
from protocol.topics import TICK_DTYPE
from protocol.units import MICROS, PRODUCT
from supervisor.report.buckets import Buckets
from supervisor.report.curve import EquityCurve
from supervisor.report.history import RunHistory
from supervisor.report.statistics import Floats, Times
from supervisor.report.trades import Book

BATCH_TICKS: Final = 65_536
PRICES_MAX: Final = 12
"""Symbols whose prices are kept for a chart: those with the most fills."""
PRICE_BUCKETS: Final = 1_000
CURVES_MAX: Final = 32
"""Strategies with an equity curve of their own; each costs as much as the account's."""


Routes = Mapping[int, Route | None]
NO_ROUTES: Final[Routes] = MappingProxyType({})


class Quotes(NamedTuple):
    """The quotes of one symbol in a batch."""

    times: Times
    bid: Floats
    ask: Floats
    at: Times
    """Which ticks of the batch they are."""
    before: tuple[float, float]
    """(bid, ask) before the batch; what the position is marked at if there was no quote yet."""
    is_first: bool
    """There was no quote before the batch."""

    def at_ticks(self, count: int) -> tuple[Floats, Floats]:
        """(bid, ask) as known at each of the batch's `count` ticks."""
        known = np.searchsorted(self.at, np.arange(count), "right")
        return np.append(self.before[0], self.bid)[known], np.append(self.before[1], self.ask)[known]

    def mid_at(self, times: Times) -> Floats:
        """Half way between bid and ask as known at these times; nan before any."""
        before = np.nan if self.is_first else sum(self.before) / 2
        mid = np.append(before, (self.bid + self.ask) / 2)
        return mid[np.searchsorted(self.times, times, "right")]


class Steps:
    """What changes with fills and with nothing else: a sum at any time."""

    def __init__(self, start: float, times: Times, changes: Floats) -> None:
        self._times = times
        self._sums = np.concatenate([[start], start + np.cumsum(changes)])

    def at(self, times: Times) -> Floats:
        """The sum of all changes up to and including each of these times."""
        return self._sums[np.searchsorted(self._times, times, "right")]

    def is_zero(self, first_us: int, last_us: int) -> bool:
        a, b = np.searchsorted(self._times, [first_us, last_us], "right")
        return not self._sums[a : b + 1].any()


def _merge(one: tuple[Times, Floats], other: tuple[Times, Floats]) -> tuple[Times, Floats]:
    """(times, changes) of both, by time."""
    times, changes = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.argsort(times, kind="stable")
    return times[order], changes[order]


class BookMarks:
    """One book's equity at every tick. It begins as `start`, with the carried positions at their average price."""

    def __init__(self, book: Book, start: float, history: RunHistory, chosen: Times, routes: Routes) -> None:
        """chosen: the numbers of the history's fills that are the book's."""
        fills, carried = history.fills, book.start_positions
        times, symbols, quantities = fills.times[chosen], fills.symbols[chosen], fills.quantities[chosen]
        cost = sum(position.cost for symbol, position in carried.items() if symbol not in routes) / PRODUCT
        self.curve: Final = EquityCurve(start)
        cash = times, fills.cash[chosen]
        self._routes = routes
        self._costs: dict[int, Steps] = {}
        """Of what is open in another currency, in that."""
        for symbol in routes.keys() & {*carried, *symbols.tolist()}:
            own, held = symbols == symbol, carried.get(symbol, FLAT)
            paid = quantities[own] * fills.prices[chosen][own] * history.multiplier(symbol)
            costs, realized = _average_costs(quantities[own], paid, held)
            self._costs[symbol] = Steps(held.cost / PRODUCT, times[own], costs)
            cash[1][own] += realized * fills.rates[chosen][own]
        self._cash = Steps(start - cost, *(_merge(cash, history.adjustments) if book is history.account else cash))
        self._held = {
            int(symbol): Steps(
                carried[symbol].quantity / MICROS if symbol in carried else 0.0,
                times[symbols == symbol], quantities[symbols == symbol],
            )
            for symbol in {*carried, *symbols.tolist()}
        }  # fmt: skip
        self._multipliers = {symbol: history.multiplier(symbol) for symbol in self._held}

    def add(self, times: Times, marks: BatchMarks) -> None:
        equity = self._cash.at(times)
        for symbol, held in self._held.items():
            if held.is_zero(int(times[0]), int(times[-1])):
                continue
            bid, ask = marks.of(symbol)
            quantity = held.at(times)
            value = quantity * np.where(quantity >= 0, bid, ask) * self._multipliers[symbol]
            if symbol in self._costs:
                value = self._convert(symbol, value - self._costs[symbol].at(times), marks)
            equity += value
        self.curve.add(times, equity)

    def _convert(self, symbol: int, profit: Floats, marks: BatchMarks) -> Floats:
        """None before the rate is known."""
        route = self._routes[symbol]
        if route is None:
            return np.zeros(len(profit))
        bid, ask = marks.of(route.symbol_id)
        mid = (bid + ask) / 2
        return np.nan_to_num(profit / mid if route.divides else profit * mid)


def _average_costs(quantities: Floats, paid: Floats, held: Position) -> tuple[Floats, Floats]:
    """(change of the open cost, what was realized) of each fill in a symbol, by the ledger's rule, in floats."""
    quantity, cost = held.quantity / MICROS, held.cost / PRODUCT
    costs, realized = np.zeros(len(paid)), np.zeros(len(paid))
    for index, (change, money) in enumerate(zip(quantities.tolist(), paid.tolist(), strict=True)):
        closed = min(abs(change), abs(quantity)) if quantity * change < 0 else 0.0
        taken = cost * closed / abs(quantity) if closed else 0.0
        returned = money * closed / abs(change)
        realized[index], costs[index] = -returned - taken, money - returned - taken
        cost, quantity = cost + costs[index], quantity + change
        if abs(quantity) < 0.5 / MICROS:
            quantity = 0.0
    return costs, realized


class BatchMarks:
    """The quotes of every symbol at every tick of one batch; worked out when somebody asks."""

    def __init__(self, count: int, quotes: dict[int, Quotes], last: dict[int, tuple[float, float]]) -> None:
        self._count, self._quotes, self._last = count, quotes, last
        self._known: dict[int, tuple[Floats, Floats] | tuple[float, float]] = {}

    def of(self, symbol: int) -> tuple[Floats, Floats] | tuple[float, float]:
        if symbol not in self._known:
            quotes = self._quotes.get(symbol)
            self._known[symbol] = quotes.at_ticks(self._count) if quotes else self._last[symbol]
        return self._known[symbol]


class MarkedRun:
    """A run marked to its data, batch after batch."""

    def __init__(self, history: RunHistory, routes: Routes = NO_ROUTES) -> None:
        """routes: of the symbols whose money is not the account's."""
        self.routes: Final = routes
        fills, account = history.fills, history.account
        self._times, self._symbols, self._strategies = fills.times, fills.symbols, fills.strategies
        self._signed, self._prices, self._rates = fills.quantities, fills.prices, fills.rates
        self._multipliers = {symbol: history.multiplier(symbol) for symbol in set(self._symbols.tolist())}
        every = np.arange(len(fills))
        self.account: Final = BookMarks(account, history.start_balance / PRODUCT, history, every, routes)
        self.strategies: Final = self._books_of(history) if history.is_attributed else {}
        self.prices: Final = {symbol: Buckets(PRICE_BUCKETS) for symbol in self._charted(len(history.fold.multipliers))}
        self.spread_paid: Final[dict[int, float]] = {}
        """By strategy id: signed quantity x (price - mid at the time) x multiplier."""
        self.spread_unknown = 0
        """Fills before the first quote of their symbol."""
        self.ticks = 0
        self.is_cut = False
        """There are more than were to be read."""
        self.last_quotes: dict[int, tuple[int, int]] = {}
        """(bid, ask) in micros by symbol id, as the data ends."""
        self._settled = 0
        self._last = self._first_marks(history)

    def _first_marks(self, history: RunHistory) -> dict[int, tuple[float, float]]:
        """What positions are marked at before the first quote: the price of the first fill, or that of what is held."""
        marks = dict.fromkeys(self.prices, (0.0, 0.0))
        for symbol, price in zip(self._symbols[::-1].tolist(), self._prices[::-1].tolist(), strict=True):
            marks[symbol] = (price, price)
        for symbol, position in history.account.start_positions.items():
            price = average_price_float(position, history.fold.multipliers[symbol])
            marks[symbol] = (price, price)
        for route in self.routes.values():
            if route is not None:
                marks.setdefault(route.symbol_id, (np.nan, np.nan))
        return marks

    def _books_of(self, history: RunHistory) -> dict[int, BookMarks]:
        busiest = sorted(history.strategies, key=lambda number: -history.strategies[number].fills)[:CURVES_MAX]
        return {
            number: BookMarks(
                history.strategies[number], 0.0, history, np.flatnonzero(self._strategies == number), self.routes
            )
            for number in sorted(busiest)
        }

    def _charted(self, symbols: int) -> list[int]:
        """Those with the most fills; the first ones where nothing was traded."""
        fills = np.bincount(self._symbols, minlength=symbols)
        traded = [symbol for symbol in np.argsort(-fills, kind="stable").tolist() if fills[symbol]]
        return traded[:PRICES_MAX] or list(range(min(symbols, PRICES_MAX)))

    def read(self, batches: Iterable[TickBatch], ticks_max: int | None = None) -> None:
        """All ticks, or the first `ticks_max`, and on to the last fill. Raises: DataError from the source."""
        last_fill_us = int(self._times[-1]) if len(self._times) else 0
        for batch in batches:
            ticks = np.frombuffer(batch.records, TICK_DTYPE)
            if ticks_max is not None:
                until = int(np.searchsorted(ticks["timestamp"], last_fill_us, "right"))
                allowed = max(ticks_max - self.ticks, until, 0)
                self.is_cut = self.is_cut or allowed < len(ticks)
                ticks = ticks[:allowed]
            if not len(ticks):
                return
            self._add(ticks)

    @property
    def is_complete(self) -> bool:
        """The data reaches to the last fill."""
        return self._settled == len(self._times)

    def _add(self, ticks: np.ndarray) -> None:
        self.ticks += len(ticks)
        times = ticks["timestamp"].astype(np.int64)
        quotes = self._quotes_of(ticks, times)
        for symbol, buckets in self.prices.items():
            if symbol in quotes:
                one = quotes[symbol]
                buckets.add(one.times, (one.bid + one.ask) / 2)
        self._pay_spread(int(times[-1]), quotes)
        marks = BatchMarks(len(ticks), quotes, self._last)
        self.account.add(times, marks)
        for book in self.strategies.values():
            book.add(times, marks)
        for symbol, one in quotes.items():
            self._last[symbol] = (float(one.bid[-1]), float(one.ask[-1]))
            last = ticks[one.at[-1]]
            self.last_quotes[symbol] = (int(last["bid"]), int(last["ask"]))

    def _quotes_of(self, ticks: np.ndarray, times: Times) -> dict[int, Quotes]:
        quotes = {}
        for symbol in self._last:
            at = np.flatnonzero(ticks["symbol_id"] == symbol)
            if len(at):
                bid, ask = ticks["bid"][at] / MICROS, ticks["ask"][at] / MICROS
                quotes[symbol] = Quotes(times[at], bid, ask, at, self._last[symbol], symbol not in self.last_quotes)
        return quotes

    def _pay_spread(self, last_us: int, quotes: dict[int, Quotes]) -> None:
        end = int(np.searchsorted(self._times, last_us, "right"))
        window, self._settled = slice(self._settled, end), end
        times, symbols, strategies = self._times[window], self._symbols[window], self._strategies[window]
        mids, multipliers = np.full(len(times), np.nan), np.ones(len(times))
        for symbol in set(symbols.tolist()):
            chosen = symbols == symbol
            multipliers[chosen] = self._multipliers[symbol]
            if symbol in quotes:
                mids[chosen] = quotes[symbol].mid_at(times[chosen])
            elif symbol in self.last_quotes:
                mids[chosen] = sum(self._last[symbol]) / 2
        paid = self._signed[window] * (self._prices[window] - mids) * multipliers * self._rates[window]
        self.spread_unknown += int(np.isnan(paid).sum())
        for strategy in set(strategies.tolist()):
            before = self.spread_paid.get(strategy, 0.0)
            self.spread_paid[strategy] = before + float(np.nansum(paid[strategies == strategy]))
