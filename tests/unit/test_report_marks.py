"""The data read again: equity at every tick, against a reference that goes tick by tick in plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from fold_journals import BUY, OPENING, SELL, START, apply, fill, place, run, settle
from fraction_ledger import Held
from hypothesis import given, settings
from hypothesis import strategies as st

import supervisor.report.marks as marks
from actors.fold import Fold
from actors.sources import TickBatch
from protocol.conversion import PARITY, Rate, Route
from protocol.records import Adjust, AdjustKind, EngineRun, OrderUpdate, Record, encode_record, entry_type_of
from protocol.topics import TICK, Topic
from protocol.units import MICROS, PRODUCT, product_to_bytes
from protocol.wal.format import Envelope
from supervisor.report.history import RunHistory
from supervisor.report.marks import MarkedRun
from supervisor.report.statistics import max_drawdown

MULTIPLIERS = (1, 50)


class Tick(NamedTuple):
    time_us: int
    symbol: int
    bid: int
    ask: int


class Trade(NamedTuple):
    time_us: int
    symbol: int
    quantity: int
    """Units, signed."""
    price: int
    commission: int = 0
    strategy: int = 16
    rate: Rate = PARITY


def batches(ticks: Sequence[Tick], size: int) -> Iterator[TickBatch]:
    for start in range(0, len(ticks), size):
        some = ticks[start : start + size]
        yield TickBatch(
            records=b"".join(TICK.pack(Topic.TICK, t.symbol, t.time_us, t.bid * MICROS, t.ask * MICROS) for t in some),
            count=len(some), first_time_us=some[0].time_us, last_time_us=some[-1].time_us,
        )  # fmt: skip


def journal(*steps: Trade | Record, start: EngineRun = START) -> list[tuple[Envelope, int, bytes]]:
    """A START, the trades as orders with their fills, and what follows from them."""
    fold, entries = Fold(), list[tuple[Envelope, int, bytes]]()

    def write(record: Record) -> None:
        apply(fold, record)
        kind = entry_type_of(record)
        entries.append((Envelope(kind, fold.lsn, 0, 0, 1000 + fold.lsn, 2, fold.lsn), 0, encode_record(record)))

    write(start)
    for step in steps:
        if isinstance(step, Trade):
            order_id, quantity = fold.next_order_id, abs(step.quantity) * MICROS
            side = BUY if step.quantity > 0 else SELL
            write(place(order_id, side, quantity, symbol_id=step.symbol, strategy=step.strategy))
            done = fill(order_id, step.price * MICROS, quantity, commission=step.commission * MICROS)
            values = {name: getattr(done, name) for name in OrderUpdate.__struct_fields__}
            rate = {"conversion_rate": step.rate.numerator, "conversion_base": step.rate.denominator}
            write(OrderUpdate(**{**values, **rate, "venue_time": step.time_us}))
        else:
            write(step)
        for record in list(fold.owed):
            write(record)
    assert not settle(fold)
    return entries


def history_of(*steps: Trade | Record) -> RunHistory:
    history = RunHistory(last_run=True)
    history.read(journal(*steps))
    return history


def reference(ticks: Sequence[Tick], trades: Sequence[Trade]) -> list[float]:
    """Equity after each tick: the cash of all fills up to its time, and what is held at the newest quotes."""
    first = {trade.symbol: (trade.price, trade.price) for trade in reversed(trades)}
    equity, quotes = [], dict[int, tuple[int, int]]()
    for tick in ticks:
        quotes[tick.symbol] = (tick.bid, tick.ask)
        value = OPENING // PRODUCT
        for trade in trades:
            if trade.time_us <= tick.time_us:
                value -= trade.quantity * trade.price * MULTIPLIERS[trade.symbol] + trade.commission
        for symbol, multiplier in enumerate(MULTIPLIERS):
            held = sum(t.quantity for t in trades if t.symbol == symbol and t.time_us <= tick.time_us)
            bid, ask = quotes.get(symbol, first.get(symbol, (0, 0)))
            value += held * (bid if held > 0 else ask) * multiplier
        equity.append(float(value))
    return equity


def read(
    history: RunHistory, ticks: Sequence[Tick], size: int, routes: marks.Routes = marks.NO_ROUTES
) -> tuple[MarkedRun, list[float]]:
    """The run marked to the ticks, and the equity that its curve was given."""
    marked = MarkedRun(history, routes)
    given_equity: list[float] = []
    add = marked.account.curve.add
    marked.account.curve.add = lambda times, equity: (given_equity.extend(equity.tolist()), add(times, equity))[1]  # type: ignore[method-assign]
    marked.read(batches(ticks, size))
    return marked, given_equity


TICKS = [
    Tick(10, 0, 99, 101), Tick(20, 0, 109, 111), Tick(20, 1, 400, 402), Tick(30, 0, 119, 121), Tick(40, 1, 404, 406),
    Tick(50, 0, 89, 91),
]  # fmt: skip


def test_equity_is_cash_and_what_is_held_at_bid_or_ask() -> None:
    trades = [Trade(10, 0, 2, 101, commission=1), Trade(20, 1, -1, 400), Trade(30, 0, -2, 119)]
    marked, equity = read(history_of(*trades), TICKS, 2)
    assert equity == [
        10_000 - 1 + 2 * (99 - 101),
        10_000 - 1 + 2 * (109 - 101) + 0,  # the short is open, its first quote is the next tick: at its own price
        10_000 - 1 + 2 * (109 - 101) - 50 * 2,
        10_000 - 1 + 2 * (119 - 101) - 50 * 2,
        10_000 - 1 + 36 - 50 * 6,
        10_000 - 1 + 36 - 50 * 6,
    ]
    assert marked.account.curve.end == 9735.0
    assert marked.is_complete
    assert marked.last_quotes == {0: (89 * MICROS, 91 * MICROS), 1: (404 * MICROS, 406 * MICROS)}


def test_the_spread_paid_is_the_distance_from_the_mid_at_the_fill() -> None:
    trades = [Trade(10, 0, 2, 101), Trade(25, 0, -2, 108, strategy=17), Trade(40, 1, 1, 405)]
    marked, _ = read(history_of(*trades), TICKS, 4)
    assert marked.spread_paid == {16: 2 * 1.0 + 0.0, 17: 2 * 2.0}


def test_a_fill_before_the_first_quote_of_its_symbol_has_no_spread_and_is_counted() -> None:
    marked, _ = read(history_of(Trade(12, 1, 1, 400), Trade(45, 1, -1, 404)), TICKS, 3)
    assert marked.spread_unknown == 1
    assert marked.spread_paid == {16: -1 * (404 - 405.0) * 50}


def test_a_position_carried_into_the_run_counts_at_its_cost_until_there_is_a_quote() -> None:
    history = history_of(Trade(1, 1, 2, 300), run(boot_id=b"next"))
    marked, equity = read(history, TICKS, 2)
    assert equity[:2] == [10_000.0, 10_000.0]
    assert equity[2] == 10_000 + 2 * 50 * (400 - 300)
    assert marked.account.curve.start == 10_000.0


def test_swap_is_cash_of_the_account() -> None:
    swap = Adjust(AdjustKind.SWAP, 0, product_to_bytes(-7 * PRODUCT), MICROS, 1, 35)
    _, equity = read(history_of(Trade(10, 0, 1, 101), swap), TICKS, 2)
    assert equity == [9998.0, 10_008.0, 10_008.0, 10_018.0, 10_011.0, 9981.0]


def test_strategies_have_curves_of_their_own_fills() -> None:
    trades = [Trade(10, 0, 2, 101, strategy=16), Trade(10, 0, -2, 99, strategy=17)]
    marked, equity = read(history_of(*trades), TICKS, 2)
    assert equity[-1] == 10_000 - 4, "the account holds nothing"
    assert marked.strategies[16].curve.end == 2 * (89 - 101)
    assert marked.strategies[17].curve.end == -2 * (91 - 99)


def test_only_so_many_ticks_are_read_but_always_to_the_last_fill() -> None:
    history = history_of(Trade(30, 0, 1, 121))
    for ticks_max, read_ticks in ((1, 4), (4, 4), (5, 5), (99, 6), (None, 6)):
        for size in (1, 2, 4, 100):
            marked = MarkedRun(history)
            marked.read(batches(TICKS, size), ticks_max)
            assert (marked.ticks, marked.is_complete) == (read_ticks, True)


def test_data_that_ends_before_the_last_fill_is_not_complete() -> None:
    marked, _ = read(history_of(Trade(10, 0, 1, 101), Trade(60, 0, -1, 101)), TICKS, 3)
    assert not marked.is_complete


def test_prices_are_kept_of_the_symbols_with_the_most_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "PRICES_MAX", 1)
    marked, _ = read(history_of(Trade(20, 1, 1, 402)), TICKS, 3)
    assert list(marked.prices) == [1]
    assert marked.prices[1].count == 2
    untraded, equity = read(history_of(), TICKS, 3)
    assert list(untraded.prices) == [0]
    assert equity == [10_000.0] * 6


ticks_strategy = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(90, 110), st.integers(0, 3)), min_size=1, max_size=40
)
trades_strategy = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(-3, 3).filter(bool), st.integers(90, 110),
              st.integers(0, 2)), max_size=12
)  # fmt: skip


@settings(max_examples=40)
@given(ticks_strategy, trades_strategy, st.sampled_from([1, 3, 7, 64]))
def test_whole_batches_give_what_going_tick_by_tick_gives(
    raw_ticks: list[tuple[int, int, int, int]], raw_trades: list[tuple[int, int, int, int, int]], size: int
) -> None:
    time_us, ticks = 1, list[Tick]()  # a venue time of 0 is none
    for gap, symbol, bid, spread in raw_ticks:
        time_us += gap
        ticks.append(Tick(time_us, symbol, bid, bid + spread))
    time_us, trades = 1, list[Trade]()
    for gap, symbol, quantity, price, commission in raw_trades:
        time_us += gap
        trades.append(Trade(time_us, symbol, quantity, price, commission))
    marked, equity = read(history_of(*trades), ticks, size)
    expected = reference(ticks, trades)
    assert equity == expected
    times = np.array([ticks[0].time_us, *(tick.time_us for tick in ticks)])
    found = max_drawdown(times, np.array([10_000.0, *expected]), relative=False)
    assert marked.account.curve.drawdown == found
    assert marked.is_complete == (not trades or trades[-1].time_us <= ticks[-1].time_us)


rates = st.sampled_from([Rate(2, 300), Rate(302, 2), Rate(7, 3)])


@settings(max_examples=40)
@given(ticks_strategy, trades_strategy, st.lists(rates, min_size=12, max_size=12), st.sampled_from([1, 7, 64]))
def test_what_another_symbol_converts_counts_at_the_rates_of_the_fills_and_of_the_tick(
    raw_ticks: list[tuple[int, int, int, int]], raw_trades: list[tuple[int, int, int, int, int]], drawn: list[Rate],
    size: int,
) -> None:
    """The second symbol is priced in yen, and the first one's price divides them. Going tick by tick in fractions."""
    time_us, ticks = 1, list[Tick]()
    for gap, symbol, bid, spread in raw_ticks:
        time_us += gap
        ticks.append(Tick(time_us, symbol, bid, bid + spread))
    time_us, trades = 1, list[Trade]()
    for (gap, symbol, quantity, price, commission), rate in zip(raw_trades, drawn, strict=False):
        time_us += gap
        trades.append(Trade(time_us, symbol, quantity, price, commission, rate=rate if symbol else PARITY))
    history = RunHistory(last_run=True)
    history.read(journal(*trades, start=run(quote_currencies=("USD", "JPY"))))
    _, equity = read(history, ticks, size, {1: Route(0, divides=True)})
    assert equity == pytest.approx([float(value) for value in converted_reference(ticks, trades)], abs=1e-6)


def converted_reference(ticks: Sequence[Tick], trades: Sequence[Trade]) -> Iterator[Fraction]:
    quotes = {trade.symbol: (trade.price, trade.price) for trade in reversed(trades)}
    middle = Fraction(quotes[0][0]) if 0 in quotes else None
    for tick in ticks:
        quotes[tick.symbol] = (tick.bid, tick.ask)
        if tick.symbol == 0:
            middle = Fraction(tick.bid + tick.ask, 2)
        value, held = Fraction(OPENING, PRODUCT), [Held(), Held()]
        for trade in trades:
            if trade.time_us <= tick.time_us:
                before = held[trade.symbol]
                after = held[trade.symbol] = before.after(
                    Fraction(trade.quantity), Fraction(trade.price * MULTIPLIERS[trade.symbol])
                )
                value += (after.realized - before.realized) * Fraction(*trade.rate) - trade.commission
        for symbol, one in enumerate(held):
            if one.quantity:
                profit = one.quantity * quotes[symbol][one.quantity < 0] * MULTIPLIERS[symbol] - one.cost
                value += profit if symbol == 0 else profit / middle if middle is not None else 0
        yield value
