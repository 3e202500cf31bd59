"""The health command of deploy/docker/compose.yaml, asked of a real engine: HALT is no illness."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from harness import ROOT, EngineUnderTest, config_tree


def test_a_halted_engine_is_healthy_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    kind, command = compose["services"]["engine"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    with EngineUnderTest(tmp_path, config_tree()) as engine:
        command = command.replace("/etc/seawall/${SEAWALL_ENGINE:-demo}.toml", str(engine.config_path))
        command = command.replace("seawall status", f"{shlex.quote(sys.executable)} -m supervisor.cli.main status")

        def health() -> int:
            return subprocess.run(
                ["sh", "-c", command], cwd=tmp_path, env=engine.environment(), stderr=subprocess.DEVNULL, check=False
            ).returncode

        assert health() == 0
        assert engine.ask("HALT enough")["status"] == "ok"
        assert engine.cli("status", "--check", str(engine.config_path)).returncode == 150
        assert health() == 0
        assert engine.stop() == 0
        assert health() == 1, "what Docker takes for ill; its 2 is reserved"
