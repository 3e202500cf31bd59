"""The dashboard can be imported: its panels stand apart, say their units, and read metrics that there are."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from metrics_table import metrics, mistakes, used_names

DASHBOARD = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "seawall.json").read_text(encoding="utf-8")
)  # fmt: skip
ALL: list[dict[str, Any]] = DASHBOARD["panels"]
PANELS = [panel for panel in ALL if panel["type"] != "row"]
EXPRESSIONS: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
WIDTH = 24
"""Columns of Grafana's grid."""


def do_overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_ids_and_titles_are_used_once() -> None:
    assert len({panel["id"] for panel in ALL}) == len(ALL)
    assert len({panel["title"] for panel in ALL}) == len(ALL)


def test_no_panel_stands_on_another_or_beyond_the_grid() -> None:
    overlapping = [
        (one["title"], other["title"])
        for one, other in combinations(ALL, 2)
        if do_overlap(one["gridPos"], other["gridPos"])
    ]
    assert overlapping == []
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH for panel in ALL)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_its_unit_and_reads_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert mistakes(target["expr"]) == []
        assert 'instance="$instance"' in target["expr"], "of several engines it shows the chosen one"
        assert target["legendFormat"]


def test_every_metric_can_be_seen() -> None:
    shown = {name for expression in EXPRESSIONS for name in used_names(expression)}
    parts = {name.removesuffix("_bucket") for name in shown}
    unseen = metrics().keys() - parts
    assert unseen == {"seawall_child_state", "seawall_child_value"}, "one is in seawall_child_up, one for the curious"


def test_promtool_can_read_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool (Debian: apt-get install prometheus)")
    rules = [{"record": f"shown:{index}", "expr": expression} for index, expression in enumerate(EXPRESSIONS)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
