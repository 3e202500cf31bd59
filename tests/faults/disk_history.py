"""What the journal, or the plain log, lives through in a process that real_disk.py lets die or fail at any system call.

    python disk_history.py journal|log DIRECTORY

Says on standard output, unbuffered, what is acknowledged the moment that it is: `ack N`, the highest LSN on disk (the
journal) or the number of operations done (the log). Ends with 0 when the history is over; with FAILED when the disk
has failed and everything after that was refused too, which it tries.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAILED = 3
JOURNAL_ID = bytes(range(16))
TORN = b"WTQH\x04" + (100).to_bytes(4, "little") + b"\1\0\0\0half an entry"
"""What a killed write may leave at the end of a file."""


def record(number: int) -> bytes:
    """The data of the entry with LSN `number`, or of the log's `number`th append; sizes differ, up to many blocks."""
    return b"entry %d " % number * (1 + number * number % 97)


def first_record() -> bytes:
    from protocol.records import EngineRun, RunEvent, encode_record

    return encode_record(
        EngineRun(JOURNAL_ID, RunEvent.START, "test", "0.1.0", bytes(16), bytes(16), 0, bytes(16), "USD", 100, (), ())
    )


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def append_torn(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(TORN)


def refused(*attempts: Callable[[], object]) -> bool:
    """Every one of them, and for the reason that the disk has failed."""
    from protocol.errors import WalSyncError

    for attempt in attempts:
        try:
            attempt()
        except WalSyncError:
            continue
        return False
    return True


# The journal.


class JournalLife:
    """The journal in `directory`, from life to life. What was acknowledged is known to the next, as the pages do it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.known = 0
        self.open(False)

    def open(self, fresh_file: bool) -> None:
        from protocol.wal import Journal

        self.journal = Journal(self.directory)
        self.journal.open(lambda journal_id: self.known, fresh_file=fresh_file)
        self.acknowledge()

    def acknowledge(self) -> None:
        if self.journal.durable_lsn > self.known:
            self.known = self.journal.durable_lsn
            say(f"ack {self.known}")

    def create(self) -> None:
        self.journal.create(JOURNAL_ID, (12, 1, 5, 1, first_record()))
        self.acknowledge()

    def append(self, count: int) -> None:
        first = self.journal.tail_lsn + 1
        self.journal.append_batch((13, lsn, 2, lsn, record(lsn)) for lsn in range(first, first + count))
        self.journal.sync()
        self.acknowledge()

    def checkpoint(self) -> None:
        """One that there is no room for is dropped, and the journal goes on."""
        from protocol.errors import WalError, WalSyncError

        try:
            self.journal.checkpoint(1, [("risk", self.journal.tail_lsn, b"state" * 100)])
        except WalSyncError:
            raise
        except WalError:
            say("dropped")
        self.acknowledge()

    def pack(self) -> None:
        """As wal's thread does it: what cannot be packed stays as it is."""
        from protocol.errors import WalError
        from protocol.wal.sealed import can_pack, list_sealed, pack_sealed
        from protocol.wal.storage import RealStorage

        try:
            for sealed in list_sealed(RealStorage(), self.directory) if can_pack() else []:
                pack_sealed(RealStorage(), sealed)
        except WalError:
            say("dropped")

    def is_final(self) -> bool:
        journal = self.journal
        return refused(lambda: journal.append_batch([(13, 1, 2, 9, b"late")]), journal.sync, journal.write_watermark)


def live_journal(directory: Path) -> int:
    """In DIRECTORY/wal, which is new."""
    from protocol.errors import WalSyncError

    directory = directory / "wal"
    life: Any = JournalLife.__new__(JournalLife)
    try:
        life.__init__(directory)
        life.create()
        life.append(1)
        life.append(3)
        life.journal.write_watermark()
        life.checkpoint()
        life.append(2)
        life.journal.close()
        append_torn(directory / "journal.wal")
        life.open(False)  # copies the tail aside and cuts it
        life.append(4)
        life.checkpoint()
        life.append(1)
        life.pack()
        life.journal.append_batch([(13, 1, 2, 1, record(life.journal.tail_lsn + 1))])
        life.journal.close()  # which is the sync
        append_torn(directory / "journal.wal")
        life.open(True)  # as after a failure: goes on in a copy
        life.append(2)
        life.journal.close()
        life.acknowledge()
    except WalSyncError:
        return FAILED if life.is_final() else 1
    return 0


# The plain log.

LOG_STEPS = "append append append mark append truncate append reopen append mark append append clear append torn append"


def log_states() -> list[list[tuple[int, bytes]]]:
    """What the log holds before the first step and after each: [(entry type, data)]."""
    states: list[list[tuple[int, bytes]]] = [[]]
    for number, step in enumerate(LOG_STEPS.split(), 1):
        entries = states[-1]
        if step == "append":
            entries = [*entries, (4, record(number))]
        elif step == "mark":
            entries = [*entries, (7, b"\0")]
        elif step == "truncate":
            marks = [index for index, (kind, _) in enumerate(entries) if kind == 7]
            entries = entries[marks[-1] :]
        elif step == "clear":
            entries = []
        states.append(entries)
    return states


def live_log(directory: Path) -> int:
    from protocol.errors import WalSyncError
    from protocol.records import EntryType
    from protocol.wal import WriteAheadLog

    path = directory / "orders.wal"
    log = WriteAheadLog(path)
    try:
        log.open()
        for number, step in enumerate(LOG_STEPS.split(), 1):
            if step == "append":
                log.append(EntryType.ORDER_PLACE, record(number))
            elif step == "mark":
                log.mark_checkpoint()
            elif step == "truncate":
                log.truncate_to_checkpoint()
            elif step == "clear":
                log.clear()
            else:
                log.close()
                if step == "torn":
                    append_torn(path)
                log = WriteAheadLog(path)
                log.open()
            say(f"ack {number}")
        log.close()
    except WalSyncError:
        late = (lambda: log.append(EntryType.ORDER_PLACE, b"late"), log.clear, log.truncate_to_checkpoint)
        return FAILED if refused(*late) else 1
    return 0


def main() -> int:
    # What is logged of each fault is half of what a life takes; there are hundreds.
    quiet = types.SimpleNamespace(warning=lambda *_, **__: None, bind=lambda **_: quiet)
    sys.modules["structlog"] = types.SimpleNamespace(get_logger=lambda: quiet)  # type: ignore[assignment]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    kind, directory = sys.argv[1:]
    return {"journal": live_journal, "log": live_log}[kind](Path(directory))


if __name__ == "__main__":
    sys.exit(main())
