"""A made-up market: one seeded random walk a symbol, for the demo and for tests.

The bid starts at 110,000 ticks and is pulled back to there, so that a feed left running for weeks stays
where limits and quantities make sense. Spread: one or two ticks. Prices are a function of seed, symbols,
volatility and incarnation: a new life goes on with other numbers, as a market does that one has not watched.

No numpy (market_data stays light): about 2 us a tick, and the rate that settings allow is no promise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, Literal

from actors.sources.batch import SourceCounts, TickBatch
from protocol.errors import ConfigError
from protocol.settings import InstrumentSettings, MarketDataSettings
from protocol.topics import TICK, Topic
from protocol.units import MICROS_MAX

START_TICKS: Final = 110_000
"""The first bid, in ticks: 1.10000 for a tick_size of 0.00001."""
PULL: Final = 0.001
"""Share of the distance to the start that a tick takes back: deviations of 22 x volatility are usual."""
REACH: Final = 8
"""The bid stays between a 1/8 and 8 times the start, whatever the volatility."""
_TICK_MICROS_MAX: Final = MICROS_MAX // (START_TICKS * REACH + 2)


class SyntheticSource:
    is_file: Literal[False] = False

    def __init__(
        self,
        settings: MarketDataSettings,
        instruments: Sequence[InstrumentSettings],
        symbol_ids: Mapping[str, int],
        incarnation: int,
    ) -> None:
        """Raises: ConfigError if an instrument's prices would outgrow 64 bits of micros."""
        self._instruments: Final = tuple(instruments)
        self.check()
        self.epoch: Final = os.urandom(16)
        self.counts: Final = SourceCounts()
        # A string seeds through SHA-512: independent of PYTHONHASHSEED, and unlike for "1/12" and "11/2".
        life = f"{settings.seed}/{incarnation}"
        self._choose = Random(life).randrange
        self._walks: Final = [
            _Walk(Random(f"{life}/{one.symbol}"), symbol_ids[one.symbol], one.tick_micros, settings.volatility)
            for one in instruments
        ]
        self._last_time_us = 0

    def check(self) -> None:
        """Raises: ConfigError as the constructor does."""
        mistakes = [
            f"instruments[{index}].tick_size = {instrument.tick_size}: source \"synthetic\" starts at {START_TICKS} "
            f"ticks, which outgrows 64 bits of millionths"
            for index, instrument in enumerate(self._instruments)
            if instrument.tick_micros > _TICK_MICROS_MAX
        ]
        if mistakes:
            raise ConfigError(mistakes)

    def generate(self, count: int, now_us: int) -> TickBatch:
        """`count` ticks of symbols drawn at random; a wall clock set back does not set the feed back."""
        time_us = self._last_time_us = max(self._last_time_us, now_us)
        walks, choose, symbols = self._walks, self._choose, len(self._walks)
        records = b"".join([walks[choose(symbols)].step(time_us) for _ in range(count)])
        self.counts.rows += count
        return TickBatch(records=records, count=count, first_time_us=time_us, last_time_us=time_us)


class _Walk:
    """One symbol's bid, in ticks."""

    __slots__ = ("_gauss", "_level", "_random", "_symbol_id", "_tick_micros", "_volatility")

    def __init__(self, random: Random, symbol_id: int, tick_micros: int, volatility: float) -> None:
        self._gauss, self._random = random.gauss, random.random
        self._symbol_id, self._tick_micros, self._volatility = symbol_id, tick_micros, volatility
        self._level = float(START_TICKS)

    def step(self, time_us: int) -> bytes:
        level = self._level
        level += PULL * (START_TICKS - level) + level * self._gauss(0.0, self._volatility)
        self._level = level = min(max(level, START_TICKS / REACH), START_TICKS * REACH)
        bid = round(level)
        ask = bid + (1 if self._random() < 0.5 else 2)
        tick_micros = self._tick_micros
        return TICK.pack(Topic.TICK, self._symbol_id, time_us, bid * tick_micros, ask * tick_micros)
