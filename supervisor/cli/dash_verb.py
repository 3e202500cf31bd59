"""`seawall dash`: the web page, metrics and alerts of one engine, in a process of their own."""

from __future__ import annotations

import ipaddress
import os
import secrets
from typing import Final

import click

from protocol.errors import ExitCode
from supervisor.cli.engine_options import engine_options
from supervisor.cli.naming import Target
from supervisor.cli.output import Failure

TOKEN_VARIABLE: Final = "SEAWALL_DASH_TOKEN"
TOKEN_BYTES: Final = 18


@click.command()
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT")
@click.option(
    "--allow-remote", multiple=True, metavar="NAME",
    help="Listen beyond loopback, called by this name (`*`: by any). There is no TLS: put a proxy before it.",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="No token: the page can only look.")
@click.option("--alert-command", metavar="COMMAND", help="Run for each alert, which is one line of JSON on its stdin.")
@click.option("--alert-url", metavar="URL", help="Each alert is POSTed there as JSON.")
@click.option("--alert-on", metavar="KINDS", help="Comma-separated; `list` shows them.")
@click.option("--alert-every", default=60.0, show_default=True, metavar="S", help="Of one kind at most one in so long.")
@engine_options()
def dash(
    target: Target, as_json: bool, timeout_s: float, listen: str, allow_remote: tuple[str, ...], read_only: bool,
    alert_command: str | None, alert_url: str | None, alert_on: str | None, alert_every: float,
) -> None:  # fmt: skip
    """A page that shows the engine and can halt it, Prometheus metrics (/metrics), and alerts.

    Prints the page's address; its token lets it command. $SEAWALL_DASH_TOKEN sets the token, else it is made anew.

    \b
    Example:
      seawall dash --run-dir run/demo --listen 127.0.0.1:8080
    """
    try:
        from supervisor.dashboard.serving import kinds_of, serve
    except ModuleNotFoundError as error:
        raise Failure(ExitCode.FAILURE, f"the page needs {error.name}: pip install 'seawall[dash]'") from error
    if alert_on == "list":
        for kind, when in kinds_of().items():
            click.echo(f"{kind:12} {when}")
        return
    host, port = _address(listen, allow_remote)
    token = "" if read_only else os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(TOKEN_BYTES)
    serve(
        target, host=host, port=port, names=allow_remote, token=token,
        alert_command=alert_command, alert_url=alert_url, alert_kinds=alert_on, alert_every_s=alert_every,
    )  # fmt: skip


def _address(listen: str, names: tuple[str, ...]) -> tuple[str, int]:
    """Raises: click.UsageError for what is no address, or beyond loopback without a word."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not port.isdigit() or not host or int(port) > 65535:
        raise click.UsageError(f"--listen {listen}: HOST:PORT is needed, such as 127.0.0.1:8080")
    if host != "localhost":
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError as error:
            raise click.UsageError(f"--listen {listen}: {error}; name an address") from error
        if not is_loopback and not names:
            raise click.UsageError(
                f"--listen {listen}: whoever reaches it sees everything, in plain text; --allow-remote NAME says that"
            )
    return host, int(port)
