"""The one event loop: handlers, timers, what is forgotten, and what an exception does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from streams import Clock, Wire, open_wire, until

from actors.base import Actor, Loop
from actors.frames import receive_all
from actors.page import Activity, HealthPage
from protocol.pipeline import JOURNAL


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with open_wire("inproc", tmp_path) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def loop(wire: Wire, clock: Clock) -> Loop:
    return wire.loop()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_timers_run_in_the_order_of_their_times_and_then_of_their_making(loop: Loop, clock: Clock) -> None:
    ran: list[str] = []
    for delay_s, name in ((0.3, "last"), (0.1, "first"), (0.2, "second"), (0.2, "third")):
        loop.after(delay_s, lambda name=name: ran.append(name))
    loop.turn()
    assert ran == []
    clock.advance(0.3)
    loop.turn()
    assert ran == ["first", "second", "third", "last"]
    clock.advance(10)
    loop.turn()
    assert len(ran) == 4, "after means once"


def test_a_repeated_timer_runs_first_after_one_interval_and_does_not_make_up_for_missed_turns(
    loop: Loop, clock: Clock
) -> None:
    ran: list[float] = []
    loop.every(1.0, lambda: ran.append(clock.now_s))
    loop.turn()
    clock.advance(0.9)
    loop.turn()
    assert ran == []
    for advance_s, count in ((0.1, 1), (5.0, 2), (0.9, 2), (0.1, 3)):
        clock.advance(advance_s)
        loop.turn()
        assert len(ran) == count, f"{advance_s} s later"


def test_a_timer_that_is_set_by_a_timer_waits_its_own_time(loop: Loop, clock: Clock) -> None:
    ran: list[str] = []
    loop.after(0.1, lambda: loop.after(0.1, lambda: ran.append("second")))
    clock.advance(0.1)
    loop.turn()
    loop.turn()
    assert ran == []
    clock.advance(0.1)
    loop.turn()
    assert ran == ["second"]


def test_a_timer_that_raises_stays_set_and_takes_no_other_with_it(loop: Loop, clock: Clock) -> None:
    ran: list[str] = []
    failures = iter([True])

    def fail_once() -> None:
        if next(failures, False):
            raise RuntimeError("a hook's mistake")
        ran.append("repeated")

    loop.every(1.0, fail_once)
    loop.after(1.5, lambda: ran.append("other"))
    clock.advance(1.5)
    with pytest.raises(RuntimeError, match="a hook's mistake"):
        loop.turn()
    clock.advance(1.0)
    loop.turn()
    assert ran == ["other", "repeated"]


def test_what_is_readable_reaches_its_handler_and_the_exception_of_a_handler_reaches_the_caller(
    loop: Loop, clock: Clock, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe

    def read() -> None:
        raise ValueError(os.read(reader, 10).decode())

    loop.on_readable(reader, read)
    loop.turn()
    os.write(writer, b"word")
    with pytest.raises(ValueError, match="word"):
        loop.turn()
    loop.turn()  # it was read, and the loop lives


def test_a_source_that_is_forgotten_in_the_same_turn_is_not_handled(loop: Loop, clock: Clock) -> None:
    ends = [os.pipe(), os.pipe()]
    handled: list[int] = []

    def take(own: int, other: int) -> None:
        handled.append(own)
        loop.forget(other)

    (one, one_writer), (two, two_writer) = ends
    loop.on_readable(one, lambda: take(one, two))
    loop.on_readable(two, lambda: take(two, one))
    for writer in (one_writer, two_writer):
        os.write(writer, b"x")
    loop.turn()
    loop.turn()
    assert len(set(handled)) == 1, "both were readable, and whoever came first forgot the other"
    loop.forget(one)
    loop.forget(one)  # what is not known is forgotten already
    loop.turn()
    for end in (*ends[0], *ends[1]):
        os.close(end)


def test_stop_ends_the_loop_after_the_present_turn(loop: Loop, clock: Clock) -> None:
    ran: list[str] = []
    loop.after(0, lambda: (ran.append("timer"), loop.stop()))  # type: ignore[func-returns-value]
    loop.after(0, lambda: ran.append("a timer after the stop"))
    loop.after_turn(lambda: ran.append("the end of the turn"))
    loop.run()
    assert ran == ["timer", "the end of the turn"]


def test_the_end_of_every_turn_is_told_in_order(loop: Loop, clock: Clock) -> None:
    ran: list[int] = []
    for number in (1, 2):
        loop.after_turn(lambda number=number: ran.append(number))
    loop.turn()
    loop.turn()
    assert ran == [1, 2, 1, 2]


def test_a_turn_is_progress_and_the_page_says_what_the_loop_is_in_the_middle_of(
    wire: Wire, clock: Clock, pipe: tuple[int, int]
) -> None:
    page: HealthPage = wire.page("busy")
    loop, seen = Loop(page), []
    before = page.read()
    loop.on_readable(pipe[0], lambda: seen.append(page.read().activity))
    os.write(pipe[1], b"x")
    loop.turn()
    assert seen == [Activity.WORKING]
    assert page.read().loops == before.loops + 1
    assert page.read().progress_ns >= before.progress_ns


def test_one_socket_cannot_starve_the_others(wire: Wire) -> None:
    router, dealer = wire.router(), wire.dealer("flood#1")
    for number in range(30):
        dealer.send(b"%d" % number)
    got: list[bytes] = []
    until(lambda: router.poll(10), lambda: None)
    first = receive_all(router, limit=10)
    assert [frames[1] for frames in first] == [b"%d" % number for number in range(10)]
    until(lambda: len(got) == 20, lambda: got.extend(frames[1] for frames in receive_all(router, limit=10)))
    assert got == [b"%d" % number for number in range(10, 30)]
    assert receive_all(router) == []
    with pytest.raises(zmq.Again):
        router.recv_multipart(zmq.NOBLOCK)


def test_the_next_life_binds_what_the_last_one_had_bound_before_libzmq_gets_round_to_closing_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zmq.Socket, "close", lambda made, linger: None)
        for life in (1, 2):
            actor = Actor(wire.place("wal", life))
            actor.bind(JOURNAL)
            actor.close_sockets()
