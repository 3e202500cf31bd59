"""The plainest config: one instrument, one strategy, a file to read, or not."""

from __future__ import annotations

from pathlib import Path

from protocol.settings import Config, parse_config

CONFIG = """
[engine]
run_dir = "{run_dir}"
mode = "{mode}"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[market_data]
{source}
[[strategies]]
name = "sma"
class = "a:B"
symbols = ["EURUSD"]
"""
FILE = 'source = "csv"\npath = "a.csv"\nsymbol = "EURUSD"'


def plain_config(mode: str = "paper", *, is_file: bool = True, run_dir: str | Path = "run") -> Config:
    return parse_config(CONFIG.format(mode=mode, source=FILE if is_file else "", run_dir=run_dir))
