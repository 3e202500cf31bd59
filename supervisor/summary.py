"""What happened, in a few lines on stdout, when the data has come to its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from protocol.orders import TradingMode
from protocol.units import PRODUCT
from protocol.wal.history import read_history
from supervisor.report.history import RunHistory
from supervisor.report.performance import Performance, measure_run
from supervisor.report.statistics import Drawdown
from supervisor.report.text import DASH, money_digits, show_annualisation, show_number, show_percent, show_time
from supervisor.supervision import Supervisor

DATA_BYTES_MAX: Final = 16 << 20
"""Of data that is read again for the figures: about a second. More is for `seawall report`."""

Line = tuple[str, str]


def print_summary(supervisor: Supervisor) -> None:
    """Rows of the file, and orders, fills, profit and figures of this run, from the journal (as `wal.keep` kept it)."""
    lines = [("rows", f"{_counter(supervisor, 'rows')}"), ("ticks", f"{_ticks(supervisor)}")]
    if not _counter(supervisor, "rows"):
        lines.append(("note", "no row of a configured symbol, between `start` and `end` where they are given"))
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


def _failed(supervisor: Supervisor) -> list[Line]:
    """What did not go as it should: signals that never left, lives that ended, strategies that stayed down."""
    lines: list[Line] = []
    for child in supervisor.children.values():
        said = child.statistics
        if said is not None and (count := said.counters.get("refused_here", 0)):
            lines.append((child.name, f"{count} signals refused before they left"))
        if child.name in supervisor.parked:
            lines.append((child.name, f"parked: {supervisor.parked[child.name]}"))
        elif child.restarts:
            lines.append((child.name, f"died {child.restarts} times and came back"))
    return lines


def _traded(supervisor: Supervisor) -> list[Line]:
    """Of this run: the journal's last START is its own."""
    history = RunHistory(last_run=True)
    history.read(read_history(supervisor.run_dir / "wal", from_lsn=supervisor.start_lsn, whole_file=True))
    performance = measure_run(history, supervisor.config, data_bytes_max=DATA_BYTES_MAX)
    return [*_booked(history), *_figures(performance)]


def _booked(history: RunHistory) -> Iterator[Line]:
    """Exact, to the last digit of the wire."""
    refused, currency = history.refused, history.currency
    yield "orders", f"{history.orders} ({history.rejected} rejected), {refused.total()} signals refused"
    for reason, count in refused.most_common():
        yield f"refused {reason}", f"{count}"
    trading = history.fold.trading
    if trading.mode is not TradingMode.ACTIVE:
        yield trading.mode.name.lower(), f"by {trading.by}: {trading.reason}"
    yield "fills", f"{len(history.fills)}"
    for view in history.positions:
        profit = (view.realized - history.realized_before.get(view.symbol_id, 0)) / PRODUCT
        yield f"profit {view.symbol}", f"{profit:.6f} {currency} realized, position {view.quantity / 1e6:g}"
    yield "commission", f"{history.account.commission / PRODUCT:.6f} {currency}"
    if history.deposited:
        yield "deposits", f"{history.deposited / PRODUCT:+.6f} {currency}, in the balance and in no profit"
    balance = history.fold.account.balance
    yield "balance", f"{balance / PRODUCT:.6f} {currency} ({(balance - history.start_balance) / PRODUCT:+.6f})"


def _figures(performance: Performance) -> Iterator[Line]:
    """What `seawall report` says first, by the same functions."""
    total, currency = performance.total, performance.currency
    digits = money_digits([total.net_profit, total.average_trade])
    where = "open positions at the last quotes" if performance.basis == "marked" else "closed positions only"
    yield "net profit", f"{show_number(total.net_profit, digits, signed=True)} {currency}, {where}"
    yield "return", show_percent(total.total_return, 3, signed=True)
    yield "max drawdown", _fall(total.max_drawdown_relative, total.max_drawdown, digits, currency)
    yield "sharpe", f"{show_number(total.sharpe)}, {show_annualisation(performance.days_per_year)}"
    yield "sortino", f"{show_number(total.sortino)}, from {total.daily_returns or 0} daily returns as well"
    yield "trades", (
        f"{total.trades}, {show_percent(total.win_rate, 1)} won, profit factor {show_number(total.profit_factor)}, "
        f"average {show_number(total.average_trade, digits, signed=True)}"
    )
    yield "exposure", f"{show_percent(total.exposure, 1)} of the time"
    spread = DASH if total.spread_paid is None else f"{show_number(total.spread_paid, digits)} {currency}"
    yield "against mid", f"{spread}, spread and slippage of the fills"
    if total.swap:
        yield "swap", f"{show_number(total.swap, digits, signed=True)} {currency}"
    for note in performance.notes:
        yield "note", note


def _fall(relative: Drawdown | None, money: Drawdown | None, digits: int, currency: str) -> str:
    if relative is None or money is None:
        return "none"
    since = f"{show_time(relative.peak_us)} to {show_time(relative.trough_us)}"
    return f"{show_percent(relative.depth, 3)}, {since}; {show_number(money.depth, digits)} {currency}"
