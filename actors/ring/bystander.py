"""A bystander's part beside the ring (P13): `trades = false`. It follows the market freely, and may ask for nothing.

It hears no token and answers none: it goes on with whatever ticks are here, so nobody waits for it but the feed, which
loses nothing. What crosses from the traders it is told behind its own quantum ends, as far as it has heard of it by
then: that, and that alone, depends on scheduling, and cannot reach the journal.
"""

from __future__ import annotations

from typing import Any

from actors.desk import DOES_NOT_TRADE
from actors.ring.strategy import StrategyCore
from actors.strategies import Signal
from protocol.positions import START, tick_position, ticks_done


class BystanderCore(StrategyCore):
    """As StrategyCore; `send` and `reached` are never called."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "reached": lambda position: None})

    def go_on(self) -> None:
        """Runs hooks as far as the ticks that are here allow: quantum after quantum, each granted by itself."""
        super().go_on()
        while not self._owes and not self._is_at_end():
            self._grant_itself()
            super().go_on()

    def _is_at_end(self) -> bool:
        return self._end is not None and self.position >= tick_position(self._end)

    def _grant_itself(self) -> None:
        self._owes = True
        if self.position < START:
            self._target = START
            return
        quantum = self._part.quantum
        self._venue, self._is_told_others = self.position, self.position > START
        self._target = tick_position((ticks_done(self.position) // quantum + 1) * quantum)

    def ask(self, kind: int, signal: Signal, **fields: Any) -> Signal:
        return self.refuse_here(signal, DOES_NOT_TRADE)
