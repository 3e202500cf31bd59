"""order_routing's end of a line to a venue outside: what was said, what is not known, and what is to be asked (V1).

Pure: messages and the monotonic time go in, records to be appended and messages to be sent (`outbox`) come out.

    LOST  -> logged on ->  RECONCILING  -> the books were compared ->  UP
          <-         the venue is silent for SILENCE_S              <-

The venue numbers its entries; they are taken in order, once each, whatever the line does: those beyond a gap wait, and
the gap is asked for again. Heartbeats name the newest, so that a report that was lost last is missed too. An order, or
a change of one, is sent once: without an answer it is *unknown* (PENDING, an alarm, its exposure reserved) until the
venue speaks of it, or does not know it twice, `in_doubt_grace_s` apart, and will refuse it from then on; then it ends
as `not_sent`. Cancels are said again until the order has ended.

Books that are not those which the journal traded with, or that nobody can read, are no ground to trade on: `refusal`
says why, and nothing more is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

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
from protocol.records import OrderPlace, OrderReplace, OrderUpdate, Record, decode_record, encode_record

SILENCE_S: Final = 1.0
LOGON_S: Final = 0.25
GAP_S: Final = 0.1
"""So long a gap may close by itself."""
ASK_S: Final = 0.5
"""Until something is said again."""
UNKNOWN_S: Final = 1.0
"""So long an order may be without an answer before it is called unknown."""
EARLY_MAX: Final = 10_000
"""So many numbers beyond the newest that was taken reports are kept; others are dropped and asked for again."""
BAD_MAX: Final = 20
"""So often a report that cannot be read is asked for."""
_Q: Final = VenueQuestion
_Answer = VenueOpenOrders | VenuePositions | VenueExecutions
_ROUND: Final = (_Q.OPEN_ORDERS, _Q.EXECUTIONS, _Q.POSITIONS)
"""What a comparison asks, in this order: orders, then fills, then positions."""


class Phase(StrEnum):
    LOST = "lost"
    RECONCILING = "reconciling"
    UP = "up"


class Snapshot(NamedTuple):
    """The venue's books as of one entry."""

    as_of: int
    orders: Sequence[tuple[bytes, int]]
    """(ORDER_PLACE, filled) of those that are open."""
    positions: Sequence[tuple[int, int, int]]
    """(symbol id, net quantity, average price)."""


class _Doubt(msgspec.Struct):
    """An order that was sent, and of which nothing was heard."""

    since_s: float
    is_told: bool
    asked_s: float = 0.0
    unknown_since_s: float | None = None


class VenueSession:
    """`seq`: of the newest report in the journal; `in_doubt`: (order id, signal of a change of it or 0, whether its
    PENDING is there) of what a former life may have sent."""

    def __init__(
        self,
        journal_id: bytes,
        seq: int,
        in_doubt: Iterable[tuple[int, int, bool]],
        *,
        grace_s: float,
        now_s: float,
        log: Any,
    ) -> None:
        self.outbox: list[Message] = []
        self.phase = Phase.LOST
        self.applied = seq
        """The number of the newest report that was taken."""
        self.known_seq = seq
        """The highest number that the venue has named."""
        self.refusal = ""
        """Why nobody may trade on these books."""
        self.highest_order_id = 0
        """Of the orders of this journal that the venue has named."""
        self.is_stopping = False
        self.counters = {"duplicates": 0, "gaps": 0, "unknown": 0, "not_sent": 0, "venue_lost": 0, "bad_messages": 0}
        self._journal_id = journal_id
        self._grace_s = grace_s
        self._log = log
        self._session = 0
        self._doubts = {(order_id, signal): _Doubt(now_s, is_told) for order_id, signal, is_told in in_doubt}
        """By (order id, 0), and by (order id, signal) for a change."""
        self._cancels: dict[int, float] = {}
        """Order id -> when it was asked for last."""
        self._early: dict[int, tuple[int, bytes]] = {}
        self._number = 0
        self._round: dict[type[_Answer], _Answer] = {}
        """The newest answer to each question of a comparison …"""
        self._round_number = 0
        """… in which none counts that was asked for before this one."""
        self._bad: tuple[int, int] = (0, 0)
        """(number, how often) of a report that could not be read."""
        self._round_s = self._logon_s = self._gap_s = self._asked_s = float("-inf")
        self._heard_s = now_s
        self._snapshot: Snapshot | None = None

    # What order_routing asks.

    @property
    def unanswered(self) -> int:
        return len(self._doubts)

    @property
    def missing(self) -> int:
        """Reports that are known of and not taken."""
        return max(0, self.known_seq - self.applied)

    def send(self, place: OrderPlace, now_s: float) -> None:
        assert self.phase is Phase.UP, "nothing leaves before the books were compared"
        self._doubts[place.order_id, 0] = _Doubt(now_s, is_told=False)
        self.outbox.append(VenueOrder(self._session, encode_record(place)))

    def replace(self, request: OrderReplace, now_s: float) -> None:
        assert self.phase is Phase.UP, "nothing leaves before the books were compared"
        self._doubts[request.order_id, request.signal] = _Doubt(now_s, is_told=False)
        self.outbox.append(VenueReplace(self._session, encode_record(request)))

    def cancel(self, order_id: int, now_s: float) -> None:
        """Said now, and again until `is_over`."""
        self._cancels[order_id] = now_s
        if self._session:
            self.outbox.append(VenueCancel(self._session, order_id, self.is_stopping))

    def is_over(self, order_id: int) -> None:
        """The journal says that the order has ended."""
        self._cancels.pop(order_id, None)
        self._doubts = {key: doubt for key, doubt in self._doubts.items() if key[0] != order_id}

    @property
    def snapshot(self) -> Snapshot | None:
        """The venue's books, when everything up to them was taken: to be compared, and then `settle`."""
        found = self._snapshot
        return found if found is not None and self.applied == found.as_of else None

    def settle(self) -> list[Record]:
        """The books were compared, and what differed is dealt with; what came since is taken."""
        self.phase, self._snapshot = Phase.UP, None
        self._round.clear()
        self._log.info("venue_reconciled", seq=self.applied)
        return self._take_early()

    def compare_again(self, now_s: float) -> None:
        """What the venue has said cannot be: no order leaves before its books were compared."""
        if self.phase is Phase.UP:
            self.phase = Phase.RECONCILING
            self._begin_round(now_s)

    # What the venue says.

    def hear(self, message: Message, now_s: float) -> list[Record]:
        if self.refusal:
            return []
        if isinstance(message, VenueLoggedOn):
            self._log_on(message, now_s)
        elif isinstance(message, VenueHeartbeat | VenueReport):
            if message.session != self._session or not self._session:
                return []
            self._heard_s = now_s
            if isinstance(message, VenueHeartbeat):
                self._know(message.last_seq, now_s)
            else:
                return self._take([(message.seq, message.entry_type, message.data)], now_s)
        elif isinstance(message, VenueOpenOrders | VenuePositions | VenueExecutions):
            self._heard_s = now_s
            return self._take_answer(message, now_s)
        elif isinstance(message, VenueOrderKnown):
            self._heard_s = now_s
            return self._take_known(message, now_s)
        else:
            self.counters["bad_messages"] += 1
        return []

    def _log_on(self, message: VenueLoggedOn, now_s: float) -> None:
        if self._session or not message.session:
            return  # a second answer
        if not self.applied:
            self.applied = message.base_seq  # nothing was ever taken, from any books
        if not message.base_seq <= self.applied <= message.last_seq:
            self.refusal = (
                f"the venue's books are not those that this journal has traded with, or are an older copy: they have "
                f"entries {message.base_seq + 1} to {message.last_seq}, the journal has taken up to {self.applied}; "
                "put the right ones back, or trade on in a new run_dir"
            )
            return
        self._session, self._heard_s, self.phase = message.session, now_s, Phase.RECONCILING
        self._know(message.last_seq, now_s)
        self._begin_round(now_s)
        for order_id in self._cancels:
            self.cancel(order_id, now_s)

    def _begin_round(self, now_s: float) -> None:
        """Orders, then fills, then positions."""
        self._snapshot = None
        self._round.clear()
        self._round_number = self._number + 1
        self._go_on_with_round(now_s)

    def _go_on_with_round(self, now_s: float) -> None:
        """All three, though some are answered: where the books move, only what was asked for together agrees."""
        self._round_s = now_s
        for question in _ROUND:
            self._ask(question, self.applied)

    def _ask(self, what: VenueQuestion, argument: int = 0, signal: int = 0) -> None:
        self._number += 1
        self.outbox.append(VenueQuery(self._session, self._number, what, argument, signal))

    def _take_answer(self, message: _Answer, now_s: float) -> list[Record]:
        self._know(message.as_of, now_s)
        if self.phase is Phase.RECONCILING and message.number >= self._round_number:
            former = self._round.get(type(message))
            if former is None or former.as_of <= message.as_of:
                self._round[type(message)] = message
            self._end_round()
        if isinstance(message, VenueExecutions):
            return self._take(message.reports, now_s)
        return self._take_early()

    def _end_round(self) -> None:
        orders, positions = self._round.get(VenueOpenOrders), self._round.get(VenuePositions)
        if not isinstance(orders, VenueOpenOrders) or not isinstance(positions, VenuePositions):
            return
        executions = self._round.get(VenueExecutions)
        if executions is not None and orders.as_of == executions.as_of == positions.as_of >= self.applied:
            self._snapshot = Snapshot(orders.as_of, orders.orders, positions.positions)

    def _know(self, seq: int, now_s: float) -> None:
        """The venue has come so far."""
        if not self.missing:
            self._gap_s = now_s
        self.known_seq = max(self.known_seq, seq)

    def _take(self, reports: Iterable[tuple[int, int, bytes]], now_s: float) -> list[Record]:
        for seq, entry_type, data in reports:
            self._know(seq, now_s)
            if seq <= self.applied or seq in self._early:
                self.counters["duplicates"] += 1
            elif seq - self.applied <= EARLY_MAX:
                self._early[seq] = entry_type, data
        return self._take_early()

    def _take_early(self) -> list[Record]:
        """In order; while books are compared, up to them."""
        records: list[Record] = []
        while (seq := self.applied + 1) in self._early and self._may_take(seq):
            entry_type, data = self._early.pop(seq)
            try:
                records += self._read(entry_type, data)
            except WireError as error:
                self._note_bad(seq, error)
                break
            self.applied = seq
        return records

    def _note_bad(self, seq: int, error: WireError) -> None:
        self.counters["bad_messages"] += 1
        self._bad = seq, self._bad[1] + 1 if self._bad[0] == seq else 1
        self._log.error("bad_venue_report", seq=seq, error=str(error), hint="it is asked for again")
        if self._bad[1] >= BAD_MAX:
            self.refusal = f"the venue's entry {seq} cannot be read, however often it is asked for: {error}"

    def _may_take(self, seq: int) -> bool:
        if self.phase is Phase.UP:
            return True
        return self._snapshot is not None and seq <= self._snapshot.as_of

    def _read(self, entry_type: int, data: bytes) -> list[Record]:
        if not entry_type:  # an order of this journal has arrived; its reports follow
            self.highest_order_id = max(self.highest_order_id, _order_id(data))
            return []
        record = decode_record(entry_type, data)
        if isinstance(record, OrderUpdate):
            is_change = record.report in (Report.REPLACE, Report.REPLACE_REJECT)
            signal = int(record.execution_id) if is_change and record.execution_id.isdecimal() else 0
            self._doubts.pop((record.order_id, signal), None)
        return [record]

    def _take_known(self, message: VenueOrderKnown, now_s: float) -> list[Record]:
        order_id, signal = message.order_id, message.signal
        doubt = self._doubts.get((order_id, signal))
        if doubt is None:
            return []
        if message.is_known:
            doubt.unknown_since_s = None  # its reports are on their way, or are asked for
            return []
        if doubt.unknown_since_s is None:
            doubt.unknown_since_s = now_s
        if not message.is_barred:
            return []
        del self._doubts[order_id, signal]
        self.counters["not_sent"] += 1
        self._log.warning("not_sent", order_id=order_id, change=signal, reason="the venue does not know it, twice")
        if signal:
            return [OrderUpdate(order_id, Report.REPLACE_REJECT, str(signal), reason="not_sent")]
        self.is_over(order_id)  # and whatever was to be changed of it
        return [OrderUpdate(order_id, Report.REJECT, reason="not_sent")]

    # What time brings.

    def look(self, now_s: float) -> list[Record]:
        if self.refusal:
            return []
        if now_s - self._heard_s > SILENCE_S:
            self.lose()
        if not self._session:
            if now_s - self._logon_s > LOGON_S:
                self._logon_s = now_s
                self.outbox.append(VenueLogon(self._journal_id))
            return self._name_unknown(now_s)
        if self.phase is Phase.RECONCILING and self._snapshot is None and now_s - self._round_s > ASK_S:
            self._go_on_with_round(now_s)
        self._close_gap(now_s)
        for order_id, asked_s in self._cancels.items():
            if now_s - asked_s > ASK_S:
                self.cancel(order_id, now_s)
        self._ask_of_doubts(now_s)
        return self._name_unknown(now_s)

    def lose(self) -> None:
        """The session is over: the venue was silent for too long, or has died."""
        if not self._session:
            return
        self._session, self.phase, self._snapshot = 0, Phase.LOST, None
        self._round.clear()
        self._early.clear()
        self.counters["venue_lost"] += 1
        hint = "no order leaves until it is back and its books were compared"
        self._log.error("venue_lost", unanswered=len(self._doubts), hint=hint)

    def _close_gap(self, now_s: float) -> None:
        """What is missing below what is known is asked for again."""
        wanted = self.known_seq if self.phase is Phase.UP else self._snapshot.as_of if self._snapshot else self.applied
        if self.applied < wanted and now_s - self._gap_s > GAP_S and now_s - self._asked_s > GAP_S:
            self._asked_s = now_s
            self.counters["gaps"] += 1
            self._ask(_Q.EXECUTIONS, self.applied)

    def _ask_of_doubts(self, now_s: float) -> None:
        for key, doubt in self._doubts.items():
            if now_s - doubt.since_s > ASK_S and now_s - doubt.asked_s > ASK_S and self.phase is Phase.UP:
                doubt.asked_s = now_s
                unknown = doubt.unknown_since_s
                self._ask(_Q.ORDER if unknown is None or now_s - unknown < self._grace_s else _Q.BAR, *key)

    def _name_unknown(self, now_s: float) -> list[Record]:
        records: list[Record] = []
        for (order_id, signal), doubt in self._doubts.items():
            if not doubt.is_told and now_s - doubt.since_s > UNKNOWN_S:
                doubt.is_told = True
                self.counters["unknown"] += 1
                hint = "it may have been sent, and has no answer; its exposure stays reserved"
                self._log.error("order_unknown", order_id=order_id, change=signal, hint=hint)
                if not signal:
                    records.append(OrderUpdate(order_id, Report.PENDING, reason="unknown"))
        return records


def _order_id(data: bytes) -> int:
    """Raises: WireError."""
    try:
        return msgspec.msgpack.decode(data, type=int)
    except msgspec.MsgspecError as error:
        raise WireError(f"no order id: {error}") from error
