"""`seawall wal tail`: the last entries, and a journal followed across rolls, restarts, cuts and repair."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness import ROOT, wait_for
from test_wal_roll import opened, rolled
from wal_journals import entry, first_entry, nobody_knows

from protocol.errors import WalCorruptError
from protocol.wal.journal import Journal
from protocol.wal.sealed import list_sealed, pack_sealed, sealed_path
from protocol.wal.storage import RealStorage
from supervisor.cli import wal_tail
from supervisor.cli.main import main
from supervisor.cli.wal_tail import Follower

STORAGE = RealStorage()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """LSN 1..12 sealed, 13..16 in journal.wal; open for more."""
    journal = rolled(STORAGE, tmp_path / "wal")
    yield journal
    journal._release()


def append(journal: Journal, *lsns: int) -> None:
    journal.append_batch([entry(lsn) for lsn in lsns])
    journal.sync()


def lsns(follower: Follower) -> list[int]:
    return [envelope.lsn for envelope, _, _ in follower.read()]


def tail(path: Path, *words: str) -> list[int]:
    result = CliRunner().invoke(main, ["wal", "tail", str(path), "-o", "json", *words])
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line)["lsn"] for line in result.stdout.splitlines()]


def test_the_last_ten_or_as_many_as_one_says_over_the_files(journal: Journal, tmp_path: Path) -> None:
    assert tail(tmp_path) == list(range(7, 17))
    assert tail(tmp_path, "-n", "3") == [14, 15, 16]
    assert tail(tmp_path, "-n", "0") == []
    assert tail(tmp_path, "--type", "checkpoint", "--type", "engine_run") == [1, 13]
    assert tail(tmp_path, "-n", "2", "--lsn", "..5") == [4, 5]
    assert tail(sealed_path(tmp_path / "wal", 1), "-n", "2") == [11, 12]


def test_the_follower_begins_with_the_file_that_has_the_lsn_and_goes_on_with_what_comes(
    journal: Journal, tmp_path: Path
) -> None:
    assert lsns(Follower(tmp_path / "wal", 5)) == list(range(1, 17))
    follower = Follower(tmp_path / "wal", 14)
    assert lsns(follower) == [13, 14, 15, 16]
    assert lsns(follower) == []
    append(journal, 17, 18)
    assert lsns(follower) == [17, 18]


def test_rolls_are_followed_one_several_and_packed(journal: Journal, tmp_path: Path) -> None:
    follower = Follower(tmp_path / "wal", 16)
    assert lsns(follower) == [13, 14, 15, 16]
    append(journal, 17)
    journal.checkpoint(18_000, ())
    append(journal, 19)
    assert lsns(follower) == [17, 18, 19]
    for lsn in (20, 22, 24):
        journal.checkpoint(lsn * 1000, ())
        append(journal, lsn + 1)
    pack_sealed(STORAGE, list_sealed(STORAGE, tmp_path / "wal")[-2])
    assert lsns(follower) == [20, 21, 22, 23, 24, 25]
    assert lsns(follower) == []


def test_half_an_entry_is_waited_for_at_every_length(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "wal" / "journal.wal"
    before = path.read_bytes()
    append(journal, 17)
    grown = path.read_bytes()
    path.write_bytes(before)
    follower = Follower(tmp_path / "wal", 16)
    assert lsns(follower)[-1] == 16
    for size in range(len(before), len(grown)):
        path.write_bytes(grown[:size])
        assert lsns(follower) == [], size
    path.write_bytes(grown)
    assert lsns(follower) == [17]


@pytest.mark.parametrize("begins", ["no run_dir", "a run_dir", "an empty wal directory"])
def test_following_begins_before_the_first_start(
    begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    if begins != "no run_dir":
        (run_dir / "wal" if "empty" in begins else run_dir).mkdir(parents=True)
    looks = iter((lambda: None, lambda: rolled(STORAGE, run_dir / "wal")._release()))

    def look_again() -> bool:
        next(looks)()
        return True

    monkeypatch.setattr(wal_tail, "wait_for_more", look_again)
    place = wal_tail.await_place(run_dir)
    assert place is not None
    assert place.directory == run_dir / "wal"
    assert capsys.readouterr().err.count("Waiting.") == 1, "said once"
    assert CliRunner().invoke(main, ["wal", "tail", str(tmp_path / "other")]).exit_code == 2, "a mistake without -f"


def test_nobody_is_waited_for_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_tail, "wait_for_more", lambda: False)
    assert wal_tail.await_place(tmp_path) is None


def test_a_torn_tail_that_the_next_life_cuts_is_not_shown(journal: Journal, tmp_path: Path) -> None:
    follower = Follower(tmp_path / "wal", 16)
    lsns(follower)
    journal._release()
    with open(tmp_path / "wal" / "journal.wal", "ab") as file:
        file.write(b"half an entry")
    assert lsns(follower) == []
    again = opened(STORAGE, tmp_path / "wal")
    append(again, 17, 18)
    again._release()
    assert lsns(follower) == [17, 18]


def test_entries_that_were_taken_back_are_said_and_read_again(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A life that died before its sync: the next one may hold other entries under the same LSNs."""
    path = tmp_path / "wal" / "journal.wal"
    before = path.read_bytes()
    follower = Follower(tmp_path / "wal", 16)
    append(journal, 17, 18)
    assert lsns(follower)[-2:] == [17, 18]
    journal._release()
    path.write_bytes(before)
    assert lsns(follower) == []
    assert "cut back or replaced: reading from LSN 17, after LSN 18" in capsys.readouterr().err
    again = opened(STORAGE, tmp_path / "wal")
    again.append_batch([entry(99), entry(18)])
    again._release()
    assert lsns(follower) == [17, 18]


def test_a_tail_that_was_cut_and_outgrown_meanwhile_is_noticed(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wal" / "journal.wal"
    before = path.read_bytes()
    follower = Follower(tmp_path / "wal", 16)
    append(journal, 17)
    assert lsns(follower)[-1] == 17
    journal._release()
    path.write_bytes(before)
    again = opened(STORAGE, tmp_path / "wal")
    append(again, *range(90, 100))
    again._release()
    assert lsns(follower) == list(range(17, 27))
    assert "reading from LSN 17" in capsys.readouterr().err


def test_a_new_file_in_the_place_of_the_journal_is_noticed(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As repair leaves it; or another journal."""
    wal = tmp_path / "wal"
    follower = Follower(wal, 16)
    lsns(follower)
    journal._release()
    (wal / "new").write_bytes((wal / "journal.wal").read_bytes())
    (wal / "new").replace(wal / "journal.wal")
    assert lsns(follower) == [14, 15, 16], "behind what was on disk for certain"
    assert "reading from LSN 14" in capsys.readouterr().err
    for path in wal.iterdir():
        path.unlink()
    assert lsns(follower) == []
    other = Journal(wal)
    other.open(nobody_knows)
    other.create(b"another journal!", first_entry(b"another journal!"))
    other._release()
    assert lsns(follower) == [1]
    assert "Another journal" in capsys.readouterr().err


def test_damage_in_the_journal_is_noted_once_and_waited_for_and_in_a_sealed_file_it_ends(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wal" / "journal.wal"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    follower = Follower(tmp_path / "wal", 14)
    assert lsns(follower) == [13, 14, 15]
    assert lsns(follower) == []
    assert capsys.readouterr().err.count("LSN 16 cannot be read") == 1
    sealed = sealed_path(tmp_path / "wal", 1)
    sealed.write_bytes(sealed.read_bytes()[:-1])
    follower = Follower(tmp_path / "wal", 1)
    with pytest.raises(WalCorruptError, match=sealed.name):
        lsns(follower)


def test_what_is_kept_no_longer_is_said(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    follower = Follower(tmp_path / "wal", 16)
    lsns(follower)
    for lsn in (17, 18, 19):
        journal.checkpoint(lsn * 1000, ())
    sealed_path(tmp_path / "wal", 17).unlink()
    sealed_path(tmp_path / "wal", 18).unlink()
    assert lsns(follower) == [19]
    assert "What follows LSN 16 is kept no longer" in capsys.readouterr().err


def follow(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli.main", "wal", "tail", "-f", str(path), "-n", "1", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_follow_ends_with_ctrl_c_and_0(journal: Journal, tmp_path: Path) -> None:
    with follow(tmp_path) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["lsn"] == 16
        append(journal, 17)
        assert json.loads(process.stdout.readline())["lsn"] == 17
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_follow_ends_when_nobody_reads_any_more_though_nothing_comes(journal: Journal, tmp_path: Path) -> None:
    with follow(tmp_path) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        wait_for(lambda: process.poll() is not None, "the end of tail -f")
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_file_that_does_not_grow_cannot_be_followed(journal: Journal, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["wal", "tail", "-f", str(sealed_path(tmp_path / "wal", 1))])
    assert result.exit_code == 2
