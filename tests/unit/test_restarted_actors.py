"""Actors that die and come back beside others that live: nothing is doubled, nothing is left without an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zmq
from houses import House, house_config

from actors.strategies import OrderInfo, Strategy, Tick
from actors.venues.paper import PaperVenue
from protocol.commands import TextReply
from protocol.messages import SIGNAL_CLOSE, SIGNAL_ORDER, Intent, Parked
from protocol.records import OrderPlace, SignalRefused

EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")


class Quiet(Strategy):
    """Sends what the test tells it to."""

    def __init__(self) -> None:
        self.heard: list[OrderInfo] = []
        self.ticks: list[Tick] = []

    def on_order(self, order: OrderInfo) -> None:
        self.heard.append(order)

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)


class BuysAtStart(Quiet):
    def on_start(self) -> None:
        self.buy("EURUSD", 100)


class BuysOnce(Quiet):
    """At its second tick, and again whenever it is told that it was suppressed."""

    def on_tick(self, tick: Tick) -> None:
        super().on_tick(tick)
        if len(self.ticks) == 2:
            self.buy("EURUSD", 100)


def csv_market(directory: Path, rows: int = 100) -> str:
    lines = [f"2024-01-01T00:{i // 60:02}:{i % 60:02},1.1,1.2" for i in range(rows)]
    (directory / "rows.csv").write_text("\n".join(["timestamp,bid,ask", *lines]) + "\n", encoding="utf-8")
    return f'[market_data]\nsource = "csv"\npath = "{directory}/rows.csv"\nsymbol = "EURUSD"\nbars = [1]\n'


def strategy_of(house: House) -> Any:
    return house.actors["strategy.one"].strategy


def placed(house: House) -> list[OrderPlace]:
    return [record for record in house.records() if isinstance(record, OrderPlace)]


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    config = house_config(tmp_path / "run", f"{__name__}:Quiet", '[market_data]\nrate = 1000\n')
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        yield house


def test_the_next_life_of_order_routing_is_told_the_quotes_that_convert_its_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[int, tuple[int, int, int]]] = []
    know = PaperVenue.know
    monkeypatch.setattr(PaperVenue, "know", lambda venue, quotes: (told.append(quotes), know(venue, quotes)))
    yen = '[[instruments]]\nsymbol = "USDJPY"\ntick_size = 0.001\nlot_size = 1.0\n'
    yen += 'base_currency = "USD"\nquote_currency = "JPY"\n'
    config = house_config(tmp_path / "run", f"{__name__}:Quiet", f"[market_data]\nrate = 1000\n{yen}")
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: house.actors["order_routing"].market.position > 30, "both to be quoted")
        house.until(lambda: house.actors["order_routing"].page.market()[1] > 30, "the page to say so")
        assert not any(told), "the first life has seen nothing before it"
        house.kill("order_routing")
        house.start("order_routing")
        house.until(lambda: any(told), "the quotes")
        [quotes] = filter(None, told)
        assert list(quotes) == [1], "USDJPY alone converts"


def test_a_close_that_was_sent_to_a_dead_risk_is_decided_by_the_next(quiet: House) -> None:
    strategy = strategy_of(quiet)
    strategy.buy("EURUSD", 100)
    quiet.until(lambda: strategy.position("EURUSD").quantity == 100, "the buy is filled")
    quiet.kill("risk")
    signal = strategy.close("EURUSD")
    quiet.start("risk")
    quiet.until(lambda: strategy.position("EURUSD").quantity == 0, "the close is filled")
    assert [place.signal for place in placed(quiet)].count(signal.number) == 1
    assert [order.status for order in strategy.heard if order.signal == signal.number][-1] == "Filled"


def test_an_order_that_was_sent_to_a_dead_risk_is_refused_and_never_placed(quiet: House) -> None:
    strategy = strategy_of(quiet)
    quiet.kill("risk")
    signal = strategy.buy("EURUSD", 100)
    quiet.start("risk")
    quiet.until(lambda: strategy.heard, "the answer")
    assert [(order.signal, order.status) for order in strategy.heard] == [(signal.number, "Rejected")]
    assert placed(quiet) == []


def test_what_a_parked_strategy_has_asked_for_is_cancelled_and_what_it_says_late_counts_no_more(quiet: House) -> None:
    strategy, risk = strategy_of(quiet), quiet.actors["risk"]
    strategy.buy("EURUSD", 100, limit=0.5)
    quiet.until(lambda: risk.book.pending_orders, "the order to be approved, and not on disk yet")
    risk.control(Parked("one", quiet.lives["strategy.one"]))
    strategy.buy("EURUSD", 100, limit=0.4)
    quiet.until(lambda: risk.counters["bad_messages"], "what it says late to be dropped")
    quiet.until(lambda: not risk.journal.pending_count and not risk.fold.tracker.open_orders, "its order to end")
    assert len(placed(quiet)) == 1
    quiet.kill("strategy.one")
    quiet.start("strategy.one")  # READY when risk has welcomed it


def test_a_signal_that_comes_after_risk_has_detached_is_answered(quiet: House) -> None:
    strategy = strategy_of(quiet)
    quiet.actors["risk"].detach("risk_engine")
    signal = strategy.buy("EURUSD", 100)
    quiet.until(lambda: strategy.heard, "the answer")
    assert strategy.heard[0].reason.startswith("stopping")
    assert [r.signal for r in quiet.records() if isinstance(r, SignalRefused)] == [signal.number]


def test_no_flood_of_one_strategy_makes_risk_forget_what_another_has_asked_for(quiet: House) -> None:
    risk = quiet.actors["risk"]
    close = Intent(16, 1, risk.spec.incarnation, 0, b"", 0, SIGNAL_CLOSE, 0)
    risk._take_intent(close)
    quiet.until(lambda: not risk.journal.pending_count, "the answer")
    for number in range(65_536):
        risk._take_intent(Intent(17, number, 0, 0, b"", 0, SIGNAL_ORDER, 0))
    risk._take_intent(close)
    assert risk.counters["repeated"] == 1


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda strategy: strategy.buy("GBPUSD", 1), "unknown_symbol: 'GBPUSD'; known are EURUSD"),
        (lambda strategy: strategy.cancel(77), "unknown_order: 77"),
        (lambda strategy: strategy.modify(77, limit=1.0), "unknown_order: 77"),
        (lambda strategy: strategy.buy("EURUSD", 0.0000001), "not_representable"),
        (lambda strategy: strategy.buy("EURUSD", float("nan")), "not_representable"),
    ],
)
def test_what_cannot_be_sent_is_a_refusal_that_on_order_tells_and_no_exception(
    quiet: House, ask: Any, reason: str
) -> None:
    strategy = strategy_of(quiet)
    signal = ask(strategy)
    quiet.until(lambda: [o for o in strategy.heard if o.signal == signal.number], "the answer")
    (told,) = [order for order in strategy.heard if order.signal == signal.number]
    assert told.status == "Rejected"
    assert told.reason.startswith(reason)


def test_a_signal_that_is_no_order_yet_can_be_cancelled(quiet: House) -> None:
    strategy = strategy_of(quiet)
    signal = strategy.buy("EURUSD", 1, limit=0.5)  # a market order may be filled first
    assert [(order.id, order.signal) for order in strategy.orders()] == [(0, signal.number)]
    strategy.cancel(signal)
    quiet.until(lambda: [o for o in strategy.heard if o.status == "Canceled"], "the end of the order")
    assert [(o.signal, o.id) for o in strategy.heard if o.status == "Canceled"] == [(signal.number, signal.order_id)]
    assert strategy.orders() == []


def test_a_life_whose_page_is_gone_does_not_count_its_signals_from_the_start(quiet: House) -> None:
    first = strategy_of(quiet).buy("EURUSD", 100)
    quiet.until(lambda: placed(quiet), "the first order")
    quiet.kill("strategy.one")
    (quiet.run_dir / "pages" / "strategy.one.page").unlink()
    quiet.lives["strategy.one"] = 0
    quiet.start("strategy.one")
    quiet.until(lambda: quiet.actors["strategy.one"].is_ready, "its second life under the same number")
    second = strategy_of(quiet).buy("EURUSD", 100)
    quiet.until(lambda: len(placed(quiet)) == 2, "the second order")
    assert second.number > first.number


def test_a_life_that_bought_in_on_start_and_died_before_a_tick_is_not_followed_by_one_that_buys_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(house_config(tmp_path / "run", f"{__name__}:BuysAtStart"), monkeypatch) as house:
        house.start("wal", "risk", "strategy.one")
        house.until(lambda: placed(house), "the order")
        house.kill("strategy.one")
        house.start("strategy.one")
        heard = strategy_of(house).heard
        house.until(lambda: heard, "the answer")
        assert [(order.status, order.reason) for order in heard] == [("Rejected", "suppressed")]
        assert len(placed(house)) == 1


def test_a_file_is_fed_again_to_a_new_life_which_acts_on_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = house_config(tmp_path / "run", f"{__name__}:BuysOnce", csv_market(tmp_path))
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(lambda: len(strategy_of(house).ticks) == 100, "the whole file")
        house.kill("strategy.one")
        house.start("strategy.one")
        house.until(lambda: len(strategy_of(house).ticks) == 100, "the whole file again")
        assert [order.reason for order in strategy_of(house).heard] == ["suppressed"]
        assert len(placed(house)) == 1


def test_a_refusal_is_heard_before_the_next_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = house_config(tmp_path / "run", f"{__name__}:BuysUnknown", csv_market(tmp_path))
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        strategy = strategy_of(house)
        house.until(lambda: len(strategy.ticks) == 100, "the whole file")
        assert strategy.heard_at == [1, 2, 3]


class BuysUnknown(Quiet):
    def __init__(self) -> None:
        super().__init__()
        self.heard_at: list[int] = []

    def on_tick(self, tick: Tick) -> None:
        super().on_tick(tick)
        if len(self.ticks) <= 3:
            self.buy("GBPUSD", 1)

    def on_order(self, order: OrderInfo) -> None:
        self.heard_at.append(len(self.ticks))


@pytest.mark.parametrize("name", ["risk", "strategy.one", "order_routing", "gateway", "market_data"])
def test_whoever_comes_back_after_the_end_of_a_file_learns_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def all_at_end() -> bool:
        return all(a.statistics().at_end and not a.statistics().outstanding for a in house.actors.values())

    config = house_config(tmp_path / "run", f"{__name__}:BuysOnce", csv_market(tmp_path))
    with House(config, monkeypatch) as house:
        house.start(*EVERYONE)
        house.until(all_at_end, "the end")
        house.kill(name)
        house.start(name)
        house.until(all_at_end, f"the end, with a new {name}")
        assert len(placed(house)) == 1


def test_the_gateway_answers_clients_that_rep_would_answer(quiet: House) -> None:
    def ask(kind: int, *options: int, frames: list[bytes]) -> list[bytes]:
        with quiet.context.socket(kind) as client:
            for option in options:
                client.setsockopt(option, 1)
            client.connect(f"ipc://{quiet.ipc}/control")
            client.send_multipart(frames)
            quiet.until(lambda: client.poll(0), "the reply")
            return client.recv_multipart()

    pong = [b'{"status":"ok","response":"PONG"}']
    assert ask(zmq.REQ, frames=[b"PING"]) == pong
    assert ask(zmq.REQ, zmq.REQ_CORRELATE, zmq.REQ_RELAXED, frames=[b"PING"]) == pong
    assert ask(zmq.DEALER, frames=[b"hop", b"", b"PING"]) == [b"hop", b"", *pong]


@pytest.mark.parametrize("stream", ["market", "journal"])
def test_credit_that_was_lost_stops_no_stream_for_good(quiet: House, stream: str) -> None:
    client = getattr(quiet.actors["gateway"], stream).stream
    client._give_credit = lambda grant: None  # the pipe was full, or lost it
    strategy, hellos = strategy_of(quiet), client.counters["hellos"]

    def is_behind() -> bool:
        strategy.buy("EURUSD", 1)
        return client.tail_position >= client.position + 3

    quiet.until(is_behind, "no credit is left")
    del client._give_credit
    behind = client.tail_position
    quiet.until(lambda: client.position >= behind, "what was missing")
    assert client.counters["hellos"] > hellos


def test_a_hello_to_risk_of_a_life_that_its_strategy_has_not_begun_shuts_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(house_config(tmp_path / "run", "actors.strategies.sma_cross:SmaCross"), monkeypatch) as house:
        house.start("wal", "risk", "strategy.one")
        risk = house.actors["risk"]
        risk._take_hello(b"strategy.one#999999")
        assert risk.counters["bad_messages"] == 1
        assert risk.lives == {"strategy.one": 1}


def test_an_exception_between_receive_and_send_is_an_error_reply_and_the_socket_goes_on(
    quiet: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception between REP recv and send leaves a REP socket stuck for good; this is a ROUTER."""

    def breaks(_: str) -> TextReply:
        raise RuntimeError("broken")

    def ask(text: bytes) -> dict[str, Any]:
        client.send(text)
        quiet.until(lambda: client.poll(0), "the reply")
        return client.recv_json()  # pyright: ignore[reportReturnType]

    monkeypatch.setitem(quiet.actors["gateway"].verbs, "STATUS", breaks)
    with quiet.context.socket(zmq.REQ) as client:
        client.connect(f"ipc://{quiet.ipc}/control")
        assert ask(b"STATUS") == {"status": "error", "response": "The request failed: broken"}
        assert ask(b"PING")["response"] == "PONG"


def test_a_reply_of_the_router_to_an_unknown_identity_is_counted(quiet: House) -> None:
    gateway = quiet.actors["gateway"]
    before = gateway.counters["dropped_replies"]
    gateway._answer(gateway.control_socket, [b"nobody", b""], TextReply(response="PONG"))
    assert gateway.counters["dropped_replies"] == before + 1


def test_a_second_client_of_the_same_identity_is_answered_while_the_first_is_there(quiet: House) -> None:
    with quiet.context.socket(zmq.DEALER) as first, quiet.context.socket(zmq.DEALER) as second:
        for client in (first, second):
            client.setsockopt(zmq.IDENTITY, b"dashboard")
            client.connect(f"ipc://{quiet.ipc}/control")
            client.send_multipart([b"", b"PING"])
            quiet.until(lambda client=client: client.poll(0), "the reply")
