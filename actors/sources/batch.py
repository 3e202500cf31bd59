"""What a source hands over: ticks already in the layout of the wire, and what it counted on the way.

A batch is never empty, its times never go back, and its records go out as they are (design section 2:
nothing re-encodes). It knows nothing of tick numbers and pace: those are the actor's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from protocol.codec import VOLUME, MarketKind
from protocol.topics import TICK
from protocol.units import MICROS

TICK_VOLUME: Final = MICROS
"""The volume of a tick whose feed has none: bars count such ticks, one each."""

_TIME_FIELD: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TickBatch:
    records: bytes
    """`count` TICK records (29 bytes each), in order of time."""
    volumes: bytes = b""
    """`count` i64 micros, or nothing where no file of the feed has volumes."""
    count: int
    first_time_us: int
    last_time_us: int
    kind: Literal[MarketKind.TICKS] = field(default=MarketKind.TICKS, init=False)

    def slice(self, start: int, stop: int) -> TickBatch:
        """The ticks `start` up to `stop` (not included); 0 <= start < stop <= count."""
        if start == 0 and stop == self.count:
            return self
        records = self.records[start * TICK.size : stop * TICK.size]
        return TickBatch(
            records=records,
            volumes=self.volumes[start * VOLUME.size : stop * VOLUME.size],
            count=stop - start,
            first_time_us=TICK.unpack_from(records)[_TIME_FIELD],
            last_time_us=TICK.unpack_from(records, len(records) - TICK.size)[_TIME_FIELD],
        )


@dataclass(slots=True, kw_only=True)
class SourceCounts:
    """Rows as the operator counts them: lines with something on them, the header apart."""

    rows: int = 0
    rows_bad: int = 0
    """Skipped because `on_bad_row = "skip"`."""
    rows_unknown: int = 0
    """Skipped because their symbol is no [[instruments]], or not the one that the file was given."""
    first_bad: str = ""
    """Where and why the first bad row was skipped, for the report."""
    work_done: int = 0
    """How far the pass has read, in a unit of the source's own (bytes, rows) …"""
    work_total: int = 0
    """… and how far it may go. 0: nobody knows."""

    def counters(self) -> dict[str, int]:
        """The numbers by name, for statistics."""
        return {
            "rows": self.rows,
            "rows_bad": self.rows_bad,
            "rows_unknown": self.rows_unknown,
            "work_done": self.work_done,
            "work_total": self.work_total,
        }
