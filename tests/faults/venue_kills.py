"""Kills while orders go to a venue outside, over a bad line; in the end the journal and the venue's books say the same.

    python -m tests.faults.venue_kills --kills 100

Killed by turns: the venue, order_routing, both, wal, risk, and all children at once. After each the engine must trade
again: market orders, brackets whose exits are canceled as they come, alternatives. In the end trading is halted, which
flattens, and of every order that was ever approved what the venue's file says is what the journal says: no order twice,
none that ended as `not_sent` there, each execution booked once, the position none, here and there.
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

from crashes import CHECKPOINT_RECORDS, CHILDREN, Tail, kill
from harness import EngineUnderTest, config_tree, wait_for
from venue_books import FILL, FIRST_EXTERNAL, books

LINE: Final = {
    "seed": 1, "drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "delay_ms": 10.0, "cut_every_s": 20.0, "cut_s": 0.3,
}  # fmt: skip
VICTIMS: Final = (
    ("venue",), ("order_routing",), ("venue", "order_routing"), ("wal",), ("risk",), (*CHILDREN[:-1], "venue"),
)  # fmt: skip
CANCELED: Final = 3
REJECTED: Final = 4
EVERYTHING: Final = '''
"""By turns a bracket, a pair of alternatives, cancels of whatever is open, and a market order towards flat."""
from actors.strategies import Strategy


class Everything(Strategy):
    stride = 40

    def __init__(self):
        self.ticks = 0

    def on_tick(self, tick):
        self.ticks += 1
        turn, rest = divmod(self.ticks, self.stride)
        if rest:
            return
        symbol, held = tick.symbol, self.position(tick.symbol).quantity
        if turn % 4 == 0:
            self.buy(symbol, 10, stop_loss=tick.bid - 0.0004, take_profit=tick.ask + 0.0004)
        elif turn % 4 == 1:
            first = self.buy(symbol, 4, limit=tick.bid - 0.0002)
            self.sell(symbol, 4, limit=tick.ask + 0.0002, oco=first)
        elif turn % 4 == 2:
            for order in self.orders():
                self.cancel(order.id)
        elif held > 0:
            self.sell(symbol, held)
        else:
            self.buy(symbol, 10 - held)

    def on_fill(self, fill):
        if fill.quantity == 10:
            for order in self.orders():
                self.cancel(order.id)
'''


def run(directory: Path, kills: int) -> tuple[int, int]:
    """(orders, executions). Raises: AssertionError naming what differs."""
    tree = config_tree(
        strategies=[{"name": "often", "class": "everything:Everything", "symbols": ["EURUSD"]}],
        supervisor={"restarts": 1000, "window_s": 0.2},
        wal={"checkpoint_records": CHECKPOINT_RECORDS},
        risk={"on_halt": "flatten"},
        order_routing={"venue": "simulated", "in_doubt_grace_s": 0.3, "line": LINE},
    )
    with EngineUnderTest(directory, tree, files={"everything.py": EVERYTHING}) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        for number in range(kills):
            victims = VICTIMS[number % len(VICTIMS)]
            kill(engine, *victims)
            tail.wait_for_fills(f"the death of {', '.join(victims)}")
        assert engine.ask("HALT the end")["status"] == "ok"
        wait_until_settled(engine)
        return compare(engine)


def wait_until_settled(engine: EngineUnderTest) -> None:
    """Every order has ended, and the position with them, here and there. Raises: AssertionError naming what has not."""
    try:
        wait_for(lambda: not unsettled(engine), "the engine to be settled")
    except AssertionError as error:
        raise AssertionError(f"{error}: {unsettled(engine)}") from error


def unsettled(engine: EngineUnderTest) -> str:
    """What is still to come; "": nothing."""
    newest = engine.journal[-1].lsn  # first: each signal that HALT refuses is a record, so one always comes
    health = engine.ask("HEALTH")
    if health["lsn"] < newest:
        return f"the gateway is at {health['lsn']} of {newest}"
    rows = [row for row in health["children"] if row["name"] == "order_routing" and row["counters"]]
    if not rows or rows[0]["counters"]["reconciling"]:
        return f"order_routing compares the books: {rows}"
    if held := {name: held for name, held in engine.status_positions().items() if held.net_quantity}:
        return f"held: {held}; open: {engine.ask('ORDERS')['orders']}; order_routing: {rows}"
    if orders := engine.ask("ORDERS")["orders"]:
        return f"open: {orders}; order_routing: {rows}"
    ours, theirs = _executed(engine), set(books(engine).fills)
    return f"executions of one side alone: {sorted(ours ^ theirs)[:20]}" if ours != theirs else ""


def _executed(engine: EngineUnderTest) -> set[str]:
    return {entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)}


def compare(engine: EngineUnderTest) -> tuple[int, int]:
    found = books(engine)
    arrived = [order_id for _, order_id, _ in found.orders.values()]
    assert len(arrived) == len(set(arrived)), "an order is there twice"
    ids = [entry.fields["order_id"] for entry in engine.records("ORDER_PLACE")]
    places = set(ids)
    assert len(ids) == len(places), "an order id is used twice"
    assert not any(order_id >= FIRST_EXTERNAL for order_id in places), "nothing came from elsewhere"
    assert places >= set(arrived)
    fates: dict[int, list[tuple[int, str]]] = {}
    for entry in engine.records("ORDER_UPDATE"):
        fates.setdefault(entry.fields["order_id"], []).append((entry.fields["report"], entry.fields["reason"]))
    not_sent = {order_id for order_id, fate in fates.items() if (REJECTED, "not_sent") in fate}
    assert not not_sent & set(arrived), "it was not sent, and is there"
    stayed = [fates[order_id][-1][0] for order_id in places - set(arrived)]
    assert set(stayed) <= {REJECTED, CANCELED}, "what never left has ended here"
    assert not engine.log_events("impossible_report"), "the venue's word follows from what it said before"
    assert not engine.log_events("reconciliation_difference"), "the line was bad, the books were not"
    executions = [entry.fields["execution_id"] for entry in engine.records("ORDER_UPDATE", report=FILL)]
    assert len(executions) == len(set(executions)), "an execution is booked twice"
    assert set(executions) == set(found.fills)
    assert found.position == 0
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
