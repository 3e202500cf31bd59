"""Kills while orders go to a venue outside, over a bad line; in the end the journal and the venue's books say the same.

    python -m tests.faults.venue_kills --kills 100

Killed by turns: the venue, order_routing, both, wal, risk, and all children at once. After each the engine must trade
again. In the end trading is halted, and of every order that was ever approved what the venue's file says is what the
journal says: no order twice, none that ended as `not_sent` there, each execution booked once, the positions the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from crashes import CHILDREN, Tail, assert_sound, kill, often, trading_engine
from harness import EngineUnderTest, wait_for
from venue_books import FILL, FIRST_EXTERNAL, books

LINE: Final = {
    "seed": 1, "drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "delay_ms": 10.0, "cut_every_s": 20.0, "cut_s": 0.3,
}  # fmt: skip
VICTIMS: Final = (
    ("venue",), ("order_routing",), ("venue", "order_routing"), ("wal",), ("risk",), (*CHILDREN[:-1], "venue"),
)  # fmt: skip
REJECTED: Final = 4


def run(directory: Path, kills: int) -> tuple[int, int]:
    """(orders, executions). Raises: AssertionError naming what differs."""
    routing = {"venue": "simulated", "in_doubt_grace_s": 0.3, "line": LINE}
    with trading_engine(directory, strategies=[often(stride=50)], order_routing=routing) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        for number in range(kills):
            victims = VICTIMS[number % len(VICTIMS)]
            kill(engine, *victims)
            tail.wait_for_fills(f"the death of {', '.join(victims)}")
        assert engine.ask("HALT the end")["status"] == "ok"
        wait_for(lambda: _is_settled(engine), "every order to have ended, here and there")
        return compare(engine)


def _is_settled(engine: EngineUnderTest) -> bool:
    is_known = engine.ask("HEALTH")["lsn"] >= engine.journal[-1].lsn
    rows = [row for row in engine.ask("HEALTH")["children"] if row["name"] == "order_routing" and row["counters"]]
    is_up = bool(rows) and not rows[0]["counters"]["reconciling"]
    return is_known and is_up and not engine.ask("ORDERS")["orders"] and _executed(engine) == set(books(engine).fills)


def _executed(engine: EngineUnderTest) -> set[str]:
    return {entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)}


def compare(engine: EngineUnderTest) -> tuple[int, int]:
    assert_sound(engine)
    found = books(engine)
    arrived = [order_id for _, order_id, _ in found.orders.values()]
    assert len(arrived) == len(set(arrived)), "an order is there twice"
    places = {entry.fields["order_id"] for entry in engine.records("ORDER_PLACE")}
    assert not any(order_id >= FIRST_EXTERNAL for order_id in places), "nothing came from elsewhere"
    not_sent = {entry.fields["order_id"] for entry in engine.records("ORDER_UPDATE", report=REJECTED)}
    assert not not_sent & set(arrived), "it was not sent, and is there"
    assert places == not_sent | set(arrived)
    assert _executed(engine) == set(found.fills)
    held = engine.independent_positions().get("EURUSD")
    assert engine.status_positions() == engine.independent_positions()
    assert (round(held.net_quantity * 1e6) if held else 0) == found.position
    return len(places), len(found.fills)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=100)
    kills: int = options.parse_args(arguments).kills
    with tempfile.TemporaryDirectory() as directory:
        orders, executions = run(Path(directory), kills)
    print(f"{kills} kills: {orders} orders and {executions} executions, the same in the journal and at the venue")


if __name__ == "__main__":
    main()
