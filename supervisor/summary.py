"""What happened, in a few lines on stdout, when the data has come to its end."""

from __future__ import annotations

import sys
from collections import Counter

from actors.fold import FillBooked, Fold, OrderChanged, SignalAnswered
from protocol.orders import OrderStatus
from protocol.records import RunEvent, decode_record
from protocol.units import PRODUCT
from protocol.wal.history import read_history
from supervisor.supervision import Supervisor


def print_summary(supervisor: Supervisor) -> None:
    """Rows of the file, and orders, fills and profit of this run, from the journal (as far as `wal.keep` kept it)."""
    lines = [("rows", f"{_counter(supervisor, 'rows')}"), ("ticks", f"{_ticks(supervisor)}")]
    for key in ("rows_bad", "rows_unknown"):
        if count := _counter(supervisor, key):
            lines.append((key.replace("_", " "), f"{count} skipped"))
    if supervisor.config.wal.enabled:
        lines += _traded(supervisor)
    lines += _failed(supervisor)
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:<{width}}  {text}")
    sys.stdout.flush()


def _counter(supervisor: Supervisor, key: str) -> int:
    said = supervisor.children["market_data"].statistics
    return said.counters.get(key, 0) if said else 0


def _ticks(supervisor: Supervisor) -> int:
    """The end stands at the position of the tick after the last (P1)."""
    said = supervisor.children["market_data"].statistics
    return said.market_position // 3 - 1 if said else 0


def _failed(supervisor: Supervisor) -> list[tuple[str, str]]:
    """What did not go as it should: signals that never left, lives that ended, strategies that stayed down."""
    lines: list[tuple[str, str]] = []
    for child in supervisor.children.values():
        said = child.statistics
        if said is not None and (count := said.counters.get("refused_here", 0)):
            lines.append((child.name, f"{count} signals refused before they left"))
        if child.name in supervisor.parked:
            lines.append((child.name, f"parked: {supervisor.parked[child.name]}"))
        elif child.restarts:
            lines.append((child.name, f"died {child.restarts} times and came back"))
    return lines


def _traded(supervisor: Supervisor) -> list[tuple[str, str]]:
    fold = Fold()
    orders = fills = rejected = commission = 0
    refused: Counter[str] = Counter()
    realized_before: dict[int, int] = {}
    balance_before = 0
    directory = supervisor.run_dir / "wal"
    for envelope, _, data in read_history(directory, from_lsn=supervisor.start_lsn, whole_file=True):
        changes = fold.apply(envelope, decode_record(envelope.entry_type, data))
        run = fold.run
        if run is not None and run.boot_id != supervisor.boot_id:
            continue
        if run is not None and run.event is RunEvent.START and not orders:
            realized_before, balance_before = dict(fold.account.realized), fold.account.balance
        for change in changes:
            if isinstance(change, FillBooked):
                fills += 1
                commission += change.commission
            elif isinstance(change, OrderChanged):
                orders += change.order.status is OrderStatus.NEW
                rejected += change.order.status is OrderStatus.REJECTED
            elif isinstance(change, SignalAnswered):
                refused.update([change.reason] if change.order_id is None else [])
    currency = supervisor.config.account.currency
    lines = [
        ("orders", f"{orders} ({rejected} rejected), {refused.total()} signals refused"),
        *((f"refused {reason}", f"{count}") for reason, count in refused.most_common()),
        ("fills", f"{fills}"),
    ]
    for view in fold.snapshot_positions():
        profit = view.realized - realized_before.get(view.symbol_id, 0)
        lines.append(
            (f"profit {view.symbol}", f"{profit / PRODUCT:.6f} {currency} realized, position {view.quantity / 1e6:g}")
        )
    lines.append(("commission", f"{commission / 1e6:.6f} {currency}"))
    change = fold.account.balance - balance_before
    lines.append(("balance", f"{fold.account.balance / PRODUCT:.6f} {currency} ({change / PRODUCT:+.6f})"))
    return lines
