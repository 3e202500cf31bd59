"""The entries that are wanted, of a place: chosen by a Filter, described, and no more read than must be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from protocol.errors import ExitCode
from supervisor.cli.output import Failure
from supervisor.cli.wal_entries import Described, Names, describe_entry, type_name
from supervisor.cli.wal_filters import Filter, refuse_unknown
from supervisor.cli.wal_journal import Place, Records, is_plain, read_plain, read_records, tail_lsn

T = TypeVar("T")


def select_entries(place: Place, wanted: Filter, last: int | None) -> Iterator[tuple[Described, Names]]:
    """(entry, the names as of then) of those wanted. Raises: Failure at a place that cannot be read, after the rest."""
    names = Names()
    if place.file is not None and is_plain(place.file):
        described = describe_plain(place.file, wanted)
    else:
        described = describe_known(wanted_records(place, wanted, last), wanted, names)
    yield from ((entry, names) for entry in last_of(described, last))


def last_of(items: Iterator[T], last: int | None) -> Iterator[T]:
    """The last of them, or all; also of those before a Failure, which then follows."""
    if last is None:
        yield from items
        return
    kept: deque[T] = deque(maxlen=last)
    try:
        kept.extend(items)
    finally:
        yield from kept


def describe_known(records: Records, wanted: Filter, names: Names) -> Iterator[Described]:
    """Raises: Failure at the end if what is wanted is a name that the journal does not know."""
    yield from describe_records(records, wanted, names)
    refuse_unknown(wanted, names.symbols, names.all_strategies)


def wanted_records(place: Place, wanted: Filter, last: int | None) -> Records:
    """No more than must be read."""
    first_lsn = first_lsn_needed(place, wanted, last)
    # What a live engine goes on writing would have no end; LSN 0 says that nobody knows where it is now.
    tail = tail_lsn(place) if place.file is None and place.is_live else 0
    end_lsn = min(wanted.last_lsn, tail) if tail else wanted.last_lsn
    for envelope, crc, data in read_records(place, from_lsn=first_lsn, since_us=wanted.since_us):
        if envelope.lsn > end_lsn:
            return
        yield envelope, crc, data


def first_lsn_needed(place: Place, wanted: Filter, last: int | None) -> int:
    """The first LSN that can be among them."""
    if last is None or not wanted.is_by_lsn_alone:
        return wanted.first_lsn
    return max(wanted.first_lsn, min(tail_lsn(place), wanted.last_lsn) - last + 1)


def describe_records(records: Records, wanted: Filter, names: Names) -> Iterator[Described]:
    for envelope, crc, data in records:
        names.learn(envelope, data)
        if wanted.takes_envelope(envelope, type_name(envelope.entry_type)):
            entry = describe_entry(envelope, crc, data)
            if wanted.takes_record(entry, names):
                yield entry


def describe_plain(file: Path, wanted: Filter) -> Iterator[Described]:
    if wanted.needs_records or wanted.since_us is not None or wanted.until_us is not None:
        raise Failure(ExitCode.USAGE, f"{file} is a plain log, of opaque data: --type, --lsn (number) and --last")
    for number, entry in read_plain(file):
        name = type_name(entry.entry_type)
        if wanted.takes_number(number) and wanted.takes_type(name):
            yield {"entry": number, "offset": entry.offset, "type": name, "data": entry.data.hex()}
