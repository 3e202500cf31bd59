"""The pipes: one row each. What flows between the processes, who binds, and what happens when one is full.

This table and supervisor/boot.py are the map of the house.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.errors import ConfigError

IPC_PATH_MAX: Final = 107
"""Bytes of a Unix socket's path (sun_path less its NUL; ZeroMQ fails beyond it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    name: str
    pattern: str
    binds: str
    connects: tuple[str, ...]
    messages: tuple[str, ...]
    limit: int
    """Messages under way to one peer: the credit of a stream, the high-water mark of the others."""
    when_full: str


MARKET: Final = Pipe(
    name="market",
    pattern="ROUTER/DEALER stream",
    binds="market_data",
    connects=("strategy", "risk", "order_routing", "gateway", "venue"),
    messages=("HELLO", "WELCOME", "DATA", "CREDIT", "SAY_HELLO"),
    limit=8,
    when_full="file sources wait; live sources drop the oldest batch for that consumer and count the gap",
)
JOURNAL: Final = Pipe(
    name="journal",
    pattern="ROUTER/DEALER stream",
    binds="wal",
    connects=("risk", "order_routing", "gateway", "strategy"),
    messages=("HELLO", "WELCOME", "DATA", "CREDIT", "APPEND", "RESET", "SAY_HELLO", "BARRIER", "STATE",
              "GRANT", "DONE"),
    limit=64,
    when_full="the tail waits for credit; appends wait in the producer's pending, which refuses when full",
)
SIGNALS: Final = Pipe(
    name="signals",
    pattern="ROUTER/DEALER",
    binds="risk",
    connects=("strategy",),
    messages=("SIGNAL_HELLO", "SIGNAL_WELCOME", "INTENT", "REACHED"),
    limit=10_000,
    when_full="the signal is refused at once (`signals_full`), and on_order says so",
)
CONTROL: Final = Pipe(
    name="control",
    pattern="ROUTER/DEALER",
    binds="supervisor",
    connects=("wal", "risk", "strategy", "venue", "order_routing", "gateway", "market_data"),
    messages=("LOADED", "FAILED", "GO", "READY", "STOP", "STOPPED", "DETACH", "DETACHED", "ASK", "STATISTICS",
              "PEER", "CHILDREN", "PARKED", "STEER"),
    limit=1_000,
    when_full="the message is dropped and counted; questions are asked again",
)  # fmt: skip

VENUE: Final = Pipe(
    name="venue",
    pattern="ROUTER/DEALER",
    binds="venue",
    connects=("order_routing",),
    messages=("VENUE_LOGON", "VENUE_LOGGED_ON", "VENUE_HEARTBEAT", "VENUE_ORDER", "VENUE_CANCEL", "VENUE_REPLACE",
              "VENUE_REPORT", "VENUE_QUERY", "VENUE_OPEN_ORDERS", "VENUE_POSITIONS", "VENUE_EXECUTIONS",
              "VENUE_ORDER_KNOWN"),
    limit=1_000,
    when_full="the message is lost, as on any line: reports are asked for again by number, orders by their id",
)
"""Only with a venue in a process of its own."""
PIPES: Final = {pipe.name: pipe for pipe in (MARKET, JOURNAL, SIGNALS, CONTROL, VENUE)}

VENUE_DESK: Final = Pipe(
    name="venue-desk",
    pattern="REP/REQ",
    binds="venue",
    connects=("anybody in the private directory",),
    messages=("lines of text (actors/venues/desk.py)",),
    limit=100,
    when_full="who asks waits",
)
"""For outsiders, as the gateway's sockets are."""


def pipe_endpoint(pipe: Pipe, directory: Path | None, engine: str) -> str:
    """The endpoint of `pipe`: `ipc://` in the private directory, or `inproc://` if there is none.

    Raises: ConfigError if the path is longer than a Unix socket's path may be.
    """
    if directory is None:
        return f"inproc://{engine}/{pipe.name}"
    # "control" is the gateway's socket for operators (design section 10); the supervisor's pipe steps aside.
    name = "supervisor" if pipe is CONTROL else pipe.name
    path = directory / name
    if len(str(path).encode()) > IPC_PATH_MAX:
        raise ConfigError([f"engine.run_dir: the socket path {path} is longer than {IPC_PATH_MAX} bytes"])
    return f"ipc://{path}"
