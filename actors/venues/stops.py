"""Stops: triggered on the side that they fill on, and trailing ones follow the best price.

A buy stop is triggered when the ask is at its price or above, a sell stop when the bid is at it or below. A trailing
stop stands `trail` away from the best quote of its side since it works; it moves in steps of at least `step`, never
back. Every move is told (RESTATE), so that the journal knows where it stands and a restart loses none of it.
"""

from __future__ import annotations


def is_triggered(is_buy: bool, stop_price: int, bid: int, ask: int) -> bool:
    return ask >= stop_price if is_buy else bid <= stop_price


def trailed_price(is_buy: bool, trail: int, bid: int, ask: int) -> int:
    """Where a trailing stop would stand if this quote were the best. At least 1: 0 is "none"."""
    return ask + trail if is_buy else max(bid - trail, 1)


def moved_price(is_buy: bool, stop_price: int, trail: int, step: int, bid: int, ask: int) -> int | None:
    """Where it stands after this quote; None if it does not move."""
    price = trailed_price(is_buy, trail, bid, ask)
    return price if (stop_price - price if is_buy else price - stop_price) >= step else None
