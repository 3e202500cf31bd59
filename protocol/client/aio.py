"""The clients for asyncio: the same names and events, awaited.

    from protocol.client.aio import AsyncControlClient, AsyncTelemetrySubscriber
    async with AsyncTelemetrySubscriber("tcp://127.0.0.1:5557") as events:
        async for event in events: ...

A request runs in a thread of its own, as every request has a socket of its own; the subscribers are zmq.asyncio's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

import zmq
import zmq.asyncio

from protocol.client import broadcast, telemetry
from protocol.client.broadcast import BroadcastRecord, decode_broadcast
from protocol.client.control import ControlClient
from protocol.client.subscribing import connect_subscriber
from protocol.client.telemetry import Event, EventReader, UnknownEvent, kind_names
from protocol.keys import ClientKeys
from protocol.telemetry import Telemetry
from protocol.topics import Topic


class AsyncControlClient:
    """As ControlClient; `client` is one, made as this is."""

    def __init__(
        self, endpoint: str, timeout_s: float = 2.0, *, run_dir: str | Path | None = None,
        keys: ClientKeys | None = None,
    ) -> None:  # fmt: skip
        self.client = ControlClient(endpoint, timeout_s, run_dir=run_dir, keys=keys)

    async def request(self, text: str) -> dict[str, Any]:
        """As ControlClient.request."""
        return await asyncio.to_thread(self.client.request, text)

    async def halt(self, reason: str = "") -> dict[str, Any]:
        """No send that can raise exposure begins after this has returned (H6)."""
        return await asyncio.to_thread(self.client.halt, reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.client.close)


class _AsyncSubscriber:
    def __init__(self, endpoint: str, prefixes: list[bytes], keys: ClientKeys | None) -> None:
        self._context = zmq.asyncio.Context()
        self.socket = self._context.socket(zmq.SUB)
        connect_subscriber(self.socket, endpoint, prefixes, keys)

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class AsyncTelemetrySubscriber(_AsyncSubscriber):
    """As TelemetrySubscriber."""

    def __init__(
        self, endpoint: str, kinds: Sequence[type[Telemetry] | str] | None = None, *, keys: ClientKeys | None = None
    ) -> None:
        names = kind_names(kinds)
        self.reader = EventReader(names)
        self._events: deque[Event] = deque()
        super().__init__(endpoint, telemetry.prefixes_of(names), keys)

    async def receive(self) -> Event:
        while not self._events:
            self._events.extend(self.reader.read(await self.socket.recv()))
        return self._events.popleft()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield await self.receive()


class AsyncBroadcastSubscriber(_AsyncSubscriber):
    """As BroadcastSubscriber."""

    def __init__(self, endpoint: str, topics: Sequence[Topic] | None = None, *, keys: ClientKeys | None = None) -> None:
        self.counts: Counter[Topic] = Counter()
        super().__init__(endpoint, broadcast.prefixes_of(topics), keys)

    async def receive(self) -> BroadcastRecord | UnknownEvent:
        frame = await self.socket.recv()
        record = decode_broadcast(frame)
        if not isinstance(record, UnknownEvent):
            self.counts[Topic(frame[0])] += 1
        return record

    async def __aiter__(self) -> AsyncIterator[BroadcastRecord | UnknownEvent]:
        while True:
            yield await self.receive()
