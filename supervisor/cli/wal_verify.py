"""What `seawall wal verify` says: files, verdict, how far the disk certainly is, and what to do next; and the fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click

from actors.fold import Fold
from protocol.errors import ExitCode, FoldError, WireError
from protocol.records import decode_record
from protocol.wal.names import JOURNAL_NAME
from protocol.wal.recovery import Kind
from protocol.wal.sealed import PACKED_SUFFIX
from protocol.wal.verify import Damage, Examination, FileCheck
from supervisor.cli.output import Failure, note, print_json, print_table
from supervisor.cli.wal_journal import Place, PlainCheck, check_plain, examine, is_plain, read_records

EXIT_CODES: Final = {Kind.CLEAN: ExitCode.OK, Kind.TORN: ExitCode.TORN, Kind.CORRUPT: ExitCode.CORRUPT}
NOTHING_TO_DO: Final = "nothing to do"
START_CUTS: Final = "the next start copies the tail to journal.wal.torn-LSN, cuts it and goes on"
START_REFUSES: Final = (
    "the engine does not start. Keep a copy of the directory; restore the journal from a copy if there is one; else "
    "`seawall wal repair` says what would be lost, and with --yes mends it"
)
START_GOES_ON: Final = (
    "the engine starts all the same, for journal.wal goes on from its own CHECKPOINT; but what reads further back ends "
    "at the damage. Restore the file from a copy, if there is one"
)
FOLD_REFUSES: Final = "the engine does not start on records that contradict each other. Keep a copy of the directory"
PLAIN_CUTS: Final = "the next open copies the tail to PATH.torn, cuts it and goes on"
PLAIN_REFUSES: Final = "open refuses the file. Keep a copy; `seawall wal inspect` shows what stands before the damage"


@dataclass(frozen=True, slots=True)
class Folded:
    """What the records add up to."""

    fold: Fold
    error: str = ""
    """Why it ended early; the fold is that of what came before."""
    is_damage: bool = False
    """It ended at a record that contradicts those before it, not at one that cannot be read."""


def fold_place(place: Place) -> Folded:
    """The fold of all that is kept, each CHECKPOINT and derived record compared with what it must be (F1)."""
    fold = Fold()
    try:
        for envelope, _, data in read_records(place):
            fold.apply(envelope, decode_record(envelope.entry_type, data))
    except FoldError as error:
        return Folded(fold, str(error), is_damage=True)
    except WireError as error:
        return Folded(fold, f"journal LSN {fold.lsn + 1}: {error}", is_damage=True)
    except Failure as failure:
        return Folded(fold, failure.message)
    except FileNotFoundError as error:  # the verdict of the table says what that means
        return Folded(fold, f"{error.filename or error} is missing")
    return Folded(fold)


def verify_place(place: Place, *, fold: bool, as_json: bool) -> ExitCode:
    """The report stands on stdout; the exit code of what was found."""
    if place.file is not None and is_plain(place.file):
        if fold:
            raise Failure(ExitCode.USAGE, f"{place.file} is a plain log: there is nothing to fold")
        check = check_plain(place.file)
        print_json(_plain_report(place, check)) if as_json else _print_plain(place, check)
        return EXIT_CODES[check.kind]
    result = examine(place)
    folded = fold_place(place) if fold else None
    kind = Kind.CORRUPT if folded and folded.is_damage else result.kind
    report = _report(result, place, kind, folded)
    print_json(report) if as_json else _print_report(report, result, folded, is_whole=_is_whole(place))
    return EXIT_CODES[kind]


def _report(result: Examination, place: Place, kind: Kind, folded: Folded | None) -> dict[str, Any]:
    verdict, files = result.verdict, result.files
    report: dict[str, Any] = {
        "path": str(result.path),
        "verdict": kind.value,
        "row": verdict.row.value,
        "exit_code": int(EXIT_CODES[kind]),
        "entries": result.entries,
        "first_lsn": next((file.first_lsn for file in files if file.entries), 0),
        "last_lsn": next((file.last_lsn for file in reversed(files) if file.entries), 0),
        "bytes": sum(file.bytes for file in files),
        "durable_lsn": result.durable_lsn,
        "known_lsn": result.known.lsn,
        "watermark_damaged": result.mark_is_damaged,
        "running": place.is_live,
        "growing": result.is_growing,
        "files": [_file_report(file) for file in files],
        "bad": None,
        "damages": [_damage_report(damage) for damage in result.damages],
        "kept_copies": [str(path) for path in result.kept_copies],
        "next": _next_step(result, folded),
    }
    if verdict.kind is not Kind.CLEAN:
        keys = ("offset", "lsn", "expected", "found")
        report["bad"] = {key: getattr(verdict, key) for key in keys}
    if folded:
        report["fold"] = _fold_report(folded)
    return report


def _file_report(file: FileCheck) -> dict[str, Any]:
    names = ("entries", "first_lsn", "last_lsn", "bytes")
    is_packed = file.path.name.endswith(PACKED_SUFFIX)
    return {"file": str(file.path), "packed": is_packed, **{name: getattr(file, name) for name in names}}


def _damage_report(damage: Damage) -> dict[str, Any]:
    return {"file": str(damage.path), **{key: getattr(damage, key) for key in ("offset", "lsn", "expected", "found")}}


def _fold_report(folded: Folded) -> dict[str, Any]:
    fold = folded.fold
    positions = fold.snapshot_positions() if fold.run else []
    return {
        "lsn": fold.lsn,
        "error": folded.error or None,
        "balance": str(fold.account.balance),
        "trading_state": fold.trading.mode.name,
        "open_orders": len(fold.tracker.open_orders),
        "owed": len(fold.owed),
        "positions": [
            {"symbol": view.symbol, "net_quantity": view.quantity, "average_price": view.average_price_micros,
             "realized": str(view.realized)}
            for view in positions
        ],
    }  # fmt: skip


def _next_step(result: Examination, folded: Folded | None) -> str:
    if result.verdict.kind is Kind.CORRUPT:
        return START_REFUSES
    if folded and folded.is_damage:
        return FOLD_REFUSES
    if result.damages:
        return START_GOES_ON
    return START_CUTS if result.verdict.kind is Kind.TORN else NOTHING_TO_DO


# The table.


def _print_report(report: dict[str, Any], result: Examination, folded: Folded | None, *, is_whole: bool) -> None:
    print_files(result.files)
    verdict = result.verdict
    lines = [("verdict", verdict.kind.value + _beyond_the_table(result, folded))]
    if bad := report["bad"]:
        place = f"{result.path.name} at byte {bad['offset']} (LSN {bad['lsn']})"
        lines.append(("found", f"{place}: expected {bad['expected']}, found {bad['found']}"))
    lines += [("damage", str(damage)) for damage in result.damages]
    known = f"acknowledged up to LSN {result.known.lsn}" if result.known.lsn else "nothing says what was acknowledged"
    lines.append(("durable", f"at least up to LSN {result.durable_lsn}; {known}"))
    if report["watermark_damaged"]:
        lines.append(("watermark", "damaged: it says nothing"))
    if report["running"]:
        growing = f", and writes LSN {report['last_lsn'] + 1}" if report["growing"] else ""
        lines.append(("engine", f"runs{growing}"))
    lines += [("kept", path) for path in report["kept_copies"]]
    lines.append(("next", report["next"]))
    print_lines(lines)
    if folded:
        _print_fold(folded, is_whole=is_whole)


def _beyond_the_table(result: Examination, folded: Folded | None) -> str:
    """What makes the journal corrupt though the table finds nothing bad."""
    what = "; what is sealed is corrupt" if result.damages else ""
    return what + ("; its records are corrupt" if folded and folded.is_damage else "")


def print_files(files: tuple[FileCheck, ...], *, newest: int | None = None) -> None:
    """All, or the `newest` of them and the others in one row."""
    older = files[:-newest] if newest else ()
    rows = [(f"{len(older)} older", *_sums(older))] if older else []
    rows += [(file.path.name, *_sums((file,))) for file in files[len(older) :]]
    print_table("", ("file", "entries", "LSN", "bytes"), rows)


def _sums(files: tuple[FileCheck, ...]) -> tuple[int, str, int]:
    """(entries, LSNs, bytes)."""
    begun = [file for file in files if file.entries]
    lsns = f"{begun[0].first_lsn}..{begun[-1].last_lsn}" if begun else "-"
    return sum(file.entries for file in files), lsns, sum(file.bytes for file in files)


def print_lines(lines: list[tuple[str, str]]) -> None:
    for key, text in lines:
        click.echo(f"{key:<10} {text}")


def _is_whole(place: Place) -> bool:
    """What was looked at ends where the journal does."""
    return place.file is None or place.file.name == JOURNAL_NAME


def _print_fold(folded: Folded, *, is_whole: bool) -> None:
    fold = folded.fold
    if fold.run:
        rows = [
            (view.symbol, view.quantity / 1e6, view.average_price_float, view.realized / 1e12)
            for view in fold.snapshot_positions()
        ]
        print_table("", ("symbol", "net quantity", "average price", "realized pnl"), rows)
        lines = [
            ("folded", f"up to LSN {fold.lsn}: {fold.trading.mode.name}, {len(fold.tracker.open_orders)} open orders"),
            ("balance", f"{fold.account.balance / 1e12:.6f} {fold.run.currency}"),
        ]
        if fold.owed:
            where = "which the next start appends" if is_whole else "which stand in what follows this file"
            lines.append(("owed", f"{len(fold.owed)} derived records, {where}"))
        print_lines(lines)
    if folded.error:
        note(folded.error)


# Plain logs.


def _plain_report(place: Place, check: PlainCheck) -> dict[str, Any]:
    bad = None if check.kind is Kind.CLEAN else {"offset": check.end, "expected": check.expected, "found": check.found}
    return {
        "path": str(place.file),
        "plain": True,
        "verdict": check.kind.value,
        "exit_code": int(EXIT_CODES[check.kind]),
        "entries": check.entries,
        "bytes": check.bytes,
        "bad": bad,
        "next": _plain_next(check),
    }


def _plain_next(check: PlainCheck) -> str:
    return {Kind.CLEAN: NOTHING_TO_DO, Kind.TORN: PLAIN_CUTS, Kind.CORRUPT: PLAIN_REFUSES}[check.kind]


def _print_plain(place: Place, check: PlainCheck) -> None:
    size = f"{check.entries} entries, {check.bytes} bytes"
    lines = [("plain log", f"{place.file}: {size}"), ("verdict", check.kind.value)]
    if check.kind is not Kind.CLEAN:
        lines.append(("found", f"at byte {check.end}: expected {check.expected}, found {check.found}"))
    print_lines([*lines, ("next", _plain_next(check))])
