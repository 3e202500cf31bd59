"""Where `seawall wal export` may write: a new file, or a regular one that is no part of a journal or of a run_dir.

Judged by names and by what stat says; only a regular file is opened to look at it (a FIFO would wait, a device act).
A symlink is followed: what is written, and replaced, is what it points to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from protocol.errors import ExitCode, WalError
from protocol.wal.format import MAGIC_BYTES
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.sealed import list_sealed
from protocol.wal.storage import RealStorage
from supervisor.cli.output import Failure

STDOUT: Final = "-"
_STORAGE: Final = RealStorage()


def checked_target(target: str) -> str:
    """The file that may be written, symlinks followed; `-` stays. Raises: Failure, with nothing touched."""
    if target == STDOUT:
        return target
    path = Path(os.path.realpath(target))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"{target}: {error.strerror}") from error
    if directory := engine_directory_of(path):
        raise Failure(
            ExitCode.USAGE, f"{target} would lie in {directory}, which is the engine's: name a file elsewhere"
        )
    if not path.parent.is_dir():
        raise Failure(ExitCode.USAGE, f"{target}: there is no directory {path.parent}")
    if not stat.S_ISREG(mode):
        raise Failure(ExitCode.USAGE, f"{target} is no regular file: name another for the export, or - for stdout")
    if path.is_file() and _begins_like_a_log(path):
        raise Failure(ExitCode.USAGE, f"{target} is a log's file: name another file for the export")
    return str(path)


def engine_directory_of(path: Path) -> Path | None:
    """The run_dir or wal directory in which `path` lies, at whatever depth; None if in none."""
    return next((one for one in path.parents if _is_run_dir(one) or _is_wal_directory(one)), None)


def _is_run_dir(directory: Path) -> bool:
    has_parts = (directory / "wal").is_dir() or (directory / "pages").is_dir()
    return (directory / "wal" / JOURNAL_NAME).is_file() or (has_parts and (directory / "lock").is_file())


def _is_wal_directory(directory: Path) -> bool:
    try:
        return (directory / JOURNAL_NAME).is_file() or bool(list_sealed(_STORAGE, directory))
    except WalError:  # one may write below what one may not list
        return False


def _begins_like_a_log(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC_BYTES)) == MAGIC_BYTES
    except OSError as error:
        raise Failure(ExitCode.FAILURE, f"{path}: {error.strerror}") from error
