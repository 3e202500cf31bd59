"""Which engine a CONFIG names, whatever else stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli.naming import Target, find_target

ENGINE = '[engine]\nrun_dir = "run"\n'


@pytest.mark.parametrize("rest", ["", "[gateway]\n", "[gateway]\ncurve = 5\n", "[gateway]\ncurve = []\n"])
def test_an_engine_can_be_halted_while_its_config_is_being_edited(rest: str, tmp_path: Path) -> None:
    config = tmp_path / "seawall.toml"
    config.write_text(ENGINE + rest, encoding="utf-8")
    assert find_target(str(config), None, None) == Target(Path("run"), "")


def test_a_gateway_that_is_no_table_is_no_matter_either(tmp_path: Path) -> None:
    config = tmp_path / "seawall.toml"
    config.write_text("gateway = 5\n" + ENGINE, encoding="utf-8")
    assert find_target(str(config), None, None) == Target(Path("run"), "")


def test_the_keys_for_the_feeds_are_those_that_the_config_names(tmp_path: Path) -> None:
    config = tmp_path / "seawall.toml"
    config.write_text(ENGINE + '[gateway.curve]\nclient_key = "me.key"\n', encoding="utf-8")
    assert find_target(str(config), None, None) == Target(Path("run"), "", str(config))
