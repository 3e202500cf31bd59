"""The long run: tens of thousands of histories of the log and the journal on a disk that loses, tears and fails.

    python -m tests.faults.histories --histories 50000

Every fourth is of the plain log (log_history.py), the others of the journal (journal_history.py). Each is drawn from
`seed:number`, so that one alone can be played again. At the first broken promise the history is made as short as it
will go, what happens in it is printed, and the run ends with code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]  # as pytest does for its tests

from history import Counts, History, choosing_by, play  # noqa: E402
from journal_history import JournalHistory  # noqa: E402
from log_history import LogHistory  # noqa: E402
from simulated_disk import Choose  # noqa: E402

STEPS: Final = 20
PROGRESS_S: Final = 10.0
SHRINKS_MAX: Final = 20_000
"""Histories that shrinking may play: a minute."""


def kind_of(number: int) -> type[History]:
    return JournalHistory if number % 4 else LogHistory


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.histories", description="Histories of a bad disk.")
    parser.add_argument("--histories", type=int, default=50_000, help="how many in all (default 50000)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32), help="of all of them")
    parser.add_argument("--only", type=int, help="play the history of this number alone")
    given = parser.parse_args(arguments)
    counts, began, told_s = Counts(), time.monotonic(), time.monotonic()
    print(f"seed {given.seed}", file=sys.stderr)
    for number in range(given.histories) if given.only is None else (given.only,):
        try:
            play(kind_of(number), choosing_by(Random(f"{given.seed}:{number}")), STEPS, counts)
        except Exception:
            report(given.seed, number)
            return 1
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            print(f"{counts.histories} of {given.histories}", file=sys.stderr)
    print(f"{counts} in {time.monotonic() - began:.0f} s (seed {given.seed}): no promise broken")
    return 0


def report(seed: int, number: int) -> None:
    kind, drawn = kind_of(number), list[int]()
    choose = choosing_by(Random(f"{seed}:{number}"))

    def recording(limit: int) -> int:
        drawn.append(choose(limit))
        return drawn[-1]

    broken_by(kind, recording)
    shortest = shrink(kind, drawn)
    trace: list[str] = []
    error = broken_by(kind, replaying(shortest), trace)
    print(f"{kind.__name__} {number} of seed {seed} breaks a promise. What happens in it, made as short as it will go")
    print(f"(from {len(drawn)} choices to {len(shortest)}):")
    print("\n".join(f"    {line}" for line in trace))
    traceback.print_exception(error, limit=-6, chain=False, file=sys.stdout)
    print(f"choices {shortest}\nagain: python -m tests.faults.histories --seed {seed} --only {number}", flush=True)


def broken_by(kind: type[History], choose: Choose, trace: list[str] | None = None) -> Exception | None:
    """The error that a history ends with, if it does."""
    try:
        play(kind, choose, STEPS, Counts(), trace)
    except Exception as error:
        return error
    return None


def replaying(choices: Sequence[int]) -> Choose:
    """These choices in turn, the mildest after them; so a list with some of them left out is a history too."""
    left = iter(choices)
    return lambda limit: min(next(left, 0), limit - 1)


def shrink(kind: type[History], choices: list[int]) -> list[int]:
    """As few and as mild choices as still break a promise by the same kind of error."""
    wanted = type(broken_by(kind, replaying(choices)))
    plays, is_shorter = 0, True
    while is_shorter:
        is_shorter = False
        for candidate in simpler(choices):
            plays += 1
            if plays > SHRINKS_MAX:
                return choices
            if type(broken_by(kind, replaying(candidate))) is wanted:
                choices, is_shorter = candidate, True
                break
    return choices


def simpler(choices: list[int]) -> Iterator[list[int]]:
    """The list with a part left out, the largest parts first; then with one choice milder."""
    size = len(choices)
    while size:
        for start in range(0, len(choices) - size + 1, max(size // 2, 1)):
            yield choices[:start] + choices[start + size :]
        size //= 2
    for index, choice in enumerate(choices):
        for milder in {0, choice // 2, choice - 1} if choice else ():
            yield [*choices[:index], milder, *choices[index + 1 :]]


if __name__ == "__main__":
    sys.exit(main())
