"""How fast one may send: the buckets and the repeated orders at their boundaries, and over a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import throttle as module
from actors.throttle import Throttle
from protocol.units import MICROS

START_US = 1_700_000_000_000_000
KEY, OTHER = (0, 0, 0, 0, 5), (0, 0, 1, 0, 5)


def orders_left(throttle: Throttle, now_us: int) -> int:
    return throttle.look(now_us, KEY).orders


def test_a_seconds_worth_may_go_at_once_and_then_one_by_one() -> None:
    throttle = Throttle(orders=4, messages=None, repeats=None, window_us=MICROS)
    for left in (4, 3, 2, 1):
        assert orders_left(throttle, START_US) == left
        throttle.took_order(START_US, KEY)
    assert orders_left(throttle, START_US) == 0
    assert orders_left(throttle, START_US + 249_999) == 0
    assert orders_left(throttle, START_US + 250_000) == 1
    assert orders_left(throttle, START_US + 3_600 * MICROS) == 4


@given(st.integers(1, 50), st.lists(st.integers(0, 2 * MICROS), max_size=200))
def test_no_stretch_of_time_has_more_orders_than_a_second_and_its_length_allow(rate: int, gaps: list[int]) -> None:
    throttle = Throttle(orders=rate, messages=None, repeats=None, window_us=MICROS)
    now_us, sent = START_US, []
    for gap in gaps:
        now_us += gap
        if orders_left(throttle, now_us):
            throttle.took_order(now_us, KEY)
            sent.append(now_us)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert (last - first + 1 - rate) * MICROS <= (sent[last] - sent[first]) * rate


def test_cancels_count_as_messages_and_what_may_not_be_refused_is_owed() -> None:
    throttle = Throttle(orders=None, messages=2, repeats=None, window_us=MICROS)
    for _ in range(3):
        throttle.took_message(START_US)
    assert throttle.look(START_US + 500_000, KEY).messages == 0
    assert throttle.look(START_US + MICROS, KEY).messages == 1
    for _ in range(100):
        throttle.took_message(START_US + MICROS)
    assert throttle.look(START_US + 3 * MICROS, KEY).messages == 2, "a flood of cancels is forgotten after two seconds"


def test_a_clock_that_goes_back_gives_nothing() -> None:
    throttle = Throttle(orders=1, messages=None, repeats=None, window_us=MICROS)
    throttle.took_order(START_US, KEY)
    assert orders_left(throttle, START_US - 3_600 * MICROS) == 0
    assert orders_left(throttle, START_US - 3_599 * MICROS) == 1, "and it goes on from there"


def test_behind_a_checkpoint_the_first_second_counts_as_used_up() -> None:
    throttle = Throttle(orders=5, messages=5, repeats=None, window_us=MICROS)
    throttle.begin_behind(START_US)
    assert throttle.look(START_US, KEY)[:2] == (0, 0)
    assert throttle.look(START_US + MICROS, KEY)[:2] == (5, 5)


def test_behind_a_checkpoint_every_order_counts_as_repeated_for_a_window() -> None:
    throttle = Throttle(orders=None, messages=None, repeats=3, window_us=1000)
    throttle.begin_behind(START_US)
    assert throttle.look(START_US + 999, KEY).repeats == module.REMEMBERED_MAX
    assert throttle.look(START_US + 1000, KEY).repeats == 0


def test_an_order_is_the_same_as_long_as_the_window_is_not_over() -> None:
    throttle = Throttle(orders=None, messages=None, repeats=2, window_us=1000)
    for now_us in (START_US, START_US + 10):
        throttle.took_order(now_us, KEY)
    assert throttle.look(START_US + 999, KEY).repeats == 2
    assert throttle.look(START_US + 999, OTHER).repeats == 0
    assert throttle.look(START_US + 1000, KEY).repeats == 1
    assert throttle.look(START_US + 1010, KEY).repeats == 0


def test_more_orders_than_can_be_remembered_count_as_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    throttle = Throttle(orders=None, messages=None, repeats=2, window_us=1000)
    for number in range(5):
        throttle.took_order(START_US, (number,))
    assert throttle.look(START_US, OTHER).repeats == 3
    assert throttle.look(START_US + 1000, OTHER).repeats == 0


def test_what_is_folded_long_before_the_first_look_leaves_room_for_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    throttle = Throttle(orders=None, messages=None, repeats=2, window_us=1000)
    for number in range(9):
        throttle.took_order(START_US + 2000 * number, OTHER)
    throttle.took_order(START_US + 16_500, KEY)
    assert throttle.look(START_US + 16_600, KEY).repeats == 1


def test_what_it_counted_goes_over_a_crash() -> None:
    throttle = Throttle(orders=3, messages=9, repeats=2, window_us=1000)
    for now_us in (START_US, START_US + 300):
        throttle.took_order(now_us, KEY)
    other = Throttle(orders=3, messages=9, repeats=2, window_us=1000)
    other.put_state(throttle.take_state())
    for now_us in (START_US + 400, START_US + 1100, START_US + 2 * MICROS):
        assert other.look(now_us, KEY) == throttle.look(now_us, KEY)
