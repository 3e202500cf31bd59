"""What every source that reads files has in common: their inspection, their identity, how a mistake is worded.

The rows that a pass gives are a function of the settings and of the files' contents; a file's name is not among them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Final, TypeVar

from actors.sources.batch import SourceCounts
from protocol.errors import ConfigError, DataError
from protocol.settings import FileSettings, MarketDataSettings

STEP_ROWS: Final = 1_000
"""The first rows, from which an `ohlc` file's step is taken."""
STEP_DEFAULT_US: Final = 60_000_000

DIGEST_WHOLE_BYTES_MAX: Final = 256 << 20
"""Files up to this size are hashed whole (about 1 s a GiB) …"""
DIGEST_ALL_BYTES_MAX: Final = 2 << 30
"""… while all of them together are no larger than this, for a start waits; else they share so many bytes."""
DIGEST_SAMPLES: Final = 1_024
DIGEST_SAMPLES_MIN: Final = 16
DIGEST_SAMPLE_BYTES: Final = 65_536

_HISTDATA_OFFSET_HOURS: Final = -5

Inspected = TypeVar("Inspected")


def inspect_each(
    settings: MarketDataSettings, inspect: Callable[[FileSettings], Inspected], files_max: int
) -> list[Inspected]:
    """What `inspect` says of each file of the config. Raises: ConfigError with every mistake found."""
    found, mistakes = [], []
    for index, file in enumerate(settings.all_files):
        key = "market_data.path" if settings.path else f"market_data.files[{index}].path"
        try:
            found.append(inspect(file))
        except DataError as error:
            mistakes.append(f"{key} = {file.path!r}: {error.reason}")
        except ValueError as error:
            mistakes.append(f"{key} = {file.path!r}: {error}")
    if not settings.all_files:
        mistakes.append(f"market_data: a {settings.source} source needs `path`, or `files = [{{ path, symbol }}, ...]`")
    if len(found) > files_max:
        mistakes.append(f"market_data.files: {len(found)} files, {files_max} at most")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def naive_offset_us(format_name: str, settings: MarketDataSettings) -> int:
    """How far naive times of a file of that format are ahead of UTC."""
    hours = settings.utc_offset_hours
    if hours is None:
        hours = _HISTDATA_OFFSET_HOURS if format_name == "histdata" else 0
    return round(hours * 3_600_000_000)


def usual_step_us(times: Iterable[int]) -> int:
    """The commonest distance between rows that are in order; of equally common ones the shorter."""
    steps = Counter(later - earlier for earlier, later in pairwise(times) if later > earlier)
    return min(steps, key=lambda step: (-steps[step], step), default=STEP_DEFAULT_US)


class PassCounts:
    """What an operator is told: the counts of the pass that got furthest."""

    def __init__(self) -> None:
        self.furthest = SourceCounts()

    def keep(self, counts: SourceCounts) -> None:
        if counts.rows >= self.furthest.rows:
            self.furthest = replace(counts)


def out_of_order(time_us: int, before_us: int) -> str:
    if time_us == before_us:
        return f"the same time as the row before ({_iso(time_us)})"
    return f"goes back in time: {_iso(time_us)} after {_iso(before_us)}"


def _iso(time_us: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(microseconds=time_us)).isoformat(sep=" ") + "Z"


# ---- identity -------------------------------------------------------------------------------------------------


def content_digests(paths: Sequence[str]) -> list[bytes]:
    """What each file holds, whatever it is called: the whole of it, or samples and the time of its last change.

    Positions must outlive a restart if and only if the rows are the same. Contents say exactly that, where the
    time of change would give a copied or touched file a new history. Hashing many GiB would hold READY up at every
    restart, so such files are known by their size, their time of change, and samples spread over them.
    Raises: ConfigError for one that cannot be read.
    """
    try:
        is_small = sum(os.stat(path).st_size for path in paths) <= DIGEST_ALL_BYTES_MAX
    except OSError as error:
        raise _unreadable(error.filename, error) from error
    if is_small:
        return [_content_digest(path, DIGEST_WHOLE_BYTES_MAX, DIGEST_SAMPLES) for path in paths]
    samples = min(max(DIGEST_SAMPLES_MIN, DIGEST_ALL_BYTES_MAX // DIGEST_SAMPLE_BYTES // len(paths)), DIGEST_SAMPLES)
    return [_content_digest(path, samples * DIGEST_SAMPLE_BYTES, samples) for path in paths]


def _content_digest(path: str, whole_max: int, samples: int) -> bytes:
    digest = blake2b(digest_size=32)
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_size <= whole_max:
                while block := file.read(1 << 20):
                    digest.update(block)
                return digest.digest()
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            last = status.st_size - DIGEST_SAMPLE_BYTES
            for index in range(samples):
                file.seek(last * index // (samples - 1))
                digest.update(file.read(DIGEST_SAMPLE_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.digest()


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError([f"market_data: {path!r}: {error.strerror or error}"])
