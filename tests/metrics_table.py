"""The names of deploy/README.md's table "Metrics", and a look at PromQL that needs no Prometheus.

Owns what is known of the metrics for every test: the table is the one place where their names stand. The look at PromQL
is no parser of it: it finds names, labels and brackets; `promtool` says the rest where it is installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = (Path(__file__).parents[1] / "deploy" / "README.md").read_text(encoding="utf-8")
FROM_PROMETHEUS: Final = {"up": {"job", "instance"}}
"""What Prometheus makes itself."""
ADDED_LABELS: Final = {"job", "instance", "engine"}
"""By the scrape."""
PARTS: Final = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_WORDS: Final = {"by", "without", "on", "ignoring", "and", "or", "unless", "bool", "group_left", "offset"}
_ROW: Final = re.compile(r"^\| (seawall_\w+) \| (\w+) \| ([^|]*)\|", re.MULTILINE)
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_MATCHERS: Final = re.compile(r"\{([^}]*)\}")


class Metric(NamedTuple):
    kind: str
    labels: frozenset[str]


def metrics() -> dict[str, Metric]:
    """By the name that is in the table."""
    return {
        name: Metric(kind, frozenset(re.findall(r"\w+", labels)))
        for name, kind, labels in _ROW.findall(PAGE)
    }  # fmt: skip


def series() -> dict[str, set[str]]:
    """Labels by the names that Prometheus knows: a histogram has three."""
    found = {name: {*labels} for name, labels in FROM_PROMETHEUS.items()}
    for name, metric in metrics().items():
        for part in PARTS[metric.kind]:
            found[name + part] = {*metric.labels, *ADDED_LABELS, *(["le"] if part == "_bucket" else [])}
    return found


def used_names(expression: str) -> set[str]:
    """The series that a PromQL expression reads."""
    text = re.sub(r"\[[^\]]*\]", "", _MATCHERS.sub("", _GROUPED.sub("", re.sub(r'"[^"]*"', '""', expression))))
    words = re.findall(r"(?<![\w.$])([a-zA-Z_:][\w:]*)(?!\w*\s*\()", text)
    return {word for word in words if word not in _WORDS}


def mistakes(expression: str) -> list[str]:
    """Names, labels and brackets that cannot be right."""
    known, used = series(), used_names(expression)
    found = [f"no metric: {name}" for name in used - known.keys()]
    labels = {"le", *ADDED_LABELS, *(label for name in used & known.keys() for label in known[name])}
    groups = [label for group in _GROUPED.findall(expression) for label in re.findall(r"\w+", group)]
    matched = [label for group in _MATCHERS.findall(expression) for label in re.findall(r"(\w+)\s*(?:=|!)", group)]
    found += [f"no label of {sorted(used)}: {label}" for label in {*groups, *matched} - labels]
    bare = re.sub(r'"[^"]*"', "", expression)
    found += [f"brackets: {pair}" for pair in ("()", "{}", "[]") if bare.count(pair[0]) != bare.count(pair[1])]
    return found if used else [*found, "reads nothing"]
