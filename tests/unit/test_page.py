"""Health pages: what a killed writer leaves, what a torn sector says, and that nothing acknowledged is forgotten."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.mapped import PAGE_BYTES, MappedPage
from actors.page import (
    SLOT_BYTES,
    Activity,
    Health,
    HealthPage,
    forget_acknowledged,
    is_alive,
    known_lsn,
    read_health,
)

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
JOURNAL = bytes(range(16))
OTHER = bytes(range(16, 32))

ACKNOWLEDGER = """
import mmap, os, sys
from pathlib import Path
from actors.page import HealthPage
page = HealthPage.open(Path(sys.argv[1]), writable=True)
file = open(sys.argv[2], "r+b")
board = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
journal_id = bytes(range(16))
page.begin_life(page.next_incarnation, os.getpid())
lsn = 0
while True:
    lsn += 1
    page.loop()
    page.acknowledge(journal_id, lsn, lsn & 0xFFFFFFFF)
    if lsn > board[0]:
        board[0] = lsn
"""
"""Folds from LSN 1 in every life and tells on the board what it surely acknowledged."""

SLEEPER = """
import os, sys
from pathlib import Path
from actors.page import HealthPage
page = HealthPage.open(Path(sys.argv[1]), writable=True)
page.begin_life(1, os.getpid())
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pages" / "risk.page"


@pytest.fixture
def page(path: Path) -> Iterator[HealthPage]:
    made = HealthPage.open(path, writable=True)
    yield made
    made.close()


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_reader_sees_what_the_writer_said(path: Path, page: HealthPage) -> None:
    before_ns = time.monotonic_ns()
    page.begin_life(3, os.getpid())
    page.loop()
    page.loop()
    page.set_activity(Activity.SYNCING)
    page.set_queue_depth(17)
    page.set_market(OTHER, 12)
    page.acknowledge(JOURNAL, 42, 0xDEADBEEF)
    reader = HealthPage.open(path, writable=False)
    health = reader.read()
    assert (health.incarnation, health.pid, health.loops, health.queue_depth) == (3, os.getpid(), 2, 17)
    assert health.activity is Activity.SYNCING
    assert before_ns <= health.progress_ns <= health.since_ns <= time.monotonic_ns()
    assert (health.market_epoch, health.market_position) == reader.market() == (OTHER, 12)
    assert health.acknowledged == (JOURNAL, 42, 0xDEADBEEF)
    assert health == read_health(path)
    assert health.is_alive
    assert reader.next_incarnation == 4
    reader.close()


def test_a_reader_cannot_write(path: Path, page: HealthPage) -> None:
    reader = HealthPage.open(path, writable=False)
    with pytest.raises(TypeError):
        reader.loop()
    reader.close()


def test_a_new_life_forgets_its_turns_but_neither_lsn_nor_market(path: Path, page: HealthPage) -> None:
    page.begin_life(1, os.getpid())
    page.loop()
    page.set_queue_depth(5)
    page.set_market(OTHER, 99)
    page.acknowledge(JOURNAL, 1000, 1)
    again = HealthPage.open(path, writable=True)
    again.begin_life(again.next_incarnation, os.getpid())
    health = again.read()
    assert (health.incarnation, health.loops, health.queue_depth) == (2, 0, 0)
    assert health.activity is Activity.STARTING
    assert again.market() == (OTHER, 99)
    assert again.acknowledged(JOURNAL) == 1000
    again.close()


def test_the_page_says_whose_journal_it_speaks_of(page: HealthPage) -> None:
    assert page.acknowledged(b"") == 0
    page.acknowledge(JOURNAL, 10, 1)
    assert (page.acknowledged(JOURNAL), page.acknowledged(OTHER), page.acknowledged(b"")) == (10, 0, 10)
    page.acknowledge(OTHER, 3, 1)
    assert (page.acknowledged(JOURNAL), page.acknowledged(OTHER), page.acknowledged(b"")) == (0, 3, 3)


@given(steps=st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60)
def test_the_acknowledged_lsn_never_goes_down_within_a_journal(steps: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.page"
        page = HealthPage.open(path, writable=True)
        page.acknowledge(OTHER, 1_000, 1)
        highest = 0
        for lsn, dies_after in steps:
            page.acknowledge(JOURNAL, lsn, lsn)
            highest = max(highest, lsn)
            assert page.acknowledged(JOURNAL) == highest
            assert page.read().acknowledged == (JOURNAL, highest, highest)
            if dies_after:
                page.close()
                page = HealthPage.open(path, writable=True)
        page.close()


@pytest.mark.parametrize("cut", range(SLOT_BYTES + 1))
@pytest.mark.parametrize("from_start", [True, False], ids=["first bytes stored", "last bytes stored"])
def test_a_store_that_was_cut_off_leaves_the_lsn_before(
    path: Path, page: HealthPage, cut: int, from_start: bool
) -> None:
    page.acknowledge(JOURNAL, 0x1122334455667788, 1)
    page.acknowledge(JOURNAL, 0x1122334455667799, 2)
    before = path.read_bytes()
    page.acknowledge(JOURNAL, 0x2233445566778899, 3)
    after = path.read_bytes()
    changed = [index for index in range(PAGE_BYTES) if before[index] != after[index]]
    assert changed[0] // 512 == changed[-1] // 512 == 1
    slot = 512 + (changed[0] - 512) // SLOT_BYTES * SLOT_BYTES
    split = slot + (cut if from_start else SLOT_BYTES - cut)
    torn = after[:split] + before[split:] if from_start else before[:split] + after[split:]
    path.with_name("torn.page").write_bytes(torn)
    whole = torn == after
    expected = 0x2233445566778899 if whole else 0x1122334455667799
    assert known_lsn(path.parent, ["torn"], JOURNAL) == expected


def test_a_sector_that_is_torn_throughout_reads_as_nothing(path: Path, page: HealthPage) -> None:
    page.acknowledge(JOURNAL, 10, 1)
    page.acknowledge(JOURNAL, 11, 1)
    content = bytearray(path.read_bytes())
    for start_of_slot in (512, 512 + SLOT_BYTES):
        content[start_of_slot + 16] ^= 1
    path.write_bytes(content)
    assert known_lsn(path.parent, ["risk"], JOURNAL) == 0
    assert known_lsn(path.parent, ["risk"], b"") == 0
    assert read_health(path).acknowledged.lsn == 0


def test_a_killed_writer_leaves_all_that_it_had_acknowledged(path: Path, tmp_path: Path) -> None:
    board_path = tmp_path / "board"
    board_path.write_bytes(bytes(PAGE_BYTES))
    with board_path.open("r+b") as file:
        board = memoryview(mmap.mmap(file.fileno(), PAGE_BYTES)).cast("Q")
    for life in range(1, 6):
        process = start(ACKNOWLEDGER, path, board_path)
        try:
            wait_until_past(board, board[0] + 200)
            assert read_health(path).incarnation == life
            assert is_alive(path)
        finally:
            process.kill()
            process.communicate()
        assert known_lsn(path.parent, ["risk"], JOURNAL) >= board[0] > 0
        assert not is_alive(path)


def wait_until_past(board: memoryview, lsn: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while board[0] <= lsn:
        assert time.monotonic() < deadline, "the writer does not get on"
        os.sched_yield()


def test_a_zombie_and_a_recycled_pid_are_not_alive(path: Path, page: HealthPage) -> None:
    process = start(SLEEPER, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert is_alive(path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(path)
    process.communicate()
    page.begin_life(2, os.getpid())
    assert is_alive(path)
    page._page.words[3] += 1
    assert not is_alive(path)


GARBAGE = {
    "empty": b"",
    "short": b"SWPAGE01",
    "zeros": bytes(PAGE_BYTES),
    "ones": b"\xff" * PAGE_BYTES,
    "another version": b"SWPAGE02" + b"\x01" * (PAGE_BYTES - 8),
    "text": b"not a page at all\n" * 500,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_reads_as_zeros_and_a_writer_starts_afresh(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert read_health(path) == Health()
    assert not is_alive(path)
    assert known_lsn(path.parent, ["risk"], JOURNAL) == known_lsn(path.parent, ["risk"], b"") == 0
    page = HealthPage.open(path, writable=True)
    assert page.next_incarnation == 1
    page.acknowledge(JOURNAL, 5, 5)
    assert known_lsn(path.parent, ["risk"], JOURNAL) == 5
    page.close()


def test_garbage_under_an_open_reader_reads_as_zeros(path: Path, page: HealthPage) -> None:
    page.acknowledge(JOURNAL, 5, 5)
    page.set_market(OTHER, 7)
    reader = HealthPage.open(path, writable=False)
    with path.open("r+b") as file:
        file.write(b"garbage!")
    assert reader.read() == Health()
    assert reader.acknowledged(JOURNAL) == 0
    assert reader.market() == (b"", 0)
    reader.close()


@given(content=st.binary(max_size=200))
@settings(max_examples=100)
def test_no_content_makes_a_reader_fall(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.page"
        path.write_bytes((b"SWPAGE01" + content * 40).ljust(PAGE_BYTES, content[:1] or b"\0")[:PAGE_BYTES])
        assert read_health(path).activity in Activity
        assert not is_alive(path)
        assert known_lsn(path.parent, ["x"], b"") == 0


def test_what_is_known_is_the_most_that_any_child_knew(tmp_path: Path) -> None:
    for name, journal_id, lsn in (("risk", JOURNAL, 7), ("order_routing", JOURNAL, 9), ("gateway", OTHER, 50)):
        page = HealthPage.open(tmp_path / f"{name}.page", writable=True)
        page.acknowledge(journal_id, lsn, 1)
        page.close()
    names = ["risk", "order_routing", "gateway", "never_started"]
    assert known_lsn(tmp_path, names, JOURNAL) == 9
    assert known_lsn(tmp_path, names, OTHER) == 50
    assert known_lsn(tmp_path, names, b"") == 50
    assert known_lsn(tmp_path, [], JOURNAL) == 0
    forget_acknowledged(tmp_path, names)
    assert known_lsn(tmp_path, names, b"") == 0
    assert not (tmp_path / "never_started.page").exists()


def test_forgetting_what_was_acknowledged_leaves_the_life_alone(
    path: Path, page: HealthPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.begin_life(4, os.getpid())
    page.acknowledge(JOURNAL, 10, 1)
    at_sync: list[int] = []
    monkeypatch.setattr(MappedPage, "sync", lambda _: at_sync.append(known_lsn(path.parent, ["risk"], b"")))
    page.zero_and_sync()
    assert at_sync == [0]
    assert (page.next_incarnation, page.read().is_alive) == (5, True)
    page.acknowledge(JOURNAL, 2, 1)
    assert page.acknowledged(JOURNAL) == 2


def test_a_market_that_was_taken_back_is_none(page: HealthPage) -> None:
    assert page.market() == (b"", 0)
    page.set_market(JOURNAL, 500)
    page.set_market(b"", 0)
    assert page.market() == (b"", 0)
    assert page.read().market_epoch == b""


def test_a_position_is_never_read_with_another_markets_epoch(page: HealthPage) -> None:
    page.set_market(JOURNAL, 500)
    seen: list[tuple[bytes, int]] = []
    page._words = Spy(page._words, lambda: seen.append(page.market()))  # type: ignore[assignment]
    page.set_market(OTHER, 3)
    assert seen == [(JOURNAL, 0), (OTHER, 3)]


class Spy:
    """The page's words, calling back after each store."""

    def __init__(self, words: memoryview, after: object) -> None:
        self.words, self.after = words, after

    def __getitem__(self, index: int) -> int:
        return self.words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.words[index] = value
        self.after()  # type: ignore[operator]
