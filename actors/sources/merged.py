"""What the file sources have in common: files merged by time into one stream of batches, counted, known by a hash."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, Literal

from actors.sources.batch import SourceCounts, TickBatch
from actors.sources.blocks import Block, cut, merge
from actors.sources.files import PassCounts


class MergedFiles(ABC):
    """A FileSource but for `check`."""

    is_file: Literal[True] = True

    def __init__(self) -> None:
        self._counts: Final = PassCounts()
        self._epoch: bytes | None = None

    @property
    def counts(self) -> SourceCounts:
        return self._counts.furthest

    @property
    def epoch(self) -> bytes:
        """What decides about the ticks and the bars among them; computed (see content_digests) when first asked for."""
        if self._epoch is None:
            self._epoch = self._hash()
        return self._epoch

    @abstractmethod
    def _hash(self) -> bytes:
        """16 bytes."""

    @abstractmethod
    def _work(self) -> int:
        """How much there is to read, as `work_done` counts it."""

    @abstractmethod
    def _streams(self, counts: SourceCounts) -> list[tuple[int, Iterator[Block]]]:
        """(the time from which it takes part, its blocks) of each file, in the order of the config."""

    def batches(self, ticks_max: int) -> Iterator[TickBatch]:
        """See FileSource.batches. Memory: a batch, and a block of each file that is read at the time."""
        counts = SourceCounts(work_total=self._work())
        streams = self._streams(counts)
        blocks = streams[0][1] if len(streams) == 1 else merge(streams)
        yield from cut(self._counted(blocks, counts), ticks_max)
        self._counts.keep(counts)

    def _counted(self, blocks: Iterator[Block], counts: SourceCounts) -> Iterator[Block]:
        for block in blocks:
            self._counts.keep(counts)
            yield block
