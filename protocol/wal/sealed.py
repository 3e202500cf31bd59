"""Sealed files: what the journal was before its last roll, beside `journal.wal`.

    journal-FIRST.wal        FIRST: LSN of its first entry, 20 digits, so that names sort as they follow
    journal-FIRST.wal.zst    the same, compressed, with the extra `zstd`

A sealed file is never written again. It goes on where the one before it ended, and `journal.wal` where the newest
ends: LSN and previous crc32 link them (history.py reads them as one). Compressing makes a new file, syncs it, reads it
back, and only then removes the plain one, so that a crash leaves at least one of them whole; the plain one counts.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

from protocol.errors import WalCorruptError, WalError
from protocol.wal.format import JOURNAL_HEAD, MAGIC
from protocol.wal.storage import File, Storage

PLAIN_SUFFIX: Final = ".wal"
PACKED_SUFFIX: Final = ".wal.zst"
NEW_SUFFIX: Final = ".new"
"""Of a file that is being made: it counts for nothing, and the next open removes it."""
PACK_LEVEL: Final = 3
COPY_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"journal-(\d{20})(\.wal|\.wal\.zst)")


class SealedFile(NamedTuple):
    first_lsn: int
    path: Path

    @property
    def is_packed(self) -> bool:
        return self.path.name.endswith(PACKED_SUFFIX)


class Content:
    """The bytes of a file that was unpacked, read like a file."""

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes) -> None:
        self._bytes = content

    def size(self) -> int:
        return len(self._bytes)

    def read(self, offset: int, length: int) -> bytes:
        return self._bytes[offset : offset + length]

    def close(self) -> None:
        self._bytes = b""


def sealed_path(directory: Path, first_lsn: int) -> Path:
    return directory / f"journal-{first_lsn:020d}{PLAIN_SUFFIX}"


def is_sealed_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def list_sealed(storage: Storage, directory: Path) -> list[SealedFile]:
    """All, oldest first; of a file that stands there plain and packed, the plain one."""
    found: dict[int, SealedFile] = {}
    for name in storage.list_names(directory):
        if match := _NAME.fullmatch(name):
            file = SealedFile(int(match[1]), directory / name)
            if not file.is_packed or file.first_lsn not in found:
                found[file.first_lsn] = file
    return [found[first_lsn] for first_lsn in sorted(found)]


def open_sealed(storage: Storage, sealed: SealedFile) -> File | Content:
    """The sealed file, to be read; a packed one is unpacked into memory (some `wal.checkpoint_mb`).

    Raises: FileNotFoundError if it has gone (removed, or packed meanwhile), WalError without the extra `zstd`,
    WalCorruptError if it cannot be unpacked.
    """
    file = storage.open(sealed.path, read_only=True)
    if not sealed.is_packed:
        return file
    packed = file.read(0, file.size())
    file.close()
    return Content(unpack(packed, sealed.path))


def tidy_sealed(
    storage: Storage,
    directory: Path,
    *,
    files_max: int | None,
    age_max_s: int | None,
    now_us: int,
    has_room: Callable[[Path], bool] = lambda path: True,
) -> None:
    """What is kept no longer has gone, the oldest first; of the rest all but the newest are packed, with the extra.

    None: no such limit. has_room: whether the disk may take another file of that size now. The newest stays plain: who
    comes back from a short absence is served from it. Raises: WalError; what is done until then is done.
    """
    sealed, gone = list_sealed(storage, directory), 0
    oldest_us = 0 if age_max_s is None else now_us - age_max_s * 1_000_000
    for file in sealed:
        too_many = files_max is not None and len(sealed) - gone > files_max
        if not too_many and not (oldest_us and 0 < _sealed_at_us(storage, directory, sealed, file) < oldest_us):
            break  # never one from the middle
        # Before each: a power loss might undo the removal before it and not this one, and leave a hole. That one may
        # be of an earlier pass, whose sync failed.
        storage.sync_directory(directory)
        plain = sealed_path(directory, file.first_lsn)
        for path in (plain, _packed_path(plain)):
            if storage.exists(path):
                storage.unlink(path)
        gone += 1
    for file in sealed[gone:-1]:
        if not file.is_packed and can_pack() and has_room(file.path):
            pack_sealed(storage, file)


def _sealed_at_us(storage: Storage, directory: Path, sealed: list[SealedFile], file: SealedFile) -> int:
    """When the file was sealed: the time of the next one's first entry. 0 if that cannot be read."""
    after = [other for other in sealed if other.first_lsn > file.first_lsn]
    following = after[0] if after else SealedFile(0, directory / "journal.wal")
    opened = storage.open(following.path, read_only=True)
    head = opened.read(0, COPY_BYTES if following.is_packed else JOURNAL_HEAD.size)
    opened.close()
    if following.is_packed:
        head = _unpack_head(head)
    if len(head) < JOURNAL_HEAD.size:
        return 0
    magic, _, _, _, _, _, _, _, time_us, _, _ = JOURNAL_HEAD.unpack_from(head)
    return time_us if magic == MAGIC else 0


def _unpack_head(packed: bytes) -> bytes:
    """The first bytes of a packed file; none if they cannot be told."""
    try:
        zstandard = _zstandard()
    except WalError:
        return b""
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    except zstandard.ZstdError:
        return b""


def can_pack() -> bool:
    """The extra `zstd` is installed."""
    try:
        _zstandard()
    except WalError:
        return False
    return True


def pack_sealed(storage: Storage, sealed: SealedFile) -> SealedFile:
    """The file stands there compressed, on disk, and the plain one has gone. A crash at any step leaves one whole.

    Raises: WalError (nothing has changed but perhaps a leftover `.new`), also without the extra.
    """
    path = sealed.path
    target = _packed_path(path)
    new_path = target.with_name(target.name + NEW_SUFFIX)
    packer = _zstandard().ZstdCompressor(level=PACK_LEVEL, write_checksum=True).compressobj()
    plain = storage.open(path, read_only=True)
    new = storage.open(new_path, create=True)
    try:
        new.truncate(0)
        size, end, checksum = plain.size(), 0, 0
        for offset in range(0, size, COPY_BYTES):
            part = plain.read(offset, min(COPY_BYTES, size - offset))
            checksum = crc32(part, checksum)
            packed = packer.compress(part)
            new.write(end, packed)
            end += len(packed)
        new.write(end, packer.flush())
        new.sync()
        if crc32(unpack(new.read(0, new.size()), new_path)) != checksum:
            raise WalError(f"{new_path}: reads back differently; {path.name} stays as it is")
    except WalError:
        storage.unlink(new_path)  # its room is needed
        raise
    finally:
        plain.close()
        new.close()
    storage.rename(new_path, target)
    storage.sync_directory(path.parent)
    storage.unlink(path)
    storage.sync_directory(path.parent)
    return SealedFile(sealed.first_lsn, target)


def _packed_path(plain: Path) -> Path:
    return plain.with_name(plain.name.removesuffix(PLAIN_SUFFIX) + PACKED_SUFFIX)


def unpack(packed: bytes, path: Path) -> bytes:
    """Raises: WalError without the extra, WalCorruptError if the bytes are not what was packed."""
    zstandard = _zstandard()
    try:
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        content = unpacker.decompress(packed)
    except zstandard.ZstdError as error:
        raise WalCorruptError(str(path), 0, lsn=None, expected="a zstd frame", found=str(error)) from error
    if not unpacker.eof:
        raise WalCorruptError(str(path), len(packed), lsn=None, expected="the rest of a zstd frame", found="the end")
    return content


def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise WalError("compressed sealed files need the extra `zstd`: pip install 'seawall[zstd]'") from error
