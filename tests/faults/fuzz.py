"""Fuzzing for as long as there is time: every decoder of tests/decoders.py, each for its share of it.

    python -m tests.faults.fuzz --seconds 600 [--decoders "message,venue's books"] [--engine atheris]

`hypothesis` (as a rule) tries what is nearly valid, with new seeds each time. `atheris`, where it is installed (`pip
install atheris`), follows the branches of this project's own Python code, from a valid encoding on; each decoder then
has a process of its own, which is libFuzzer's. What is found is printed with the bytes, for FINDS in
tests/unit/test_fuzzing.py, and ends the run with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

EXAMPLES: Final = 200
"""Of hypothesis, between two looks at the time."""
SEEDS: Final = 50
"""Valid encodings that atheris begins with."""


def by_hypothesis(name: str, seconds: float) -> tuple[int, str]:
    """(inputs tried, what was found)."""
    from decoders import DECODERS, attempt, inputs
    from hypothesis import HealthCheck, Phase, given, seed, settings

    decoder = next(decoder for decoder in DECODERS if decoder.name == name)
    tried, end = 0, time.monotonic() + seconds
    last = b""

    # Not made smaller: that takes longer than the share of the next.
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(inputs(decoder))
    def run(data: bytes) -> None:
        nonlocal tried, last
        if time.monotonic() < end:
            tried, last = tried + 1, data
            attempt(decoder, data)

    while time.monotonic() < end:
        try:
            seed(int.from_bytes(os.urandom(8)))(run)()
        except Exception:
            return tried, f"{last!r}\n{traceback.format_exc()}"
    return tried, ""


def by_atheris(name: str, seconds: float) -> tuple[int, str]:
    """As by_hypothesis, in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        ran = subprocess.run(
            [sys.executable, __file__, "--inside", name, "--seconds", str(seconds)],
            cwd=directory,
            env=dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2])),
            capture_output=True,
            text=True,
            check=False,
        )
    tried = [line.split()[1] for line in ran.stderr.splitlines() if line.startswith("Done ")]
    return int(tried[-1]) if tried else 0, ran.stdout[-4000:] + ran.stderr[-4000:] if ran.returncode else ""


def inside_atheris(name: str, seconds: float) -> None:
    import atheris  # pyright: ignore[reportMissingImports]

    instrumented: Any = atheris
    with instrumented.instrument_imports(include=["protocol", "actors", "supervisor"]):
        from decoders import DECODERS, attempt
    import warnings

    decoder = next(decoder for decoder in DECODERS if decoder.name == name)
    seeds = Path("seeds")
    seeds.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hypothesis: that example() is for looking at
        for number in range(SEEDS):
            (seeds / str(number)).write_bytes(decoder.valid.example())

    def one(data: bytes) -> None:
        try:
            attempt(decoder, data)
        except BaseException:
            print(repr(data), flush=True)
            raise

    options = [f"-max_total_time={max(1, round(seconds))}", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=10"]
    instrumented.Setup([name, *options, str(seeds)], one)
    instrumented.Fuzz()


def main(arguments: Sequence[str] | None = None) -> int:
    from decoders import DECODERS

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=600.0, help="of all together (%(default)s)")
    options.add_argument("--decoders", default=",".join(decoder.name for decoder in DECODERS), help="(%(default)s)")
    options.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parsed = options.parse_args(arguments)
    if parsed.engine == "atheris" and importlib.util.find_spec("atheris") is None:
        options.error("atheris is not installed: pip install atheris")
    # Else thousands of torn tails are told.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    names = parsed.decoders.split(",")
    fuzz, found = (by_atheris if parsed.engine == "atheris" else by_hypothesis), 0
    for name in names:
        tried, find = fuzz(name, parsed.seconds / len(names))
        print(f"{name:26}{tried:10,}  {'FOUND' if find else 'nothing'}", flush=True)
        if find:
            print(find, flush=True)
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside_atheris(sys.argv[2], float(sys.argv[4]))
    sys.exit(main())
