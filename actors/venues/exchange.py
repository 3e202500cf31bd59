"""The simulated venue without its sockets: the paper model, its books, and one client's session.

What it says has a number and is on disk before it is said. It knows nothing of anybody's journal: whoever trades here
finds out by asking, whatever either side has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from actors.venues import Answer
from actors.venues.books import Books
from actors.venues.paper import PaperVenue
from actors.venues.session import BAR, EXECUTIONS, OPEN_ORDERS, ORDER, POSITIONS
from protocol.errors import WireError
from protocol.messages import (
    Message,
    VenueCancel,
    VenueExecutions,
    VenueHeartbeat,
    VenueLoggedOn,
    VenueLogon,
    VenueOpenOrders,
    VenueOrder,
    VenueOrderKnown,
    VenuePositions,
    VenueQuery,
    VenueReport,
)
from protocol.records import EntryType, OrderPlace, decode_record

REPORTS_MAX: Final = 500
"""In one answer."""


class Exchange:
    """Raises: WalError, from everything that books, if the disk refuses."""

    def __init__(self, model: PaperVenue, books: Books) -> None:
        self.books: Final = books
        self.counters = {"orders": 0, "refused": 0}
        self._model = model
        self._client = b""
        """Who has the session."""
        self._journal_id = b""
        self._session = 0
        self._told = 0
        """The number of the newest entry that was said in this session."""
        self._market_us = 0
        tracker = books.tracker
        positions, run_us = books.owned_positions(), books.run_venue_us
        books.book(
            model.restore(tracker.open_orders.values(), positions, venue_us=books.venue_us, run_venue_us=run_us)
        )
        for order in list(tracker.open_orders.values()):  # those that had arrived, and got no answer (V2)
            if not order.parent_id:
                books.book(model.place(order.place))

    @property
    def client(self) -> bytes:
        return self._client

    # The client.

    def hear(self, client: bytes, message: Message, session: int) -> Message | None:
        """The answer, if it has one at once. `session`: the number that a new one gets.

        Raises: WireError for what no client says.
        """
        if isinstance(message, VenueLogon):  # the newest that asks has the session
            self._client, self._journal_id = client, message.journal_id
            self._session, self._told = max(self._session + 1, session), self.books.last_seq
            return VenueLoggedOn(self._session, self._told)
        if client != self._client or getattr(message, "session", 0) != self._session:
            self.counters["refused"] += 1
            return None
        if isinstance(message, VenueQuery):
            return self._answer(message)
        if isinstance(message, VenueCancel):
            self.cancel(self.books.number_of(self._journal_id, message.order_id))
        elif isinstance(message, VenueOrder):
            self._take_order(message)
        else:
            raise WireError(f"a {type(message).__name__} is nothing that a client says")
        return None

    def _take_order(self, message: VenueOrder) -> None:
        place = decode_record(EntryType.ORDER_PLACE, message.place)
        if not isinstance(place, OrderPlace):
            raise WireError("no order")
        client = self._journal_id, place.order_id
        if self.books.number(client) is not None or self.books.is_barred(client):
            self.counters["refused"] += 1  # it is here already, or comes too late
            return
        self.counters["orders"] += 1
        self._book(self._model.place(self.books.arrive(client, place), self._market_us))

    def _answer(self, query: VenueQuery) -> Message:
        books, journal_id, number = self.books, self._journal_id, query.number
        if query.what == OPEN_ORDERS:
            return VenueOpenOrders(number, books.last_seq, books.open_orders(journal_id))
        if query.what == POSITIONS:
            return VenuePositions(number, books.last_seq, books.positions())
        if query.what == EXECUTIONS:
            reports = tuple(books.since(journal_id, query.argument, REPORTS_MAX))
            return VenueExecutions(number, books.last_seq, reports)
        if query.what not in (ORDER, BAR):
            raise WireError(f"nobody can be asked for {query.what!r}")
        client = journal_id, query.argument
        if query.what == BAR and books.number(client) is None:
            books.bar(client)
        is_known = books.number(client) is not None
        return VenueOrderKnown(number, query.argument, is_known, books.is_barred(client))

    def news(self) -> list[Message]:
        """The reports of what was booked since this was asked last."""
        first, self._told = self._told + 1, self.books.last_seq
        if not self._session:
            return []
        entries = ((seq, *self.books.entry(self._journal_id, seq)) for seq in range(first, self._told + 1))
        return [VenueReport(self._session, *entry) for entry in entries]

    def beat(self) -> Message | None:
        return VenueHeartbeat(self._session, self.books.last_seq) if self._session else None

    # The market, and orders by hand.

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> None:
        self._market_us = timestamp
        self._book(self._model.on_tick(symbol_id, timestamp, bid, ask, volume))

    def end(self) -> None:
        self._book(self._model.end())

    def place_by_hand(self, place: OrderPlace) -> int:
        """The venue's number of an order that is nobody's client's."""
        numbered = self.books.arrive(None, place)
        self._book(self._model.place(numbered, self._market_us))
        return numbered.order_id

    def cancel(self, number: int | None) -> None:
        """By the venue's number; nothing happens to one that does not work."""
        if number is not None:
            self._book(self._model.cancel(number, self._market_us))

    def _book(self, answers: Sequence[Answer]) -> None:
        if answers:
            self.books.book(answers)
