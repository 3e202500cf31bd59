"""What a config allows and yet takes away from the engine's promises: said by `seawall check` and at every start.

A warning names the key, the promise that does not hold, and what to set instead. It stops nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from protocol.config_checks import plaintext_binds
from protocol.settings import Config

MOUNTS: Final = Path("/proc/self/mounts")
FORGETFUL: Final = ("tmpfs", "ramfs")
REMOTE: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
"""File systems whose locks, shared memory or syncs another machine decides about."""


def warnings_of(config: Config) -> list[str]:
    return [*_of_journal(config), *_of_run_dir(config), *_of_sockets(config)]


def _of_journal(config: Config) -> list[str]:
    if config.is_replay:
        return []  # it can be made again
    if not config.wal.enabled:
        return ["wal.enabled = false: nothing is on disk, and after a stop or a crash the engine knows of no order"]
    if config.wal.sync != "always":
        lost = f"the last {config.wal.interval_ms} ms" if config.wal.sync == "interval" else "any number"
        return [
            f'wal.sync = "{config.wal.sync}": orders leave before they are on disk, and a power loss takes {lost} of '
            'records with it; "always" keeps them'
        ]
    return []


def _of_run_dir(config: Config) -> list[str]:
    key, kind = f"engine.run_dir = {config.engine.run_dir!r}", file_system_of(config.run_dir)
    if kind in FORGETFUL and not config.is_replay and config.wal.enabled:
        return [f"{key}: on {kind}, where a power loss takes the journal with it; name a directory on a disk"]
    if kind in REMOTE:
        return [
            f"{key}: on {kind}, where neither the lock against a second engine nor the pages that the processes share "
            "can be relied on; name a directory on a local disk"
        ]
    return []


def _of_sockets(config: Config) -> list[str]:
    """That others than this machine may read, and halt, in plain text; that who may command is said elsewhere."""
    curve = config.gateway.curve
    kind = "" if curve is None else file_system_of(Path(curve.keys))
    remote = [f"gateway.curve.keys: on {kind}; where that hangs, so does the gateway, which reads the list each second"]
    return (remote if kind in REMOTE else []) + [
        f"{path} = {endpoint!r}: plain text beyond loopback, open to anybody who reaches it; `seawall keys` makes keys"
        for path, endpoint in plaintext_binds(config)
    ]


def file_system_of(path: Path) -> str:
    """Of `path`, or of the directory in which it would be made. "" if the system does not say."""
    place = os.path.realpath(path)
    mounts = [line.split(" ") for line in MOUNTS.read_text("utf-8", "surrogateescape").splitlines()]
    kinds = {_unescaped(mount[1]): mount[2] for mount in mounts}  # the last mounted is on top
    while place not in kinds and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return kinds.get(place, "")


def _unescaped(mount_point: str) -> str:
    """Source: proc(5): blanks and the like stand as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount_point)
