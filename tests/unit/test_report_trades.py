"""Round trips and sums of a book: hand-made sequences, and the identities that hold for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import Position
from protocol.orders import Side
from protocol.units import MICROS, PRODUCT
from supervisor.report.trades import TRADES_KEPT, Book, Fill

BUY, SELL = Side.BUY, Side.SELL
EURUSD, ES = 0, 1


def fill(
    time_us: int, side: Side, quantity: float, price: float, *, commission: float = 0.0, symbol: int = EURUSD,
    strategy: int = 16, multiplier: int = 1,
) -> Fill:  # fmt: skip
    return Fill(
        time_us, symbol, strategy, side, round(price * MICROS), round(quantity * MICROS), round(commission * MICROS),
        multiplier * MICROS,
    )  # fmt: skip


def booked(*fills: Fill) -> Book:
    book = Book()
    for one in fills:
        book.add(one)
    return book


def profits(book: Book) -> list[float]:
    return [trade.profit / PRODUCT for trade in book.trades]


def test_a_trade_is_from_flat_to_flat_with_all_that_was_added_and_taken_off() -> None:
    book = booked(
        fill(10, BUY, 2, 100.0, commission=1.0), fill(20, BUY, 2, 110.0), fill(30, SELL, 1, 120.0, commission=0.5),
        fill(40, SELL, 3, 130.0, strategy=17),
    )  # fmt: skip
    (trade,) = book.trades
    assert (trade.entry_us, trade.exit_us, trade.side, trade.strategy_ids) == (10, 40, BUY, (16, 17))
    assert (trade.quantity, trade.entry_price, trade.exit_price) == (4 * MICROS, 105.0, 127.5)
    assert profits(book) == [4 * 22.5 - 1.5]
    assert (book.tally.trades, book.tally.wins, book.fills) == (1, 1, 4)


def test_a_fill_through_zero_ends_a_trade_and_begins_one_and_its_commission_is_shared() -> None:
    book = booked(
        fill(10, BUY, 1, 100.0), fill(20, SELL, 4, 90.0, commission=4.0), fill(30, BUY, 3, 80.0, commission=0.5)
    )
    assert profits(book) == [-10.0 - 1.0, 30.0 - 3.0 - 0.5]
    assert [trade.side for trade in book.trades] == [BUY, SELL]
    assert [trade.entry_us for trade in book.trades] == [10, 20]
    assert (book.tally.wins, book.tally.losses) == (1, 1)
    assert (book.tally.gross_profit, book.tally.gross_loss) == (26.5 * PRODUCT, 11 * PRODUCT)
    assert (book.tally.best, book.tally.worst) == (26.5 * PRODUCT, -11 * PRODUCT)


def test_symbols_have_trades_of_their_own_and_multipliers() -> None:
    book = booked(
        fill(10, BUY, 1, 4000.0, symbol=ES, multiplier=50), fill(20, SELL, 1, 1.5),
        fill(30, SELL, 1, 4002.0, symbol=ES, multiplier=50), fill(40, BUY, 1, 1.5),
    )  # fmt: skip
    assert [(trade.symbol_id, trade.profit / PRODUCT) for trade in book.trades] == [(ES, 100.0), (EURUSD, 0.0)]
    assert (book.tally.wins, book.tally.losses, book.tally.trades) == (1, 0, 2), "neither won nor lost is a trade too"
    assert [trade.entry_price for trade in book.trades] == [4000.0, 1.5]


def test_exposure_is_the_time_with_any_position() -> None:
    book = booked(
        fill(10, BUY, 1, 1.0), fill(20, BUY, 1, 1.0, symbol=ES), fill(30, SELL, 1, 1.0),
        fill(50, SELL, 1, 1.0, symbol=ES), fill(80, SELL, 1, 1.0),
    )  # fmt: skip
    assert book.held_us(0, 100) == (50 - 10) + (100 - 80)


def test_what_is_carried_into_a_run_is_held_from_its_start_and_sums_begin_anew() -> None:
    book = booked(fill(10, BUY, 4, 100.0, commission=1.0), fill(20, SELL, 2, 150.0))
    book.begin()
    assert (book.realized, book.commission, book.fills, list(book.results)) == (0, 0, 0, [])
    book.add(fill(1010, SELL, 2, 90.0, commission=0.25))
    (trade,) = book.trades
    assert (trade.entry_us, trade.quantity, trade.entry_price) == (None, 2 * MICROS, 100.0)
    assert trade.strategy_ids == (16,)
    assert trade.profit == -20.25 * PRODUCT, "what the run before realized stays there"
    assert book.held_us(1000, 1040) == 10
    assert list(book.results) == [-20.25]


def test_a_carried_position_that_is_reversed_is_held_all_the_time() -> None:
    book = Book()
    book.carry(EURUSD, Position(-MICROS, -100 * PRODUCT))
    book.begin()
    book.add(fill(10, BUY, 2, 90.0))
    assert profits(book) == [10.0]
    assert book.trades[0].side is SELL
    assert book.held_us(0, 100) == 100


def test_swap_belongs_to_the_result_and_to_no_trade() -> None:
    book = booked(fill(10, BUY, 1, 100.0))
    book.adjust(20, -3 * PRODUCT)
    book.add(fill(30, SELL, 1, 110.0))
    assert profits(book) == [10.0]
    assert list(book.results) == [0.0, -3.0, 7.0]
    assert book.adjusted == -3 * PRODUCT


def test_only_the_newest_trades_are_kept_and_all_are_counted() -> None:
    book = Book()
    for number in range(TRADES_KEPT + 5):
        book.add(fill(2 * number, BUY, 1, 1.0))
        book.add(fill(2 * number + 1, SELL, 1, 2.0))
    assert book.tally.trades == TRADES_KEPT + 5
    assert [book.trades[0].entry_us, len(book.trades)] == [10, TRADES_KEPT]


fills = st.lists(
    st.builds(
        fill,
        st.just(0),
        st.sampled_from([BUY, SELL]),
        st.integers(1, 5),
        st.integers(50, 150),
        commission=st.integers(0, 3).map(lambda thirds: thirds / 3),
        symbol=st.sampled_from([EURUSD, ES]),
    ),
    max_size=40,
)


@given(fills)
def test_from_flat_to_flat_the_trades_are_the_cash_to_the_last_digit(some: list[Fill]) -> None:
    book, cash, quantity = Book(), 0, {EURUSD: 0, ES: 0}
    for one in some:
        book.add(one)
        cash -= one.side.sign * one.price * one.quantity + one.commission * MICROS
        quantity[one.symbol_id] += one.side.sign * one.quantity
    for symbol, held in quantity.items():
        if held:
            book.add(fill(0, SELL if held > 0 else BUY, abs(held) / MICROS, 100.0, symbol=symbol))
            cash += held * 100 * MICROS
    assert not book.open_positions
    assert sum(trade.profit for trade in book.trades) == cash == book.realized - book.commission == book.tally.profit
    assert book.tally.wins + book.tally.losses <= book.tally.trades == len(book.trades)
    for trade in book.trades:
        sign = trade.side.sign
        assert trade.realized == sign * (trade.exit_value - trade.entry_cost)


@given(fills)
def test_the_account_nets_what_strategies_hold_and_their_results_add_up_when_all_are_flat(some: list[Fill]) -> None:
    account, books = Book(), {16: Book(), 17: Book()}
    for number, one in enumerate(some):
        mine = Fill(number, one.symbol_id, 16 + number % 2, one.side, one.price, one.quantity, 0, MICROS)
        account.add(mine)
        books[mine.strategy_id].add(mine)
    for strategy, book in books.items():
        for symbol, held in book.open_positions.items():
            side = SELL if held.quantity > 0 else BUY
            closing = Fill(99, symbol, strategy, side, 100 * MICROS, abs(held.quantity), 0, MICROS)
            account.add(closing)
            book.add(closing)
    assert not account.open_positions
    assert account.realized == sum(book.realized for book in books.values())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_exposure_never_exceeds_the_span(size: int) -> None:
    book = Book()
    for number in range(1, 20):
        book.add(fill(number, BUY if number % (size + 1) else SELL, size, 1.0))
    assert 0 < book.held_us(1, 19) <= 18
