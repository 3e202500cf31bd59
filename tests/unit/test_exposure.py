"""Exposure, over random books: no limit is passed whatever fills, and what closes never raises what is at risk."""

from __future__ import annotations

from collections import defaultdict

import msgspec
from books import Desk, started
from fold_journals import BUY, SELL, fill, place
from hypothesis import given
from hypothesis import strategies as st

from actors.operations import closing_orders
from protocol.messages import SIGNAL_CLOSE, SIGNAL_ORDER, Intent
from protocol.orders import OrderType, Side
from protocol.records import OrderPlace, OrderUpdate, Report
from protocol.topics import TICK
from protocol.units import MICROS

ASKS = (100, 40)
"""Of EURUSD, and of ES with its multiplier of 50."""
VALUES = (100, 2000)
LIMITS = "max_position_per_symbol = 30\nmax_gross_exposure = 30_000\nmax_open_orders = 6"
OWN = "max_position_per_symbol = 12, max_gross_exposure = 9_000"
Step = tuple[str, int, int, Side, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "close", "fill", "fill", "fill", "cancel"]), st.sampled_from([16, 17]),
        st.integers(0, 1), st.sampled_from(Side), st.integers(1, 15), st.integers(0, 20),
    ), max_size=60,
)  # fmt: skip


def quoted(risk: str, own: str = "") -> Desk:
    desk = started(risk, own)
    for symbol_id, ask in enumerate(ASKS):
        desk.book.scopes.take_ticks(memoryview(TICK.pack(0, symbol_id, 1, (ask - 1) * MICROS, ask * MICROS)))
    return desk


def take_step(desk: Desk, step: Step, number: int) -> None:
    verb, strategy, symbol_id, side, quantity, index = step
    opened = list(desk.fold.tracker.open_orders.values())
    if verb == "fill" and opened:
        order = opened[index % len(opened)]
        part = min(quantity * MICROS, order.remaining)
        desk.take(fill(order.order_id, ASKS[order.symbol_id] * MICROS, part, execution=f"x{number}"))
    elif verb == "cancel" and opened:
        desk.take(OrderUpdate(opened[index % len(opened)].order_id, Report.CANCEL))
    elif verb in ("market", "limit", "close"):
        kind = SIGNAL_CLOSE if verb == "close" else SIGNAL_ORDER
        intent = Intent(strategy, number, 1, 0, b"", 302, kind, symbol_id, side=side, quantity=quantity * MICROS)
        if verb == "limit":
            price = (ASKS[symbol_id] - index % 3) * MICROS
            intent = msgspec.structs.replace(intent, order_type=OrderType.LIMIT, limit_price=price)
        desk.book.decide(intent, number)
    desk.settle()


def worst(desk: Desk, symbol_id: int, strategy: int | None) -> int:
    """Reckoned anew: the position with the open orders of its worse side, in units."""
    fold = desk.fold
    accounts = [account for who, account in fold.strategy_accounts.items() if strategy in (None, who)]
    position = sum(account.position(symbol_id).quantity for account in accounts)
    left: defaultdict[Side, int] = defaultdict(int)
    for order in fold.tracker.open_orders.values():
        if order.symbol_id == symbol_id and strategy in (None, order.strategy_id):
            left[order.side] += order.quantity - order.filled
    return max(position + left[BUY], left[SELL] - position) // MICROS


@given(steps)
def test_whatever_fills_no_limit_on_exposure_is_passed(history: list[Step]) -> None:
    desk = quoted(LIMITS, OWN)
    for number, step in enumerate(history, 1):
        take_step(desk, step, number)
        for strategy, position, gross in ((None, 30, 30_000), (16, 12, 9_000)):
            worsts = [worst(desk, symbol_id, strategy) for symbol_id in range(2)]
            assert max(worsts) <= position
            assert sum(map(int.__mul__, worsts, VALUES)) <= gross


@given(
    st.lists(st.tuples(st.sampled_from([0, 16, 17, 18]), st.integers(-50, 50)), max_size=6),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=40),
)
def test_what_closes_brings_the_net_position_to_nothing_and_never_raises_it(
    holdings: list[tuple[int, int]], fills: list[tuple[int, int]]
) -> None:
    """However it fills: |net| never grows, and no strategy is turned round. (FLATTEN, and on_halt = "flatten".)"""
    desk = started()
    for number, (strategy, quantity) in enumerate(holdings, 1):
        if quantity:
            side = BUY if quantity > 0 else SELL
            desk.take(place(number, side, abs(quantity), strategy=strategy), fill(number, 100, abs(quantity)))
            desk.settle()
    fold = desk.fold
    closing = list(closing_orders(fold, (), 0, 100))
    desk.take(*closing)
    assert not list(closing_orders(fold, (), 0, 200)), "asked for once"
    held, owned = abs(fold.account.position(0).quantity), fold.owned_positions()
    for number, (index, part) in enumerate([*fills, *((index, 60) for index in range(len(closing)) for _ in range(9))]):
        if not (opened := list(fold.tracker.open_orders.values())):
            break
        order = opened[index % len(opened)]
        desk.take(fill(order.order_id, 100, min(part, order.remaining), execution=f"x{number}"))
        desk.settle()
        now = abs(fold.account.position(0).quantity)
        assert now < held
        held = now
        for key, quantity in fold.owned_positions().items():
            assert 0 <= quantity * (1 if owned[key] > 0 else -1) <= abs(owned[key])
    assert held == 0


def test_closing_orders_that_are_pending_are_not_placed_twice() -> None:
    desk = started()
    desk.take(place(1, BUY, 10), fill(1, 100, 10))
    desk.settle()
    closing = list(closing_orders(desk.fold, (), 0, 5))
    assert closing == [OrderPlace(5, 16, 0, 0, SELL, OrderType.MARKET, 10, reduce_only=True)]
    assert not list(closing_orders(desk.fold, closing, 0, 6))
