"""What is at the simulated venue, read from its file by a decoder of its own: a second opinion."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack
from harness import EngineUnderTest

FIRST_EXTERNAL: Final = 1 << 52
FILL: Final = 2


@dataclass
class VenueBooks:
    """What the venue's file says."""

    orders: dict[int, tuple[bytes, int, list[Any]]] = field(default_factory=dict)
    """Venue's number -> (journal id, order id there, ORDER_PLACE)."""
    exits: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Venue's number of a bracket's exit -> (its id here, side)."""
    reports: list[list[Any]] = field(default_factory=list)
    """ORDER_UPDATEs."""
    transferred: int = 0

    @property
    def fills(self) -> dict[str, list[Any]]:
        return {report[2]: report for report in self.reports if report[1] == FILL}

    @property
    def position(self) -> int:
        """Net, micros, of the only symbol."""
        net = self.transferred
        for report in self.fills.values():
            side = self.orders[report[0]][2][4] if report[0] in self.orders else self.exits[report[0]][1]
            net += -report[4] if side else report[4]
        return net


def books(engine: EngineUnderTest) -> VenueBooks:
    found, highest = VenueBooks(), 0
    for kind, data in _entries(engine.run_dir / "venue.log"):
        fields = msgpack.unpackb(data)
        if kind == 4:
            journal_id, encoded = fields
            place = msgpack.unpackb(encoded)
            highest += 1  # the venue's own numbers go on, a bracket's exits have those behind it
            found.orders[highest] = journal_id, place[0], place
            for theirs in filter(None, place[12:14]):
                highest += 1
                found.exits[highest] = theirs, 1 - place[4]
        elif kind == 8:
            found.reports.append(fields)
        elif kind == 1:
            found.transferred += fields[1]
    return found


def _entries(path: Path) -> Iterator[tuple[int, bytes]]:
    data, start = path.read_bytes(), 0
    while start + 13 <= len(data):
        _, kind, length, _ = struct.unpack_from("<IBII", data, start)
        body = data[start + 13 : start + 13 + length]
        if len(body) < length:
            return
        yield kind, body
        start += 13 + length
