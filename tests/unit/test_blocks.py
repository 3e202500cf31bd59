"""blocks: the arithmetic that files of all kinds share."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sources.blocks import OhlcPath, bar_block


@pytest.mark.parametrize(
    ("path", "rising", "inner"),
    [
        ("by_close", True, [10, 40]),
        ("by_close", False, [40, 10]),
        ("high_first", True, [40, 10]),
        ("high_first", False, [40, 10]),
        ("low_first", True, [10, 40]),
        ("low_first", False, [10, 40]),
    ],
)
def test_the_order_of_high_and_low_is_what_the_config_assumes(path: OhlcPath, rising: bool, inner: list[int]) -> None:
    opened, close = (20, 30) if rising else (30, 20)
    prices = [np.array([price]) for price in (opened, 40, 10, close)]
    block = bar_block(np.array([1000]), 7, prices, None, np.array([4]), path)
    bids = [row[3] for row in struct.iter_unpack("<BIQqq", block.records.tobytes())]
    assert bids == [opened, *inner, close]


@given(
    volume=st.integers(min_value=0, max_value=2**63 - 1),
    rising=st.booleans(),
    interval_us=st.integers(min_value=4, max_value=86_400_000_000),
)
def test_a_bar_gives_four_ticks_whose_volumes_sum_exactly(volume: int, rising: bool, interval_us: int) -> None:
    opened, close = (20, 30) if rising else (30, 20)
    prices = [np.array([price]) for price in (opened, 40, 10, close)]
    block = bar_block(np.array([1000]), 7, prices, np.array([volume]), np.array([interval_us]))
    decoded = list(struct.iter_unpack("<BIQqq", block.records.tobytes()))
    inner = [10, 40] if rising else [40, 10]
    assert [bid for *_, bid, _ in decoded] == [ask for *_, ask in decoded] == [opened, *inner, close]
    assert block.times.tolist() == [1000 + interval_us * quarter // 4 for quarter in range(4)]
    assert [row[:3] for row in decoded] == [(0, 7, time_us) for time_us in block.times.tolist()]
    assert block.volumes is not None
    volumes = block.volumes.tolist()
    assert sum(volumes) == volume
    assert max(volumes) - min(volumes) <= 1
