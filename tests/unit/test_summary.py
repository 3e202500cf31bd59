"""What is printed at the end of the data: this run's rows, orders, fills and profit, from a journal of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fold_journals import BUY, OPENING, SELL, apply, place, run, settle

from actors.fold import Fold
from protocol.messages import Statistics
from protocol.orders import Report, TradingMode
from protocol.records import (
    Adjust,
    AdjustKind,
    OrderUpdate,
    Producer,
    Record,
    RunEvent,
    SignalRefused,
    TradingState,
    encode_record,
    entry_type_of,
)
from protocol.settings import parse_config
from protocol.units import MICROS, PRODUCT, product_to_bytes
from protocol.wal.journal import Journal
from supervisor.child import Child
from supervisor.restart import RestartPolicy
from supervisor.summary import print_summary
from supervisor.supervision import Supervisor

JOURNAL_ID = bytes(range(16))
CONFIG = """
[engine]
run_dir = "{run_dir}"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[wal]
enabled = {enabled}
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    yield from make_supervisor(tmp_path, enabled=True)


def make_supervisor(tmp_path: Path, *, enabled: bool) -> Iterator[Supervisor]:
    made = Supervisor(parse_config(CONFIG.format(run_dir=tmp_path, enabled=str(enabled).lower())))
    made.children["market_data"] = child = Child("market_data", RestartPolicy(1, 1.0))
    child.statistics = Statistics(0, 3 * 481 + 2, True, 0, {"rows": 480, "rows_bad": 2, "rows_unknown": 0})
    yield made
    made._wakeup.close()


def fill(order_id: int, price: float, quantity: int) -> OrderUpdate:
    return OrderUpdate(
        order_id, Report.FILL, f"{order_id}-1", round(price * MICROS), quantity * MICROS, commission=MICROS // 4
    )


def write_journal(directory: Path, records: list[Record]) -> None:
    """The records, each with what follows from it, as risk appends it."""
    journal, fold = Journal(directory / "wal"), Fold()
    journal.open(lambda journal_id: 0)
    seq = 0
    for record in records:
        apply(fold, record)
        for written in (record, *settle(fold)):
            seq += 1
            entry = (entry_type_of(written), 1000 + seq, Producer.RISK, seq, encode_record(written))
            if journal.is_new:
                journal.create(JOURNAL_ID, entry)
            else:
                journal.append_batch([entry])
    journal.close()


def start(boot_id: bytes) -> Record:
    return run(journal_id=JOURNAL_ID, boot_id=boot_id, balance=product_to_bytes(OPENING))


def test_the_summary_counts_this_run_and_not_the_one_before(
    supervisor: Supervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [start(b"boot one"), place(1, BUY, 10 * MICROS), fill(1, 1.5, 10), place(2, SELL, 4 * MICROS),
             fill(2, 2.0, 4), SignalRefused(16, 9, 0, "stale", ""), place(3, BUY, 5 * MICROS)]  # fmt: skip
    second = [
        start(supervisor.boot_id), OrderUpdate(3, Report.REJECT, reason="trading_halted"),
        place(4, SELL, 8 * MICROS), fill(4, 1.75, 8), place(5, BUY, 1 * MICROS, symbol_id=1), fill(5, 4000.0, 1),
        place(6, BUY, 1 * MICROS), SignalRefused(17, 10, 0, "stale", ""), SignalRefused(17, 11, 0, "stale", ""),
        Adjust(AdjustKind.DEPOSIT, -1, product_to_bytes(250 * PRODUCT)),
        TradingState(TradingMode.REDUCING, "operator", "enough", 0),
    ]  # fmt: skip
    end = run(journal_id=JOURNAL_ID, boot_id=b"boot one", event=RunEvent.STOP, by="escalation")
    write_journal(tmp_path, [*first, end, *second])
    print_summary(supervisor)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:12] == [
        "rows           480",
        "ticks          480",
        "rows bad       2 skipped",
        "orders         3 (1 rejected), 2 signals refused",
        "refused stale  2",
        "reducing       by operator: enough",
        "fills          2",
        "profit EURUSD  1.500000 USD realized, position -2",
        "profit ES      0.000000 USD realized, position 1",
        "commission     0.500000 USD",
        "deposits       +250.000000 USD, in the balance and in no profit",
        "balance        10252.500000 USD (+251.000000)",
    ]
    assert lines[12:20] == [
        "net profit     +1.00 USD, closed positions only",
        "return         +0.010 %",
        "max drawdown   0.002 %, 1970-01-01 00:00:00 to 1970-01-01 00:00:00; 0.25 USD",
        "sharpe         –, daily returns (every calendar day, UTC) × √365, risk-free rate 0",
        "sortino        –, from 1 daily returns as well",
        "trades         1, 100.0 % won, profit factor –, average +1.31",
        "exposure       100.0 % of the time",
        "against mid    –, spread and slippage of the fills",
    ]


def test_without_a_journal_the_summary_tells_of_the_data_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for supervisor in make_supervisor(tmp_path, enabled=False):
        print_summary(supervisor)
    assert capsys.readouterr().out.splitlines() == ["rows      480", "ticks     480", "rows bad  2 skipped"]
