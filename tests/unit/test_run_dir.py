"""The run_dir as a start finds it: clean, left by a kill, with a path too long for a socket, without its latch."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
import zmq
from click.testing import CliRunner

from actors.base import page_path
from actors.latch import LATCH_NAME
from actors.page import HealthPage
from protocol.client import control_endpoint
from protocol.errors import ConfigError
from protocol.pipeline import PIPES, pipe_endpoint
from protocol.settings import load_config, parse_config
from supervisor.cli.main import main
from supervisor.engine import Engine
from supervisor.run_dir import begin_page, check_run_dir, next_incarnation, open_latch, prepare_ipc, remove_ipc

BOOT_ID = bytes(range(16))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def deep(tmp_path: Path) -> Path:
    path = tmp_path / ("d" * 60) / ("e" * 60)
    path.mkdir(parents=True)
    return path


def test_sockets_stand_in_a_private_directory(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        ipc = prepare_ipc(tmp_path)
    finally:
        os.umask(previous)
    assert (ipc, mode_of(ipc)) == (tmp_path / "ipc", 0o700)


def test_sockets_of_an_engine_that_was_killed_are_gone(tmp_path: Path) -> None:
    ipc = prepare_ipc(tmp_path)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{ipc}/wal")
        (ipc / "left").touch()
        assert list(prepare_ipc(tmp_path).iterdir()) == []
    remove_ipc(tmp_path)
    assert not ipc.exists()
    remove_ipc(tmp_path)  # twice is once


def test_a_run_dir_too_deep_for_a_socket_links_to_a_short_private_directory(tmp_path: Path) -> None:
    run_dir = deep(tmp_path)
    ipc = prepare_ipc(run_dir)
    assert (run_dir / "ipc").is_symlink()
    assert (run_dir / "ipc").resolve() == ipc.resolve()
    assert mode_of(ipc) == 0o700
    for pipe in PIPES.values():
        pipe_endpoint(pipe, ipc, "e")
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{ipc}/control")
        assert control_endpoint(run_dir) == f"ipc://{ipc.resolve()}/control", "where clients look"
    again = prepare_ipc(run_dir)
    assert not ipc.exists()
    remove_ipc(run_dir)
    assert not again.exists()
    assert not (run_dir / "ipc").is_symlink()


def test_a_link_to_somewhere_else_is_removed_and_what_it_led_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "ipc").symlink_to(tmp_path / "precious")
    prepare_ipc(tmp_path)
    assert (tmp_path / "precious" / "file").exists()
    assert not (tmp_path / "ipc").is_symlink()


@pytest.mark.parametrize(
    ("journal", "halted"), [(None, False), (b"", False), (b"a record", True)], ids=["no journal", "empty", "records"]
)
def test_a_missing_latch_page_means_halted_where_there_is_a_journal(
    tmp_path: Path, journal: bytes | None, halted: bool
) -> None:
    if journal is not None:
        (tmp_path / "wal").mkdir()
        (tmp_path / "wal" / "journal.wal").write_bytes(journal)
    latch = open_latch(tmp_path, BOOT_ID)
    assert (latch.is_halted(), latch.boot_id) == (halted, BOOT_ID)
    latch.close()


def test_a_latch_page_that_is_there_says_itself_whether_it_is_halted(tmp_path: Path) -> None:
    open_latch(tmp_path, BOOT_ID).close()
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "journal.wal").write_bytes(b"a record")
    latch = open_latch(tmp_path, BOOT_ID)
    assert not latch.is_halted()
    latch.halt("operator", "enough")
    latch.close()
    latch = open_latch(tmp_path, bytes(16))
    assert (latch.is_halted(), latch.reason(), (tmp_path / LATCH_NAME).exists()) == (True, "enough", True)
    latch.close()


SMALL = """
[engine]
name = "small"
run_dir = "{}"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[wal]
enabled = {}
"""


@pytest.mark.parametrize(
    "name", ["journal.wal", "journal-00000000000000000001.wal", "journal-00000000000000000001.wal.zst"]
)
def test_a_journal_forbids_a_start_without_one_and_nothing_is_touched(name: str, tmp_path: Path) -> None:
    run_dir, config = tmp_path / "run", tmp_path / "small.toml"
    (run_dir / "wal").mkdir(parents=True)
    (run_dir / "wal" / name).write_bytes(b"records")
    config.write_text(SMALL.format(run_dir, "false"))
    for verb in ("check", "run"):
        result = CliRunner().invoke(main, [verb, str(config)])
        assert result.exit_code == 2
        for word in ("wal.enabled = false", str(run_dir / "wal")):
            assert word in result.stderr
    with pytest.raises(ConfigError, match=r"wal\.enabled"):
        Engine(load_config(config)).start()
    assert [path.name for path in run_dir.rglob("*")] == ["wal", name]


def test_resume_is_for_a_replay_with_a_journal(tmp_path: Path) -> None:
    [paper] = check_run_dir(parse_config(SMALL.format(tmp_path, "true")), resume=True)
    assert 'engine.mode = "replay"' in paper
    in_memory = parse_config(SMALL.format(tmp_path, "false"))
    engine = msgspec.structs.replace(in_memory.engine, mode="replay")
    [kept] = check_run_dir(msgspec.structs.replace(in_memory, engine=engine), resume=True)
    assert "wal.enabled = true" in kept


def test_without_a_journal_and_with_one_that_is_enabled_nothing_forbids_the_start(tmp_path: Path) -> None:
    assert check_run_dir(parse_config(SMALL.format(tmp_path, "false"))) == []
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "journal.wal").touch()
    assert check_run_dir(parse_config(SMALL.format(tmp_path, "false"))) == [], "it is empty"
    (tmp_path / "wal" / "journal.wal").write_bytes(b"records")
    assert check_run_dir(parse_config(SMALL.format(tmp_path, "true"))) == []


def test_a_new_run_keeps_incarnations_growing_and_forgets_where_the_market_was(tmp_path: Path) -> None:
    assert begin_page(tmp_path, "risk") == 1
    page = HealthPage.open(page_path(tmp_path, "risk"), writable=True)
    page.begin_life(7, os.getpid())
    page.set_market(b"feed", 99)
    page.acknowledge(bytes(16), 12, 34)
    page.close()
    assert next_incarnation(tmp_path, "risk") == 8
    assert begin_page(tmp_path, "risk") == 8
    page = HealthPage.open(page_path(tmp_path, "risk"), writable=False)
    assert (page.market(), page.acknowledged(bytes(16))) == ((b"", 0), 12)
    page.close()
