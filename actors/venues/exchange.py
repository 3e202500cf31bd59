"""The simulated venue without its sockets: the paper model, its books, and one client's session.

What it says has a number and is on disk before it is said. It knows nothing of anybody's journal: whoever trades here
finds out by asking, whatever either side has lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from actors.venues import Answer, Quotes
from actors.venues.books import MANUAL, Books, Request
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
from protocol.orders import Report
from protocol.records import EntryType, OrderPlace, OrderReplace, OrderUpdate, decode_record

JOURNAL_ID_BYTES: Final = 16
REPORTS_MAX: Final = 500
"""In one answer."""


class Exchange:
    """`make_model` gives an empty one. Raises: WalError, from everything that books, if the disk refuses."""

    def __init__(self, make_model: Callable[[], PaperVenue], books: Books) -> None:
        self.books: Final = books
        self.counters = {"orders": 0, "refused": 0}
        self._make_model = make_model
        self._model = make_model()
        self._client = b""
        """Who has the session."""
        self._session = 0
        self._told = 0
        """The number of the newest entry that was said in this session."""
        self._market_us = 0
        self._is_ended = False
        self._build_model(books.run_venue_us)

    def _build_model(self, run_venue_us: int = 0) -> None:
        """It holds what the books say, as the present client sees it (V2)."""
        books, quotes = self.books, self._model.quotes
        model = self._model = self._make_model()
        orders, positions = list(books.tracker.open_orders.values()), books.owned_positions()
        books.book(
            model.restore(orders, positions, venue_us=books.venue_us, run_venue_us=run_venue_us, quotes=quotes)
        )
        for order in orders:  # those that had arrived, and got no answer
            if not order.is_the_venues:
                books.book(model.place(order.place, self._market_us))
            if order.replace is not None:
                books.book(model.replace(order.replace, self._market_us))
        if self._is_ended:
            books.book(model.end())

    @property
    def client(self) -> bytes:
        return self._client

    # The client.

    def hear(self, client: bytes, message: Message, session: int) -> Message | None:
        """The answer, if it has one at once. `session`: the number that a new one gets.

        Raises: WireError for what no client says.
        """
        if isinstance(message, VenueLogon):
            return self._log_on(client, message.journal_id, session)
        if client != self._client or getattr(message, "session", 0) != self._session:
            self.counters["refused"] += 1
            return None
        if isinstance(message, VenueQuery):
            return self._answer(message)
        if isinstance(message, VenueCancel):
            self.cancel(self.books.number_of(self._journal_id, message.order_id))
            if message.is_stopping:
                self.end()
        elif isinstance(message, VenueOrder):
            self._take_order(message)
        elif isinstance(message, VenueReplace):
            self._take_replace(message)
        else:
            raise WireError(f"a {type(message).__name__} is nothing that a client says")
        return None

    def _log_on(self, client: bytes, journal_id: bytes, session: int) -> VenueLoggedOn:
        """The newest that asks has the session. One that has it already asks because it did not hear the answer: it
        keeps it, or on a slow line the answers would always be those of the session before."""
        if len(journal_id) != JOURNAL_ID_BYTES:
            raise WireError(f"{journal_id!r} is no journal's id")
        books = self.books
        if client != self._client or journal_id != self._journal_id or not self._session:
            self._client, self._session, self._told = client, max(self._session + 1, session), books.last_seq
        if journal_id != self._journal_id:
            books.take_client(journal_id)
            self._build_model()
        return VenueLoggedOn(self._session, books.last_seq, books.base_seq)

    @property
    def _journal_id(self) -> bytes:
        return self.books.client

    def _take_order(self, message: VenueOrder) -> None:
        place = decode_record(EntryType.ORDER_PLACE, message.place)
        if not isinstance(place, OrderPlace):
            raise WireError("no order")
        if self._may_take((self._journal_id, place.order_id, 0)):
            self.counters["orders"] += 1
            self._place(self._journal_id, place)

    def _place(self, journal_id: bytes, place: OrderPlace) -> OrderPlace:
        """As it has arrived."""
        can_be_held = self.books.may_hold(place)
        numbered = self.books.arrive(journal_id, place)
        if can_be_held:
            self._book(self._model.place(numbered, self._market_us))
        else:
            self._book([OrderUpdate(numbered.order_id, Report.REJECT, reason="not_representable")])
        return numbered

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

    def know(self, quotes: Quotes) -> None:
        """Quotes that nothing acts on."""
        self._model.know(quotes)

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> None:
        self._market_us = timestamp
        self._book(self._model.on_tick(symbol_id, timestamp, bid, ask, volume))

    def end(self) -> None:
        """No tick comes any more: what is on its way arrives, or never will."""
        self._is_ended = True
        self._book(self._model.end())

    def place_by_hand(self, place: OrderPlace) -> int:
        """The venue's number of an order that is nobody's client's."""
        return self._place(MANUAL, place).order_id

    def transfer(self, symbol_id: int, quantity: int, price: int) -> None:
        """Raises: NotRepresentableError."""
        self.books.transfer(symbol_id, quantity, price)
        self._build_model()

    def cancel(self, number: int | None) -> bool:
        """By the venue's number; whether there is such an order to cancel."""
        is_open = number in self.books.tracker.open_orders
        if number is not None and is_open:
            self._book(self._model.cancel(number, self._market_us))
        return is_open

    def _book(self, answers: Sequence[Answer]) -> None:
        if answers:
            self.books.book(answers)
