"""What happened, in a few lines on stdout, when the data has come to its end."""

from __future__ import annotations

import sys

from actors.fold import FillBooked, Fold, OrderChanged, SignalAnswered
from protocol.orders import OrderStatus
from protocol.records import RunEvent, decode_record
from protocol.units import PRODUCT
from protocol.wal.journal import JOURNAL_NAME, read_journal
from supervisor.supervision import Supervisor


def print_summary(supervisor: Supervisor) -> None:
    """Rows of the file, and orders, fills and profit of this run, from the journal."""
    lines = [("rows", f"{_counter(supervisor, 'rows')}"), ("ticks", f"{_ticks(supervisor)}")]
    for key in ("rows_bad", "rows_unknown"):
        if count := _counter(supervisor, key):
            lines.append((key.replace("_", " "), f"{count} skipped"))
    if supervisor.config.wal.enabled:
        lines += _traded(supervisor)
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


def _traded(supervisor: Supervisor) -> list[tuple[str, str]]:
    fold = Fold()
    orders = fills = refused = rejected = commission = 0
    realized_before: dict[int, int] = {}
    balance_before = 0
    for envelope, _, data in read_journal(supervisor.run_dir / "wal" / JOURNAL_NAME):
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
                refused += change.order_id is None
    currency = supervisor.config.account.currency
    lines = [
        ("orders", f"{orders} ({rejected} rejected), {refused} signals refused"),
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
