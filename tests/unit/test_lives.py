"""A life that is not to be: the nursery's side is in tests/faults/test_nursery.py, with real processes."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from harness import config_tree, to_toml

from actors.base import ChildSpec, Loop
from actors.page import HealthPage
from protocol.settings import parse_config
from supervisor import lives
from supervisor.lives import Nursery, ProcessLife


def test_a_system_that_has_no_process_left_is_a_death_of_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    class Log:
        lines: list[dict[str, Any]] = []  # noqa: RUF012

        def error(self, event: str, **facts: Any) -> None:
            self.lines.append({"event": event, **facts})

    monkeypatch.setattr(lives, "begin_nursery", refused)
    config = parse_config(to_toml(config_tree()))
    spec = ChildSpec(
        name="risk", incarnation=1, boot_id=bytes(16), parent_pid=os.getpid(), ipc_dir=str(tmp_path), ends_after=(),
        lock_fd=-1, control_endpoint="", config=config,
    )  # fmt: skip
    page = HealthPage.open(tmp_path / "page", writable=True)
    nursery = Nursery(Loop(page), config, Log(), on_birth=lambda life: None)
    descriptors = len(os.listdir("/proc/self/fd"))
    life = ProcessLife(spec, 0, nursery)
    assert life.exit_code() == -signal.SIGKILL
    assert "Resource temporarily unavailable" in Log.lines[0]["error"]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    page.close()
