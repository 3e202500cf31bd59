"""The pages of `status`, `health`, `orders` and the other verbs that look: replies in, lines and tables out.

Pure: asks nobody, prints nothing. Ages are taken from the reply's own clock, so that the engine's and the reader's need
not agree. A reply may come from an engine of an older version: what it lacks is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from supervisor.cli.output import Part, Styled, Table
from supervisor.report.text import show_duration, show_time

Reply = Mapping[str, Any]
MARK: Final = "! "
"""Before the state of a child that is not ready: seen without colour, and found by grep."""
BAD, DOUBTFUL, GOOD = "bold red", "yellow", "green"
STATE_STYLES: Final = {"HALTED": BAD, "REDUCING": "bold yellow", "ACTIVE": "bold green"}
READY: Final = "ready"
COMING: Final = ("slow", "spawned", "loaded", "starting")
"""States of a child that are no failure yet."""
SECOND_US: Final = 1_000_000
POSITION_COLUMNS: Final = ("symbol", "net_quantity", "average_price", "realized_pnl")
ORDER_COLUMNS: Final = (
    "order_id", "symbol", "side", "order_type", "status", "quantity", "filled_quantity", "limit_price", "average_price",
    "strategy",
)  # fmt: skip
ORDER_COLUMNS_WIDE: Final = (*ORDER_COLUMNS, "stop_price", "signal", "reduce_only", "cancel_requested")
MARGIN_LEVEL: Final = "margin_level_%"
"""Empty without margin: there is none then."""
ACCOUNT_COLUMNS: Final = ("strategy", "balance", "equity", "profit", "margin", "margin_free", MARGIN_LEVEL)


class Page(NamedTuple):
    parts: list[Part]
    warnings: list[str]
    """What an operator should see to."""


def status_page(status: Reply, health: Reply, *, wide: bool = False) -> Page:
    """The trading state first, for it decides what all the rest means; then positions, then children."""
    first = trading_line(health, halted=status["halted"])
    parts = [first, Styled(""), positions_table(status), Styled(""), *children_parts(health, wide=wide)]
    return Page(parts, warnings(health))


def health_page(health: Reply, *, wide: bool = False) -> Page:
    facts = [
        health["mode"], health["version"], f"LSN {health['lsn']}", f"market position {health['market_position']}"
    ]  # fmt: skip
    if wide:
        facts += [f"boot {health['boot_id']}", f"{show_time(health['time_us'])} UTC"]
    first = [trading_line(health), Styled(" · ".join(facts)), Styled("")]
    return Page([*first, *children_parts(health, wide=wide)], warnings(health))


def positions_page(status: Reply, *, wide: bool = False) -> Page:
    """There is no more of a position than the table has."""
    return Page([positions_table(status)], [])


def orders_page(reply: Reply, *, wide: bool = False) -> Page:
    columns = ORDER_COLUMNS_WIDE if wide else ORDER_COLUMNS
    rows = [{**dict.fromkeys(columns, ""), **row} for row in reply["orders"]]
    return Page([_table("", rows, columns) if rows else Styled("No open orders.")], [])


def limits_page(reply: Reply, *, wide: bool = False) -> Page:
    rows = [{"used": "", **row, "strategy": row["strategy"] or "the engine"} for row in reply["limits"]]
    return Page([_table("", rows, ("strategy", "limit", "value", "used")) if rows else Styled("No limit is set.")], [])


def account_page(reply: Reply, *, wide: bool = False) -> Page:
    nothing = dict.fromkeys(ACCOUNT_COLUMNS, "")
    level = round(reply["margin_level"], 2) if reply["margin"] else ""
    first = {**reply, "strategy": "the account", MARGIN_LEVEL: level}
    rows = [first, *({**nothing, **row} for row in reply["strategies"])]
    return Page([_table(reply["currency"], rows, ACCOUNT_COLUMNS)], [])


def positions_table(status: Reply) -> Part:
    rows = status["positions"]
    return _table("", rows, POSITION_COLUMNS) if rows else Styled("No positions.")


def trading_line(health: Reply, *, halted: bool = False) -> Styled:
    """`demo: HALTED by gateway 2 min ago (2026-01-02 03:04:05 UTC): enough for today`.

    halted: the latch is closed, which comes before the journal says so, and counts.
    """
    trading = health["trading_state"]
    if halted and trading["state"] != "HALTED":
        return Styled(f"{health['engine']}: HALTED by the latch; the journal does not say by whom yet", BAD)
    text = f"{health['engine']}: {trading['state']}"
    if trading["by"]:
        text += f" by {trading['by']}"
    if since_us := trading["since_us"]:
        text += f" {_show_ago(health['time_us'] - since_us)} ({show_time(since_us)} UTC)"
    if trading["reason"]:
        text += f": {trading['reason']}"
    return Styled(text, STATE_STYLES.get(trading["state"], ""))


def _show_ago(age_us: int) -> str:
    return "just now" if age_us < SECOND_US else f"{_show_age(age_us)} ago"


def _show_age(age_us: int) -> str:
    """In whole seconds."""
    return "0 s" if age_us < SECOND_US else show_duration(age_us)


def children_parts(health: Reply, *, wide: bool) -> list[Part]:
    """The table of all children; below it, unless it is a column, what has ended a life of each that had one ended."""
    now_us = health["time_us"]
    rows = [_child_row(child, now_us, wide=wide) for child in health["children"]]
    columns = list(rows[0]) if rows else ["child"]
    errors = [f"{child['name']}: {child['last_error']}" for child in health["children"] if child.get("last_error")]
    lines = [] if wide else [Styled(f"Last error of {error}", DOUBTFUL) for error in errors]
    return [Table("", columns, [list(row.values()) for row in rows]), *lines]


def _child_row(child: Reply, now_us: int, *, wide: bool) -> dict[str, object]:
    started_us, queues = child.get("started_us", 0), child.get("queues", ())
    row: dict[str, object] = {
        "child": child["name"],
        "state": child_state(child["state"]),
        "pid": child["pid"] or "",
        "uptime": _show_age(now_us - started_us) if started_us else "",
        "restarts": child["restarts"],
        "records\nbehind": child["journal_lag"],
        "fullest queue": fullest_queue(queues),
        "MiB": round(child["memory_bytes"] / 2**20, 1),
        "cpu %": round(child["cpu_percent"], 1),
    }
    if wide:
        del row["fullest queue"]
        row |= {
            "life": child["incarnation"],
            "started (UTC)": show_time(started_us) if started_us else "",
            "lsn": child["lsn"],
            "market position": child["market_position"],
            "queues": "\n".join(map(_show_queue, queues)),
            "last error": child.get("last_error", ""),
        }
    return row


def child_state(state: str) -> Styled:
    if state == READY:
        return Styled(state, GOOD)
    return Styled(MARK + state, DOUBTFUL if state in COMING else BAD)


def fullest_queue(queues: Iterable[Reply]) -> str:
    """`journal 3/64`: by its share of its limit; the first of equals."""
    listed = list(queues)
    if not listed:
        return ""
    queue = max(listed, key=lambda queue: queue["depth"] / queue["limit"])
    return f"{queue['name']} {queue['depth']}/{queue['limit']}"


def _show_queue(queue: Reply) -> str:
    """`journal to risk 3/64`."""
    to = f" to {queue['peer']}" if queue["peer"] else ""
    return f"{queue['name']}{to} {queue['depth']}/{queue['limit']}"


def warnings(health: Reply) -> list[str]:
    """Why the engine is degraded: which children are not ready, and what the engine itself warns of."""
    states = [f"{child['name']} is {child['state']}" for child in health["children"] if child["state"] != READY]
    return [*states, *health.get("warnings", ())]


def _table(title: str, rows: Iterable[Reply], columns: tuple[str, ...]) -> Table:
    headings = [column.replace("_", " ") for column in columns]
    return Table(title, headings, [[row[column] for column in columns] for row in rows])
