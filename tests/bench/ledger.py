"""The ledger against the same rule in fractions, over random fills: equal after each, to the last digit.

    python -m tests.bench.ledger [--json FILE] [--fills N] [--seed N]

Quantity, open cost, realized profit and balance are compared after every fill, and whenever a symbol is flat what was
realized since it last was with the cash that flowed. What is timed is the ledger alone, as a fold books a fill, in
blocks; the fractions follow behind each block. Exits with 1 at the first difference, and names the seed and the fill.
"""

from __future__ import annotations

import sys
from itertools import islice
from time import perf_counter
from typing import Final

from actors.ledger import Account, apply_fill
from protocol.orders import Side
from tests.bench.report import Report, parser, surroundings
from tests.fraction_ledger import MICROS, PRODUCT, SYMBOLS, Found, FractionLedger, RandomFill, random_fills

BALANCE: Final = 1_000_000 * PRODUCT
BLOCK_FILLS: Final = 10_000
"""Between two readings of the clock."""


def book_block(account: Account, fills: list[RandomFill]) -> tuple[list[Found], float]:
    """What the account says after each fill; and the seconds that the ledger took for all."""
    found: list[Found] = []
    begun = perf_counter()
    for symbol_id, sign, price, quantity, commission in fills:
        side, product = Side.BUY if sign > 0 else Side.SELL, commission * MICROS
        effect = apply_fill(account.position(symbol_id), side, price, quantity, SYMBOLS[symbol_id].multiplier)
        account.balance_after(effect, product)  # it refuses what would outgrow its record
        account.book(symbol_id, effect, product)
        position = account.positions[symbol_id]
        found.append(Found(position.quantity, position.cost, account.realized[symbol_id], account.balance))
    return found, perf_counter() - begun


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--fills", type=int, default=1_000_000, help="(%(default)s)")
    options.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    chosen = options.parse_args()
    fills = islice(random_fills(chosen.seed), chosen.fills)
    account, fractions = Account(BALANCE), FractionLedger(BALANCE)
    compared, ledger_s = 0, 0.0
    begun = perf_counter()
    while block := list(islice(fills, BLOCK_FILLS)):
        found, seconds = book_block(account, block)
        ledger_s += seconds
        for fill, after in zip(block, found, strict=True):
            compared += 1
            if difference := fractions.difference_after(fill, after):
                sys.exit(f"seed {chosen.seed}, fill {compared:,}, {fill} of {SYMBOLS[fill.symbol_id]}: {difference}")
    report = Report("ledger", surroundings(chosen.dir) | {"seed": str(chosen.seed), "symbols": str(len(SYMBOLS))})
    report.add("fills compared, all equal", compared, "fills", f"in {perf_counter() - begun:.1f} s with the fractions")
    report.add("rounds from flat to flat", fractions.rounds, "rounds", "realized = cash flow in each")
    report.add("the ledger", compared / ledger_s, "fills/s", "apply_fill, balance_after and book, one account")
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
