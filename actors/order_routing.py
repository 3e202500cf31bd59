"""order_routing with the paper venue inside: sends approved orders to it and appends everything that it answers.

Talks to: wal (tail and appends), market_data (the paper venue's quotes). The paper venue has no doubt (V2): what
has no answer after a restart goes to the model again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from actors.base import Place
from actors.fold import CancelRequested, OrderChanged, ReplaceRequested
from actors.market import MarketClient
from actors.order_tracker import Order
from actors.routing import Router
from actors.venues import Answer, Venue
from actors.venues.paper import PaperVenue
from actors.venues.policies import policies_of
from protocol.codec import VOLUME, MarketPayload
from protocol.messages import Welcome
from protocol.orders import OrderStatus
from protocol.records import EngineRun, OrderPlace, OrderReplace, Record
from protocol.topics import TICK
from protocol.wal.format import Envelope

_NEW: Final = OrderStatus.NEW


class OrderRouting(Router):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.market = MarketClient(self, self, on_chunk=self._reached, on_welcome=self._on_market_welcome)
        self.market.keep_arrivals()
        self.venue: Venue
        self.converting: frozenset[int] = frozenset()
        """Symbols whose quotes convert money, until those known before this life are."""
        self.early: dict[int, OrderPlace] = {}
        """Orders whose tick this actor has not seen yet; they wait for it."""
        self.positions: deque[tuple[bytes, int, int]] = deque()
        """(market epoch, position, own append) of chunks whose answers are not durable yet."""
        self.market_us = 0
        """The time of the last tick."""
        self.is_ready = False

    # The life of the actor.

    def begin(self, run: EngineRun | None) -> None:
        assert run is not None, "wal has said the id tables"
        policies = policies_of(self.config, {index: name for index, (name, _) in enumerate(run.symbols)})
        self.venue = PaperVenue(policies)
        self.converting = policies.converting
        self.latch.adopt_router(os.getpid())
        self.journal.start()
        self.loop.after_turn(self._keep_page)

    def stop(self, run: EngineRun | None) -> None:
        if self.config.order_routing.on_stop == "cancel" and self.is_ready:
            self.append(self.venue.end())  # no tick comes any more at which what is on its way could arrive
            for order in list(self.fold.tracker.open_orders.values()):
                if not order.parent_id:  # what protects a position stays, as under HALT
                    self._cancel(order.order_id)
        super().stop(run)

    def outstanding(self) -> int:
        return self.journal.pending_count + len(self.early)

    # The journal.

    def on_record(self, envelope: Envelope, record: Record) -> None:
        for change in self.fold.apply(envelope, record):
            if type(change) is OrderChanged:
                if change.order.status is not _NEW:
                    self.forget_answered(change.order)
                elif self.is_ready and not change.order.is_the_venues:
                    self._route(change.order.place)
            elif type(change) is CancelRequested and self.is_ready:
                self._cancel(change.order_id)
            elif type(change) is ReplaceRequested and self.is_ready:
                self._replace(change.request.order_id)

    def on_caught_up(self) -> None:
        """The venue is a fold too: what was answered works again, what was not goes to it again (V2)."""
        fold, orders = self.fold, list(self.fold.tracker.open_orders.values())
        answers = self.venue.restore(
            orders, fold.owned_positions(), venue_us=fold.venue_us, run_venue_us=fold.run_venue_us
        )
        self.append(answers)
        self.is_ready = True
        self.market.start()  # not before: a tick must find every working order in the venue
        for order in orders:
            self._resume(order)
        self.ready(self.journal.lsn)

    def _resume(self, order: Order) -> None:
        if order.status is OrderStatus.NEW and not order.is_the_venues and not order.cancel_requested:
            self._route(order.place)
        elif order.cancel_requested:
            self._cancel(order.order_id)
        if order.replace is not None and not order.cancel_requested:
            self._replace(order.order_id)

    # Orders.

    def _route(self, place: OrderPlace) -> None:
        """Sends the order, or lets it wait for the tick that caused it."""
        if place.market_epoch == self.market.epoch and place.market_position > self.market.position:
            self.early[place.order_id] = place
        else:
            self.send(place)

    def give(self, place: OrderPlace) -> Sequence[Answer]:
        return self.venue.place(place, self.market_us)

    def _cancel(self, order_id: int) -> None:
        self.counters["cancels"] += 1
        self.early.pop(order_id, None)
        if answers := self.venue.cancel(order_id, self.market_us):
            self.append(answers)
        else:
            self.ends_unsent(order_id)

    def give_replace(self, request: OrderReplace) -> Sequence[Answer]:
        return self.venue.replace(request, self.market_us)

    def _replace(self, order_id: int) -> None:
        """What is asked for and not answered, behind the order itself; of an order that has ended, nothing is."""
        order = self.fold.tracker.open_orders.get(order_id)
        if order is not None and order.replace is not None and order_id not in self.early:
            self.replace(order.replace)

    # The market: every tick goes to the venue.

    def _on_market_welcome(self, welcome: Welcome) -> None:
        """A new life need not hold up stops until what converts their money is quoted again."""
        wanted, self.converting = self.converting, frozenset()  # once: what it sees by the next one is no older
        self.venue.know(self.market.former_quotes(welcome, wanted))

    def on_ticks(self, first_tick: int, payload: MarketPayload) -> None:
        on_tick = self.venue.on_tick
        tick = first_tick
        volumes = repeat((0,)) if payload.volumes is None else VOLUME.iter_unpack(payload.volumes)
        ticks = TICK.iter_unpack(payload.records)
        for (_, symbol_id, timestamp, bid, ask), (volume,) in zip(ticks, volumes, strict=False):
            self.market_us = timestamp
            updates = on_tick(symbol_id, timestamp, bid, ask, volume)
            if updates:
                self.append(updates)
            if self.early:
                self._send_early(3 * tick + 2)
            tick += 1

    def on_end(self) -> None:
        for order_id in list(self.early):
            self.send(self.early.pop(order_id))
            self._replace(order_id)
        self.append(self.venue.end())

    def _send_early(self, position: int) -> None:
        epoch = self.market.epoch
        for place in list(self.early.values()):
            if place.market_position <= position or place.market_epoch != epoch:
                self.send(self.early.pop(place.order_id))
                self._replace(place.order_id)

    def _reached(self, position: int) -> None:
        """The page may say so only when the answers up to here are on disk: a new life goes on after it."""
        self.positions.append((self.market.epoch, position, self.journal.last_seq))

    def _keep_page(self) -> None:
        positions, oldest = self.positions, self.journal.oldest_pending_seq
        reached: tuple[bytes, int, int] | None = None
        while positions and positions[0][2] < oldest:
            reached = positions.popleft()
        if reached is not None:
            self.page.set_market(reached[0], reached[1])
