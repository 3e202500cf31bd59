"""Where orders are executed: one file a venue, all behind this Protocol.

A venue is a model or an adapter inside order_routing. It answers with OrderUpdates and Adjusts, which order_routing
appends in their order; it never reads or writes the journal, and believes nothing that was not handed to it from there.
Simulated venues answer at once and are folds themselves: `restore` and `place` rebuild them after a restart (V2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from actors.order_tracker import Order
from protocol.records import Adjust, OrderPlace, OrderReplace, OrderUpdate

Answer = OrderUpdate | Adjust
Owned = tuple[int, int]
"""(strategy id, symbol id)."""
Quotes = Mapping[int, tuple[int, int, int]]
"""(timestamp, bid, ask) by symbol id."""


class Venue(Protocol):
    def restore(
        self,
        orders: Iterable[Order],
        positions: Mapping[Owned, int],
        *,
        venue_us: int = 0,
        run_venue_us: int = 0,
        quotes: Quotes | None = None,
    ) -> list[Answer]:
        """The journal's open orders that were answered work here again; what a former life had still to say of them.

        `positions` in signed micros; `venue_us` and `run_venue_us` are Fold's.
        """
        ...

    def know(self, quotes: Quotes) -> None:
        """Quotes that were seen before this life; nothing acts on them."""
        ...

    def place(self, place: OrderPlace, sent_us: int = 0) -> list[Answer]:
        """What the venue says of a new order, in order. Also for one that a former life may have sent (V2).

        `sent_us` is the market's time at which it leaves."""
        ...

    def cancel(self, order_id: int, sent_us: int = 0) -> list[Answer]:
        """What becomes of it; nothing for an order that does not work here."""
        ...

    def replace(self, request: OrderReplace, sent_us: int = 0) -> list[Answer]:
        """REPLACE or REPLACE_REJECT; what else it entails; nothing for an order that does not work here."""
        ...

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> list[Answer]:
        """What a quote makes of the working orders. Micros, `timestamp` of the market's clock."""
        ...

    def end(self) -> list[Answer]:
        """The data have ended; what becomes of that which is on its way (P10)."""
        ...
