"""The messages inside the pipes: tagged arrays that a schema-free decoder reads, and garbage refused."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import messages
from protocol.errors import WireError
from protocol.messages import Message, decode_message, encode_message
from protocol.orders import OrderType, Side, TimeInForce
from protocol.records import EngineRun, RunEvent

RUN = EngineRun(
    b"j" * 16, RunEvent.START, "operator", "0.1.0", b"c" * 16, b"b" * 16, 0, bytes(16), "USD", 100, (("EURUSD", 1),), ()
)
QUEUE = messages.QueueDepth("appends", "wal", 3, 50_000)
CHILD = messages.ChildState("risk", "ready", 7, 2, 1, 1.5, 1024, 9, 5, {"signals": 3}, 8, "no room", (QUEUE,))

# One of each, with the tag and the array that an outsider's msgpack sees.
WIRE: list[tuple[Message, list[Any]]] = [
    (messages.Hello("risk", 3, b"e", 1, 64, 2), [1, "risk", 3, b"e", 1, 64, 2]),
    (messages.Welcome(b"e", 1, 9, 4, b"boot", True, b"t", 6), [2, b"e", 1, 9, 4, b"boot", True, b"t", 6]),
    (messages.Data(b"e", 10, 2, 11, 0, True), [3, b"e", 10, 2, 11, 0, True]),
    (messages.Credit(5, 6), [4, 5, 6]),
    (messages.Append(3, 41, 2), [5, 3, 41, 2]),
    (messages.Reset("too old"), [6, "too old"]),
    (messages.SayHello(), [7]),
    (messages.Barrier(7, 300), [8, 7, 300]),
    (messages.Grant(5, 26, 9), [10, 5, 26, 9]),
    (messages.Done(26, 12), [11, 26, 12]),
    (messages.Reached(26), [19, 26]),
    (messages.State(7, 2, 300), [9, 7, 2, 300]),
    (messages.SignalHello("sma", 3), [16, "sma", 3]),
    (messages.SignalWelcome(2, 9), [17, 2, 9]),
    (
        messages.Intent(
            16, 4, 2, 99, b"e", 302, 0, 7, Side.SELL, OrderType.LIMIT, 1, 2, 3, 4, 5, 6, TimeInForce.GTD, 7, 8, 9,
            10,
        ),
        [18, 16, 4, 2, 99, b"e", 302, 0, 7, 1, 1, 1, 2, 3, 4, 5, 6, 4, 7, 8, 9, 10],
    ),
    (messages.Loaded("risk", 3, 77), [32, "risk", 3, 77]),
    (messages.Failed(2, "no", True), [33, 2, "no", True]),
    (messages.Go(), [34, None, 0]),
    (messages.Ready(9), [35, 9, None, 0]),
    (messages.Stop(), [36, None]),
    (messages.Stopped(9), [37, 9]),
    (messages.Detach("risk"), [38, "risk"]),
    (messages.Detached("risk", 9), [39, "risk", 9]),
    (messages.Ask(), [40]),
    (
        messages.Statistics(9, 5, True, 0, {"a": 1}, (QUEUE,)),
        [41, 9, 5, True, 0, {"a": 1}, [["appends", "wal", 3, 50_000]]],
    ),
    (messages.Peer("wal", 2), [42, "wal", 2]),
    (
        messages.Children((CHILD,)),
        [43, [["risk", "ready", 7, 2, 1, 1.5, 1024, 9, 5, {"signals": 3}, 8, "no room",
               [["appends", "wal", 3, 50_000]]]]],
    ),
    (messages.Parked("sma", 3), [44, "sma", 3]),
    (messages.Steer(messages.SteerVerb.PARK, "strategy.sma"), [45, "park", "strategy.sma"]),
    (messages.VenueLogon(b"j"), [50, b"j"]),
    (messages.VenueLoggedOn(7, 3, 2), [51, 7, 3, 2]),
    (messages.VenueHeartbeat(7, 3), [52, 7, 3]),
    (messages.VenueOrder(7, b"p"), [53, 7, b"p"]),
    (messages.VenueCancel(7, 4), [54, 7, 4, False]),
    (messages.VenueReport(7, 3, 8, b"u"), [55, 7, 3, 8, b"u"]),
    (messages.VenueQuery(7, 2, messages.VenueQuestion.ORDER, 4, 5), [56, 7, 2, "order", 4, 5]),
    (messages.VenueOpenOrders(2, 3, ((b"p", 1),)), [57, 2, 3, [[b"p", 1]]]),
    (messages.VenuePositions(2, 3, ((0, -1, 9),)), [58, 2, 3, [[0, -1, 9]]]),
    (messages.VenueExecutions(2, 3, ((3, 8, b"u"),)), [59, 2, 3, [[3, 8, b"u"]]]),
    (messages.VenueOrderKnown(2, 4, False, True, 5), [60, 2, 4, False, True, 5]),
    (messages.VenueReplace(7, b"r"), [61, 7, b"r"]),
]
IDS = [type(message).__name__ for message, _ in WIRE]


@pytest.mark.parametrize(("message", "array"), WIRE, ids=IDS)
def test_every_message_is_a_tagged_array_in_the_order_of_its_fields(message: Message, array: list[Any]) -> None:
    frame = encode_message(message)
    assert msgpack.unpackb(frame) == array
    assert decode_message(frame) == message


@pytest.mark.parametrize("kind", [messages.Go, messages.Stop])
def test_the_runs_record_travels_with_go_and_stop(kind: type[messages.Go | messages.Stop]) -> None:
    assert decode_message(encode_message(kind(RUN))) == kind(RUN)


def test_every_message_is_tried_and_no_tag_is_used_twice() -> None:
    kinds = get_args(messages.type_union)
    assert {type(message) for message, _ in WIRE} == set(kinds)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    "array",
    [[], [99], [1], [1, "risk", "three", b"", 0, 0, 0], [4, -1.5], {"tag": 1}, "HELLO", None],
    ids=["empty", "unknown tag", "too short", "wrong type", "no int", "map", "text", "nil"],
)
def test_what_is_no_message_is_the_peers_mistake(array: Any) -> None:
    frame = msgpack.packb(array)
    assert isinstance(frame, bytes)
    with pytest.raises(WireError):
        decode_message(frame)


@given(st.binary(max_size=64))
def test_no_bytes_do_anything_but_decode_or_raise_wire_error(frame: bytes) -> None:
    try:
        message = decode_message(frame)
    except WireError:
        return
    assert decode_message(encode_message(message)) == message


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    frame = msgspec.msgpack.encode([4, 5, 6, "newer"])
    assert decode_message(frame) == messages.Credit(5, 6)
