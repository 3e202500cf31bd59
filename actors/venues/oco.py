"""OCO groups: the first fill of one order, even of a part, cancels the others.

A group is a strategy's signal number: the first order is in it by its own signal, the others by their `oco`. Only
orders that work count, so the rule is a function of those: an order that joins a group in which nothing works any more
is rejected (`oco_gone`), for what it should have been an alternative to has been decided. An order that no signal asked
for, as risk's own, is in none.
"""

from __future__ import annotations

from actors.venues.working import Working
from protocol.records import OrderPlace

Group = tuple[int, int]
"""(strategy id, signal number)."""


def group_of(place: OrderPlace) -> Group:
    return place.strategy_id, place.oco or place.signal


class OcoGroups:
    """Who works in which group. A bracket's exits are in none: they are each other's alternative by another rule."""

    def __init__(self) -> None:
        self._members: dict[Group, set[int]] = {}

    def add(self, order: Working) -> None:
        if _may_have_others(order):
            self._members.setdefault(group_of(order.place), set()).add(order.order_id)

    def remove(self, order: Working) -> None:
        group = group_of(order.place)
        members = self._members.get(group)
        if members is not None:
            members.discard(order.order_id)
            if not members:
                del self._members[group]

    def others(self, order: Working) -> list[int]:
        """The alternatives to it that work, by id."""
        if not _may_have_others(order):
            return []
        return sorted(self._members.get(group_of(order.place), set()) - {order.order_id})

    def is_gone(self, place: OrderPlace) -> bool:
        """It joins a group of which nothing works."""
        return bool(place.oco) and group_of(place) not in self._members


def _may_have_others(order: Working) -> bool:
    return not order.parent_id and bool(order.place.signal)
