"""The real disk: a process that writes the journal, killed or failed at any one of its system calls, and what is left.

    python -m tests.faults.real_disk                 every call of both histories: SIGKILL, EIO and ENOSPC
    python -m tests.faults.real_disk --every 3       every third only; what the tests do

strace makes the Nth call of a kind fail, or kills the process as it makes it. Afterwards what the process had said to
be on disk must be there, in order and unchanged; recovery of what was recovered must change nothing; and a process
whose write or sync has failed must have been refused every further one. A kill is not a power loss: the page cache
survives it (the simulated disk is for that). Ends with code 1 and keeps the directory if any of it does not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]  # as pytest does for its tests

from disk_history import FAILED, JOURNAL_ID, first_record, log_states, record  # noqa: E402

from protocol.errors import WalError  # noqa: E402
from protocol.wal import Journal, WriteAheadLog  # noqa: E402
from protocol.wal.history import read_history  # noqa: E402
from protocol.wal.recovery import Kind  # noqa: E402

HISTORIES: Final = ("journal", "log")
FAULTS: Final = {"SIGKILL": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
QUICK: Final = "--seccomp-bpf"
"""Stops at the traced calls only, a third of the time; but strace 6.1 injects no signals with it."""
CALLS: Final = (
    "pwrite64", "fdatasync", "fsync", "ftruncate", "mkdir", "rename", "link", "unlink",
    "mkdirat", "renameat", "renameat2", "linkat", "unlinkat",
)  # fmt: skip
"""All by which the log changes the disk; the last line on machines that have no others."""
CASE_DEADLINE_S: Final = 60.0
PROGRAM: Final = Path(__file__).with_name("disk_history.py")
_no_fork = threading.Lock()
"""A child has our descriptors until it has become another program, and with them the locks of logs that are closed."""


class StraceMissingError(Exception):
    """It is not installed, or may not trace here."""


@dataclass(frozen=True)
class Case:
    history: str
    call: str
    number: int
    fault: str

    def __str__(self) -> str:
        return f"{self.history}: {self.fault} at {self.call} {self.number}"


def run_history(history: str, directory: Path, *options: str) -> tuple[int, list[str], str]:
    """(exit code, what it said, standard error) of the history in a process under strace with these options."""
    strace = shutil.which("strace")
    if strace is None:
        raise StraceMissingError("strace is not installed")
    with _no_fork:
        process = subprocess.Popen(
            [strace, "-f", "-qq", *options, sys.executable, str(PROGRAM), history, str(directory)],
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),  # else it writes files of its own
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    with process:
        try:
            said, errors = process.communicate(timeout=CASE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, said.splitlines(), errors


def count_calls(history: str, directory: Path) -> Counter[str]:
    """How often each call is made when nothing fails. Raises: StraceMissingError."""
    trace = directory / "trace"
    (directory / "whole").mkdir()
    names = ",".join(f"?{name}" for name in CALLS)
    code, said, errors = run_history(history, directory / "whole", QUICK, "-e", f"trace={names}", "-o", str(trace))
    if not said and not trace.exists():
        raise StraceMissingError(f"strace may not trace here: {errors.strip()}")
    assert code == 0, f"{history} without a fault ended with {code}: {errors}"
    assert not complaints(history, directory / "whole", said, has_failed=False)
    return Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))


def cases(history: str, calls: Counter[str], faults: Sequence[str], *, every: int = 1) -> Iterator[Case]:
    """One for each call and fault; with `every` above 1 each so-many-th of them, another one for each fault."""
    for shift, fault in enumerate(faults):
        numbered = [(call, number) for call in CALLS for number in range(1, calls[call] + 1)]
        for call, number in numbered[shift % every :: every]:
            yield Case(history, call, number, fault)


def run_case(case: Case, directory: Path) -> list[str]:
    """What does not hold; empty if all of it does. The directory is new, and removed if all is well."""
    place = directory / f"{case.history}-{case.fault}-{case.call}-{case.number}"
    place.mkdir()
    inject = ("-e", f"trace={case.call}", "-e", f"inject={case.call}:{FAULTS[case.fault]}:when={case.number}")
    options = inject if case.fault == "SIGKILL" else (QUICK, *inject)
    code, said, errors = run_history(case.history, place, *options)
    found = []
    if case.fault == "SIGKILL":
        if code not in (-9, 137):
            found.append(f"ended with {code}, not killed: {errors[-1000:]}")
    elif code not in (0, FAILED):
        found.append(f"ended with {code}: {errors[-1000:]}")
    elif code == 0 and "dropped" not in said:
        found.append("the failure was not noticed")
    found += complaints(case.history, place, said, has_failed=code == FAILED)
    if not found:
        shutil.rmtree(place)
    return [f"{case}: {text}" for text in found]


def complaints(history: str, directory: Path, said: list[str], *, has_failed: bool) -> list[str]:
    acknowledged = max((int(line.split()[1]) for line in said if line.startswith("ack ")), default=0)
    try:
        with _no_fork:
            if history == "log":
                return list(_check_log(directory / "orders.wal", acknowledged))
            return list(_check_journal(directory / "wal", acknowledged, has_failed))
    except (WalError, ValueError, IndexError) as error:
        return [f"{acknowledged} acknowledged, then {type(error).__name__}: {error}"]


def run_cases(chosen: Sequence[Case], directory: Path, workers: int) -> list[str]:
    with ThreadPoolExecutor(workers) as pool:
        return [text for found in pool.map(lambda case: run_case(case, directory), chosen) for text in found]


# What must hold.


def _check_journal(directory: Path, acknowledged: int, has_failed: bool) -> Iterator[str]:
    """Opened as the next wal opens it, with what the pages know, and in a new file after a failure."""
    first = Journal(directory)
    first.open(lambda journal_id: acknowledged, fresh_file=has_failed)
    tail = first.tail_lsn
    first._release()  # dies at once
    before = _contents(directory)
    again = Journal(directory)
    verdict = again.open(lambda journal_id: tail).verdict
    if verdict.kind is not Kind.CLEAN or again.tail_lsn != tail:
        yield f"recovered to LSN {tail}, then found {verdict} with LSN {again.tail_lsn}"
    if _contents(directory) != before:
        yield "recovery of what was recovered has changed a file"
    if tail < acknowledged:
        yield f"LSN {acknowledged} was acknowledged, the journal ends at {tail}"
    if again.is_new:
        again.create(JOURNAL_ID, (12, 1, 5, 1, first_record()))
    again.append_batch([(13, 1, 2, 1, record(again.tail_lsn + 1))])
    again.close()
    expected = 0
    for expected, (envelope, _, data) in enumerate(read_history(directory), 1):
        if envelope.lsn != expected:
            yield f"LSN {envelope.lsn} in the place of {expected}"
        wanted = {12: first_record() if expected == 1 else b"", 7: data}.get(envelope.entry_type, record(expected))
        if data != wanted:
            yield f"LSN {expected} was changed"
    if expected != again.tail_lsn:
        yield f"{expected} entries are read, {again.tail_lsn} were written"


def _check_log(path: Path, acknowledged: int) -> Iterator[str]:
    """It is as after the last acknowledged step, or as after the one that was under way."""
    states = log_states()
    with WriteAheadLog(path) as log:
        found = [(int(kind), data) for kind, data in log.read_all()]
    before = _contents(path.parent)
    with WriteAheadLog(path) as log:
        if [(int(kind), data) for kind, data in log.read_all()] != found:
            yield "read twice, it was not the same"
    if _contents(path.parent) != before:
        yield "recovery of what was recovered has changed a file"
    if found not in states[acknowledged : acknowledged + 2]:
        yield f"after step {acknowledged} it holds {[(kind, data[:12]) for kind, data in found]}"


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.real_disk", description="Faults at every call.")
    parser.add_argument("--every", type=int, default=1, help="only every so-many-th call (default 1: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="seawall-disk-"))
    began, found = time.monotonic(), []
    print(f"{'history':<8} {'calls':>5} {'cases':>5}  of")
    for history in HISTORIES:
        (directory / history).mkdir()
        calls = count_calls(history, directory / history)
        chosen = list(cases(history, calls, tuple(FAULTS), every=arguments.every))
        found += run_cases(chosen, directory, arguments.workers)
        kinds = ", ".join(f"{number} {call}" for call, number in sorted(calls.items()))
        print(f"{history:<8} {sum(calls.values()):>5} {len(chosen):>5}  {kinds}")
    print("\n".join(found) or f"all acknowledged was there, in {time.monotonic() - began:.0f} s")
    if found:
        print(f"kept: {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
