"""The console's process: the watcher, the page's server and the alerts, from their start to their end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Final

import click
import uvicorn

from protocol.errors import ExitCode
from supervisor.cli.naming import Target
from supervisor.cli.output import Failure, note, printable
from supervisor.dashboard.alerts import USUAL_KINDS, Alerts, Hook, address_hook, command_hook
from supervisor.dashboard.notices import KINDS
from supervisor.dashboard.server import Dashboard
from supervisor.dashboard.watcher import Watcher

OWN_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
STOP_S: Final = 2
"""For pages that are open when the server ends."""


def kinds_of() -> dict[str, str]:
    """Kind of alert -> when it comes; those that are told unless others are named are marked."""
    return {kind: when + (" *" if kind in USUAL_KINDS else "") for kind, when in KINDS.items()}


def serve(
    target: Target, *, host: str, port: int, names: Sequence[str], token: str,
    alert_command: str | None, alert_url: str | None, alert_kinds: str | None, alert_every_s: float,
) -> None:  # fmt: skip
    """Until SIGINT or SIGTERM. token: what a page must show to command; "": nobody may.

    Raises: Failure if the address is taken, or an alert is asked for that there is not.
    """
    listener = _listen(host, port)
    alerts = _alerts(target, alert_command, alert_url, alert_kinds, alert_every_s)
    watcher = Watcher(target, alerts.take)
    dashboard = Dashboard(watcher, target, token)
    application = dashboard.application([*OWN_NAMES, host, *names])
    server = uvicorn.Server(
        uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_S)
    )
    dashboard.is_ending = lambda: server.should_exit
    signal.signal(signal.SIGTERM, _end)  # uvicorn raises what ended it once more
    alerts.start()
    watcher.start()
    bound = listener.getsockname()[1]
    place = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
    click.echo(f"http://{place}/" + (f"#token={token}" if token else ""))
    note("Ctrl-C ends it; the engine goes on.")
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        watcher.stop()
        watcher.join()
        alerts.close()


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # whoever comes before the server is up waits
    except OSError as error:
        listener.close()
        why = f"{host}:{port} cannot be listened at: {error.strerror}; try another --listen"
        raise Failure(ExitCode.FAILURE, why) from error
    return listener


def _alerts(target: Target, command: str | None, url: str | None, kinds: str | None, every_s: float) -> Alerts:
    wanted = USUAL_KINDS if kinds is None else tuple(kind.strip() for kind in kinds.split(","))
    if unknown := sorted(set(wanted) - KINDS.keys()):
        raise Failure(ExitCode.USAGE, f"--alert-on: there is no {', '.join(unknown)}; there are {', '.join(KINDS)}")
    hooks: list[Hook] = []
    try:
        hooks += [command_hook(command)] if command else []
        hooks += [address_hook(url)] if url else []
    except ValueError as error:
        raise Failure(ExitCode.USAGE, f"--alert-url: {error}") from error
    name = str(target.run_dir) if target.run_dir is not None else target.endpoint
    return Alerts(name, hooks, lambda text: note(printable(text)), wanted if hooks else (), every_s)
