"""Telemetry as typed events, and whether any was missed.

    with TelemetrySubscriber("tcp://127.0.0.1:5557", kinds=[OrderUpdateEvent]) as events:
        for event in events:
            print(event)

Owns one SUB socket, which connects again by itself. Once a second the engine's heartbeat tells how many of each kind it
has sent: whoever has received fewer since the one before gets a Gap first, then the heartbeat, and asks for a snapshot
(STATUS, ORDERS). A gateway in a new life begins its counts anew: that is a Gap too, since nobody knows what came
between.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from protocol.client.subscribing import Subscriber, poll_ms
from protocol.keys import ClientKeys
from protocol.telemetry import (
    AccountEvent,
    ActorStateEvent,
    ActorStatsEvent,
    HeartbeatEvent,
    OrderUpdateEvent,
    PositionUpdateEvent,
    RiskViolationEvent,
    SignalRefusedEvent,
    Telemetry,
    TradingStateEvent,
)

KINDS: Final = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        OrderUpdateEvent, PositionUpdateEvent, RiskViolationEvent, SignalRefusedEvent, TradingStateEvent, AccountEvent,
        ActorStateEvent, ActorStatsEvent, HeartbeatEvent,
    )
}  # fmt: skip
HEARTBEAT: Final = str(HeartbeatEvent.__struct_config__.tag)


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Events were missed, or may have been: what is known of the engine is to be asked for anew."""

    missed: dict[str, int]
    """kind -> how many; empty if the engine's gateway began a new life, and nobody knows."""


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Of a newer engine, or garbage."""

    frame: bytes


Event = Telemetry | Gap | UnknownEvent


class _Type(msgspec.Struct):
    type: str = ""


class EventReader:
    """Frames to events: counts along, so that a heartbeat shows what was missed. Pure: a function of what it is given.

    kinds: the kinds that are subscribed to; None: all.
    """

    def __init__(self, kinds: frozenset[str] | None = None) -> None:
        self._kinds = kinds
        self._received: Counter[str] = Counter()
        """Since the last heartbeat."""
        self._before: HeartbeatEvent | None = None
        self._decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
            name: msgspec.json.Decoder(kind) for name, kind in KINDS.items()
        }
        self._type: Final = msgspec.json.Decoder(_Type)
        self.missed: Counter[str] = Counter()
        """Since the beginning."""

    def read(self, frame: bytes) -> list[Event]:
        """The event in `frame`, behind a Gap if it shows one."""
        try:
            kind = self._type.decode(frame).type
            event = self._decoders[kind].decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
            return [UnknownEvent(frame=frame)]
        if type(event) is HeartbeatEvent:
            return [*self._look_for_gap(event), event]
        self._received[kind] += 1
        return [event]

    def _look_for_gap(self, now: HeartbeatEvent) -> list[Event]:
        before, received = self._before, self._received
        self._before, self._received = now, Counter()
        if before is None:
            return []
        sent = {kind: count - before.telemetry_counts.get(kind, 0) for kind, count in now.telemetry_counts.items()}
        if (before.boot_id, before.incarnation) != (now.boot_id, now.incarnation):
            return [Gap(missed={})]
        received[HEARTBEAT] = 1  # the one before, which is not counted in itself
        wanted = sent.keys() if self._kinds is None else sent.keys() & self._kinds
        missed = {kind: sent[kind] - received[kind] for kind in sorted(wanted) if sent[kind] > received[kind]}
        self.missed.update(missed)
        return [Gap(missed=missed)] if missed else []


def kind_names(kinds: Sequence[type[Telemetry] | str] | None) -> frozenset[str] | None:
    """Raises: ValueError naming a kind that there is not."""
    if kinds is None:
        return None
    names = [kind if isinstance(kind, str) else str(kind.__struct_config__.tag) for kind in kinds]
    if unknown := sorted(set(names) - KINDS.keys()):
        raise ValueError(f"no such telemetry: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return frozenset(names)


def prefixes_of(kinds: frozenset[str] | None) -> list[bytes]:
    """What to subscribe to: these kinds, and the heartbeat, by which one knows what was missed."""
    return [b""] if kinds is None else [f'{{"type":"{kind}"'.encode() for kind in sorted({*kinds, HEARTBEAT})]


class TelemetrySubscriber(Subscriber):
    """An iterator over events, without end. A context manager; `close` ends it.

    kinds: event classes or their names; None: all. keys: as ControlClient's.
    """

    def __init__(
        self, endpoint: str, kinds: Sequence[type[Telemetry] | str] | None = None, *, keys: ClientKeys | None = None
    ) -> None:
        """Raises: ValueError naming a kind that there is not, GatewayError if the endpoint is none."""
        names = kind_names(kinds)
        self.reader = EventReader(names)
        self._events: deque[Event] = deque()
        super().__init__(endpoint, prefixes_of(names), keys)

    def receive(self, timeout_s: float | None = None) -> Event | None:
        """The next event, or None if there is none within `timeout_s` (None: waits for ever)."""
        while not self._events:
            if not self.socket.poll(poll_ms(timeout_s)):
                return None
            self._events.extend(self.reader.read(self.socket.recv()))
        return self._events.popleft()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.receive()) is not None:
            yield event
