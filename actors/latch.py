"""The latch: one memory-mapped page, RUN_DIR/latch, by which trading is halted whatever else hangs.

Owns the page's layout and the two protocols around it: HALT, and order_routing's bracket around every send. It
must not clear a halt (nothing does, H2), must not block on another process, and knows nothing of the journal. The
page is created once and changed in place (H5). Shared by gateway, risk, order_routing, wal, supervisor and the CLI.

    word  0  magic and version
          1  halt: 0, or the unique token of the newest HALT; never cleared
          2  send_begin: sends begun; order_routing only
          3  send_end: sends ended; order_routing only
          4  order_routing's pid; stored last when it takes over
          5  order_routing's start time, clock ticks since boot, so that a recycled pid is not taken for it
          6  cleared: the token of the last ENGINE_RUN(stop, by operator); a hint, the journal's fold says it (H2)
          7  halted at, microseconds since the epoch
       8, 9  boot id of the engine's run
         10  journal_failed: when a write or sync of the journal failed, microseconds since the epoch; 0 if none did, or
             if the journal has gone on in a new file since. wal only
    byte  512  who halted, UTF-8, NUL-padded, 64 bytes     } both written before the halt word: who sees the
    byte 1024  why, UTF-8, NUL-padded, 512 bytes           } token sees who and why

Words as in mapped.py. The promise (design section 8, H6): no send that can raise exposure begins after the reply.

    HALT                                order_routing, around every send
      store halt                          send_begin += 1
      full fence                          full fence
      b = send_begin                      load halt: send or refuse
      wait until send_end >= b            send_end = send_begin
        or order_routing is dead

If order_routing's load missed the token, its store of send_begin came before the load of b, and HALT waits for
that send; else it refuses. A new order_routing sets send_end = send_begin before it publishes its pid, so the end
of a life that was killed in mid-send is never waited for.

Two that halt at the same moment may both store a token; one stays, either halts, and who and why may then be one of
each. H7 makes both TRADING_STATEs harmless, and an operator's stop clears only the token that it saw.
"""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path
from typing import Final

from actors.mapped import MappedPage, create_page, fence, process_lives, process_start
from protocol.errors import SeawallError

LATCH_NAME: Final = "latch"
MAGIC: Final = int.from_bytes(b"SWLATCH1", "little")
BOOT_ID_BYTES: Final = 16
WHO: Final = slice(512, 512 + 64)
REASON: Final = slice(1024, 1024 + 512)
QUIET_POLL_S: Final = 0.0002
"""Between two looks at send_end; a send takes some tens of microseconds."""

_MAGIC, _HALT, _SEND_BEGIN, _SEND_END, _PID, _START, _CLEARED, _SINCE, _BOOT = range(9)
_JOURNAL_FAILED: Final = 10
_BOOT_BYTES: Final = slice(_BOOT * 8, _BOOT * 8 + BOOT_ID_BYTES)


class LatchError(SeawallError):
    """The latch page is not one. The operator's: without it nothing may trade."""

    def __init__(self, path: Path, found: str) -> None:
        self.path, self.found = path, found
        super().__init__(
            f"{path} is no latch page: {found}. It was damaged, or is of another version. Stop the engine, keep a "
            "copy, remove the file: over a journal with records the next start makes a new one and comes up HALTED."
        )


class SyncTicket:
    """One request that the page reach the disk; see Latch.start_sync."""

    def __init__(self, syncer: _Syncer, number: int) -> None:
        self._syncer, self._number = syncer, number

    def wait(self, timeout_s: float) -> bool:
        """Whether everything stored before the request is on disk; False after `timeout_s`, or if the sync failed."""
        return self._syncer.wait(self._number, timeout_s)


class Latch:
    """The page, open. One object may be used by several threads; order_routing's side by one process at a time."""

    def __init__(self, path: Path, *, was_created: bool = False) -> None:
        """Opens an existing page. Raises: FileNotFoundError, LatchError."""
        self.path = path
        self.was_created = was_created
        try:
            self._page = MappedPage(path)
        except ValueError as error:
            raise LatchError(path, str(error)) from error
        self._words = self._page.words
        found = self._words[_MAGIC]
        if found != MAGIC:
            self._page.close()
            raise LatchError(path, f"it begins with {found.to_bytes(8, 'little')!r}")
        self._syncer = _Syncer(self._page)

    @classmethod
    def create_or_open(cls, path: Path, *, over_journal: bool = False) -> Latch:
        """The page at `path`, created and synced if there was none.

        over_journal: the journal is not empty. A page that had to be created is then halted before its name appears:
        a HALT may have been lost with the old one (H5), and a crash in between cannot lose this one.
        Raises: LatchError; OSError if it cannot be created.
        """
        if path.exists():
            return cls(path)
        content = _content(_new_token(), "supervisor", "latch page was missing") if over_journal else _content()
        created = create_page(path, content)
        return cls(path, was_created=created)

    def close(self) -> None:
        """A sync that hangs keeps the page mapped until the process ends."""
        if self._syncer.is_idle():
            self._page.close()

    # Whether trading is halted.

    @property
    def halt_token(self) -> int:
        return self._words[_HALT]

    @property
    def cleared_token(self) -> int:
        return self._words[_CLEARED]

    def set_cleared(self, token: int) -> None:
        """What the fold says: `token` is that of the last ENGINE_RUN(stop, by operator), 0 if there is none."""
        self._words[_CLEARED] = token

    def is_halted(self) -> bool:
        """The page's half of H2; the fold's TRADING_STATE is the other."""
        words = self._words
        return words[_HALT] not in (0, words[_CLEARED])

    def who(self) -> str:
        return _text(self._page.bytes[WHO])

    def reason(self) -> str:
        return _text(self._page.bytes[REASON])

    def since_us(self) -> int:
        """When the newest HALT was set, microseconds since the epoch; 0 if never."""
        return self._words[_SINCE]

    @property
    def boot_id(self) -> bytes:
        """The run that last used the page; zeros if none said so."""
        return bytes(self._page.bytes[_BOOT_BYTES])

    def set_boot_id(self, boot_id: bytes) -> None:
        self._page.bytes[_BOOT_BYTES] = boot_id.ljust(BOOT_ID_BYTES, b"\0")[:BOOT_ID_BYTES]

    # The journal's failure: wal's side.

    @property
    def journal_failed_us(self) -> int:
        """When the journal's file failed that must not be written again; 0 if there is none."""
        return self._words[_JOURNAL_FAILED]

    def note_journal_failure(self) -> None:
        """The next wal, of whatever start, copies the journal before it writes; on disk only after a sync."""
        self._words[_JOURNAL_FAILED] = time.time_ns() // 1000

    def forget_journal_failure(self) -> None:
        """The journal has gone on in a new file, and that is on disk. Raises: OSError."""
        self._words[_JOURNAL_FAILED] = 0
        self._page.sync()

    # HALT: the gateway's side, and anyone's.

    def halt(self, by: str, reason: str) -> int:
        """Trading is halted; returns the token in force. If it is halted already, nothing is written."""
        if self.is_halted():
            return self._words[_HALT]
        words, view = self._words, self._page.bytes
        token = _new_token(words[_CLEARED])
        words[_SINCE] = time.time_ns() // 1000
        view[WHO] = _padded(by, WHO)
        view[REASON] = _padded(reason, REASON)
        fence()
        words[_HALT] = token
        fence()
        return words[_HALT]

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """True: no send is under way that began before the halt was seen. False: `timeout_s` is over and one is.

        To be called after `halt`, by the same thread.
        """
        fence()
        words = self._words
        begun = words[_SEND_BEGIN]
        deadline = time.monotonic() + timeout_s
        while words[_SEND_END] < begun:
            if not self.router_lives():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(QUIET_POLL_S)
        return True

    def router_lives(self) -> bool:
        """Whether the order_routing that last took over is alive."""
        words = self._words
        return process_lives(words[_PID], words[_START])

    def sync(self) -> None:
        """The page is on disk. Raises: OSError."""
        self._page.sync()

    def start_sync(self) -> SyncTicket:
        """A helper thread syncs the page, so that HALT can wait for the quiet and for the disk at once (H5)."""
        return SyncTicket(self._syncer, self._syncer.request())

    def sync_in_background(self, timeout_s: float) -> bool:
        """Whether the page reached the disk within `timeout_s`; the sync goes on if it did not."""
        return self.start_sync().wait(timeout_s)

    # order_routing's side.

    def adopt_router(self, pid: int) -> None:
        """Process `pid` is order_routing from here on; what an earlier life had begun counts as ended (H4)."""
        words = self._words
        words[_PID] = 0
        words[_SEND_END] = words[_SEND_BEGIN]
        words[_START] = process_start(pid)
        fence()
        words[_PID] = pid

    def begin_send(self) -> bool:
        """Whether sending is allowed. `end_send` follows in either case: a False still brackets what H6 lets pass."""
        words = self._words
        words[_SEND_BEGIN] += 1
        fence()
        return words[_HALT] in (0, words[_CLEARED])

    def end_send(self) -> None:
        words = self._words
        words[_SEND_END] = words[_SEND_BEGIN]


def halt_page(run_dir: Path, by: str, reason: str) -> int:
    """The page of `run_dir` is halted and on disk, whether or not an engine runs there; returns the token in force.

    For the CLI, when the gateway does not answer. Raises: FileNotFoundError if there is no such directory;
    LatchError; OSError if the page cannot be created or synced (it may be halted all the same).
    """
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such run directory")
    latch = Latch.create_or_open(run_dir / LATCH_NAME)
    try:
        token = latch.halt(by, reason)
        latch.sync()
        return token
    finally:
        latch.close()


class _Syncer:
    """At most one helper thread and one fsync under way, however many ask: a hung disk costs one thread.

    A failure is final: Linux may mark the page clean after it, and the next fsync would succeed without a write.
    """

    def __init__(self, page: MappedPage) -> None:
        self._page = page
        self._changed = threading.Condition()
        self._requested = self._done = 0
        self._running = self._failed = False

    def request(self) -> int:
        with self._changed:
            self._requested += 1
            if not self._running and not self._failed:
                self._running = True
                threading.Thread(target=self._run, name="latch-sync", daemon=True).start()
            return self._requested

    def wait(self, number: int, timeout_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._done >= number, timeout_s)
            return self._done >= number

    def is_idle(self) -> bool:
        with self._changed:
            return not self._running

    def _run(self) -> None:
        while (number := self._next()) is not None:
            try:
                self._page.sync()
            except OSError:
                self._end(number, failed=True)
            else:
                self._end(number, failed=False)

    def _next(self) -> int | None:
        """What the next sync covers; None, and the thread ends, if there is nothing left to do."""
        with self._changed:
            if self._failed or self._done == self._requested:
                self._running = False
                return None
            return self._requested

    def _end(self, number: int, *, failed: bool) -> None:
        with self._changed:
            if failed:
                self._failed = True
            else:
                self._done = number
            self._changed.notify_all()


def _new_token(cleared: int = 0) -> int:
    """63 random bits, so that it is a signed integer everywhere; neither 0 nor the cleared one."""
    while (token := secrets.randbits(63)) in (0, cleared):
        pass
    return token


def _content(token: int = 0, by: str = "", reason: str = "") -> bytes:
    """The bytes of a new page: halted if there is a token."""
    page = bytearray(REASON.stop)
    words = memoryview(page).cast("Q")
    words[_MAGIC], words[_HALT] = MAGIC, token
    words[_SINCE] = time.time_ns() // 1000 if token else 0
    words.release()
    page[WHO], page[REASON] = _padded(by, WHO), _padded(reason, REASON)
    return bytes(page)


def _padded(text: str, field: slice) -> bytes:
    size = field.stop - field.start
    return text.replace("\0", " ").encode("utf-8", "replace")[:size].ljust(size, b"\0")


def as_kept(reason: str) -> str:
    """What the page keeps of it."""
    return _text(_padded(reason, REASON))


def _text(field: memoryview | bytes) -> str:
    """The text of a field; a character that was cut in its middle is left out."""
    return bytes(field).rstrip(b"\0").decode("utf-8", "ignore")
