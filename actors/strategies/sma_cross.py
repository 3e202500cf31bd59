"""Two simple moving averages of the mid price, tick by tick: long while the fast one is above, short while below.

    [[strategies]]
    class = "actors.strategies.sma_cross:SmaCross"
    params = { fast = 20, slow = 50, quantity = 100.0 }

An example to read, not a way to make money. Each symbol is on its own. `Reversing`, the half that trades, is shared
with vector_cross.py.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from actors.strategies import OrderInfo, Strategy, Tick

OPEN_STATUSES: Final = frozenset({"New", "PendingNew", "Accepted", "PartiallyFilled"})
AIMS_WAITING_MAX: Final = 2
"""Aims that come while an order is under way; with this many its answer is taken for lost."""
QUANTITY_DIGITS: Final = 6
"""The engine counts quantities in millionths; the difference of two floats has more digits."""
TWICE_MICROS: Final = 1_000_000
"""bid + ask is twice the mid price; as an integer in millionths its running sums never drift."""


class Reversing(Strategy):
    """Brings the position in a symbol to +quantity or -quantity, with at most one order under way in each symbol.

    A new aim waits for the answer to the last order: until then the position is not what it is going to be, and the
    difference to it would be traded twice. An order that is refused is not tried again before the next aim. An
    answer that has not come by the second new aim is taken for lost (a life that is being warmed hears nothing of its
    signals); should it be late after all, the aim after that puts the position right.
    """

    quantity: float = 100.0

    def __init__(self) -> None:
        self._aims: dict[str, float] = {}
        """Where the position of a symbol shall go, until an order is sent for it."""
        self._unanswered: dict[str, int] = {}
        """The symbols in which an order is under way, and how many aims have waited for it."""

    def aim(self, symbol: str, side: int) -> None:
        """side: +1 long, -1 short."""
        self._aims[symbol] = side * self.quantity
        if symbol in self._unanswered:
            self._unanswered[symbol] += 1
            if self._unanswered[symbol] == AIMS_WAITING_MAX:
                del self._unanswered[symbol]

    def steer(self, symbol: str) -> None:
        """Sends what is missing, if anything is and no order is under way."""
        if symbol not in self._aims or symbol in self._unanswered:
            return
        missing = round(self._aims.pop(symbol) - self.position(symbol).quantity, QUANTITY_DIGITS)
        if not missing:
            return
        # Before the call: a signal that is refused at once may be answered within it.
        self._unanswered[symbol] = 0
        if missing > 0:
            self.buy(symbol, missing)
        else:
            self.sell(symbol, -missing)

    def on_order(self, order: OrderInfo) -> None:
        if order.status not in OPEN_STATUSES:
            self._unanswered.pop(order.symbol, None)


class SmaCross(Reversing):
    """Per tick; the first comparison counts as a cross, so trading starts with the `slow`th tick."""

    fast: int = 20
    slow: int = 50

    def __init__(self) -> None:
        super().__init__()
        self._averages: dict[str, Averages] = {}

    def on_start(self) -> None:
        check_windows(self.fast, self.slow)
        for symbol in self.symbols:
            self._averages.setdefault(symbol, Averages(self.fast, self.slow))

    def on_tick(self, tick: Tick) -> None:
        symbol = tick.symbol
        averages = self._averages[symbol]
        if averages.add(round((tick.bid + tick.ask) * TWICE_MICROS)):
            self.aim(symbol, averages.side)
        if symbol in self._aims:
            self.steer(symbol)

    def save(self) -> Any:
        return {symbol: [averages.side, *averages.slow_window] for symbol, averages in self._averages.items()}

    def load(self, state: Any) -> None:
        for symbol, (side, *prices) in state.items():
            averages = Averages(self.fast, self.slow)
            for price in prices:
                averages.add(price)
            averages.side = side
            self._averages[symbol] = averages


class Averages:
    """Two running sums over the same integers, and on which side of the slow average the fast one is."""

    __slots__ = ("fast_sum", "fast_window", "side", "slow_sum", "slow_window")

    def __init__(self, fast: int, slow: int) -> None:
        self.fast_window: deque[int] = deque([0] * fast, fast)
        self.slow_window: deque[int] = deque(maxlen=slow)
        self.fast_sum = self.slow_sum = 0
        self.side = 0

    def add(self, price: int) -> bool:
        """Whether the side changed; it is 0 until the slow window is full, and stays where the averages are equal."""
        fast_window, slow_window = self.fast_window, self.slow_window
        self.fast_sum += price - fast_window[0]
        fast_window.append(price)
        if len(slow_window) < slow_window.maxlen:  # type: ignore[operator]
            self.slow_sum += price
            slow_window.append(price)
            if len(slow_window) < slow_window.maxlen:  # type: ignore[operator]
                return False
        else:
            self.slow_sum += price - slow_window[0]
            slow_window.append(price)
        difference = self.fast_sum * len(slow_window) - self.slow_sum * len(fast_window)
        side = (difference > 0) - (difference < 0)
        if side in (0, self.side):
            return False
        self.side = side
        return True


def check_windows(fast: int, slow: int) -> None:
    """Raises: ValueError if these are no two windows."""
    if not (isinstance(fast, int) and isinstance(slow, int) and 0 < fast < slow):
        raise ValueError(f"params fast = {fast!r}, slow = {slow!r}: whole numbers with 0 < fast < slow")
