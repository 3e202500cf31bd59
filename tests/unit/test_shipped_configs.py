"""Every config in deploy/configs is right as it stands, started at the top of the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.config_check import check
from protocol.config_checks import Found
from protocol.settings import load_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "deploy" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_has_no_mistake(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(path)
    assert check(config) == Found([], [])
    assert not Path(config.engine.run_dir).is_absolute()


def test_each_shipped_config_has_a_run_dir_of_its_own() -> None:
    assert {path.name for path in CONFIGS} >= {"demo.toml", "csv.toml"}
    assert len({load_config(path).engine.run_dir for path in CONFIGS}) == len(CONFIGS)
