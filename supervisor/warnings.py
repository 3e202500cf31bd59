"""What a config that is right gives up all the same, one function a warning; `seawall check` says it."""

from __future__ import annotations

from protocol.config_checks import plaintext_binds
from protocol.settings import Config


def plaintext_warnings(config: Config) -> list[str]:
    """That others than this machine may read, and halt, in plain text."""
    return [
        f"{path} = {endpoint!r}: plain text beyond loopback, open to anybody who reaches it; `seawall keys` makes keys"
        for path, endpoint in plaintext_binds(config)
    ]
