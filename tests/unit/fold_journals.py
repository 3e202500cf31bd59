"""Records for the fold's tests: short ways to write one, and whole journals as the engine writes them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from actors.fold import Change, Fold
from actors.fold_state import changed_terms, take_state
from protocol.orders import OrderType, Report, Side, TradingMode
from protocol.records import (
    Checkpoint,
    EngineRun,
    OrderCancel,
    OrderPlace,
    OrderReplace,
    OrderUpdate,
    Producer,
    Record,
    RunEvent,
    TradingState,
    encode_record,
    entry_type_of,
)
from protocol.state import encode_state
from protocol.units import MICROS, product_to_bytes
from protocol.wal.format import Envelope

BUY, SELL = Side.BUY, Side.SELL
OPENING = 10_000 * 10**12
START = EngineRun(
    b"journal", RunEvent.START, "operator", "0.1.0", b"hash", b"boot", 0, product_to_bytes(OPENING), "USD", 100,
    (("EURUSD", MICROS), ("ES", 50 * MICROS)), ("sma", "breakout"),
)  # fmt: skip
HALT = TradingState(TradingMode.HALTED, "gateway", "enough", 77)
P = product_to_bytes


def run(**changes: Any) -> EngineRun:
    return msgspec.structs.replace(START, **changes)


def stop(by: str = "operator", token: int = 0) -> EngineRun:
    return run(event=RunEvent.STOP, by=by, halt_token=token)


def envelope(lsn: int, record: Record) -> Envelope:
    return Envelope(entry_type_of(record), lsn, 0, 0, 1000 + lsn, Producer.RISK, lsn)


def place(order_id: int, side: Side = BUY, quantity: int = 10, *, symbol_id: int = 0, strategy: int = 16) -> OrderPlace:
    return OrderPlace(order_id, strategy, 100 + order_id, symbol_id, side, OrderType.MARKET, quantity)


def fill(order_id: int, price: int, quantity: int = 10, *, execution: str = "", commission: int = 0) -> OrderUpdate:
    execution_id = execution or f"{order_id}-{price}-{quantity}"
    return OrderUpdate(order_id, Report.FILL, execution_id, price, quantity, commission, venue_time=5)


def apply(fold: Fold, *records: Record) -> list[Change]:
    """The changes of the last one."""
    changes: list[Change] = []
    for record in records:
        changes = fold.apply(envelope(fold.lsn + 1, record), record)
    return changes


def folded(*records: Record) -> Fold:
    fold = Fold()
    apply(fold, START, *records)
    return fold


def settle(fold: Fold) -> list[Record]:
    """Appends what is owed, as risk does; returns it."""
    written = list(fold.owed)
    apply(fold, *written)
    return written


def put(fold: Fold, *records: Record) -> None:
    """They are in the fold, each with what it owes."""
    for record in records:
        apply(fold, record)
        settle(fold)


def state(fold: Fold) -> dict[str, Any]:
    """Everything that a fold holds, as values that compare."""
    tracker, account = fold.tracker, fold.account
    orders = {order_id: msgspec.structs.asdict(order) for order_id, order in tracker.orders.items()}
    return {
        "lsn": fold.lsn, "run": fold.run, "opening": fold.opening_balance, "orders": orders,
        "open": set(tracker.open_orders), "executions": set(tracker.execution_ids), "next": fold.next_order_id,
        "balance": account.balance, "commission": account.commission, "realized": dict(account.realized),
        "positions": dict(account.positions), "trading": fold.trading, "cleared": fold.cleared_token,
        "baseline": dict(fold.drawdown_baseline), "owed": list(fold.owed),
        "owned": fold.owned_positions(),
        "shown": fold.snapshot_positions(), "terms_changed": changed_terms(fold),
    }  # fmt: skip


def checkpoint(fold: Fold) -> Checkpoint:
    """What wal writes when risk is such a fold."""
    assert fold.run is not None
    states = (("risk", fold.lsn, encode_state(take_state(fold))),)
    return Checkpoint(fold.journal_id, encode_record(fold.run), 1, (), states)


# A step is (verb, and three numbers that the verb reads as it likes); placing and filling are the usual case.
VERBS = ["place", "place", "fill", "fill", "fill", "fill", "derive", "derive", "report", "again", "overfill", "halt",
         "stop", "cancel", "replace", "replaced"]  # fmt: skip
Step = tuple[str, int, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 11), st.integers(1, 500), st.integers(1, 20)),
    min_size=10, max_size=60,
)  # fmt: skip


def journal(history: list[Step]) -> list[Record]:
    """A journal as the engine writes it: derived records follow their causes, sooner or later."""
    fold, written = Fold(), list[Record]()
    fills: list[OrderUpdate] = []

    def append(record: Record) -> None:
        apply(fold, record)
        written.append(record)

    append(START)
    for verb, number, price, quantity in history:
        opened = list(fold.tracker.open_orders.values())
        some = number % fold.next_order_id + 1  # the last of them does not exist yet
        if verb == "place":
            append(place(fold.next_order_id, Side(price % 2), quantity, symbol_id=number % 2))
        elif verb == "fill" and opened:
            order = opened[number % len(opened)]
            fills.append(
                fill(order.order_id, price, min(quantity, order.remaining), execution=f"x{len(fills)}",
                     commission=price % 3)
            )  # fmt: skip
            append(fills[-1])
        elif verb == "overfill":
            append(fill(some, price, 99, execution="never booked"))
        elif verb == "report":
            append(OrderUpdate(some, Report(price % 2 + 2 * (quantity % 2)) if price % 4 else Report.ACCEPT))
        elif verb == "again" and fills:
            append(fills[number % len(fills)])
        elif verb == "derive":
            for owed in list(fold.owed)[: 1 + number % 4]:
                append(owed)
        elif verb == "halt":
            append(TradingState(TradingMode.HALTED, "risk", "", 1 + number % 3))
        elif verb == "stop":
            append(stop("operator" if price % 2 else "escalation", number % 4))
            append(START)
        elif verb == "replace":
            append(OrderReplace(some, 16, number, quantity, price))
        elif verb == "replaced" and opened:
            order = opened[number % len(opened)]
            signal = str(order.replace.signal) if order.replace is not None else "0"
            append(OrderUpdate(order.order_id, Report(8 + price % 2), signal))
        elif verb == "cancel":
            append(OrderCancel(some, 16, number, "strategy"))
    return written
