"""The line on which a simulated venue answers: it delays, drops, doubles and reorders, and is cut. No sockets.

Draws from its own seed, so a bad day can be had again as far as its messages come in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from random import Random
from typing import Final, Generic, TypeVar

from protocol.settings import LineSettings

OVERTAKEN_S: Final = 0.02
"""By so much a reordered message is late: those behind it come first."""


Frame = TypeVar("Frame")


class Line(Generic[Frame]):
    def __init__(self, settings: LineSettings, now_s: float) -> None:
        self._settings = settings
        self._random = Random(settings.seed)
        self._way: list[tuple[float, int, Frame]] = []
        self._count = 0
        self._cut_until_s = self._mute_until_s = 0.0
        self._next_cut_s = self._draw_cut(now_s)
        self.lost = 0
        """Messages that never came out."""

    def put(self, frame: Frame, now_s: float) -> None:
        settings, random = self._settings, self._random
        if self.is_cut(now_s) or now_s < self._mute_until_s or random.random() < settings.drop:
            self.lost += 1
            return
        for _ in range(1 + (random.random() < settings.duplicate)):
            late_s = random.uniform(0, settings.delay_ms / 1000)
            if random.random() < settings.reorder:
                late_s += OVERTAKEN_S
            self._count += 1
            heapq.heappush(self._way, (now_s + late_s, self._count, frame))

    def take(self, now_s: float) -> list[Frame]:
        """What comes out by now, in its order."""
        frames: list[Frame] = []
        while self._way and self._way[0][0] <= now_s:
            frames.append(heapq.heappop(self._way)[2])
        return frames

    @property
    def on_its_way(self) -> Iterable[Frame]:
        return (frame for _, _, frame in self._way)

    def cut(self, now_s: float, seconds: float, *, is_deaf: bool = True) -> None:
        """Nothing comes out for so long from now, and what is under way is lost; deaf: nothing comes in either."""
        self._mute_until_s = now_s + seconds
        if is_deaf or not seconds:
            self._cut_until_s = now_s + seconds
        self.lost += len(self._way)
        self._way.clear()

    def is_cut(self, now_s: float) -> bool:
        if now_s >= self._next_cut_s:
            self._next_cut_s = self._draw_cut(now_s + self._settings.cut_s)
            self.cut(now_s, self._settings.cut_s)
        return now_s < self._cut_until_s

    def _draw_cut(self, from_s: float) -> float:
        mean_s = self._settings.cut_every_s
        return from_s + self._random.expovariate(1 / mean_s) if mean_s else float("inf")
