"""The life of an order: every status against every report, written down a second time as a matrix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.orders import FINAL_STATUSES, OrderStatus, Report, advance

S = OrderStatus
REPORTS = (Report.PENDING, Report.ACCEPT, Report.FILL, Report.CANCEL, Report.REJECT, Report.EXPIRE, Report.TRIGGER,
           Report.RESTATE, Report.REPLACE, Report.REPLACE_REJECT)  # fmt: skip
__ = None

# A row a status, a column a report, in the order of REPORTS; FILL here leaves something to fill.
MATRIX: dict[OrderStatus, tuple[OrderStatus | None, ...]] = {
    S.NEW: (S.PENDING_NEW, S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCELED, S.REJECTED, S.EXPIRED, __, __, __, S.NEW),
    S.PENDING_NEW: (__, S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCELED, S.REJECTED, S.EXPIRED, __, __, __, S.PENDING_NEW),
    S.ACCEPTED: (__, __, S.PARTIALLY_FILLED, S.CANCELED, __, S.EXPIRED, S.ACCEPTED, S.ACCEPTED, S.ACCEPTED, S.ACCEPTED),
    S.PARTIALLY_FILLED: (__, __, S.PARTIALLY_FILLED, S.CANCELED, __, S.EXPIRED, *(S.PARTIALLY_FILLED,) * 4),
    S.FILLED: (__, __, __, __, __, __, __, __, __, S.FILLED),
    S.CANCELED: (__, __, __, __, __, __, __, __, __, S.CANCELED),
    S.REJECTED: (__, S.ACCEPTED, S.PARTIALLY_FILLED, __, __, __, __, __, __, S.REJECTED),  # V3: it revives
    S.EXPIRED: (__, __, __, __, __, __, __, __, __, S.EXPIRED),
}
PAIRS = [(status, report, MATRIX[status][column]) for status in S for column, report in enumerate(REPORTS)]


def test_the_matrix_has_every_status_and_every_report() -> None:
    assert set(MATRIX) == set(OrderStatus)
    assert set(REPORTS) == set(Report)


@pytest.mark.parametrize(
    ("status", "report", "expected"), PAIRS, ids=[f"{status.label}-{report.name}" for status, report, _ in PAIRS]
)
def test_every_report_leads_where_the_matrix_says_or_is_impossible(
    status: OrderStatus, report: Report, expected: OrderStatus | None
) -> None:
    assert advance(status, report, quantity=10, filled=4, fill_quantity=3) is expected


@pytest.mark.parametrize("status", [status for status in S if MATRIX[status][2] is not None])
@pytest.mark.parametrize(
    ("fill_quantity", "expected"),
    [(-1, None), (0, None), (1, S.PARTIALLY_FILLED), (5, S.PARTIALLY_FILLED), (6, S.FILLED), (7, None)],
)
def test_a_fill_must_be_positive_and_fit_and_the_last_one_fills(
    status: OrderStatus, fill_quantity: int, expected: OrderStatus | None
) -> None:
    assert advance(status, Report.FILL, quantity=10, filled=4, fill_quantity=fill_quantity) is expected


@given(st.lists(st.tuples(st.sampled_from(Report), st.integers(-1, 6)), max_size=30))
def test_no_history_overfills_and_only_a_rejected_order_leaves_a_final_status(
    history: list[tuple[Report, int]],
) -> None:
    status, filled = S.NEW, 0
    for report, quantity in history:
        following = advance(status, report, quantity=10, filled=filled, fill_quantity=quantity)
        if following is None:
            continue
        assert status not in FINAL_STATUSES - {S.REJECTED} or (report is Report.REPLACE_REJECT and following is status)
        status, filled = following, filled + (quantity if report is Report.FILL else 0)
        assert 0 <= filled <= 10
        assert (status is S.FILLED) == (filled == 10)
