"""A start of the whole engine over a long history with a checkpoint, beside a start over nothing: to READY, in seconds.

    python -m tests.bench.start [--json FILE] [--dir DIR] [--records N] [--rounds N]

The history is one of trading, rolled every `wal.checkpoint_records` as wal rolls it, and ends half-way between two
checkpoints: what a start folds on average. From the start of the process to its `engine_ready`, both kinds in turn.
"""

from __future__ import annotations

import shutil
import sys
from datetime import datetime
from itertools import islice
from pathlib import Path
from time import time
from typing import Final

sys.path[:0] = [str(Path(__file__).parents[1])]  # as pytest does for its tests

from harness import EngineUnderTest, config_tree, free_endpoint  # noqa: E402

from actors.fold_state import take_state  # noqa: E402
from protocol.records import EntryType, Producer, decode_record  # noqa: E402
from protocol.settings import WalSettings  # noqa: E402
from protocol.state import encode_state  # noqa: E402
from protocol.wal.format import iterate_payload  # noqa: E402
from protocol.wal.journal import Journal  # noqa: E402
from tests.bench.report import Report, bench_directory, median, parser, surroundings  # noqa: E402
from tests.bench.traffic import JOURNAL_ID, SYMBOLS, Trading  # noqa: E402

READY_AIM_S: Final = 1.0
CHECKPOINT_RECORDS: Final = WalSettings().checkpoint_records
BATCH: Final = 1000


def write_history(directory: Path, count: int) -> tuple[int, int]:
    """(records, those behind the last checkpoint) of a journal of some `count` and half a checkpoint's distance."""
    journal, trading = Journal(directory), Trading()
    journal.open(lambda journal_id: 0)
    entries, left = trading.entries(2 * count), count // CHECKPOINT_RECORDS
    journal.create(JOURNAL_ID, next(entries))
    while left or journal.tail_lsn - journal.first_lsn < CHECKPOINT_RECORDS // 2:
        journal.append_batch(list(islice(entries, BATCH)))
        if left and journal.tail_lsn - journal.first_lsn >= CHECKPOINT_RECORDS:
            checkpoint(journal, trading)
            left -= 1
    journal.close()
    return journal.tail_lsn, journal.tail_lsn - journal.first_lsn


def checkpoint(journal: Journal, trading: Trading) -> None:
    journal.sync()
    lsn = journal.tail_lsn
    journal.checkpoint(0, [("risk", lsn, encode_state(take_state(trading.fold)))])
    envelope, _, data = next(iterate_payload(journal.read(lsn + 1, 1)[2]))
    assert envelope.producer == Producer.WAL
    trading.fold.apply(envelope, decode_record(EntryType.CHECKPOINT, data))


def start_engine(directory: Path, history: Path | None) -> float:
    """Seconds from the start of the supervisor's process to READY of all."""
    shutil.rmtree(directory, ignore_errors=True)
    if history is not None:
        shutil.copytree(history, directory / "run" / "wal")
    instruments = [{"symbol": symbol, "tick_size": 0.00001, "lot_size": 1.0} for symbol in SYMBOLS]
    gateway = {key: free_endpoint() for key in ("command", "telemetry", "broadcast")}
    engine = EngineUnderTest(directory, config_tree(instruments=instruments, gateway=gateway))
    begun = time()
    try:
        engine.start()
        engine.wait_ready()
        ready = datetime.fromisoformat(engine.log_events("engine_ready")[0]["timestamp"]).timestamp()
        assert engine.stop() == 0
    finally:
        engine.close()
    return ready - begun


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=5_000_000, help="(%(default)s)")
    options.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    chosen = options.parse_args()
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        records, behind = write_history(directory / "history", chosen.records)
        facts["records"], facts["behind the checkpoint"] = f"{records:,}", f"{behind:,}"
        empty, full = [], []
        for _ in range(chosen.rounds):
            empty.append(start_engine(directory / "engine", None))
            full.append(start_engine(directory / "engine", directory / "history"))
    report = Report("start", facts)
    report.add("READY over nothing", median(empty), "s", "the floor: processes and imports")
    ratio = f"{median(full) / median(empty):.2f} of the floor"
    report.add_at_most("READY over the history", median(full), "s", READY_AIM_S, ratio)
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
