"""`seawall init DIR`: a config, a strategy and a few lines of help that run as they stand.

Writes three small files and refuses to overwrite any; what it writes is what a user starts from, so it uses
nothing that is not in the README.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from protocol.errors import ExitCode
from supervisor.cli.output import Failure, note

_CONFIG: Final = '''\
# Check it with `seawall check seawall.toml`, start it with `seawall run seawall.toml`.
[engine]
name = "first"
mode = "paper"
run_dir = "run"                    # journal, sockets, lock; relative to where you start it

[account]
balance = 10000.0
currency = "USD"
leverage = 100

[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0                     # quantity step

[market_data]
source = "synthetic"               # or "csv" with path = "ticks.csv", symbol = "EURUSD"
seed = 1
rate = 100                         # ticks a second

[[strategies]]
name = "breakout"
class = "breakout:Breakout"        # module:Class, found in the working directory
symbols = ["EURUSD"]
params = { window = 50, quantity = 100.0 }

[risk]
max_position_per_symbol = 1000.0
max_drawdown = -500.0              # realized; at or below it trading halts

[order_routing]
venue = "paper"

[gateway]
command = "tcp://127.0.0.1:5556"
telemetry = "tcp://127.0.0.1:5557"
broadcast = "tcp://127.0.0.1:5555"
'''

_STRATEGY: Final = '''\
"""Long above the highest price of the last `window` ticks, short below the lowest."""

from __future__ import annotations

from collections import deque

from actors.strategies import Strategy


class Breakout(Strategy):
    window = 50  # params of the config replace these
    quantity = 100.0

    def on_start(self):
        self.prices = deque(maxlen=int(self.window))
        self.direction = 0

    def on_tick(self, tick):
        price = (tick.bid + tick.ask) / 2
        if len(self.prices) == self.prices.maxlen:
            if price > max(self.prices):
                self.turn(tick.symbol, 1)
            elif price < min(self.prices):
                self.turn(tick.symbol, -1)
        self.prices.append(price)

    def turn(self, symbol, direction):
        if direction == self.direction:
            return
        self.direction = direction
        missing = direction * self.quantity - self.position(symbol).quantity
        if missing > 0:
            self.buy(symbol, missing)
        elif missing < 0:
            self.sell(symbol, -missing)
'''

_README: Final = '''\
# A first Seawall engine

    seawall check seawall.toml     # is the config right
    seawall run seawall.toml       # start; Ctrl-C stops in order

From a second terminal, in this directory:

    seawall status seawall.toml    # positions (-o json for programs)
    seawall health seawall.toml    # every process
    seawall halt seawall.toml why  # kill switch
    seawall stop seawall.toml
    seawall wal inspect run        # every record of the journal

The strategy is breakout.py; the config says which class runs on which symbols.
'''

FILES: Final = {"seawall.toml": _CONFIG, "breakout.py": _STRATEGY, "README.md": _README}


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Write a config and a strategy to start from into DIR; overwrites nothing.

    \b
    Example:
      seawall init first
    """
    taken = [name for name in FILES if (directory / name).exists()]
    if taken:
        raise Failure(ExitCode.FAILURE, f"{directory} has {', '.join(taken)} already; nothing was written")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            with open(directory / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise Failure(ExitCode.FAILURE, f"{directory}: {error.strerror}") from error
    note(f"Written: {', '.join(FILES)}. Start it with: cd {directory} && seawall run seawall.toml")
