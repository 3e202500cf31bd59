"""The run_dir as the supervisor prepares it: private sockets, health pages, the latch page.

    RUN_DIR/lock      the engine's lock; never unlinked (lock.py)
    RUN_DIR/ipc/      the pipes and the control socket, mode 0700; or a link to a short private directory
    RUN_DIR/pages/    a health page per child
    RUN_DIR/latch     the kill switch (actors/latch.py)
    RUN_DIR/wal/      the journal
    RUN_DIR/ended     the exit code of the last engine, and why (lock.py)
    RUN_DIR/config.json   the config of the last start (saved_config.py)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from actors.base import page_path
from actors.latch import LATCH_NAME, Latch
from actors.page import HealthPage
from protocol.pipeline import IPC_PATH_MAX
from protocol.settings import Config
from protocol.wal.names import JOURNAL_NAME

SHORT_PREFIX: Final = "seawall-"
LONGEST_SOCKET_NAME: Final = "supervisor"


def prepare_ipc(run_dir: Path) -> Path:
    """The private directory of the sockets, empty. Short: where RUN_DIR/ipc is too long it links elsewhere."""
    remove_ipc(run_dir)
    place = run_dir / "ipc"
    if len(os.fsencode(place.absolute() / LONGEST_SOCKET_NAME)) <= IPC_PATH_MAX:
        place.mkdir(mode=0o700)
        return place.absolute()
    short = Path(tempfile.mkdtemp(prefix=SHORT_PREFIX))  # mode 0700
    place.symlink_to(short)
    return short


def remove_ipc(run_dir: Path) -> None:
    """No socket file is left, of this engine or of one that was killed."""
    place = run_dir / "ipc"
    if place.is_symlink():
        target = Path(os.readlink(place))
        if _is_our_short_directory(target):
            shutil.rmtree(target, ignore_errors=True)
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _is_our_short_directory(target: Path) -> bool:
    """One that prepare_ipc made: nothing else that a link may name is ours to remove."""
    with contextlib.suppress(OSError):
        status = target.lstat()
        made = target.parent == Path(tempfile.gettempdir()) and target.name.startswith(SHORT_PREFIX)
        return made and stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return False


def journal_exists(run_dir: Path) -> bool:
    with contextlib.suppress(OSError):
        return (run_dir / "wal" / JOURNAL_NAME).stat().st_size > 0
    return False


def check_run_dir(config: Config, *, resume: bool = False) -> list[str]:
    """What is wrong with the config in the face of what lies in its run_dir."""
    wal = config.run_dir / "wal"
    if resume and not (config.is_replay and config.wal.enabled):
        wanted = 'engine.mode = "replay"' if not config.is_replay else "wal.enabled = true"
        return [f"--resume is for {wanted}" + ("" if config.is_replay else ": any other run goes on by itself")]
    if config.is_replay and journal_exists(config.run_dir) and not resume:
        return [
            f"engine.run_dir = {config.engine.run_dir!r} has a journal, and a replay begins without: "
            "`run --resume` goes on with it, or name another"
        ]
    if config.wal.enabled or not (journal_exists(config.run_dir) or any(wal.glob("journal-*.wal*"))):
        return []
    return [
        f"wal.enabled = false: engine.run_dir = {config.engine.run_dir!r} has a journal ({wal}), which would neither "
        "be read nor go on; set wal.enabled = true, or name another run_dir"
    ]


def open_latch(run_dir: Path, boot_id: bytes) -> Latch:
    """A page that is missing beside a journal means HALTED (H5)."""
    latch = Latch.create_or_open(run_dir / LATCH_NAME, over_journal=journal_exists(run_dir))
    latch.set_boot_id(boot_id)
    return latch


def begin_page(run_dir: Path, name: str) -> int:
    """The child's page begins a new run: no market position of an earlier one counts. Returns the next incarnation."""
    page = HealthPage.open(page_path(run_dir, name), writable=True)
    try:
        page.set_market(b"", 0)
        return page.next_incarnation
    finally:
        page.close()


def next_incarnation(run_dir: Path, name: str) -> int:
    page = HealthPage.open(page_path(run_dir, name), writable=True)
    try:
        return page.next_incarnation
    finally:
        page.close()
