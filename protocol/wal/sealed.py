"""Sealed files: what the journal was before its last roll, beside `journal.wal`.

    journal-FIRST.wal        FIRST: LSN of its first entry, 20 digits, so that names sort as they follow
    journal-FIRST.wal.zst    the same, compressed, with the extra `zstd`

A sealed file is never written again. It goes on where the one before it ended, and `journal.wal` where the newest
ends: LSN and previous crc32 link them (history.py reads them as one). Compressing makes a new file, syncs it, reads it
back, and only then removes the plain one, so that a crash leaves at least one of them whole; the plain one counts.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

from protocol.errors import WalCorruptError, WalError
from protocol.wal.format import JOURNAL_HEAD, MAGIC
from protocol.wal.names import JOURNAL_NAME, new_path
from protocol.wal.replace import read_parts, write_new
from protocol.wal.storage import File, Storage

PLAIN_SUFFIX: Final = ".wal"
PACKED_SUFFIX: Final = ".wal.zst"
PACK_LEVEL: Final = 3
ZSTD_MAGIC: Final = bytes.fromhex("28b52ffd")
"""Source: RFC 8878, 3.1.1."""
UNPACK_BYTES: Final = 1024
"""Of a packed file, unpacked at a time: some 5 KB of journal. Whatever stands there, it is at most 32 MB: a block of
four bytes may stand for 128 KB (RFC 8878, 3.1.1.2). By 64 KiB 8 MB packed took 9 ms, so 24."""
UNPACKED_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Of what a packed file holds. A journal is sealed at `wal.checkpoint_mb` (64), or later if checkpoints came to nothing
meanwhile: one that grew beyond this is not packed."""
BEHIND_BYTES: Final = 1024 * 1024
"""Of what was unpacked, kept behind the last read: whoever looks for an entry steps back no further than that."""
_NAME: Final = re.compile(r"journal-(\d{20})(\.wal|\.wal\.zst)")


class SealedFile(NamedTuple):
    first_lsn: int
    path: Path

    @property
    def is_packed(self) -> bool:
        return self.path.name.endswith(PACKED_SUFFIX)


class Content:
    """What a packed file was, read like a file: forward, for further back it is unpacked from its beginning again.

    Never whole in memory; closes the packed file. Raises: WalError without the extra; size and read raise
    WalCorruptError where the bytes are not what was packed.
    """

    def __init__(self, packed: File, path: Path) -> None:
        self._packed, self._path = packed, path
        try:
            self._zstandard = _zstandard()
        except WalError:
            packed.close()
            raise
        self._size: int | None = None
        self._rewind()

    def size(self) -> int:
        """Known only when all of it was unpacked once, and is whole."""
        if self._size is None:
            try:
                self._size = sum(map(len, self.parts()))
            except WalCorruptError:
                self.close()
                raise
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        if offset < self._start:
            self._rewind()
        window = self._window
        while self._start + len(window) < offset + length and (part := next(self._rest, b"")):
            gone = min(max(0, offset - BEHIND_BYTES - self._start), len(window))
            del window[:gone]
            self._start += gone
            window += part
        at = offset - self._start
        return bytes(window[at : at + length])

    def close(self) -> None:
        self._packed.close()
        self._window = bytearray()

    def parts(self) -> Iterator[bytes]:
        """All of it, from the beginning: one zstd frame, and nothing else. Raises: WalCorruptError."""
        unpacker, end = self._zstandard.ZstdDecompressor().decompressobj(), self._packed.size()
        magic, taken, unpacked = self._packed.read(0, len(ZSTD_MAGIC)), 0, 0
        if magic != ZSTD_MAGIC:
            raise self._damaged(0, f"a zstd frame: {ZSTD_MAGIC.hex(' ')}", magic.hex(" ") or "an empty file")
        for packed in read_parts(self._packed, 0, end, UNPACK_BYTES):
            try:
                part = unpacker.decompress(packed)
            except self._zstandard.ZstdError as error:
                raise self._damaged(0, "a zstd frame", str(error)) from error
            taken, unpacked = taken + len(packed), unpacked + len(part)
            if unpacked > UNPACKED_BYTES_MAX:
                raise self._damaged(taken, f"at most {UNPACKED_BYTES_MAX} bytes, unpacked", "more")
            if unpacker.eof and (more := end - taken + len(unpacker.unused_data)):
                raise self._damaged(end - more, "the end of the file, behind its one zstd frame", f"{more} bytes more")
            if part:
                yield part
            if unpacker.eof:
                return
        raise self._damaged(end, "the rest of a zstd frame", "the end")

    def _damaged(self, offset: int, expected: str, found: str) -> WalCorruptError:
        return WalCorruptError(str(self._path), offset, lsn=None, expected=expected, found=found)

    def _rewind(self) -> None:
        self._rest, self._window, self._start = self.parts(), bytearray(), 0


def sealed_path(directory: Path, first_lsn: int) -> Path:
    return directory / f"journal-{first_lsn:020d}{PLAIN_SUFFIX}"


def is_sealed_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def packed_path(plain: Path) -> Path:
    return plain.with_name(plain.name.removesuffix(PLAIN_SUFFIX) + PACKED_SUFFIX)


def list_sealed(storage: Storage, directory: Path) -> list[SealedFile]:
    """All, oldest first; of a file that stands there plain and packed, the plain one."""
    names: dict[str, str] = {}  # by the digits; a Path is made only of what is listed
    for name in storage.list_names(directory):  # sorted: the plain one comes first
        if match := _NAME.fullmatch(name):
            names.setdefault(match[1], name)
    return [SealedFile(int(digits), directory / name) for digits, name in names.items()]


def open_sealed(storage: Storage, sealed: SealedFile) -> File | Content:
    """The sealed file, to be read; a packed one is unpacked as it is read.

    Raises: FileNotFoundError if it has gone (removed, or packed meanwhile), WalError without the extra `zstd`.
    """
    file = storage.open(sealed.path, read_only=True)
    return Content(file, sealed.path) if sealed.is_packed else file


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
        for path in (plain, packed_path(plain)):
            if storage.exists(path):
                storage.unlink(path)
        gone += 1
    for file in sealed[gone:-1]:
        if not file.is_packed and can_pack() and has_room(file.path) and _may_be_packed(storage, file):
            pack_sealed(storage, file)


def _may_be_packed(storage: Storage, sealed: SealedFile) -> bool:
    """One that grew beyond the limit, for no checkpoint succeeded, stays plain."""
    with contextlib.closing(storage.open(sealed.path, read_only=True)) as file:
        return file.size() <= UNPACKED_BYTES_MAX


def _sealed_at_us(storage: Storage, directory: Path, sealed: list[SealedFile], file: SealedFile) -> int:
    """When the file was sealed: the time of the next one's first entry. 0 if that cannot be read."""
    after = [other for other in sealed if other.first_lsn > file.first_lsn]
    following = after[0] if after else SealedFile(0, directory / JOURNAL_NAME)
    if following.is_packed and not can_pack():
        return 0
    opened = open_sealed(storage, following)
    try:
        head = opened.read(0, JOURNAL_HEAD.size)
    except WalCorruptError:
        return 0
    finally:
        opened.close()
    if len(head) < JOURNAL_HEAD.size:
        return 0
    magic, _, _, _, _, _, _, _, time_us, _, _ = JOURNAL_HEAD.unpack(head)
    return time_us if magic == MAGIC else 0


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
    path, target = sealed.path, packed_path(sealed.path)
    unfinished = new_path(target)
    plain = storage.open(path, read_only=True)
    try:
        new = write_new(storage, unfinished, _pack(read_parts(plain, 0, plain.size())))
        try:
            if _checksum(Content(new, unfinished).parts()) != _checksum(read_parts(plain, 0, plain.size())):
                raise WalError(f"{unfinished}: reads back differently; {path.name} stays as it is")
        except WalError:
            storage.unlink(unfinished)  # its room is needed
            raise
        finally:
            new.close()
    finally:
        plain.close()
    storage.rename(unfinished, target)
    storage.sync_directory(path.parent)
    storage.unlink(path)
    storage.sync_directory(path.parent)
    return SealedFile(sealed.first_lsn, target)


def _pack(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = _zstandard().ZstdCompressor(level=PACK_LEVEL, write_checksum=True).compressobj()
    yield from map(packer.compress, parts)
    yield packer.flush()


def _checksum(parts: Iterable[bytes]) -> int:
    checksum = 0
    for part in parts:
        checksum = crc32(part, checksum)
    return checksum


def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise WalError("compressed sealed files need the extra `zstd`: pip install 'seawall[zstd]'") from error
