"""`gateway.broadcast_lossless` with real processes: every tick arrives, and who does not read stops only the run."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from harness import EngineUnderTest, config_tree, wait_for
from market_files import bid_ask, quotes

TICKS = 300_000
"""More than the buffers of two sockets and of the system hold."""
ROWS = quotes(TICKS, step_s=1.0)
QUIET = "from actors.strategies import Strategy\n\n\nclass Quiet(Strategy):\n    pass\n"


@pytest.fixture(scope="module")
def ticks_csv() -> str:
    return bid_ask(ROWS)


@pytest.fixture
def engine(tmp_path: Path, ticks_csv: str) -> Iterator[EngineUnderTest]:
    """Ready, and waiting for its first subscriber."""
    tree = config_tree(
        engine={"mode": "replay"},
        market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD"},
        strategies=[{"name": "quiet", "class": "quiet:Quiet", "symbols": ["EURUSD"]}],
        gateway={"broadcast_lossless": True},
    )
    with EngineUnderTest(tmp_path, tree, files={"ticks.csv": ticks_csv, "quiet.py": QUIET}) as made:
        wait_for(lambda: made.log_events("broadcast_awaits_subscriber"), "the word that it waits")
        yield made


def subscribe(engine: EngineUnderTest) -> zmq.Socket[bytes]:
    """A SUB socket that takes in little by itself."""
    socket = engine.context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, 100)
    socket.setsockopt(zmq.RCVBUF, 4096)
    socket.subscribe(b"\0")
    socket.connect(engine.endpoint("broadcast"))
    return socket


def wait_stalled(engine: EngineUnderTest) -> None:
    wait_for(lambda: engine.log_events("broadcast_stalled"), "the word that a subscriber does not read")


def test_who_comes_late_and_reads_late_gets_every_tick_and_commands_are_answered_meanwhile(
    engine: EngineUnderTest,
) -> None:
    socket = subscribe(engine)
    wait_stalled(engine)
    assert engine.ask("PING")["response"] == "PONG"
    assert engine.row("gateway")["state"]
    assert engine.ask("HALT look")["response"] == "Trading halted"
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    for row in ROWS:
        assert struct.unpack("<IQqq", socket.recv()[1:]) == (0, *row)
    assert engine.wait() == 0
    assert engine.log_events("broadcast_goes_on")


def test_a_stop_is_carried_out_while_a_subscriber_hangs(engine: EngineUnderTest) -> None:
    hanging = subscribe(engine)
    wait_stalled(engine)
    assert engine.stop() == 0
    hanging.close(0)
    assert not engine.log_events("stop_deadline_passed")


def test_a_stop_is_carried_out_while_nobody_has_subscribed(engine: EngineUnderTest) -> None:
    assert engine.stop() == 0


def test_a_subscriber_that_leaves_sets_the_run_free(engine: EngineUnderTest) -> None:
    socket = subscribe(engine)
    wait_stalled(engine)
    socket.close(0)
    assert engine.wait() == 0
