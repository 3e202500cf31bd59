"""How one asks a running engine: a question and its answer, what became of cancels, and a halt, come what may."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from protocol.client import LOCK_NAME, control_endpoint
from protocol.errors import ConfigError, ExitCode, GatewayError, NoAnswerError, NotRunningError, SeawallError
from protocol.records import FIRST_EXTERNAL
from supervisor.cli.naming import Target
from supervisor.cli.output import Failure, note

POLL_S: Final = 0.05
HALT_TIMEOUT_S: Final = 0.5
"""A gateway answers HALT within 50 ms, or never; ten times that, then the latch page is set from here."""
LONGER_S: Final = 10.0
"""What a second try is told to wait: several restarts of a gateway (0.6 s each)."""


def ask(target: Target, timeout_s: float, text: str, not_running: ExitCode = ExitCode.NOT_RUNNING) -> dict[str, Any]:
    """The reply to `text`, which says ok. Raises: Failure with the exit code for what went wrong."""
    try:
        with target.client(timeout_s) as client:
            reply = client.request(text)
    except NotRunningError as error:
        raise Failure(not_running, str(error), hint=hint_not_running(target)) from error
    except NoAnswerError as error:
        raise Failure(ExitCode.NO_ANSWER, str(error), hint=_hint_no_answer(target, timeout_s)) from error
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from error
    except (GatewayError, OSError) as error:
        raise Failure(ExitCode.FAILURE, str(error)) from error
    if reply.get("status") != "ok":
        raise Failure(ExitCode.FAILURE, str(reply.get("response", reply)))
    return reply


def hint_not_running(target: Target) -> str:
    """What to do where no engine runs."""
    if target.run_dir is None:
        return (
            f"Nothing listens at {target.endpoint}. Is it the gateway.command of a running engine? On the engine's own "
            "machine name the engine by its CONFIG or --run-dir: that needs no endpoint."
        )
    return (
        f"Nobody holds {target.run_dir / LOCK_NAME}. Another directory? A CONFIG's run_dir is relative to where the "
        "engine was started. `ps -eo pid,args | grep '[s]eawall:'` shows what runs; `seawall run CONFIG` starts an "
        "engine."
    )


def _hint_no_answer(target: Target, timeout_s: float) -> str:
    """Of a gateway that is there: why it may be silent, and what to try."""
    endpoint = target.endpoint if target.run_dir is None else control_endpoint(target.run_dir)
    tried = f"seawall ping {target.as_option()} --timeout {max(LONGER_S, 5 * timeout_s):g}"
    lines = [
        f"Asked at {endpoint}. Likely: its gateway has died or hangs, and the supervisor is bringing it back; or the "
        "machine, or its disk, is too busy.",
        f"Next: `{tried}`; then the engine's log.",
    ]
    if target.run_dir is not None:
        lines.append(f"`seawall halt {target.as_option()}` halts without the gateway, too.")
    return "\n".join(lines)


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


class Halted(NamedTuple):
    reply: dict[str, Any]
    words: list[str]
    """Which way it went, and what is to be looked at, a sentence each."""
    is_by_gateway: bool


def halt_engine(target: Target, timeout_s: float, reason: str) -> Halted:
    """Through the gateway, or, when that fails, by setting the latch page. Raises: Failure if trading is not halted."""
    try:
        reply = ask(target, timeout_s, f"HALT {reason}".strip())
        words = ["Halted through the gateway."]
        if already := reply.get("already"):
            words = [f"Trading was halted before, {already}. That stays; the reason given now is not kept."]
        if reply.get("in_flight"):
            words.append("A send was under way when trading was halted; look at the orders.")
        if reply.get("unsynced"):
            words.append("The latch page had not reached the disk yet.")
        return Halted(reply, words, True)
    except Failure as failure:
        if failure.exit_code == ExitCode.NOT_RUNNING or target.run_dir is None:
            raise
        trouble = failure.message
    from actors.latch import halt_page

    try:
        halt_page(target.run_dir, "cli", reason or "seawall halt")
    except (OSError, SeawallError) as error:
        raise Failure(
            ExitCode.FAILURE, f"NOT HALTED: {trouble}; and the latch page cannot be set: {error}",
            hint=f"`seawall stop {target.as_option()}` ends the engine; SIGKILL to its processes ends all sending.",
        ) from error  # fmt: skip
    reply = {"status": "ok", "response": "Trading halted"}
    return Halted(reply, [f"{trouble}. Halted by setting the latch page."], False)
