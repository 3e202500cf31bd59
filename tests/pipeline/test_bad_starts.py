"""A start that must not be: exit code 2, one readable message that names the place, and nothing left running."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness import EngineUnderTest, Tree, config_tree, free_endpoint, sma_cross, wait_for
from market_files import bid_ask, quotes

USER_FILES = {
    "raising.py": "raise RuntimeError('no market today')\n",
    "other.py": "class NoStrategy:\n    pass\n",
    "broken.py": "def broken(:\n",
    "made.py": "from actors.strategies import Strategy\nprint('made is imported')\n"
    "class Raises(Strategy):\n    def __init__(self): raise LookupError('no such window')\n"
    "class Needs(Strategy):\n    def __init__(self, window): self.window = window\n"
    "class Sound(Strategy):\n    def __init__(self): self.window = 5\n"
    "    @property\n    def mean(self): return self.position(self.symbols[0]).quantity / 0\n",
    "leaving.py": "import os\nos._exit(0)\n",
}


def start_and_fail(directory: Path, tree: Tree) -> str:
    """What the refused start has said; it has left nothing."""
    engine = EngineUnderTest(directory, tree, files=USER_FILES)
    try:
        engine.start()
        assert engine.wait() == 2
        assert engine.output() == ""
        assert not (engine.run_dir / "ipc").exists()
        assert not engine.log_events("engine_ready")
        return engine.log_text()
    finally:
        engine.close()


def assert_readable(message: str) -> None:
    assert "Traceback" not in message, message
    assert message.strip()


def change(section: str, key: str, value: object) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        tree.setdefault(section, {})[key] = value

    return apply


def strategy_class(name: str) -> Callable[[Tree], None]:
    return lambda tree: tree["strategies"][0].update({"class": name})


CONFIG_MISTAKES: Final[dict[str, tuple[Callable[[Tree], None], list[str]]]] = {
    "unknown key": (change("risk", "max_positon", 1.0), ["risk.max_positon", "unknown key"]),
    "unknown section": (change("riks", "max_drawdown", -1.0), ["riks", "unknown section"]),
    "wrong type": (change("market_data", "rate", "fast"), ["market_data.rate", "'fast'"]),
    "missing instrument": (lambda tree: tree["strategies"][0].update(symbols=["USDJPY"]), ["USDJPY", "strategies[0]"]),
    "no instruments": (lambda tree: tree.update(instruments=[]), ["instruments"]),
    "live": (change("engine", "mode", "live"), ["engine.mode", "live"]),
    "replay": (change("engine", "mode", "replay"), ["market_data.source", "needs files"]),
    "currency": (lambda tree: tree["instruments"][0].update(quote_currency="JPY"), ["quote_currency", "JPY"]),
    "beyond loopback": (change("gateway", "command", "tcp://0.0.0.0:5999"), ["gateway.command", "0.0.0.0"]),
}
CHILD_MISTAKES: Final[dict[str, tuple[Callable[[Tree], None], list[str]]]] = {
    "no module": (strategy_class("nowhere:Some"), ["strategies[0].class", "nowhere"]),
    "raising import": (strategy_class("raising:Some"), ["strategies[0].class", "no market today"]),
    "missing file": (
        lambda tree: tree.update(market_data={"source": "csv", "path": "absent.csv", "symbol": "EURUSD"}),
        ["absent.csv"],
    ),
}


@pytest.mark.parametrize("name", CONFIG_MISTAKES)
def test_a_config_mistake_ends_the_start_with_code_2_and_names_its_place(tmp_path: Path, name: str) -> None:
    mistake, words = CONFIG_MISTAKES[name]
    tree = config_tree()
    mistake(tree)
    message = start_and_fail(tmp_path, tree)
    assert_readable(message)
    assert all(word in message for word in ["seawall.toml", *words]), message
    assert not (tmp_path / "run").exists(), "checked whole before anything starts"


@pytest.mark.parametrize("name", CHILD_MISTAKES)
def test_what_only_a_child_can_find_wrong_ends_the_start_the_same_way(tmp_path: Path, name: str) -> None:
    mistake, words = CHILD_MISTAKES[name]
    tree = config_tree()
    mistake(tree)
    message = start_and_fail(tmp_path, tree)
    assert_readable(message)
    assert all(word in message for word in words), message


def test_several_mistakes_are_all_told_at_once(tmp_path: Path) -> None:
    tree = config_tree(risk={"max_drawdown": 5.0}, wal={"sync": "sometimes"}, engine={"mode": "quick"})
    message = start_and_fail(tmp_path, tree)
    assert all(word in message for word in ("wal.sync", "engine.mode"))


@pytest.mark.parametrize("key", ["command", "broadcast"])
def test_a_port_in_use_ends_the_start_and_names_its_key(tmp_path: Path, key: str) -> None:
    tree = config_tree()
    port = int(tree["gateway"][key].rpartition(":")[2])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        message = start_and_fail(tmp_path, tree)
    assert_readable(message)
    assert f"gateway.{key} = '{tree['gateway'][key]}'" in message
    assert "two engines on one machine need endpoints of their own" in message
    assert "nursery_ended" not in message


def test_check_finds_all_that_children_would_find_without_a_start(tmp_path: Path) -> None:
    tree = config_tree(
        strategies=[
            sma_cross("a", ["EURUSD"]) | {"class": "other:Missing"},
            sma_cross("b", ["EURUSD"]) | {"class": "other:NoStrategy"},
            sma_cross("c", ["EURUSD"]) | {"class": "raising:Some"},
            sma_cross("d", ["EURUSD"]) | {"class": "broken:Some"},
            sma_cross("e", ["EURUSD"]) | {"class": "made:Raises"},
            sma_cross("f", ["EURUSD"]) | {"class": "made:Needs"},
        ]
    )
    engine = EngineUnderTest(tmp_path, tree, files=USER_FILES)
    found = engine.cli("check", "seawall.toml")
    assert found.returncode == 2
    lines = found.stderr.splitlines()
    words = ["Missing", "NoStrategy", "no market today", "SyntaxError", "no such window", "argument"]
    for index, word in enumerate(words):
        assert any(f"strategies[{index}].class" in line and word in line for line in lines), found.stderr
    sound = sma_cross("b", ["EURUSD"]) | {"class": "made:Sound", "params": {"window": "x", "windw": 3}}
    misspelt = sma_cross("a", ["EURUSD"]) | {"params": {"fasst": 20}}
    engine.tree = config_tree(wal={"sync": "off"}, strategies=[misspelt, sound])
    engine.write_config()
    fine = engine.cli("check", "seawall.toml")
    assert (fine.returncode, fine.stdout.strip()) == (0, "ok")
    assert 'Warning: wal.sync = "off": orders leave before' in fine.stderr
    for index, name in enumerate(["fasst: SmaCross", "windw: Sound"]):
        assert f"Warning: strategies[{index}].params.{name} has no default for it" in fine.stderr
    assert fine.stderr.count("has no default") == 2
    assert "but for fast, quantity, slow; a slip" in fine.stderr
    assert "Warning: strategies[1].params.window = 'x': its default is 5, of another type" in fine.stderr
    engine.tree = config_tree(strategies=[sma_cross("a", ["EURUSD"]) | {"class": "leaving:Some"}])
    engine.write_config()
    left = engine.cli("check", "seawall.toml")
    assert (left.returncode, "the check itself ended with code 0" in left.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_run_dir_too_long_for_sockets_works_through_a_link(tmp_path: Path) -> None:
    run_dir = "/".join(["a_directory_with_a_long_name"] * 5)
    with EngineUnderTest(tmp_path, config_tree(engine={"run_dir": run_dir})) as engine:
        link = engine.run_dir / "ipc"
        target = link.resolve()
        assert link.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o700
        assert engine.client.ping()["response"] == "PONG"
        assert engine.cli("ping", "seawall.toml").returncode == 0
        wait_for(lambda: engine.records("ORDER_PLACE"), "an order")
        assert engine.stop() == 0
        assert not link.is_symlink()
        assert not target.exists()


def test_endpoints_that_are_empty_turn_their_sockets_off(tmp_path: Path) -> None:
    """The control socket stays: the operator's way in."""
    rows = bid_ask(quotes(50))
    tree = config_tree(
        market_data={"source": "csv", "path": "ticks.csv", "symbol": "EURUSD", "speed": 1.0},
        gateway={"command": "", "telemetry": "", "broadcast": ""},
    )
    with EngineUnderTest(tmp_path, tree, files={"ticks.csv": rows}) as engine:
        assert engine.client.ping()["response"] == "PONG"
        assert engine.client.halt("enough")["response"] == "Trading halted"
        assert engine.stop() == 0


def test_ipc_endpoints_serve_as_well_as_tcp(tmp_path: Path) -> None:
    tree = config_tree(gateway={"command": "ipc://c.sock", "telemetry": "ipc://t.sock", "broadcast": free_endpoint()})
    engine = EngineUnderTest(tmp_path, tree)
    engine.tree["gateway"]["command"] = f"ipc://{tmp_path}/c.sock"
    engine.tree["gateway"]["telemetry"] = f"ipc://{tmp_path}/t.sock"
    telemetry = engine.telemetry("order_update")
    with engine:
        assert engine.ask("PING") == {"status": "ok", "response": "PONG"}
        wait_for(telemetry.events, "an order update")
        assert engine.stop() == 0


def test_an_engine_whose_standard_streams_are_closed_trades(tmp_path: Path) -> None:
    engine = EngineUnderTest(tmp_path)
    try:
        engine.start(launcher=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
        wait_for(lambda: engine.records("POSITION_CLOSE"), "a round trip")
        taken = {os.readlink(f"/proc/{pid}/fd/{number}") for pid in engine.titles().values() for number in range(3)}
        assert taken == {os.devnull}
        assert engine.stop() == 0
    finally:
        engine.close()
