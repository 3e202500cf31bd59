"""How long the engine is without one of its processes: a death, a hang, a start and a stop, in seconds.

    python -m tests.bench.restarts [--json FILE] [--dir DIR] [--kills N] [--hangs N] [--rounds N]

A death: from SIGKILL to READY in a new life, of each process that all others wait for, while the engine trades (2,000
ticks and 80 orders a second). No restart is put off by a pause: deaths are forgotten before the next. Of wal also until
the first record behind the last one that the dead life wrote is durable, as the gateway is told.
A hang: from SIGSTOP until the log says that the child hangs, over its deadline.
The supervisor's death: from SIGKILL, while it trades, starts or stops, until no child is left.
A start: from the start of the supervisor's process over nothing to READY of all. A stop: from SIGTERM, under that load
and without open orders, until the supervisor's process has ended.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sys
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep, time
from typing import Final

sys.path[:0] = [str(Path(__file__).parents[1])]  # as pytest does for its tests

from harness import EngineUnderTest, config_tree, wait_for  # noqa: E402

from tests.bench.report import Report, bench_directory, median, parser, percentile, surroundings  # noqa: E402
from tests.faults.crashes import Tail, kill, trading_engine  # noqa: E402

KILLED: Final = ("risk", "order_routing", "wal", "gateway")
READY_P50_S, READY_P99_S, DURABLE_P99_S = 0.4, 1.0, 1.0
DEADLINE_S: Final = 1.0
NOTICED_AIM: Final = 1.1
"""Of the deadline."""
START_AIM_S, STOP_AIM_S, ORPHANS_AIM_S = 1.5, 1.0, 2.0


def time_deaths(directory: Path, kills: int) -> tuple[dict[str, list[float]], list[float]]:
    """child -> seconds to READY; seconds from the death of wal to the next durable record."""
    ready: dict[str, list[float]] = {name: [] for name in KILLED}
    durable = []
    with trading_engine(directory) as engine:
        tail = Tail(engine)
        for _ in range(kills):
            for name in KILLED:
                tail.wait_for_fills("the life before")
                if name == "wal":
                    durable.append(_time_to_durable(engine, tail))
                else:
                    ready[name].append(kill(engine, name)[0].seconds)
            tail.wait_for_fills("wal")
            ready["wal"].append(kill(engine, "wal")[0].seconds)
    return ready, durable


def _time_to_durable(engine: EngineUnderTest, tail: Tail) -> float:
    wal = os.pidfd_open(engine.child_pid("wal"))
    begun = monotonic()
    signal.pidfd_send_signal(wal, signal.SIGKILL)
    wait_for(lambda: _has_ended(wal), "the death of wal")
    os.close(wal)
    last = tail.read().lsn
    wait_for(lambda: engine.ask("HEALTH")["lsn"] > last, "a record of the next life")
    return monotonic() - begun


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def time_hangs(directory: Path, hangs: int) -> list[float]:
    """Seconds from SIGSTOP to the word in the log."""
    seconds = []
    deadlines = dict.fromkeys(("idle", "working", "hook", "venue_call"), DEADLINE_S)
    policy = {"restarts": 1000, "window_s": 0.2, "deadlines": deadlines}
    with trading_engine(directory, supervisor=policy) as engine:
        tail = Tail(engine)
        for number in range(hangs):
            name = ("risk", "order_routing", "gateway", "strategy.often")[number % 4]
            tail.wait_for_fills("the life before")
            before = len(engine.log_events("child_hung"))
            begun = time()
            os.kill(engine.child_pid(name), signal.SIGSTOP)
            said = wait_for(lambda before=before: engine.log_events("child_hung")[before:], f"{name} taken for hung")
            seconds.append(_stamp(said[0]) - begun)
    return seconds


def _stamp(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def time_lives(directory: Path, rounds: int) -> tuple[list[float], list[float]]:
    """(seconds to READY of all over nothing, seconds to the end of an ordered stop under load)."""
    starts, stops = [], []
    for _ in range(rounds):
        shutil.rmtree(directory, ignore_errors=True)
        engine = EngineUnderTest(directory, config_tree())
        begun = time()
        with engine:
            starts.append(_stamp(engine.log_events("engine_ready")[0]) - begun)
            engine.stop()
        shutil.rmtree(directory)
        with trading_engine(directory) as engine:
            Tail(engine).wait_for_fills("the start", 20)
            begun = time()
            engine.process.send_signal(signal.SIGTERM)
            assert engine.process.wait(60) == 0
            stops.append(time() - begun)
    return starts, stops


def time_orphans(directory: Path, rounds: int) -> list[float]:
    """Seconds from SIGKILL to the supervisor until none of its children is left; at any moment of a life."""
    seconds = []
    chance = random.Random(1)
    with trading_engine(directory) as engine:
        for number in range(rounds):
            if number % 3 == 0:
                Tail(engine).wait_for_fills("the start")
            elif number % 3 == 1:
                sleep(chance.uniform(0.0, 1.0))
            else:
                engine.process.send_signal(signal.SIGTERM)
                sleep(chance.uniform(0.0, 0.3))
            begun = monotonic()
            engine.process.kill()
            engine.process.wait()
            wait_for(lambda: not engine.pids(), "the children to have ended")
            seconds.append(monotonic() - begun)
            engine.start()
            if number % 3 != 0:  # else it is killed while it starts
                engine.wait_ready()
    return seconds


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--kills", type=int, default=100, help="of each process (%(default)s)")
    options.add_argument("--hangs", type=int, default=40, help="(%(default)s)")
    options.add_argument("--rounds", type=int, default=20, help="starts and stops (%(default)s)")
    chosen = options.parse_args()
    with bench_directory(chosen.dir) as directory:
        facts = surroundings(directory)
        ready, durable = time_deaths(directory / "deaths", chosen.kills)
        noticed = [seconds / DEADLINE_S for seconds in time_hangs(directory / "hangs", chosen.hangs)]
        starts, stops = time_lives(directory / "lives", chosen.rounds)
        orphans = time_orphans(directory / "orphans", 3 * chosen.rounds)
    report = Report("restarts", facts)
    for name, seconds in ready.items():
        report.add_at_most(f"{name}: SIGKILL to READY, p50", median(seconds), "s", READY_P50_S)
        report.add_at_most(f"{name}: SIGKILL to READY, p99", percentile(seconds, 99), "s", READY_P99_S)
    report.add_at_most("wal: SIGKILL to a durable record, p99", percentile(durable, 99), "s", DURABLE_P99_S)
    report.add_at_most("a hang is noticed, p99", percentile(noticed, 99), "of the deadline", NOTICED_AIM)
    report.add_at_most("start to READY of all, p50", median(starts), "s", START_AIM_S)
    report.add_at_most("ordered stop under load, p50", median(stops), "s", STOP_AIM_S)
    report.add("ordered stop under load, p99", percentile(stops, 99), "s")
    report.add_at_most("supervisor: SIGKILL to no child left, worst", max(orphans), "s", ORPHANS_AIM_S)
    report.finish(chosen.json)


if __name__ == "__main__":
    main()
