"""Chaos: whatever goes wrong, on every process, one by one and in pairs; the venue outside, with books of its own.

    python -m tests.faults.chaos --faults 1000 --seed 1

Faults and moments come from the tables of chaos_faults.py; what strikes whom, and when, is drawn. After each the engine
must trade again within a deadline, or stay halted if it was, and its log and its telemetry must say what happened. At
the end trading is halted, which flattens, and the journal is compared with the venue's own books (venue_kills.compare)
and with an independent fold of it: nothing is lost, nothing doubled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from chaos_faults import EVERYONE, OF_ALL, OTHERS, PHASES, SIGNALS, ChaosEngine, Scene, impossible_here
from harness import wait_for
from venue_kills import compare, wait_until_settled

DEATHS: Final = ("killed", "crashed")
"""After which the victim has certainly died, at once."""


@dataclass(frozen=True)
class Case:
    """One fault, drawn."""

    kind: str
    victims: tuple[str, ...] = ()
    phase: str = "trading"

    def __str__(self) -> str:
        of = f" of {', '.join(self.victims)}" if self.victims else ""
        return f"{self.kind}{of}, {self.phase}"


def parse_case(text: str) -> Case:
    """From how it is printed."""
    struck, _, phase = text.rpartition(", ")
    kind, _, victims = struck.partition(" of ")
    return Case(kind, tuple(victims.split(", ")) if victims else (), phase)


@dataclass
class Outcome:
    cases: list[Case] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """From the fault until the engine trades again, its moment included."""
    orders: int = 0
    executions: int = 0


def draw(seed: int) -> Iterator[Case]:
    """Each kind once; then, again and again, each kind of SIGNALS at each moment and each of OTHERS twice."""
    chance = random.Random(seed)
    singly, pairs = [(name,) for name in EVERYONE], list(itertools.combinations(EVERYONE, 2))
    others = [kind for kind in OTHERS if kind not in impossible_here()]
    rows = [Case(kind, phase=chance.choice(list(PHASES))) for kind in SIGNALS] + [Case(kind) for kind in others]
    while True:
        chance.shuffle(rows)
        for row in rows:
            if row.kind in OTHERS or row.kind in OF_ALL:
                yield row
            else:
                yield replace(row, victims=chance.choice(chance.choice((singly, pairs))))
        rows = [Case(kind, phase=phase) for kind in SIGNALS for phase in PHASES] + [Case(kind) for kind in others] * 2


def carry_out(scene: Scene, case: Case) -> None:
    """The fault has struck, and what it leads to has been seen. Raises: AssertionError."""
    if case.kind in OTHERS:
        OTHERS[case.kind](scene)
        return
    victims = case.victims or ("all",)
    deaths = [scene.seen("child_died", name=name) for name in case.victims if case.kind in DEATHS]
    told = len(scene.states.receive())

    def strike() -> None:
        for victim in victims:
            SIGNALS[case.kind](scene, victim)
            scene.pause(0.2)

    PHASES[case.phase](scene, strike)
    if case.phase in ("trading", "checkpoint"):
        for name, is_said in zip(case.victims, deaths, strict=False):
            wait_for(is_said, f"the log to tell of the death of {name}")
            if "gateway" not in case.victims:  # who tells of it
                wait_for(lambda name=name: name in _restarted(scene, told), f"telemetry to tell of {name}'s next life")


def _restarted(scene: Scene, since: int) -> set[str]:
    """Whose next life telemetry has told of since it had told so much."""
    events = (json.loads(frame) for frame in scene.states.receive()[since:])
    return {event["name"] for event in events if event["restarts"] and event["state"] == "ready"}


def play(scene: Scene, cases: Sequence[Case]) -> list[float]:
    seconds = []
    for number, case in enumerate(cases):
        began = time.monotonic()
        try:
            carry_out(scene, case)
            scene.tail.wait_for_fills(f"{case}")
        except AssertionError as error:
            raise AssertionError(f"fault {number}: {case}: {error}") from error
        seconds.append(time.monotonic() - began)
        print(f"{number:5}  {seconds[-1]:6.2f} s  {case}", file=sys.stderr, flush=True)
    return seconds


def run(directory: Path, cases: list[Case], seed: int) -> Outcome:
    """Raises: AssertionError naming what does not hold."""
    with ChaosEngine(directory) as engine:
        scene = Scene(engine, random.Random(seed))
        scene.tail.wait_for_fills("the start")
        seconds = play(scene, cases)
        assert engine.ask("HALT the end")["status"] == "ok"
        wait_until_settled(engine)
        assert engine.status_positions() == engine.independent_positions()
        return Outcome(cases, seconds, *compare(engine))


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--faults", type=int, default=1000)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options.add_argument("--case", help='this one alone, again and again: "crashed of gateway, market_data, halt"')
    options.add_argument("--keep", type=Path, metavar="DIR", help="an empty directory for the engine, to be looked at")
    parsed = options.parse_args(arguments)
    cases = itertools.repeat(parse_case(parsed.case)) if parsed.case else draw(parsed.seed)
    cases = list(itertools.islice(cases, parsed.faults))
    print(f"seed {parsed.seed}", file=sys.stderr)
    for kind, why in impossible_here().items():
        print(f"without {kind!r}: {why}", file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(parsed.keep or Path(directory), cases, parsed.seed)
    for name, count in sorted(Counter(f"{case.kind}, {case.phase}" for case in outcome.cases).items()):
        print(f"{count:5}  {name}")
    struck = Counter(name for case in outcome.cases for name in case.victims)
    print("struck: " + ", ".join(f"{name} {count}" for name, count in sorted(struck.items())))
    took_s = time.monotonic() - began
    print(f"seed {parsed.seed}: {parsed.faults} faults in {took_s:.0f} s: {outcome.orders} orders and "
          f"{outcome.executions} executions, the same in the journal and at the venue")  # fmt: skip


if __name__ == "__main__":
    main()
