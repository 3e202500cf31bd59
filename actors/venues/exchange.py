"""The simulated venue without its sockets: the paper model, its books, and one client's session.

What it says has a number and is on disk before it is said. It knows nothing of anybody's journal: whoever trades here
finds out by asking, whatever either side has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from actors.venues import Answer
from actors.venues.books import Books, Request
from actors.venues.paper import PaperVenue
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
    VenueQuestion,
    VenueReplace,
    VenueReport,
)
from protocol.records import EntryType, OrderPlace, OrderReplace, decode_record

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
            if not order.is_the_venues:
                books.book(model.place(order.place))
            if order.replace is not None:
                books.book(model.replace(order.replace))

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
        elif isinstance(message, VenueReplace):
            self._take_replace(message)
        else:
            raise WireError(f"a {type(message).__name__} is nothing that a client says")
        return None

    def _take_order(self, message: VenueOrder) -> None:
        place = decode_record(EntryType.ORDER_PLACE, message.place)
        if not isinstance(place, OrderPlace):
            raise WireError("no order")
        if self._may_take((self._journal_id, place.order_id, 0)):
            self.counters["orders"] += 1
            client = self._journal_id, place.order_id
            self._book(self._model.place(self.books.arrive(client, place), self._market_us))

    def _take_replace(self, message: VenueReplace) -> None:
        request = decode_record(EntryType.ORDER_REPLACE, message.request)
        if not isinstance(request, OrderReplace):
            raise WireError("no change of an order")
        number = self.books.number_of(self._journal_id, request.order_id)
        if self._may_take((self._journal_id, request.order_id, request.signal)) and number is not None:
            numbered = msgspec.structs.replace(request, order_id=number)
            self.books.ask(numbered)
            self._book(self._model.replace(numbered, self._market_us))

    def _may_take(self, request: Request) -> bool:
        """Not what is here already, and not what comes too late."""
        is_new = not self.books.has(request) and not self.books.is_barred(request)
        self.counters["refused"] += not is_new
        return is_new

    def _answer(self, query: VenueQuery) -> Message:
        books, journal_id, number = self.books, self._journal_id, query.number
        if query.what is VenueQuestion.OPEN_ORDERS:
            return VenueOpenOrders(number, books.last_seq, books.open_orders(journal_id))
        if query.what is VenueQuestion.POSITIONS:
            return VenuePositions(number, books.last_seq, books.positions())
        if query.what is VenueQuestion.EXECUTIONS:
            reports = tuple(books.since(journal_id, query.argument, REPORTS_MAX))
            return VenueExecutions(number, books.last_seq, reports)
        request = journal_id, query.argument, query.signal
        if query.what is VenueQuestion.BAR and not books.has(request):
            books.bar(request)
        return VenueOrderKnown(number, query.argument, books.has(request), books.is_barred(request), query.signal)

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
