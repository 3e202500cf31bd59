"""`seawall wal repair`: refused, shown, asked for and done; and the engine's journal opens afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gateways import held_lock
from wal_trades import CHECKPOINT_LSN, JOURNAL_ID, LAST_LSN, write_trades

from actors.base import page_path
from actors.page import KNOWN_BY, HealthPage, known_lsn
from protocol.orders import OrderType, Side
from protocol.records import EntryType, OrderPlace, encode_record
from protocol.wal import Journal, WriteAheadLog
from protocol.wal.sealed import sealed_path
from supervisor.cli import wal_repair
from supervisor.cli.main import main


def repair(path: Path, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["wal", "repair", str(path), *words], input=answer)


def report(path: Path, *words: str) -> dict[str, Any]:
    return json.loads(repair(path, "-o", "json", *words).stdout)


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    """The journal of tmp_path with LSN 11 damaged, acknowledged to its end by the watermark and a health page."""
    directory = write_trades(tmp_path)
    page_path(tmp_path, "risk").parent.mkdir()
    page = HealthPage.open(page_path(tmp_path, "risk"), writable=True)
    page.acknowledge(JOURNAL_ID, LAST_LSN, 1)
    page.close()
    damage(directory / "journal.wal", b"2-1")
    return directory


def damage(path: Path, what: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(what)] ^= 1
    path.write_bytes(content)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def open_journal(run_dir: Path) -> Journal:
    journal = Journal(run_dir / "wal")
    journal.open(lambda journal_id: known_lsn(run_dir / "pages", KNOWN_BY, journal_id))
    return journal


def test_off_a_terminal_it_is_only_shown(wal: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    result = repair(tmp_path, answer="y\n")
    assert result.exit_code == 1
    assert "nothing was changed; --yes repairs" in result.stderr
    assert "repair     keep journal.wal as it is as journal.wal.damaged-11" in result.stdout
    told = report(tmp_path)
    assert (told["repaired"], told["action"], told["tail_lsn"], told["row"]) == (False, "cut", CHECKPOINT_LSN, "W2")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_on_a_terminal_it_asks(
    answer: str, code: int, wal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal_repair, "is_on_terminal", lambda: True)
    before = snapshot(tmp_path)
    result = repair(tmp_path, answer=answer)
    assert result.exit_code == code, result.output
    assert "Repair?" in result.stderr
    assert (snapshot(tmp_path) == before) is (code != 0)


def test_the_damaged_file_is_kept_the_good_prefix_is_the_journal_and_nothing_is_known(
    wal: Path, tmp_path: Path
) -> None:
    damaged = (wal / "journal.wal").read_bytes()
    told = report(tmp_path, "--yes")
    lost = told["lost"]
    assert told["repaired"]
    assert Path(told["kept_as"]).read_bytes() == damaged
    assert (lost["first_lsn"], lost["last_lsn"], lost["acknowledged_lsn"]) == (11, LAST_LSN, LAST_LSN)
    assert [entry["lsn"] for entry in lost["readable"]] == list(range(12, LAST_LSN + 1))
    assert damaged.startswith((wal / "journal.wal").read_bytes())
    assert known_lsn(tmp_path / "pages", KNOWN_BY, b"") == 0
    assert not any((wal / "watermark").read_bytes())
    journal = open_journal(tmp_path)
    assert (journal.tail_lsn, journal.journal_id) == (CHECKPOINT_LSN, JOURNAL_ID)
    journal.close()
    assert repair(tmp_path, "--yes").exit_code == 1, "there is nothing left to repair"


def test_without_a_journal_the_newest_sealed_file_is_it_again(wal: Path, tmp_path: Path) -> None:
    sealed = sealed_path(wal, 1)
    content = sealed.read_bytes()
    (wal / "journal.wal").unlink()
    told = report(tmp_path, "--yes")
    assert (told["action"], told["tail_lsn"], told["kept_as"]) == ("reopen", CHECKPOINT_LSN - 1, None)
    assert ((wal / "journal.wal").read_bytes(), sealed.exists()) == (content, False)
    assert open_journal(tmp_path).tail_lsn == CHECKPOINT_LSN - 1


def test_a_tail_that_is_too_short_is_accepted_on_a_word(wal: Path, tmp_path: Path) -> None:
    repair(tmp_path, "--yes")
    page = HealthPage.open(page_path(tmp_path, "risk"), writable=True)
    page.acknowledge(JOURNAL_ID, LAST_LSN, 1)
    page.close()
    told = report(tmp_path, "--yes")
    assert (told["action"], told["row"], told["lost"]["first_lsn"]) == ("forget", "W4", CHECKPOINT_LSN + 1)
    assert open_journal(tmp_path).tail_lsn == CHECKPOINT_LSN


@pytest.mark.parametrize("words", [[], ["--yes"]])
def test_it_is_refused_while_an_engine_runs(words: list[str], wal: Path, tmp_path: Path) -> None:
    with held_lock(tmp_path, "1"):
        before = snapshot(tmp_path)
        result = repair(tmp_path, *words)
        assert (result.exit_code, snapshot(tmp_path)) == (1, before)
        assert "stop it first" in result.stderr


def test_it_is_refused_while_another_process_writes_the_journal(wal: Path, tmp_path: Path) -> None:
    other = Journal(tmp_path / "elsewhere" / "wal")
    other.open(lambda journal_id: 0)
    (wal / "journal.wal.lock").unlink(missing_ok=True)
    (wal / "journal.wal.lock").hardlink_to(tmp_path / "elsewhere" / "wal" / "journal.wal.lock")
    result = repair(tmp_path, "--yes")
    assert (result.exit_code, "held by another writer" in result.stderr) == (1, True)
    other.close()
    assert repair(tmp_path, "--yes").exit_code == 0


def test_what_needs_no_repair_or_cannot_be_repaired_is_refused_in_words(tmp_path: Path) -> None:
    directory = write_trades(tmp_path)
    assert "nothing to repair" in repair(tmp_path, "--yes").stderr
    damage(sealed_path(directory, 1), b"1-1")
    result = repair(tmp_path, "--yes")
    assert (result.exit_code, "What is sealed cannot be repaired" in result.stderr) == (1, True)
    assert repair(sealed_path(directory, 1), "--yes").exit_code == 2
    with WriteAheadLog(tmp_path / "plain.wal"):
        pass
    assert repair(tmp_path / "plain.wal", "--yes").exit_code == 2


def test_what_is_lost_is_summed_up_last_and_the_files_are_few(tmp_path: Path) -> None:
    wal = write_trades(tmp_path)
    journal = Journal(wal)
    journal.open(lambda journal_id: 0)
    for lsn in range(LAST_LSN + 1, LAST_LSN + 6):
        assert journal.checkpoint(lsn, [("risk", lsn - 1, b"state")]) == lsn
    tail = journal.tail_lsn
    places = [OrderPlace(number, 16, number, 0, Side.BUY, OrderType.MARKET, 10) for number in (7, 8, 9, 11)]
    journal.append_batch([(EntryType.RISK_VIOLATION, 1, 2, 900, b"damaged below")])
    journal.append_batch([(EntryType.ORDER_PLACE, 1, 2, 901 + i, encode_record(one)) for i, one in enumerate(places)])
    journal.sync()
    journal.close()
    damage(wal / "journal.wal", b"damaged below")
    lines = repair(tmp_path).stdout.splitlines()
    [older] = [number for number, line in enumerate(lines) if line.startswith("4 older ")]
    assert "1..21" in lines[older]
    assert lines[0].startswith("file ")
    assert [line.startswith("journal") for line in lines[older + 1 :]].index(False) == 3
    last = max(number for number, line in enumerate(lines) if not line.startswith("lost"))
    assert "ORDER_PLACE" in lines[last], "the list comes first"
    assert len(lines) - last - 1 >= 4
    ids = "ids of orders among them (of those that can be read: 7..9, 11) will be used again"
    assert ids in lines[-1]
    assert f"LSN {tail + 1}.." in lines[last + 2]


def test_a_wal_directory_alone_is_repaired_without_a_run_dir(wal: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    wal.rename(elsewhere)
    assert repair(elsewhere, "--yes").exit_code == 0
    assert not (tmp_path / "lock").exists()
