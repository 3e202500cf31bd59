"""The report's tables: months, strategies, trades, refusals. Each is bounded, and says what it left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.records import FIRST_STRATEGY
from protocol.units import MICROS, PRODUCT
from supervisor.report.charts import escape
from supervisor.report.performance import ENGINE, Figures, Performance
from supervisor.report.statistics import MonthReturn
from supervisor.report.text import (
    DASH,
    money_digits,
    show_duration,
    show_number,
    show_percent,
    show_time,
)
from supervisor.report.trades import Trade

STRATEGIES_SHOWN: Final = 100
REASONS_SHOWN: Final = 50
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TINT_MAX: Final = 0.55
_TINTED_FULLY: Final = 0.01
"""The least return that has the full tint, however small all of them are."""


def draw_months(performance: Performance) -> str:
    """Years by months; empty where the run has no day."""
    if not performance.months:
        return ""
    found = {(one.year, one.month): one for one in performance.months}
    largest = max((abs(one.value) for one in performance.months if one.month and one.value), default=0.0)
    head = "".join(f"<th>{month}</th>" for month in _MONTHS)
    rows = [
        f"<tr><th>{year}</th>"
        + "".join(_month(found.get((year, month)), max(largest, _TINTED_FULLY)) for month in range(1, 13))
        + _month(found.get((year, 0)), 0.0)
        + "</tr>"
        for year in sorted({one.year for one in performance.months})
    ]
    return (
        '<h2>Monthly returns</h2><div class="scroll"><table><thead><tr><th class="w">Year</th>'
        f"{head}<th>Year</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="note">Percent of the equity at the end of the month before (UTC); the first against the start.</p>'
    )


def _month(one: MonthReturn | None, largest: float) -> str:
    if one is None:
        return "<td></td>"
    text = show_number(None if one.value is None else 100 * one.value, 2, signed=True)
    if not one.value or not largest:
        return f"<td>{text}</td>"
    tint = 0.08 + (_TINT_MAX - 0.08) * min(abs(one.value) / largest, 1.0)
    return f'<td class="{"gain" if one.value > 0 else "loss"}" style="--a:{tint:.2f}">{text}</td>'


def draw_strategies(performance: Performance) -> str:
    found = list(performance.strategies.items())
    if not found:
        return ""
    digits = money_digits([figures.net_profit for _, figures in found])
    heads = ["Net profit", "Open", "Max drawdown", "Trades", "Won", "Profit factor", "Average trade", "Exposure",
             "Fills", "Commission", "Spread"]  # fmt: skip
    rows = [_strategy(name, figures, digits) for name, figures in found[:STRATEGIES_SHOWN]]
    cut = f" {len(found) - STRATEGIES_SHOWN} more are not shown." if len(found) > STRATEGIES_SHOWN else ""
    return (
        "<h2>Strategies</h2>"
        + _table(["Strategy"], heads, rows)
        + f'<p class="note">In {escape(performance.currency)}; each strategy by its own fills alone. What strategies '
        f"hold against each other is netted in the account, so the rows need not add up to the total.{cut}</p>"
    )


def _strategy(name: str, figures: Figures, digits: int) -> str:
    cells = [
        show_number(figures.net_profit, digits, signed=True),
        show_number(figures.open_profit, digits, signed=True),
        show_number(figures.max_drawdown.depth if figures.max_drawdown else 0.0, digits),
        f"{figures.trades:,}",
        show_percent(figures.win_rate, 1),
        show_number(figures.profit_factor),
        show_number(figures.average_trade, digits, signed=True),
        show_percent(figures.exposure, 1),
        f"{figures.fills:,}",
        show_number(figures.commission, digits),
        show_number(figures.spread_paid, digits),
    ]
    return f'<tr><td class="w name">{escape(name)}</td>{_cells(cells)}</tr>'


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)


def _table(words: Sequence[str], numbers: Sequence[str], rows: Sequence[str], style: str = "") -> str:
    head = "".join(f'<th class="w">{escape(word)}</th>' for word in words)
    head += "".join(f"<th>{escape(word)}</th>" for word in numbers)
    return (
        f'<div class="scroll {style}"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def draw_trades(performance: Performance) -> str:
    """The newest trades, in the order in which they ended."""
    book = performance.history.account
    trades, total = list(book.trades), book.tally.trades
    if not trades:
        return ""
    digits = money_digits([trade.profit / PRODUCT for trade in trades])
    first = total - len(trades) + 1
    rows = [_trade(performance, number, trade, digits) for number, trade in enumerate(trades, first)]
    cut = f"The newest {len(trades):,} of {total:,} trades. " if total > len(trades) else ""
    words = ["#", "Symbol", "Strategy", "Side", "Entry (UTC)", "Exit (UTC)"]
    heads = ["Quantity", "Entry price", "Exit price", "Held", "Profit"]
    return (
        f"<h2>Trades</h2>{_table(words, heads, rows, 'trades')}"
        f'<p class="note">{cut}From flat to flat in the account; prices are averages, profit in '
        f"{escape(performance.currency)} after commission. Every fill: <code>seawall wal export RUN_DIR fills.csv "
        "--table fills</code></p>"
    )


def _trade(performance: Performance, number: int, trade: Trade, digits: int) -> str:
    profit = trade.profit / PRODUCT
    held = None if trade.entry_us is None else trade.exit_us - trade.entry_us
    names = ", ".join(_name(performance, strategy) for strategy in trade.strategy_ids) or DASH
    entry = "before the run" if trade.entry_us is None else show_time(trade.entry_us)
    words = [performance.history.fold.symbol(trade.symbol_id), names, "long" if trade.side.sign > 0 else "short", entry,
             show_time(trade.exit_us)]  # fmt: skip
    cells = [
        _trim(trade.quantity / MICROS),
        _trim(trade.entry_price),
        _trim(trade.exit_price),
        show_duration(held),
    ]
    style = "up" if profit > 0 else "down" if profit < 0 else ""
    return (
        f'<tr><td class="w">{number:,}</td>'
        + "".join(f'<td class="w">{escape(word)}</td>' for word in words)
        + _cells(cells)
        + f'<td class="{style}">{escape(show_number(profit, digits, signed=True))}</td></tr>'
    )


def _name(performance: Performance, strategy_id: int) -> str:
    return performance.history.fold.strategy(strategy_id) if strategy_id >= FIRST_STRATEGY else ENGINE


def _trim(value: float) -> str:
    """Six decimals, without the zeros at the end."""
    text = show_number(value, 6)
    return text.rstrip("0").rstrip(".") if "." in text else text


def draw_refused(performance: Performance) -> str:
    refused = performance.history.refused
    if not refused:
        return ""
    rows = [
        f'<tr><td class="w name">{escape(reason)}</td><td>{count:,}</td></tr>'
        for reason, count in refused.most_common(REASONS_SHOWN)
    ]
    return "<h2>Signals refused</h2>" + _table(["Reason"], ["Signals"], rows)
