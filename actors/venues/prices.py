"""At which price an order fills: bid and ask are respected, and slippage makes it worse.

A buy fills at the ask, a sell at the bid. Market and triggered stop orders take the quote, so a gap through a stop
fills at the gap's price, and `slippage` on top. A limit order that is marketable when it arrives or is triggered takes
the quote too, never worse than its limit; one that rests fills at its limit, never better, however far the market
jumped: the price that others would have taken before is not ours.
"""

from __future__ import annotations


def quoted_price(is_buy: bool, bid: int, ask: int) -> int:
    return ask if is_buy else bid


def slipped_price(is_buy: bool, bid: int, ask: int, slippage: int) -> int:
    """The quote made worse by `slippage` micros; a sell never gets below the smallest price that there is."""
    return ask + slippage if is_buy else max(bid - slippage, 1)


def is_limit_reached(is_buy: bool, limit_price: int, bid: int, ask: int) -> bool:
    return ask <= limit_price if is_buy else bid >= limit_price
