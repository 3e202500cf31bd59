"""`seawall wal verify`: the verdict by exit code, over all files, with what is known, the fold, and plain logs."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from click.testing import CliRunner, Result
from gateways import held_lock
from wal_trades import LAST_LSN, write_trades

from actors.base import page_path
from actors.page import HealthPage
from protocol.errors import MEND_JOURNAL, RESTORE_PLAIN, RESTORE_SEALED, WalCorruptError
from protocol.records import EntryType
from protocol.wal import Journal, WriteAheadLog
from protocol.wal.format import ENVELOPE, HEADER, Entry, encode_entry, iterate_entries
from protocol.wal.sealed import sealed_path
from supervisor.cli.main import main


def verify(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["wal", "verify", str(path), *words])


def report(path: Path, *words: str) -> dict[str, Any]:
    result = verify(path, "-o", "json", *words)
    told = json.loads(result.stdout)
    assert told["exit_code"] == result.exit_code
    return told


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    return write_trades(tmp_path)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_clean_is_0_torn_160_and_corrupt_161(wal: Path, tmp_path: Path) -> None:
    journal = wal / "journal.wal"
    whole = journal.read_bytes()
    assert verify(tmp_path).exit_code == 0
    with open(journal, "ab") as file:
        file.write(b"half an entry")
    torn = report(tmp_path)
    assert (torn["exit_code"], torn["row"], torn["bad"]["offset"]) == (160, "W6", len(whole))
    assert "journal.wal.torn-LSN" in torn["next"]
    journal.write_bytes(whole[:-1])
    corrupt = report(tmp_path)
    assert (corrupt["exit_code"], corrupt["row"], corrupt["known_lsn"]) == (161, "W3", LAST_LSN), "the watermark knows"
    journal.unlink()
    assert (report(tmp_path)["row"], verify(tmp_path).exit_code) == ("W1", 161)


def test_what_the_health_pages_acknowledged_counts(wal: Path, tmp_path: Path) -> None:
    journal = wal / "journal.wal"
    journal_id = bytes.fromhex("00112233445566778899aabbccddeeff")
    (wal / "watermark").unlink()
    cut(journal, len(journal.read_bytes()) - 1)
    assert report(tmp_path)["row"] == "W6"
    page_path(tmp_path, "gateway").parent.mkdir()
    page = HealthPage.open(page_path(tmp_path, "gateway"), writable=True)
    page.acknowledge(journal_id, LAST_LSN, 1)
    page.close()
    told = report(tmp_path)
    assert (told["row"], told["known_lsn"], told["durable_lsn"]) == ("W3", LAST_LSN, LAST_LSN - 1)
    assert report(wal)["row"] == report(journal)["row"] == "W3", "however the journal was named"


def test_damage_in_a_sealed_file_is_161_and_says_that_the_engine_can_start(wal: Path, tmp_path: Path) -> None:
    sealed = sealed_path(wal, 1)
    cut(sealed, sealed.stat().st_size - 1)
    told = report(tmp_path)
    assert (told["exit_code"], told["row"], told["damages"][0]["lsn"]) == (161, "W7", 9)
    assert told["next"].startswith("the engine starts all the same")
    table = verify(tmp_path).stdout
    assert "verdict    clean; what is sealed is corrupt" in table
    assert str(sealed) in table
    assert report(wal / "journal.wal")["exit_code"] == 0, "one file alone"
    assert report(sealed)["exit_code"] == 161, "a sealed file is never torn"


def test_a_live_engines_half_written_entry_is_no_damage(wal: Path, tmp_path: Path) -> None:
    (wal / "watermark").unlink()
    cut(wal / "journal.wal", (wal / "journal.wal").stat().st_size - 1)
    with held_lock(tmp_path, "1"):
        told = report(tmp_path)
        assert (told["exit_code"], told["running"], told["growing"], told["last_lsn"]) == (0, True, True, LAST_LSN - 1)
        assert f"engine     runs, and writes LSN {LAST_LSN}" in verify(tmp_path).stdout
    assert report(tmp_path)["exit_code"] == 160


def test_the_fold_recomputes_derived_records_and_names_the_one_that_differs(wal: Path, tmp_path: Path) -> None:
    assert report(tmp_path, "--fold")["fold"]["lsn"] == LAST_LSN
    rewrite(wal / "journal.wal", EntryType.BALANCE_CHANGE, (10**12).to_bytes(16, "little"), bytes(16))
    told = report(tmp_path, "--fold")
    assert (told["exit_code"], told["row"], told["fold"]["lsn"]) == (161, "W7", 16)
    assert "BalanceChange" in told["fold"]["error"]
    assert report(tmp_path)["exit_code"] == 0, "every byte is as it was written"


def test_the_fold_compares_the_state_in_a_checkpoint(wal: Path, tmp_path: Path) -> None:
    rewrite(wal / "journal.wal", EntryType.CHECKPOINT, (11 * 10**12).to_bytes(16, "little"), bytes(16))
    told = report(tmp_path, "--fold")
    assert (told["exit_code"], told["fold"]["lsn"]) == (161, 9)
    assert "CHECKPOINT" in told["fold"]["error"]


def rewrite(path: Path, kind: EntryType, old: bytes, new: bytes) -> None:
    """An entry with other data, and all after it linked to it, as a writer with a mistake would leave them."""
    content, offset, previous, entries = path.read_bytes(), 0, None, b""
    while offset < len(content):
        _, entry_type, length, _ = HEADER.unpack_from(content, offset)
        data = content[offset + HEADER.size : offset + HEADER.size + length]
        offset += HEADER.size + length
        if entry_type == kind:
            assert data.count(old) >= 1
            data = data.replace(old, new)
        envelope = list(ENVELOPE.unpack_from(data))
        envelope[3] = envelope[3] if previous is None else previous
        data = ENVELOPE.pack(*envelope) + data[ENVELOPE.size :]
        previous = crc32(data)
        entries += encode_entry(entry_type, data)
    path.write_bytes(entries)
    path.with_name("watermark").unlink()


def test_the_fold_tells_where_reading_ended(wal: Path, tmp_path: Path) -> None:
    cut(wal / "journal.wal", (wal / "journal.wal").stat().st_size - 1)
    told = report(tmp_path, "--fold")
    assert (told["fold"]["lsn"], told["exit_code"]) == (LAST_LSN - 1, 161)
    assert told["fold"]["error"].startswith("corrupt: ")


def test_a_run_dir_whose_journal_has_gone_is_judged_and_a_directory_without_any_is_a_usage_error(
    wal: Path, tmp_path: Path
) -> None:
    for name in ("journal.wal", sealed_path(wal, 1).name):
        (wal / name).unlink()
    assert (report(tmp_path)["row"], report(tmp_path)["exit_code"]) == ("W1", 161)
    folded = report(tmp_path, "--fold")
    assert (folded["exit_code"], folded["fold"]["lsn"]) == (161, 0)
    assert "journal.wal is missing" in folded["fold"]["error"]
    assert verify(tmp_path / "nothing").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty").exit_code == 2


# The next step is that of the place.


def next_step_of(path: Path, *words: str) -> str:
    result = CliRunner().invoke(main, ["wal", "inspect", str(path), *words])
    assert result.exit_code == 161
    return result.stderr.partition("Nothing was changed. ")[2].strip()


def test_repair_is_named_where_it_mends_and_what_reads_on_where_it_cannot(tmp_path: Path) -> None:
    wal = write_trades(tmp_path)
    sealed, journal = sealed_path(wal, 1), wal / "journal.wal"
    whole = {path: path.read_bytes() for path in (sealed, journal)}
    flipped = whole[sealed].replace(b"1-1", b"1-2")
    behind = "What lies behind it is read with `--lsn 10..`."
    sealed.write_bytes(flipped)
    assert next_step_of(tmp_path) == f"{RESTORE_SEALED} {behind}"
    assert next_step_of(sealed) == RESTORE_SEALED
    result = CliRunner().invoke(main, ["wal", "inspect", str(tmp_path), "--lsn", "10..", "--last", "100"])
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, LAST_LSN - 9)
    sealed.write_bytes(whole[sealed])
    journal.write_bytes(whole[journal].replace(b"3-1", b"3-2"))
    assert next_step_of(tmp_path) == MEND_JOURNAL


def test_behind_a_hole_reading_goes_on_with_the_next_file(wal: Path, tmp_path: Path) -> None:
    journal = Journal(wal)
    journal.open(lambda journal_id: 0)
    assert journal.checkpoint(1, [("risk", LAST_LSN, b"state")]) == LAST_LSN + 1
    journal.close()
    sealed_path(wal, 10).unlink()
    assert next_step_of(tmp_path) == f"{RESTORE_SEALED} What lies behind it is read with `--lsn {LAST_LSN + 1}..`."


def test_only_of_the_whole_journal_the_next_start_appends_what_is_owed(wal: Path, tmp_path: Path) -> None:
    """LSN 4 is a fill whose derived records follow it."""
    content = sealed_path(wal, 1).read_bytes()
    head = len(b"".join(encode_entry(0, data) for data in _datas(content, 4)))
    for name, words in ((sealed_path(wal, 1), "stand in what follows this file"), (wal / "journal.wal", "next start")):
        for path in wal.iterdir():
            path.unlink()
        name.write_bytes(content[:head])
        (owed,) = [line for line in verify(name, "--fold").stdout.splitlines() if line.startswith("owed")]
        assert words in owed


def _datas(content: bytes, count: int) -> list[bytes]:
    return [entry.data for entry in islice(iterate_entries(content), count) if isinstance(entry, Entry)]


def test_of_a_damaged_plain_log_no_repair_is_named(plain: Path) -> None:
    plain.write_bytes(plain.read_bytes().replace(b"buy", b"bay"))
    with pytest.raises(WalCorruptError, match=re.escape(RESTORE_PLAIN)):
        WriteAheadLog(plain).open()


# Plain logs.


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "orders.wal"
    with WriteAheadLog(path) as log:
        log.append(EntryType.ORDER_PLACE, b"buy 100")
        log.append(EntryType.ORDER_UPDATE, b"filled")
    return path


def test_a_plain_log_gets_the_verdict_of_its_open(plain: Path) -> None:
    content = plain.read_bytes()
    damaged = bytearray(content)
    damaged[15] ^= 1
    unknown = bytearray(content)
    unknown[4] = 99
    for changed, code in (
        (content, 0), (content[:-1], 160), (content[:5], 160), (bytes(damaged), 161), (bytes(unknown), 161), (b"", 0),
    ):  # fmt: skip
        plain.write_bytes(changed)
        told = report(plain)
        assert (told["exit_code"], told["plain"]) == (code, True)
        assert verify(plain).exit_code == code
        assert plain.read_bytes() == changed
        log = WriteAheadLog(plain)
        if code == 161:
            with pytest.raises(Exception, match=r"at byte 0"):
                log.open()
            continue
        log.open()
        assert log.entry_count == told["entries"]
        log.close()


def test_a_length_that_a_flip_made_too_long_is_damage_and_no_torn_tail(plain: Path) -> None:
    content = bytearray(plain.read_bytes())
    content[5] ^= 64
    plain.write_bytes(content)
    assert report(plain)["bad"]["expected"] == "a length of 7, by the entry's crc32"


def test_a_plain_log_has_nothing_to_fold(plain: Path) -> None:
    assert verify(plain, "--fold").exit_code == 2


def test_a_journals_copy_under_another_name_is_no_plain_log(wal: Path, tmp_path: Path) -> None:
    for name in ("journal.wal", sealed_path(wal, 1).name):
        copy = tmp_path / f"copy of {name}"
        content = bytearray((wal / name).read_bytes())
        content[4] ^= 1  # the type, which no CRC covers
        copy.write_bytes(content)
        assert report(copy)["row"] in ("W2", "W6")
