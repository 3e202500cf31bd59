"""How the command line asks a running engine: one question and its answer, and what became of cancels."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocol.client import ControlClient
from protocol.errors import ConfigError, ExitCode, GatewayError, NoAnswerError, NotRunningError, SeawallError
from protocol.key_files import read_config_keys
from protocol.keys import ClientKeys
from protocol.records import FIRST_EXTERNAL
from supervisor.cli.output import Failure, note

POLL_S: Final = 0.05
HALT_TIMEOUT_S: Final = 0.5
"""A gateway answers HALT within 50 ms, or never; ten times that, then the latch page is set from here."""


@dataclass(frozen=True, slots=True)
class Target:
    """The engine that a verb is meant for: by its run_dir, or by a bare endpoint."""

    run_dir: Path | None
    endpoint: str
    keys_of: str = ""
    """The config that names the client's keys; "": the environment does, if there are any."""

    def client(self, timeout_s: float) -> ControlClient:
        """Raises: NotRunningError if the lock of run_dir is free, ConfigError if a key cannot be used."""
        if self.run_dir is not None:
            return ControlClient.for_run_dir(self.run_dir, timeout_s)
        return ControlClient(self.endpoint, timeout_s, keys=self.keys())

    def keys(self) -> ClientKeys | None:
        """Of tcp, and of the feeds. None: those that the environment names. Raises: ConfigError."""
        return read_config_keys(self.keys_of) if self.keys_of else None


def ask(target: Target, timeout_s: float, text: str, not_running: ExitCode = ExitCode.NOT_RUNNING) -> dict[str, Any]:
    """The reply to `text`, which says ok. Raises: Failure with the exit code for what went wrong."""
    try:
        with target.client(timeout_s) as client:
            reply = client.request(text)
    except NotRunningError as error:
        raise Failure(not_running, str(error)) from error
    except NoAnswerError as error:
        raise Failure(ExitCode.NO_ANSWER, str(error)) from error
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from error
    except (GatewayError, OSError) as error:
        raise Failure(ExitCode.FAILURE, str(error)) from error
    if reply.get("status") != "ok":
        raise Failure(ExitCode.FAILURE, str(reply.get("response", reply)))
    return reply


def open_orders(target: Target, timeout_s: float) -> dict[int, dict[str, Any]]:
    """Those of this engine: what came to the venue from elsewhere is cancelled by its id alone."""
    rows = ask(target, timeout_s, "ORDERS")["orders"]
    return {row["order_id"]: row for row in rows if row["order_id"] < FIRST_EXTERNAL}


def cancels_of(target: Target, timeout_s: float, before: Iterable[int], *, all_asked: bool) -> list[int]:
    """Tells what became of the cancels of the orders in `before`, as far as it is heard of them within timeout_s.

    all_asked: of those that are still open then, the cancels of all count as requested; else of those whose row says
    so. Returns the orders of which it is not known.
    """
    deadline = time.monotonic() + timeout_s
    wanted = set(before)
    while True:
        left = {order_id: row for order_id, row in open_orders(target, timeout_s).items() if order_id in wanted}
        if not left or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    unknown = sorted(order_id for order_id, row in left.items() if all_asked or row.get("cancel_requested"))
    confirmed = len(wanted) - len(left)
    note(f"Cancels: {confirmed + len(unknown)} requested, {confirmed} confirmed, {len(unknown)} unknown.")
    if unknown:
        note(f"Not known: {', '.join(map(str, unknown))}; `seawall orders` shows what is open.")
    return unknown


def halt_engine(target: Target, timeout_s: float, reason: str) -> tuple[dict[str, Any], str, bool]:
    """The reply and the way it went: through the gateway (True), or, when that fails, by setting the latch page."""
    try:
        reply = ask(target, timeout_s, f"HALT {reason}".strip())
        return reply, "Halted through the gateway.", True
    except Failure as failure:
        if failure.exit_code == ExitCode.NOT_RUNNING or target.run_dir is None:
            raise
        trouble = failure.message
    from actors.latch import halt_page

    try:
        halt_page(target.run_dir, "cli", reason or "seawall halt")
    except (OSError, SeawallError) as error:
        raise Failure(ExitCode.FAILURE, f"NOT HALTED: {trouble}; and the latch page cannot be set: {error}") from error
    return {"status": "ok", "response": "Trading halted"}, f"{trouble}. Halted by setting the latch page.", False
