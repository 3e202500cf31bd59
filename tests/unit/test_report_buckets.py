"""Values over time in a bounded number of buckets: nothing that a chart shows is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from supervisor.report.buckets import Buckets


def test_a_bucket_has_the_lowest_the_highest_and_the_last_of_its_span() -> None:
    buckets = Buckets(4)
    buckets.add(np.array([100, 101, 102, 103]), np.array([5.0, 6.0, 7.0, 8.0]))
    assert buckets.width_us == 1
    buckets.add(np.array([105, 107]), np.array([1.0, 9.0]))
    assert (buckets.start_us, buckets.width_us, buckets.end_us, buckets.count) == (100, 2, 107, 6)
    assert buckets.low.tolist() == [5.0, 7.0, 1.0, 9.0]
    assert buckets.high.tolist() == [6.0, 8.0, 1.0, 9.0]
    assert buckets.last.tolist() == [6.0, 8.0, 1.0, 9.0]


def test_a_span_without_values_is_empty() -> None:
    buckets = Buckets(4)
    buckets.add(np.array([0, 1000]), np.array([1.0, 2.0]))
    assert buckets.filled.tolist() == [0, 3]
    buckets.add(np.array([], np.int64), np.array([]))
    assert buckets.count == 2


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(-100, 100)), min_size=1, max_size=80),
    st.lists(st.integers(0, 80), max_size=5),
    st.sampled_from([2, 6, 16]),
)
def test_buckets_are_those_of_all_values_at_once_however_the_values_come(
    points: list[tuple[int, int]], cuts: list[int], size: int
) -> None:
    times = np.cumsum([gap for gap, _ in points])
    values = np.array([value for _, value in points], np.float64)
    buckets = Buckets(size)
    edges = [0, *sorted(cuts), len(points)]
    for first, last in pairwise(edges):
        buckets.add(times[first:last], values[first:last])
    numbers = (times - times[0]) // buckets.width_us
    assert buckets.width_us & (buckets.width_us - 1) == 0
    assert buckets.width_us == 1 or (times[-1] - times[0]) // (buckets.width_us // 2) >= size, "no wider than needed"
    assert buckets.filled.tolist() == sorted(set(numbers.tolist()))
    for number in buckets.filled.tolist():
        held = values[numbers == number]
        assert (buckets.low[number], buckets.high[number], buckets.last[number]) == (held.min(), held.max(), held[-1])
