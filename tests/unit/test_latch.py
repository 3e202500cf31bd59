"""The latch page: H2's table, H4's race with a real second process, H5's page that is never replaced."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.latch import REASON, WHO, Latch, LatchError, as_kept, halt_page
from actors.mapped import PAGE_BYTES, MappedPage, process_start

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0

SENDER = """
import mmap, os, sys
from pathlib import Path
from actors.latch import Latch
latch = Latch(Path(sys.argv[1]))
file = open(sys.argv[2], "r+b")
board = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
latch.adopt_router(os.getpid())
while True:
    if latch.begin_send():
        for _ in range(50):
            pass
        board[1] += 1
    latch.end_send()
    board[0] += 1
"""
"""Sends as fast as it can; the board counts attempts (word 0) and sends (word 1), each send before its end."""

STUCK_SENDER = """
import os, sys
from pathlib import Path
from actors.latch import Latch
latch = Latch(Path(sys.argv[1]))
latch.adopt_router(os.getpid())
print(latch.begin_send(), flush=True)
sys.stdin.read()
"""
"""Killed in mid-send."""

CREATOR = """
import os, sys
from pathlib import Path
from actors.latch import Latch
sys.stdin.readline()
latch = Latch.create_or_open(Path(sys.argv[1]))
print(latch.was_created, os.stat(sys.argv[1]).st_ino, flush=True)
"""


@pytest.fixture
def latch(tmp_path: Path) -> Iterator[Latch]:
    made = Latch.create_or_open(tmp_path / "latch")
    yield made
    made.close()


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def wait_for_growth(board: memoryview, word: int, by: int) -> None:
    target = board[word] + by
    deadline = time.monotonic() + DEADLINE_S
    while board[word] < target:
        assert time.monotonic() < deadline, "the sender does not get on"
        os.sched_yield()


# H2: what halted means.


@pytest.mark.parametrize(
    ("halt", "cleared", "halted"),
    [
        pytest.param(0, 0, False, id="never halted"),
        pytest.param(7, 0, True, id="halted, never stopped by an operator"),
        pytest.param(7, 7, False, id="halted, then stopped by an operator"),
        pytest.param(9, 7, True, id="halted again after that"),
        pytest.param(0, 7, False, id="a new page under an old journal's hint"),
        pytest.param(2**63 - 1, 2**63 - 2, True, id="tokens are compared whole"),
    ],
)
def test_halted_means_a_token_that_no_operators_stop_has_seen(
    latch: Latch, halt: int, cleared: int, halted: bool
) -> None:
    latch.set_cleared(cleared)
    latch._words[1] = halt
    assert latch.is_halted() is halted
    assert latch.begin_send() is not halted


def test_the_first_halt_stays_in_force(latch: Latch) -> None:
    token = latch.halt("gateway", "enough")
    assert token != 0
    assert latch.halt("cli", "me too") == token == latch.halt_token
    assert (latch.who(), latch.reason()) == ("gateway", "enough")


def test_a_halt_after_an_operators_stop_has_a_token_of_its_own(latch: Latch) -> None:
    first = latch.halt("gateway", "one")
    latch.set_cleared(first)
    second = latch.halt("risk", "two")
    assert second not in (0, first)
    assert latch.is_halted()
    assert (latch.who(), latch.reason()) == ("risk", "two")


def test_the_halt_outlives_every_process_that_had_the_page_open(tmp_path: Path) -> None:
    first = Latch.create_or_open(tmp_path / "latch")
    before_us = time.time_ns() // 1000
    token = first.halt("gateway", "for good")
    first.close()
    again = Latch.create_or_open(tmp_path / "latch")
    assert (again.was_created, again.halt_token, again.reason()) == (False, token, "for good")
    assert before_us <= again.since_us() <= time.time_ns() // 1000
    again.close()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("Grüße", "Grüße"),
        ("a\0b", "a b"),
        ("x" * 2000, "x" * 512),
        ("é" * 400, "é" * 256),
        ("x" + "é" * 400, "x" + "é" * 255),
        ("\ud800 alone", "? alone"),
    ],
)
def test_any_reason_fits_its_field(latch: Latch, text: str, kept: str) -> None:
    latch.halt("cli", text)
    assert latch.reason() == kept == as_kept(text)
    assert latch.who() == "cli"


def test_who_and_why_stand_in_the_page_before_the_token(latch: Latch, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[str] = []

    class Watched:
        """The page's memory, telling in which order it is stored to."""

        def __init__(self, view: memoryview, names: dict[str, str]) -> None:
            self.view, self.names = view, names

        def __getitem__(self, key: object) -> object:
            return self.view[key]  # type: ignore[index]

        def __setitem__(self, key: object, value: object) -> None:
            stores.append(self.names[str(key)])
            self.view[key] = value  # type: ignore[index]

    page = latch._page
    monkeypatch.setattr(page, "bytes", Watched(page.bytes, {str(WHO): "who", str(REASON): "reason"}))
    monkeypatch.setattr(latch, "_words", Watched(page.words, {"1": "halt", "7": "since"}))
    latch.halt("cli", "order")
    assert stores == ["since", "who", "reason", "halt"]
    monkeypatch.undo()


# H4: no send begins after the reply.


def test_no_send_begins_after_the_wait_for_quiet(tmp_path: Path, latch: Latch) -> None:
    board_path = tmp_path / "board"
    board_path.write_bytes(bytes(PAGE_BYTES))
    with board_path.open("r+b") as file:
        board = memoryview(mmap.mmap(file.fileno(), PAGE_BYTES)).cast("Q")
    sender = start(SENDER, latch.path, board_path)
    try:
        wait_for_growth(board, 0, 1)
        for trial in range(200):
            wait_for_growth(board, 1, 1 + trial % 3)
            token = latch.halt("test", "race")
            assert latch.wait_until_quiet(DEADLINE_S)
            sent = board[1]
            wait_for_growth(board, 0, 3)
            assert board[1] == sent, f"trial {trial}: a send began after the halt was quiet"
            latch.set_cleared(token)
    finally:
        end(sender)


def test_a_send_under_way_is_reported_until_its_process_is_killed(latch: Latch) -> None:
    for _ in range(3):
        sender = start(STUCK_SENDER, latch.path)
        try:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "True\n"
            token = latch.halt("test", "in mid-send")
            assert not latch.wait_until_quiet(0.01)
            # Not reaped: a zombie sends nothing.
            os.kill(sender.pid, signal.SIGKILL)
            assert latch.wait_until_quiet(DEADLINE_S)
            latch.set_cleared(token)
        finally:
            end(sender)


def test_the_next_order_routing_does_not_inherit_a_send(latch: Latch) -> None:
    latch.adopt_router(os.getpid())
    latch.begin_send()
    latch.halt("test", "")
    assert not latch.wait_until_quiet(0.001)
    latch.adopt_router(os.getpid())
    assert latch.router_lives()
    assert latch.wait_until_quiet(0.001)


def test_a_recycled_pid_is_not_order_routing(latch: Latch) -> None:
    latch.adopt_router(os.getpid())
    latch.begin_send()
    assert latch.router_lives()
    latch._words[5] += 1
    assert not latch.router_lives()
    assert latch.wait_until_quiet(0)


def test_it_is_quiet_where_no_order_routing_ever_was(latch: Latch) -> None:
    latch.halt("test", "")
    assert latch.wait_until_quiet(0)
    assert process_start(0) == 0


# H5: created once, synced, never replaced.


def test_of_many_that_create_it_one_does_and_all_share_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "latch"
    processes = [start(CREATOR, path) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=DEADLINE_S)[0].split() for process in processes]
    assert sorted(created for created, _ in answers) == ["False", "False", "False", "True"]
    assert len({inode for _, inode in answers}) == 1
    assert [file.name for file in path.parent.iterdir()] == ["latch"]


def test_a_page_missing_over_a_journal_is_born_halted(tmp_path: Path) -> None:
    lost = Latch.create_or_open(tmp_path / "latch", over_journal=True)
    assert lost.was_created
    assert lost.is_halted()
    assert (lost.who(), lost.reason()) == ("supervisor", "latch page was missing")
    assert lost.since_us() > 0
    lost.close()


def test_a_page_that_is_there_is_not_halted_by_a_journal(latch: Latch) -> None:
    again = Latch.create_or_open(latch.path, over_journal=True)
    assert not again.was_created
    assert not again.is_halted()
    again.close()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 bytes"),
        (b"short", "5 bytes"),
        (bytes(PAGE_BYTES), "begins with"),
        (b"SWLATCH9" + bytes(PAGE_BYTES - 8), "SWLATCH9"),
        (bytes(PAGE_BYTES + 1), "4097 bytes"),
    ],
)
def test_garbage_is_refused_with_what_to_do(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "latch"
    path.write_bytes(content)
    with pytest.raises(LatchError, match=found) as caught:
        Latch.create_or_open(path)
    assert str(path) in str(caught.value)
    assert "remove the file" in str(caught.value)
    assert path.read_bytes() == content


def test_a_hung_disk_does_not_hold_up_the_halt(latch: Latch, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, reached = threading.Event(), threading.Event()
    entered: list[str] = []

    def hung(_: MappedPage) -> None:
        entered.append(threading.current_thread().name)
        reached.set()
        assert disk.wait(DEADLINE_S)

    monkeypatch.setattr(MappedPage, "sync", hung)
    assert not latch.sync_in_background(0.01)
    assert reached.wait(DEADLINE_S)
    tickets = [latch.start_sync() for _ in range(50)]
    assert latch.halt("test", "still works")
    assert entered == ["latch-sync"]
    disk.set()
    assert all(ticket.wait(DEADLINE_S) for ticket in tickets)
    # One more sync covered all fifty that were asked for while the first hung.
    assert len(entered) == 2


def test_a_failed_sync_is_told_and_never_believed_again(latch: Latch, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: MappedPage) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(MappedPage, "sync", broken)
        assert not latch.sync_in_background(DEADLINE_S)
        with pytest.raises(OSError, match="Input/output"):
            latch.sync()
    assert not latch.sync_in_background(DEADLINE_S)


def test_the_page_on_disk_says_what_was_synced(latch: Latch) -> None:
    latch.halt("cli", "on disk")
    assert latch.sync_in_background(DEADLINE_S)
    content = latch.path.read_bytes()
    assert int.from_bytes(content[8:16], "little") == latch.halt_token
    assert content[1024:1032] == b"on disk\0"


# The CLI.


def test_the_cli_halts_a_running_page(latch: Latch) -> None:
    token = halt_page(latch.path.parent, "cli", "gateway is silent")
    assert latch.halt_token == token
    assert latch.is_halted()
    assert not latch.begin_send()


def test_the_cli_halts_an_engine_that_never_ran(tmp_path: Path) -> None:
    halt_page(tmp_path, "cli", "before the start")
    latch = Latch.create_or_open(tmp_path / "latch")
    assert not latch.was_created
    assert latch.is_halted()
    latch.close()


def test_the_cli_makes_no_run_directory_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such run directory"):
        halt_page(tmp_path / "typo", "cli", "")
    assert not (tmp_path / "typo").exists()


def test_the_boot_id_is_kept(latch: Latch) -> None:
    assert latch.boot_id == bytes(16)
    latch.set_boot_id(b"0123456789abcdef")
    again = Latch(latch.path)
    assert again.boot_id == b"0123456789abcdef"
    again.close()


def test_a_failure_of_the_journal_is_noted_until_it_is_forgotten_and_an_old_page_has_none(latch: Latch) -> None:
    assert latch.journal_failed_us == 0
    assert not any(latch.path.read_bytes()[80:512]), "a page of a version that had no such word"
    before = time.time_ns() // 1000
    latch.note_journal_failure()
    again = Latch(latch.path)
    assert again.journal_failed_us >= before
    assert not again.is_halted(), "the note itself halts nobody"
    again.forget_journal_failure()
    again.close()
    assert latch.journal_failed_us == 0
