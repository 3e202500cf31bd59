"""A sample of flips.py: all of the last records, and of the others some."""

from __future__ import annotations

from random import Random

from flips import RECORDS, check, write


def test_flips_and_cuts_of_500_records_get_the_verdict_of_the_table() -> None:
    written = write()
    assert len(written.offsets) == RECORDS + 1
    size, last = len(written.content), written.offsets[-9]
    verdicts = check(written, iter([*Random(1).sample(range(last), 60), *range(last, size, 11)]))
    assert {"flip corrupt", "flip torn", "cut corrupt", "cut torn"} <= set(verdicts)
