"""Arrow columns to integers, exactly as CSV's texts become integers (csv_rows.py).

A vectorised check passes what is certainly right; a value that it does not pass is decided singly, by CSV's own rule
over the number's shortest text, so there is one rule and one wording. A float64 is the decimal that it prints as: below
1e9 it passes if it is the float nearest to a multiple of 1e-6 (15 digits, which a double holds; the product by 1e6
is then less than half a micro off). Volumes are rounded half to even in that decimal.

    times     timestamp of any unit (with a zone: UTC; without: naive), date32, integers of a stated unit
    prices    float64, decimal128; integers if settings say what one is worth
    volumes   float64, decimal128, integers (whole units)
    symbols   string, or dictionary of strings

Numbers are read from Arrow's buffers in place; validity is looked at only where a column has nulls.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from actors.sources.csv_rows import BadRowError, price_micros, volume_micros
from protocol.errors import ConfigError
from protocol.units import MICROS, MICROS_MAX

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FLOAT_MAX: Final = 1e9
TIME_US_MAX: Final = 253_402_300_799_999_999
"""The end of the year 9999: a column of another unit than was said is found out."""
UNIT_US: Final[Mapping[str, tuple[int, int]]] = {"s": (MICROS, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}
"""Microseconds of a unit as a ratio."""
UNIT_NAMES: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
INTEGER_MICROS: Final[Mapping[str, tuple[int, int]]] = {"units": (MICROS, 1), "micros": (1, 1), "nanos": (1, 1000)}
_INTEGER_DIGITS: Final = {"units": 0, "micros": 6, "nanos": 9}


@dataclass(slots=True)
class Column:
    values: Integers
    errors: dict[int, str]
    """Why a row has no value, by index; 0 stands there."""


def import_pyarrow(module: str = "pyarrow") -> Any:
    """Raises: ConfigError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            ["market_data.source = 'parquet': needs the extra `parquet`: pip install 'seawall[parquet]'"]
        ) from error


# ---- numbers --------------------------------------------------------------------------------------------------


def number_mistake(kind: Any, integer_prices: str | None, is_price: bool) -> str:
    """Why a column of that Arrow type is none of numbers; empty if it is one."""
    types = import_pyarrow().types
    if types.is_float64(kind) or types.is_decimal128(kind):
        return ""
    if types.is_integer(kind):
        if is_price and integer_prices is None:
            return "say what one is worth: market_data.integer_prices = \"units\", \"micros\" or \"nanos\""
        return ""
    if types.is_floating(kind):
        return "too few digits for numbers exact in 0.000001; write float64, decimal or integers"
    return "float64, decimal128 or integers are read"


def price_column(name: str, array: Any, integer_prices: str | None) -> Column:
    """Prices in micros, exact and above 0."""
    values, sure = _micros(array, integer_prices, _float_prices, must_be_exact=True)
    return _decided(name, array, values, sure & (values > 0), price_micros, integer_prices)


def volume_column(name: str, array: Any) -> Column:
    """Volumes in micros, rounded half to even, 0 or more."""
    values, sure = _micros(array, "units", _float_volumes, must_be_exact=False)
    return _decided(name, array, values, sure, volume_micros, "units")


def _micros(
    array: Any,
    integers: str | None,
    floats: Callable[[npt.NDArray[np.float64]], tuple[Integers, Mask]],
    *,
    must_be_exact: bool,
) -> tuple[Integers, Mask]:
    """Values and where they are sure; what is below 0 is never sure."""
    types = import_pyarrow().types
    if types.is_float64(array.type):
        with np.errstate(all="ignore"):
            return floats(_in_place(array, np.dtype(np.float64)))
    if types.is_decimal128(array.type):
        return _decimals(array, must_be_exact)
    multiplier, divisor = INTEGER_MICROS[integers or "units"]
    raw = _in_place(array, np.dtype(array.type.to_pandas_dtype()))
    sure = (raw >= 0) & (raw <= MICROS_MAX // multiplier)
    values = (raw if sure.all() else np.where(sure, raw, 0)).astype(np.int64)
    if divisor > 1:
        sure &= values % divisor == 0
        values //= divisor
    return values * multiplier if multiplier > 1 else values, sure


def _float_prices(floats: npt.NDArray[np.float64]) -> tuple[Integers, Mask]:
    micros = np.rint(floats * MICROS)
    sure = (micros / MICROS == floats) & (floats < FLOAT_MAX)
    return (micros if sure.all() else np.where(sure, micros, 0.0)).astype(np.int64), sure


def _float_volumes(floats: npt.NDArray[np.float64]) -> tuple[Integers, Mask]:
    """Rounded by comparison with the float nearest to the half: the product by 1e6 is itself rounded, and may lie."""
    sure = (floats >= 0) & (floats < FLOAT_MAX)
    whole = np.floor((floats if sure.all() else np.where(sure, floats, 0.0)) * MICROS)
    half = (2 * whole + 1) / (2 * MICROS)
    micros = whole.astype(np.int64)
    return micros + ((floats > half) | ((floats == half) & (micros % 2 == 1))), sure


def _decimals(array: Any, must_be_exact: bool) -> tuple[Integers, Mask]:
    """The low word of each value, which must be enough; rounded where there are more than six digits."""
    scale, exact = array.type.scale, np.True_
    if scale > 6:
        arrow, compute = import_pyarrow(), import_pyarrow("pyarrow.compute")
        wide = array.cast(arrow.decimal256(76, scale))
        rounded = compute.round(wide, ndigits=6, round_mode="half_to_even")
        if must_be_exact:
            exact = _mask(compute.equal(rounded, wide).fill_null(False))
        words = _in_place(rounded.cast(arrow.decimal256(76, 6)), np.dtype("<i8"), 4)
        scale = 6
    else:
        words = _in_place(array, np.dtype("<i8"), 2)
    low = words[:, 0]
    multiplier = 10 ** (6 - scale)
    sure = (words[:, 1:] == 0).all(axis=1) & (low >= 0) & (low <= MICROS_MAX // multiplier) & exact
    return np.where(sure, low, 0) * multiplier, sure


def _decided(
    name: str, array: Any, values: Integers, sure: Mask, parse: Callable[[str], int], integers: str | None
) -> Column:
    """Nulls and values that are not sure, each by the rule for texts."""
    if array.null_count:
        sure = sure & _mask(array.is_valid())
    errors: dict[int, str] = {}
    if sure.all():
        return Column(values, errors)
    for index in np.flatnonzero(~sure).tolist():
        number = array[index].as_py()
        values[index] = 0
        if number is None:
            errors[index] = f"no value in column {name!r}"
            continue
        try:
            values[index] = parse(_text(number, integers))
        except BadRowError as error:
            errors[index] = str(error)
    return Column(values, errors)


def _text(number: float | int | Decimal, integers: str | None) -> str:
    if isinstance(number, int):
        return str(Decimal(number).scaleb(-_INTEGER_DIGITS[integers or "units"]))
    return str(number)


def _mask(booleans: Any) -> Mask:
    return booleans.to_numpy(zero_copy_only=False)


def _in_place(array: Any, dtype: np.dtype[Any], words: int = 1) -> npt.NDArray[Any]:
    """The values as they lie in Arrow's buffer, with whatever stands in the place of nulls; `words` a value."""
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array) * words, dtype).reshape(-1, words) if words > 1 else np.zeros(len(array), dtype)
    whole = np.frombuffer(buffer, dtype)[array.offset * words : (array.offset + len(array)) * words]
    return whole.reshape(-1, words) if words > 1 else whole


# ---- times ----------------------------------------------------------------------------------------------------


def time_unit(name: str, kind: Any, asked: str | None) -> str:
    """The unit of a column of times. Raises: ValueError with what is wrong or missing."""
    types = import_pyarrow().types
    if types.is_timestamp(kind):
        return kind.unit
    if types.is_date32(kind):
        return "d"
    suffix = name.rpartition("_")[2].lower()
    named = suffix if suffix in UNIT_US else None
    if not types.is_integer(kind):
        raise ValueError(f"column {name!r} is of type {kind}: timestamps, dates or integers are read")
    if named and asked and named != asked:
        raise ValueError(f"column {name!r} says another unit than market_data.time_unit = {asked!r}")
    if not named and not asked:
        raise ValueError(f"column {name!r} holds integers: say their unit, market_data.time_unit = s, ms, us or ns")
    return named or asked or ""


def unit_ratio(unit: str) -> tuple[int, int]:
    return (86_400 * MICROS, 1) if unit == "d" else UNIT_US[unit]


def raw_to_us(raw: int, unit: str, offset_us: int) -> int:
    """One time as it stands in the file, in microseconds; digits beyond them are cut off."""
    multiplier, divisor = unit_ratio(unit)
    return raw * multiplier // divisor - offset_us


def time_column(name: str, array: Any, unit: str, offset_us: int) -> Column:
    """Microseconds since the epoch, at least 0."""
    multiplier, divisor = unit_ratio(unit)
    types = import_pyarrow().types
    bits = array.type.bit_width // 8
    raw = _in_place(array, np.dtype(f"{'u' if types.is_unsigned_integer(array.type) else 'i'}{bits}"))
    sure = (raw >= 0) & (raw <= TIME_US_MAX * divisor // multiplier)
    values = raw.astype(np.int64, copy=False)
    if not sure.all():
        values = np.where(sure, values, 0)
    if multiplier > 1:
        values = values * multiplier
    if divisor > 1:
        values = values // divisor
    if offset_us:
        values = values - offset_us
        sure &= values >= 0
    if array.null_count:
        sure &= _mask(array.is_valid())
    errors: dict[int, str] = {}
    if not sure.all():
        for index in np.flatnonzero(~sure).tolist():
            if not array[index].is_valid:
                errors[index] = f"no value in column {name!r}"
            elif raw[index] < TIME_US_MAX * divisor // multiplier:
                errors[index] = f"{raw[index]} {_unit_name(unit)} since 1970 lie before 1970"
            else:
                errors[index] = f"{raw[index]} is no time in {_unit_name(unit)} since 1970"
        values = np.where(sure, values, 0)
    return Column(values, errors)


def _unit_name(unit: str) -> str:
    return UNIT_NAMES.get(unit, "days")


# ---- symbols --------------------------------------------------------------------------------------------------


def symbol_mistake(kind: Any) -> str:
    types = import_pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return "" if is_text else "strings are read, or a dictionary of them"


def symbol_column(array: Any, symbol_ids: Mapping[str, int]) -> Integers:
    """Ids; -1 where a symbol is none of `symbol_ids`. The work for names grows with those in the dictionary."""
    if not import_pyarrow().types.is_dictionary(array.type):
        array = array.dictionary_encode()
    names = array.dictionary.to_pylist()
    table = np.array([-1 if name is None else symbol_ids.get(name.strip(), -1) for name in names] + [-1], np.int64)
    indices = array.indices
    if indices.null_count:
        indices = indices.cast("int64").fill_null(len(names))
    return table[indices.to_numpy(zero_copy_only=False)]
