"""The alarms and the scrape config are valid, name only what there is, and each has its section in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from metrics_table import PAGE, metrics, mistakes

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "deploy" / "prometheus"
RULES_FILE = DIRECTORY / "seawall.rules.yml"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


ALARMS: list[dict[str, Any]] = [rule for group in read_yaml(RULES_FILE)["groups"] for rule in group["rules"]]


def test_the_table_of_metrics_is_read() -> None:
    assert len(metrics()) > 20
    assert metrics()["seawall_queue_depth"].labels == {"child", "queue", "peer"}
    for name, metric in metrics().items():
        assert (metric.kind == "counter") == name.endswith("_total"), name


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('rate(seawall_orders_total{status="Filled"}[5m]) > 0.5', []),
        ("histogram_quantile(0.99, sum by (le) (rate(seawall_journal_sync_seconds_bucket[5m])))", []),
        ("seawall_telemetry_age_seconds > 5 and on (instance) seawall_up == 1", []),
        ("seawall_halted == 1", ["no metric: seawall_halted"]),
        ("seawall_journal_sync_seconds > 1", ["no metric: seawall_journal_sync_seconds"]),
        ('seawall_child_up{name="risk"} == 0', ["no label of ['seawall_child_up']: name"]),
        ("sum by (symbol) (seawall_up)", ["no label of ['seawall_up']: symbol"]),
        ("sum(seawall_up", ["brackets: ()"]),
        ("1 > 0", ["reads nothing"]),
    ],
)
def test_an_expression_with_a_mistake_is_found(expression: str, found: list[str]) -> None:
    assert mistakes(expression) == found


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm["alert"])
def test_an_alarm_reads_what_there_is_and_has_its_section_in_the_runbook(alarm: dict[str, Any]) -> None:
    assert mistakes(alarm["expr"]) == []
    assert alarm["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook_url"} == set(alarm["annotations"])
    page, _, anchor = alarm["annotations"]["runbook_url"].partition("#")
    assert page == "file:///opt/seawall/deploy/README.md"
    assert anchor in {heading.lower() for heading in re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)}
    assert anchor == alarm["alert"].lower()


def test_the_runbook_has_no_section_for_an_alarm_that_is_not_there() -> None:
    runbook = PAGE.partition("\n## Runbook\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", runbook, re.MULTILINE) == [alarm["alert"] for alarm in ALARMS]


def test_the_test_of_the_alarms_fires_every_one_of_them() -> None:
    fired: set[str] = set()
    for one in read_yaml(DIRECTORY / "seawall.rules.test.yml")["tests"]:
        for series in one["input_series"]:
            assert mistakes(series["series"]) == [], series["series"]
        fired |= {case["alertname"] for case in one["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {alarm["alert"] for alarm in ALARMS}


@pytest.mark.parametrize(
    "words", [["check", "config", "prometheus.yml"], ["test", "rules", "seawall.rules.test.yml"]], ids=" ".join
)
def test_promtool_finds_no_mistake(words: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [promtool, *words], cwd=DIRECTORY, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scrape_config_reads_the_dashboard_and_these_rules() -> None:
    config = read_yaml(DIRECTORY / "prometheus.yml")
    assert config["rule_files"] == [RULES_FILE.name]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "seawall", "the alarm SeawallBlind names it"
    unit = (ROOT / "deploy" / "systemd" / "seawall-dash@.service").read_text(encoding="utf-8")
    assert f"LISTEN={job['static_configs'][0]['targets'][0]}\n" in unit
