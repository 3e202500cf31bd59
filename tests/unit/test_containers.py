"""What of the container files can be said without a Docker engine: they parse, and hold together with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from protocol.settings import SupervisorSettings
from supervisor.boot import STOP_LIMITS, STOP_STEPS, StopAction

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "deploy" / "docker"
COMPOSE = yaml.safe_load((DIRECTORY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNIT = (ROOT / "deploy" / "systemd" / "seawall@.service").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    text = (DIRECTORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def longest_stop_s() -> float:
    """All deadlines of an ordered stop, each let pass to its end; wal dies at every one of them, and comes back."""
    step_s = SupervisorSettings().stop_timeout_s
    end_s = step_s + STOP_LIMITS.term_wait_s + STOP_LIMITS.kill_wait_s
    total_s = STOP_LIMITS.wal_tries * end_s
    for step in STOP_STEPS[:-1]:
        total_s += step_s  # wal is brought back
        total_s += step_s if step.action is StopAction.DETACH else end_s * (2 if step.then else 1)
    return total_s


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * {"s": 1, "m": 60}[unit]


def test_nobody_kills_an_engine_before_all_deadlines_of_its_stop_have_passed() -> None:
    assert STOP_STEPS[-1].role == "wal"
    assert longest_stop_s() > 200
    assert seconds(SERVICES["engine"]["stop_grace_period"]) > longest_stop_s()
    (unit_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert float(unit_s) > longest_stop_s()
    (by_hand_s,) = re.findall(r"--stop-timeout (\d+)", (DIRECTORY / "Dockerfile").read_text(encoding="utf-8"))
    assert float(by_hand_s) > longest_stop_s()
    assert SERVICES["engine"]["stop_signal"] == "SIGTERM"


def test_whoever_is_process_one_reaps_and_passes_signals_on() -> None:
    assert all(service["init"] is True for service in SERVICES.values())


def test_nothing_runs_as_root_or_writes_beside_its_volume() -> None:
    names = [value for name, value in instructions() if name == "USER"]
    assert names == ["seawall"]
    last = max(index for index, (name, _) in enumerate(instructions()) if name in ("RUN", "COPY"))
    assert last < instructions().index(("USER", "seawall"))
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert [volume.partition(":")[0] for volume in service["volumes"] if not volume.endswith(":ro")] == ["state"]
    assert ("WORKDIR", "/var/lib/seawall") in instructions()
    assert "state:/var/lib/seawall" in SERVICES["engine"]["volumes"]


def test_the_image_gets_what_the_package_is_made_of() -> None:
    copied = [value.split()[:-1] for name, value in instructions() if name == "COPY" and "--from" not in value]
    sources = {source for sources in copied for source in sources}
    assert all((ROOT / source).exists() for source in sources), sources
    assert {"pyproject.toml", "protocol", "actors", "supervisor"} <= sources
    let_in = (DIRECTORY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in let_in if line.startswith("!")} == sources
    build = SERVICES["engine"]["build"]
    assert (DIRECTORY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()


def test_the_health_of_the_dashboard_is_not_that_of_its_engine() -> None:
    assert SERVICES["dash"]["healthcheck"] == {"disable": True}
    assert SERVICES["dash"]["command"][0] == "dash"
    assert SERVICES["engine"]["command"][:2] == ["run", "--no-progress"]
