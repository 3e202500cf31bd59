"""Every command of deploy/README.md runs as it stands, from the first block to the last, on a real engine.

They run as root, so in name spaces of their own: /etc, /opt and /var are copies that vanish with them, the network is
another loopback, and no process outlives them. In the place of systemd stands tests/service_manager.py; pip is not run
again, for its line is the README's, which CI runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from harness import DEADLINE_S, ROOT
from metrics_table import PAGE

BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -c deploy/constraints.txt -e "
NAME_SPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
NO_OVERLAYS = 77
ROTATED = """
logrotate --force /etc/logrotate.d/seawall && echo "rotated $(ls /var/log/seawall | tr '\\n' ' ')"
"""
TOOLS = ("systemd-analyze", "logrotate")
"""Without them the rest is run, and the test says so."""
PROBES = {
    "StandardError=": "systemd-analyze verify seawall@demo.service seawall-dash@demo.service && echo 'units verified'",
    "logrotate --debug": ROTATED,
    "wal verify $backup": "echo \"backup: $(seawall wal verify $backup --fold -o json)\"",
    "--type TRADING_STATE": f"""{sys.executable} -c 'from urllib.request import urlopen as get
print("halted and healthy:", get("http://127.0.0.1:8080/healthz").status)
print("seawall_up 1.0" in get("http://127.0.0.1:8080/metrics").read().decode())'""",
    "mv $run_dir": "echo \"restored: $(seawall positions -o json)\"",
}  # fmt: skip
"""By a mark in a block: what is looked at behind it."""


def script(directory: Path) -> str:
    """The blocks as one bash script; a command that fails is told, and the next is run."""
    stand_in = ROOT / "tests" / "service_manager.py"
    lines = [
        f"mount -t tmpfs none {directory} || exit {NO_OVERLAYS}",
        f"for d in etc opt var; do mkdir -p {directory}/$d.upper {directory}/$d.work && mount -t overlay none -o "
        f"lowerdir=/$d,upperdir={directory}/$d.upper,workdir={directory}/$d.work /$d || exit {NO_OVERLAYS}; done",
        "ip link set lo up",
        *(
            f'{program}() {{ "{sys.executable}" "{stand_in}" {program} "$@"; }}'
            for program in ("systemctl", "journalctl")
        ),
        "make_environment() { mkdir -p .venv/bin && ln -s /bin/true .venv/bin/pip && printf "
        f"'#!/bin/sh\\nPYTHONPATH=/opt/seawall exec {sys.executable} -m supervisor.cli.main \"$@\"\\n' "
        "> .venv/bin/seawall && chmod 755 .venv/bin/seawall; }",
        *(f"{tool}() {{ return 0; }}" for tool in missing_tools()),
        "set -E -o pipefail",
        "trap 'echo \"FAILED with $?: $BASH_COMMAND\"' ERR",
    ]
    for language, text in BLOCKS:
        if language == "ini":
            lines.append("mkdir -p /etc/systemd/system/seawall@.service.d")
            lines.append(f"cat > /etc/systemd/system/seawall@.service.d/log.conf <<'END'\n{text}END")
        else:
            assert language == "sh", "what nobody runs or reads does not stand here"
            lines.append(text.replace("python3 -m venv .venv", "make_environment"))
        lines += [probe for mark, probe in PROBES.items() if mark in text]
    return "\n".join([*lines, "systemctl stop seawall@demo", "cat /var/log/seawall/demo.log"])


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if not shutil.which(tool)]


def copy_of_the_repository(directory: Path) -> None:
    """As a clone, with what has not been committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    git = partial(subprocess.run, cwd=directory, check=True, capture_output=True)
    git(["git", "init", "-q"])
    git(["git", "add", "-A"])
    git(["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "all of it"])


def run_the_page(directory: Path) -> str:
    """What the commands print."""
    if os.geteuid() or subprocess.run([*NAME_SPACES, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, and name spaces")
    layers, clone = directory / "layers", directory / "clone"
    layers.mkdir()
    clone.mkdir()
    copy_of_the_repository(clone)
    (directory / "page.sh").write_text(script(layers), encoding="utf-8")
    done = subprocess.run(
        [*NAME_SPACES, "bash", str(directory / "page.sh")], cwd=clone, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=5 * DEADLINE_S, check=False,
    )  # fmt: skip
    if done.returncode == NO_OVERLAYS:
        pytest.skip(f"needs overlays: {done.stdout}")
    return done.stdout


def test_every_command_of_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """One test, for it is one long run: worksteal would share out several, and run it twice."""
    told = run_the_page(tmp_path)
    assert "FAILED" not in told, told
    said = re.findall(r'^seawall .*\|\| echo "exit code \$\?" +# (\d+)', PAGE, re.MULTILINE)
    # Nobody is missed while the engine runs, as it does here: `ping` would say 7 or 4.
    assert re.findall(r"^exit code (\d+)$", told, re.MULTILINE) == [code for code in said if code != "7"]
    assert "halted and healthy: 200\nTrue\n" in told, told
    assert_restored_halted_with_the_positions_of_the_backup(told)
    if missing := missing_tools():
        pytest.skip(f"all of the page but what needs {' and '.join(missing)}")
    assert "units verified" in told, told
    assert_rotated_without_a_hole(told)


def assert_restored_halted_with_the_positions_of_the_backup(told: str) -> None:
    (backup,), (restored,) = (re.findall(rf"^{mark}: (.*)$", told, re.MULTILINE) for mark in ("backup", "restored"))
    saved = {row["symbol"]: row["net_quantity"] / 1e6 for row in json.loads(backup)["fold"]["positions"]}
    assert saved == {row["symbol"]: row["net_quantity"] for row in json.loads(restored)["positions"]}
    assert saved.keys() == {"EURUSD"}
    halted = re.search(r"HALTED by supervisor .*: latch page was missing", told)
    assert halted is not None, told
    assert "demo: ACTIVE" in told[halted.end() :], "after an operator's stop"


def assert_rotated_without_a_hole(told: str) -> None:
    assert "rotated demo.log demo.log.1.gz" in told
    assert "\0" not in told
    last = told[told.rindex("rotated ") :]
    assert '"event": "engine_stopped"' in last
    assert '"event": "engine_ready"' in last


def test_the_page_installs_as_the_readme_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert INSTALL in readme
    assert INSTALL in PAGE
