"""What the fault tests and the long kill loop share: an engine that trades all the time, SIGKILLs, and what must hold.

The strategy places an order every few ticks, so that every kill falls into orders, answers and appends under way.
All that is said of the journal is read by journal_reader.py, which shares no code with the engine.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgpack
from harness import NO_DEADLINES, EngineUnderTest, Tree, config_tree, wait_for
from journal_reader import FILL

CHECKPOINT_RECORDS: Final = 300
"""So that kills fall into checkpoints and rolls too: there is one in less than a second."""
CHILDREN: Final = ("wal", "risk", "strategy.often", "order_routing", "gateway", "market_data")
OFTEN: Final = '''
"""Trades all the time: every `stride`th tick a market order towards flat or away from it."""
import json
from pathlib import Path

from actors.strategies import Strategy


class Often(Strategy):
    stride = 25
    report = ""

    def __init__(self):
        self.ticks = 0
        self.checksum = 0

    def on_tick(self, tick):
        self.ticks += 1
        self.checksum = (self.checksum * 31 + round(tick.bid * 1e6)) % 2**61
        if self.ticks % self.stride == 0:
            if self.position(tick.symbol).quantity > 0:
                self.sell(tick.symbol, 10)
            else:
                self.buy(tick.symbol, 10)

    def on_stop(self):
        if self.report:
            Path(self.report).write_text(json.dumps([self.ticks, self.checksum]))


class Resting(Strategy):
    """One order that never fills."""

    def on_tick(self, tick):
        if not self.orders():
            self.buy(tick.symbol, 5, limit=0.5)
'''
SAVING: Final = '''
"""As Often, with a state."""
from crashes import Often


class Saving(Often):
    def save(self):
        return self.ticks

    def load(self, state):
        self.ticks = state
'''
FILES: Final = {"crashes.py": OFTEN, "saving.py": SAVING}


def often(**params: Any) -> Tree:
    return {"name": "often", "class": "crashes:Often", "symbols": ["EURUSD"], "params": params}


def trading_engine(directory: Path, **sections: Any) -> EngineUnderTest:
    """The demo at 2,000 ticks a second with 80 orders a second. A death is forgotten before the next kill of the same
    child, so that no restart is put off: what is measured is the way back, not the pause before it."""
    sections = {
        "strategies": [often()],
        "market_data": {"rate": 2000.0},
        "supervisor": {"restarts": 1000, "window_s": 0.2, "deadlines": NO_DEADLINES},
        "wal": {"checkpoint_records": CHECKPOINT_RECORDS},
        **sections,
    }
    return EngineUnderTest(directory, config_tree(**sections), files=FILES)


class Tail:
    """The journal's new entries since the last look; for waiting without reading all of it again and again."""

    def __init__(self, engine: EngineUnderTest) -> None:
        self._path = engine.journal_path
        self._file: BinaryIO | None = None
        self._rest = b""
        self.lsn = 0
        self.fills = 0
        self.last_place = 0
        """Market position of the newest ORDER_PLACE."""

    def read(self) -> Tail:
        if self._file is None:
            self._file = open(self._path, "rb")  # noqa: SIM115 - stays open until the next roll
        is_rolled = os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino
        self._take(self._rest + self._file.read())
        if is_rolled:  # after that look nothing more is written to the old one
            self._file.close()
            self._file, self._rest = None, b""
            return self.read()
        return self

    def _take(self, data: bytes) -> None:
        start = 0
        while start + 13 <= len(data):
            length = int.from_bytes(data[start + 5 : start + 9], "little")
            body = data[start + 13 : start + 13 + length]
            if len(body) < length:
                break
            self.lsn = int.from_bytes(body[1:9], "little")
            if body[0] == 8:
                self.fills += msgpack.unpackb(body[38:])[1] == FILL
            elif body[0] == 4:
                self.last_place = msgpack.unpackb(body[38:])[16]
            start += 13 + length
        self._rest = data[start:]

    def wait_for_fills(self, what: str, count: int = 2) -> None:
        """The engine goes on: the LSN grows, and orders that were not there before are filled."""
        before = self.read().fills
        wait_for(lambda: self.read().fills >= before + count, f"new fills after {what}")


@dataclass(frozen=True)
class Life:
    """One way back."""

    child: str
    seconds: float
    """From the signal to READY."""


def kill(engine: EngineUnderTest, *names: str) -> list[Life]:
    """SIGKILL to all of them at once; they are READY again in new lives."""
    pids = {name: wait_for(lambda name=name: engine.child_pid(name), f"a process of {name}") for name in names}
    before = {name: _readies(engine, name) for name in names}
    killed = time.time()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    lives = []
    for name in names:
        wait_for(lambda name=name: len(_readies(engine, name)) > len(before[name]), f"the next life of {name}")
        lives.append(Life(name, _readies(engine, name)[-1] - killed))
    return lives


def _readies(engine: EngineUnderTest, name: str) -> list[float]:
    """When its lives became READY."""
    events = engine.log_events("child_ready", name=name)
    return [datetime.fromisoformat(event["timestamp"]).timestamp() for event in events]


def assert_sound(engine: EngineUnderTest) -> None:
    """No order id and no execution id is used twice, and nobody acted twice on one tick."""
    engine.assert_ids_are_used_once()
    executions = Counter(entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL))
    assert not [name for name, count in executions.items() if count > 1]
    ticks = Counter(acted_on(engine))
    assert not [tick for tick, count in ticks.items() if count > 1], "one tick, one order"


def acted_on(engine: EngineUnderTest) -> Sequence[tuple[int, bytes, int]]:
    """(strategy, market epoch, position) of every order's cause."""
    found = []
    for entry in engine.journal:
        if entry.name == "ORDER_PLACE":
            found.append((entry.fields["strategy_id"], entry.fields["market_epoch"], entry.fields["market_position"]))
    return found


def halt_and_compare(engine: EngineUnderTest) -> None:
    """HALT; when no order is open any more STATUS is the fold of the whole journal, told by a second opinion."""
    assert engine.ask("HALT the end of the test")["status"] == "ok"
    wait_for(lambda: _is_settled(engine), "no order is open, and the gateway knows of all that were placed")
    assert engine.ask("STATUS")["halted"]
    assert engine.status_positions() == engine.independent_positions()


def _is_settled(engine: EngineUnderTest) -> bool:
    """Strategies go on signalling, so the journal goes on growing; but orders and fills have come to an end."""
    placed = [entry.lsn for entry in engine.journal if entry.name in ("ORDER_PLACE", "ORDER_UPDATE", "TRADING_STATE")]
    return engine.ask("HEALTH")["lsn"] >= placed[-1] and not engine.ask("ORDERS")["orders"]
