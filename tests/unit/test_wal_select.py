"""Which entries of a journal are read for a table: of a live engine's those that were there when reading began."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_wal_roll import opened
from wal_journals import build, entry

from protocol.wal.storage import RealStorage
from supervisor.cli.wal_filters import Filter
from supervisor.cli.wal_journal import Place
from supervisor.cli.wal_select import wanted_records


@pytest.mark.parametrize("is_live", [True, False])
def test_a_table_of_a_live_journal_ends_where_it_ended_when_reading_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    """Else an engine that rolls faster than one reads would keep the reader for ever."""
    monkeypatch.setattr(Place, "is_live", is_live)
    build(RealStorage(), tmp_path)
    journal = opened(RealStorage(), tmp_path)
    journal.checkpoint(1_000, ())
    read: list[int] = []
    for envelope, _, _ in wanted_records(Place(tmp_path, None, None), Filter(), None):
        read.append(envelope.lsn)
        if journal.tail_lsn < 40:  # as long as it is read it rolls on
            journal.checkpoint(1_000, ())
            journal.append_batch([entry(journal.tail_lsn + 1)])
            journal.sync()
    journal._release()
    assert read[:13] == list(range(1, 14))
    assert read[-1] == (13 if is_live else journal.tail_lsn)
