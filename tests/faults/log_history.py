"""Histories of the plain log against a list: what was acknowledged is there, in order, unchanged, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from history import ATTEMPTS_MAX, DIRECTORY, Counts, History, must_refuse
from simulated_disk import Choose, ProcessDied

from protocol.errors import WalError, WalSyncError
from protocol.records import EntryType
from protocol.wal.format import HEADER
from protocol.wal.log import WriteAheadLog

PATH: Final = DIRECTORY / "plain.wal"
TYPES: Final = (EntryType.ORDER_PLACE, EntryType.ORDER_UPDATE, EntryType.CHECKPOINT)
SIZES: Final = (0, 1, 40, 700, 1200)
"""Of the data: empty, short, and over a sector's end wherever it begins. And such that the next header is torn."""
OPEN_CALLS, APPEND_CALLS, REPLACE_CALLS, CLEAR_CALLS = 13, 2, 9, 1
"""How many calls of the disk each may make, roughly: the nth of them meets the fault."""

Entries = list[tuple[EntryType, bytes]]


class LogHistory(History):
    STEPS = (
        "append", "append", "append", "mark_checkpoint", "truncate_to_checkpoint", "clear", "close_and_open",
        "open_truncated", "kill_or_lose_power",
    )  # fmt: skip

    def __init__(self, choose: Choose, counts: Counts | None = None) -> None:
        super().__init__(choose, counts, whole_sectors=True)
        self.entries: Entries = []
        """What the log holds for certain."""
        self.number = 0
        self._open([[]])

    # Steps.

    def append(self) -> None:
        self._append((TYPES[self.choose(2)], self._data()))

    def mark_checkpoint(self) -> None:
        self._append((EntryType.CHECKPOINT, b"\0"))

    def truncate_to_checkpoint(self) -> None:
        after = self.entries[max(self._last_checkpoint(), 0) :]
        self._perform(self.log.truncate_to_checkpoint, REPLACE_CALLS, after)

    def clear(self) -> None:
        self._perform(self.log.clear, CLEAR_CALLS, [])

    def close_and_open(self) -> None:
        self.log.close()
        self._open([self.entries])

    def open_truncated(self) -> None:
        self.log.close()
        self._open([self.entries, []], truncate=True)

    def kill_or_lose_power(self) -> None:
        self._next_life([self.entries])

    def check(self) -> None:
        assert self.log.entry_count == len(self.entries)
        assert self.disk.is_durable(PATH)

    # Helpers.

    def _data(self) -> bytes:
        """Never twice the same, never a zero that a hole could have made."""
        self.number += 1
        which = self.choose(len(SIZES) + 1)
        size = SIZES[which] if which < len(SIZES) else self.size_to_sector_end(PATH, HEADER.size)
        return (self.number.to_bytes(3, "little") * (size // 3 + 1))[:size].replace(b"\0", b"\1")

    def _last_checkpoint(self) -> int:
        return max((n for n, (kind, _) in enumerate(self.entries) if kind is EntryType.CHECKPOINT), default=-1)

    def _append(self, entry: tuple[EntryType, bytes]) -> None:
        self._perform(lambda: self.log.append(*entry), APPEND_CALLS, [*self.entries, entry])

    def _perform(self, action: Callable[[], None], calls: int, after: Entries) -> None:
        """If it does not return, the log holds what it held before, or `after`."""
        self.arm(calls)
        try:
            action()
        except ProcessDied as where:
            self.died(where)
            self._next_life([self.entries, after])
        except WalSyncError as error:
            self.failed(error)
            self._refuses_everything(str(error))
            self.log.close()
            self._next_life([self.entries, after])
        except WalError as error:  # it could not be read, or no new file be made: nothing has happened
            self.failed(error)
        else:
            self.entries = after
        self.disk.disarm()

    def _refuses_everything(self, after: str) -> None:
        calls = self.disk.calls
        for action in (
            lambda: self.log.append(EntryType.ORDER_PLACE, b"more"), self.log.mark_checkpoint,
            self.log.truncate_to_checkpoint, self.log.clear,
        ):  # fmt: skip
            must_refuse(action, after)
        assert self.disk.calls == calls

    def _next_life(self, possible: list[Entries]) -> None:
        self.end_process()
        self._open(possible)

    def _open(self, possible: list[Entries], *, truncate: bool = False) -> None:
        """Opened in the end, however many starts that takes. It then holds one of `possible`."""
        for attempt in range(ATTEMPTS_MAX):
            self.log = WriteAheadLog(PATH, storage=self.disk)
            self.counts.starts += 1
            if attempt + 1 < ATTEMPTS_MAX:
                self.arm(OPEN_CALLS)
            try:
                self._open_once(truncate)
            except ProcessDied as where:
                self.died(where)
                self.end_process()
            except WalSyncError as error:
                self.failed(error)
                must_refuse(self.log.open, str(error))
                self.end_process()
            except WalError as error:
                self.failed(error)
            else:
                break
        self.disk.disarm()
        found = self.log.read_all()
        assert found in possible, f"found {_brief(found)}, possible were {list(map(_brief, possible))}"
        self.entries = found

    def _open_once(self, truncate: bool) -> None:
        if truncate:
            self.log.open(truncate=True)
            return
        with self.watching_cut(PATH):
            self.log.open()


def _brief(entries: Entries) -> list[str]:
    return [f"{kind.name} {data[:4]!r} {len(data)}" for kind, data in entries]
