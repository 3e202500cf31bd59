"""synthetic: seeded, sane for weeks, never crossed."""

from __future__ import annotations

import struct
from collections import Counter
from decimal import Decimal

import pytest

from actors.sources.synthetic import START_TICKS, SyntheticSource
from protocol.errors import ConfigError
from protocol.settings import InstrumentSettings, MarketDataSettings

IDS = {"AAA": 4, "BBB": 9}


def instruments(tick_size: str = "0.00001") -> list[InstrumentSettings]:
    return [InstrumentSettings(symbol=symbol, tick_size=Decimal(tick_size), lot_size=Decimal(1)) for symbol in IDS]


def source(
    seed: int = 1, incarnation: int = 1, volatility: float = 0.0001, tick_size: str = "0.00001"
) -> SyntheticSource:
    settings = MarketDataSettings(seed=seed, volatility=volatility)
    return SyntheticSource(settings, instruments(tick_size), IDS, incarnation)


def rows(records: bytes) -> list[tuple[int, int, int, int, int]]:
    return list(struct.iter_unpack("<BIQqq", records))


def test_the_same_seed_gives_the_same_prices_however_they_are_asked_for() -> None:
    whole = source().generate(500, 1_000).records
    parts = source()
    assert b"".join(parts.generate(count, 1_000).records for count in (1, 99, 400)) == whole


def test_another_seed_and_another_life_go_on_differently() -> None:
    lives = [(1, 1), (2, 1), (1, 2), (1, 12), (11, 2)]
    records = [source(seed, incarnation).generate(100, 1_000).records for seed, incarnation in lives]
    assert len(set(records)) == len(records)


def test_every_symbol_gets_its_share_and_starts_at_its_first_price() -> None:
    decoded = rows(source().generate(2_000, 1_000).records)
    shares = Counter(symbol_id for _, symbol_id, *_ in decoded)
    assert set(shares) == set(IDS.values())
    assert min(shares.values()) > 800
    for number in IDS.values():
        bid = next(bid for _, symbol_id, _, bid, _ in decoded if symbol_id == number)
        assert abs(bid // 10 - START_TICKS) < START_TICKS // 1_000


@pytest.mark.parametrize("volatility", [0.0, 0.0001, 0.0999])
@pytest.mark.parametrize(("tick_size", "tick_micros"), [("0.00001", 10), ("0.25", 250_000)])
def test_prices_are_positive_multiples_of_the_tick_one_or_two_ticks_apart(
    volatility: float, tick_size: str, tick_micros: int
) -> None:
    decoded = rows(source(volatility=volatility, tick_size=tick_size).generate(20_000, 1_000).records)
    assert {ask - bid for *_, bid, ask in decoded} == {tick_micros, 2 * tick_micros}
    assert all(bid > 0 and bid % tick_micros == 0 for *_, bid, _ in decoded)


def test_a_long_run_comes_back_to_where_it_started() -> None:
    decoded = rows(source().generate(100_000, 1_000).records)
    bids = [bid // 10 for *_, bid, _ in decoded]
    assert max(abs(bid - START_TICKS) for bid in bids) < START_TICKS * 0.03
    assert abs(sum(bids) / len(bids) - START_TICKS) < START_TICKS * 0.005


def test_a_clock_set_back_does_not_set_the_feed_back() -> None:
    feed = source()
    times = [feed.generate(2, now_us).last_time_us for now_us in (1_000, 500, 1_001)]
    assert times == [1_000, 1_000, 1_001]


def test_every_life_is_a_history_of_its_own() -> None:
    first, second = source().epoch, source().epoch
    assert len(first) == 16
    assert first != second


def test_a_tick_size_whose_prices_outgrow_64_bits_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"instruments\[0\]\.tick_size"):
        source(tick_size="100000000")
