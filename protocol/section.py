"""What every section of the config has in common: its base, and how it names times."""

from __future__ import annotations

import re
from typing import Final

import msgspec


class Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of all sections: unknown keys are mistakes."""


WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday")
TIME_PATTERN: Final = r"([01]\d|2[0-3]):[0-5]\d"


def time_of_day_us(text: str) -> int:
    """Microseconds after midnight of `HH:MM`. Raises: ValueError."""
    if re.fullmatch(TIME_PATTERN, text) is None:
        raise ValueError(text)
    return (int(text[:2]) * 60 + int(text[3:])) * 60_000_000
