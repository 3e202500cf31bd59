"""Profit in another currency: rates, the ledger's rule against fractions, what is refused, and who converts what."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest
from books import Desk
from fold_journals import BUY, OPENING, SELL, apply, checkpoint, envelope, fill, folded, place, run, settle, state
from fraction_ledger import Held
from hypothesis import given
from hypothesis import strategies as st

from actors.answers import Answers
from actors.conversions import Conversions
from actors.derived import with_tables
from actors.fold import Fold, ImpossibleReport
from actors.fold_state import changed_terms
from actors.ledger import Account, Position, value_account
from actors.limit_usage import limit_rows
from actors.reconciliation import differences
from actors.venues.commission import Commission
from actors.venues.paper import PaperVenue
from actors.venues.policies import policies_of
from actors.venues.session import Snapshot
from protocol.conversion import PARITY, Rate, Route, find_converter, routes_of
from protocol.errors import ConfigError
from protocol.messages import SIGNAL_ORDER, Intent
from protocol.orders import Report, Side
from protocol.records import BalanceChange, OrderPlace, OrderUpdate, PositionClose, SignalRefused
from protocol.settings import Config, parse_config
from protocol.topics import TICK
from protocol.units import MICROS, PRODUCT, bytes_to_product

YEN: Final = run(quote_currencies=("JPY", "USD"))
"""The first symbol is priced in yen."""
rates = st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)).filter(lambda rate: rate != (MICROS, MICROS))


def converted(update: OrderUpdate, rate: tuple[int, int]) -> OrderUpdate:
    return msgspec.structs.replace(update, conversion_rate=rate[0], conversion_base=rate[1])


def yen_fold(*records: Any) -> Fold:
    fold = Fold()
    apply(fold, YEN, *records)
    return fold


# The rate and the rounding.


@given(st.integers(1, 10**12), st.integers(0, 10**9))
def test_a_rate_is_the_middle_of_the_quote_or_one_by_it_and_exact(bid: int, spread: int) -> None:
    middle = Fraction(2 * bid + spread, 2 * MICROS)
    assert Fraction(*Route(0, divides=False).rate(bid, bid + spread)) == middle
    assert Fraction(*Route(0, divides=True).rate(bid, bid + spread)) == 1 / middle


@pytest.mark.parametrize(("money", "wanted"), [(1, 0), (3, 2), (-1, 0), (-3, -2), (5, 2), (2, 1), (0, 0)])
def test_money_is_converted_half_to_even_and_for_limits_upwards(money: int, wanted: int) -> None:
    assert Rate(1, 2).convert(money) == wanted
    assert Rate(1, 2).convert_up(money) == -(-money // 2)


# The ledger's rule.


@given(
    st.lists(
        st.tuples(
            st.sampled_from([16, 17]), st.sampled_from(Side), st.integers(1, 500), st.integers(1, 40), rates,
            st.integers(0, 9),
        ), min_size=1, max_size=30,
    ),
    st.integers(0, 30),
)  # fmt: skip
def test_what_is_realized_is_converted_piece_by_piece_as_fractions_say(history: list[Any], cut: int) -> None:
    """For the account and each strategy; from flat to flat the pieces before conversion are the cash flow; and a fold
    that starts at a checkpoint goes on as one that came there."""
    fold, cash = yen_fold(), Fraction(0)
    held: dict[int, Held] = {0: Held(), 16: Held(), 17: Held()}
    money = {0: OPENING, 16: 0, 17: 0}
    for number, (who, side, price, quantity, rate, commission) in enumerate(history, 1):
        update = converted(fill(number, price * 7, quantity, commission=commission), rate)
        apply(fold, place(number, side, quantity, strategy=who), update)
        settle(fold)
        change, value = Fraction(side.sign * quantity, MICROS), Fraction(price * 7, MICROS)
        cash -= change * value
        for key in (0, who):
            before, held[key] = held[key].realized, held[key].after(change, value)
            piece = (held[key].realized - before) * Fraction(*rate)
            money[key] += round(piece * PRODUCT) - commission * MICROS
        if number == cut:
            restarted = Fold()
            apply_checkpoint(fold, restarted)
            fold = restarted
    assert fold.account.balance == money[0]
    assert {who: fold.account_of(who).balance for who in (16, 17)} == {16: money[16], 17: money[17]}
    position = fold.account.position(0)
    assert (position.quantity, position.cost) == (held[0].quantity * MICROS, held[0].cost * PRODUCT)
    if not position.quantity:
        assert held[0].realized == cash


def apply_checkpoint(fold: Fold, other: Fold) -> None:
    record, lsn = checkpoint(fold), fold.lsn + 1
    for one in (other, fold):
        one.apply(envelope(lsn, record), record)
    assert state(one) == state(other)


def test_the_journal_names_the_profit_in_the_accounts_currency_and_the_cost_in_the_symbols() -> None:
    fold = yen_fold(place(1), converted(fill(1, 150 * MICROS, 10), (2, 300)))
    assert bytes_to_product(settle(fold)[0].open_cost) == 1500 * MICROS  # type: ignore[attr-defined]
    apply(fold, place(2, SELL), converted(fill(2, 153 * MICROS, 10), (2, 303)))
    close, change = settle(fold)
    assert isinstance(close, PositionClose)
    assert isinstance(change, BalanceChange)
    profit = round(Fraction(30 * MICROS * 2, 303))
    assert bytes_to_product(close.realized) == bytes_to_product(change.profit) == profit
    assert fold.account.balance == OPENING + profit
    assert (fold.position_view(0).realized, fold.drawdown(0)) == (profit, profit)


def test_a_fill_tells_its_rate_and_what_it_realized_in_the_accounts_currency() -> None:
    fold = yen_fold(place(1), converted(fill(1, 100, 10), (2, 300)))
    settle(fold)
    booked = apply(fold, place(2, SELL), converted(fill(2, 400, 10), (2, 300)))[1]
    assert (booked.rate, booked.realized, booked.own_realized) == (Rate(2, 300), 20, 20)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("symbol_id", "rate", "reason"),
    [
        pytest.param(0, (MICROS, MICROS), "conversion_rate", id="none was given"),
        pytest.param(0, (0, MICROS), "conversion_rate", id="of nothing"),
        pytest.param(0, (MICROS, 0), "conversion_rate", id="by nothing"),
        pytest.param(0, (-1, -2), "conversion_rate", id="below nothing"),
        pytest.param(0, (2**63, 1), "not_representable", id="too much"),
        pytest.param(1, (2, 1), "conversion_rate", id="of the account's money"),
        pytest.param(1, (2, 2), "conversion_rate", id="of the account's money, though it is 1"),
        pytest.param(1, (MICROS, 1), "conversion_rate", id="of the account's money, by the base"),
    ],
)
def test_a_rate_that_means_nothing_moves_no_money(symbol_id: int, rate: tuple[int, int], reason: str) -> None:
    fold = yen_fold(place(1, quantity=10 * MICROS, symbol_id=symbol_id))
    opening = fill(1, 2**61, 10 * MICROS)
    apply(fold, opening if symbol_id else converted(opening, (2, 300)))
    settle(fold)
    apply(fold, place(2, SELL, quantity=10 * MICROS, symbol_id=symbol_id))
    before = state(fold)
    assert apply(fold, converted(fill(2, 2**62, 10 * MICROS), rate)) == [ImpossibleReport(2, reason)]
    assert state(fold) == before | {"lsn": fold.lsn}


def test_parity_is_said_as_two_by_two() -> None:
    fold = yen_fold(place(1), converted(fill(1, 100, 10), (2, 2)))
    settle(fold)
    apply(fold, place(2, SELL), converted(fill(2, 101, 10), (2 * MICROS, 2 * MICROS)))
    assert fold.account.balance == OPENING + 10


# The currency of what is held.


def test_a_changed_quote_currency_of_a_held_symbol_is_told_over_checkpoints_and_can_be_taken_back() -> None:
    fold = yen_fold(place(1), converted(fill(1, 100), (2, 300)))
    settle(fold)
    restarted = Fold()
    apply_checkpoint(fold, restarted)
    for one in (fold, restarted):
        apply(one, run())
        assert changed_terms(one) == [("quote_currency", "EURUSD")]
        apply(one, YEN)
        assert changed_terms(one) == []
    apply(fold, place(2, SELL), converted(fill(2, 100), (2, 300)))
    settle(fold)
    apply(fold, run(quote_currencies=("CHF", "CHF")))
    assert changed_terms(fold) == []


def test_what_the_accounts_currency_is_called_is_no_change() -> None:
    fold = folded(place(1), fill(1, 100))
    settle(fold)
    apply(fold, run(quote_currencies=("USD", "USD")))
    assert changed_terms(fold) == []


def test_a_symbol_that_is_configured_no_more_keeps_its_currency_in_the_tables() -> None:
    before = run(quote_currencies=("JPY", "USD"))
    after = with_tables(before, run(symbols=(("GBPCHF", MICROS), ("ES", MICROS)), quote_currencies=("CHF", "EUR")))
    assert after.currencies == {"EURUSD": "JPY", "ES": "EUR", "GBPCHF": "CHF"}
    assert with_tables(run(), run(symbols=(("NEW", 1),))).quote_currencies == ("USD", "USD", "USD")


# Who converts what.

CONFIG: Final = """
[engine]
run_dir = "run"
[account]
leverage = 10
{instruments}
[market_data]
source = "csv"
path = "a.csv"
symbol = "{symbol}"
[[strategies]]
name = "sma"
class = "a:B"
symbols = ["{symbol}"]
[risk]
{risk}
"""
INSTRUMENT: Final = '[[instruments]]\nsymbol = "{}"\ntick_size = 0.000001\nlot_size = 0.000001\n{}\n'


def config(*pairs: tuple[str, str | None, str | None], risk: str = "") -> Config:
    def keys(base: str | None, quote: str | None) -> str:
        given = {"base_currency": base, "quote_currency": quote}
        return "\n".join(f'{key} = "{code}"' for key, code in given.items() if code is not None)

    instruments = "".join(INSTRUMENT.format(symbol, keys(base, quote)) for symbol, base, quote in pairs)
    return parse_config(CONFIG.format(instruments=instruments, risk=risk, symbol=pairs[0][0]))


EURUSD, USDJPY, EURJPY = ("EURUSD", "EUR", "USD"), ("USDJPY", "USD", "JPY"), ("EURJPY", "EUR", "JPY")
JPYUSD = ("JPYUSD", "JPY", "USD")


@pytest.mark.parametrize(
    ("pairs", "routes"),
    [
        pytest.param([("EURUSD", None, None)], {}, id="the account's"),
        pytest.param([EURUSD], {}, id="the account's, said"),
        pytest.param([EURUSD, USDJPY], {1: Route(1, True)}, id="itself"),
        pytest.param([EURJPY, USDJPY], {0: Route(1, True), 1: Route(1, True)}, id="another that divides"),
        pytest.param([EURJPY, JPYUSD], {0: Route(1, False)}, id="another that multiplies"),
        pytest.param([EURJPY, JPYUSD, USDJPY], {0: Route(1, False), 2: Route(2, True)}, id="itself, else the first"),
        pytest.param([EURJPY, USDJPY, JPYUSD], {0: Route(1, True), 1: Route(1, True)}, id="the first"),
        pytest.param([("NK", None, "JPY"), USDJPY], {0: Route(1, True), 1: Route(1, True)}, id="an index"),
    ],
)  # fmt: skip
def test_one_instrument_converts(pairs: list[Any], routes: dict[int, Route]) -> None:
    assert routes_of(config(*pairs), dict(enumerate(pair[0] for pair in pairs))) == routes


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        pytest.param([EURUSD, EURJPY], ["instruments[1].quote_currency = 'JPY'", "'USD'", "base_currency"], id="none"),
        pytest.param([("X", "usd", "JPY")], ["instruments[0].base_currency = 'usd'", "USD"], id="no code"),
        pytest.param([("X", None, "Y")], ["instruments[0].quote_currency = 'Y'", "USD"], id="no code either"),
        pytest.param([("X", "USD", None)], ["instruments[0].base_currency = 'USD'", "quote_currency"], id="the same"),
        pytest.param([EURJPY, ("EURUSD", "EUR", None)], ["instruments[0].quote_currency", "'JPY'"], id="two steps"),
    ],
)
def test_a_conversion_that_is_missing_is_refused_with_what_would_help(pairs: list[Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(*pairs)
    (mistake,) = caught.value.mistakes
    assert all(word in mistake for word in words), mistake


def test_a_held_symbol_without_config_is_converted_if_something_configured_does() -> None:
    settings = config(EURUSD, USDJPY)
    conversions = Conversions(settings)
    names = ("EURUSD", "USDJPY", "EURJPY", "XAUCHF")
    conversions.take_run(run(symbols=tuple((n, MICROS) for n in names), quote_currencies=("USD", "JPY", "JPY", "CHF")))
    marks = {1: (150 * MICROS, 150 * MICROS)}
    yen = Rate(2 * MICROS, 300 * MICROS)
    assert conversions.rates(marks) == {1: yen, 2: yen, 3: None}
    assert "CHF of XAUCHF" in conversions.unknown({0, 2, 3}, marks)
    assert "USDJPY has no quote yet" in conversions.unknown({0, 2}, {})
    assert conversions.unknown({0}, {}) == ""
    assert find_converter(settings, "CHF") is None


# At the marks.

prices = st.integers(1, 10**9)


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), prices, prices, rates), min_size=1, max_size=5))
def test_an_account_is_valued_as_fractions_say(rows: list[Any]) -> None:
    account, marks, known, profit, exposure = Account(OPENING), {}, {}, Fraction(0), Fraction(0)
    for symbol_id, (quantity, paid, price, rate) in enumerate(rows):
        account.positions[symbol_id] = Position(quantity, quantity * paid)
        marks[symbol_id], known[symbol_id] = (price, price + 5), Rate(*rate)
        mark = price if quantity > 0 else price + 5
        profit += round(Fraction(quantity * (mark - paid) * MICROS) * Fraction(*rate))
        exposure += round(Fraction(abs(quantity) * mark * MICROS) * Fraction(*rate))
    valued = value_account(account, marks, (MICROS,) * len(rows), 10, known)
    assert (valued.profit, valued.exposure) == (profit, exposure)
    unknown = value_account(account, marks, (MICROS,) * len(rows), 10, dict.fromkeys(known))
    assert (unknown.balance, unknown.profit, unknown.exposure) == (OPENING * MICROS, 0, 0)


def desk(*pairs: tuple[str, str | None, str | None], risk: str) -> Desk:
    settings = config(*pairs, risk=risk)
    found = Desk(settings)
    codes = tuple(pair[2] or "USD" for pair in pairs)
    found.take(run(symbols=tuple((pair[0], MICROS) for pair in pairs), quote_currencies=codes, leverage=10))
    found.book.begin()
    return found


def quote(desk: Desk, symbol_id: int, bid: float, ask: float) -> None:
    tick = TICK.pack(0, symbol_id, 1, round(bid * MICROS), round(ask * MICROS))
    desk.book.scopes.take_ticks(memoryview(tick))


def decided(desk: Desk, number: int, quantity: int, symbol_id: int = 0, side: Side = BUY) -> str:
    """Why it is refused; "" if it is not."""
    intent = Intent(16, number, 1, 0, b"", 302, SIGNAL_ORDER, symbol_id, side=side, quantity=quantity * MICROS)
    desk.book.decide(intent, number)
    (record,) = desk.settle()
    assert isinstance(record, OrderPlace | SignalRefused)
    return record.reason if isinstance(record, SignalRefused) else ""


@pytest.mark.parametrize("limit", ["max_order_value", "max_gross_exposure", "max_net_exposure"])
def test_a_limit_in_the_accounts_currency_holds_for_yen_at_the_present_rate_and_not_before_there_is_one(
    limit: str,
) -> None:
    one = desk(EURJPY, USDJPY, risk=f"{limit} = 1000.0")
    quote(one, 0, 164.9, 165)
    assert decided(one, 1, 1) == "no_quote"
    quote(one, 1, 149, 151)
    assert decided(one, 2, 910) == limit  # 910 x 165 / 150 = 1001
    assert decided(one, 3, 909) == ""  # 999.9


def test_margin_and_equity_are_reckoned_at_the_present_rate() -> None:
    one = desk(EURJPY, USDJPY, risk="min_free_margin = 9_000.0\nmax_daily_equity_loss = 300.0")
    one.take(place(1, BUY, 1000 * MICROS), converted(fill(1, 165 * MICROS, 1000 * MICROS), (2, 300)))
    one.settle()
    one.book.begin()
    quote(one, 0, 165, 165)
    assert one.book.scopes.equity(0) == OPENING, "what cannot be converted is no profit yet"
    assert decided(one, 1, 1) == "no_quote"
    assert decided(one, 2, 1, side=SELL) == "", "what reduces passes"
    quote(one, 1, 150, 150)
    quote(one, 0, 150, 150)
    assert one.book.scopes.equity(0) == OPENING - 100 * PRODUCT  # 1000 x -15 / 150
    # Equity 9900, margin (1000 + n) / 10: more than 8000 of them leave less than 9000.
    assert decided(one, 3, 8001) == "min_free_margin"
    assert decided(one, 4, 7999) == ""
    quote(one, 0, 120, 120)
    assert one.check_losses() == "max_daily_equity_loss: lost 300, the limit is 300"


def test_the_account_is_told_at_the_present_rate() -> None:
    settings = config(EURJPY, USDJPY)
    fold = Fold()
    tables = run(symbols=(("EURJPY", MICROS), ("USDJPY", MICROS)), quote_currencies=("JPY", "JPY"), leverage=10)
    apply(fold, tables, place(1, SELL, 1000 * MICROS), converted(fill(1, 165 * MICROS, 1000 * MICROS), (2, 300)))
    sources: Any = SimpleNamespace(fold=fold, config=settings, marks={0: (149 * MICROS, 150 * MICROS, 1)})
    answers = Answers(sources)
    assert (answers.account().equity, answers.account().margin) == (10_000.0, 0.0)
    sources.marks[1] = (149 * MICROS, 151 * MICROS, 1)
    told = answers.account()
    assert (told.balance, told.equity, told.profit, told.margin) == (10_000.0, 10_100.0, 100.0, 100.0)


def test_a_commission_by_value_is_converted_at_the_fills_rate() -> None:
    rule = Commission(per_lot=2 * MICROS, rate=1000)

    def charge(conversion: Rate, filled: int = 0) -> int:
        return rule.of_fill(
            150 * MICROS, MICROS, filled=filled, fill_product=150 * MICROS * filled, lot_size=MICROS,
            multiplier=MICROS, conversion=conversion,
        )  # fmt: skip

    assert charge(PARITY) == 2 * MICROS + 150_000
    assert charge(Rate(2 * MICROS, 300 * MICROS)) == charge(Rate(2 * MICROS, 300 * MICROS), MICROS) == 2_001_000


# At the paper venue.


def yen_venue() -> PaperVenue:
    settings = config(EURJPY, USDJPY)
    return PaperVenue(policies_of(settings, {0: "EURJPY", 1: "USDJPY"}))


def said(answers: Iterable[Any]) -> list[tuple[Report, int, int]]:
    return [(one.report, one.conversion_rate, one.conversion_base) for one in answers]


def test_an_order_waits_for_the_first_quote_of_what_converts_its_money_and_is_told() -> None:
    venue = yen_venue()
    assert venue.on_tick(0, 1, 165 * MICROS, 166 * MICROS) == []
    assert said(venue.place(place(1, BUY, MICROS), 1)) == [(Report.ACCEPT, MICROS, MICROS)]
    assert venue.on_tick(0, 2, 165 * MICROS, 166 * MICROS) == []
    assert said(venue.on_tick(1, 3, 150 * MICROS, 151 * MICROS)) == [(Report.RESTATE, MICROS, MICROS)]
    assert venue.on_tick(1, 4, 150 * MICROS, 152 * MICROS) == []
    assert said(venue.on_tick(0, 5, 165 * MICROS, 166 * MICROS)) == [(Report.FILL, 2 * MICROS, 302 * MICROS)]
    assert said(venue.place(place(2, BUY, MICROS), 5))[1:] == [(Report.FILL, 2 * MICROS, 302 * MICROS)]


def test_a_symbol_that_converts_its_own_money_waits_for_nothing() -> None:
    venue = yen_venue()
    venue.place(place(1, BUY, MICROS, symbol_id=1))
    assert said(venue.on_tick(1, 1, 150 * MICROS, 151 * MICROS)) == [(Report.FILL, 2 * MICROS, 301 * MICROS)]


def test_a_new_life_that_is_told_the_quotes_holds_nothing_up() -> None:
    fold = yen_fold(place(1, SELL, MICROS), OrderUpdate(1, Report.ACCEPT, venue_time=1))
    for known, wanted in (({}, []), ({1: (1, 150 * MICROS, 151 * MICROS)}, [(Report.FILL, 2 * MICROS, 301 * MICROS)])):
        venue = yen_venue()
        venue.restore(fold.tracker.open_orders.values(), {}, venue_us=1, run_venue_us=1)
        venue.know(known)
        assert said(venue.on_tick(0, 2, 165 * MICROS, 166 * MICROS)) == wanted


def test_what_is_used_of_a_limit_on_money_is_left_out_while_it_cannot_be_converted() -> None:
    risk = "max_gross_exposure = 1000.0\nmax_position_per_symbol = 5000.0"
    one = desk(EURJPY, USDJPY, risk=risk)
    one.take(place(1, BUY, 300 * MICROS), converted(fill(1, 165 * MICROS, 300 * MICROS), (2, 300)))
    scopes = one.book.scopes

    def used() -> dict[str, Any]:
        return {row.limit: row.used for row in limit_rows(scopes, config(EURJPY, USDJPY, risk=risk).risk, 0, "", 1)}

    assert used() == {"max_position_per_symbol": 300.0, "max_gross_exposure": msgspec.UNSET}
    quote(one, 1, 150, 150)
    assert used() == {"max_position_per_symbol": 300.0, "max_gross_exposure": 330.0}  # at its cost


def test_a_position_that_is_taken_over_from_a_venue_realizes_nothing_in_yen_either() -> None:
    fold = yen_fold(place(1, BUY, 3), converted(fill(1, 100, 1), (2, 300)), converted(fill(1, 101, 2), (2, 300)))
    settle(fold)
    (found,) = differences(fold, Snapshot(7, (), [(0, -5, 99)]))
    for record in found.adopted_by:
        apply(fold, record)
        settle(fold)
    assert (fold.account.position(0).quantity, fold.account.balance) == (-5, OPENING)
