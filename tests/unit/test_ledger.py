"""The ledger against fractions: an average-cost ledger that never rounds, and the cash that really flowed."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import pytest
from fraction_ledger import SYMBOLS, Found, FractionLedger, random_fills
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import (
    FLAT,
    PRODUCT_MAX,
    Account,
    FillEffect,
    Position,
    apply_fill,
    average_price_float,
    average_price_micros,
    value_account,
)
from protocol.errors import NotRepresentableError
from protocol.orders import Side
from protocol.units import MICROS, MICROS_MAX

ONE = MICROS
BUY, SELL = Side.BUY, Side.SELL

fills = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 10**12), st.integers(1, 10**10)), min_size=1, max_size=40
)


def product(units: int | str | Fraction) -> int:
    """`units` of money as a product."""
    exact = Fraction(units) * 10**12
    assert exact.denominator == 1
    return int(exact)


@pytest.mark.parametrize(
    ("held", "side", "price", "quantity", "expected"),
    [
        pytest.param(FLAT, BUY, 100, 3, FillEffect(3, 0, 0, Position(3, 300)), id="open long"),
        pytest.param(FLAT, SELL, 100, 3, FillEffect(-3, 0, 0, Position(-3, -300)), id="open short"),
        pytest.param(Position(3, 300), BUY, 110, 1, FillEffect(1, 0, 0, Position(4, 410)), id="increase long"),
        pytest.param(Position(-3, -300), SELL, 90, 1, FillEffect(-1, 0, 0, Position(-4, -390)), id="increase short"),
        pytest.param(Position(4, 400), SELL, 110, 1, FillEffect(0, -1, 10, Position(3, 300)), id="reduce long"),
        pytest.param(Position(-4, -400), BUY, 110, 1, FillEffect(0, 1, -10, Position(-3, -300)), id="reduce short"),
        pytest.param(Position(4, 400), SELL, 90, 4, FillEffect(0, -4, -40, FLAT), id="close long"),
        pytest.param(Position(-4, -400), BUY, 90, 4, FillEffect(0, 4, 40, FLAT), id="close short"),
        pytest.param(Position(4, 400), SELL, 110, 6, FillEffect(-2, -4, 40, Position(-2, -220)), id="long to short"),
        pytest.param(Position(-4, -400), BUY, 110, 6, FillEffect(2, 4, -40, Position(2, 220)), id="short to long"),
    ],
)
def test_a_fill_opens_increases_reduces_closes_or_reverses(
    held: Position, side: Side, price: int, quantity: int, expected: FillEffect
) -> None:
    assert apply_fill(held, side, price, quantity, ONE) == expected


@pytest.mark.parametrize(("side", "sign"), [(BUY, 1), (SELL, -1)])
def test_what_truncation_leaves_stays_in_the_open_cost_until_the_last_close(side: Side, sign: int) -> None:
    other = SELL if side is BUY else BUY
    held = Position(3 * sign, 100 * sign)
    first = apply_fill(held, other, 40, 1, ONE)
    assert first == FillEffect(0, -sign, sign * (40 - 33), Position(2 * sign, 67 * sign))
    second = apply_fill(first.position, other, 40, 1, ONE)
    assert second == FillEffect(0, -sign, sign * (40 - 33), Position(sign, 34 * sign))
    third = apply_fill(second.position, other, 40, 1, ONE)
    assert third == FillEffect(0, -sign, sign * (40 - 34), FLAT)


@given(fills, st.sampled_from([ONE, 5 * ONE, 100_000 * ONE]))
def test_realized_less_open_cost_is_the_cash_flow_after_every_fill(
    orders: list[tuple[Side, int, int]], multiplier: int
) -> None:
    position, realized, cash, closes = FLAT, 0, Fraction(0), 0
    held, cost = Fraction(0), Fraction(0)  # the ledger that never rounds, in micros and products
    for side, price, quantity in orders:
        effect = apply_fill(position, side, price, quantity, multiplier)
        change = Fraction(quantity if side is BUY else -quantity)
        cash -= price * change * Fraction(multiplier, ONE)
        realized += effect.realized
        assert effect.opened + effect.closed == change
        closed = max(-abs(held), min(abs(held), change)) if held * change < 0 else Fraction(0)
        assert effect.closed == closed
        cost += cost * closed / held if held else 0
        cost += (change - closed) * price * Fraction(multiplier, ONE)
        held += change
        closes += bool(closed)
        position = effect.position
        assert position.quantity == held
        assert realized - position.cost == cash
        assert abs(position.cost - cost) <= closes, "each close rounds by less than one product"
    if held == 0:
        assert position == FLAT
        assert realized == cash


@pytest.mark.parametrize("seed", range(5))
def test_an_account_of_several_symbols_is_that_of_the_fractions_after_every_fill(seed: int) -> None:
    """The small form of tests.bench.ledger."""
    account, fractions = Account(product(1000)), FractionLedger(product(1000))
    for number, fill in enumerate(islice(random_fills(seed), 500), 1):
        symbol_id, commission = fill.symbol_id, product(Fraction(fill.commission, ONE))
        side, multiplier = BUY if fill.sign > 0 else SELL, SYMBOLS[symbol_id].multiplier
        effect = apply_fill(account.position(symbol_id), side, fill.price, fill.quantity, multiplier)
        expected_balance = account.balance_after(effect, commission)
        account.book(symbol_id, effect, commission)
        assert account.balance == expected_balance
        found = Found(effect.position.quantity, effect.position.cost, account.realized[symbol_id], account.balance)
        assert not fractions.difference_after(fill, found), f"seed {seed}, fill {number}: {fill}"
    assert fractions.rounds > 10


@given(fills)
def test_buying_and_selling_are_mirror_images(orders: list[tuple[Side, int, int]]) -> None:
    position, mirror = FLAT, FLAT
    for side, price, quantity in orders:
        effect = apply_fill(position, side, price, quantity, ONE)
        other = apply_fill(mirror, SELL if side is BUY else BUY, price, quantity, ONE)
        position, mirror = effect.position, other.position
        assert (mirror.quantity, mirror.cost) == (-position.quantity, -position.cost)


def test_a_cost_finer_than_a_product_is_refused_and_an_exact_one_is_not() -> None:
    assert apply_fill(FLAT, BUY, 1, 2, ONE // 2).position == Position(2, 1)
    with pytest.raises(NotRepresentableError):
        apply_fill(FLAT, BUY, 1, 1, ONE // 2)


def test_the_parts_of_a_reversal_must_each_be_exact() -> None:
    with pytest.raises(NotRepresentableError):
        apply_fill(Position(1, 1), SELL, 1, 4, ONE // 2)


def test_a_position_beyond_64_bits_is_refused() -> None:
    full = Position(MICROS_MAX - 1, MICROS_MAX - 1)
    assert apply_fill(full, BUY, 1, 1, ONE).position.quantity == MICROS_MAX
    with pytest.raises(NotRepresentableError):
        apply_fill(full, BUY, 1, 2, ONE)


def test_a_product_beyond_16_bytes_is_refused() -> None:
    assert apply_fill(Position(1, PRODUCT_MAX - 5), BUY, 5, 1, ONE).position.cost == PRODUCT_MAX
    with pytest.raises(NotRepresentableError):
        apply_fill(Position(1, PRODUCT_MAX - 5), BUY, 6, 1, ONE)
    with pytest.raises(NotRepresentableError):
        Account(PRODUCT_MAX).balance_after(FillEffect(0, -1, 1, FLAT), 0)


@pytest.mark.parametrize(
    ("position", "multiplier", "micros", "price"),
    [
        pytest.param(FLAT, ONE, 0, 0.0, id="flat"),
        pytest.param(Position(2 * ONE, product(3)), ONE, 1_500_000, 1.5, id="long"),
        pytest.param(Position(-2 * ONE, product(-3)), ONE, 1_500_000, 1.5, id="short"),
        pytest.param(Position(2 * ONE, product(300)), 100 * ONE, 1_500_000, 1.5, id="multiplier"),
        pytest.param(Position(2, 5), ONE, 2, 2.5e-6, id="half goes to even below"),
        pytest.param(Position(2, 7), ONE, 4, 3.5e-6, id="half goes to even above"),
        pytest.param(Position(-2, -5), ONE, 2, 2.5e-6, id="a short rounds like a long"),
    ],
)
def test_the_average_price_is_cost_by_quantity(
    position: Position, multiplier: int, micros: int, price: float
) -> None:
    assert average_price_micros(position, multiplier) == micros
    assert average_price_float(position, multiplier) == price


def test_an_account_takes_profit_and_commission_and_remembers_flat_symbols() -> None:
    account = Account(product(1000))
    account.book(0, apply_fill(FLAT, BUY, 10 * ONE, 2 * ONE, ONE), product(1))
    account.book(0, apply_fill(account.position(0), SELL, 12 * ONE, 2 * ONE, ONE), product("0.5"))
    assert account.balance == product("1002.5")
    assert account.commission == product("1.5")
    assert account.realized == {0: product(4)}
    assert account.positions == {0: FLAT}


def test_an_account_without_positions_has_no_margin_and_level_zero() -> None:
    valuation = value_account(Account(product("12.3456785")), {}, (), 100)
    assert valuation.to_micros() == (12_345_678, 12_345_678, 0, 0, 12_345_678, 0)
    assert valuation.to_floats() == (12.3456785, 12.3456785, 0.0, 0.0, 12.3456785, 0.0)


def test_a_long_is_marked_at_the_bid_and_a_short_at_the_ask() -> None:
    account = Account(product(1000))
    account.positions = {0: Position(2 * ONE, product(20)), 1: Position(-3 * ONE, product(-300)), 2: FLAT}
    marks = {0: (11 * ONE, 99 * ONE), 1: (1 * ONE, 9 * ONE), 2: (5 * ONE, 5 * ONE)}
    floats = value_account(account, marks, (ONE, 10 * ONE, ONE), 100).to_floats()
    profit = (22 - 20) + (300 - 270)
    margin = (22 + 270) / 100
    equity = 1000 + profit
    assert floats == (1000.0, equity, profit, margin, equity - margin, 100 * equity / margin)


def test_a_symbol_without_a_mark_counts_with_its_average_price() -> None:
    account = Account(product(1000))
    account.positions = {0: Position(-2 * ONE, product(-20))}
    assert value_account(account, {}, (ONE,), 10).to_floats() == (1000.0, 1000.0, 0.0, 2.0, 998.0, 50_000.0)


@given(
    st.integers(-(10**20), 10**20),
    st.lists(
        st.tuples(st.integers(-(10**12), 10**12), st.integers(1, 10**10), st.integers(1, 10**10)), max_size=5
    ),
    st.integers(1, 1000),
)
def test_valuation_rounds_the_exact_value_once(
    balance: int, rows: list[tuple[int, int, int]], leverage: int
) -> None:
    account = Account(balance)
    account.positions = {index: Position(quantity, quantity * price) for index, (quantity, price, _) in enumerate(rows)}
    marks = {index: (mark, mark + 7) for index, (_, _, mark) in enumerate(rows)}
    shown = value_account(account, marks, (ONE,) * len(rows), leverage).to_micros()
    profit = exposure = Fraction(0)
    for quantity, price, mark in rows:
        at = mark if quantity > 0 else mark + 7
        profit += Fraction(quantity * (at - price), ONE)
        exposure += Fraction(abs(quantity) * at, ONE)
    money = Fraction(balance, ONE)
    equity, margin = money + profit, exposure / leverage
    # round() of a Fraction is half to even
    level = 100 * ONE * equity / margin if margin else Fraction(0)
    assert shown == tuple(map(round, (money, equity, profit, margin, equity - margin, level)))
