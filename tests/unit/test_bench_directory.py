"""A bench leaves nothing on the disk, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DEADLINE_S, ROOT

HELD = """
import sys, signal
from pathlib import Path
from tests.bench import report
report.NOT_A_DISK = ()
with report.bench_directory(Path(sys.argv[1])) as directory:
    (directory / "journal.wal").write_bytes(b"records")
    print("begun", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_ended_by_a_signal_removes_its_directory(number: signal.Signals, tmp_path: Path) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", HELD, str(tmp_path)], cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert bench.stdout is not None
        assert bench.stdout.readline() == b"begun\n"
        assert list(tmp_path.iterdir())
        bench.send_signal(number)
        assert bench.wait(DEADLINE_S) != 0
        assert list(tmp_path.iterdir()) == []
    finally:
        bench.kill()
        bench.communicate()
