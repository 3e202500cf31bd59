"""RUN_DIR/config.json: what a report knows of the last start."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import structlog

from protocol.errors import ConfigError
from protocol.settings import Config, parse_config
from supervisor.saved_config import CONFIG_NAME, load_saved_config, save_config

CONFIG = """
[engine]
run_dir = "run"
[account]
balance = 1234.567891
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "sma"
class = "some:Strategy"
symbols = ["EURUSD"]
params = { window = 5, share = 0.25 }
"""


@pytest.fixture
def config() -> Config:
    return parse_config(CONFIG)


def test_the_config_comes_back_as_it_was_with_the_directory_that_its_paths_are_relative_to(
    config: Config, tmp_path: Path
) -> None:
    save_config(tmp_path, config)
    saved = load_saved_config(tmp_path)
    assert saved is not None
    assert saved.decode() == config
    assert saved.working_directory == os.getcwd()


def test_nobody_else_may_read_it_whatever_a_crash_left_behind(config: Config, tmp_path: Path) -> None:
    left = tmp_path / (CONFIG_NAME + ".part")
    left.write_text("half")
    left.chmod(0o666)
    save_config(tmp_path, config)
    assert stat.S_IMODE((tmp_path / CONFIG_NAME).stat().st_mode) == 0o600
    assert not left.exists()


def test_a_config_that_cannot_be_written_is_a_word_in_the_log_and_leaves_the_one_before(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / CONFIG_NAME).write_text("before")
    (tmp_path / (CONFIG_NAME + ".part")).mkdir()  # root, too, cannot write there
    with structlog.testing.capture_logs() as logs:
        save_config(tmp_path, config)
    assert [entry["event"] for entry in logs] == ["config_not_saved"]
    assert (tmp_path / CONFIG_NAME).read_text() == "before"


def test_a_run_dir_of_an_older_version_has_none(tmp_path: Path) -> None:
    assert load_saved_config(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":"1"}', b"\xff\xfe"])
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONFIG_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=CONFIG_NAME):
        load_saved_config(tmp_path)


def test_a_config_of_another_version_is_refused_with_its_number(config: Config, tmp_path: Path) -> None:
    save_config(tmp_path, config)
    path = tmp_path / CONFIG_NAME
    path.write_text(path.read_text().replace('"leverage"', '"lever"'))
    saved = load_saved_config(tmp_path)
    assert saved is not None
    with pytest.raises(ConfigError, match=r"version .*lever"):
        saved.decode()
