"""The names in a journal's directory that more than one module speaks of, and how a new one is found.

    journal.wal             the journal; beside it `.lock`, and `.new` while another file is made to take its place
    journal.wal.torn-LSN    what recovery or repair took out of it, or put aside: `torn`, `failed`, `damaged`
    journal-FIRST.wal[.zst] what it was before a roll (sealed.py)
    watermark               two slots (watermark.py)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

JOURNAL_NAME: Final = "journal.wal"
WATERMARK_NAME: Final = "watermark"
LOCK_SUFFIX: Final = ".lock"
"""Of the file whose flock says who writes; never unlinked."""
NEW_SUFFIX: Final = ".new"
"""Of a file that is being made: it counts for nothing, and the next open removes it."""
TORN_PREFIX: Final = f"{JOURNAL_NAME}.torn-"
FAILED_PREFIX: Final = f"{JOURNAL_NAME}.failed-"
DAMAGED_PREFIX: Final = f"{JOURNAL_NAME}.damaged-"
KEPT_COPIES: Final = (TORN_PREFIX, DAMAGED_PREFIX, FAILED_PREFIX)
"""How the names begin under which recovery and repair keep what they took out of the journal."""


def new_path(path: Path) -> Path:
    """Where the file is made that is to stand at `path`."""
    return path.with_name(path.name + NEW_SUFFIX)


def lock_path(path: Path) -> Path:
    return path.with_name(path.name + LOCK_SUFFIX)


def free_path(path: Path, is_taken: Callable[[Path], bool]) -> Path:
    """`path`, or where that is taken `.1`, `.2` … behind its name: nothing that was kept is written over."""
    free, numbers = path, count(1)
    while is_taken(free):
        free = path.with_name(f"{path.name}.{next(numbers)}")
    return free
