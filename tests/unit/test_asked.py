"""What a strategy has asked for is answered, whoever dies meanwhile: its next life hears what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
import zmq
from houses import House, house_config

from actors import asked as asked_module
from actors.desk import Sent
from actors.fold import ANSWERED_MAX
from actors.strategies import OrderInfo, Signal, Strategy
from protocol.messages import SIGNAL_CLOSE, Intent, encode_message
from protocol.pipeline import SIGNALS, pipe_endpoint
from protocol.records import OrderPlace
from protocol.state import (
    AskedState,
    FeedState,
    SignalState,
    StrategyState,
    UntoldState,
    decode_strategy_state,
    encode_strategy_state,
)

EVERYONE = ("wal", "risk", "strategy.one", "order_routing", "gateway", "market_data")


class Keeps(Strategy):
    """Sends what the test tells it to, and has a state; what it hears is no part of it."""

    def __init__(self) -> None:
        self.heard: list[OrderInfo] = []

    def on_order(self, order: OrderInfo) -> None:
        self.heard.append(order)

    def save(self) -> Any:
        return "state"

    def load(self, state: Any) -> None:
        assert state == "state"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    config = house_config(tmp_path / "run", f"{__name__}:Keeps", "[market_data]\nrate = 1000\n")
    config = msgspec.structs.replace(config, wal=msgspec.structs.replace(config.wal, checkpoint_records=0))
    with House(config, monkeypatch) as made:
        made.start(*EVERYONE)
        yield made


def strategy_of(house: House) -> Any:
    return house.actors["strategy.one"].strategy


def heard_of(house: House, signal: Signal) -> list[OrderInfo]:
    return [order for order in strategy_of(house).heard if order.signal == signal.number]


def placed(house: House) -> list[int]:
    return [record.signal for record in house.records() if isinstance(record, OrderPlace)]


def make_deaf(house: House) -> None:
    """risk reads no signals; they wait in its pipe."""
    risk = house.actors["risk"]
    risk._read_signals = lambda: None
    risk.loop.on_readable(risk.signals, risk._read_signals)


def make_hear(house: House) -> None:
    risk = house.actors["risk"]
    del risk._read_signals
    risk.loop.on_readable(risk.signals, risk._read_signals)


def take_checkpoint(house: House) -> None:
    wal = house.actors["wal"]
    count = wal.checkpoints.counters["checkpoints"]
    wal._begin_checkpoint()
    house.until(lambda: wal.checkpoints.counters["checkpoints"] > count, "the checkpoint")


def hold_position(house: House) -> None:
    strategy_of(house).buy("EURUSD", 100)
    house.until(lambda: strategy_of(house).position("EURUSD").quantity == 100, "the buy is filled")


def restart(house: House, *names: str) -> None:
    for name in names:
        house.kill(name)
    house.start(*names)


def sent_since(house: House, signals: int) -> int:
    """What risk has been sent since it had counted `signals`; all of it has arrived when one more has."""
    one = house.actors["strategy.one"]
    house.until(lambda: one.feed.position > one.suppressed_to, "signals that are not suppressed")
    last = strategy_of(house).buy("EURUSD", 1)
    house.until(lambda: heard_of(house, last), "its answer")
    return house.actors["risk"].counters["signals"] - signals - 1


def test_a_refusal_that_came_after_the_state_is_told_to_the_next_life(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 0.5)
    take_checkpoint(house)
    make_hear(house)
    house.until(lambda: heard_of(house, signal), "the refusal")
    (told,) = heard_of(house, signal)
    restart(house, "strategy.one")
    house.until(lambda: heard_of(house, signal), "the refusal, in the next life")
    assert heard_of(house, signal) == [told]
    assert told.status == "Rejected"


def test_an_order_that_nobody_decided_is_told_to_be_lost(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 100)
    take_checkpoint(house)
    restart(house, "risk", "strategy.one")
    house.until(lambda: heard_of(house, signal), "what became of it")
    assert [(order.status, order.reason.split(":")[0]) for order in heard_of(house, signal)] == [("Rejected", "lost")]
    assert strategy_of(house).orders() == []
    assert placed(house) == []


def test_what_is_told_of_a_signal_that_risk_still_has_is_what_becomes_of_it(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 100)
    take_checkpoint(house)
    house.kill("strategy.one")
    house.spawn("strategy.one").begin(house.run)
    one = house.actors["strategy.one"]
    house.until(lambda: one.journal.caught_up, "its fold")
    assert heard_of(house, signal) == [], "risk alone knows"
    make_hear(house)
    house.until(lambda: heard_of(house, signal), "what became of it")
    house.until(lambda: heard_of(house, signal)[-1].status in ("Filled", "Rejected"), "the end of it")
    assert one.asked.unanswered == {}
    if not placed(house):
        assert [order.reason.split(":")[0] for order in heard_of(house, signal)] == ["lost"]


def test_a_strategy_that_nobody_told_of_risks_next_life_greets_it_at_the_first_refusal(house: House) -> None:
    restart(house, "risk")
    refused = strategy_of(house).buy("EURUSD", 100)
    house.until(lambda: heard_of(house, refused), "its refusal")
    assert [order.reason.split(":")[0] for order in heard_of(house, refused)] == ["other_incarnation"]
    house.until(lambda: house.actors["strategy.one"].asked.risk_incarnation == 2, "risk's present life")
    hold_position(house)


def test_what_a_former_life_has_sent_is_not_acted_on_after_the_hello_of_the_next(house: House) -> None:
    restart(house, "strategy.one")
    one, risk = house.actors["strategy.one"], house.actors["risk"]
    before = risk.counters["bad_messages"]
    with house.context.socket(zmq.DEALER) as former:
        former.setsockopt(zmq.IDENTITY, b"strategy.one#1")
        former.connect(pipe_endpoint(SIGNALS, house.ipc, house.config.engine.name))
        former.send(encode_message(Intent(one.strategy_id, 77, 1, 0, b"", 0, SIGNAL_CLOSE, 0)))
        house.until(lambda: risk.counters["bad_messages"] > before, "risk to have heard it")
    assert risk.counters["signals"] == 0


def test_risk_says_welcome_when_what_it_had_decided_is_on_the_tail(house: House) -> None:
    """J2."""
    wal, risk = house.actors.pop("wal"), house.actors["risk"]
    strategy_of(house).buy("EURUSD", 100)
    house.until(lambda: risk.journal.pending_count, "risk to have decided")
    lsn = risk.journal.lsn
    one = house.actors["strategy.one"]
    one.asked.risk_incarnation = 0
    one.asked.say_hello()
    house.until(lambda: risk.greeted, "the HELLO")
    assert one.asked.risk_incarnation == 0
    house.actors["wal"] = wal
    house.until(lambda: one.asked.risk_incarnation, "WELCOME")
    assert one.asked._risk_lsn > lsn


def test_a_close_that_nobody_decided_is_said_again_by_the_next_life(house: House) -> None:
    hold_position(house)
    make_deaf(house)
    signal = strategy_of(house).close("EURUSD")
    take_checkpoint(house)
    restart(house, "risk", "strategy.one")
    house.until(lambda: strategy_of(house).position("EURUSD").quantity == 0, "the close is filled")
    house.until(lambda: heard_of(house, signal)[-1:] and heard_of(house, signal)[-1].status == "Filled", "its word")
    assert placed(house).count(signal.number) == 1


def test_a_close_that_was_decided_meanwhile_is_not_said_again(house: House) -> None:
    hold_position(house)
    make_deaf(house)
    signal = strategy_of(house).close("EURUSD")
    take_checkpoint(house)
    make_hear(house)
    house.until(lambda: strategy_of(house).position("EURUSD").quantity == 0, "the close is filled")
    signals = house.actors["risk"].counters["signals"]
    restart(house, "strategy.one")
    house.until(lambda: heard_of(house, signal)[-1:] and heard_of(house, signal)[-1].status == "Filled", "its word")
    assert house.actors["strategy.one"].asked.unanswered == {}
    assert sent_since(house, signals) == 0
    assert placed(house).count(signal.number) == 1


def test_a_cancel_that_waited_for_its_order_is_sent_by_the_next_life(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 1, limit=0.5)
    cancel = strategy_of(house).cancel(signal)
    take_checkpoint(house)
    house.kill("strategy.one")
    make_hear(house)
    house.until(lambda: placed(house), "the order")
    house.start("strategy.one")
    house.until(lambda: [o for o in heard_of(house, signal) if o.status == "Canceled"], "the end of the order")
    assert cancel.number > signal.number
    assert strategy_of(house).orders() == []


def test_a_cancel_that_waited_and_was_sent_meanwhile_is_not_sent_again(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 1, limit=0.5)
    strategy_of(house).cancel(signal)
    take_checkpoint(house)
    make_hear(house)
    house.until(lambda: [o for o in heard_of(house, signal) if o.status == "Canceled"], "the end of the order")
    signals = house.actors["risk"].counters["signals"]
    restart(house, "strategy.one")
    house.until(lambda: [o for o in heard_of(house, signal) if o.status == "Canceled"], "the end, in the next life")
    assert house.actors["strategy.one"].asked.unanswered == {}
    assert sent_since(house, signals) == 0


def test_nothing_is_sent_before_the_fold_is_complete_for_its_answer_may_be_in_it(house: House) -> None:
    hold_position(house)
    one, risk = house.actors["strategy.one"], house.actors["risk"]
    signals = risk.counters["signals"]
    intent = Intent(one.strategy_id, 77, risk.spec.incarnation, 0, b"", 0, SIGNAL_CLOSE, 0)
    one.journal.caught_up, one.journal._target = False, 10**9
    one.asked.send(asked_module.Sent(intent, Signal(77, "EURUSD", "Buy", 0.0)))
    position = one.feed.position
    house.until(lambda: one.market.position > position + 30, "some turns")
    assert risk.counters["signals"] == signals
    one.journal.caught_up = True
    house.until(lambda: strategy_of(house).position("EURUSD").quantity == 0, "the close is filled")


def test_what_never_left_and_was_not_told_yet_is_told_to_the_next_life(house: House) -> None:
    one = house.actors["strategy.one"]
    signal = strategy_of(house).buy("GBPUSD", 1)
    state = one._take_state()
    house.until(lambda: heard_of(house, signal), "the refusal")
    one.journal._take_state = lambda: state
    take_checkpoint(house)
    restart(house, "strategy.one")
    house.until(lambda: heard_of(house, signal), "the refusal, in the next life")
    assert heard_of(house, signal)[0].reason.startswith("unknown_symbol")


def test_numbers_go_on_behind_those_of_the_signals_that_nobody_answered(house: House) -> None:
    make_deaf(house)
    signal = strategy_of(house).buy("EURUSD", 100)
    take_checkpoint(house)
    for name in ("risk", "strategy.one"):
        house.kill(name)
    (house.run_dir / "pages" / "strategy.one.page").unlink()
    house.lives["strategy.one"] = 0
    house.start("risk", "strategy.one")
    house.until(lambda: house.actors["strategy.one"].is_ready, "its second life under the same number")
    assert strategy_of(house).buy("EURUSD", 100).number > signal.number


def test_a_state_of_an_earlier_version_has_nothing_unanswered_and_its_bytes_are_the_same() -> None:
    data: Any = msgpack.packb([[b"e", 1, 2, 3], {"a": 1}])
    state = decode_strategy_state(data)
    assert (state.saved, state.asked, state.untold) == ({"a": 1}, (), ())
    assert encode_strategy_state(state) == data


def test_a_state_with_signals_reads_as_the_readme_says() -> None:
    intent = encode_message(Intent(16, 40, 1, 5, b"e", 302, SIGNAL_CLOSE, 0))
    signal, cancel = SignalState(40, "EURUSD", "Buy", 0.0), SignalState(42, "EURUSD", "Buy", 0.0)
    asked = AskedState(intent, signal, cancel), AskedState(intent, signal, None)
    state = StrategyState(FeedState(b"e", 1, 2, 3), {}, asked, (UntoldState(signal, "why"),), "m:Of")
    row, other = [40, "EURUSD", "Buy", 0.0, 0], [42, "EURUSD", "Buy", 0.0, 0]
    data = encode_strategy_state(state)
    told = [[intent, row, other], [intent, row, None]], [[row, "why"]]
    assert msgpack.unpackb(data) == [[b"e", 1, 2, 3], {}, *told, "m:Of"]
    assert decode_strategy_state(data) == state


def test_no_more_signals_wait_than_risk_remembers_answers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_module.UNANSWERED_MAX <= ANSWERED_MAX
    monkeypatch.setattr(asked_module, "UNANSWERED_MAX", 3)
    make_deaf(house)
    signals = [strategy_of(house).buy("EURUSD", 1) for _ in range(4)]
    house.until(lambda: heard_of(house, signals[3]), "the refusal")
    assert heard_of(house, signals[3])[0].reason.startswith("signals_full")
    make_hear(house)
    house.until(lambda: len(placed(house)) == 3, "the others")


def test_risk_decides_when_it_knows_what_the_sender_knew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it refused a change because of an answer to the change before, which it had yet to read."""
    one = house.actors["strategy.one"]
    lsn, send = one.fold.lsn, one.asked.send
    first = strategy_of(house).buy("EURUSD", 100)  # makes an ORDER_PLACE, an ACCEPT, a FILL, and what follows from it
    knows = lsn + 3
    monkeypatch.setattr(
        one.asked, "send", lambda sent: send(Sent(msgspec.structs.replace(sent.intent, seen_lsn=knows), sent.signal))
    )
    second = strategy_of(house).buy("EURUSD", 10)
    house.until(lambda: second.number in placed(house), "the second order")
    places = {r.signal: number for number, r in enumerate(house.records(), 1) if isinstance(r, OrderPlace)}
    assert places[first.number] <= knows < places[second.number]
