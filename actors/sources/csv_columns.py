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
from protocol.units import DAY_US, MICROS, MICROS_MAX

Bytes = npt.NDArray[np.uint8]

DIGITS_MAX: Final = 15
"""Their number may be scaled to micros in 64 bits, or is found not to fit."""
SHORT: Final = 8
LONG: Final = 64
"""Bytes of a symbol; longer ones go line by line."""
TIME_MS_MAX: Final = 253_402_300_799_999
_NEWLINE, _COMMA, _POINT, _ZERO, _DASH, _COLON, _T, _SPACE = b"\n,.0-:T "
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


# ---- fields: a row of an array is one place of all fields, so that NumPy works along many of them ----------------


def _fixed(text: Bytes, begins: Integers, width: int) -> Bytes:
    """`width` bytes from each of `begins`; where the text ends before, its last byte."""
    return text.take(begins + np.arange(width)[:, None], mode="clip")


def _at_right_ends(text: Bytes, begins: Integers, ends: Integers, width: int) -> Bytes:
    """The last `width` bytes of each field, zeros before the short ones: so a digit's place is its worth."""
    chars, widths = _fixed(text, ends - width, width), ends - begins
    if (widths < width).any():
        chars[np.arange(width)[:, None] < width - widths] = _ZERO
    return chars


def _are_digits(digits: Bytes) -> Mask:
    return np.maximum.reduce(digits, axis=0) <= 9


def _whole(digits: Bytes) -> Integers:
    """The numbers of so many digits, 15 at most."""
    numbers = digits[0].astype(np.int64)
    for digit in digits[1:]:
        numbers *= 10
        numbers += digit
    return numbers


def _numbers(text: Bytes, begins: Integers, ends: Integers, *, must_be_exact: bool) -> tuple[Integers, Mask]:
    """Micros, and where they are sure; with more than six digits rounded half to even, or not sure."""
    widths = ends - begins
    width = min(max(int(widths.max()), 1), DIGITS_MAX + 1)
    chars = _at_right_ends(text, begins, ends, width)
    points = chars == _POINT
    place = int(points[:, 0].argmax()) if points[:, 0].any() else width
    if place < width and points[place].all():
        return _pointed(chars, widths, place, must_be_exact)
    places = np.where(points.any(axis=0), points.argmax(axis=0), width)
    values, sure = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.bool_)
    for place in np.unique(places).tolist():
        here = places == place
        values[here], sure[here] = _pointed(chars[:, here], widths[here], place, must_be_exact)
    return values, sure


def _pointed(chars: Bytes, widths: Integers, place: int, must_be_exact: bool) -> tuple[Integers, Mask]:
    """Numbers that all have their point at that place, or none if it lies behind the last."""
    width, has_point = len(chars), place < len(chars)
    digits = chars - _ZERO
    if has_point:
        digits = np.delete(digits, place, axis=0)
    if not 0 < len(digits) <= DIGITS_MAX:
        return np.zeros(len(widths), np.int64), np.zeros(len(widths), np.bool_)
    sure = _are_digits(digits) & (widths > has_point) & (widths <= width)
    if not sure.all():
        digits[:, ~sure] = 0
    values, fits = _scaled(_whole(digits), width - 1 - place if has_point else 0, must_be_exact)
    return values, sure & fits


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
        chars = np.zeros((size, len(ends)), np.uint8)
        chars[:width] = _fixed(text, begins, width)
        if (widths != width).any():
            chars[np.arange(size)[:, None] >= widths] = 0
        written = chars[:width]
        # All that str.strip takes away, and some more.
        blank = ((written <= 32) & (written > 0)) | (written == 0x85) | (written == 0xA0)
        unknown = ~blank.any(axis=0)
        names, numbers = self._tables[size]
        if not len(names):
            return np.zeros(len(ends), np.int64), unknown, nothing
        keys = _keys(chars.T.tobytes(), size)
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
    """Days since 1970 of YYYYMMDD, and where there is such a day. A block has few."""
    written = _whole(digits)
    if (written == written[0]).all():
        number = _day(int(written[0]))
        return np.full(len(written), number), np.full(len(written), number >= 0)
    days, places = np.unique(written, return_inverse=True)
    numbers = np.array([_day(day) for day in days.tolist()], np.int64)[places]
    return numbers, numbers >= 0


def _day(written: int) -> int:
    try:
        return date(written // 10_000, written // 100 % 100, written % 100).toordinal() - _EPOCH_DAY
    except ValueError:
        return -1


def _clock(days: Integers, digits: Bytes) -> tuple[Integers, Mask]:
    """The time of HHMMSS on those days, and where there is one."""
    hours, minutes, seconds = _whole(digits[:2]), _whole(digits[2:4]), _whole(digits[4:6])
    sure = (hours < 24) & (minutes < 60) & (seconds < 60)
    return days * DAY_US + ((hours * 60 + minutes) * 60 + seconds) * MICROS, sure


def _iso_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    chars = _fixed(text, begins, 19)
    digits = chars[[0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]] - _ZERO
    sure = _are_digits(digits) & (chars[4] == _DASH) & (chars[7] == _DASH)
    sure &= ((chars[10] == _T) | (chars[10] == _SPACE)) & (chars[13] == _COLON) & (chars[16] == _COLON)
    days, exist = _days(digits[:8])
    times, right = _clock(days, digits[8:])
    rests = ends - begins - 19
    if (rests == rests[0]).all():
        more, plain = _tail(text, begins + 19, int(rests[0]), offset_us)
        times += more
        return times, sure & exist & right & plain & (times >= 0)
    for rest in np.unique(rests).tolist():
        here = rests == rest
        more, plain = _tail(text, begins[here] + 19, rest, offset_us)
        times[here] += more
        sure[here] &= plain
    return times, sure & exist & right & (times >= 0)


def _tail(text: Bytes, begins: Integers, width: int, offset_us: int) -> tuple[Integers | int, Mask | bool]:
    """What stands behind the seconds, in microseconds, and where it is written as in the first row."""
    if width == 0:
        return -offset_us, True
    if not 0 < width <= 13:
        return 0, False
    chars = _fixed(text, begins, width)
    first = chars[:, 0].tobytes()
    zone = next((zone for zone in (b"Z", b"+00:00") if first.endswith(zone)), b"")
    digits = width - len(zone) - 1
    sure: Mask | bool = True
    if zone:
        sure = (chars[width - len(zone) :] == np.frombuffer(zone, np.uint8)[:, None]).all(axis=0)
    fraction: Integers | int = 0
    if 1 <= digits <= 6:
        shown = chars[1 : digits + 1] - _ZERO
        sure = sure & (chars[0] == _POINT) & _are_digits(shown)
        fraction = _whole(shown) * 10 ** (6 - digits)
    elif digits != -1:
        return 0, False
    return fraction - (0 if zone else offset_us), sure


def _histdata_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    chars = _fixed(text, begins, 18)
    digits = np.delete(chars, 8, axis=0) - _ZERO
    sure = _are_digits(digits) & (chars[8] == _SPACE) & (ends - begins == 18)
    days, exist = _days(digits[:8])
    times, right = _clock(days, digits[8:14])
    times += _whole(digits[14:]) * 1000 - offset_us
    return times, sure & exist & right & (times >= 60 * MICROS)


def _millisecond_times(text: Bytes, begins: Integers, ends: Integers, offset_us: int) -> tuple[Integers, Mask]:
    del offset_us  # since 1970, so never naive
    widths = ends - begins
    width = min(max(int(widths.max()), 1), DIGITS_MAX)
    digits = _at_right_ends(text, begins, ends, width) - _ZERO
    sure = _are_digits(digits) & (widths >= 1) & (widths <= width)
    milliseconds = _whole(digits)
    return milliseconds * 1000, sure & (milliseconds <= TIME_MS_MAX)


_TIMES: Final[Mapping[str, Callable[[Bytes, Integers, Integers, int], tuple[Integers, Mask]]]] = {
    "bid_ask": _iso_times,
    "ohlc": _iso_times,
    "histdata": _histdata_times,
    "trades": _millisecond_times,
}
