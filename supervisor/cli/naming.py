"""Which engine a verb is meant for: `[CONFIG] | --run-dir DIR | --endpoint URL`, else $SEAWALL_RUN_DIR.

Of a CONFIG only `engine.run_dir` is needed, so that an engine can be halted while its config is being edited; if it
names keys, `gateway.curve`, they are those for the feeds; beside an endpoint nothing else of it is read.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from protocol.client import ControlClient
from protocol.key_files import read_config_keys
from protocol.keys import ClientKeys

RUN_DIR_VARIABLE: Final = "SEAWALL_RUN_DIR"


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

    def as_option(self) -> str:
        """As one names it to another verb, in a shell."""
        named = f"--endpoint {shlex.quote(self.endpoint)}"
        if self.run_dir is not None:
            return f"--run-dir {shlex.quote(str(self.run_dir))}"
        return f"{shlex.quote(self.keys_of)} {named}" if self.keys_of else named


def find_target(config: str | None, run_dir: str | None, endpoint: str | None) -> Target:
    """Beside an endpoint CONFIG says which keys are shown there.

    Raises: click.UsageError if the engine is named twice or not at all.
    """
    if run_dir is not None and (config, endpoint) != (None, None):
        raise click.UsageError("name the engine once: by CONFIG, by --run-dir or by --endpoint")
    if endpoint is not None:
        return Target(None, endpoint, config or "")
    if config is not None:
        return _target_of(config)
    directory = run_dir or os.environ.get(RUN_DIR_VARIABLE)
    if not directory:
        raise click.UsageError(f"which engine? CONFIG, --run-dir DIR, --endpoint URL, or set ${RUN_DIR_VARIABLE}")
    return Target(Path(directory), "")


def _target_of(config: str) -> Target:
    try:
        tree = tomllib.loads(Path(config).read_text(encoding="utf-8"))
        run_dir = tree["engine"]["run_dir"]
    except OSError as error:
        raise click.UsageError(f"{config}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{config}: no engine.run_dir can be read ({error}); use --run-dir DIR") from error
    return Target(Path(str(run_dir)), "", config if _names_keys(tree) else "")


def _names_keys(tree: dict[str, Any]) -> bool:
    """The rest of a config may be wrong: its engine can be asked all the same."""
    try:
        return "client_key" in tree["gateway"]["curve"]
    except (KeyError, TypeError):
        return False


def config_among(words: Sequence[str]) -> str | None:
    """Of words that may begin with a CONFIG."""
    return words[0] if words and words[0].endswith(".toml") else None


def words_behind_config(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[1:] if config_among(words) else words
