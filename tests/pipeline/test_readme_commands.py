"""What README.md and actors/README.md tell a user to type beside a running engine does what they say, as it stands.

Other blocks have tests of their own (test_readme.py, test_actors_page.py); here is also shown that no block has none.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DEADLINE_S, EngineUnderTest, Tree, config_tree, sma_cross, wait_for

from protocol.config_checks import check_config
from protocol.settings import load_config

ROOT = Path(__file__).parents[2]
TEXT = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "actors/README.md"))
PROTOCOL = (ROOT / "protocol" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
PORTS = {"tcp://127.0.0.1:5555": "broadcast", "tcp://127.0.0.1:5556": "command", "tcp://127.0.0.1:5557": "telemetry"}
SHELL = {"seawall restart": "processes", "ps -eo": "operator"}
"""Mark of a block of commands -> what it is about, in the order in which they are typed."""
FEEDS = {"telemetry = zmq": '"type":"order_update"', "broadcast = zmq": "(0, "}
"""Mark of a block that reads a feed -> what its lines have in them."""
CONFIGS = ("max_order_value", "[supervisor.deadlines]", 'venue = "simulated"', 'quote_currency = "JPY"')
ELSEWHERE = (
    "pytest", "seawall run", "seawall keys", "gateway.curve", "class Breakout", "bids = state", 'name = "breakout"',
    "seawall report", "wal repair", "seawall top", "class Pullback", "class Reversion", "class Recorder",
    "class Staircase", "class AtOnce",
)  # fmt: skip
"""Marks of blocks that other tests run."""


def block(mark: str) -> str:
    (found,) = [text for _, text in BLOCKS if mark in text]
    return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    tree = config_tree(
        engine={"name": "demo", "run_dir": "run/demo"},
        market_data={"rate": 40},  # a position that was flattened is not opened again before anybody has looked
        strategies=[sma_cross("sma", ["EURUSD"]), sma_cross("breakout", ["EURUSD"], fast=30, slow=90)],
    )
    with EngineUnderTest(tmp_path_factory.mktemp("readme"), tree) as running:
        wait_for(lambda: running.status_positions(), "a position")
        yield running


def test_every_block_is_run_somewhere() -> None:
    marks = (*SHELL, *FEEDS, *CONFIGS, *ELSEWHERE, "seawall venue", 'send_string("HALT")')
    unknown = [text for language, text in BLOCKS if not any(mark in text for mark in marks)]
    assert unknown == []
    assert all(block(mark) for mark in (*SHELL, *FEEDS, *CONFIGS))


@pytest.mark.parametrize("mark", FEEDS, ids=["telemetry", "broadcast"])
def test_a_subscriber_of_a_few_lines_hears_the_feed(engine: EngineUnderTest, mark: str) -> None:
    program = block(mark)
    for endpoint, which in PORTS.items():
        program = program.replace(endpoint, engine.endpoint(which))
    with subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert FEEDS[mark] in reader.stdout.readline()
        reader.kill()


@pytest.mark.parametrize("mark", SHELL, ids=SHELL.values())
def test_what_is_typed_beside_a_running_engine_works(engine: EngineUnderTest, mark: str) -> None:
    """The last line of the last block stops the engine."""
    said = typed(engine, mark)
    if SHELL[mark] == "operator":
        assert "seawall: risk [demo]" in said
        assert engine.wait() == 0


def test_what_is_typed_to_the_venue_works(tmp_path: Path) -> None:
    tree = config_tree(engine={"run_dir": "run/demo"}, order_routing={"venue": "simulated"})
    with EngineUnderTest(tmp_path, tree) as engine:
        typed(engine, "seawall venue")


def typed(engine: EngineUnderTest, mark: str) -> str:
    """What the block of this mark prints, in the engine's directory."""
    lines = [line for line in block(mark).splitlines() if "activate" not in line]
    bin_dir = engine.directory / "bin"
    if not bin_dir.exists():
        bin_dir.mkdir()
        seawall = bin_dir / "seawall"
        seawall.write_text(f'#!/bin/sh\nexec {sys.executable} -m supervisor.cli.main "$@"\n')
        seawall.chmod(0o755)
    environment = engine.environment() | {"SEAWALL_RUN_DIR": "run/demo"}
    environment["PATH"] = f"{bin_dir}:{environment.get('PATH', '/usr/bin:/bin')}"
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", "\n".join(lines)], cwd=engine.directory, env=environment, capture_output=True,
        text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", [TEXT, PROTOCOL], ids=["README", "protocol/README"])
def test_halt_is_one_word_to_a_req_socket(page: str, tmp_path: Path) -> None:
    (program,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if 'send_string("HALT' in text]
    with EngineUnderTest(tmp_path) as engine:
        program = program.replace("tcp://127.0.0.1:5556", engine.endpoint("command"))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )
        assert "'Trading halted'" in done.stdout.replace('"', "'")
        assert engine.ask("STATUS")["halted"] is True


@pytest.mark.parametrize("mark", CONFIGS)
def test_a_piece_of_a_config_is_taken(tmp_path: Path, mark: str) -> None:
    piece: Tree = tomllib.loads(block(mark))
    instruments = piece.pop("instruments", [])
    for instrument in instruments:
        instrument |= {"tick_size": 0.001, "lot_size": 1.0}
    made = EngineUnderTest(tmp_path, config_tree(**piece))
    made.tree["instruments"] += instruments
    made.write_config()
    config = load_config(str(made.config_path))
    assert check_config(config) == []
    assert len(config.instruments) == 1 + len(instruments)
