"""Births, and what comes between: a real nursery, asked by a loop that turns when the test wants it to."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import ROOT, config_tree, to_toml, wait_for

from actors.base import ChildSpec, Loop
from actors.page import HealthPage
from protocol.settings import parse_config
from supervisor import lives
from supervisor.lives import Nursery, ProcessLife

CONFIG = parse_config(to_toml(config_tree()))


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def error(self, event: str, **facts: Any) -> None:
        self.lines.append({"event": event, **facts})


class Supervising:
    """As much of a supervisor as births need."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.page = HealthPage.open(directory / f"page-{id(self)}", writable=True)
        self.loop = Loop(self.page)
        self.log = Log()
        self.born: list[ProcessLife] = []
        self.nursery = Nursery(self.loop, CONFIG, self.log, self.born.append)

    def life(self, name: str = "risk") -> ProcessLife:
        """Of a child that ends at once: its run_dir is not there."""
        spec = ChildSpec(
            name=name, incarnation=1, boot_id=bytes(16), parent_pid=os.getpid(), ipc_dir=str(self.directory),
            ends_after=(), control_endpoint="", config=CONFIG,
        )  # fmt: skip
        return ProcessLife(spec, 2, self.nursery)

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_for(lambda: condition() or self.loop.turn(), what)

    def nursery_pid(self) -> int:
        assert self.nursery._process is not None
        return self.nursery._process.process.pid

    def close(self) -> None:
        self.nursery.close()
        for life in self.born:
            life.send_signal(signal.SIGKILL)
            wait_for(lambda life=life: life.exit_code() is not None, "its end")
            life.close()
        self.page.close()


@pytest.fixture
def supervising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Supervising]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made: list[Supervising] = []

    def make() -> Supervising:
        made.append(Supervising(tmp_path))
        return made[-1]

    descriptors, children = len(os.listdir("/proc/self/fd")), psutil.Process().children()
    yield make
    for one in made:
        one.close()
    assert psutil.Process().children() == children, "a process is left, or a zombie"
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_life_that_is_given_up_before_it_is_born_leaves_nothing(supervising: Callable[[], Supervising]) -> None:
    one = supervising()
    unwanted, wanted = one.life(), one.life()
    unwanted.send_signal(signal.SIGTERM)
    assert unwanted.exit_code() == -signal.SIGTERM
    one.until(lambda: wanted.pid, "the next birth")
    assert not unwanted.pid
    assert one.born == [wanted]


def test_what_is_asked_for_when_all_ends_is_not_left(supervising: Callable[[], Supervising]) -> None:
    one = supervising()
    first, second, third = one.life(), one.life(), one.life()
    one.until(lambda: first.pid, "the first birth")
    one.close()
    assert [life.exit_code() for life in (second, third)] == [-signal.SIGKILL] * 2


def test_only_the_life_that_was_asked_for_ends_with_the_nursery(supervising: Callable[[], Supervising]) -> None:
    one = supervising()
    first, second = one.life("risk"), one.life("wal")
    os.kill(one.nursery_pid(), signal.SIGKILL)
    one.until(lambda: second.pid, "the birth of who waited")
    assert first.exit_code() == -signal.SIGKILL
    assert [(line["event"], line.get("name")) for line in one.log.lines] == [
        ("nursery_ended", None), ("birth_failed", "risk"),
    ]  # fmt: skip


def test_two_engines_in_one_process_take_no_births_from_each_other(supervising: Callable[[], Supervising]) -> None:
    one, other = supervising(), supervising()
    here, there = one.life(), other.life()
    one.until(lambda: here.pid, "a birth")
    one.nursery.close()
    other.until(lambda: there.pid, "the other's")
    assert psutil.Process(there.pid).ppid() == os.getpid()


def test_more_lives_than_a_socket_holds_requests_are_born_all(supervising: Callable[[], Supervising]) -> None:
    one = supervising()
    many = [one.life() for _ in range(300)]
    for life in many[1:-1]:
        life.send_signal(signal.SIGKILL)
    one.until(lambda: many[0].pid and many[-1].pid, "the first and the last")
    assert not one.log.lines


def test_a_system_that_has_no_process_left_is_a_death_of_the_child(
    supervising: Callable[[], Supervising], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(lives, "begin_nursery", refused)
    one = supervising()
    life = one.life()
    assert life.exit_code() == -signal.SIGKILL
    (line,) = one.log.lines
    assert (line["event"], line["name"]) == ("birth_failed", "risk")
    assert "Resource temporarily unavailable" in line["error"]
