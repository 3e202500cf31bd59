"""One line of a CSV file to integers: exact numbers, UTC times, and the four formats.

    bid_ask    timestamp,bid,ask                             ISO time
    histdata   (no header) YYYYMMDD HHMMSSmmm,bid,ask,volume
    trades     timestamp_ms,symbol,price,volume              bid = ask = price
    ohlc       timestamp,open,high,low,close[,volume]        ISO time; four ticks a row

Prices must be exact in 1e-6 and above 0; volumes are 0 or more and rounded to 1e-6, half to even. ISO times
have `T` or a space and may end in an offset or `Z`; digits beyond the microsecond are cut off. Parsers never
see a float.

Lines are text decoded as Latin-1: no byte fails to decode, and the only decimal digits it has are ASCII's,
so that `isdecimal` is the whole check before `int`. A parser is made for one pass over one file and raises
ValueError; csv_files.py says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from protocol.units import MICROS_MAX, divide_half_even

Row = tuple[int, ...]
"""time_us, symbol id, prices as the format has them, volume (0 where it has none); in micros."""

COLUMNS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "bid_ask": (("timestamp", "bid", "ask"),),
    "histdata": (("time", "bid", "ask", "volume"),),
    "trades": (("timestamp_ms", "symbol", "price", "volume"),),
    "ohlc": (("timestamp", "open", "high", "low", "close"), ("timestamp", "open", "high", "low", "close", "volume")),
}
"""What a row of each format has; the header too, where there is one."""

PRICES_CACHED_MAX: Final = 65_536
"""Texts of prices remembered in one pass (about 8 MiB); when full it starts again. In tick data nine of ten repeat."""
_TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999: a column in micro- or nanoseconds is found out."""

_FRACTION_SCALE: Final = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)
_NUMBER: Final = re.compile(r"([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,3}))?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadRowError(ValueError):
    """A row that cannot be used; the message is the reason."""


def describe(error: ValueError, line: str, format_name: str) -> str:
    """The reason in the operator's words: a wrong number of columns shows itself only as a failed unpacking."""
    found = line.count(",") + 1
    allowed = COLUMNS[format_name]
    if not isinstance(error, BadRowError) and found not in map(len, allowed):
        return f"{found} columns, needed are {' or '.join(','.join(names) for names in allowed)}"
    return str(error)


# ---- formats --------------------------------------------------------------------------------------------------


def bid_ask_parser(symbol_id: int, offset_us: int) -> Callable[[str], Row]:
    prices = Prices()

    def parse(line: str) -> Row:
        time_text, bid_text, ask_text = line.split(",")
        time_us = iso_time_us(time_text, offset_us)
        bid, ask = prices[bid_text], prices[ask_text]
        if bid > ask:
            raise BadRowError(f"bid {bid_text} is above ask {ask_text}")
        return time_us, symbol_id, bid, ask, 0

    return parse


def histdata_parser(symbol_id: int, offset_us: int) -> Callable[[str], Row]:
    prices, minutes = Prices(), _HistdataMinutes(offset_us)

    def parse(line: str) -> Row:
        time_text, bid_text, ask_text, volume_text = line.split(",")
        time_us = minutes[time_text[:13]] + _second_us(time_text)
        bid, ask = prices[bid_text], prices[ask_text]
        if bid > ask:
            raise BadRowError(f"bid {bid_text} is above ask {ask_text}")
        volume = 0 if volume_text == "0" else volume_micros(volume_text)
        return time_us, symbol_id, bid, ask, volume

    return parse


def trades_parser(symbol_ids: Mapping[str, int]) -> Callable[[str], Row | None]:
    """`symbol_ids` by the symbol's bytes read as Latin-1. None: the row's symbol is not among them."""
    prices, symbol_id_of = Prices(), symbol_ids.get

    def parse(line: str) -> Row | None:
        time_text, symbol, price_text, volume_text = line.split(",")
        symbol_id = symbol_id_of(symbol.strip())
        if symbol_id is None:
            return None
        time_us = _milliseconds_us(time_text)
        price = prices[price_text]
        return time_us, symbol_id, price, volume_micros(volume_text)

    return parse


def ohlc_parser(symbol_id: int, offset_us: int, has_volume: bool) -> Callable[[str], Row]:
    prices, columns = Prices(), 6 if has_volume else 5

    def parse(line: str) -> Row:
        fields = line.split(",")
        if len(fields) != columns:
            raise BadRowError(f"{len(fields)} columns where the header has {columns}")
        time_us = iso_time_us(fields[0], offset_us)
        opened, high, low, close = prices[fields[1]], prices[fields[2]], prices[fields[3]], prices[fields[4]]
        if not low <= opened <= high or not low <= close <= high:
            raise BadRowError(f"open {fields[1]}, close {fields[4]}: not within low {fields[3]} and high {fields[2]}")
        return time_us, symbol_id, opened, high, low, close, volume_micros(fields[5]) if has_volume else 0

    return parse


def time_parser(format_name: str, offset_us: int) -> Callable[[str], int]:
    """The time of a row alone, for rows that may lie outside the range. Raises: ValueError if it has none."""
    minutes = _HistdataMinutes(offset_us)

    def parse(line: str) -> int:
        text = line.partition(",")[0]
        if format_name == "histdata":
            return minutes[text[:13]] + _second_us(text)
        return _milliseconds_us(text) if format_name == "trades" else iso_time_us(text, offset_us)

    return parse


# ---- numbers --------------------------------------------------------------------------------------------------


class Prices(dict[str, int]):
    """Micros by text: a lookup for most rows, parsed and checked (exact, above 0) once."""

    def __missing__(self, text: str) -> int:
        if len(self) >= PRICES_CACHED_MAX:
            self.clear()
        micros = self[text] = price_micros(text)
        return micros


def price_micros(text: str) -> int:
    """Raises: BadRowError if it is no number, not above 0, has digits beyond 1e-6 or outgrows 64 bits."""
    numerator, denominator = _ratio(text)
    micros, rest = divmod(numerator, denominator)
    if rest:
        raise BadRowError(f"price {text} has digits beyond 0.000001")
    if micros <= 0:
        raise BadRowError(f"price {text} is not above 0")
    if micros > MICROS_MAX:
        raise BadRowError(f"price {text} is larger than 64 bits of millionths hold")
    return micros


def volume_micros(text: str) -> int:
    """Raises: BadRowError if it is no number, below 0 or outgrows 64 bits."""
    numerator, denominator = _ratio(text)
    micros = numerator if denominator == 1 else divide_half_even(numerator, denominator)
    if numerator < 0:
        raise BadRowError(f"volume {text} is below 0")
    if micros > MICROS_MAX:
        raise BadRowError(f"volume {text} is larger than 64 bits of millionths hold")
    return micros


def _ratio(text: str) -> tuple[int, int]:
    """`text` in micros as a numerator and a denominator that is a power of ten."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if len(fraction) <= 6 and digits.isdecimal():
        return int(digits) * _FRACTION_SCALE[len(fraction)], 1
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not (match[2] or match[3]):
        raise BadRowError(f"{text!r} is not a number")
    number = int(match[1] + match[2] + match[3])
    exponent = int(match[4] or 0) + 6 - len(match[3])
    return (number * 10**exponent, 1) if exponent >= 0 else (number, 10**-exponent)


# ---- times ----------------------------------------------------------------------------------------------------


def iso_time_us(text: str, offset_us: int) -> int:
    """Microseconds since the epoch; a time without an offset of its own is `offset_us` ahead of UTC.

    Raises: BadRowError if it is no ISO time, or one before 1970.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRowError(f"{text!r} is no ISO time ({error})") from None
    if moment.tzinfo is None:
        since = moment - _EPOCH
        time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds - offset_us
    else:
        since = moment - _EPOCH_UTC
        time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if time_us < 0:
        raise BadRowError(f"{text} lies before 1970")
    return time_us


def _milliseconds_us(text: str) -> int:
    if not text.isdecimal() or int(text) > _TIME_MS_MAX:
        raise BadRowError(f"{text!r} is no time in milliseconds since 1970")
    return int(text) * 1000


def _second_us(text: str) -> int:
    """What follows `YYYYMMDD HHMM`."""
    rest = text[13:]
    if len(rest) != 5 or not rest.isdecimal() or rest >= "60000":
        raise BadRowError(f"{text!r} is no time written YYYYMMDD HHMMSSmmm")
    return int(rest) * 1000


class _HistdataMinutes(dict[str, int]):
    """Microseconds by `YYYYMMDD HHMM`; only the last minutes are kept."""

    def __init__(self, offset_us: int) -> None:
        super().__init__()
        self._offset_us = offset_us

    def __missing__(self, text: str) -> int:
        if len(text) != 13 or text[8] != " " or not (text[:8] + text[9:]).isdecimal():
            raise BadRowError(f"{text!r} does not begin a time written YYYYMMDD HHMMSSmmm")
        minute = f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}"
        if len(self) >= 1024:
            self.clear()
        time_us = self[text] = iso_time_us(minute, self._offset_us)
        return time_us
