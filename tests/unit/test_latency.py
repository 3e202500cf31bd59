"""Latencies as counters: what is noted, what is read back."""

from __future__ import annotations

import pytest

from protocol.latency import JOURNAL_SYNC, LONGER_US, TICK_TO_ORDER, LatencyCounters, is_latency, read_latencies


def counted(*took_us: int) -> dict[str, int]:
    counters = {"syncs": 3}
    latency = LatencyCounters(counters, JOURNAL_SYNC)
    for one in took_us:
        latency.note(one)
    return counters


@pytest.mark.parametrize(("took_us", "index"), [(0, 0), (50, 0), (51, 1), (1_000_000, 13), (1_000_001, 14)])
def test_each_is_counted_under_the_bound_that_it_did_not_exceed(took_us: int, index: int) -> None:
    found = read_latencies(counted(took_us), JOURNAL_SYNC)
    assert found is not None
    assert [at for at, count in enumerate(found.counts) if count] == [index]
    assert found.sum_us == took_us


def test_quantiles_are_bounds_that_were_not_exceeded() -> None:
    found = read_latencies(counted(*[80] * 98, 4_000, 7_000_000), JOURNAL_SYNC)
    assert found is not None
    assert (found.quantile_us(0.5), found.quantile_us(0.99), found.quantile_us(1.0)) == (100, 5_000, LONGER_US)


def test_of_nothing_there_is_no_quantile_and_of_another_process_no_latency() -> None:
    found = read_latencies(counted(), JOURNAL_SYNC)
    assert found is not None
    assert found.quantile_us(0.5) is None
    assert read_latencies(counted(), TICK_TO_ORDER) is None
    assert [name for name in counted() if not is_latency(name)] == ["syncs"]


def test_a_new_life_counts_anew_and_nothing_is_subtracted_from_it() -> None:
    before, after, reborn = (
        read_latencies(counted(*took), JOURNAL_SYNC) for took in ([80, 80], [80, 80, 400], [80])
    )
    assert before is not None
    assert after is not None
    assert reborn is not None
    assert (sum(after.since(before).counts), after.since(before).sum_us) == (1, 400)
    assert reborn.since(before) == reborn
    assert after.since(None) == after
