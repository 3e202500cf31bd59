"""P12: whatever the quantum, a consumer may hold that and a chunk, even while some of the credit is owed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from houses import house_config
from streams import csv_market

from actors.market import REPLAY_CHUNK_TICKS, market_pipe
from actors.stream import CREDIT_SHARE
from protocol.config_checks import QUANTUM_MAX, check_config
from protocol.pipeline import MARKET
from protocol.settings import Config, ReplaySettings

CHUNK = REPLAY_CHUNK_TICKS


def replay_config(directory: Path, quantum: int) -> Config:
    config = house_config(directory, "actors.strategies.sma_cross:SmaCross", csv_market(directory, 10, "[]"))
    engine = msgspec.structs.replace(config.engine, mode="replay")
    return msgspec.structs.replace(config, engine=engine, replay=ReplaySettings(quantum=quantum))


def chunks_touched(quantum: int) -> int:
    """At most, by the ticks of a quantum, wherever it begins."""
    starts = {number * quantum for number in range(CHUNK)}
    return max((start + quantum - 1) // CHUNK - start // CHUNK + 1 for start in starts)


@pytest.mark.parametrize(
    "quantum",
    [1, 7, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 3, 40_000, 100_000, QUANTUM_MAX - 1, QUANTUM_MAX],
)
def test_the_credit_holds_a_quantum_and_a_chunk_even_while_some_of_it_is_owed(tmp_path: Path, quantum: int) -> None:
    limit = market_pipe(replay_config(tmp_path, quantum)).limit
    owed_max = (limit - 1) // CREDIT_SHARE  # one more, and it is given
    assert limit - owed_max >= chunks_touched(quantum) + 1


def test_a_quantum_for_which_memory_would_not_do_is_a_mistake(tmp_path: Path) -> None:
    assert check_config(replay_config(tmp_path, QUANTUM_MAX)) == []
    (mistake,) = check_config(replay_config(tmp_path, QUANTUM_MAX + 1))
    assert mistake == "replay.quantum = 262145: 1 to 262144 ticks"


def test_a_lossless_broadcast_that_is_off_is_a_mistake(tmp_path: Path) -> None:
    config = replay_config(tmp_path, CHUNK)
    gateway = msgspec.structs.replace(config.gateway, broadcast="", broadcast_lossless=True)
    (mistake,) = check_config(msgspec.structs.replace(config, gateway=gateway))
    assert mistake.startswith("gateway.broadcast_lossless = true: gateway.broadcast = '' is off")


def test_elsewhere_the_limit_is_that_of_the_table(tmp_path: Path) -> None:
    config = replay_config(tmp_path, QUANTUM_MAX)
    engine = msgspec.structs.replace(config.engine, mode="paper")
    assert market_pipe(msgspec.structs.replace(config, engine=engine)) is MARKET
