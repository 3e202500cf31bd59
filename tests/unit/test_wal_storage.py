"""The real disk: short writes are completed, the first failure is final, locks hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from protocol.errors import WalError, WalLockedError, WalNotAFileError, WalSyncError
from protocol.wal.storage import MemoryStorage, RealFile, RealStorage, Storage


@pytest.fixture(params=["real", "memory"])
def storage(request: pytest.FixtureRequest) -> Storage:
    return RealStorage() if request.param == "real" else MemoryStorage()


def test_both_disks_read_what_was_written(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        storage.open(path)
    file = storage.open(path, create=True)
    file.write(0, b"abcdef")
    file.write(2, memoryview(b"CD"))
    file.write(8, b"ij")
    file.sync()
    assert (file.size(), file.read(0, 100), file.read(2, 3), file.read(20, 5)) == (10, b"abCDef\0\0ij", b"CDe", b"")
    file.truncate(3)
    file.close()
    storage.rename(path, tmp_path / "other")
    storage.sync_directory(tmp_path)
    assert (storage.exists(path), storage.exists(tmp_path / "other")) == (False, True)
    assert storage.open(tmp_path / "other", read_only=True).read(0, 100) == b"abC"
    storage.unlink(tmp_path / "other")
    assert not storage.exists(tmp_path / "other")


def test_both_disks_refuse_a_second_lock_until_the_first_is_closed(storage: Storage, tmp_path: Path) -> None:
    lock = storage.lock(tmp_path / "lock")
    with pytest.raises(WalLockedError):
        storage.lock(tmp_path / "lock")
    lock.close()
    storage.lock(tmp_path / "lock").close()


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:3], offset))
    file = RealStorage().open(tmp_path / "file", create=True)
    file.write(5, b"0123456789")
    assert file.read(0, 100) == b"\0" * 5 + b"0123456789"


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "ftruncate", "fsync"])
def test_the_first_failure_is_final_even_if_the_disk_recovers(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealStorage().open(tmp_path / "file", create=True)
    file.write(0, b"good")

    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def use() -> None:
        file.write(4, b"more")
        file.sync()
        file.truncate(0)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(WalSyncError, match="No space left"):
            use()
    for action in (lambda: file.write(4, b"x"), file.sync, lambda: file.truncate(0)):
        with pytest.raises(WalSyncError, match="No space left"):
            action()


def test_a_disk_that_takes_nothing_is_a_failure_not_an_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealStorage().open(tmp_path / "file", create=True)
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: 0)
    with pytest.raises(WalSyncError, match="took none"):
        file.write(0, b"data")


def test_a_full_disk_is_a_failure_that_says_so() -> None:
    """/dev/full takes no byte and says ENOSPC, as a disk does."""
    with pytest.raises(WalSyncError, match="No space left"):
        RealFile(Path("/dev/full"), os.open("/dev/full", os.O_RDWR)).write(0, b"data")


@pytest.mark.parametrize("kind", ["directory", "FIFO"])
@pytest.mark.parametrize("options", [{}, {"create": True}, {"read_only": True}])
def test_what_is_no_file_is_named_at_once_and_never_waited_for(
    tmp_path: Path, kind: str, options: dict[str, bool]
) -> None:
    path = tmp_path / "journal.wal"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(WalNotAFileError, match=rf"journal.wal: expected a file, found a {kind}.*move it away"):
        RealStorage().open(path, **options)


@pytest.mark.parametrize(("number", "is_the_disk"), [(errno.ENOSPC, True), (errno.EIO, True), (errno.EACCES, False)])
def test_a_new_name_that_the_disk_refuses_is_a_failed_write_and_one_that_is_forbidden_is_not(
    number: int, is_the_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number))

    storage = RealStorage()
    for call, use in (
        ("open", lambda: storage.open(tmp_path / "file", create=True)),
        ("mkdir", lambda: storage.make_directory(tmp_path / "directory")),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(WalError) as error:
                use()
        assert isinstance(error.value, WalSyncError) == is_the_disk


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    RealStorage().make_directory(tmp_path / "run" / "wal")
    RealStorage().open(tmp_path / "run" / "wal" / "journal.wal", create=True).close()
    modes = [path.stat().st_mode & 0o777 for path in sorted(tmp_path.rglob("*"))]
    assert modes == [0o700, 0o700, 0o600]


def test_both_disks_give_a_file_a_second_name(storage: Storage, tmp_path: Path) -> None:
    path, name = tmp_path / "file", tmp_path / "name"
    file = storage.open(path, create=True)
    file.write(0, b"one")
    storage.link(path, name)
    assert storage.is_same_file(path, name)
    with pytest.raises(WalSyncError):
        storage.link(path, name)
    file.write(0, b"two")
    assert storage.open(name).read(0, 10) == b"two"
    assert storage.list_names(tmp_path) == ["file", "name"]
    other = tmp_path / "other"
    storage.open(other, create=True)
    assert not storage.is_same_file(path, other)
    storage.rename(other, path)
    assert (storage.is_same_file(path, name), storage.open(name).read(0, 10)) == (False, b"two")
    assert not storage.is_same_file(path, tmp_path / "none")
    assert storage.list_names(tmp_path / "none") == []
