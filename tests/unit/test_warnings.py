"""What weakens the promises is said, and nothing else is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

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


def test_a_run_dir_on_another_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the system says of its mounts: there is no NFS here."""
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint="/srv/far", fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert file_system_of(Path("/srv/farther")) == "ext4"
    assert warned(config_tree(engine={"run_dir": "/srv/far/run"})) == ["engine.run_dir"]
