"""The tests' own reader of data files sees what the engine's sources see."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_rows import bars_of, read_plain

from actors.bars import BarBuilder
from actors.sources import make_source
from actors.sources.batch import TickBatch
from protocol.codec import VOLUME
from protocol.settings import parse_config
from protocol.topics import BAR, TICK

FILES = {
    "bid_ask": "timestamp,bid,ask\n2024-01-02 10:00:00.000001+01:00,1.1,1.10002\n2024-01-02T09:01:30,1.2,1.3\n",
    "histdata": "20200101 170000065,1.121200,1.121720,0\n20200101 170010447,1.121200,1.121920,3\n",
    "trades": "timestamp_ms,symbol,price,volume\n1700000000000,S,10.5,0.1\n1700000000001,X,3,1\n1700000060000,S,9,2\n",
    "ohlc": "timestamp,open,high,low,close,volume\n2024-01-02 00:00:00,5,7,4,6,1.000003\n"
    "2024-01-02 00:01:00,6,7,4,5,2\n2024-01-02 00:02:00,5,5,5,5,0\n2024-01-02 00:02:30,5,8,5,5,1\n",
}
CONFIG = """
engine.run_dir = "run"
instruments = [{{ symbol = "S", tick_size = 0.00001, lot_size = 1.0 }}]
market_data = {{ source = "csv", path = "{path}", symbol = "S" }}
"""


@pytest.mark.parametrize("name", FILES)
def test_the_second_reader_agrees_with_the_first(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(FILES[name], encoding="utf-8")
    source = make_source(parse_config(CONFIG.format(path=path)), {"S": 0}, 1)
    assert source.is_file is True
    (batch,) = source.batches(100)
    read = read_plain(path, "S")
    assert read.ticks == [tick[1:] for tick in TICK.iter_unpack(batch.records)]
    assert read.volumes == [volume for (volume,) in VOLUME.iter_unpack(batch.volumes)]
    builder, bars, first = BarBuilder([1]), {}, 1
    for part in [*builder.split(batch), builder.flush()]:
        if isinstance(part, TickBatch):
            first += part.count
        elif part.count:
            bars[first] = [bar[1:] for bar in BAR.iter_unpack(part.records)]
    assert bars_of(read, 1) == bars
