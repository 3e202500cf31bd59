"""The files of `seawall init`: what a user starts from, and then changes.

Each is text that runs as it stands, and the tests run them all. The data is made up, the same in every project.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Final

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
source = "synthetic"               # made up as it goes; replay.toml reads a file
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

_REPLAY: Final = '''\
# An exact backtest over ticks.csv: two runs give the same journal, byte for byte. `seawall run replay.toml` stops by
# itself and prints what happened. It begins in an unused run_dir: remove run-replay, or name another, to run it again.
[engine]
name = "first-replay"
mode = "replay"
run_dir = "run-replay"

[account]
balance = 10000.0
currency = "USD"
leverage = 100

[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0

[market_data]
source = "csv"
path = "ticks.csv"                 # timestamp,bid,ask; your own file in its place
symbol = "EURUSD"

[[strategies]]
name = "breakout"
class = "breakout:Breakout"
symbols = ["EURUSD"]
params = { window = 50, quantity = 100.0 }

[risk]
max_position_per_symbol = 1000.0
max_drawdown = -500.0

[order_routing]
venue = "paper"
commission_per_lot = 0.00002

[gateway]                          # "" turns a socket off
command = ""
telemetry = ""
broadcast = ""
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

_TEST: Final = '''\
"""What the strategy asks for at which prices. Run it with `python -m pytest` (pip install pytest)."""

from actors.strategies import Environment, PositionInfo, Tick
from breakout import Breakout


class Desk:
    """Fills at once whatever is asked for, and writes it down."""

    def __init__(self):
        self.quantity = 0.0
        self.asked = []

    def position(self, symbol):
        return PositionInfo(symbol, self.quantity)

    def orders(self):
        return []  # all are filled

    def close(self, symbol):
        self.place(symbol, "Sell" if self.quantity > 0 else "Buy", abs(self.quantity), None)

    def place(self, symbol, side, quantity, terms):
        self.asked.append((side, quantity))
        self.quantity += quantity if side == "Buy" else -quantity


def asked_at(*prices):
    """What Breakout with a window of 3 ticks asks for at these prices, one after the other."""
    desk, strategy = Desk(), Breakout()
    params = {"window": 3, "quantity": 5.0}
    strategy.attach(Environment(desk, "breakout", ("EURUSD",), {"EURUSD": 0}, params))
    strategy.on_start()
    for price in prices:
        strategy.on_tick(Tick("EURUSD", price, price, 0.0))
    return desk.asked


def test_it_waits_until_its_window_is_full():
    assert asked_at(1.0, 1.1, 1.2) == []


def test_it_buys_above_the_highest_price_once():
    assert asked_at(1.0, 1.1, 1.05, 1.2, 1.3) == [("Buy", 5.0)]


def test_it_turns_below_the_lowest_price():
    assert asked_at(1.0, 1.1, 1.05, 1.2, 0.9) == [("Buy", 5.0), ("Sell", 10.0)]
'''

_README: Final = '''\
# A first Seawall engine

| file | what it is |
|---|---|
| `breakout.py` | the strategy; a config says which class runs on which symbols, and with which `params` |
| `test_breakout.py` | its test: what it asks for at which prices |
| `pytest.ini` | empty: this directory's tests are its own, whatever it lies in |
| `replay.toml`, `ticks.csv` | an exact backtest, and its data: made up, in the format `timestamp,bid,ask` |
| `seawall.toml` | a live engine on paper, with prices that are made up as it goes |

Change the strategy, test it, see what it would have brought:

```sh
python -m pytest               # needs: pip install pytest
seawall check replay.toml      # is the config right, and the data
seawall run replay.toml        # to the end of ticks.csv; prints what happened
seawall report run-replay      # run-replay/report.html
rm -r run-replay               # before the next one
```

Let it run, and Ctrl-C stops it in order:

```sh
seawall run seawall.toml
```

From a second terminal, in this directory:

```sh
seawall status seawall.toml          # trading state, positions, processes; --watch: again and again
seawall orders seawall.toml          # -o wide has more columns, -o json is for programs
seawall halt seawall.toml "enough"   # the kill switch; it lasts until an ordered stop
seawall stop seawall.toml
seawall wal inspect run              # every record of the journal
```

`seawall --help` lists all verbs, `seawall VERB --help` has an example of each.
'''

TICKS: Final = 1000
_FIRST: Final = datetime(2024, 1, 2, 9, 0, 0)
_FIRST_BID, _SPREAD, _STEP_MAX = 110_000, 2, 6
"""In 0.00001."""


def _sample_ticks() -> str:
    """A random walk of a tick a second. Source: the random module promises the numbers of `random()` for a seed."""
    draw, bid, rows = random.Random(1).random, _FIRST_BID, ["timestamp,bid,ask"]
    for second in range(TICKS):
        bid += round((2 * draw() - 1) * _STEP_MAX)
        time = _FIRST + timedelta(seconds=second)
        rows.append(f"{time.isoformat(' ')},{bid / 1e5:.5f},{(bid + _SPREAD) / 1e5:.5f}")
    return "\n".join(rows) + "\n"


def project_files() -> dict[str, str]:
    """Name -> content, in the order in which one reads them."""
    return {
        "README.md": _README,
        "breakout.py": _STRATEGY,
        "test_breakout.py": _TEST,
        "pytest.ini": "[pytest]\n",  # else the settings of whatever it lies in hold for it
        "replay.toml": _REPLAY,
        "ticks.csv": _sample_ticks(),
        "seawall.toml": _CONFIG,
    }
