"""The figures for programs: `seawall report -o json`. Times are ISO strings, what is undefined is null.

Names are those of `Figures`; charts and lists are left out (`seawall wal export` has every fill).
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from supervisor.report.performance import Figures, Performance
from supervisor.report.statistics import CALENDAR_DAYS, Drawdown
from supervisor.report.text import show_time

DIGITS: Final = 9
"""Of floats: more would be the noise of their sums."""


def performance_to_json(performance: Performance) -> dict[str, Any]:
    """JSON-like values."""
    history, days = performance.history, performance.days_per_year
    start = history.start
    return {
        "engine": performance.config.engine.name if performance.config else None,
        "journal_id": history.fold.journal_id.hex(),
        "version": start.version if start else None,
        "config_hash": start.config_hash.hex() if start else None,
        "stopped_by": history.stop.by if history.stop else None,
        "runs": history.runs,
        "first_lsn": history.first_lsn,
        "last_lsn": history.last_lsn,
        "currency": performance.currency,
        "basis": performance.basis,
        "notes": performance.notes,
        "start": _time(performance.start_us),
        "end": _time(performance.end_us),
        "start_equity": _number(performance.start_equity),
        "end_equity": _number(performance.end_equity),
        "annualisation": {
            "returns": "daily, every calendar day (UTC)" if days == CALENDAR_DAYS else "daily, days with data (UTC)",
            "days_per_year": days,
            "risk_free_rate": 0,
        },
        "orders": history.orders,
        "orders_rejected": history.rejected,
        "signals_refused": dict(history.refused),
        "total": _figures(performance.total),
        "strategies": {name: _figures(figures) for name, figures in performance.strategies.items()},
        "returns": {
            f"{one.year}-{one.month:02}" if one.month else str(one.year): _number(one.value)
            for one in performance.months
        },
    }


def _figures(figures: Figures) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Figures):
        value = getattr(figures, field.name)
        found[field.encode_name] = _drawdown(value) if isinstance(value, Drawdown) else _number(value)
    return found


def _drawdown(drawdown: Drawdown) -> dict[str, Any]:
    return {
        "depth": _number(drawdown.depth),
        "peak": _time(drawdown.peak_us),
        "trough": _time(drawdown.trough_us),
        "recovered": _time(drawdown.recovered_us),
    }


def _number(value: float | None) -> float | None:
    """No nan, no inf: they are no JSON."""
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else f"{show_time(time_us, 'microseconds').replace(' ', 'T')}Z"
