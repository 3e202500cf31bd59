"""Faults planted on purpose, one at a time, to show that the tests see: each changes a few characters of one
function.

    python tests/faults/planted.py NAME TEST...      runs these tests of pytest with the fault in place
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parents[1])]  # as pytest does for its tests

from actors.gateway import Gateway  # noqa: E402
from actors.security import Security  # noqa: E402
from actors.wal import Wal  # noqa: E402
from protocol.wal import beside, format, replace, scan, sealed  # noqa: E402
from protocol.wal.journal import Journal  # noqa: E402
from protocol.wal.log import WriteAheadLog  # noqa: E402


@dataclass(frozen=True)
class Planted:
    function: Callable[..., Any]
    sound: str
    """Stands once in its source."""
    faulty: str


_release_lsn = Journal.release_lsn.fget
assert _release_lsn is not None

SYNC: Final = "storage.sync_directory(path.parent)"
FAULTS: Final = {
    # Ordering of sync and release.
    "released before sync": Planted(_release_lsn, 'self.durable_lsn if self.sync_mode == "always" else ', ""),
    "sync forgotten": Planted(Journal.sync, "file.sync()", "pass"),
    "log append not synced": Planted(WriteAheadLog._write_synced, "entry)\n    file.sync()", "entry)"),
    "new file not synced": Planted(replace.write_new, "        file.sync()\n", ""),
    "watermark of the tail": Planted(
        Journal.write_watermark, "self.durable_lsn, self._durable_crc", "self.tail_lsn, self.last_crc"
    ),
    # CRC and chain.
    "CRC not checked": Planted(scan._take_good, "crc32(window[start:end]) != crc or ", ""),
    "chain not checked": Planted(scan._take_good, " or previous != last_crc", ""),
    "log CRC not checked": Planted(format.iterate_entries, "crc32(data) != crc", "False"),
    # Names.
    "rename without directory sync": Planted(replace.put_in_place, f"new_path, path)\n    {SYNC}", "new_path, path)"),
    "link without directory sync": Planted(replace.put_in_place, f"keep_as)\n        {SYNC}", "keep_as)"),
    "new journal without directory sync": Planted(
        Journal.create, "self._storage.sync_directory(self.path.parent)", "pass"
    ),
    "plain file gone before the packed one": Planted(
        sealed.pack_sealed, f"unfinished, target)\n    {SYNC}", "unfinished, target)"
    ),
    "sealed files removed together": Planted(sealed.tidy_sealed, "storage.sync_directory(directory)", "pass"),
    # Recovery.
    "R1 not rewritten": Planted(Journal._rewrite_undurable, "range(start, self._end, COPY_BYTES)", "()"),
    "R1 not synced": Planted(Journal._rewrite_undurable, "    file.sync()\n", ""),
    "R5 second name kept": Planted(beside.remove_leftovers, " or storage.is_same_file(other, path)", ""),
    "tail not kept": Planted(Journal._cut_tail, "self._storage.sync_directory(self.path.parent)", "pass"),
    "tail cut before it is kept": Planted(Journal._cut_tail, "copy_path = ", "file.truncate(scan.end); copy_path = "),
    "failed file written again": Planted(Journal._recover, "if fresh_file:", "if False:"),
    "failed file not kept": Planted(Journal._move_to_fresh_file, "self.path, kept)", "self.path)"),
    "failure not final": Planted(Journal._fail, "self._failure = str(error)", "pass"),
    "log hole taken for damage": Planted(WriteAheadLog._refuse_damage, "_has_lost_sector(content, bad.offset)", "0"),
    # Dedup.
    "not deduplicated": Planted(Wal._take_append, "del records[:known]", "pass"),
    # Who may come in.
    "ZAP handler not started": Planted(
        Gateway._start_security, "self.security.start(handler)\n    self._bound.append((handler, ZAP_ENDPOINT))", "pass"
    ),
    "ZAP not enforced": Planted(Security.protect, "made.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)", "pass"),
    "commands not looked at again": Planted(Security.refusal_of_command, "client is not None and ", "True or "),
}
"""Name → fault; those of the plain log begin with "log"."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The fault is in place for whoever calls the function, however it was imported."""
    fault = FAULTS[name]
    function, original = fault.function, fault.function.__code__
    function.__code__ = _code_with(fault)
    try:
        yield
    finally:
        function.__code__ = original


def _code_with(fault: Planted) -> Any:
    source = textwrap.dedent(inspect.getsource(fault.function))
    source = source[source.index("def ") :]  # without its decorators
    if source.count(fault.sound) != 1:
        raise LookupError(f"{fault.function.__qualname__} is not what the fault was made for")
    names = dict(fault.function.__globals__)
    exec(compile(source.replace(fault.sound, fault.faulty), inspect.getfile(fault.function), "exec"), names)
    return names[fault.function.__name__].__code__


def main(name: str, *tests: str) -> int:
    """pytest's exit code. A fault that cannot be planted is not a test that fails, and must not look like one."""
    try:
        with planted(name):
            return pytest.main(["-q", "-n0", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *tests])
    except LookupError as error:
        print(f"not planted: {error}", file=sys.stderr)
        return pytest.ExitCode.USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
