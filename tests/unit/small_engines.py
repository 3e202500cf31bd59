"""An engine as the command line sees one: a held lock, and a small peer on the control socket with fixed replies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result
from gateways import gateway, held_lock

from protocol.client import control_endpoint
from supervisor.cli.main import main

STATUS = {
    "status": "ok",
    "halted": False,
    "positions": [{"symbol": "AAPL[x]", "net_quantity": 3.0, "average_price": 150.5, "realized_pnl": 12.75}],
}
NO_ORDERS: Final[dict[str, Any]] = {"status": "ok", "orders": []}
ORDER = {
    "order_id": 41, "symbol": "AAPL", "side": "Buy", "order_type": "limit", "status": "Accepted", "quantity": 3.0,
    "filled_quantity": 0.0, "limit_price": 150.5, "average_price": 0.0, "strategy": "sma", "signal": 4,
}  # fmt: skip


def health(state: str = "ACTIVE", child: str = "ready", *warnings: str) -> dict[str, Any]:
    return {
        "status": "ok", "engine": "demo", "version": "0.1.0", "mode": "paper", "boot_id": "00", "time_us": 1,
        "trading_state": {"state": state, "by": "operator", "reason": "lunch", "since_us": 1}, "lsn": 9,
        "market_position": 5,
        "children": [
            {"name": "risk", "state": child, "pid": 7, "incarnation": 1, "restarts": 0, "cpu_percent": 1.25,
             "memory_bytes": 3 * 2**20, "lsn": 9, "journal_lag": 0, "market_position": 5, "counters": {}},
        ],
        "disk_low": bool(warnings), "warnings": list(warnings),
    }  # fmt: skip


@contextmanager
def engine(run_dir: Path, **replies: dict[str, Any] | None) -> Iterator[list[bytes]]:
    """A run_dir with a held lock and a gateway that knows these verbs; None: it takes the request and is silent."""
    known: dict[str, dict[str, Any] | None] = {
        "PING": {"status": "ok", "response": "PONG"},
        "STATUS": STATUS,
        "HALT": {"status": "ok", "response": "Trading halted"},
        "HEALTH": health(),
        "ORDERS": {"status": "ok", "orders": [ORDER]},
        **replies,
    }

    def answer(text: bytes) -> bytes | None:
        reply = known[text.decode().split()[0]]
        return None if reply is None else json.dumps(reply, separators=(",", ":")).encode()

    (run_dir / "ipc").mkdir(parents=True)
    with held_lock(run_dir, "1"), gateway(answer, control_endpoint(run_dir)) as (_, got):
        yield got


def seawall(*words: str | Path, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner(env={"SEAWALL_RUN_DIR": None, **(env or {})}).invoke(main, [str(word) for word in words])
