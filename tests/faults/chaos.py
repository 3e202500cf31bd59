"""Chaos: whatever goes wrong, on every child, one by one and in pairs; the venue outside, with books of its own.

    python -m tests.faults.chaos --faults 1000 --seed 1

Each fault comes from one list (FAULTS); its victim and the moment are drawn: while the engine trades, while another
fault is being recovered from, while it starts or stops, under HALT. After each the engine must trade again within a
deadline, or stay halted if it was, and its log must name what happened. At the end trading is halted, which flattens,
and the journal is compared with the venue's own books (venue_kills.compare): nothing is lost, nothing doubled.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from crashes import CHECKPOINT_RECORDS, CHILDREN, Tail
from harness import EngineUnderTest, config_tree, wait_for
from venue_kills import EVERYTHING, LINE, compare, is_settled

EVERYONE: Final = (*CHILDREN, "venue")
STRATEGY: Final = "strategy.often"
TRAPS: Final = '''

class Trapped(Everything):
    """Does what the files in its directory say: `stick` is an endless loop, `leak` all memory, `raise` an exception."""

    hoard = []

    def on_tick(self, tick):
        while os.path.exists("stick"):
            pass
        while os.path.exists("leak"):
            self.hoard.append(bytearray(1 << 22))
        if os.path.exists("raise"):
            raise RuntimeError("as asked")
        super().on_tick(tick)
'''
DEADLINES: Final = {"idle": 1.0, "working": 3.0, "hook": 1.0, "venue_call": 3.0, "syncing": 20.0}


def chaos_engine(directory: Path) -> EngineUnderTest:
    tree = config_tree(
        strategies=[{"name": "often", "class": "everything:Trapped", "symbols": ["EURUSD"]}],
        supervisor={
            "restarts": 10_000, "window_s": 0.2, "deadlines": DEADLINES, "limits": {STRATEGY: {"memory_mb": 400}},
        },
        wal={"checkpoint_records": CHECKPOINT_RECORDS},
        risk={"on_halt": "flatten"},
        order_routing={"venue": "simulated", "in_doubt_grace_s": 0.3, "line": LINE},
    )  # fmt: skip
    return EngineUnderTest(directory, tree, files={"everything.py": f"import os\n{EVERYTHING}{TRAPS}"})


class Chaos:
    """An engine, and what is done to it."""

    def __init__(self, engine: EngineUnderTest, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.tail = Tail(engine)
        self.tail.wait_for_fills("the start")

    def run(self, faults: int) -> None:
        """So many faults; each kind about as often."""
        kinds = list(FAULTS)
        for number in range(faults):
            if not number % len(kinds):
                self.random.shuffle(kinds)
            kind = kinds[number % len(kinds)]
            victims = self._victims(kind)
            for victim in victims:
                self.done[f"{kind} {victim}"] += 1
                FAULTS[kind](self, victim)
                time.sleep(self.random.choice((0.0, 0.0, self.random.uniform(0.0, 0.3))))  # the next falls anywhere
            self.tail.wait_for_fills(f"fault {number}: {kind} of {', '.join(victims)}")

    def _victims(self, kind: str) -> Sequence[str]:
        if kind in OF_STRATEGY:
            return (STRATEGY,)
        if kind in OF_ALL:
            return ("all",)
        return self.random.choice((*((name,) for name in EVERYONE), *itertools.combinations(EVERYONE, 2)))

    def signal(self, victim: str, number: int) -> int:
        """Its pid."""
        pid = wait_for(lambda: self.engine.child_pid(victim), f"a process of {victim}")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return self.signal(victim, number)  # it has died of the fault before
        return pid

    def trap(self, file: str, event: str, **facts: object) -> None:
        """The strategy falls into it; its death is seen, and the next life goes on."""
        seen = len(self.engine.log_events(event, **facts))
        trap = self.engine.directory / file
        trap.touch()
        wait_for(lambda: len(self.engine.log_events(event, **facts)) > seen, f"{file}: {event} in the log")
        trap.unlink()


def killed(chaos: Chaos, victim: str) -> None:
    chaos.signal(victim, signal.SIGKILL)


def crashed(chaos: Chaos, victim: str) -> None:
    chaos.signal(victim, signal.SIGSEGV)


def hung(chaos: Chaos, victim: str) -> None:
    """Until its deadline: it is killed for it."""
    chaos.signal(victim, signal.SIGSTOP)


def paused(chaos: Chaos, victim: str) -> None:
    """For less than its deadline, and for longer than J3 waits."""
    pid = chaos.signal(victim, signal.SIGSTOP)
    time.sleep(chaos.random.uniform(0.05, 0.4))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def stuck(chaos: Chaos, _: str) -> None:
    chaos.trap("stick", "child_hung", name=STRATEGY)


def leaking(chaos: Chaos, _: str) -> None:
    chaos.trap("leak", "hook_failed")


def raising(chaos: Chaos, _: str) -> None:
    chaos.trap("raise", "hook_failed")


def lost_supervisor(chaos: Chaos, _: str) -> None:
    """All children end by themselves; the next start goes on."""
    chaos.engine.process.kill()
    chaos.engine.process.wait()
    wait_for(lambda: not chaos.engine.pids(), "the children to have ended")
    begin_again(chaos)


def group_killed(chaos: Chaos, _: str) -> None:
    chaos.engine.kill_all()
    begin_again(chaos)


def killed_while_starting(chaos: Chaos, _: str) -> None:
    """Some child dies before the engine is ready."""
    chaos.engine.kill_all()
    chaos.engine.start()
    chaos.signal(chaos.random.choice(EVERYONE), signal.SIGKILL)
    chaos.engine.wait_ready()


def killed_while_stopping(chaos: Chaos, _: str) -> None:
    chaos.engine.process.send_signal(signal.SIGTERM)
    victim = chaos.random.choice(EVERYONE)
    pid = chaos.engine.child_pid(victim)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    chaos.engine.wait()
    begin_again(chaos)


def killed_when_halted(chaos: Chaos, _: str) -> None:
    """HALT is kept, whoever dies; an ordered stop ends it."""
    engine = chaos.engine
    assert engine.ask("HALT chaos")["status"] == "ok"
    for victim in chaos.random.sample(EVERYONE, 2):
        chaos.signal(victim, signal.SIGKILL)
    wait_for(lambda: engine.ask("STATUS").get("halted"), "STATUS to say that it is halted")
    wait_for(lambda: is_settled(engine), "the position to be closed")
    engine.process.send_signal(signal.SIGTERM)
    engine.wait()
    begin_again(chaos)
    assert not engine.ask("STATUS")["halted"]


def begin_again(chaos: Chaos) -> None:
    chaos.engine.start()
    chaos.engine.wait_ready()


Fault = Callable[[Chaos, str], None]
FAULTS: Final[dict[str, Fault]] = {
    "killed": killed, "crashed": crashed, "hung": hung, "paused": paused, "stuck": stuck, "leaking": leaking,
    "raising": raising, "lost supervisor": lost_supervisor, "group killed": group_killed,
    "killed while starting": killed_while_starting, "killed while stopping": killed_while_stopping,
    "killed when halted": killed_when_halted,
}  # fmt: skip
OF_STRATEGY: Final = ("stuck", "leaking", "raising")
OF_ALL: Final = (
    "lost supervisor", "group killed", "killed while starting", "killed while stopping", "killed when halted",
)  # fmt: skip


def run(directory: Path, faults: int, seed: int) -> tuple[Counter[str], int, int]:
    """(how often each fault was done, orders, executions). Raises: AssertionError naming what does not hold."""
    with chaos_engine(directory) as engine:
        chaos = Chaos(engine, seed)
        chaos.run(faults)
        assert engine.ask("HALT the end")["status"] == "ok"
        wait_for(lambda: is_settled(engine), "every order to have ended, and the position with them, here and there")
        return chaos.done, *compare(engine)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--faults", type=int, default=1000)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parsed = options.parse_args(arguments)
    print(f"seed {parsed.seed}", file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        done, orders, executions = run(Path(directory), parsed.faults, parsed.seed)
    for name, count in sorted(done.items()):
        print(f"{count:5}  {name}")
    print(f"{parsed.faults} faults in {time.monotonic() - began:.0f} s: {orders} orders and {executions} executions, "
          "the same in the journal and at the venue")  # fmt: skip


if __name__ == "__main__":
    main()
