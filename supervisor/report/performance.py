"""A run's figures, ready to be shown: the total, each strategy, and what they rest on.

`measure_run` is the one way to them, for the report as for the summary at the end of a run. It reads the data again
where that is possible and worth it; else the figures are those of closed positions, and `basis` and `notes` say so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from actors.ledger import Account, value_account
from actors.page import read_health
from actors.sources import FileSource, make_source
from protocol.conversion import routes_of
from protocol.errors import ConfigError, DataError
from protocol.records import FIRST_STRATEGY
from protocol.settings import Config, config_hash
from protocol.units import MICROS, PRODUCT
from supervisor.report.curve import EquityCurve
from supervisor.report.history import RunHistory
from supervisor.report.marks import BATCH_TICKS, CURVES_MAX, MarkedRun
from supervisor.report.statistics import (
    CALENDAR_DAYS,
    Drawdown,
    MonthReturn,
    daily_returns,
    monthly_returns,
    profit_factor,
    share,
    sharpe_ratio,
    sortino_ratio,
    total_return,
)
from supervisor.report.trades import Book

END_OF_DATA: Final = "end_of_data"
ENGINE: Final = "(engine)"
"""Whose orders are no strategy's: risk's own, an operator's."""
Basis = Literal["marked", "realized"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of the account, or of one strategy. Money in the account's currency; shares as fractions; None: undefined."""

    net_profit: float
    """Realized less commission, and open positions at the last quotes where `basis` is "marked"."""
    realized_profit: float
    """Before commission."""
    open_profit: float | None
    """None: not known without quotes."""
    total_return: float | None = msgspec.field(name="return", default=None)
    commission: float
    spread_paid: float | None
    swap: float | None = None
    """What the venue charged (below 0) or credited for positions held over night; of the account alone."""
    max_drawdown: Drawdown | None
    max_drawdown_relative: Drawdown | None = None
    sharpe: float | None = None
    sortino: float | None = None
    daily_returns: int | None = None
    """How many the two rest on."""
    fills: int
    trades: int
    wins: int
    losses: int
    win_rate: float | None
    profit_factor: float | None
    average_trade: float | None
    best_trade: float | None
    worst_trade: float | None
    exposure: float | None
    """Share of the time with any position."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report says."""

    basis: Basis
    notes: list[str]
    """What a reader must know of the figures, each a sentence or two."""
    currency: str
    start_us: int | None
    """None: nothing in the run has a time by the data's clock."""
    end_us: int | None
    days_per_year: int
    start_equity: float
    end_equity: float
    total: Figures
    strategies: dict[str, Figures]
    months: list[MonthReturn]
    history: RunHistory
    config: Config | None
    curve: EquityCurve
    marked: MarkedRun | None


def measure_run(
    history: RunHistory,
    config: Config | None,
    *,
    run_dir: Path | None = None,
    working_directory: str = "",
    days_per_year: int = CALENDAR_DAYS,
    data_bytes_max: int | None = None,
) -> Performance:
    """The figures of what `history` has read.

    run_dir: where a run that has not come to the data's end left its position. data_bytes_max: larger files are not
    read again. Raises: DataError never; whatever the data lacks becomes a note.
    """
    notes: list[str] = []
    if history.is_cut:
        notes.append("The journal's older files were removed: what came before the oldest kept record is not counted.")
    if history.last_run and history.runs > 1:
        notes.append(f"This is run {history.runs} of this journal. Positions carried into it count at their cost.")
    if history.deposited:
        deposited = f"{history.deposited / PRODUCT:+,.2f} {history.currency}"
        notes.append(f"Deposits of {deposited} are in the balance, and in none of these figures.")
    marked = _mark(history, config, run_dir, working_directory, data_bytes_max, notes)
    curve = marked.account.curve if marked else _realized_curve(history)
    if marked:
        curves = {number: book.curve for number, book in marked.strategies.items()}
    else:
        curves = {number: _results_curve(book) for number, book in history.strategies.items()}
    return _Measure(history, config, marked, curve, curves, notes, days_per_year).result()


# ---- the data ---------------------------------------------------------------------------------------------------


def _mark(
    history: RunHistory,
    config: Config | None,
    run_dir: Path | None,
    working_directory: str,
    data_bytes_max: int | None,
    notes: list[str],
) -> MarkedRun | None:
    """The run at every tick of its data; None, and the reason in `notes`, where that cannot be."""
    reason = _why_not(history, config)
    if not reason and config is not None:
        try:
            return _read_again(history, _resolve(config, working_directory), run_dir, data_bytes_max, notes)
        except (ConfigError, DataError, OSError, _NotReadError) as error:
            reason = str(error)
    notes.append(f"{reason} Equity is the account's balance: open positions count when they are closed.")
    return None


class _NotReadError(Exception):
    """The data is not what the run was over, or was not to be read."""


def _why_not(history: RunHistory, config: Config | None) -> str:
    if config is None:
        return "The run_dir has no config.json, so nobody knows what data it was."
    if history.start is not None and config_hash(config) != history.start.config_hash:
        return "The config.json is not the one that this run was started with."
    if not config.market_data.is_file:
        return "The feed was live, so its quotes cannot be read again."
    return ""


def _resolve(config: Config, directory: str) -> Config:
    """Relative paths are relative to the run's working directory, not to ours."""
    settings = config.market_data
    files = [msgspec.structs.replace(file, path=os.path.join(directory, file.path)) for file in settings.all_files]
    settings = msgspec.structs.replace(settings, path=None, symbol=None, files=files)
    return msgspec.structs.replace(config, market_data=settings)


def _read_again(
    history: RunHistory, config: Config, run_dir: Path | None, data_bytes_max: int | None, notes: list[str]
) -> MarkedRun:
    assert history.start is not None
    ids = {name: index for index, (name, _) in enumerate(history.start.symbols)}
    if data_bytes_max is not None:
        size = sum(os.stat(file.path).st_size for file in config.market_data.all_files)
        if size > data_bytes_max:
            raise _NotReadError(f"The data was not read again, as it is larger than {data_bytes_max >> 20} MiB.")
    source = make_source(config, ids, 1)
    if source.is_file is not True:
        raise _NotReadError("The feed was live, so its quotes cannot be read again.")
    if history.epochs - {b"", source.epoch}:
        raise _NotReadError("The data has changed since the run: these are not the files that it was over.")
    marked = MarkedRun(history, routes_of(config, {index: name for name, index in ids.items()}))
    ticks_max = _ticks_of(history, source, run_dir)
    marked.read(source.batches(BATCH_TICKS), ticks_max)
    if not marked.is_complete:
        raise _NotReadError("The data ends before the run's last fill.")
    if marked.is_cut:
        notes.append(f"The run has not come to the end of its data: the figures are of its first {marked.ticks} ticks.")
    return marked


def _ticks_of(history: RunHistory, source: FileSource, run_dir: Path | None) -> int | None:
    """How far the run came; None: to the end, or nobody knows. By risk's page (P1: 3 x tick + phase)."""
    if run_dir is None or (history.stop is not None and history.stop.by == END_OF_DATA):
        return None
    health = read_health(run_dir / "pages" / "risk.page")
    return health.market_position // 3 if health.market_epoch == source.epoch else 0


def _realized_curve(history: RunHistory) -> EquityCurve:
    """The balance at every fill; of a live run from its start to the journal's last record."""
    start = history.start_balance / PRODUCT
    curve = EquityCurve(start)
    book = history.account
    times = np.maximum.accumulate(np.array(book.times, np.int64)) if book.times else np.empty(0, np.int64)
    if not history.last_run:
        curve.add(np.array([history.start_us], np.int64), np.array([start]))
        times = np.maximum(times, history.start_us)
    curve.add(times, start + np.array(book.results, np.float64))
    if not history.last_run:
        end_us = max(history.end_us, curve.end_us)
        curve.add(np.array([end_us], np.int64), np.array([curve.end]))
    return curve


def _results_curve(book: Book) -> EquityCurve:
    """What a strategy had realized at each of its fills."""
    curve = EquityCurve(0.0)
    if book.fills:
        curve.add(np.maximum.accumulate(np.array(book.times, np.int64)), np.array(book.results, np.float64))
    return curve


# ---- the figures ------------------------------------------------------------------------------------------------


class _Measure:
    def __init__(
        self,
        history: RunHistory,
        config: Config | None,
        marked: MarkedRun | None,
        curve: EquityCurve,
        curves: Mapping[int, EquityCurve],
        notes: list[str],
        days_per_year: int,
    ) -> None:
        self.history, self.config, self.marked, self.curve, self.curves = history, config, marked, curve, curves
        self.notes, self.days_per_year = notes, days_per_year
        self.start, self.end = history.start_balance / PRODUCT, history.end_balance / PRODUCT
        self.has_times = curve.buckets.count > 0

    def result(self) -> Performance:
        history, curve, marked = self.history, self.curve, self.marked
        if marked and marked.spread_unknown:
            self.notes.append(f"{marked.spread_unknown} fills came before a first quote: their spread is not counted.")
        open_profit = self._open_profit(history.account)
        end_equity = self.end + (open_profit or 0.0)
        return Performance(
            basis="marked" if marked else "realized", notes=self.notes, currency=history.currency,
            start_us=curve.start_us if self.has_times else None, end_us=curve.end_us if self.has_times else None,
            days_per_year=self.days_per_year, start_equity=self.start, end_equity=end_equity,
            total=self._total(end_equity, open_profit), strategies=self._strategies(),
            months=monthly_returns(self.start, curve.day_closes), history=history, config=self.config, curve=curve,
            marked=marked,
        )  # fmt: skip

    def _open_profit(self, book: Book) -> float | None:
        """Exact, by the ledger's own rule; None without quotes."""
        if self.marked is None:
            return None
        account = Account()
        account.positions = book.open_positions
        multipliers = self.history.fold.multipliers
        quotes, routes = self.marked.last_quotes, self.marked.routes
        rates = {
            symbol: None if route is None or route.symbol_id not in quotes else route.rate(*quotes[route.symbol_id])
            for symbol, route in routes.items()
        }
        return value_account(account, quotes, multipliers, 1, rates).profit / (PRODUCT * MICROS)

    def _total(self, end_equity: float, open_profit: float | None) -> Figures:
        returns = daily_returns(self.start, self.curve.day_closes, self.days_per_year)
        paid = sum(self.marked.spread_paid.values()) if self.marked else None
        figures = self._figures(self.history.account, self.curve, paid, open_profit)
        return msgspec.structs.replace(
            figures,
            swap=self.history.account.adjusted / PRODUCT,
            net_profit=(self.history.end_balance - self.history.start_balance) / PRODUCT + (open_profit or 0.0),
            total_return=total_return(self.start, end_equity),
            max_drawdown_relative=self.curve.relative_drawdown,
            sharpe=sharpe_ratio(returns, self.days_per_year),
            sortino=sortino_ratio(returns, self.days_per_year),
            daily_returns=None if returns is None else len(returns),
        )

    def _strategies(self) -> dict[str, Figures]:
        history = self.history
        if not history.is_attributed:
            self.notes.append("Positions were held before the oldest kept record, so nothing is known by strategy.")
            return {}
        if self.marked and len(history.strategies) > CURVES_MAX:
            self.notes.append(f"Drawdowns are known of the {CURVES_MAX} busiest strategies only.")
        names = list(history.start.strategies) if history.start else []
        numbers = sorted({*history.strategies, *range(FIRST_STRATEGY, FIRST_STRATEGY + len(names))})
        return {self._name(number, names): self._strategy(number) for number in numbers}

    def _name(self, number: int, names: list[str]) -> str:
        return names[number - FIRST_STRATEGY] if number >= FIRST_STRATEGY else ENGINE

    def _strategy(self, number: int) -> Figures:
        """Of its own fills alone: what the account nets between strategies is open in each."""
        book = self.history.strategies.get(number) or Book()
        paid = self.marked.spread_paid.get(number, 0.0) if self.marked else None
        return self._figures(book, self.curves.get(number), paid, self._open_profit(book))

    def _figures(
        self, book: Book, curve: EquityCurve | None, spread_paid: float | None, open_profit: float | None
    ) -> Figures:
        tally, realized = book.tally, (book.realized - book.commission) / PRODUCT
        start_us, end_us = self.curve.start_us, self.curve.end_us
        return Figures(
            net_profit=realized + (open_profit or 0.0),
            realized_profit=book.realized / PRODUCT,
            open_profit=open_profit,
            commission=book.commission / PRODUCT,
            spread_paid=spread_paid,
            max_drawdown=curve.drawdown if curve else None,
            fills=book.fills,
            trades=tally.trades,
            wins=tally.wins,
            losses=tally.losses,
            win_rate=share(tally.wins, tally.trades),
            profit_factor=profit_factor(tally.gross_profit, tally.gross_loss),
            average_trade=tally.profit / PRODUCT / tally.trades if tally.trades else None,
            best_trade=None if tally.best is None else tally.best / PRODUCT,
            worst_trade=None if tally.worst is None else tally.worst / PRODUCT,
            exposure=share(book.held_us(start_us, end_us), end_us - start_us) if self.has_times else None,
        )
