"""What is on its way to the venue: orders, cancels and changes, in the order in which they were sent.

Each arrives with the first tick, of any symbol, at or after its sending plus the latency (P5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from protocol.records import OrderPlace, OrderReplace

PLACE, CANCEL, REPLACE = range(3)
"""What is under way, in a replay's checkpoint."""


class Sent(NamedTuple):
    due_us: int
    place: OrderPlace | None
    """None: a cancel or a change of order_id."""
    order_id: int
    replace: OrderReplace | None = None

    @property
    def kind(self) -> int:
        return PLACE if self.place is not None else CANCEL if self.replace is None else REPLACE


class Way:
    def __init__(self, latency_us: int) -> None:
        self.latency_us: Final = latency_us
        self._sent: Final[deque[Sent]] = deque()

    def send(self, place: OrderPlace | None, order_id: int, sent_us: int, replace: OrderReplace | None = None) -> int:
        """When it is due."""
        self._sent.append(Sent(sent_us + self.latency_us, place, order_id, replace))
        return self._sent[-1].due_us

    def has_order(self, order_id: int) -> bool:
        return any(sent.order_id == order_id and sent.place is not None for sent in self._sent)

    def dues(self) -> Iterable[int]:
        return (sent.due_us for sent in self._sent)

    def alive(self, working: Collection[int]) -> list[Sent]:
        """What will make the venue say something; `working` are the orders at the venue."""
        return [s for s in self._sent if s.place is not None or s.order_id in working or self.has_order(s.order_id)]

    def take_due(self, time_us: int) -> list[Sent]:
        """What has arrived, and is on its way no more."""
        return self._take(lambda sent: sent.due_us <= time_us) if self._sent else []

    def take_all(self) -> list[Sent]:
        return self._take(lambda sent: True)

    def _take(self, is_taken: Callable[[Sent], bool]) -> list[Sent]:
        taken = [sent for sent in self._sent if is_taken(sent)]
        if taken:
            left = [sent for sent in self._sent if not is_taken(sent)]
            self._sent.clear()
            self._sent.extend(left)
        return taken

    def rows(self, working: Collection[int]) -> tuple[tuple[int, int, int], ...]:
        """(order id, kind, when it was sent) of what is alive, for a checkpoint."""
        return tuple((sent.order_id, sent.kind, sent.due_us - self.latency_us) for sent in self.alive(working))
