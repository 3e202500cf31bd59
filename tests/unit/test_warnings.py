"""What weakens the promises is said, and nothing else is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest
from harness import Tree, config_tree, to_toml

from protocol.settings import parse_config
from supervisor.warnings import file_system_of, warnings_of

SHARED_MEMORY = Path("/dev/shm")


def warned(tree: Tree) -> list[str]:
    """The keys that are named."""
    return [warning.partition(" = ")[0] for warning in warnings_of(parse_config(to_toml(tree)))]


def test_usual_settings_on_a_disk_are_no_reason_for_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.warnings.file_system_of", lambda _: "ext4")  # whatever the tests run on
    assert warned(config_tree()) == []


@pytest.mark.parametrize(
    ("wal", "keys"),
    [
        ({"sync": "interval"}, ["wal.sync"]),
        ({"sync": "off"}, ["wal.sync"]),
        ({"enabled": False}, ["wal.enabled"]),
    ],
)
def test_a_journal_that_may_lose_records_is_warned_of(wal: Tree, keys: list[str], tmp_path: Path) -> None:
    assert warned(config_tree(wal=wal, engine={"run_dir": str(tmp_path)})) == keys


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="there is no tmpfs")
def test_a_run_dir_in_memory_is_warned_of_before_it_is_made() -> None:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        tree = config_tree(engine={"run_dir": f"{directory}/not/yet/there"})
        assert warned(tree) == ["engine.run_dir"]
        assert not os.listdir(directory)
        assert warned(config_tree(engine=tree["engine"], wal={"enabled": False})) == ["wal.enabled"]


@pytest.fixture
def far_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system would say of mounts that there are not here."""
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nhost:/ /srv/far nfs4 rw 0 0\nhost:/b /srv/far\\040away nfs4 rw 0 0\n")
    monkeypatch.setattr("supervisor.warnings.MOUNTS", mounts)


def test_a_run_dir_on_another_machine_is_warned_of(far_mounts: None) -> None:
    assert file_system_of(Path("/srv/farther")) == "ext4"
    assert file_system_of(Path("/srv/far away/run")) == "nfs4"
    assert warned(config_tree(engine={"run_dir": "/srv/far/run"})) == ["engine.run_dir"]


def test_keys_on_another_machine_are_warned_of(far_mounts: None) -> None:
    settings = config_tree(engine={"run_dir": "/srv/run"})
    settings["gateway"]["curve"] = {"keys": "/srv/far/keys"}
    assert warned(settings) == ["gateway.curve.keys: on nfs4; where that hangs, so does the gateway, which reads the "
                                "list each second"]  # fmt: skip


def test_the_systems_own_mounts_are_read_as_others_read_them() -> None:
    known = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    assert {place: file_system_of(Path(place)) for place in known} == known
