"""What the looking verbs show: the trading state first, ages by the engine's clock, what is not ready marked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from small_engines import ORDER, STATUS, health

from supervisor.cli.output import Part, Styled, Table, draw_parts, note
from supervisor.cli.tables import (
    account_page,
    health_page,
    limits_page,
    orders_page,
    positions_page,
    status_page,
    trading_line,
)

NOW_US = 1_767_323_045_000_000
"""2026-01-02 03:04:05 UTC."""
QUEUES = [
    {"name": "appends", "peer": "", "depth": 400, "limit": 50_000, "when_full": "waits"},
    {"name": "journal", "peer": "risk", "depth": 3, "limit": 64, "when_full": "waits"},
]


def child(name: str = "risk", state: str = "ready", **facts: Any) -> dict[str, Any]:
    """Of 62 s of life, with two queues."""
    [plain] = health()["children"]
    return {
        **plain, "name": name, "state": state, "started_us": NOW_US - 62_000_000, "last_error": "", "queues": QUEUES,
        **facts,
    }  # fmt: skip


def reply(*children: dict[str, Any], state: str = "ACTIVE", by: str = "", reason: str = "", age_s: float = 0) -> Any:
    since_us = NOW_US - int(age_s * 1e6) if age_s else 0
    trading = {"state": state, "by": by, "reason": reason, "since_us": since_us}
    return {**health(), "time_us": NOW_US, "trading_state": trading, "children": list(children)}


def drawn(parts: list[Part], width: int = 200, *, color: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, color_system="standard" if color else None,
        _environ={}, highlight=False,
    )  # fmt: skip
    console.print(draw_parts(parts))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "demo: ACTIVE"),
        (
            {"state": "HALTED", "by": "gateway", "reason": "enough", "age_s": 125},
            "demo: HALTED by gateway 2 min 5 s ago (2026-01-02 03:02:00 UTC): enough",
        ),
        (
            {"state": "REDUCING", "by": "risk", "age_s": 0.2},
            "demo: REDUCING by risk just now (2026-01-02 03:04:04 UTC)",
        ),
    ],
)
def test_the_trading_state_says_who_when_and_why(facts: dict[str, Any], line: str) -> None:
    assert trading_line(reply(**facts)).text == line


def test_a_reason_from_outside_is_no_markup_and_does_not_steer_the_terminal() -> None:
    assert drawn([trading_line(reply(reason="[red]\x1b[2J\x07now"))]) == "demo: ACTIVE: [red]\ufffd[2J\ufffdnow\n"


def test_no_note_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    note("halted before, by operator: \x1b[2J\x07now")
    assert capsys.readouterr().err == "halted before, by operator: \ufffd[2J\ufffdnow\n"


def test_a_closed_latch_counts_before_the_journal_says_so() -> None:
    first = status_page({**STATUS, "halted": True}, reply()).parts[0]
    assert isinstance(first, Styled)
    assert first.text.startswith("demo: HALTED by the latch")


def test_status_begins_with_the_trading_state_then_positions_then_children() -> None:
    text = drawn(status_page(STATUS, reply(child())).parts)
    first, symbol, found = text.index("demo: ACTIVE"), text.index("AAPL[x]"), text.index("risk")
    assert first < symbol < found
    [row] = [line.split() for line in text.splitlines() if line.startswith("risk")]
    assert row == ["risk", "ready", "7", "1", "min", "2", "s", "0", "0", "journal", "3/64", "3", "1.2"]


def test_the_fullest_queue_is_the_one_nearest_its_limit_and_wide_has_all() -> None:
    assert "journal 3/64" in drawn(health_page(reply(child())).parts)
    wide = drawn(health_page(reply(child()), wide=True).parts)
    assert "appends 400/50000" in wide
    assert "journal to risk 3/64" in wide
    assert "2026-01-02 03:03:03" in wide, "started"


def test_what_ended_a_life_is_said_below_the_table_and_is_a_column_of_wide() -> None:
    children = (child(), child("strategy.sma", "parked", last_error="ZeroDivisionError: division by zero"))
    last = drawn(status_page(STATUS, reply(*children)).parts).splitlines()[-1]
    assert last == "Last error of strategy.sma: ZeroDivisionError: division by zero"
    wide = drawn(health_page(reply(*children), wide=True).parts, 240)
    assert "last error" in wide
    assert "Last error of" not in wide


def test_80_columns_cut_nothing() -> None:
    page = status_page(STATUS, reply(child("strategy.breakout", "starting", pid=1234567)))
    text = drawn(page.parts, 80)
    assert "…" not in text
    for word in ("strategy.breakout", "! starting", "1234567", "restarts", "3/64"):
        assert word in text


def test_a_child_that_is_not_ready_is_marked_without_colour_too() -> None:
    text = drawn(status_page(STATUS, reply(child(), child("wal", "hung"), child("gateway", "slow"))).parts)
    assert [line.split()[1] for line in text.splitlines() if line[:3] in ("ris", "wal", "gat")] == ["ready", "!", "!"]
    assert "! hung" in text


@pytest.mark.parametrize(
    ("state", "escape"), [("HALTED", "\x1b[1;31m"), ("REDUCING", "\x1b[1;33m"), ("ACTIVE", "\x1b[1;32m")]
)
def test_halted_is_red_reducing_yellow_active_green(state: str, escape: str) -> None:
    text = drawn([trading_line(reply(state=state))], color=True)
    assert text.startswith(f"{escape}demo: {state}")


def test_children_are_coloured_by_how_they_are() -> None:
    rows = reply(child(), child("wal", "hung"), child("gateway", "slow"))
    text = drawn(status_page(STATUS, rows).parts, color=True)
    assert "\x1b[32mready" in text
    assert "\x1b[1;31m! hung" in text
    assert "\x1b[33m! slow" in text


def test_orders_wide_has_everything_of_an_order() -> None:
    row = {**ORDER, "stop_price": 149.25, "reduce_only": True, "cancel_requested": False}
    [table] = orders_page({"orders": [row]}, wide=True).parts
    assert isinstance(table, Table)
    assert {column.replace(" ", "_") for column in table.columns} == set(row)
    assert "149.25" not in drawn(orders_page({"orders": [row]}).parts)


def test_an_order_of_an_older_engine_lacks_columns_and_is_shown() -> None:
    assert "41" in drawn(orders_page({"orders": [ORDER]}, wide=True).parts)


def test_where_there_is_nothing_it_is_said() -> None:
    assert drawn(orders_page({"orders": []}).parts) == "No open orders.\n"
    assert drawn(positions_page({"positions": []}).parts) == "No positions.\n"
    assert drawn(limits_page({"limits": []}).parts) == "No limit is set.\n"


def test_columns_of_numbers_stand_to_the_right_where_some_are_empty_too() -> None:
    money = {"balance": 1.0, "equity": 1.0, "profit": 0.0, "margin": 4.0, "margin_free": 1.0, "margin_level": 250.0}
    rows = [{"strategy": "sma", "balance": 1.0, "equity": 1.0, "profit": 0.0, "margin": 0.0}]
    lines = drawn(account_page({"currency": "USD", **money, "strategies": rows}).parts).splitlines()
    [whole] = [line for line in lines if line.startswith("the account")]
    assert whole.endswith("             250")


def test_without_margin_there_is_no_margin_level() -> None:
    money = {"balance": 1.0, "equity": 1.0, "profit": 0.0, "margin": 0.0, "margin_free": 1.0, "margin_level": 0.0}
    [whole] = drawn(account_page({"currency": "USD", **money, "strategies": []}).parts).splitlines()[-1:]
    assert whole.split() == ["the", "account", "1", "1", "0", "0", "1"]
