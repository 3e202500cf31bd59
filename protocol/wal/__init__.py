"""The write-ahead log: the plain `WriteAheadLog`, and the `Journal` with envelope, numbers and recovery.

    format    the bytes of an entry and of the envelope; reading them back, entry by entry
    storage   the small interface through which the disk is reached
    recovery  the decision table: clean, torn or corrupt (a pure function)
    watermark what is known to be on disk, in two slots
    log       WriteAheadLog: data opaque, every append durable when it returns
    scan      reading a journal and verifying its chain; the read-only reader
    tail      recent batches and the sparse index: serving consumers
    replace   another file in a log's place: a copied prefix, a roll, a log that was cut
    reserve   room on the disk that is kept for cancels and fills
    journal   Journal: LSNs, chain, group commit, recovery
"""

from protocol.wal.journal import Journal
from protocol.wal.log import WriteAheadLog

__all__ = ["Journal", "WriteAheadLog"]
