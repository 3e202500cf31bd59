"""Fills become round trips and sums: exact, fill by fill, in memory that hardly grows with the number of trades.

A trade is a round trip in one symbol, from flat to flat: it begins with the fill that opens a position and ends with
the one that leaves none. A fill that goes through zero ends one trade and begins the next; its commission is shared
between them by quantity (the closing part's share rounded toward zero). What is added to a position or taken off it on
the way belongs to the trade.

A Book is one ledger of such trades. The account has one, in which the fills of all strategies in a symbol are netted,
as they are at the venue; and each strategy has one, of its own fills alone.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Final

import msgspec

from actors.ledger import FLAT, FillEffect, Position, apply_fill, fill_cost
from protocol.conversion import PARITY, Rate
from protocol.orders import Side
from protocol.units import MICROS, PRODUCT, divide_toward_zero

TRADES_KEPT: Final = 500
"""The newest trades of a book, for the list."""


class Fill(msgspec.Struct, frozen=True, gc=False):
    """A booked fill. Micros; time by the market's clock where the venue gave it."""

    time_us: int
    symbol_id: int
    strategy_id: int
    side: Side
    price: int
    quantity: int
    commission: int
    multiplier: int
    rate: Rate = PARITY
    """At which what it realized became the account's money."""


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A round trip that has ended. Products (1e-12) but for quantities, in micros."""

    symbol_id: int
    side: Side
    """Of the fill that opened it."""
    strategy_ids: tuple[int, ...]
    """Of all its fills, in the order of the first ones."""
    entry_us: int | None
    """None: it was open when the run, or the oldest kept record, began."""
    exit_us: int
    quantity: int
    """All that was opened, however often."""
    entry_cost: int
    """price x quantity x multiplier of what opened it, in the symbol's quote currency; so is the exit's."""
    exit_value: int
    realized: int
    commission: int
    multiplier: int

    @property
    def profit(self) -> int:
        """After commission."""
        return self.realized - self.commission

    @property
    def entry_price(self) -> float:
        """The average, weighted by quantity."""
        return self.entry_cost / (self.quantity * self.multiplier)

    @property
    def exit_price(self) -> float:
        return self.exit_value / (self.quantity * self.multiplier)


class _OpenTrade:
    __slots__ = ("commission", "entry_cost", "entry_us", "exit_value", "quantity", "realized", "side", "strategies")

    def __init__(self, side: Side, entry_us: int | None) -> None:
        self.side, self.entry_us = side, entry_us
        self.strategies: dict[int, None] = {}
        self.quantity = self.entry_cost = self.exit_value = self.realized = self.commission = 0


class Tally:
    """Sums over trades that have ended; products."""

    def __init__(self) -> None:
        self.trades = self.wins = self.losses = 0
        self.gross_profit = self.gross_loss = 0
        """Of the winning and of the losing ones, both above or at 0."""
        self.best: int | None = None
        self.worst: int | None = None

    def add(self, profit: int) -> None:
        self.trades += 1
        if profit > 0:
            self.wins += 1
            self.gross_profit += profit
        elif profit < 0:
            self.losses += 1
            self.gross_loss -= profit
        self.best = profit if self.best is None else max(self.best, profit)
        self.worst = profit if self.worst is None else min(self.worst, profit)

    @property
    def profit(self) -> int:
        return self.gross_profit - self.gross_loss


class Book:
    """Positions, trades and sums of one ledger's fills since `begin`."""

    def __init__(self) -> None:
        self.positions: dict[int, Position] = {}
        self._open: dict[int, _OpenTrade] = {}
        self.begin()

    def begin(self) -> None:
        """A run begins: positions are carried into it, sums are not."""
        self.start_positions = {symbol: held for symbol, held in self.positions.items() if held.quantity}
        self.tally = Tally()
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        """The newest."""
        self.fills = 0
        self.realized = 0
        """Product, before commission, of positions closed in whole or in part."""
        self.commission = 0
        """Product."""
        self.adjusted = 0
        """Product: what the venue charged (below 0) or credited apart from fills."""
        self.times, self.results = array("q"), array("d")
        """A row a fill or adjustment: realized less commission so far, adjustments included, in money."""
        self._held = len(self.start_positions)
        self._held_us = 0
        self._held_since_us: int | None = None
        """None: since the start, if anything is held."""
        self._first_flat_us: int | None = None
        """When what was carried into the run had all gone for the first time."""
        for symbol_id, held in self.start_positions.items():
            self._carry(symbol_id, held)

    def carry(self, symbol_id: int, position: Position) -> None:
        """A position that was there before the first fill that is known; `begin` follows."""
        self.positions[symbol_id] = position

    def _carry(self, symbol_id: int, position: Position) -> None:
        """What its trade realized in an earlier run belongs there; what is left of it may end in this one."""
        before = self._open.get(symbol_id)
        opened = self._open[symbol_id] = _OpenTrade(Side.BUY if position.quantity > 0 else Side.SELL, None)
        opened.strategies = before.strategies if before else {}
        opened.quantity, opened.entry_cost = abs(position.quantity), abs(position.cost)

    def add(self, fill: Fill) -> FillEffect:
        """The fill is booked; what it did. Raises: NotRepresentableError as the ledger does."""
        symbol_id, before = fill.symbol_id, self.positions.get(fill.symbol_id, FLAT)
        effect = apply_fill(before, fill.side, fill.price, fill.quantity, fill.multiplier)
        if fill.rate != PARITY:
            effect = effect.converted(fill.rate)
        self.positions[symbol_id] = effect.position
        commission = fill.commission * MICROS
        self.fills += 1
        self.realized += effect.realized
        self.commission += commission
        closing = divide_toward_zero(commission * abs(effect.closed), fill.quantity) if effect.closed else 0
        if effect.closed:
            self._reduce(fill, effect, closing)
        if effect.opened:
            self._extend(fill, effect, commission - closing)
        self._hold(fill.time_us, bool(before.quantity), bool(effect.position.quantity))
        self._keep_result(fill.time_us)
        return effect

    def adjust(self, time_us: int, amount: int) -> None:
        """Money that no fill moved, a product: swap. It belongs to no trade."""
        self.adjusted += amount
        self._keep_result(time_us)

    def _keep_result(self, time_us: int) -> None:
        self.times.append(time_us)
        self.results.append((self.realized - self.commission + self.adjusted) / PRODUCT)

    def _reduce(self, fill: Fill, effect: FillEffect, commission: int) -> None:
        opened = self._open[fill.symbol_id]
        opened.strategies[fill.strategy_id] = None
        opened.exit_value += fill_cost(fill.price, abs(effect.closed), fill.multiplier)
        opened.realized += effect.realized
        opened.commission += commission
        if effect.opened or not effect.position.quantity:
            del self._open[fill.symbol_id]
            trade = Trade(
                fill.symbol_id, opened.side, tuple(opened.strategies), opened.entry_us, fill.time_us, opened.quantity,
                opened.entry_cost, opened.exit_value, opened.realized, opened.commission, fill.multiplier,
            )  # fmt: skip
            self.trades.append(trade)
            self.tally.add(trade.profit)

    def _extend(self, fill: Fill, effect: FillEffect, commission: int) -> None:
        opened = self._open.get(fill.symbol_id)
        if opened is None:
            opened = self._open[fill.symbol_id] = _OpenTrade(fill.side, fill.time_us)
        opened.strategies[fill.strategy_id] = None
        opened.quantity += abs(effect.opened)
        opened.entry_cost += fill_cost(fill.price, abs(effect.opened), fill.multiplier)
        opened.commission += commission

    def _hold(self, time_us: int, was_held: bool, is_held: bool) -> None:
        if was_held == is_held:
            return
        self._held += 1 if is_held else -1
        if is_held and self._held == 1:
            self._held_since_us = time_us
        elif not is_held and self._held == 0:
            if self._held_since_us is None:
                self._first_flat_us = time_us
            else:
                self._held_us += time_us - self._held_since_us

    def held_us(self, start_us: int, end_us: int) -> int:
        """For how long of start..end any position was held."""
        total = self._held_us
        if self.start_positions:
            total += (end_us if self._first_flat_us is None else self._first_flat_us) - start_us
        if self._held and self._held_since_us is not None:
            total += end_us - self._held_since_us
        return total

    @property
    def open_positions(self) -> dict[int, Position]:
        return {symbol: held for symbol, held in self.positions.items() if held.quantity}
