"""What `seawall wal repair` says before it does anything, and doing it: under the engine's lock, on a plain word.

protocol/wal/repair.py decides and does; here stand the lock, the question, and what is lost in words: the entries that
can still be read behind the bad place, with their orders and fills.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from actors.page import KNOWN_BY, forget_acknowledged
from protocol.errors import ConfigError, ExitCode, WalError
from protocol.records import EntryType
from protocol.wal.names import JOURNAL_NAME, lock_path
from protocol.wal.recovery import Kind
from protocol.wal.repair import Action, Plan, carry_out, lost_entries, plan_repair
from protocol.wal.verify import Examination
from supervisor.cli.output import Failure, note, print_json
from supervisor.cli.wal_entries import Described, Names, describe_entry, exact_json
from supervisor.cli.wal_journal import STORAGE, Place, examine, is_plain, read_records
from supervisor.cli.wal_show import show_entry
from supervisor.cli.wal_verify import print_files, print_lines
from supervisor.lock import RunDirLock

SHOWN_MAX: Final = 200
"""Lost entries in the table; `-o json` has them all."""
FILES_SHOWN: Final = 3
"""The newest; `seawall wal verify` shows all."""


def repair_place(place: Place, *, confirmed: bool, as_json: bool) -> None:
    """The journal is repaired, on the operator's word. Raises: Failure if it is refused, or was only shown."""
    place = _whole_journal(place)
    if place.is_live:
        raise Failure(ExitCode.FAILURE, f"an engine runs in {place.run_dir}: stop it first (`seawall stop`)")
    if not confirmed:
        _show_and_ask(place, as_json)
    with _locked(place):
        result, plan = _plan(place)  # again: what was shown was read without the lock
        lost = list(_describe_lost(place, result, plan)) if as_json or confirmed else []
        if confirmed and not as_json:
            _print_plan(result, plan, lost)
        carry_out(STORAGE, plan, lambda: _forget_pages(place))
        after = examine(place)
    if after.verdict.kind is not Kind.CLEAN:
        raise Failure(ExitCode.FAILURE, f"{after.path} is still {after.verdict.kind.value}: {after.verdict.found}")
    if as_json:
        print_json(_report(result, plan, lost, done=True))
    else:
        note(f"Repaired: {after.path} ends with LSN {after.found.tail_lsn}.")


def _whole_journal(place: Place) -> Place:
    """Repair needs the directory. Raises: Failure for a file that is not the journal."""
    if place.file is None or place.file.name == JOURNAL_NAME:
        return Place(place.directory, None, place.run_dir)
    if is_plain(place.file):
        reason = "a plain log cuts its own torn tail when it is opened, and nothing mends other damage: restore a copy"
    else:
        reason = f"only {JOURNAL_NAME} can be repaired"
    raise Failure(ExitCode.USAGE, f"{place.file}: {reason}")


def _plan(place: Place) -> tuple[Examination, Plan]:
    result = examine(place)
    return result, plan_repair(result, STORAGE.list_names(place.directory))


def _show_and_ask(place: Place, as_json: bool) -> None:
    """Raises: Failure unless the operator says yes on a terminal."""
    result, plan = _plan(place)
    lost = list(_describe_lost(place, result, plan))
    if as_json:
        print_json(_report(result, plan, lost, done=False))
    else:
        _print_plan(result, plan, lost)
    if as_json or not is_on_terminal():
        raise Failure(ExitCode.FAILURE, "nothing was changed; --yes repairs")
    if not click.confirm("Repair?", err=True):
        raise Failure(ExitCode.FAILURE, "nothing was changed")


def is_on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def _locked(place: Place) -> Iterator[None]:
    """No engine starts meanwhile, and no other process has the journal open. Raises: Failure, WalLockedError."""
    try:
        lock = RunDirLock(place.run_dir) if place.run_dir else None
    except ConfigError as error:
        raise Failure(ExitCode.FAILURE, str(error)) from error
    try:
        with contextlib.closing(STORAGE.lock(lock_path(place.directory / JOURNAL_NAME))):
            yield
    finally:
        if lock:
            lock.release()


def _forget_pages(place: Place) -> None:
    if place.run_dir is None:
        return
    try:
        forget_acknowledged(place.run_dir / "pages", KNOWN_BY)
    except OSError as error:
        raise WalError(f"{place.run_dir / 'pages'}: {error}; repair again when that is mended") from error


# What is lost.


def _describe_lost(place: Place, result: Examination, plan: Plan) -> Iterator[tuple[Described, str]]:
    """(entry, its line) of what is cut off and can still be read."""
    names = _names_of_what_stays(place, plan)
    for _, envelope, crc, record in lost_entries(STORAGE, result, plan):
        names.learn(envelope, record)
        entry = describe_entry(envelope, crc, record)
        yield entry, show_entry(entry, names)


def _names_of_what_stays(place: Place, plan: Plan) -> Names:
    names = Names()
    with contextlib.suppress(Failure):
        for envelope, _, data in read_records(place, from_lsn=plan.reopened_lsn or plan.tail_lsn):
            names.learn(envelope, data)
    return names


def _lost_range(plan: Plan, lost: list[tuple[Described, str]]) -> tuple[int, int]:
    """(first, last) LSN that is lost as far as one knows; last < first if nothing says that there was any."""
    return plan.tail_lsn + 1, max([plan.known_lsn, *(entry["lsn"] for entry, _ in lost)])


def _steps(plan: Plan) -> list[str]:
    keep = [f"keep {JOURNAL_NAME} as it is as {plan.keep_as.name}"] if plan.keep_as else []
    act = {
        Action.CUT: [f"put its first {plan.prefix_bytes} bytes, up to LSN {plan.tail_lsn}, in its place"],
        Action.REOPEN: [f"make the newest sealed file, LSN {plan.reopened_lsn}..{plan.tail_lsn}, {JOURNAL_NAME} again"],
        Action.FORGET: [f"leave {JOURNAL_NAME} as it is: it is whole up to LSN {plan.tail_lsn}"],
    }[plan.action]
    return [*keep, *act, "forget what was acknowledged: watermark and health pages"]


def _loss(plan: Plan, lost: list[tuple[Described, str]]) -> list[str]:
    first, last = _lost_range(plan, lost)
    lines = [f"{plan.lost_bytes} bytes of {JOURNAL_NAME}"] if plan.lost_bytes else []
    if last < first:
        return [*lines, f"LSN {first} and what followed, if anything did; nothing of it was acknowledged"]
    if plan.known_lsn >= first:
        lines.append(f"LSN {first}..{plan.known_lsn} at least, which were acknowledged")
    elif lost:
        lines.append(f"LSN {first}..{last} at least")
    counts = Counter(entry["type"] for entry, _ in lost)
    unreadable = last - first + 1 - len(lost)
    lines.append(f"{unreadable} of them cannot be read any more")
    if lost:
        lines.append("still readable: " + ", ".join(f"{count} {name}" for name, count in counts.most_common()))
    if unreadable or counts[EntryType.ORDER_PLACE.name]:
        placed = [entry["record"] for entry, _ in lost if entry["type"] == EntryType.ORDER_PLACE.name]
        ids = sorted(record["order_id"] for record in placed if isinstance(record, dict))
        among = f" (of those that can be read: {_ranges(ids)})" if ids else ""
        lines.append(f"ids of orders among them{among} will be used again; compare with the venue before trading on")
    return lines


def _ranges(numbers: list[int]) -> str:
    """`3, 5..7` for 3, 5, 6, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number <= runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}..{last}" if last > first else str(first) for first, last in runs)


def _print_plan(result: Examination, plan: Plan, lost: list[tuple[Described, str]]) -> None:
    """The summary of what is lost last, where the question follows; the list of it may be long."""
    verdict = result.verdict
    print_files(result.files, newest=FILES_SHOWN)
    where = f"{result.path} at byte {verdict.offset} (LSN {verdict.lsn})"
    lines = [
        ("verdict", verdict.kind.value),
        ("found", f"{where}: expected {verdict.expected}, found {verdict.found}"),
        *(("damage", f"{damage}; repair does not touch it") for damage in result.damages),
        *(("repair", step) for step in _steps(plan)),
    ]
    print_lines(lines)
    for _, line in lost[:SHOWN_MAX]:
        click.echo(line)
    if len(lost) > SHOWN_MAX:
        note(f"… and {len(lost) - SHOWN_MAX} more: -o json has all")
    print_lines([("lost", line) for line in _loss(plan, lost)])


def _report(result: Examination, plan: Plan, lost: list[tuple[Described, str]], *, done: bool) -> dict[str, Any]:
    first, last = _lost_range(plan, lost)
    verdict = result.verdict
    return {
        "path": str(plan.path),
        "repaired": done,
        "verdict": verdict.kind.value,
        "row": verdict.row.value,
        "found": {key: getattr(verdict, key) for key in ("offset", "lsn", "expected", "found")},
        "action": plan.action.value,
        "tail_lsn": plan.tail_lsn,
        "kept_as": _text(plan.keep_as),
        "damages": [str(damage) for damage in result.damages],
        "lost": {
            "bytes": plan.lost_bytes,
            "first_lsn": first,
            "last_lsn": last if last >= first else None,
            "acknowledged_lsn": plan.known_lsn,
            "readable": [exact_json(entry) for entry, _ in lost],
        },
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
