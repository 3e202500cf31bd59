"""Many lines of a CSV file at once: the rows that are written as most are, by columns; it says which they are.

What is read here is read as csv_rows.py reads it, and what is written in any other way is left to csv_rows.py, line by
line: one rule, and a fast way for the usual case. Usual is

    numbers    digits with at most one point, at most 15 digits
    times      YYYY-MM-DD, `T` or a space, HH:MM:SS, perhaps a point and 1 to 6 digits, perhaps Z or +00:00
    symbols    exactly a configured one; one without white space that is none is unknown

A block is read by columns only if every line has as many commas as its format needs: a block with a header, an empty
line or a row of another shape goes line by line as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from actors.sources.blocks import Integers
from actors.sources.rows import Mask, Rows
from protocol.units import MICROS, MICROS_MAX

Bytes = npt.NDArray[np.uint8]

DIGITS_MAX: Final = 15
"""A float64 holds so many, and sums of them are made as one matrix product."""
SHORT: Final = 8
LONG: Final = 64
"""Bytes of a symbol; longer ones go line by line."""
TIME_MS_MAX: Final = 253_402_300_799_999
_NEWLINE, _COMMA, _POINT, _ZERO = b"\n,.0"
_DAY_US: Final = 86_400 * MICROS
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the lines of a file look like."""

    format: str
    prices: int
    has_volume: bool
    offset_us: int
    symbol_id: int
    """Of all rows, if there are no `symbols`."""
    symbols: SymbolTable | None = None
    """Where the rows name their symbols in the second column."""

    @property
    def commas(self) -> int:
        return self.prices + self.has_volume + (self.symbols is not None)


@dataclass(slots=True)
class Lines:
    """A block by columns."""

    rows: Rows
    """Right where they are `sure`."""
    sure: Mask
    unknown: Mask | None
    """Rows of other symbols; these are sure as well."""
    starts: Integers
    ends: Integers

    def put(self, index: int, row: tuple[int, ...]) -> None:
        """A row of csv_rows.py takes its place."""
        rows = self.rows
        rows.times[index] = row[0]
        if not isinstance(rows.symbol_ids, int):
            rows.symbol_ids[index] = row[1]
        for price, value in zip(rows.prices, row[2:-1], strict=True):
            price[index] = value
        if rows.volumes is not None:
            rows.volumes[index] = row[-1]


def read_lines(data: bytes, layout: Layout) -> Lines | None:
    """The lines of `data` (no newline at its end); None if they are not all of the layout's shape."""
    text = np.frombuffer(data, np.uint8)
    ends = np.append(np.flatnonzero(text == _NEWLINE), len(text))
    starts = np.append(0, ends[:-1] + 1)
    commas = np.flatnonzero(text == _COMMA)
    if len(commas) != len(ends) * layout.commas or (layout.symbols is not None and b"\0" in data):
        return None
    commas = commas.reshape(len(ends), layout.commas)
    if (commas[:, 0] < starts).any() or (commas[:, -1] >= ends).any():
        return None
    edges = [starts - 1, *commas.T, ends]
    fields = [(before + 1, after) for before, after in pairwise(edges)]
    times, sure = _TIMES[layout.format](text, *fields.pop(0), layout.offset_us)
    symbol_ids, unknown = layout.symbol_id, None
    if layout.symbols is not None:
        symbol_ids, unknown, plain = layout.symbols.find(text, *fields.pop(0))
        sure &= plain
    prices = []
    for begins, stops in fields[: layout.prices]:
        price, exact = _numbers(text, begins, stops, must_be_exact=True)
        prices.append(price)
        sure &= exact & (price > 0)
    volumes = None
    if layout.has_volume:
        volumes, plain = _numbers(text, *fields[-1], must_be_exact=False)
        sure &= plain
    sure &= _hang_together(prices)
    if unknown is not None:
        sure |= unknown
    return Lines(Rows(times=times, symbol_ids=symbol_ids, prices=prices, volumes=volumes), sure, unknown, starts, ends)


def _hang_together(prices: list[Integers]) -> Mask | bool:
    if len(prices) == 4:
        opened, high, low, close = prices
        return (low <= opened) & (opened <= high) & (low <= close) & (close <= high)
    return prices[0] <= prices[1] if len(prices) == 2 else True


# ---- fields ---------------------------------------------------------------------------------------------------


def _fixed(text: Bytes, begins: Integers, width: int) -> Bytes:
    """A row of `width` bytes from each of `begins`; where the text ends before, its last byte."""
    return text.take(begins[:, None] + np.arange(width), mode="clip")


def _at_right_ends(text: Bytes, begins: Integers, ends: Integers, width: int) -> Bytes:
    """The last `width` bytes of each field, zeros before the short ones: so a digit's place is its worth."""
    chars, widths = _fixed(text, ends - width, width), ends - begins
    if (widths < width).any():
        chars[np.arange(width) < (width - widths)[:, None]] = _ZERO
    return chars


def _whole(digits: Bytes) -> Integers:
    """The number of each row of digits, 15 at most."""
    return (digits @ (10.0 ** np.arange(digits.shape[1] - 1, -1, -1))).astype(np.int64)


def _numbers(text: Bytes, begins: Integers, ends: Integers, *, must_be_exact: bool) -> tuple[Integers, Mask]:
    """Micros, and where they are sure; with more than six digits rounded half to even, or not sure."""
    widths = ends - begins
    width = min(int(widths.max(initial=1)), DIGITS_MAX + 1)
    chars = _at_right_ends(text, begins, ends, width)
    digits, points = chars - _ZERO, chars == _POINT
    places = np.where(points.any(axis=1), points.argmax(axis=1), width)
    values, sure = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.bool_)
    for place in np.unique(places).tolist():
        here: Mask | slice = slice(None) if (places == place).all() else places == place
        shown = np.delete(digits[here], place, axis=1) if place < width else digits[here]
        least_width = 2 if place < width else 1
        plain = (shown <= 9).all(axis=1) & (widths[here] >= least_width) & (widths[here] <= width)
        whole = _whole(np.where(plain[:, None], shown, 0) if not plain.all() else shown)
        values[here], fits = _scaled(whole, width - 1 - place if place < width else 0, must_be_exact)
        sure[here] = plain & fits & (shown.shape[1] <= DIGITS_MAX)
    return values, sure


def _scaled(whole: Integers, digits: int, must_be_exact: bool) -> tuple[Integers, Mask]:
    """`whole` with so many digits behind the point, in micros."""
    if digits <= 6:
        scale = 10 ** (6 - digits)
        fits = whole <= MICROS_MAX // scale
        return np.where(fits, whole, 0) * scale, fits
    scale = 10 ** (digits - 6)
    micros, rest = np.divmod(whole, scale)
    if must_be_exact:
        return micros, rest == 0
    half = 2 * rest - scale
    return micros + ((half > 0) | ((half == 0) & (micros % 2 == 1))), np.ones(len(whole), np.bool_)


class SymbolTable:
    """Names to be found by columns: those of up to eight bytes as numbers, longer ones as texts."""

    def __init__(self, symbols: Mapping[bytes, int]) -> None:
        self._tables = {size: _table(symbols, size) for size in (SHORT, LONG)}

    def find(self, text: Bytes, begins: Integers, ends: Integers) -> tuple[Integers, Mask, Mask]:
        """Ids, where the symbol is unknown, and where it is known."""
        widths = ends - begins
        width = max(int(widths.max(initial=1)), 1)
        nothing = np.zeros(len(ends), np.bool_)
        if width > LONG:
            return np.zeros(len(ends), np.int64), nothing, nothing
        size = SHORT if width <= SHORT else LONG
        chars = np.zeros((len(ends), size), np.uint8)
        chars[:, :width] = _fixed(text, begins, width)
        if (widths != width).any():
            chars[np.arange(size) >= widths[:, None]] = 0
        written = chars[:, :width]
        # All that str.strip takes away, and some more.
        blank = ((written <= 32) & (written > 0)) | (written == 0x85) | (written == 0xA0)
        unknown = ~blank.any(axis=1)
        names, numbers = self._tables[size]
        if not len(names):
            return np.zeros(len(ends), np.int64), unknown, nothing
        keys = _keys(chars.tobytes(), size)
        at = np.minimum(names.searchsorted(keys), len(names) - 1)
        known = names[at] == keys
        return numbers[at], unknown & ~known, known


def _table(symbols: Mapping[bytes, int], size: int) -> tuple[npt.NDArray[Any], Integers]:
    chosen = sorted((name, number) for name, number in symbols.items() if len(name) <= size)
    names = _keys(b"".join(name.ljust(size, b"\0") for name, _ in chosen), size)
    return names, np.array([number for _, number in chosen], np.int64)


def _keys(names: bytes, size: int) -> npt.NDArray[Any]:
    """Names of `size` bytes each, comparable."""
    if size == SHORT:
        return np.frombuffer(names, ">u8").astype(np.uint64)
    return np.frombuffer(names, f"S{size}")


# ---- times ----------------------------------------------------------------------------------------------------


def _days(digits: Bytes) -> tuple[Integers, Mask]:
    """Days since 1970 of rows of YYYYMMDD, and where there is such a day. A block has few."""
    written = _whole(digits)
    if written[0] == written[-1] and (written == written[0]).all():
        days, places = written[:1], np.zeros(len(written), np.int64)
    else:
        days, places = np.unique(written, return_inverse=True)
    numbers = np.array([_day(day) for day in days.tolist()], np.int64)[places]
    return numbers, numbers >= 0


def _day(written: int) -> int:
    try:
        return date(written // 10_000, written // 100 % 100, written % 100).toordinal() - _EPOCH_DAY
    except ValueError:
        return -1


def _at(digits: Bytes, tens: int) -> Integers:
    """The number of two digits from that column on."""
    return digits[:, tens].astype(np.int64) * 10 + digits[:, tens + 1]


def _clock(days: Integers, digits: Bytes, hour: int, minute: int, second: int) -> tuple[Integers, Mask]:
    hours, minutes, seconds = _at(digits, hour), _at(digits, minute), _at(digits, second)
    sure = (hours < 24) & (minutes < 60) & (seconds < 60)
    return days * _DAY_US + (hours * 3600 + minutes * 60 + seconds) * MICROS, sure


def _iso_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    chars = _fixed(text, begins, 19)
    digits = chars - _ZERO
    written = digits[:, [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]]
    sure = (written <= 9).all(axis=1) & (ends - begins >= 19)
    for column, signs in ((4, b"-"), (7, b"-"), (10, b"T "), (13, b":"), (16, b":")):
        sure &= np.isin(chars[:, column], list(signs)) if len(signs) > 1 else chars[:, column] == signs[0]
    days, exist = _days(written[:, :8])
    times, right = _clock(days, written, 8, 10, 12)
    sure &= exist & right
    rests = ends - begins - 19
    for rest in np.unique(rests).tolist():
        if not rest:
            times[rests == rest] -= offset_us
        elif 0 < rest <= 13:
            here = rests == rest
            more, plain = _tail(_fixed(text, begins[here] + 19, rest), offset_us)
            times[here] += more
            sure[here] &= plain
        else:
            sure[rests == rest] = False
    return times, sure & (times >= 0)


def _tail(chars: Bytes, offset_us: int) -> tuple[Integers, Mask]:
    """What stands behind the seconds, in microseconds, and where it is as in the first row."""
    first = chars[0].tobytes()
    zone = next((zone for zone in (b"Z", b"+00:00") if first.endswith(zone)), b"")
    digits = len(first) - len(zone) - 1
    sure = np.ones(len(chars), np.bool_)
    if zone:
        sure &= (chars[:, len(first) - len(zone) :] == np.frombuffer(zone, np.uint8)).all(axis=1)
    fraction = np.zeros(len(chars), np.int64)
    if 1 <= digits <= 6:
        shown = chars[:, 1 : digits + 1] - _ZERO
        sure &= (chars[:, 0] == _POINT) & (shown <= 9).all(axis=1)
        fraction = _whole(shown) * 10 ** (6 - digits)
    elif digits != -1:
        sure[:] = False
    return fraction - (0 if zone else offset_us), sure


def _histdata_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    chars = _fixed(text, begins, 18)
    digits = chars - _ZERO
    sure = (np.delete(digits, 8, axis=1) <= 9).all(axis=1) & (chars[:, 8] == ord(" ")) & (ends - begins == 18)
    days, exist = _days(digits[:, :8])
    times, right = _clock(days, digits, 9, 11, 13)
    times += _whole(digits[:, 15:]) * 1000 - offset_us
    return times, sure & exist & right & (times >= 60 * MICROS)


def _millisecond_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    del offset_us  # since 1970, so never naive
    digits = _at_right_ends(text, begins, ends, DIGITS_MAX) - _ZERO
    widths = ends - begins
    sure = (digits <= 9).all(axis=1) & (widths >= 1) & (widths <= DIGITS_MAX)
    milliseconds = _whole(digits)
    return milliseconds * 1000, sure & (milliseconds <= TIME_MS_MAX)


_TIMES: Final[Mapping[str, Callable[[Bytes, Integers, Integers, int], tuple[Integers, Mask]]]] = {
    "bid_ask": _iso_times,
    "ohlc": _iso_times,
    "histdata": _histdata_times,
    "trades": _millisecond_times,
}
