"""Where orders are executed: one file a venue, all behind this Protocol.

A venue is a model or an adapter inside order_routing. It answers with OrderUpdates, which order_routing appends;
it never reads or writes the journal, and believes nothing that was not handed to it from there. Simulated venues
answer at once and are folds themselves: `restore` and `place` rebuild them after a restart (V2).
"""

from __future__ import annotations

from typing import Protocol

from actors.order_tracker import Order
from protocol.records import OrderPlace, OrderUpdate


class Venue(Protocol):
    def restore(self, order: Order) -> None:
        """`order`, which the journal shows as open and answered, works here again. Nothing is reported."""
        ...

    def place(self, place: OrderPlace) -> list[OrderUpdate]:
        """What the venue says of a new order, in order. Also for one that a former life may have sent (V2)."""
        ...

    def cancel(self, order_id: int) -> list[OrderUpdate]:
        """What becomes of it; nothing for an order that does not work here."""
        ...

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int) -> list[OrderUpdate]:
        """What a quote makes of the working orders. Prices in micros, `timestamp` of the market's clock."""
        ...
