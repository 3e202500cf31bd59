"""A session over a bad line with a venue that has books: whatever is lost, both come to know the same (V1).

The venue is the real one without its sockets: paper model, books on a real file, the line. Time is a number.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import msgspec
import pytest
import structlog
from fold_journals import put
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.fold import Fold
from actors.reconciliation import FIRST_ADOPTED, differences
from actors.venues.books import Books
from actors.venues.exchange import Exchange
from actors.venues.line import Line
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from actors.venues.session import BAD_MAX, EARLY_MAX, SILENCE_S, UNKNOWN_S, Phase, Snapshot, VenueSession
from protocol.messages import (
    Message,
    VenueExecutions,
    VenueHeartbeat,
    VenueLoggedOn,
    VenueLogon,
    VenueOpenOrders,
    VenueOrderKnown,
    VenuePositions,
    VenueQuery,
    VenueReport,
    decode_message,
    encode_message,
)
from protocol.orders import OrderStatus, OrderType, Report, Side
from protocol.records import (
    FIRST_STRATEGY,
    EngineRun,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    Record,
    RunEvent,
    encode_record,
)
from protocol.settings import LineSettings
from protocol.units import MICROS, product_to_bytes

JOURNAL = b"j" * 16
BASE = 1_700_000_000_000_000
"""The number before the first entry of the venue's books."""
GRACE_S = 0.4
STEP_S = 0.05
START = EngineRun(
    JOURNAL, RunEvent.START, "operator", "0", bytes(32), bytes(16), 0, product_to_bytes(0), "USD", 1,
    (("EURUSD", MICROS),), ("s",),
)  # fmt: skip


class Both:
    """A router in small (fold and session) and a venue, joined by a line both ways; either may be killed."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.path = directory / "venue.log"
        self.random = Random(seed)
        self.now_s = 100.0
        self.fold = Fold()
        self.signals = -10_000
        self.transfers = 0
        self.sent: list[int] = []
        self.market_us = 0
        self.journal: list[Record] = []
        self.append(START)
        self.out, self.back = Line(LineSettings(), self.now_s), Line(LineSettings(), self.now_s)
        self.books: Books | None = None
        self.start_venue()
        self.start_router()

    # The two.

    def start_venue(self) -> None:
        if self.books is not None:
            self.books.close()
        self.books = Books(self.path, b"boot", ["EURUSD"], {0: MICROS}, BASE)
        self.exchange = Exchange(lambda: PaperVenue(Policies({0: Terms(1)})), self.books)

    def start_router(self) -> None:
        """A new life knows what the journal says, and nothing else."""
        waiting = (OrderStatus.NEW, OrderStatus.PENDING_NEW)
        orders = self.fold.tracker.open_orders.values()
        doubts = [
            (order.order_id, 0, order.status is not OrderStatus.NEW)
            for order in orders
            if order.status in waiting and not order.is_external and not order.is_the_venues
        ]
        doubts += [(order.order_id, order.replace.signal, False) for order in orders if order.replace is not None]
        self.session = VenueSession(
            JOURNAL, self.fold.venue_seq, doubts, grace_s=GRACE_S, now_s=self.now_s, log=structlog.get_logger()
        )
        for order in self.fold.tracker.open_orders.values():
            if order.cancel_requested:
                self.session.cancel(order.order_id, self.now_s)

    def append(self, *records: Record) -> None:
        for record in records:
            if isinstance(record, OrderPlace) and record.order_id in self.fold.tracker.orders:
                continue
            self.journal.append(record)
            put(self.fold, record)
            if isinstance(record, OrderUpdate) and not self.fold.tracker.orders[record.order_id].is_open:
                self.session.is_over(record.order_id)

    # Time.

    def step(self, seconds: float = STEP_S) -> None:
        self.now_s += seconds
        now_s = self.now_s
        for frame in self.out.take(now_s):
            answer = self.exchange.hear(b"router", decode_message(frame), int(now_s * 1e6))
            if answer is not None:
                self.back.put(encode_message(answer), now_s)
        for message in (*self.exchange.news(), self.exchange.beat()):
            if message is not None:
                self.back.put(encode_message(message), now_s)
        for frame in self.back.take(now_s):
            self.append(*self.session.hear(decode_message(frame), now_s))
        self.append(*self.session.look(now_s))
        if (snapshot := self.session.snapshot) is not None:
            found = list(differences(self.fold, snapshot))
            assert self.transfers or not found, "the line may be bad, the books are not"
            for difference in found:
                self.append(difference.violation, *difference.adopted_by)
            self.append(*self.session.settle())
        for message in self.session.outbox:
            self.out.put(encode_message(message), now_s)
        self.session.outbox.clear()

    def tick(self) -> None:
        self.market_us += 1000
        bid = 100 + self.random.randrange(-3, 4)
        self.exchange.on_tick(0, self.market_us, bid, bid + 1)

    def place(self) -> None:
        """Journaled; sent if the session lets it, as order_routing does."""
        order_id = self.fold.next_order_id
        kind, side = self.random.choice((OrderType.MARKET, OrderType.LIMIT)), self.random.choice(list(Side))
        place = OrderPlace(
            order_id, FIRST_STRATEGY + order_id % 2, order_id, 0, side, kind,
            self.random.randrange(1, 5), 100 if kind is OrderType.LIMIT else 0,
        )  # fmt: skip
        if self.random.random() < 0.4:  # a bracket
            place = msgspec.structs.replace(
                place, stop_loss=100 - 3 * side.sign, take_profit=100 + 3 * side.sign,
                stop_loss_order_id=order_id + 1, take_profit_order_id=order_id + 2,
            )  # fmt: skip
        self.append(place)
        if self.session.phase is Phase.UP:
            self.sent.append(place.order_id)
            self.session.send(place, self.now_s)
        else:
            self.append(OrderUpdate(place.order_id, Report.REJECT, reason="venue_lost"))

    def transfer(self) -> None:
        """Nobody is told, until the books are compared."""
        self.transfers += 1
        self.exchange.transfer(0, self.random.choice((-3, -1, 2, 5)), 100)

    def replace(self) -> None:
        """An order that is known to stand gets another size or price."""
        standing = [
            order.order_id
            for order in self.fold.tracker.open_orders.values()
            if order.status is OrderStatus.ACCEPTED and order.replace is None
            and not order.is_external and not order.parent_id
        ]  # fmt: skip
        if not standing or self.session.phase is not Phase.UP:
            return
        self.signals -= 1
        quantity, price = self.random.choice(((6, 0), (0, 98), (2, 102)))
        request = OrderReplace(self.random.choice(standing), FIRST_STRATEGY, -self.signals, quantity, price)
        self.append(request)
        self.session.replace(request, self.now_s)

    def mend(self) -> None:
        """The line is good from here on, until all is quiet."""
        self.out, self.back = (Line(LineSettings(), self.now_s) for _ in range(2))
        noticed_s = self.now_s + 2 * SILENCE_S  # a venue's new life that has no session
        for _ in range(int(20 / STEP_S)):
            self.step()
            is_quiet = self.session.phase is Phase.UP and not self.session.unanswered + self.session.missing
            if is_quiet and self.now_s > noticed_s:
                return
        raise AssertionError(f"not quiet: {self.session.phase}, {self.session.unanswered}, {self.session.missing}")


MOVES = ["place", "tick"] * 8 + ["wait", "replace"] * 4 + ["cancel"] * 2
MOVES += ["router", "venue", "by hand", "transfer", "cut"]
LINES = st.builds(
    LineSettings,
    seed=st.integers(0, 1000), drop=st.sampled_from([0.0, 0.3, 0.7]), duplicate=st.sampled_from([0.0, 0.3]),
    reorder=st.sampled_from([0.0, 0.3]), delay_ms=st.sampled_from([0.0, 100.0, 2000.0]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(moves=st.integers(10, 120), line=LINES, seed=st.integers(0, 10**9), has_transfers=st.booleans())
def test_whatever_is_lost_both_come_to_know_the_same_and_nothing_is_sent_or_booked_twice(
    moves: int, line: LineSettings, seed: int, has_transfers: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        both = Both(Path(directory), seed)
        both.mend()
        both.out, both.back = Line(line, both.now_s), Line(line, both.now_s)
        for _ in range(moves):
            move = both.random.choice(MOVES)
            if move == "place":
                both.place()
            elif move == "tick":
                both.tick()
            elif move == "replace":
                both.replace()
            elif move == "cancel" and (orders := list(both.fold.tracker.open_orders)):
                both.session.cancel(both.random.choice(orders), both.now_s)
            elif move == "router":
                both.start_router()
            elif move == "venue":
                both.start_venue()
            elif move == "transfer" and has_transfers:
                both.transfer()
            elif move == "by hand":
                place = OrderPlace(0, 0, 0, 0, Side.BUY, OrderType.LIMIT, 2, limit_price=100)
                both.exchange.place_by_hand(place)
            elif move == "cut":
                both.out.cut(both.now_s, 1.5)
                both.back.cut(both.now_s, 1.5)
            both.step(0.5 if move == "wait" else STEP_S)
        if both.transfers:
            both.start_router()
        both.mend()
        assert_agreed(both)
        assert both.books is not None
        both.books.close()


@pytest.mark.parametrize("seed", range(5))
def test_a_comparison_ends_though_others_trade_and_messages_are_lost(tmp_path: Path, seed: int) -> None:
    both = Both(tmp_path, seed)
    both.mend()
    both.back = Line(LineSettings(seed=seed, drop=0.3), both.now_s)
    both.session.lose()
    for _ in range(round(60 / STEP_S)):
        both.step()
        if both.session.phase is Phase.UP:
            return
        if both.random.random() < 0.5:
            both.exchange.place_by_hand(OrderPlace(0, 0, 0, 0, Side.BUY, OrderType.LIMIT, 2, limit_price=90))
    raise AssertionError("not within a minute")


def assert_agreed(both: Both) -> None:
    assert both.books is not None
    books, fold = both.books, both.fold
    # Every order that the venue has is as the venue has it; every other one has ended, and never will be there.
    arrived = {books.client_id(JOURNAL, number): order for number, order in books.tracker.orders.items()}
    for order_id, order in fold.tracker.orders.items():
        if order_id >= FIRST_ADOPTED:
            continue
        if order_id in arrived:
            theirs = arrived[order_id]
            assert (order.status, order.filled) == (theirs.status, theirs.filled)
            if order.is_open:
                assert (order.quantity, order.limit_price) == (theirs.quantity, theirs.limit_price)
                assert order.replace is theirs.replace is None
        else:
            assert order.status is OrderStatus.REJECTED
            assert order.reason in ("not_sent", "venue_lost")
    assert arrived.keys() <= fold.tracker.orders.keys()
    held = {symbol_id: quantity for symbol_id, quantity, _ in books.positions()}
    assert held.get(0, 0) == fold.account.position(0).quantity
    updates = [record for record in both.journal if isinstance(record, OrderUpdate)]
    fills = [record for record in updates if record.report is Report.FILL and record.order_id < FIRST_ADOPTED]
    executions = [record.execution_id for record in fills]
    assert len(executions) == len(set(executions))
    assert set(executions) == set(books.tracker.execution_ids)
    # Net of the strategies, and of nobody, is the net at the venue.
    assert sum(account.position(0).quantity for account in fold.strategy_accounts.values()) == held.get(0, 0)


# By hand: one rule at a time.


@pytest.fixture
def session() -> VenueSession:
    made = VenueSession(JOURNAL, 0, [], grace_s=GRACE_S, now_s=0.0, log=structlog.get_logger())
    hear(made, 0.1, VenueLoggedOn(7, 0, 0))
    first = made.outbox[-3:]
    numbers = [query.number for query in first]  # pyright: ignore[reportAttributeAccessIssue]
    hear(made, 0.1, VenueOpenOrders(numbers[0], 0, ()), VenueExecutions(numbers[1], 0, ()),
         VenuePositions(numbers[2], 0, ()))  # fmt: skip
    made.settle()
    made.outbox.clear()
    return made


def hear(session: VenueSession, now_s: float, *messages: Message) -> list[Record]:
    return [record for message in messages for record in session.hear(message, now_s)]


def update(order_id: int, report: Report = Report.ACCEPT) -> bytes:
    return encode_record(OrderUpdate(order_id, report))


def a_place(order_id: int) -> OrderPlace:
    return OrderPlace(order_id, FIRST_STRATEGY, order_id, 0, Side.BUY, OrderType.MARKET, 1)


def report(seq: int, order_id: int = 1, session: int = 7) -> VenueReport:
    return VenueReport(session, seq, 8, update(order_id))


def asked(session: VenueSession) -> list[tuple[str, int]]:
    """(what, argument) of the queries in the outbox, which is emptied."""
    found = [(query.what, query.argument) for query in session.outbox if hasattr(query, "what")]  # pyright: ignore
    session.outbox.clear()
    return found


def test_reports_are_taken_in_order_once_each(session: VenueSession) -> None:
    assert hear(session, 0.2, report(2), report(1)) == [OrderUpdate(1, Report.ACCEPT)] * 2
    assert hear(session, 0.2, report(1), report(2)) == []
    assert session.counters["duplicates"] == 2


def test_a_report_that_was_lost_last_is_missed_by_the_heartbeat(session: VenueSession) -> None:
    hear(session, 0.2, VenueHeartbeat(7, 3))
    session.look(0.25)
    assert asked(session) == []
    session.look(0.5)
    assert asked(session) == [("executions", 0)]


def test_what_another_session_says_is_not_heard(session: VenueSession) -> None:
    assert hear(session, 0.2, report(1, session=6), VenueHeartbeat(6, 9)) == []
    assert session.missing == 0


def test_garbage_in_a_report_is_asked_for_again_and_nothing_behind_it_is_taken(session: VenueSession) -> None:
    assert hear(session, 0.2, VenueReport(7, 1, 8, b"\xc1"), report(2)) == []
    session.look(0.5)
    assert asked(session) == [("executions", 0)]
    assert hear(session, 0.6, report(1)) == [OrderUpdate(1, Report.ACCEPT)] * 2


def test_silence_loses_the_venue_and_no_order_may_leave_until_its_books_were_compared(session: VenueSession) -> None:
    session.look(0.2 + SILENCE_S)
    assert session.phase is Phase.LOST
    assert isinstance(session.outbox[-1], VenueLogon)
    with pytest.raises(AssertionError):
        session.send(a_place(1), 2.0)
    hear(session, 2.0, VenueLoggedOn(8, 0, 0))
    assert session.phase is Phase.RECONCILING


def test_an_order_is_unknown_after_a_while_and_not_sent_only_after_a_second_no_and_the_bar(
    session: VenueSession,
) -> None:
    session.send(a_place(1), 1.0)
    beat = VenueHeartbeat(7, 0)
    hear(session, 1.0, beat)
    session.look(1.6)
    assert asked(session) == [("order", 1)]
    hear(session, 1.7, beat, VenueOrderKnown(1, 1, False, False))
    assert session.look(1.0 + UNKNOWN_S + 0.1) == [OrderUpdate(1, Report.PENDING, reason="unknown")]
    session.outbox.clear()
    hear(session, 2.3, beat)
    session.look(2.3)
    assert asked(session) == [("bar", 1)]
    assert hear(session, 2.4, VenueOrderKnown(2, 1, False, True)) == [OrderUpdate(1, Report.REJECT, reason="not_sent")]
    assert not session.unanswered


def test_with_an_order_that_never_arrived_its_change_is_over_too() -> None:
    doubts = [(1, 0, True), (1, 77, True)]
    session = VenueSession(JOURNAL, 0, doubts, grace_s=0.0, now_s=0.0, log=structlog.get_logger())
    hear(session, 0.1, VenueLoggedOn(7, 0, 0))
    assert hear(session, 0.2, VenueOrderKnown(1, 1, False, True)) == [OrderUpdate(1, Report.REJECT, reason="not_sent")]
    assert hear(session, 0.2, VenueOrderKnown(2, 1, False, True, 77)) == []
    assert not session.unanswered


def test_an_order_that_the_venue_knows_is_never_given_up(session: VenueSession) -> None:
    session.send(a_place(1), 1.0)
    for number in range(100):
        now_s = 1.0 + number / 2
        assert not hear(session, now_s, VenueHeartbeat(7, 0), VenueOrderKnown(number, 1, True, False))
        assert all(record.report is Report.PENDING for record in session.look(now_s))  # pyright: ignore
    assert session.unanswered == 1
    assert ("bar", 1) not in asked(session)


def test_a_cancel_is_said_again_until_the_order_has_ended(session: VenueSession) -> None:
    session.cancel(5, 0.2)
    for now_s in (0.5, 0.9, 1.3):
        hear(session, now_s, VenueHeartbeat(7, 0))
        session.look(now_s)
    assert len(session.outbox) == 2
    session.is_over(5)
    hear(session, 2.0, VenueHeartbeat(7, 0))
    session.look(2.0)
    assert len(session.outbox) == 2


def test_the_report_that_closes_a_gap_is_taken_however_many_wait_behind_it(session: VenueSession) -> None:
    for seq in range(2, EARLY_MAX + 5):
        hear(session, 0.2, report(seq))
    assert len(hear(session, 0.3, report(1))) == EARLY_MAX
    assert session.missing == 4, "they are asked for again"


def test_a_report_that_cannot_be_read_is_asked_for_so_often_and_then_nobody_trades(session: VenueSession) -> None:
    for number in range(BAD_MAX):
        assert not session.refusal
        now_s = 0.2 + number / 2
        hear(session, now_s, VenueHeartbeat(7, 1), VenueReport(7, 1, 8, b"\xc1"))
        session.look(now_s)
    assert "entry 1 cannot be read" in session.refusal
    assert hear(session, 99.0, report(1)) == session.look(99.0) == []


@pytest.mark.parametrize(("base", "last"), [(0, 4), (6, 9), (900, 1000)])
def test_books_that_are_an_older_copy_or_others_are_refused(base: int, last: int) -> None:
    session = VenueSession(JOURNAL, 5, [], grace_s=GRACE_S, now_s=0.0, log=structlog.get_logger())
    hear(session, 0.1, VenueLoggedOn(7, last, base))
    assert "the journal has taken up to 5" in session.refusal
    assert session.look(1.0) == []
    assert not session.outbox


def test_what_is_compared_may_be_answered_late_and_all_is_asked_again_until_the_answers_agree(
    session: VenueSession,
) -> None:
    session.compare_again(1.0)
    orders, executions, positions = numbers_asked(session)
    hear(session, 1.3, VenueHeartbeat(7, 0))
    session.look(1.3)
    assert numbers_asked(session) == []
    hear(session, 1.6, VenueHeartbeat(7, 0))
    session.look(1.6)
    assert len(numbers_asked(session)) == 3
    hear(session, 2.0, VenueOpenOrders(orders, 0, ()), VenueExecutions(executions, 1, ((1, 8, update(1)),)))
    hear(session, 2.6, VenueHeartbeat(7, 1))
    session.look(2.6)
    assert len(numbers_asked(session)) == 3, "one is answered, and of old: only what is asked together agrees"
    hear(session, 2.7, VenuePositions(positions, 1, ()), VenueOpenOrders(positions + 9, 1, ()))
    assert session.snapshot == Snapshot(1, (), ())


def test_an_answer_from_before_the_comparison_does_not_count(session: VenueSession) -> None:
    session.compare_again(1.0)
    numbers = numbers_asked(session)
    session.compare_again(1.1)  # it is under way
    assert not session.outbox
    hear(session, 1.2, VenueOpenOrders(numbers[0] - 1, 0, ()), VenueExecutions(numbers[1], 0, ()),
         VenuePositions(numbers[2], 0, ()))  # fmt: skip
    assert session.snapshot is None
    hear(session, 1.2, VenueOpenOrders(numbers[0], 0, ()))
    assert session.snapshot is not None


def numbers_asked(session: VenueSession) -> list[int]:
    found = [query.number for query in session.outbox if isinstance(query, VenueQuery)]
    session.outbox.clear()
    return found
