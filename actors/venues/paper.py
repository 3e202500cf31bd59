"""The paper venue: every kind of order against bid and ask, as a pure model of values.

Owns the order of things; each rule stands in a file of its own (policies.py lists them). At one tick (P6): the swap
of a rollover that has passed, expiries by id, orders and cancels that arrive in the order in which they were sent, then
the resting orders of the tick's symbol by id. What a fill entails comes right after it: orders that may only reduce a
position that is gone end, a bracket's exits are armed (or its parent's rest and their sibling end), OCO alternatives
are canceled. Exits work from the next tick on. Without a quote an order waits for the first one (P10, awaited.py).

With latency an order or cancel is on its way until the first tick, of any symbol, at or after its sending plus the
latency; so nothing fills at the tick that caused it. Without, it acts at once on the quotes known.

It is a fold inside order_routing (V2): all that it must know again after a restart is in the orders, positions and the
venue's time that the fold keeps (`restore`); what had no answer is placed again. That books nothing twice, because
execution ids are a function of the order and its number of fills, `{order_id}-{n}`, and a fill whose record was lost
was never believed. Ticks up to the time of the newest record of this run have been acted on already: seen again, they
are quotes only. So it must not depend on what it did not say: a trailing stop tells every move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from actors.brackets import exit_ids, exits_of, has_exits
from actors.order_tracker import Order
from actors.venues import Answer, Owned, Quotes
from actors.venues.awaited import Awaited
from actors.venues.book import Book
from actors.venues.holdings import Holdings
from actors.venues.horizon import Horizon, SymbolBands, bands_of, first_at_or_after, last_of_each
from actors.venues.lifetime import expiry_of
from actors.venues.participation import budget, least_volume
from actors.venues.policies import Policies
from actors.venues.prices import is_limit_reached, quoted_price, slipped_price
from actors.venues.rollovers import Rollovers
from actors.venues.stops import is_triggered, moved_price, trailed_price
from actors.venues.terms import bad_change, bad_terms
from actors.venues.way import PLACE, REPLACE, Way
from actors.venues.working import Quote, Working
from protocol.orders import END_OF_DATA, OrderStatus, Report, TimeInForce
from protocol.records import OrderPlace, OrderReplace, OrderUpdate
from protocol.ring_state import RouterRing

if TYPE_CHECKING:
    import numpy as np

UNLIMITED: Final = 2**63
"""What a tick lets fill when size is not modelled."""
_NEVER: Final = 2**64


class PaperVenue:
    def __init__(self, policies: Policies) -> None:
        self._policies: Final = policies
        self._quotes: Final[dict[int, tuple[int, int, int]]] = {}
        self._awaited: Final = Awaited(policies.terms)
        self._book: Final = Book(policies.day_end_us)
        self._way: Final = Way(policies.latency_us)
        self._holdings: Final = Holdings()
        self._time_us = 0
        """Of the newest tick; 0: none yet."""
        self._deaf_until_us = -1
        """A former life has acted on the ticks up to here."""
        self._rollovers: Final = Rollovers(policies, self._holdings)
        self._is_ended = False
        self._wake_us = 0
        """No tick before this time is acted on for its time alone."""
        self._ticking: int | None = None
        """The symbol whose tick is being worked; None between ticks."""
        self._left = UNLIMITED
        """What that tick still lets fill."""
        self._horizon: Final = Horizon()
        """Not up to date in what the book has `changed`."""
        self._records: list[Answer] = []

    # What order_routing calls.

    def restore(
        self,
        orders: Iterable[Order],
        positions: Mapping[Owned, int],
        *,
        venue_us: int = 0,
        run_venue_us: int = 0,
        quotes: Quotes | None = None,
    ) -> list[Answer]:
        """A new venue works again what the journal shows as open; what a former life still had to say of it.

        Orders without an answer are left to `place`, exits apart: they are the venue's own. `positions` are signed
        micros, the times those of Fold, `quotes` (timestamp, bid, ask) where they are known.
        """
        self._holdings.restore(positions)
        self.know(quotes or {})
        self._time_us = self._rollovers.known_us = venue_us
        self._deaf_until_us = run_venue_us or -1
        records = self._records = []
        for order in sorted(orders, key=lambda order: order.order_id):
            if order.status is not OrderStatus.NEW or order.is_the_venues:
                working = Working.restored(order)
                self._book.add(working, order.accepted_us)
                if order.status is OrderStatus.NEW:
                    self._say(working.order_id, Report.ACCEPT)
        self._set_wake()
        return records

    def know(self, quotes: Quotes) -> None:
        """Quotes that nothing acts on."""
        self._quotes.update(quotes)
        self._book.changed.update(self._awaited.come(quotes))

    @property
    def quotes(self) -> Quotes:
        return dict(self._quotes)

    def take_state(self) -> RouterRing:
        """What a replay's checkpoint has besides the fold (P11); cancels of what has ended have nothing left to do."""
        quotes = tuple((symbol_id, *quote) for symbol_id, quote in sorted(self._quotes.items()))
        return RouterRing(self._time_us, quotes, self._way.rows(self._book.orders))

    def put_state(self, orders: Mapping[int, Order], positions: Mapping[Owned, int], state: RouterRing) -> None:
        """`restore` to what it was between two ticks of a replay; `orders` are all that are open."""
        quotes = {symbol_id: (time_us, bid, ask) for symbol_id, time_us, bid, ask in state.quotes}
        self.restore(orders.values(), positions, venue_us=state.venue_us, quotes=quotes)
        for order_id, kind, sent_us in state.under_way:
            order = orders[order_id]
            place, replace = order.place if kind == PLACE else None, order.replace if kind == REPLACE else None
            self._send(place, order_id, sent_us, replace)

    def place(self, place: OrderPlace, sent_us: int = 0) -> list[Answer]:
        """ACCEPT, and what the quotes make of it; REJECT; nothing if it is on its way, or known here already."""
        if place.order_id in self._book.orders or self._way.has_order(place.order_id):
            return []
        records = self._records = []
        if not self._policies.latency_us:
            self._arrive(place)
            self._set_wake()
        elif self._is_ended:
            self._say(place.order_id, Report.REJECT, END_OF_DATA)
        else:
            self._send(place, place.order_id, sent_us)
        return records

    def cancel(self, order_id: int, sent_us: int = 0) -> list[Answer]:
        """CANCEL; nothing if it is on its way, or the order is unknown here or has ended."""
        records = self._records = []
        if not self._policies.latency_us or self._is_ended:
            self._cancel(order_id, "")
            self._set_wake()
        elif order_id in self._book.orders or self._way.has_order(order_id):
            self._send(None, order_id, sent_us)
        return records

    def replace(self, request: OrderReplace, sent_us: int = 0) -> list[Answer]:
        """REPLACE, and what the quotes make of it, or REPLACE_REJECT; CANCEL where no more is wanted than is filled;
        nothing if it is on its way, or the order is unknown here or has ended.

        It is changed in place: an order keeps its turn, which is by its id.
        """
        records = self._records = []
        order_id = request.order_id
        if not self._policies.latency_us or self._is_ended:
            self._replace(request, END_OF_DATA if self._policies.latency_us else "")
            self._set_wake()
        elif order_id in self._book.orders or self._way.has_order(order_id):
            self._send(None, order_id, sent_us, request)
        return records

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> list[Answer]:
        """What a quote makes of everything that works or is on its way. Prices and volume in micros.

        A tick at which nothing happens costs its storing and a few comparisons.
        """
        if self._book.changed:
            self._compute_bands()
        if timestamp <= self._deaf_until_us:
            self.know({symbol_id: (timestamp, bid, ask)})
            return []
        self._quotes[symbol_id] = (timestamp, bid, ask)
        self._time_us = timestamp
        bands = self._horizon.get(symbol_id)
        is_idle = timestamp < self._wake_us and (bands is None or not bands.may_act(bid, ask))
        if is_idle and symbol_id not in self._awaited.waiting:
            return []
        return self._step(symbol_id, timestamp, bid, ask, volume)

    def end(self) -> list[Answer]:
        """The data have ended (P10): what is on its way is rejected, resting orders stay."""
        records = self._records = []
        self._is_ended = True
        for sent in self._way.take_all():
            if sent.place is not None:
                self._say(sent.order_id, Report.REJECT, END_OF_DATA)
            elif sent.replace is not None:
                self._replace(sent.replace, END_OF_DATA)
        self._set_wake()
        return records

    def next_act(self, ticks: np.ndarray, volumes: np.ndarray | None = None) -> int | None:
        """The index of the first of `ticks` (TICK_DTYPE) at which on_tick would say something; nothing changes (P6)."""
        if self._book.changed:
            self._compute_bands()
        start = self._first_heard(ticks)
        if start is None:
            return None
        due_us = self._next_due(int(ticks["timestamp"][start]))
        due = None if due_us is None else first_at_or_after(ticks["timestamp"], due_us, start)
        by_price = self._awaited.first_reached(self._horizon, ticks, volumes, start, due, self._bands_in)
        return due if by_price is None else by_price

    def skip(self, ticks: np.ndarray) -> None:
        """As if each had been given to on_tick: ticks at none of which anything acts (next_act has said so)."""
        start = self._first_heard(ticks)
        if start is not None and self._rollovers.is_before_first_tick:
            self.on_tick(*ticks[start].item()[1:])
        rows = (tick.item() for tick in last_of_each(ticks, len(self._policies.terms)))
        self.know({symbol_id: (time_us, bid, ask) for _, symbol_id, time_us, bid, ask in rows})
        if start is None:
            return
        end_us = int(ticks["timestamp"][-1])
        if end_us > self._deaf_until_us:
            self._time_us = end_us
            if end_us >= self._wake_us:
                self._records.extend(self._rollovers.passed(end_us))
                self._set_wake()

    def _first_heard(self, ticks: np.ndarray) -> int | None:
        """The index of the first tick on which no former life has acted."""
        if self._deaf_until_us < 0:
            return 0 if len(ticks) else None
        return first_at_or_after(ticks["timestamp"], self._deaf_until_us + 1)

    # One tick.

    def _step(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int) -> list[Answer]:
        records = self._records = []
        records.extend(self._rollovers.passed(timestamp))
        freed = self._awaited.come((symbol_id,))
        self._book.changed.update(freed)
        self._expire(timestamp, [order_id for one in freed for order_id in self._book.ids_in(one)])
        resting = self._book.ids_in(symbol_id)
        self._ticking, self._left = symbol_id, self._budget(symbol_id, volume)
        self._take_arrivals(timestamp)
        quote = Quote(timestamp, bid, ask)
        for order_id in resting:
            order = self._book.orders.get(order_id)
            if order is not None:
                self._act(order, quote, is_taking=False)
        self._ticking = None
        self._set_wake()
        return records

    def _budget(self, symbol_id: int, volume: int) -> int:
        share = self._policies.max_participation
        return budget(volume, share, self._policies.terms_of(symbol_id).lot_size) if share else UNLIMITED

    def _available(self, order: Working) -> int | None:
        """What may fill now; None: it must wait for a tick of its symbol, whose volume there is to share."""
        if not self._policies.max_participation:
            return UNLIMITED
        return self._left if self._ticking == order.symbol_id else None

    def _expire(self, timestamp: int, freed: list[int]) -> None:
        for order_id in sorted({*self._book.date(timestamp), *freed}):
            self._say(order_id, Report.RESTATE)
        for order in self._book.expired(timestamp):
            self._end(order, Report.EXPIRE, "")

    def _take_arrivals(self, timestamp: int) -> None:
        for sent in self._way.take_due(timestamp):
            if sent.place is not None:
                self._arrive(sent.place)
            elif sent.replace is not None:
                self._replace(sent.replace, "")
            else:
                self._cancel(sent.order_id, "")

    # Orders.

    def _arrive(self, place: OrderPlace) -> None:
        if reason := self._objection(place):
            self._say(place.order_id, Report.REJECT, reason)
            return
        self._say(place.order_id, Report.ACCEPT)
        order = Working.of(place, place.protects)
        order.remaining = self._holdings.reducible(place) if place.protects else place.quantity
        self._book.add(order, self._time_us)
        quote = self._quotes.get(place.symbol_id)
        if quote is not None:
            self._act(order, Quote._make(quote), is_taking=True)

    def _replace(self, request: OrderReplace, objection: str) -> None:
        order = self._book.orders.get(request.order_id)
        if order is None:
            return
        if 0 < request.quantity <= order.filled:
            self._end(order, Report.CANCEL, "replaced")
            return
        signal = str(request.signal)
        if objection := objection or bad_change(request, order, self._time_us):
            self._say(order.order_id, Report.REPLACE_REJECT, objection, execution_id=signal)
            return
        order.take(request)
        self._book.change(order)
        price, quantity = order.limit_price or order.stop_price, order.filled + order.remaining
        self._say(order.order_id, Report.REPLACE, execution_id=signal, price=price, quantity=quantity)
        if (quote := self._quotes.get(order.symbol_id)) is not None:
            self._act(order, Quote._make(quote), is_taking=True)

    def _objection(self, place: OrderPlace) -> str:
        if place.symbol_id not in self._policies.terms:
            return "unknown_symbol"
        if place.quantity <= 0:
            return "bad_quantity"
        if reason := bad_terms(place):
            return reason
        expires_us = expiry_of(place, self._time_us, self._policies.day_end_us)
        if expires_us is not None and expires_us <= self._time_us:
            return "expired"
        if self._book.groups.is_gone(place):
            return "oco_gone"
        if place.reduce_only and not self._holdings.reducible(place):
            return "nothing_to_reduce"
        return ""

    def _act(self, order: Working, quote: Quote, *, is_taking: bool) -> None:
        """What this quote makes of it. `is_taking`: it has just arrived, so a limit takes the quote's price."""
        if not self._policies.terms_of(order.symbol_id).is_convertible(self._quotes):
            return
        was_triggered = False
        if order.waits_for_stop:
            if not self._trigger(order, quote):
                return
            was_triggered = is_taking = True
        available = self._available(order)
        if available is not None:
            self._match(order, quote, available, is_taking)
        if was_triggered and not order.fills and order.order_id in self._book.orders:
            self._say(order.order_id, Report.TRIGGER)

    def _trigger(self, order: Working, quote: Quote) -> bool:
        """Whether its stop is reached, so that it waits for it no more; one that trails may move instead."""
        is_buy, trail, stop, bid, ask = order.is_buy, order.place.trail, order.stop_price, quote.bid, quote.ask
        if stop and is_triggered(is_buy, stop, bid, ask):
            order.waits_for_stop = False
            self._book.changed.add(order.symbol_id)
            return True
        if trail:
            step = self._trail_step(order.symbol_id)
            price = moved_price(is_buy, stop, trail, step, bid, ask) if stop else trailed_price(is_buy, trail, bid, ask)
            if price is not None:
                order.stop_price = price
                self._book.changed.add(order.symbol_id)
                self._say(order.order_id, Report.RESTATE, price=price)
        return False

    def _match(self, order: Working, quote: Quote, available: int, is_taking: bool) -> None:
        is_buy, limit, bid, ask = order.is_buy, order.limit_price, quote.bid, quote.ask
        wanted = order.remaining
        if order.place.reduce_only:
            wanted = min(wanted, self._holdings.reducible(order.place))
        is_reached = not limit or is_limit_reached(is_buy, limit, bid, ask)
        quantity = min(wanted, available) if is_reached else 0
        if is_reached and available and not wanted:
            self._end(order, Report.CANCEL, "nothing_to_reduce")
            return
        if order.place.time_in_force is TimeInForce.FOK and quantity < wanted:
            quantity = 0
        if quantity:
            if not limit:
                slippage = self._policies.slippage_ticks * self._policies.terms_of(order.symbol_id).tick_size
                price = slipped_price(is_buy, bid, ask, slippage)
            else:
                price = quoted_price(is_buy, bid, ask) if is_taking else limit
            self._fill(order, price, quantity)
        if order.is_immediate and order.order_id in self._book.orders:
            self._end(order, Report.CANCEL, order.place.time_in_force.name.lower())

    def _fill(self, order: Working, price: int, quantity: int) -> None:
        terms, symbol_id = self._policies.terms_of(order.symbol_id), order.symbol_id
        rate = terms.rate(self._quotes)
        commission = self._policies.commission.of_fill(
            price, quantity, filled=order.filled, fill_product=order.fill_product, lot_size=terms.lot_size,
            multiplier=terms.multiplier, conversion=rate,
        )  # fmt: skip
        order.take_fill(price, quantity)
        self._left -= quantity
        strategy_id = order.place.strategy_id
        before, after = self._holdings.add(strategy_id, symbol_id, quantity if order.is_buy else -quantity)
        self._records.append(
            OrderUpdate(
                order.order_id, Report.FILL, f"{order.order_id}-{order.fills}", price, quantity, commission,
                rate.numerator, venue_time=self._time_us, conversion_base=rate.denominator,
            )
        )  # fmt: skip
        self._fit_exits(strategy_id, symbol_id)
        if not order.remaining:
            self._book.remove(order)
        if before and before * after <= 0:
            self._end_what_reduces_nothing(strategy_id, symbol_id)
        self._follow_up(order, quantity)

    # What a fill entails.

    def _follow_up(self, order: Working, quantity: int) -> None:
        if order.parent_id and not order.place.protects:
            self._exit_filled(order, quantity)
        elif has_exits(order.place):
            self._protect(order, quantity)
        for other_id in self._book.groups.others(order):
            self._end(self._book.orders[other_id], Report.CANCEL, "oco")

    def _protect(self, order: Working, quantity: int) -> None:
        """P4: the first fill arms a bracket's exits, each later one enlarges those that work."""
        if order.fills == 1:
            for place in exits_of(order.place, quantity):
                self._book.add(Working.of(place, order.order_id), self._time_us)
                self._say(place.order_id, Report.ACCEPT)
            return
        for order_id in exit_ids(order.place):
            if (child := self._book.orders.get(order_id)) is not None:
                child.remaining += quantity

    def _exit_filled(self, order: Working, quantity: int) -> None:
        """A bracket's position is being left: nothing more enters it, and the sibling is for what remains."""
        for other in self._book.orders_in(order.symbol_id):
            if other.order_id == order.parent_id:
                self._end(other, Report.CANCEL, "bracket")
            elif other.parent_id == order.parent_id and other is not order:
                other.remaining -= quantity
                if other.remaining <= 0:
                    self._end(other, Report.CANCEL, "bracket")

    def _fit_exits(self, strategy_id: int, symbol_id: int) -> None:
        """The exits of this position are for what is left of it."""
        for order in self._book.orders_in(symbol_id):
            if order.place.protects and order.place.strategy_id == strategy_id:
                order.remaining = self._holdings.reducible(order.place) or order.remaining  # 0: it is ended

    def _end_what_reduces_nothing(self, strategy_id: int, symbol_id: int) -> None:
        """The position is flat or has turned: what could only reduce it must not meet the next one."""
        for order in self._book.orders_in(symbol_id):
            place = order.place
            if place.reduce_only and place.strategy_id == strategy_id and not self._holdings.reducible(place):
                self._end(order, Report.CANCEL, "nothing_to_reduce")

    # The tables.

    def _trail_step(self, symbol_id: int) -> int:
        return self._policies.trail_step_ticks * self._policies.terms_of(symbol_id).tick_size

    def _send(self, place: OrderPlace | None, order_id: int, sent_us: int, replace: OrderReplace | None = None) -> None:
        self._wake_us = min(self._wake_us, self._way.send(place, order_id, sent_us, replace))

    def _say(
        self, order_id: int, report: Report, reason: str = "", *,
        execution_id: str = "", price: int = 0, quantity: int = 0,
    ) -> None:  # fmt: skip
        said = OrderUpdate(order_id, report, execution_id, price, quantity, reason=reason, venue_time=self._time_us)
        self._records.append(said)

    def _cancel(self, order_id: int, reason: str) -> None:
        if (order := self._book.orders.get(order_id)) is not None:
            self._end(order, Report.CANCEL, reason)

    def _end(self, order: Working, report: Report, reason: str) -> None:
        self._book.remove(order)
        self._say(order.order_id, report, reason)

    # When something acts next.

    def _compute_bands(self) -> None:
        for symbol_id in self._book.changed:
            self._horizon.put(symbol_id, None if self._awaited.holds_up(symbol_id) else self._bands_in(symbol_id))
        self._book.changed.clear()

    def _bands_in(self, symbol_id: int) -> SymbolBands | None:
        share, orders = self._policies.max_participation, self._book.orders_in(symbol_id)
        least = least_volume(share, self._policies.terms_of(symbol_id).lot_size) if share else 0
        return bands_of(orders, self._trail_step(symbol_id), least) if orders else None

    def _set_wake(self) -> None:
        """No tick before `_wake_us` is to be looked at for its time."""
        if self._rollovers.is_before_first_tick or self._book.undated:
            self._wake_us = 0
            return
        times = [_NEVER, *self._book.expiries.values(), *self._way.dues()]
        rollover_us = self._rollovers.next_us
        self._wake_us = min(times if rollover_us is None else [*times, rollover_us])

    def _next_due(self, first_us: int) -> int | None:
        """The earliest time at which something is said for its time alone, the next tick being at `first_us`."""
        times = [*self._book.expiries.values(), *([first_us] if self._book.undated else [])]
        times += (sent.due_us for sent in self._way.alive(self._book.orders))
        if (charge_us := self._rollovers.next_charge(first_us)) is not None:
            times.append(charge_us)
        return min(times, default=None)
