"""How fast one may send: token buckets for orders and messages, and how often the same order has been placed.

Owns the counts of one scope, the engine's or a strategy's. It knows no clock: times are what the journal says, or will
say, of each record, so a new life of risk counts those of its predecessor as it folds them. Behind a CHECKPOINT it does
not know how many there were just before, and begins with empty buckets: they are full again after a second.

Integers alone: a bucket is in millionths of a token, and gains its rate in each microsecond.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

from protocol.ring_state import ThrottleState
from protocol.units import MICROS

REMEMBERED_MAX: Final = 65_536
"""Orders of one window; with more than that nothing can be said of the next, and it counts as repeated too often."""
OrderKey = tuple[int, ...]
"""All that makes two orders the same."""


class Rates(NamedTuple):
    """What is left now: whole orders and messages, and how often the same order was placed within the window."""

    orders: int
    messages: int
    repeats: int


class Bucket:
    """Holds a second's worth, and is full at first."""

    __slots__ = ("_at_us", "_rate", "level")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._at_us = 0
        self.level = rate * MICROS

    def look(self, now_us: int) -> int:
        """Whole tokens at `now_us`. A clock that goes back adds nothing."""
        if self._at_us:
            gained = max(0, now_us - self._at_us) * self._rate
            self.level = min(self._rate * MICROS, self.level + gained)
        self._at_us = now_us
        return self.level // MICROS

    def take(self, now_us: int) -> None:
        """One token less; below nothing for what may not be refused."""
        self.look(now_us)
        self.level = max(-self._rate * MICROS, self.level - MICROS)

    def empty(self, now_us: int) -> None:
        self.level, self._at_us = 0, now_us

    @property
    def state(self) -> tuple[int, int]:
        return self.level, self._at_us

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        self.level, self._at_us = state


class Throttle:
    """Per second, and within `window_us`; None: no such limit, and nothing is counted for it."""

    def __init__(self, orders: int | None, messages: int | None, repeats: int | None, window_us: int) -> None:
        self._orders = None if orders is None else Bucket(orders)
        self._messages = None if messages is None else Bucket(messages)
        self._counts_repeats = repeats is not None
        self._window_us = window_us
        self._placed: deque[tuple[int, OrderKey]] = deque()
        self._counter: Counter[OrderKey] = Counter()
        self._unknown_until_us = 0
        """Before this nothing is known of what was placed within the window."""

    def look(self, now_us: int, key: OrderKey) -> Rates:
        orders, messages = self._orders, self._messages
        return Rates(
            1 if orders is None else orders.look(now_us),
            1 if messages is None else messages.look(now_us),
            self._repeats(now_us, key) if self._counts_repeats else 0,
        )

    def _repeats(self, now_us: int, key: OrderKey) -> int:
        if now_us < self._unknown_until_us:
            return REMEMBERED_MAX
        self._forget(now_us)
        return self._counter[key] if len(self._placed) < REMEMBERED_MAX else REMEMBERED_MAX

    def _forget(self, now_us: int) -> None:
        """What is past the window."""
        placed, since_us = self._placed, now_us - self._window_us
        while placed and placed[0][0] <= since_us:
            _, old = placed.popleft()
            self._counter[old] -= 1
            if not self._counter[old]:
                del self._counter[old]

    def took_order(self, now_us: int, key: OrderKey) -> None:
        if self._orders is not None:
            self._orders.take(now_us)
        self.took_message(now_us)
        if not self._counts_repeats:
            return
        self._forget(now_us)
        if len(self._placed) < REMEMBERED_MAX:
            self._placed.append((now_us, key))
            self._counter[key] += 1

    def took_message(self, now_us: int) -> None:
        if self._messages is not None:
            self._messages.take(now_us)

    def begin_behind(self, now_us: int) -> None:
        """What was sent before is not known: buckets are empty, and every order counts as repeated for a window."""
        self._unknown_until_us = now_us + self._window_us
        for bucket in (self._orders, self._messages):
            if bucket is not None:
                bucket.empty(now_us)

    def take_state(self) -> ThrottleState:
        """Over a crash in a replay (P11)."""
        buckets = (self._orders, self._messages)
        return ThrottleState(tuple(None if b is None else b.state for b in buckets), tuple(self._placed))

    def put_state(self, state: ThrottleState) -> None:
        for bucket, was in zip((self._orders, self._messages), state.buckets, strict=True):
            if bucket is not None and was is not None:
                bucket.state = was
        self._unknown_until_us = 0
        self._placed = deque(state.placed)
        self._counter = Counter(key for _, key in state.placed)
