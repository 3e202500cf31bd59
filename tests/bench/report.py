"""What every bench prints and writes: a table of figures with aim and ratio, and the same as JSON.

Owns the run's surroundings too: a directory on a real disk, and what machine and file system it was. A bench asserts
nothing about time: it says what it measured, and a reader judges. Ratios are taken within one run, because machines
differ, and the same machine differs from hour to hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from supervisor.warnings import file_system_of

NOT_A_DISK: Final = {"tmpfs", "ramfs", "overlay"}
"""File systems on which a sync proves nothing, or something else."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. With an aim, `ratio` is value over aim, and `met` says on which side it fell."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    is_least: bool = True
    """The aim is the least that will do; else it is the most."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.aim is None else self.value / self.aim

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value >= self.aim if self.is_least else self.value <= self.aim


@dataclass(slots=True)
class Report:
    """The figures of one run of the bench `name`."""

    name: str
    facts: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    """What was measured over time: in the JSON only."""

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        self.figures.append(Figure(name, value, unit, note=note))

    def add_at_least(self, name: str, value: float, unit: str, aim: float, note: str = "") -> None:
        self.figures.append(Figure(name, value, unit, aim, True, note))

    def add_at_most(self, name: str, value: float, unit: str, aim: float, note: str = "") -> None:
        self.figures.append(Figure(name, value, unit, aim, False, note))

    def finish(self, json_path: Path | None) -> None:
        """The table is printed, and the JSON written where it was asked for."""
        Console(width=None if sys.stdout.isatty() else 150).print(self._table())
        if json_path is not None:
            json_path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        figures = [{**asdict(figure), "ratio": figure.ratio, "met": figure.met} for figure in self.figures]
        found = {"bench": self.name, "facts": self.facts, "figures": figures}
        return found | {"series": self.series} if self.series else found

    def _table(self) -> Table:
        facts = ", ".join(f"{key} {value}" for key, value in self.facts.items())
        table = Table("figure", "value", "unit", "aim", "ratio", "met", "note", title=self.name, caption=facts)
        for column in (1, 3, 4):
            table.columns[column].justify = "right"
        for figure in self.figures:
            aim = "" if figure.aim is None else f"{'>=' if figure.is_least else '<='} {show(figure.aim)}"
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            met = "" if figure.met is None else "yes" if figure.met else "NO"
            table.add_row(figure.name, show(figure.value), figure.unit, aim, ratio, met, figure.note)
        return table


def show(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, by rank; they need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def parser(module_doc: str | None) -> argparse.ArgumentParser:
    """The options that all benches share; a bench adds its own."""
    made = argparse.ArgumentParser(description=(module_doc or "").strip().partition("\n")[0])
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    made.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="a directory on the disk (%(default)s)")
    return made


@contextmanager
def bench_directory(parent: Path) -> Iterator[Path]:
    """An empty directory on a real disk, gone afterwards, after SIGTERM too. Exits with a word if it is no disk."""
    kind = file_system_of(parent)
    if kind in NOT_A_DISK:
        sys.exit(f"{parent} is on {kind}: name a directory on a disk with --dir")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C: every `with` is left in order
    with tempfile.TemporaryDirectory(prefix="seawall-bench-", dir=parent) as directory:
        yield Path(directory)


def surroundings(directory: Path) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "fs": file_system_of(directory),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
