"""What the paper venue holds: the position that each strategy's orders left, and the net of each symbol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from actors.venues import Owned
from protocol.orders import Side
from protocol.records import OrderPlace


class Holdings:
    """Signed micros."""

    __slots__ = ("_net", "_own")

    def __init__(self) -> None:
        self._own: Final[dict[Owned, int]] = {}
        self._net: Final[dict[int, int]] = {}

    def restore(self, positions: Mapping[Owned, int]) -> None:
        for (strategy_id, symbol_id), quantity in positions.items():
            self.add(strategy_id, symbol_id, quantity)

    def add(self, strategy_id: int, symbol_id: int, change: int) -> tuple[int, int]:
        """The strategy's position before and after."""
        owned = strategy_id, symbol_id
        before = self._own.get(owned, 0)
        after = self._own[owned] = before + change
        self._net[symbol_id] = self._net.get(symbol_id, 0) + change
        return before, after

    def net(self) -> Iterable[tuple[int, int]]:
        """(symbol id, quantity), by symbol."""
        return sorted(self._net.items())

    def reducible(self, place: OrderPlace) -> int:
        """How much of its strategy's position an order of its side can take off."""
        position = self._own.get((place.strategy_id, place.symbol_id), 0)
        return max(-position if place.side is Side.BUY else position, 0)
