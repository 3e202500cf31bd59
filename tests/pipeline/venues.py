"""An engine with the simulated venue, a strategy that does what the test says, and the venue's desk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from harness import EngineUnderTest, Tree, config_tree, wait_for
from venue_books import books

from protocol.client import desk_endpoint

PUPPET: Final = '''
"""Does what stands in the file `todo`, line by line, and says when it has."""
import os

from actors.strategies import Strategy


class Puppet(Strategy):
    def on_tick(self, tick):
        if os.path.exists("todo"):
            text = open("todo").read()
            os.remove("todo")
            for line in text.splitlines():
                exec(line, {"self": self, "tick": tick})
'''


def venue_engine(
    directory: Path,
    *,
    line: Tree | None = None,
    strategy: tuple[str, dict[str, str]] = ("puppet:Puppet", {"puppet.py": PUPPET}),
    **sections: Any,
) -> EngineUnderTest:
    """`line`: how bad it is; `strategy`: (class, files); `sections` as of config_tree."""
    routing = {"venue": "simulated", "in_doubt_grace_s": 0.3, "line": line or {}, **sections.pop("order_routing", {})}
    name, files = strategy
    sections = {
        "market_data": {"source": "synthetic", "seed": 7, "rate": 500.0},
        "strategies": [{"name": "only", "class": name, "symbols": ["EURUSD"]}],
        "supervisor": {"restarts": 1000, "window_s": 0.2},
        "order_routing": routing,
        **sections,
    }
    return EngineUnderTest(directory, config_tree(**sections), files=files)


def do(engine: EngineUnderTest, *lines: str) -> None:
    """The strategy has done them, at a tick."""
    told = engine.directory / "told"
    told.unlink(missing_ok=True)
    (engine.directory / "todo.new").write_text("\n".join((*lines, f"open({str(told)!r}, 'w')")))
    os.replace(engine.directory / "todo.new", engine.directory / "todo")
    wait_for(told.exists, f"the strategy to do {lines}")


def desk(engine: EngineUnderTest, text: str) -> str:
    """What the venue's desk answers."""
    reply = engine.ask(text, desk_endpoint(engine.run_dir))
    assert reply["status"] == "ok", reply
    return reply["response"]


def net_position(engine: EngineUnderTest) -> int:
    """As STATUS says, micros."""
    return sum(round(row["net_quantity"] * 1e6) for row in engine.ask("STATUS")["positions"])


def wait_until_agreed(engine: EngineUnderTest) -> None:
    """Nothing is on its way, and the gateway's position is the venue's."""
    wait_for(lambda: books(engine).position == net_position(engine), "the positions to agree")


def statuses(engine: EngineUnderTest, order_id: int) -> list[int]:
    """The reports of an order in the journal, in order."""
    return [entry.fields["report"] for entry in engine.records("ORDER_UPDATE", order_id=order_id)]


def orders_of(engine: EngineUnderTest) -> list[Tree]:
    return engine.ask("ORDERS")["orders"]
