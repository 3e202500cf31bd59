"""order_routing's part of the ring: the venue stands at v; DONE(i) lets it go there, and a GRANT lets the others go on.

P6: the horizon is the first tick at which the venue would say something by itself, or the quantum's end. With latency
the answer is under way: the others may go on to the last tick before it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from actors.fold import Fold
from actors.protection import requests_of
from actors.ring.ticks import HeldTicks, Piece
from actors.venues import Answer
from protocol.codec import MarketPayload
from protocol.positions import START, tick_position, ticks_done
from protocol.records import OrderCancel, OrderPlace, OrderReplace, PositionModify, Record
from protocol.wal.format import Envelope


class ReplayVenue(Protocol):
    """A simulated venue that can be looked ahead of."""

    def on_tick(self, symbol_id: int, timestamp: int, bid: int, ask: int, volume: int = 0) -> Iterable[Answer]: ...

    def next_act(self, ticks: Any, volumes: Any) -> int | None:
        """The index of the first tick at which `on_tick` would say something. The venue does not change."""
        ...

    def skip(self, ticks: Any) -> None:
        """As `on_tick` for each of them, at none of which the venue says anything."""
        ...

    def end(self) -> Iterable[Answer]:
        """What was on its way when the data ended (P10)."""
        ...


class RouterCore:
    """append(record, time_us): into the journal. grant(v, h): the token. send(place, sent_us),
    cancel(order_id, sent_us) and replace(request, sent_us) hand to the venue what was approved, and return what it says
    at once.
    """

    def __init__(
        self, venue: ReplayVenue, fold: Fold, *, quantum: int, latency_us: int,
        send: Callable[[OrderPlace, int], Iterable[Answer]], cancel: Callable[[int, int], Iterable[Answer]],
        replace: Callable[[OrderReplace, int], Iterable[Answer]],
        append: Callable[[Record, int], Any], grant: Callable[[int, int], Any],
    ) -> None:  # fmt: skip
        self._venue = venue
        self._fold = fold
        self._quantum = quantum
        self._latency_us = latency_us
        self._send = send
        self._cancel = cancel
        self._replace = replace
        self._append = append
        self._grant = grant
        self.ticks = HeldTicks()
        self.position = 0
        """v."""
        self.is_over = False
        self._goal: int | None = None
        """i of a DONE that waits for its ticks."""
        self._must_grant = True
        self._arrivals: list[tuple[OrderPlace | OrderCancel | OrderReplace, int]] = []
        """(record, its time) since the last DONE, in the journal's order."""

    def resume(self, tick: int) -> None:
        """P11: the venue has done everything up to `tick`, a quantum's end, and that is granted again."""
        self.position = tick_position(tick)
        self.ticks.begin(tick)

    # What comes in.

    def take_ticks(self, first: int, payload: MarketPayload) -> None:
        self.ticks.add(first, payload)

    def take_end(self) -> None:
        self.ticks.add_end()

    def take_record(self, envelope: Envelope, record: Record) -> None:
        """Folds it. What is to be sent waits for DONE: it is risk's turn."""
        self._fold.apply(envelope, record)
        if isinstance(record, OrderPlace | OrderCancel | OrderReplace):
            self._arrivals.append((record, envelope.time_us))
        elif isinstance(record, PositionModify):
            self._arrivals += [(request, envelope.time_us) for request in requests_of(record)]

    def done(self, position: int) -> None:
        """The token: everything that risk had to append up to `position` is in the fold."""
        self._goal = position
        self.go_on()

    def go_on(self) -> None:
        """As far as the ticks that are held allow."""
        if self._goal is not None and self._holds(ticks_done(self._goal)):
            self._advance(self._goal)
            self._goal, self._must_grant = None, not self.is_over
        if self._must_grant:
            horizon = START if self.position < START else self._horizon()
            if horizon is not None:
                self._must_grant = False
                self._grant(self.position, horizon)

    def _holds(self, tick: int) -> bool:
        return tick <= self.ticks.last or self.ticks.holds_all

    # The venue goes on.

    def _advance(self, position: int) -> None:
        reached = min(ticks_done(position), self.ticks.last)
        if self._latency_us:  # what is under way arrives on the way (P5)
            self._take_arrivals(reached)
        passed = ticks_done(self.position)
        if reached > passed:
            for piece in self.ticks.cut(passed, reached):
                self._pass(piece)
        if not self._latency_us:
            self._take_arrivals(reached)
        self.position = position
        self.ticks.drop(reached - 1)  # its time is that of the timers and bars behind it
        self.is_over = self.ticks.end is not None and position >= tick_position(self.ticks.end)

    def _take_arrivals(self, tick: int) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for record, time_us in arrivals:
            if isinstance(record, OrderPlace):
                said = self._send(record, time_us)
            elif isinstance(record, OrderReplace):
                said = self._replace(record, time_us)
            else:
                said = self._cancel(record.order_id, time_us)
            self._say(said, self.ticks.time_of(tick))

    def _pass(self, piece: Piece) -> None:
        """Tick by tick only where the venue has something to say."""
        ticks, volumes, start = piece.ticks, piece.volumes, 0
        while start < len(ticks):
            act = self._venue.next_act(ticks[start:], None if volumes is None else volumes[start:])
            stop = len(ticks) if act is None else start + act
            if stop > start:
                self._venue.skip(ticks[start:stop])
            if act is None:
                return
            _, symbol_id, time_us, bid, ask = ticks[stop].item()
            volume = 0 if volumes is None else int(volumes[stop])
            self._say(self._venue.on_tick(symbol_id, time_us, bid, ask, volume), time_us)
            start = stop + 1

    def _say(self, said: Iterable[Answer], time_us: int) -> None:
        for record in said:
            self._append(record, time_us)

    # The horizon.

    def _horizon(self) -> int | None:
        """h; None while the ticks to the quantum's end are not held (P2)."""
        tick = ticks_done(self.position)
        last = (tick // self._quantum + 1) * self._quantum
        if not self._holds(last):
            return None
        last = min(last, self.ticks.last)
        if tick == last:  # nothing is left but the end
            assert self.ticks.end is not None, "else the quantum's end is held"
            self._say(self._venue.end(), self.ticks.time_of(tick))
            return tick_position(self.ticks.end)
        act = self._next_act(tick, last)
        if act is None:
            return tick_position(last)
        if not self._latency_us:
            return tick_position(act)
        answered = self.ticks.first_at(self.ticks.time_of(act) + self._latency_us, act)
        return tick_position(last if answered is None else min(last, answered - 1))

    def _next_act(self, after: int, to: int) -> int | None:
        """The first tick in after + 1 .. to at which the venue would say something."""
        for piece in self.ticks.cut(after, to):
            act = self._venue.next_act(piece.ticks, piece.volumes)
            if act is not None:
                return piece.first + act
        return None
