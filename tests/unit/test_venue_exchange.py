"""The simulated venue without sockets: whose orders and positions are whose, its books' file, its sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.venues.books import Books
from actors.venues.exchange import Exchange
from actors.venues.paper import PaperVenue
from actors.venues.policies import Policies, Terms
from protocol.errors import NotRepresentableError, WalError, WireError
from protocol.messages import (
    Message,
    VenueCancel,
    VenueLoggedOn,
    VenueLogon,
    VenueOpenOrders,
    VenueOrder,
    VenuePositions,
    VenueQuery,
    VenueQuestion,
    VenueReport,
)
from protocol.orders import OrderType, Report, Side
from protocol.records import (
    FIRST_EXTERNAL,
    FIRST_STRATEGY,
    NOBODY,
    EntryType,
    OrderPlace,
    OrderUpdate,
    Record,
    decode_record,
    encode_record,
)
from protocol.units import MICROS, MICROS_MAX
from protocol.wal import WriteAheadLog

OURS, THEIRS = b"o" * 16, b"t" * 16
BASE = 1_700_000_000_000_000
BOTH_SYMBOLS = ["EURUSD", "GBPUSD"]


class House:
    """An exchange whose file can be opened again."""

    def __init__(self, directory: Path, latency_us: int = 0) -> None:
        self.path, self.latency_us = directory / "venue.log", latency_us
        self.books: Books | None = None
        self.time_us = 0
        self.session = 0
        self.order_id = 0
        self.open()

    def open(self) -> None:
        if self.books is not None:
            self.books.close()
        self.books = Books(self.path, b"boot", BOTH_SYMBOLS, {0: MICROS, 1: MICROS}, BASE)
        policies = Policies({0: Terms(1), 1: Terms(1)}, latency_us=self.latency_us)
        self.exchange = Exchange(lambda: PaperVenue(policies), self.books)

    def log_on(self, journal_id: bytes) -> VenueLoggedOn:
        answer = self.exchange.hear(journal_id, VenueLogon(journal_id), 1)
        assert isinstance(answer, VenueLoggedOn)
        self.client, self.session = journal_id, answer.session
        return answer

    def say(self, message: Message) -> Message | None:
        return self.exchange.hear(self.client, message, 0)

    def order(
        self, side: Side, quantity: int, *, strategy: int = FIRST_STRATEGY, symbol: int = 0, **fields: Any
    ) -> int:
        """A market order, or one with a limit_price; its id there."""
        self.order_id += 1
        kind = OrderType.LIMIT if "limit_price" in fields else OrderType.MARKET
        place = OrderPlace(self.order_id, strategy, fields.pop("signal", 0), symbol, side, kind, quantity, **fields)
        self.say(VenueOrder(self.session, encode_record(place)))
        self.order_id += sum(bool(number) for number in (place.stop_loss_order_id, place.take_profit_order_id))
        return place.order_id

    def tick(self, bid: int = 100, ask: int = 101, symbol: int = 0) -> None:
        self.time_us += 1000
        self.exchange.on_tick(symbol, self.time_us, bid, ask)

    def reports(self, order_id: int) -> list[tuple[Report, str]]:
        """(report, reason) of what was said of the order since it was asked last."""
        return [(said.report, said.reason) for said in self.said() if said.order_id == order_id]

    def said(self) -> list[OrderUpdate]:
        records = [decode_record(said.entry_type, said.data) for said in self.exchange.news()
                   if isinstance(said, VenueReport) and said.entry_type]  # fmt: skip
        return [record for record in records if isinstance(record, OrderUpdate)]

    def positions(self) -> dict[int, int]:
        answer = self.say(VenueQuery(self.session, 1, VenueQuestion.POSITIONS))
        assert isinstance(answer, VenuePositions)
        return {symbol_id: quantity for symbol_id, quantity, _ in answer.positions}

    def open_orders(self) -> list[OrderPlace]:
        answer = self.say(VenueQuery(self.session, 1, VenueQuestion.OPEN_ORDERS))
        assert isinstance(answer, VenueOpenOrders)
        found: list[Record] = [decode_record(4, data) for data, _ in answer.orders]
        return [place for place in found if isinstance(place, OrderPlace)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.log_on(OURS)
    made.tick()
    return made


def test_what_another_client_has_left_is_nobodys_and_can_be_closed(house: House) -> None:
    house.order(Side.BUY, 30)
    house.log_on(THEIRS)
    assert house.positions() == {0: 30}
    close = house.order(Side.SELL, 30, strategy=NOBODY, reduce_only=True)
    assert house.reports(close)[-1][0] is Report.FILL
    assert house.positions() == {}


def test_a_transfer_can_be_closed(house: House) -> None:
    house.exchange.transfer(0, 25, 100)
    close = house.order(Side.SELL, 25, strategy=NOBODY, reduce_only=True)
    assert house.reports(close)[-1][0] is Report.FILL


def test_when_what_it_protects_is_closed_anothers_exit_ends(house: House) -> None:
    house.order(Side.BUY, 30, stop_loss=90, take_profit=120, stop_loss_order_id=2, take_profit_order_id=3)
    house.log_on(THEIRS)
    assert {place.order_id >= FIRST_EXTERNAL for place in house.open_orders()} == {True}
    house.order(Side.SELL, 30, strategy=NOBODY, reduce_only=True)
    assert house.open_orders() == []


def test_the_exits_of_anothers_positions_keep_their_sizes_and_only_reduce(house: House) -> None:
    for strategy, quantity in ((FIRST_STRATEGY, 10), (FIRST_STRATEGY + 1, 5)):
        house.order(Side.BUY, quantity, strategy=strategy)
        house.order(Side.SELL, quantity, strategy=strategy, limit_price=110 + quantity, reduce_only=True, protects=900)
    house.log_on(THEIRS)
    found = {(place.limit_price, place.quantity, place.protects) for place in house.open_orders()}
    assert found == {(120, 10, 0), (115, 5, 0)}
    house.tick(116, 117)
    assert house.positions() == {0: 10}
    house.order(Side.SELL, 6, strategy=NOBODY, reduce_only=True)
    house.tick(130, 131)
    assert house.positions() == {}, "for ten, and only four were left"
    house.log_on(OURS)
    assert house.open_orders() == []


def test_who_comes_back_finds_his_own_as_it_was(house: House) -> None:
    bought = house.order(Side.BUY, 30, stop_loss=90, stop_loss_order_id=2, signal=7)
    house.log_on(THEIRS)
    house.order(Side.BUY, 5)
    house.open()
    house.tick()
    house.log_on(OURS)
    [exit_order] = house.open_orders()
    assert (exit_order.order_id, exit_order.strategy_id, exit_order.signal) == (bought + 1, FIRST_STRATEGY, 7)
    sale = house.order(Side.SELL, 30, reduce_only=True)
    assert house.reports(sale)[-1][0] is Report.FILL
    assert house.positions() == {0: 5}


@pytest.mark.parametrize("is_opened_again", [False, True])
def test_an_exit_protects_its_own_strategys_position_though_the_other_ones_makes_it_flat(
    house: House, is_opened_again: bool
) -> None:
    house.order(Side.BUY, 30, stop_loss=90, stop_loss_order_id=2)
    house.order(Side.SELL, 30, strategy=FIRST_STRATEGY + 1)
    if is_opened_again:
        house.open()
        house.tick()
        house.log_on(OURS)
    house.tick(80, 81)
    assert house.positions() == {0: -30}, "the stop has sold"


def test_orders_by_hand_are_no_alternatives_to_each_other(house: House) -> None:
    numbers = [house.exchange.place_by_hand(OrderPlace(0, 0, 0, 0, Side.BUY, OrderType.LIMIT, 5, 90)) for _ in range(2)]
    house.exchange.place_by_hand(OrderPlace(0, 0, 0, 0, Side.BUY, OrderType.MARKET, 5))
    assert {place.order_id for place in house.open_orders()} == {FIRST_EXTERNAL + number for number in numbers}


def test_the_groups_of_two_clients_and_of_two_strategies_are_their_own(house: House) -> None:
    first = house.order(Side.BUY, 5, limit_price=90, signal=1)
    second = house.order(Side.SELL, 5, limit_price=110, signal=2, oco=1)
    house.order(Side.BUY, 5, limit_price=95, signal=1, strategy=FIRST_STRATEGY + 1)
    house.tick(89, 90)
    assert (Report.CANCEL, "oco") in house.reports(second)
    assert [place.strategy_id for place in house.open_orders()] == []  # 95 has filled as well
    house.log_on(THEIRS)
    resting = house.order(Side.BUY, 5, limit_price=50, signal=1)
    house.log_on(OURS)
    joined = house.order(Side.SELL, 5, limit_price=110, signal=3, oco=1)
    assert house.reports(joined) == [(Report.REJECT, "oco_gone")], f"{first} has filled; {resting} is another's"


def test_risks_own_orders_are_no_alternatives_to_each_other(house: House) -> None:
    """One closing order in each symbol, by no signal: the second waits for its symbol's first quote."""
    house.order(Side.BUY, 5, signal=1)
    waits = house.order(Side.BUY, 5, symbol=1)
    house.order(Side.SELL, 5, reduce_only=True)
    assert [place.order_id for place in house.open_orders()] == [waits]


def test_what_no_record_could_hold_is_refused_and_the_books_can_still_be_read(house: House) -> None:
    house.order(Side.BUY, MICROS_MAX - 5)
    more = house.order(Side.BUY, 6)
    assert house.reports(more)[-1] == (Report.REJECT, "not_representable")
    with pytest.raises(NotRepresentableError):
        house.exchange.transfer(0, 6, 100)
    house.open()
    house.log_on(OURS)
    assert house.positions() == {0: MICROS_MAX - 5}


def test_a_repeated_logon_keeps_the_session_and_another_life_gets_a_new_one(house: House) -> None:
    assert house.log_on(OURS).session == house.session
    former = house.session
    answer = house.exchange.hear(b"its next life", VenueLogon(OURS), 1)
    assert isinstance(answer, VenueLoggedOn)
    assert answer.session > former


def test_a_logon_of_no_journal_is_none(house: House) -> None:
    with pytest.raises(WireError):
        house.exchange.hear(b"x", VenueLogon(b""), 1)
    assert house.positions() == {}, "the session is as it was"


def test_the_last_cancel_brings_what_latency_holds_up(tmp_path: Path) -> None:
    house = House(tmp_path, latency_us=5_000)
    house.log_on(OURS)
    house.tick()
    resting = house.order(Side.BUY, 5, limit_price=50)
    for _ in range(6):
        house.tick()
    under_way = house.order(Side.BUY, 5, limit_price=50)
    house.said()
    house.say(VenueCancel(house.session, resting))
    assert house.said() == []
    house.say(VenueCancel(house.session, resting, is_stopping=True))
    house.say(VenueCancel(house.session, resting, is_stopping=True))
    ends = {said.order_id: said.report for said in house.said()}
    assert ends == {resting: Report.CANCEL, under_way: Report.REJECT}


def test_what_are_no_books_of_this_version_is_named(tmp_path: Path) -> None:
    with WriteAheadLog(tmp_path / "venue.log") as log:
        log.append(EntryType.ENGINE_RUN, b"\x92\x01\x02")
    with pytest.raises(WalError, match="no venue's books"):
        House(tmp_path)
