"""The newest of the rows that came, in their order, each with a number: who has seen N asks for those behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

Row = dict[str, Any]


class Tape:
    def __init__(self, rows_max: int) -> None:
        self._rows: deque[Row] = deque(maxlen=rows_max)
        self.end = 0
        """The number behind the newest row: how many there have been."""

    def append(self, row: Row) -> None:
        self._rows.append(row)
        self.end += 1

    def since(self, number: int) -> list[Row]:
        """The rows from `number` on, as far as they are still here."""
        new = min(self.end - number, len(self._rows))
        return list(islice(self._rows, len(self._rows) - new, None)) if new > 0 else []

    def clear(self) -> None:
        """Whoever has seen some is told that what comes is the whole."""
        self._rows.clear()
        self.end += 1

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def newest(self) -> Row | None:
        return self._rows[-1] if self._rows else None
