"""The operator's verbs: ask a running engine, halt it, stop it.

Every verb finds its engine by `[CONFIG] | --run-dir DIR | --endpoint URL`, else by $SEAWALL_RUN_DIR. Of a CONFIG only
`engine.run_dir` is read, so that an engine can be halted while its config is being edited; beside an endpoint, only
`gateway.curve`, for the keys. Exit codes: design section 10.
"""

from __future__ import annotations

import os
import signal
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from protocol.client import LOCK_NAME, engine_pid
from protocol.errors import ExitCode, NotRunningError
from supervisor.cli.asking import HALT_TIMEOUT_S, Target, ask, cancels_of, halt_engine, open_orders
from supervisor.cli.output import Failure, note, print_json, print_table, show_state
from supervisor.lock import read_ending

RUN_DIR_VARIABLE: Final = "SEAWALL_RUN_DIR"
CANCELS_WAIT_S: Final = 2.0
"""For what becomes of the cancels of a halt, once it is told that trading is halted."""
STOP_TIMEOUT_S: Final = 60.0
STOP_POLL_S: Final = 0.02
REASON_MAX: Final = 500
"""Characters of a HALT's reason: well within a request's limit (protocol/commands.py)."""

Verb = Callable[..., None]


def find_target(config: str | None, run_dir: str | None, endpoint: str | None) -> Target:
    """Beside an endpoint CONFIG says which keys are shown there.

    Raises: click.UsageError if the engine is named twice or not at all.
    """
    if run_dir is not None and (config, endpoint) != (None, None):
        raise click.UsageError("name the engine once: by CONFIG, by --run-dir or by --endpoint")
    if endpoint is not None:
        return Target(None, endpoint, config or "")
    if config is not None:
        return Target(_run_dir_of(config), "")
    directory = run_dir or os.environ.get(RUN_DIR_VARIABLE)
    if not directory:
        raise click.UsageError(f"which engine? CONFIG, --run-dir DIR, --endpoint URL, or set ${RUN_DIR_VARIABLE}")
    return Target(Path(directory), "")


def _run_dir_of(config: str) -> Path:
    try:
        run_dir = tomllib.loads(Path(config).read_text(encoding="utf-8"))["engine"]["run_dir"]
    except OSError as error:
        raise click.UsageError(f"{config}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{config}: no engine.run_dir can be read ({error}); use --run-dir DIR") from error
    return Path(str(run_dir))


_WORDS: Final = click.argument("words", nargs=-1, metavar="[CONFIG] [WORD]...")


def _config_among(words: Sequence[str]) -> str | None:
    return words[0] if words and words[0].endswith(".toml") else None


def words_behind_config(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[1:] if _config_among(words) else words


def engine_options(timeout_s: float = 2.0, *, config: bool = True) -> Callable[[Verb], Verb]:
    """Adds the options by which a verb finds its engine; it gets (target, as JSON?, timeout in seconds, ...)."""

    def decorate(verb: Verb) -> Verb:
        @wraps(verb)
        def found(
            run_dir: str | None,
            endpoint: str | None,
            output: str,
            timeout: float,
            config: str | None = None,
            **rest: Any,
        ) -> None:
            named = config or _config_among(rest.get("words", ()))
            verb(find_target(named, run_dir, endpoint), output == "json", timeout, **rest)

        decorated: Verb = found
        for option in (
            click.option("--timeout", type=click.FloatRange(0.01), default=timeout_s, show_default=True, metavar="S"),
            click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True),
            click.option("--endpoint", metavar="URL", help="Command endpoint, such as tcp://127.0.0.1:5556."),
            click.option("--run-dir", metavar="DIR", help=f"Directory of the engine; else ${RUN_DIR_VARIABLE}."),
            click.argument("config", required=False) if config else _WORDS,
        ):
            decorated = option(decorated)
        return decorated

    return decorate


@click.command()
@click.option(
    "--check", is_flag=True,
    help="Exit 150 if HALTED, 151 if REDUCING, 152 if degraded: a child is not ready, or the disk is nearly full.",
)  # fmt: skip
@engine_options()
def status(target: Target, as_json: bool, timeout_s: float, check: bool) -> None:
    """Halted or not, and every position."""
    reply = ask(target, timeout_s, "STATUS", ExitCode.STATUS_NOT_RUNNING)
    state = None if as_json and not check else ask(target, timeout_s, "HEALTH", ExitCode.STATUS_NOT_RUNNING)
    if as_json:
        print_json(reply)
    elif state is not None:
        _print_positions(reply, f"{state['engine']}: {show_state(state['trading_state'])}")
    if state is not None:
        for reason in warnings(state):
            note(f"Warning: {reason}")
    if check and state is not None:
        raise SystemExit(int(check_code(reply, state)))


def check_code(reply: dict[str, Any], health: dict[str, Any]) -> ExitCode:
    """The worst thing that can be said, as the exit code of `status --check`."""
    state = health["trading_state"]["state"]
    if reply["halted"] or state == "HALTED":
        return ExitCode.HALTED
    if state == "REDUCING":
        return ExitCode.REDUCING
    return ExitCode.DEGRADED if warnings(health) else ExitCode.OK


def warnings(health: dict[str, Any]) -> list[str]:
    """Why the engine is degraded: which children are not ready, and what the engine itself warns of."""
    states = [f"{child['name']} is {child['state']}" for child in health["children"] if child["state"] != "ready"]
    return [*states, *health.get("warnings", ())]  # an engine of an older version knows none


@click.command()
@engine_options()
def positions(target: Target, as_json: bool, timeout_s: float) -> None:
    """Every position, flat ones too."""
    reply = ask(target, timeout_s, "STATUS")
    print_json(reply) if as_json else _print_positions(reply, "")


def _print_positions(reply: dict[str, Any], title: str) -> None:
    _print_rows(title, reply["positions"], ("symbol", "net_quantity", "average_price", "realized_pnl"))


@click.command()
@engine_options()
def orders(target: Target, as_json: bool, timeout_s: float) -> None:
    """Open orders."""
    reply = ask(target, timeout_s, "ORDERS")
    columns = ("order_id", "symbol", "side", "order_type", "status", "quantity", "filled_quantity", "limit_price")
    print_json(reply) if as_json else _print_rows("", reply["orders"], (*columns, "average_price", "strategy"))


@click.command()
@engine_options()
def limits(target: Target, as_json: bool, timeout_s: float) -> None:
    """The limits that are set, and how far each is used."""
    reply = ask(target, timeout_s, "LIMITS")
    rows = [{"used": "", **row, "strategy": row["strategy"] or "the engine"} for row in reply["limits"]]
    print_json(reply) if as_json else _print_rows("", rows, ("strategy", "limit", "value", "used"))


@click.command()
@engine_options()
def account(target: Target, as_json: bool, timeout_s: float) -> None:
    """Balance, equity and margin, and what each strategy has brought from 0."""
    reply = ask(target, timeout_s, "ACCOUNT")
    if as_json:
        print_json(reply)
        return
    columns = ("strategy", "balance", "equity", "profit", "margin", "margin_free", "margin_level")
    nothing = dict.fromkeys(columns, "")
    whole = {**reply, "strategy": "the account"}
    _print_rows(reply["currency"], [whole, *({**nothing, **row} for row in reply["strategies"])], columns)


@click.command()
@engine_options()
def health(target: Target, as_json: bool, timeout_s: float) -> None:
    """Every process, the trading state, and how far each has come."""
    reply = ask(target, timeout_s, "HEALTH")
    if as_json:
        print_json(reply)
        return
    title = f"{reply['engine']}: {show_state(reply['trading_state'])} · LSN {reply['lsn']} · {reply['version']}"
    children = [
        {
            **child,
            "cpu %": round(child["cpu_percent"], 1),
            "MiB": round(child["memory_bytes"] / 2**20, 1),
            "fullest queue": _fullest(child.get("queues", [])),
        }
        for child in reply["children"]
    ]
    columns = (
        "name", "state", "pid", "restarts", "cpu %", "MiB", "lsn", "journal_lag", "market_position", "fullest queue"
    )  # fmt: skip
    _print_rows(title, children, columns)
    for reason in warnings(reply):
        note(f"Warning: {reason}")


def _fullest(queues: list[dict[str, Any]]) -> str:
    """`journal to risk 3 of 64`."""
    if not queues:
        return ""
    queue = max(queues, key=lambda queue: queue["depth"] / queue["limit"])
    to = f" to {queue['peer']}" if queue["peer"] else ""
    return f"{queue['name']}{to} {queue['depth']} of {queue['limit']}"


def _print_rows(title: str, rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> None:
    headings = [column.replace("_", " ") for column in columns]
    print_table(title, headings, ([row[column] for column in columns] for row in rows))


@click.command()
@engine_options()
def ping(target: Target, as_json: bool, timeout_s: float) -> None:
    """Does the gateway answer?"""
    reply = ask(target, timeout_s, "PING")
    print_json(reply) if as_json else click.echo(reply["response"])


@click.command()
@engine_options(HALT_TIMEOUT_S, config=False)
def halt(target: Target, as_json: bool, timeout_s: float, words: tuple[str, ...]) -> None:
    """Kill switch: no send that can raise exposure begins after this.

    A first word that ends in .toml is the CONFIG, all others are the reason. Where the gateway does not answer,
    the latch page in the run_dir is set from here. What became of the cancels is told afterwards.
    """
    reason = " ".join(words_behind_config(words))[:REASON_MAX]
    reply, way, is_by_gateway = halt_engine(target, timeout_s, reason)
    note(way)
    if reply.get("in_flight"):
        note("A send was under way when trading was halted; look at the orders.")
    if reply.get("unsynced"):
        note("The latch page had not reached the disk yet.")
    print_json(reply) if as_json else click.echo(reply["response"])
    if is_by_gateway:
        _tell_cancels(target, timeout_s)


def _tell_cancels(target: Target, timeout_s: float) -> None:
    """Trading is halted, whatever is heard of the cancels: it is no failure if nothing is."""
    try:
        rows = open_orders(target, timeout_s)
        unprotected = [order_id for order_id, row in rows.items() if not row.get("reduce_only")]
        if unprotected:
            cancels_of(target, CANCELS_WAIT_S, unprotected, all_asked=False)
    except Failure as failure:
        note(f"Not known what became of the cancels: {failure.message}")


@click.command()
@engine_options(STOP_TIMEOUT_S)
def stop(target: Target, as_json: bool, timeout_s: float) -> None:
    """Ordered stop: SIGTERM to the supervisor, then wait until its lock is free."""
    if target.run_dir is None:
        raise click.UsageError("stop needs the engine's CONFIG or --run-dir: it signals the pid in RUN_DIR/lock")
    try:
        stopped = stop_engine(target.run_dir, timeout_s)
    except NotRunningError as error:
        raise Failure(ExitCode.NOT_RUNNING, str(error)) from error
    except OSError as error:
        raise Failure(ExitCode.FAILURE, f"{target.run_dir}: {error}") from error
    if not stopped:
        raise Failure(ExitCode.NO_ANSWER, f"the engine in {target.run_dir} has not stopped within {timeout_s:g} s")
    code, reason = read_ending(target.run_dir)
    if code:
        raise Failure(ExitCode.FAILURE, f"stopped, with exit code {code}: {reason}")
    print_json({"status": "ok", "response": "Stopped"}) if as_json else note("Stopped.")


def stop_engine(run_dir: Path, timeout_s: float) -> bool:
    """Whether the engine has ended within timeout_s; it is signalled once. Raises: NotRunningError, OSError."""
    if engine_pid(run_dir) is None:
        raise NotRunningError(f"no engine is running in {run_dir}")
    deadline, signalled, told = time.monotonic() + timeout_s, 0, False
    while (pid := engine_pid(run_dir)) is not None:
        if signalled and pid != signalled:
            return True  # a new engine has the lock: the old one has ended
        if pid and not signalled and _terminate(pid, run_dir / LOCK_NAME):
            signalled = pid
        elif pid and not signalled and not told:
            told = True
            note("The supervisor is gone; waiting for its children to end.")
        if time.monotonic() > deadline:
            return False
        time.sleep(STOP_POLL_S)
    return True


def _terminate(pid: int, lock: Path) -> bool:
    """SIGTERM to `pid` if it is the supervisor, that is, if it has the lock file open; whether it is.

    A supervisor that was killed leaves its pid in the file while children still hold the lock (S1); that pid may
    belong to a stranger by now. The pidfd makes sure that who is looked at is who is signalled.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        held = lock.stat()
        if not any(_is_same(file, held) for file in Path(f"/proc/{pid}/fd").iterdir()):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended meanwhile, or is another user's
    finally:
        os.close(descriptor)
    return True


def _is_same(file: Path, held: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), held)
    except OSError:
        return False
