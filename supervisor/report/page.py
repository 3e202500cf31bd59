"""The report as one HTML file that needs nothing else: figures, charts, tables, the config that was used.

The same run gives the same bytes. Whatever comes from outside (names, symbols, reasons, the config) goes through
`escape`, and a content policy stands behind that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from protocol import VERSION
from protocol.settings import encode_config
from supervisor.report.charts import escape
from supervisor.report.curves import draw_equity, draw_prices
from supervisor.report.performance import Figures, Performance
from supervisor.report.statistics import Drawdown
from supervisor.report.style import SCRIPT, STYLE, SYMBOLS, content_policy
from supervisor.report.tables import draw_months, draw_refused, draw_strategies, draw_trades
from supervisor.report.text import (
    DASH,
    money_digits,
    show_annualisation,
    show_number,
    show_percent,
    show_time,
)

FEW_RETURNS: Final = 30
"""Daily returns of which Sharpe and Sortino say little."""
Fact = tuple[str, str, str]
"""(what, figure, small print)."""


def draw_page(performance: Performance) -> str:
    """A whole HTML document."""
    name = performance.config.engine.name if performance.config else "run"
    body = [
        f"<header><h1>{escape(name)}</h1><p>{escape(_subtitle(performance))}</p>",
        f"{_notes(performance.notes)}</header><main>",
        _tiles(performance),
        *draw_equity(performance),
        *draw_prices(performance),
        draw_months(performance),
        "<h2>Figures</h2>",
        _facts(performance),
        draw_strategies(performance),
        draw_trades(performance),
        draw_refused(performance),
        _config(performance),
        f"</main>{_footer(performance)}",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(content_policy())}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(name)} – Seawall report</title><style>{STYLE}</style></head><body>{SYMBOLS}"
        + "\n".join(part for part in body if part)
        + f"<script>{SCRIPT}</script></body></html>\n"
    )


def _subtitle(performance: Performance) -> str:
    config, history = performance.config, performance.history
    parts = [", ".join(history.fold.symbols)]
    if config is not None:
        parts.append(f"{config.engine.mode}, {config.market_data.source} data, {config.order_routing.venue} venue")
    if performance.start_us is not None:
        parts.append(f"{show_time(performance.start_us)} to {show_time(performance.end_us)} UTC")
    return " · ".join(parts)


def _notes(notes: list[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""


def tone(value: float | None) -> str:
    """The class of a gain or a loss; the sign says it too."""
    return "" if not value else "up" if value > 0 else "down"


def page_digits(performance: Performance) -> int:
    """Decimals of money, the same on the whole page."""
    total = performance.total
    return money_digits([total.net_profit, total.average_trade, total.best_trade, total.worst_trade])


def _tiles(performance: Performance) -> str:
    total, currency, digits = performance.total, performance.currency, page_digits(performance)
    fall = total.max_drawdown_relative
    only = "only " if _is_few(total) else ""
    days = f"{only}{total.daily_returns or 0} daily returns"
    tiles = [
        ("Net profit", show_number(total.net_profit, digits, signed=True), currency, tone(total.net_profit)),
        ("Return", show_percent(total.total_return, signed=True), _equity(performance), tone(total.total_return)),
        ("Max drawdown", show_percent(fall.depth if fall else 0.0), _when(fall), ""),
        ("Sharpe", show_number(total.sharpe), days, ""),
        ("Trades", f"{total.trades:,}", f"{show_percent(total.win_rate, 1)} won", ""),
        ("Profit factor", show_number(total.profit_factor), "won / lost money", ""),
    ]
    listed = "".join(
        f'<div><dt>{escape(what)}</dt><dd class="{style}">{escape(figure)}<small>{escape(small)}</small></dd></div>'
        for what, figure, small, style in tiles
    )
    return f'<dl class="tiles">{listed}</dl>'


def _equity(performance: Performance) -> str:
    digits = page_digits(performance) if performance.start_equity < 1_000 else 2
    return f"{show_number(performance.start_equity, digits)} → {show_number(performance.end_equity, digits)}"


def _when(fall: Drawdown | None) -> str:
    if fall is None:
        return "equity never fell"
    return f"{show_time(fall.peak_us)[:16]} – {show_time(fall.trough_us)[:16]}"


def _facts(performance: Performance) -> str:
    total, history = performance.total, performance.history
    digits, unit = page_digits(performance), " " + performance.currency

    def money(value: float | None, *, signed: bool = False) -> str:
        return DASH if value is None else show_number(value, digits, signed=signed) + unit

    realized = performance.basis == "realized"
    groups = {
        "Profit": [
            ("Net profit", money(total.net_profit, signed=True), ""),
            ("Return", show_percent(total.total_return, 3, signed=True), ""),
            ("Realized", money(total.realized_profit, signed=True), "before commission"),
            ("Open at the end", money(total.open_profit, signed=True), _open_note(performance)),
            ("Equity at start", money(performance.start_equity), ""),
            ("Equity at end", money(performance.end_equity), "balance only" if realized else ""),
        ],
        "Risk": [
            _fall("Max drawdown", total.max_drawdown_relative, lambda depth: show_percent(depth, 3)),
            _fall("… in money", total.max_drawdown, money),
            ("Sharpe", show_number(total.sharpe, 3), show_annualisation(performance.days_per_year)),
            ("Sortino", show_number(total.sortino, 3), "same scale; target 0"),
            ("Daily returns", f"{total.daily_returns or 0:,}", "too few to say much" if _is_few(total) else ""),
            ("Exposure", show_percent(total.exposure, 1), "share of the time with a position"),
        ],
        "Trades": [
            ("Trades", f"{total.trades:,}", "flat to flat, each symbol"),
            ("Won / lost", f"{total.wins:,} / {total.losses:,}", ""),
            ("Win rate", show_percent(total.win_rate, 1), ""),
            ("Profit factor", show_number(total.profit_factor, 3), ""),
            ("Average trade", money(total.average_trade, signed=True), "after commission"),
            ("Best / worst", f"{show_number(total.best_trade, digits, signed=True)} / "
             f"{show_number(total.worst_trade, digits, signed=True)}", ""),
        ],
        "Costs and orders": [
            ("Commission", money(total.commission), ""),
            ("Spread and slippage", money(total.spread_paid), "price against the mid at the fill"),
            ("Swap", money(total.swap, signed=True), "belongs to no trade"),
            ("Fills", f"{total.fills:,}", ""),
            ("Orders", f"{history.orders:,}", f"{history.rejected:,} rejected"),
            ("Signals refused", f"{history.refused.total():,}", ""),
        ],
    }  # fmt: skip
    return f'<div class="facts">{"".join(_group(title, facts) for title, facts in groups.items())}</div>'


def _is_few(total: Figures) -> bool:
    return total.sharpe is not None and (total.daily_returns or 0) < FEW_RETURNS


def _open_note(performance: Performance) -> str:
    held = len(performance.history.account.open_positions)
    return f"{held} open position{'s' if held > 1 else ''}" if held else "no open position"


def _fall(what: str, fall: Drawdown | None, show: Callable[[float], str]) -> Fact:
    if fall is None:
        return what, show(0.0), "equity never fell"
    back = f"back at {show_time(fall.recovered_us)}" if fall.recovered_us is not None else "not recovered"
    return what, show(fall.depth), f"{show_time(fall.peak_us)} – {show_time(fall.trough_us)}, {back}"


def _group(title: str, facts: Iterable[Fact]) -> str:
    rows = "".join(
        f"<div><dt>{escape(what)}<small>{escape(small)}</small></dt><dd>{escape(figure)}</dd></div>"
        for what, figure, small in facts
    )
    return f"<dl><h3>{escape(title)}</h3>{rows}</dl>"


def _config(performance: Performance) -> str:
    if performance.config is None:
        return ""
    text = msgspec.json.format(encode_config(performance.config), indent=2).decode()
    summary = "<summary>As the run used it, defaults included</summary>"
    return f"<h2>Config</h2><details>{summary}<pre>{escape(text)}</pre></details>"


def _footer(performance: Performance) -> str:
    history, start = performance.history, performance.history.start
    facts = [
        f"Seawall {VERSION}" if start is None or start.version == VERSION
        else f"Seawall {VERSION}, run by {start.version}",
        f"journal {history.fold.journal_id.hex()}",
        f"LSN {history.first_lsn:,} to {history.last_lsn:,}",
        f"run {history.runs} of this journal",
        f"config {start.config_hash.hex()}" if start else "",
        f"stopped by {history.stop.by}" if history.stop else "not stopped in order, or still running",
    ]  # fmt: skip
    return f"<footer>{escape(' · '.join(fact for fact in facts if fact))}</footer>"
