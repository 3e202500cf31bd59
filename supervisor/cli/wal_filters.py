"""Which entries are wanted: the options that inspect, tail and export share, and what they let through.

An entry concerns an order, symbol or strategy by its own fields, or by its order's ORDER_PLACE.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final

import click

from protocol.errors import ExitCode
from protocol.records import EntryType
from protocol.wal.format import Envelope
from supervisor.cli.output import Failure
from supervisor.cli.wal_entries import Described, Names

LSN_MAX: Final = 2**64 - 1
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ORDER_KEYS: Final = ("order_id", "stop_loss_order_id", "take_profit_order_id")


@dataclass(frozen=True, slots=True)
class Filter:
    """Bounds are inclusive."""

    types: frozenset[str] = frozenset()
    order: int | None = None
    symbol: str | None = None
    strategy: str | None = None
    first_lsn: int = 1
    last_lsn: int = LSN_MAX
    since_us: int | None = None
    until_us: int | None = None

    @property
    def is_by_lsn_alone(self) -> bool:
        """Whether the LSN says all."""
        return self == Filter(first_lsn=self.first_lsn, last_lsn=self.last_lsn)

    @property
    def needs_records(self) -> bool:
        """Whether it looks beyond type, LSN and time, which the envelope has; of a plain log there is no more."""
        return bool(self.order or self.symbol or self.strategy)

    def takes_number(self, number: int) -> bool:
        return self.first_lsn <= number <= self.last_lsn

    def takes_type(self, name: str) -> bool:
        return not self.types or name in self.types

    def takes_envelope(self, envelope: Envelope, name: str) -> bool:
        since, until = self.since_us, self.until_us
        return (
            self.first_lsn <= envelope.lsn <= self.last_lsn
            and (not self.types or name in self.types)
            and (since is None or envelope.time_us >= since)
            and (until is None or envelope.time_us <= until)
        )

    def takes_record(self, entry: Described, names: Names) -> bool:
        """Of an entry whose envelope was taken."""
        if not self.needs_records:
            return True
        record = entry["record"]
        if self.order is not None and (
            not isinstance(record, dict) or self.order not in [record.get(key) for key in _ORDER_KEYS]
        ):
            return False
        if self.symbol is not None and names.symbol_of(record) != self.symbol:
            return False
        return self.strategy in (None, names.strategy_of(record), names.producer(entry["producer"]))


def refuse_unknown(wanted: Filter, symbols: Iterable[Any], strategies: Iterable[Any]) -> None:
    """Raises: Failure if a name that is wanted stands in none of the journal's tables, so that nothing could match."""
    for kind, name, known in (("symbol", wanted.symbol, symbols), ("strategy", wanted.strategy, strategies)):
        names = [str(one) for one in known]
        if name is not None and names and name not in names and not name.startswith("#"):
            raise Failure(ExitCode.USAGE, f"--{kind} {name}: this journal knows {', '.join(names)}")


class LsnRange(click.ParamType):
    """`12`, `12..40`, `12..`, `..40`."""

    name = "lsn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,20})|(\d{0,20})\.\.(\d{0,20})", value)
        if match is None or value == "..":
            self.fail(f"{value!r} is no LSN and no range: A, A..B, A.. or ..B", param, ctx)
        if match[1]:
            return int(match[1]), int(match[1])
        first, last = int(match[2] or 1), int(match[3] or LSN_MAX)
        if last < first:
            self.fail(f"{value!r} is empty: A..B with A up to B", param, ctx)
        return first, last


class Moment(click.ParamType):
    """An ISO time, UTC if it is naive, or so long ago: `90s`, `10m`, `2h`, `1d`. In microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if ago := re.fullmatch(r"(\d{1,9})([smhd])", value):
            return time.time_ns() // 1000 - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO time and no age such as 10m", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


_TYPES: Final = click.Choice([kind.name for kind in EntryType], case_sensitive=False)


def filter_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; the verb gets them as one Filter, `wanted`."""

    @wraps(verb)
    def filtered(
        types: tuple[str, ...],
        order: int | None,
        symbol: str | None,
        strategy: str | None,
        lsn: tuple[int, int],
        since: int | None,
        until: int | None,
        **rest: Any,
    ) -> None:
        wanted = Filter(frozenset(types), order, symbol, strategy, *lsn, since, until)
        verb(wanted=wanted, **rest)

    decorated: Callable[..., None] = filtered
    for option in (
        click.option("--until", type=Moment(), metavar="TIME", help="Appended at TIME or before."),
        click.option("--since", type=Moment(), metavar="TIME", help="ISO, UTC if naive, or an age: 10m, 2h, 1d."),
        click.option("--lsn", type=LsnRange(), default=(1, LSN_MAX), metavar="A..B", help="Also A.., ..B and A."),
        click.option("--strategy", metavar="NAME"),
        click.option("--symbol", metavar="NAME"),
        click.option("--order", type=click.IntRange(1), metavar="ID", help="What concerns this order."),
        click.option("--type", "types", type=_TYPES, multiple=True, metavar="TYPE", help="May be given repeatedly."),
    ):
        decorated = option(decorated)
    return decorated
