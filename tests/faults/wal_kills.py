"""The long run: wal SIGKILLed under load, again and again, then the whole process group; nothing that was seen is lost.

    python -m tests.faults.wal_kills --kills 100

A consumer of the journal stream (observer.py) and a dashboard's SUB watch all the time. After each kill of wal the
engine must go on; after each kill of the group it is started anew. At the end every record that the consumer saw must
stand in the journal under its LSN with its crc32, no order or execution id twice, every fill that the dashboard saw
must be there, and STATUS must be the independent fold. Ends with code 1, and the directory kept, if not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # as pytest does for its tests

from crashes import Tail, assert_sound, halt_and_compare, kill, often, trading_engine  # noqa: E402
from harness import EngineUnderTest  # noqa: E402
from observer import Observer  # noqa: E402


def kill_wal(engine: EngineUnderTest, tail: Tail, pause_s: float) -> None:
    time.sleep(pause_s)  # so that kills fall everywhere
    kill(engine, "wal")
    tail.wait_for_fills("the death of wal")


def kill_group(engine: EngineUnderTest, pause_s: float) -> Tail:
    time.sleep(pause_s)
    engine.kill_all()
    engine.restart()
    tail = Tail(engine)
    tail.wait_for_fills("the death of all")
    return tail


def assert_nothing_seen_is_lost(engine: EngineUnderTest, observer: Observer, filled: set[int]) -> None:
    """filled: ids of the orders that a dashboard was told to be Filled."""
    assert not observer.wrong, observer.wrong
    seen = dict(observer.seen)  # before the journal is read: it goes on growing
    journal = engine.journal
    written = {entry.lsn: entry.crc for entry in journal}
    assert [entry.lsn for entry in journal] == list(range(journal[0].lsn, journal[-1].lsn + 1))
    lost = [lsn for lsn, crc in seen.items() if written.get(lsn) != crc]
    assert not lost, f"seen and not in the journal: {lost[:10]}"
    ended = {e.fields["order_id"] for e in journal if e.name == "ORDER_UPDATE" and e.fields["report"] == 2}
    assert filled <= ended, f"told as filled, and no fill in the journal: {sorted(filled - ended)[:10]}"
    assert_sound(engine)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.wal_kills", description="SIGKILL to wal, and to all.")
    parser.add_argument("--kills", type=int, default=100, help="of wal, and as many of the group (default 100)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the pauses")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="seawall-kills-"))
    print(f"seed {arguments.seed}, directory {directory}", file=sys.stderr)
    pauses, began = random.Random(arguments.seed), time.monotonic()
    with trading_engine(directory, strategies=[often(stride=10)]) as engine, Observer(engine.run_dir) as observer:
        telemetry = engine.telemetry("order_update")
        tail = Tail(engine)
        for number in range(1, arguments.kills + 1):
            kill_wal(engine, tail, pauses.uniform(0.0, 0.2))
            if number % 10 == 0:
                print(f"{number} kills of wal: LSN {tail.lsn}, {len(observer.seen)} seen", file=sys.stderr)
        for number in range(1, arguments.kills + 1):
            tail = kill_group(engine, pauses.uniform(0.0, 0.2))
            if number % 10 == 0:
                print(f"{number} kills of the group: LSN {tail.lsn}, {len(observer.seen)} seen", file=sys.stderr)
        halt_and_compare(engine)
        filled = {event["order_id"] for event in telemetry.events() if event["status"] == "Filled"}
        assert_nothing_seen_is_lost(engine, observer, filled)
        checkpoints = len(engine.records("CHECKPOINT"))
        assert engine.stop() == 0
    shutil.rmtree(directory)
    print(
        f"{arguments.kills} kills of wal and {arguments.kills} of the group in {time.monotonic() - began:.0f} s: "
        f"{len(observer.seen)} records seen, {len(filled)} fills told, "
        f"{checkpoints} checkpoints; all of them are in the journal, none twice; STATUS is the independent fold"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
