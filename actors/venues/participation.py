"""Partial fills: our orders together take at most a share of each tick's volume, in whole lots.

The volume of a tick is there for the orders that rest at it or arrive at it, in the order in which they act. What was
traded before an order came is not there for it: an order that arrives between two ticks (no latency) waits for the
next.
"""

from __future__ import annotations

from protocol.units import MICROS


def budget(volume: int, share: int, lot_size: int) -> int:
    """Micros that may be filled at a tick of this volume."""
    return volume * share // MICROS // lot_size * lot_size


def least_volume(share: int, lot_size: int) -> int:
    """The smallest volume of a tick at which anything fills."""
    return -(-lot_size * MICROS // share)
