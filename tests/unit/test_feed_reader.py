"""What a heartbeat shows of events that were missed, and what frames come to."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import topics
from protocol.client.broadcast import TickRecord, decode_broadcast
from protocol.client.telemetry import Event, EventReader, Gap, UnknownEvent, kind_names, prefixes_of
from protocol.telemetry import HeartbeatEvent, PositionUpdateEvent, TradingStateEvent, encode_telemetry

STATE = TradingStateEvent(state="HALTED", by="operator", reason="enough")
POSITION = PositionUpdateEvent(symbol="EURUSD", net_quantity=1.0, average_price=1.1, realized_pnl=0.0)


def heartbeat(boot_id: str = "b", incarnation: int = 1, **counts: int) -> HeartbeatEvent:
    return HeartbeatEvent(
        boot_id=boot_id, incarnation=incarnation, time_us=1, telemetry_counts=counts, broadcast_counts={}
    )


def read(reader: EventReader, *events: TradingStateEvent | PositionUpdateEvent | HeartbeatEvent) -> list[Event]:
    return [found for event in events for found in reader.read(encode_telemetry(event))]


def test_every_event_comes_back_as_it_was() -> None:
    assert read(EventReader(), STATE, POSITION, heartbeat()) == [STATE, POSITION, heartbeat()]


def test_a_gap_comes_before_the_heartbeat_that_shows_it_and_says_how_many_of_what() -> None:
    reader = EventReader()
    read(reader, heartbeat(trading_state=3, position_update=5), STATE, POSITION)
    later = heartbeat(trading_state=4, position_update=8, heartbeat=1)
    assert read(reader, later) == [Gap(missed={"position_update": 2}), later]
    assert reader.missed == {"position_update": 2}
    read(reader, POSITION)
    last = heartbeat(trading_state=4, position_update=9, heartbeat=2)
    assert read(reader, last) == [last]


def test_a_missed_heartbeat_loses_no_count() -> None:
    reader = EventReader()
    read(reader, heartbeat(), STATE)
    last = heartbeat(trading_state=2, heartbeat=2)
    assert read(reader, last) == [Gap(missed={"heartbeat": 1, "trading_state": 1}), last]


def test_what_is_not_subscribed_is_not_missed() -> None:
    reader = EventReader(kind_names([TradingStateEvent]))
    read(reader, heartbeat())
    later = heartbeat(trading_state=0, position_update=7, heartbeat=1)
    assert read(reader, later) == [later]


@pytest.mark.parametrize("later", [heartbeat(boot_id="c", trading_state=9), heartbeat(incarnation=2, trading_state=9)])
def test_counts_of_another_life_are_a_gap_of_which_nobody_knows_the_size(later: HeartbeatEvent) -> None:
    reader = EventReader()
    read(reader, heartbeat(trading_state=4))
    assert read(reader, later) == [Gap(missed={}), later]
    assert read(reader, later)[-1] == later


def test_before_the_first_heartbeat_nothing_is_known() -> None:
    assert read(EventReader(), heartbeat(trading_state=9)) == [heartbeat(trading_state=9)]


@given(st.binary() | st.sampled_from([b'{"type":"order_update"}', b'{"type":7}', b"[" * 5000]))
def test_garbage_is_handed_on_as_unknown(frame: bytes) -> None:
    found = EventReader().read(frame)
    assert found == [UnknownEvent(frame=frame)]


def test_an_event_of_a_newer_engine_with_more_keys_is_read() -> None:
    newer = msgspec.json.encode(msgspec.to_builtins(STATE) | {"since": 1})
    assert EventReader().read(newer) == [STATE]


def test_one_kind_is_subscribed_to_with_the_heartbeat() -> None:
    assert prefixes_of(kind_names(["order_update"])) == [b'{"type":"heartbeat"', b'{"type":"order_update"']
    assert prefixes_of(None) == [b""]
    with pytest.raises(ValueError, match="no such telemetry: orders; there are order_update"):
        kind_names(["orders"])


def test_a_record_is_its_fields_and_a_frame_that_is_none_is_unknown() -> None:
    frame = topics.TICK.pack(0, 3, 7, 1_100_000, 1_100_010)
    assert decode_broadcast(frame) == TickRecord(3, 7, 1_100_000, 1_100_010)
    for bad in (b"", frame[:-1], frame + b"\0", b"\x09" + frame[1:]):
        assert decode_broadcast(bad) == UnknownEvent(frame=bad)
