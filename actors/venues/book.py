"""The tables of the paper venue: which orders work, by id, symbol and OCO group, and when each ends by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actors.venues.lifetime import expiry_of, is_undated
from actors.venues.oco import OcoGroups
from actors.venues.working import Working


class Book:
    def __init__(self, day_end_us: int) -> None:
        self._day_end_us: Final = day_end_us
        self.orders: Final[dict[int, Working]] = {}
        self.groups: Final = OcoGroups()
        self.expiries: Final[dict[int, int]] = {}
        """When orders end by themselves, by id."""
        self.undated: Final[set[int]] = set()
        """DAY orders that wait for the first tick to learn their day."""
        self.changed: Final[set[int]] = set()
        """Symbols whose bands are to be computed again."""
        self._by_symbol: Final[dict[int, dict[int, Working]]] = {}
        """A symbol without working orders has no entry."""

    def ids_in(self, symbol_id: int) -> list[int]:
        """By id, as they act (P6)."""
        return sorted(self._by_symbol.get(symbol_id, ()))

    def orders_in(self, symbol_id: int) -> Iterable[Working]:
        return [self.orders[order_id] for order_id in self.ids_in(symbol_id)]

    def add(self, order: Working, accepted_us: int) -> None:
        self.orders[order.order_id] = order
        self._by_symbol.setdefault(order.symbol_id, {})[order.order_id] = order
        self.groups.add(order)
        self.changed.add(order.symbol_id)
        if is_undated(order.place, accepted_us):
            self.undated.add(order.order_id)
        else:
            self._date(order, accepted_us)

    def remove(self, order: Working) -> None:
        order_id, symbol_id = order.order_id, order.symbol_id
        del self.orders[order_id]
        orders = self._by_symbol[symbol_id]
        del orders[order_id]
        if not orders:
            del self._by_symbol[symbol_id]
        self.groups.remove(order)
        self.undated.discard(order_id)
        self.expiries.pop(order_id, None)
        self.changed.add(symbol_id)

    def date(self, first_us: int) -> list[int]:
        """The undated have learned their day, the market's time being `first_us`; their ids."""
        dated = sorted(self.undated)
        self.undated.clear()
        for order_id in dated:
            self._date(self.orders[order_id], first_us)
        return dated

    def expired(self, time_us: int) -> list[Working]:
        """Those whose time has come, by id."""
        return [self.orders[key] for key in sorted(key for key, end_us in self.expiries.items() if end_us <= time_us)]

    def change(self, order: Working) -> None:
        """Its terms have changed."""
        self.changed.add(order.symbol_id)
        if order.place.expire_us:
            self.expiries[order.order_id] = order.place.expire_us

    def _date(self, order: Working, accepted_us: int) -> None:
        expires_us = expiry_of(order.place, accepted_us, self._day_end_us)
        if expires_us is not None:
            self.expiries[order.order_id] = expires_us
