"""The write-ahead log: the plain `WriteAheadLog`, and the `Journal` with envelope, numbers and recovery.

    format    the bytes of an entry and of the envelope; reading them back, entry by entry
    storage   the small interface through which the disk is reached
    recovery  the decision table: clean, torn or corrupt (a pure function)
    watermark what is known to be on disk, in two slots
    log       WriteAheadLog: data opaque, every append durable when it returns
    scan      reading a journal and verifying its chain; the read-only reader
    batch     records become entries: the bytes of a group commit
    tail      recent segments, the sparse index, sealed entries: serving consumers
    journal   Journal: LSNs, chain, group commit, recovery, checkpoint and roll
    names     what stands in a journal's directory
    replace   one file in the place of another, crash by crash
    reserve   room on the disk that is kept for cancels and fills
    sealed    what was journal.wal before a roll: names, packing
    history   all files of a journal read as one
    verify    all files and links verified, without a byte written
    repair    what an operator's repair would do and lose, and doing it
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import WalCorruptError, WalError, WalForeignError, WalLockedError, WalSyncError

if TYPE_CHECKING:
    from protocol.wal.journal import Journal
    from protocol.wal.log import WriteAheadLog

__all__ = [
    "Journal",
    "WalCorruptError",
    "WalError",
    "WalForeignError",
    "WalLockedError",
    "WalSyncError",
    "WriteAheadLog",
]
_WRITERS: Final = {"Journal": "protocol.wal.journal", "WriteAheadLog": "protocol.wal.log"}
"""Imported when they are asked for: every process reads the format, and only wal and the venue write."""


def __getattr__(name: str) -> Any:
    if name not in _WRITERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WRITERS[name]), name)
