"""What the venue's books and the fold say differently, and what is taken over."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from fold_journals import START, put

from actors.fold import Fold
from actors.reconciliation import FIRST_ADOPTED, ContradictionError, differences
from actors.venues.session import Snapshot
from protocol.orders import OrderStatus, OrderType, Report, Side
from protocol.records import FIRST_EXTERNAL, FIRST_STRATEGY, OrderPlace, OrderUpdate, Record, encode_record


def a_place(order_id: int) -> OrderPlace:
    return OrderPlace(order_id, FIRST_STRATEGY, order_id, 0, Side.BUY, OrderType.MARKET, 1)


def folded(*records: Record) -> Fold:
    fold = Fold()
    put(fold, START, *records)
    return fold


def adopted(fold: Fold, snapshot: Snapshot) -> list[Record]:
    records = [record for found in differences(fold, snapshot) for record in found.adopted_by]
    put(fold, *records)
    assert not list(differences(fold, snapshot)), "what was taken over differs no more"
    return records


def test_an_order_that_is_open_here_and_not_there_ends() -> None:
    fold = folded(a_place(1), OrderUpdate(1, Report.ACCEPT))
    assert adopted(fold, Snapshot(9, [], [])) == [OrderUpdate(1, Report.CANCEL, reason="not_at_venue")]


def test_an_order_without_an_answer_is_no_difference_it_is_in_doubt() -> None:
    fold = folded(a_place(1), a_place(2), OrderUpdate(2, Report.PENDING))
    assert not list(differences(fold, Snapshot(9, [], [])))


def test_an_order_that_is_there_and_not_here_is_nobodys() -> None:
    theirs = OrderPlace(FIRST_EXTERNAL + 4, 0, 0, 0, Side.SELL, OrderType.LIMIT, 10, 120)
    fold = folded()
    adopted(fold, Snapshot(9, [(encode_record(theirs), 3)], []))
    order = fold.tracker.open_orders[theirs.order_id]
    assert (order.remaining, order.status, order.strategy_id) == (7, OrderStatus.ACCEPTED, 0)
    assert fold.tracker.open_quantities(0) == (0, 7), "it counts"
    assert fold.tracker.next_order_id == 1, "our own ids go on as they were"


def test_an_order_that_was_taken_for_never_sent_revives() -> None:
    fold = folded(a_place(1), OrderUpdate(1, Report.REJECT, reason="not_sent"))
    assert adopted(fold, Snapshot(9, [(encode_record(a_place(1)), 0)], [])) == [
        OrderUpdate(1, Report.ACCEPT, reason="adopted")
    ]


@pytest.mark.parametrize(("ours", "theirs"), [(0, 5), (5, 0), (5, 3), (5, 8), (5, -2), (-5, 4)])
def test_a_position_is_taken_over_without_a_profit(ours: int, theirs: int) -> None:
    side = Side.BUY if ours > 0 else Side.SELL
    records = [
        OrderPlace(1, FIRST_STRATEGY, 1, 0, side, OrderType.MARKET, abs(ours)),
        OrderUpdate(1, Report.FILL, "1-1", 100, abs(ours)),
    ] if ours else []  # fmt: skip
    fold = folded(*records)
    positions = [(0, theirs, 130)] if theirs else []
    adopted(fold, Snapshot(9, [], positions))
    assert fold.account.position(0).quantity == theirs
    assert fold.account.realized.get(0, 0) == 0
    assert min(order_id for order_id in fold.tracker.orders if order_id >= FIRST_EXTERNAL) >= FIRST_ADOPTED
    assert fold.account_of(FIRST_STRATEGY).position(0).quantity == ours, "what it has traded is still its own"


def test_what_is_taken_over_twice_from_the_same_entry_has_two_ids() -> None:
    """Two transfers, of which no entry tells."""
    fold = folded()
    first = adopted(fold, Snapshot(9, [], [(0, 5, 130)]))
    second = adopted(fold, Snapshot(9, [], [(0, 7, 130)]))
    assert order_ids(first).isdisjoint(order_ids(second))
    assert fold.account.position(0).quantity == 7


@pytest.mark.parametrize("ours", [0, -3])
def test_a_life_that_dies_while_it_takes_a_position_over_leaves_the_rest_to_the_next(ours: int) -> None:
    place = [OrderPlace(1, FIRST_STRATEGY, 1, 0, Side.SELL, OrderType.MARKET, -ours),
             OrderUpdate(1, Report.FILL, "1-1", 100, -ours)] if ours else []  # fmt: skip
    snapshot = Snapshot(9, [], [(0, 5, 130)])
    whole = len([one for found in differences(folded(*place), snapshot) for one in found.adopted_by])
    assert whole > 2
    for written in range(1, whole + 1):
        fold = folded(*place)
        records = [one for found in differences(fold, snapshot) for one in found.adopted_by][:written]
        put(fold, *records)
        adopted(fold, snapshot)
        assert fold.account.position(0).quantity == 5
        assert not fold.tracker.open_orders


def order_ids(records: Iterable[Record]) -> set[int]:
    return {record.order_id for record in records if isinstance(record, OrderPlace)}


def test_every_id_is_exact_as_a_double() -> None:
    far = folded()
    far.lsn = 10**9
    records = adopted(far, Snapshot(9, [], [(0, 5, 130)]))
    assert all(int(float(order_id)) == order_id for order_id in order_ids(records))


@pytest.mark.parametrize(
    ("journal", "theirs", "words"),
    [
        ([OrderUpdate(1, Report.ACCEPT)], (1, 9), "for 9e-06 @ 0; here it is Accepted, with 1e-05 @ 0"),
        ([OrderUpdate(1, Report.ACCEPT)], (77, 10), "for 1e-05 @ 7.7e-05; here"),
        ([OrderUpdate(1, Report.CANCEL)], (0, 10), "here it is Canceled"),
        ([OrderUpdate(1, Report.FILL, "1-1", 100, 10)], (0, 10), "here it is Filled"),
    ],
)
def test_books_that_cannot_be_those_of_this_journal_are_not_taken_over(
    journal: list[Record], theirs: tuple[int, int], words: str
) -> None:
    """The venue, or the journal, was put back from a copy: it lacks a cancel, a fill, or a change of an order."""
    place = OrderPlace(1, FIRST_STRATEGY, 1, 0, Side.BUY, OrderType.LIMIT, 10)
    limit, left = theirs
    fold = folded(place, *journal)
    there = msgspec.structs.replace(place, limit_price=limit if limit != 1 else 0)
    with pytest.raises(ContradictionError, match="older copy") as raised:
        list(differences(fold, Snapshot(9, [(encode_record(there), 10 - left)], [])))
    assert words in str(raised.value)
