"""HALT as an operator sends it, over a REQ socket to the engine's command endpoint: how long until its reply.

    python -m tests.bench.halt [--json FILE] [--dir DIR] [--trials N] [--cases A,B] [--engines N]

A HALT is latched for good, and the gateway answers one more from what it knows ("HALT again" in the notes: neither the
wait for sends nor the disk is in it). So that each trial is a HALT that the gateway carries out whole (a token of its
own, the page on disk, the wait until no send is under way), the page alone is cleared before it, as an operator's stop
clears it. The journal's own halt stays, by which the engine trades no more after its first: the first HALT of each
engine, which does find trading, is listed by itself, and in the case `sends` a process stands in order_routing's place
that obeys the page alone.

Before each trial a PING and an fsync of a mapped page are timed in the same engine: a HALT cannot do without either.
The bench's own threads run before all others while it measures, where the system lets them (the caption says so): on a
busy machine it else measures how long the operator's side waits for a core (584 of 603 ms in one HALT), not the engine.

No send may begin after the reply. In `sends` the sender counts; else the journal tells: order_routing brackets each
order that it sends or turns back by the page's send_begin, in the order of the answers in the journal, so all answers
behind the send_begin that stood there at the first reply must be `trading_halted`. Exits with 1 if one is not. (Both
are read when the reply is here: what began while it was on its way counts as before it.)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import zmq

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("", "faults")]  # as pytest does for its tests

from harness import DEADLINE_S, NO_DEADLINES, EngineUnderTest, Tree, config_tree, sma_cross, wait_for  # noqa: E402
from journal_reader import JournalEntry  # noqa: E402

from actors.latch import LATCH_NAME, Latch  # noqa: E402
from actors.mapped import MappedPage, create_page  # noqa: E402
from protocol.client import control_endpoint  # noqa: E402
from tests.bench.halt_sender import Sender  # noqa: E402
from tests.bench.halt_strategies import FLOODED, LOOPS  # noqa: E402
from tests.bench.report import Report, bench_directory, parser, percentile, surroundings  # noqa: E402
from tests.faults.attack import attacked  # noqa: E402

AIM_MS: Final = 5.0
PAUSE_S: Final = 0.005
"""Between two trials, for the record of the one before to be on disk."""
SEND_BEGIN: Final = 2
"""The page's word, as actors/latch.py lays it out."""
SENT_FIRST: Final = 50
"""Orders that have left before the first HALT, where there is trading."""
TRIED_FIRST: Final = 100
"""Sends of the sender between two events, so that each finds it at work."""
ACCEPT, REJECT = 1, 4
TICKS_S: Final = 2000.0


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    what: str
    strategies: Sequence[Tree]
    stopped: str = ""
    """The child that has got SIGSTOP."""
    sent_first: int = SENT_FIRST
    loops: bool = False
    has_sender: bool = False
    attacks: Sequence[str] = ()
    """Of tests/faults/attackers.py, that go on meanwhile; HALT then comes on the control socket, as that of the CLI."""


def own(kind: str) -> Tree:
    return {"name": kind.lower(), "class": f"tests.bench.halt_strategies:{kind}", "symbols": ["EURUSD"]}


TRADING: Final = sma_cross("sma", ["EURUSD"])
CASES: Final = (
    Case("idle", "nothing to send", [own("Silent")], sent_first=0),
    Case("signals", "a strategy asks 20,000 times a second", [own("Flood")], sent_first=1000),
    Case("risk", "risk stopped", [TRADING], stopped="risk"),
    Case("loop", "a strategy in an endless loop", [TRADING, own("Endless")], loops=True),
    Case("wal", "wal stopped", [TRADING], stopped="wal"),
    Case("attacked", "outsiders flood the gateway", [TRADING],
         attacks=("ping flood", "many subscriptions", "half handshakes")),
    Case("sends", "a process that sends without end", [own("Silent")], sent_first=0, has_sender=True),
)  # fmt: skip


@dataclass(slots=True)
class Times:
    """Milliseconds."""

    first: list[float] = field(default_factory=list)
    halt: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    ping: list[float] = field(default_factory=list)
    fsync: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Measured:
    """Of one case, over its engines."""

    times: Times = field(default_factory=Times)
    in_flight: int = 0
    unsynced: int = 0
    sent: int = 0
    refused: int = 0
    """By the latch."""
    sent_after: int = 0
    flood: list[Tree] = field(default_factory=list)


class Operator:
    """A REQ socket at the command endpoint, or at the control socket, and the latch page in sight."""

    def __init__(self, engine: EngineUnderTest, measured: Measured, *, by_control: bool) -> None:
        self._measured = measured
        self._request = engine.context.socket(zmq.REQ)
        self._request.setsockopt(zmq.LINGER, 0)
        self._request.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        self._request.connect(control_endpoint(engine.run_dir) if by_control else engine.endpoint("command"))
        self._latch = Latch(engine.run_dir / LATCH_NAME)
        self._page = MappedPage(engine.run_dir / LATCH_NAME, writable=False)
        floor = engine.directory / "floor"
        create_page(floor, b"")
        self._floor = MappedPage(floor)

    def close(self) -> None:
        self._request.close(0)
        self._latch.close()
        for page in (self._page, self._floor):
            page.close()

    @property
    def send_begin(self) -> int:
        return self._page.words[SEND_BEGIN]

    def ping(self) -> float:
        begun = perf_counter_ns()
        self._request.send(b"PING")
        reply = self._request.recv()
        taken = _ms_since(begun)
        assert b"PONG" in reply, reply
        return taken

    def fsync(self) -> float:
        self._floor.words[0] += 1
        begun = perf_counter_ns()
        self._floor.sync()
        return _ms_since(begun)

    def halt(self) -> float:
        begun = perf_counter_ns()
        self._request.send(b"HALT bench")
        answer = self._request.recv()
        taken = _ms_since(begun)
        reply: dict[str, Any] = json.loads(answer)
        assert reply["response"] == "Trading halted", reply
        self._measured.in_flight += reply.get("in_flight", 0)
        self._measured.unsynced += reply.get("unsynced", 0)
        return taken

    def clear_page(self) -> None:
        """The page is as after an operator's stop; the journal knows better."""
        self._latch.set_cleared(self._latch.halt_token)


def _ms_since(begun_ns: int) -> float:
    return (perf_counter_ns() - begun_ns) / 1e6


def measure_engine(case: Case, directory: Path, trials: int, measured: Measured) -> None:
    """One engine's first HALT, and `trials` more."""
    tree = config_tree(
        engine={"name": "bench"},
        strategies=list(case.strategies),
        market_data={"rate": TICKS_S},
        risk={"max_position_per_symbol": 1_000_000.0},
        supervisor={"stop_timeout_s": 1.0 if case.loops else DEADLINE_S, "deadlines": NO_DEADLINES},
    )
    engine = EngineUnderTest(directory, tree)
    with ExitStack() as stack:
        stack.callback(engine.close)
        engine.start()
        engine.wait_ready()
        with ExitStack() as inner:
            operator = Operator(engine, measured, by_control=bool(case.attacks))
            inner.callback(operator.close)
            wait_for(lambda: operator.send_begin >= case.sent_first, f"{case.sent_first} orders sent")
            if case.loops:
                wait_for(lambda: engine.log_events(LOOPS), "the endless loop")
            if case.attacks:
                inner.enter_context(attacked(engine, *case.attacks))
                wait_for(lambda: engine.log_events("outsiders_cut"), "the attack to be felt")
            sender = inner.enter_context(Sender(engine.run_dir / LATCH_NAME)) if case.has_sender else None
            with stopped_child(engine, case.stopped) as is_stopped, first_in_line():
                gateway = engine.child_pid("gateway")
                try:
                    first_replied = measure_trials(operator, trials, measured, is_stopped, sender)
                except zmq.Again as error:
                    lives = f"gateway's pid {gateway} before, {engine.child_pid('gateway')} now"
                    said = [line for line in engine.log_text().splitlines() if "trading_halted" not in line]
                    raise AssertionError("\n".join([f"{case.name}: no answer; {lives}", *said[-50:]])) from error
        engine.stop()
        measured.flood += engine.log_events(FLOODED)
        if not case.has_sender:
            check_journal(engine, first_replied, measured)


def measure_trials(
    operator: Operator, trials: int, measured: Measured, is_stopped: Callable[[], bool], sender: Sender | None
) -> int:
    """The first HALT and `trials` more; returns send_begin as it stood at the first reply."""
    times, first_replied = measured.times, 0
    for number in range(trials + 1):
        times.ping.append(operator.ping())
        times.fsync.append(operator.fsync())
        if number:
            operator.clear_page()
        if sender is not None:
            _wait_for_more(lambda: sender.sends, "sends on an open page")
        assert is_stopped(), "the child goes on"
        taken = operator.halt()
        begun, sends = operator.send_begin, sender.sends if sender is not None else 0
        assert is_stopped(), "the child goes on"
        (times.halt if number else times.first).append(taken)
        first_replied = first_replied if number else begun
        times.again.append(operator.halt())
        time.sleep(PAUSE_S)
        if sender is not None:
            _wait_for_more(lambda: operator.send_begin, "sends tried on a halted page")
            measured.sent_after += sender.sends - sends
            measured.refused += operator.send_begin - begun
    measured.sent += sender.sends if sender is not None else 0
    return first_replied


def _wait_for_more(counter: Callable[[], int], what: str) -> None:
    enough = counter() + TRIED_FIRST
    wait_for(lambda: counter() >= enough, f"{TRIED_FIRST} {what}")


@contextmanager
def first_in_line() -> Iterator[bool]:
    """Inside it the threads of this process, ZeroMQ's too, run before those of others; whether the system allows it.

    What is started inside does not inherit it. Source: sched(7), SCHED_FIFO and SCHED_RESET_ON_FORK.
    """
    threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    try:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def stopped_child(engine: EngineUnderTest, name: str) -> Iterator[Callable[[], bool]]:
    """Inside it the child stands still, and what is given says whether it still does; no name, no child."""
    if not name:
        yield lambda: True
        return
    pid = engine.child_pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: _process_state(pid) == "T", f"{name} stopped")
        yield lambda: _process_state(pid) == "T"
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _process_state(pid: int) -> str:
    """Source: proc(5), /proc/PID/stat, field 3."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return stat[stat.rfind(")") + 2]


def check_journal(engine: EngineUnderTest, first_replied: int, measured: Measured) -> None:
    """Counts the orders of this engine that were sent, turned back, and sent after the first reply."""
    page = MappedPage(engine.run_dir / LATCH_NAME, writable=False)
    brackets = page.words[SEND_BEGIN]
    page.close()
    were_sent = outcomes(engine.journal)
    assert len(were_sent) == brackets, f"{len(were_sent)} orders answered, {brackets} sends begun"
    measured.sent += sum(were_sent)
    measured.refused += len(were_sent) - sum(were_sent)
    measured.sent_after += sum(were_sent[first_replied:])


def outcomes(journal: list[JournalEntry]) -> list[bool]:
    """Of each send that order_routing began, in order: whether it went to the venue."""
    found: list[bool] = []
    for entry in journal:
        if entry.name == "ORDER_UPDATE" and entry.fields["report"] in (ACCEPT, REJECT):
            found.append(entry.fields["reason"] != "trading_halted")
    return found


def add_figures(report: Report, case: Case, measured: Measured, trials: int) -> None:
    times = measured.times
    for percent in (50, 99):
        name, value = f"{case.name}: HALT p{percent}", percentile(times.halt, percent)
        beside = [("PING", times.ping), ("fsync", times.fsync), ("HALT again", times.again)]
        note = ", ".join(f"{what} {percentile(values, percent):.2f}" for what, values in beside)
        if percent == 50:
            report.add(name, value, "ms", f"{case.what}; {note}")
        else:
            bad = f"; unsynced {measured.unsynced}, in flight {measured.in_flight} of {trials}"
            report.add_at_most(name, value, "ms", AIM_MS, note + bad)
    firsts = ", ".join(f"{value:.2f}" for value in times.first)
    report.add(f"{case.name}: first HALT, slowest", max(times.first), "ms", f"of {firsts}")
    note = f"{measured.sent - measured.sent_after:,} sent before, {measured.refused:,} turned back by the latch"
    if floods := measured.flood:
        asked_s, full_s = (sum(flood[key] for flood in floods) / len(floods) for key in ("asked_s", "full_s"))
        note += f"; asked {asked_s:,.0f}/s, {full_s:,.0f} of them with a full queue"
    report.add(f"{case.name}: sends after the reply", measured.sent_after, "sends", note)


def main() -> None:
    options = parser(__doc__)
    names = [case.name for case in CASES]
    options.add_argument("--trials", type=int, default=1000, help="of each case (%(default)s)")
    options.add_argument("--engines", type=int, default=3, help="over which they are spread (%(default)s)")
    options.add_argument("--cases", default=",".join(names), help="(%(default)s)")
    chosen = options.parse_args()
    wanted = chosen.cases.split(",")
    if unknown := set(wanted) - set(names):
        options.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    sent_after = 0
    with bench_directory(chosen.dir) as directory:
        with first_in_line() as is_first:
            threads = "first in line" if is_first else "like all others"
            facts = {"trials": str(chosen.trials), "bench's threads": threads}
        report = Report("halt", surroundings(directory) | facts)
        for case in (case for case in CASES if case.name in wanted):
            measured = Measured()
            for number in range(chosen.engines):
                each = chosen.trials // chosen.engines + (number < chosen.trials % chosen.engines)
                measure_engine(case, directory / f"{case.name}-{number}", each, measured)
            add_figures(report, case, measured, chosen.trials)
            sent_after += measured.sent_after
    report.finish(chosen.json)
    if sent_after:
        sys.exit(f"{sent_after} sends began after the reply")


if __name__ == "__main__":
    main()
