"""The queues within the processes: one row each. How long one may get, and what happens when it is full.

What waits in the pipes between the processes stands in pipeline.py; of their streams, whose consumers are given credit,
the depth is known too (`market`, `journal`). HEALTH shows every queue with its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.pipeline import JOURNAL, MARKET


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueKind:
    name: str
    owner: str
    limit: int
    when_full: str


APPENDS: Final = QueueKind(
    name="appends",
    owner="risk, order_routing, gateway, strategy",
    limit=50_000,
    when_full="records that wal has not confirmed: new signals wait in their pipe, and age; commands are refused",
)
BATCH: Final = QueueKind(
    name="batch",
    owner="wal",
    limit=8192,
    when_full="one group commit: the next records wait in the journal's pipe",
)
SIGNALS_ASKED: Final = QueueKind(
    name="signals-asked",
    owner="strategy",
    limit=4096,
    when_full="signals without an answer: the next is refused at once (`signals_full`)",
)
SIGNALS_EARLY: Final = QueueKind(
    name="signals-early",
    owner="risk",
    limit=1_000,
    when_full="signals that wait for what they follow from: the next wait in their pipe, and age",
)
ORDERS_HELD: Final = QueueKind(
    name="orders-held",
    owner="order_routing, with a venue outside",
    limit=1_000,
    when_full="orders that only reduce, until the venue is back: the next is rejected (`venue_lost`)",
)
COMMANDS: Final = QueueKind(
    name="commands",
    owner="gateway",
    limit=100,
    when_full="commands that are not on disk yet: the next is refused; over plain tcp a fifth of the limit",
)
BROADCAST: Final = QueueKind(
    name="broadcast",
    owner="gateway, with gateway.broadcast_lossless",
    limit=10_000,
    when_full="pieces that a subscriber has not taken: the market waits for it",
)
_STREAMS: Final = tuple(
    QueueKind(name=pipe.name, owner=pipe.binds, limit=pipe.limit, when_full=pipe.when_full)
    for pipe in (MARKET, JOURNAL)
)
QUEUES: Final = {
    kind.name: kind
    for kind in (*_STREAMS, APPENDS, BATCH, SIGNALS_ASKED, SIGNALS_EARLY, ORDERS_HELD, COMMANDS, BROADCAST)
}
