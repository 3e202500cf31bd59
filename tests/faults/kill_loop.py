"""The long run: SIGKILL to every child in turn, and to pairs of them, while the demo trades; a table of the ways back.

    python -m tests.faults.kill_loop --rounds 20

Each round kills every child once, one after the other, and then one pair. After each kill the engine must go on (the
LSN grows, new orders are filled); after each round no order id and no execution id may have been used twice, and no
tick may have been acted on twice. At the end: HALT, STATUS compared with an independent fold of the journal, an
ordered stop. Ends with code 1, and the directory kept, if any of that does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # as pytest does for its tests

from crashes import CHILDREN, Life, Tail, assert_sound, halt_and_compare, kill, trading_engine  # noqa: E402

PAIRS = tuple(itertools.combinations(CHILDREN, 2))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill_loop", description="SIGKILL to every child.")
    parser.add_argument("--rounds", type=int, default=20, help="how often every child is killed (default 20)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the pauses")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="seawall-kills-"))
    print(f"seed {arguments.seed}, directory {directory}", file=sys.stderr)
    lives: list[Life] = []
    began = time.monotonic()
    with trading_engine(directory) as engine:
        tail = Tail(engine)
        tail.wait_for_fills("the start")
        pauses = random.Random(arguments.seed)
        for number in range(arguments.rounds):
            for names in (*((name,) for name in CHILDREN), PAIRS[number % len(PAIRS)]):
                time.sleep(pauses.uniform(0.0, 0.1))  # so that kills fall everywhere
                lsn = tail.read().lsn
                found = kill(engine, *names)
                tail.wait_for_fills(f"the death of {' and '.join(names)}")
                assert tail.lsn > lsn
                lives += found if len(names) == 1 else []
            assert_sound(engine)
            print(f"round {number + 1}: LSN {tail.lsn}, {tail.fills} fills", file=sys.stderr)
        halt_and_compare(engine)
        assert_sound(engine)
        assert engine.stop() == 0
        deaths = len(engine.log_events("child_died"))
        tail.read()
    shutil.rmtree(directory)
    print_table(lives)
    print(
        f"{deaths} deaths, {tail.lsn} records, {tail.fills} fills in {time.monotonic() - began:.0f} s; "
        "no order id, no execution id, no tick twice; STATUS is the independent fold"
    )
    return 0


def print_table(lives: list[Life]) -> None:
    """From the signal to READY, seconds; the pairs are left out."""
    print(f"{'child':<16} {'kills':>5} {'p50':>7} {'p99':>7} {'max':>7}")
    for child in CHILDREN:
        seconds = sorted(life.seconds for life in lives if life.child == child)
        p50, p99 = seconds[len(seconds) // 2], seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)]
        print(f"{child:<16} {len(seconds):>5} {p50:>7.3f} {p99:>7.3f} {seconds[-1]:>7.3f}")


if __name__ == "__main__":
    sys.exit(main())
