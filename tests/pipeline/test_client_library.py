"""The client library against a real engine: typed events, what a restarted gateway means, batches, and asyncio."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DEADLINE_S, EngineUnderTest, config_tree, wait_for

from protocol.client import BroadcastSubscriber, ControlClient, Gap, TelemetrySubscriber
from protocol.client.aio import AsyncBroadcastSubscriber, AsyncControlClient, AsyncTelemetrySubscriber
from protocol.client.broadcast import TickRecord
from protocol.client.telemetry import Event
from protocol.errors import GatewayError
from protocol.telemetry import HeartbeatEvent, OrderUpdateEvent, TradingStateEvent
from protocol.topics import Topic


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    with EngineUnderTest(tmp_path_factory.mktemp("client"), config_tree()) as engine:
        yield engine


def test_events_are_typed_and_a_restarted_gateway_is_a_gap(engine: EngineUnderTest) -> None:
    with TelemetrySubscriber(engine.endpoint("telemetry"), [OrderUpdateEvent]) as events:
        seen: list[Event | None] = []

        def has_come(kind: type[Event]) -> bool:
            seen.append(events.receive(0.0))
            return any(isinstance(event, kind) for event in seen)

        wait_for(lambda: has_come(OrderUpdateEvent), "an order's update")
        wait_for(lambda: has_come(HeartbeatEvent), "a heartbeat")
        assert {type(event) for event in seen if event} == {OrderUpdateEvent, HeartbeatEvent}, "and no gap"
        engine.kill_and_wait_ready("gateway")
        wait_for(lambda: has_come(Gap), "the new life's heartbeat, which begins its counts anew")
        assert Gap(missed={}) in seen


def test_ticks_come_one_by_one_and_in_batches(engine: EngineUnderTest) -> None:
    with BroadcastSubscriber(engine.endpoint("broadcast"), [Topic.TICK]) as ticks:
        tick = ticks.receive(DEADLINE_S)
        assert isinstance(tick, TickRecord)
        assert tick.bid_micros <= tick.ask_micros
        batch = ticks.receive_ticks(DEADLINE_S)
        assert batch is not None
        assert (batch["timestamp"] >= tick.time_us).all()
        assert ticks.counts == {Topic.TICK: 1 + len(batch)}
        assert ticks.receive(0.0) is None or ticks.counts[Topic.TICK] > len(batch)


def test_the_same_can_be_awaited(engine: EngineUnderTest) -> None:
    async def see_a_halt() -> str:
        async with (
            AsyncTelemetrySubscriber(engine.endpoint("telemetry"), [TradingStateEvent]) as events,
            AsyncBroadcastSubscriber(engine.endpoint("broadcast"), [Topic.TICK]) as ticks,
            AsyncControlClient(engine.endpoint("command"), DEADLINE_S) as control,
        ):
            assert isinstance(await ticks.receive(), TickRecord)
            assert isinstance(await events.receive(), HeartbeatEvent), "the subscription has arrived"
            assert (await control.halt("seen"))["response"] == "Trading halted"
            async for event in events:
                if isinstance(event, TradingStateEvent):
                    return event.reason
        raise AssertionError

    assert asyncio.run(asyncio.wait_for(see_a_halt(), DEADLINE_S)) == "seen"


def test_what_is_no_endpoint_is_said_so() -> None:
    with pytest.raises(GatewayError, match="nowhere is no endpoint"):
        TelemetrySubscriber("nowhere")


def test_three_lines_are_enough(engine: EngineUnderTest) -> None:
    client = ControlClient(engine.endpoint("command"))
    assert client.status()["status"] == "ok"
    client.close()


def test_the_examples_of_its_page_run_as_they_stand(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page.partition("## 11. The client library")[2], re.DOTALL)
    assert len(examples) == 2
    with EngineUnderTest(tmp_path) as engine:
        for example, said in zip(examples, ("PONG ACTIVE", "PONG"), strict=True):
            program = example
            for port, which in ((5555, "broadcast"), (5556, "command"), (5557, "telemetry")):
                program = program.replace(f"tcp://127.0.0.1:{port}", engine.endpoint(which))
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[0] == said
            assert len(done.stdout.splitlines()) > 1


def test_it_needs_nothing_but_pyzmq_msgpack_and_msgspec() -> None:
    forbidden = ["numpy", "structlog", "psutil", "click", "rich", "setproctitle", "textual", "starlette", "actors"]
    program = f"import sys; sys.modules.update(dict.fromkeys({forbidden})); import protocol.client, protocol.client.aio"
    subprocess.run([sys.executable, "-c", program], timeout=DEADLINE_S, check=True)
