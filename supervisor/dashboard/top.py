"""`seawall top`: the engine in a terminal. `h` halts, after one question; the engine goes on when it is closed.

Draws what the watcher knows, twice a second; two columns where there is room for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from rich.table import Table as RichTable
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, Label, Static

from actors.clock import now_us
from protocol.latency import BOUNDS_US, LONGER_US
from supervisor.cli.asking import HALT_TIMEOUT_S, halt_engine
from supervisor.cli.naming import Target
from supervisor.cli.output import Failure, Table, draw_table, printable
from supervisor.cli.tables import BAD, DOUBTFUL, STATE_STYLES, child_state, fullest_queue
from supervisor.dashboard.picture import PANELS, Picture
from supervisor.dashboard.watcher import Watcher
from supervisor.report.text import show_duration, show_time

DRAW_S: Final = 0.5
STALE_S: Final = 5
WIDE: Final = 150
"""Columns from which on there are two of them."""
ROWS_MAX: Final = 12
LOG_ROWS: Final = 15
NAMES: Final = {"journal_sync": "journal sync", "tick_to_order": "tick to order"}
_LEVEL_STYLES: Final = {"error": "red", "warning": "yellow", "info": ""}

Known = dict[str, Any]


def look(picture: Picture) -> Known:
    """What is drawn, cut out of the picture."""
    known: Known = {name: picture.read(name) for name in PANELS}
    known["ages_s"] = {name: (now_us() - at) / 1e6 if at else None for name, at in picture.known_us.items()}
    for name, rows in (("fills", ROWS_MAX), ("log", LOG_ROWS)):
        known[name] = list(picture.tapes[name])[-rows:][::-1]
    return known


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RichTable:
    return draw_table(Table("", columns, list(rows)), has_rule=False)


def within(bound_us: int | None) -> str:
    """A bound that was not exceeded."""
    if bound_us is None:
        return "-"
    if bound_us == LONGER_US:
        return f"over {show_duration(BOUNDS_US[-1])}"
    return f"{bound_us} us" if bound_us < 1000 else show_duration(bound_us)


def clock(time_us: int) -> str:
    return show_time(time_us)[-8:]


def draw_banner(known: Known) -> Text:
    """The trading state, who, when and why; or that the engine does not answer."""
    engine, trading = known["engine"] or {}, known["trading"] or {}
    text = Text(printable(str(engine.get("engine", "?"))), style="bold")
    if not engine.get("reachable"):
        text.append("  UNREACHABLE ", style="bold red")
        why = printable(engine.get("why_not", "not asked yet"))
        return text.append(f" {why}; last known: {trading.get('state', 'nothing')}")
    text.append(f"  {trading['state']} ", style=STATE_STYLES.get(trading["state"], BAD))
    if trading["by"]:
        text.append(f" by {printable(trading['by'])}")
        text.append(f" since {show_time(trading['since_us'])} UTC" if trading["since_us"] else "")
        text.append(f": {printable(trading['reason'])}" if trading["reason"] else "")
    for warning in engine["warnings"]:
        text.append(f"\n{printable(warning)}", style=DOUBTFUL)
    return text


def draw_account(known: Known) -> Any:
    account = known["account"]
    if account is None:
        return "not known yet"
    columns = ("equity", "balance", "profit", "margin", "margin_free")
    names = [column.replace("_", " ") for column in columns]
    return table([*names, "currency"], [[*(f"{account[column]:,.2f}" for column in columns), account["currency"]]])


def draw_children(known: Known) -> Any:
    now = now_us()
    rows = []
    for child in known["children"] or ():
        rows.append([
            child["name"], child_state(child["state"]),
            show_duration(now - child["started_us"]) if child["started_us"] else "-", child["restarts"],
            round(child["cpu_percent"]), round(child["memory_bytes"] / 2**20), fullest_queue(child["queues"]),
        ])  # fmt: skip
    return table(("process", "state", "up", "restarts", "cpu %", "MiB", "fullest queue"), rows)


def draw_errors(known: Known) -> Any:
    rows = [[child["name"], child["last_error"]] for child in known["children"] or () if child["last_error"]]
    return table(("process", "last error"), rows) if rows else "none"


def draw_latencies(known: Known) -> Any:
    rows = [
        [NAMES.get(name, name), within(found["p50_us"]), within(found["p99_us"]), found["count"]]
        for name, found in (known["latencies"] or {}).items()
    ]
    return table(("of the last minute", "half within", "99 % within", "count"), rows)


def draw_positions(known: Known) -> Any:
    rows = known["positions"] or ()
    columns = ("symbol", "net_quantity", "average_price", "realized_pnl")
    shown = [[row[column] for column in columns] for row in rows[:ROWS_MAX]]
    return table(("symbol", "quantity", "average price", "realized"), shown) if shown else "none yet"


def draw_orders(known: Known) -> Any:
    orders = known["orders"] or {"open": 0, "rows": []}
    rows = [
        [row["order_id"], row["symbol"], row["side"], row["quantity"], row["filled_quantity"], row["status"]]
        for row in orders["rows"][-ROWS_MAX:][::-1]
    ]
    return table(("id", "symbol", "side", "quantity", "filled", "status"), rows) if rows else "none open"


def draw_fills(known: Known) -> Any:
    rows = [
        [clock(row["time_us"]), row["order_id"], row["symbol"], row["side"] or "?", row["quantity"], row["price"],
         round(row["profit"], 4)]
        for row in known["fills"]
    ]  # fmt: skip
    return table(("UTC", "order", "symbol", "side", "quantity", "price", "profit"), rows) if rows else "none yet"


def draw_refusals(known: Known) -> Any:
    refusals = sorted((known["refusals"] or {}).items(), key=lambda row: -row[1])
    return table(("reason", "signals"), [[name.replace("_", " "), count] for name, count in refusals]) \
        if refusals else "none"  # fmt: skip


def draw_log(known: Known) -> Text:
    text = Text(overflow="fold")
    for row in known["log"]:
        text.append(f"{clock(row['time_us'])} ", style="dim")
        text.append(f"{printable(row['text'])}\n", style=_LEVEL_STYLES[row["level"]])
    return text


LEFT: Final = {
    "account": ("Account", draw_account), "children": ("Processes", draw_children),
    "latencies": ("Latencies", draw_latencies), "errors": ("Last errors", draw_errors),
    "refusals": ("Refused signals", draw_refusals),
}  # fmt: skip
RIGHT: Final = {
    "positions": ("Positions", draw_positions), "orders": ("Open orders", draw_orders), "fills": ("Fills", draw_fills),
    "log": ("Log", draw_log),
}  # fmt: skip
IN_CURRENCY: Final = ("positions", "fills")
_AGE_OF: Final = {"errors": "children", "fills": "orders", "log": "engine"}
"""Panel -> whose age it has."""


class Sure(ModalScreen[bool]):
    """One question, no by the easier key."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "halt"), Binding("n,escape,q", "dismiss(False)", "no")
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label("HALT trading? No order that can raise exposure leaves after it.")
            with Horizontal():
                yield Button("y  halt", variant="error", id="yes")
                yield Button("n  no", id="no")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class Top(App[None]):
    TITLE = "seawall top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("h", "halt", "HALT"), Binding("q", "quit", "quit")]
    CSS = """
    #banner { padding: 0 1; height: auto; background: $panel; }
    #columns { height: 1fr; }
    .column { width: 1fr; height: auto; }
    .panel { height: auto; border: round $primary; padding: 0 1; border-title-color: $text; }
    .panel.stale { border: round $error; border-subtitle-color: $error; }
    #columns.narrow > Horizontal { layout: vertical; height: auto; }
    #columns > Horizontal { height: auto; }
    Sure { align: center middle; }
    Sure > Vertical {
        width: 68; max-width: 100%; height: auto; border: thick $error; padding: 1 2; background: $surface;
    }
    Sure Horizontal { height: auto; margin-top: 1; }
    Sure Button { margin-right: 2; }
    """

    def __init__(self, target: Target, watcher: Watcher) -> None:
        super().__init__()
        self._target = target
        self._watcher = watcher

    def compose(self) -> ComposeResult:
        yield Static(id="banner")
        with VerticalScroll(id="columns"), Horizontal():
            for panels in (LEFT, RIGHT):
                with Vertical(classes="column"):
                    for name, (title, _) in panels.items():
                        panel = Static(id=name, classes="panel")
                        panel.border_title = title
                        yield panel
        yield Footer()

    def on_mount(self) -> None:
        self.set_interval(DRAW_S, self.draw)
        self.draw()

    def on_resize(self) -> None:
        self.query_one("#columns").set_class(self.size.width < WIDE, "narrow")

    def draw(self) -> None:
        known, screen = self._watcher.read(look), self.screen_stack[0]  # the question may stand on top of it
        screen.query_one("#banner", Static).update(draw_banner(known))
        for name, (title, drawing) in {**LEFT, **RIGHT}.items():
            panel = screen.query_one(f"#{name}", Static)
            panel.update(drawing(known))
            if name in IN_CURRENCY and known["account"] is not None:
                panel.border_title = f"{title}, profit in {known['account']['currency']}"
            age_s = known["ages_s"][_AGE_OF.get(name, name)]
            is_stale = age_s is None or age_s > STALE_S
            old = "no data" if age_s is None else f"{show_duration(round(age_s) * 1_000_000)} old"
            panel.border_subtitle = old if is_stale else ""
            panel.set_class(is_stale, "stale")

    def action_halt(self) -> None:
        self.push_screen(Sure(), self._halt_if)

    def _halt_if(self, is_sure: bool | None) -> None:
        if is_sure:
            self.run_worker(self._halt())

    async def _halt(self) -> None:
        try:
            halted = await asyncio.to_thread(halt_engine, self._target, HALT_TIMEOUT_S, "from seawall top")
            self.notify(" ".join([f"{halted.reply['response']}.", *halted.words]), timeout=30)
        except Failure as failure:
            said = printable(f"{failure.message} {failure.hint}".strip())
            self.notify(said, title="NOT HALTED", severity="error", timeout=60)


def run_top(target: Target) -> None:
    watcher = Watcher(target)
    watcher.start()
    try:
        Top(target, watcher).run()
    finally:
        watcher.stop()
        watcher.join()
