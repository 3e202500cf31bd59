"""`seawall report`: what it writes of which run_dir, its exit codes, and pages that nobody's words can break."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from wal_trades import write_trades

from protocol.errors import ExitCode
from protocol.records import EngineRun
from protocol.settings import Config, parse_config
from protocol.wal.names import JOURNAL_NAME, WATERMARK_NAME
from supervisor.cli.main import main
from supervisor.report.as_json import performance_to_json
from supervisor.report.charts import Span, escape, nice_times, nice_values, script_json
from supervisor.report.history import RunHistory
from supervisor.report.page import draw_page
from supervisor.report.performance import Performance, measure_run
from supervisor.report.text import money_digits, show_duration, show_number, show_percent, show_time
from supervisor.saved_config import save_config

CONFIG = """
[engine]
name = "trades"
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
"""
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;\u2028"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_trades(tmp_path / "run")
    return tmp_path / "run"


def report(*words: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, words)])


def figures(*words: object) -> dict[str, Any]:
    done = report(*words, "-o", "json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_stands_in_the_run_dir_and_its_path_on_stdout(run_dir: Path) -> None:
    done = report(run_dir)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{run_dir / 'report.html'}\n", "")
    first = (run_dir / "report.html").read_bytes()
    assert report(run_dir, "-o", run_dir / "again.html").exit_code == 0
    assert (run_dir / "again.html").read_bytes() == first, "the same run, the same bytes"
    assert report(run_dir, "-o", "-").stdout_bytes == first
    assert not list(run_dir.glob("*.part"))


def test_the_figures_are_those_of_the_journal(run_dir: Path) -> None:
    found = figures(run_dir)
    assert found["basis"] == "realized"
    assert "no config.json" in found["notes"][0]
    total = found["total"]
    assert (total["net_profit"], total["realized_profit"], total["commission"]) == (0.99, 1.0, 0.01)
    assert (total["trades"], total["fills"], total["win_rate"], total["profit_factor"]) == (1, 3, 1.0, None)
    assert total["open_profit"] is None
    assert total["return"] == 0.000099
    assert found["orders"] == 3
    assert found["signals_refused"] == {"max_position": 1}
    assert found["strategies"]["breakout"]["trades"] == 0
    assert found["strategies"]["sma"]["net_profit"] == 0.99
    assert found["annualisation"]["days_per_year"] == 365
    assert figures(run_dir, "--days-per-year", "252")["annualisation"]["days_per_year"] == 252


def test_a_config_of_another_start_is_told_by_its_hash(run_dir: Path) -> None:
    save_config(run_dir, parse_config(CONFIG))
    assert "not the one that this run was started with" in figures(run_dir)["notes"][0]


def test_a_config_that_cannot_be_read_is_a_note(run_dir: Path) -> None:
    (run_dir / "config.json").write_text("{")
    assert "cannot be read" in figures(run_dir)["notes"][0]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["missing"], ExitCode.USAGE, "does not exist"),
        (["."], ExitCode.USAGE, "has no wal/"),
        (["run", "-o", "run/wal/journal.wal"], ExitCode.USAGE, "a file that ends in .html"),
        (["run", "-o", "nowhere/report.html"], ExitCode.FAILURE, "No such file"),
        (["run", "--days-per-year", "360"], ExitCode.USAGE, "360"),
    ],
)
def test_what_cannot_be_done_is_told(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: ExitCode, told: str
) -> None:
    monkeypatch.chdir(run_dir.parent)
    journal = (run_dir / "wal" / JOURNAL_NAME).read_bytes()
    done = report(*words)
    assert done.exit_code == code
    assert told in done.stderr
    assert done.stdout == ""
    assert (run_dir / "wal" / JOURNAL_NAME).read_bytes() == journal


def test_of_a_torn_tail_the_report_is_made_from_what_is_whole_and_the_code_says_so(run_dir: Path) -> None:
    journal = run_dir / "wal" / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes()[:-5])
    (run_dir / "wal" / WATERMARK_NAME).unlink()  # nobody was told of the last entry
    done = report(run_dir, "-o", "json")
    assert done.exit_code == ExitCode.TORN
    found = json.loads(done.stdout)
    assert found["total"]["net_profit"] == 0.99
    assert found["stopped_by"] is None
    assert "torn" in found["notes"][0]


def test_of_a_corrupt_journal_there_is_no_report(run_dir: Path) -> None:
    journal = run_dir / "wal" / JOURNAL_NAME
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content)
    done = report(run_dir)
    assert done.exit_code == ExitCode.CORRUPT
    assert not (run_dir / "report.html").exists()
    said = report(run_dir, "-o", "json")
    assert json.loads(said.stderr)["exit_code"] == ExitCode.CORRUPT


# Pages.


class Tags(HTMLParser):
    """What a browser would see: tags, their attributes, and the text outside scripts and styles."""

    VOID = ("meta", "br", "path", "use", "svg")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words.append(data)
        elif self._inside[-1] == "script":
            self.scripts.append(data)


def performance_of(run_dir: Path, config: Config | None = None) -> Performance:
    from protocol.wal.history import read_history

    history = RunHistory(last_run=False)
    history.read(read_history(run_dir / "wal"))
    return measure_run(history, config)


def hostile(performance: Performance) -> Performance:
    """The same with names, symbols, reasons and notes that mean harm."""
    history = performance.history
    run = history.fold.run
    assert run is not None
    named: EngineRun = msgspec.structs.replace(
        run, symbols=tuple((HOSTILE + name, number) for name, number in run.symbols),
        strategies=tuple(HOSTILE + name for name in run.strategies), version=HOSTILE, by=HOSTILE,
    )  # fmt: skip
    history.fold.run = history.start = history.stop = named
    history.refused[HOSTILE] += 1
    config = msgspec.structs.replace(
        parse_config(CONFIG), engine=msgspec.structs.replace(parse_config(CONFIG).engine, name=HOSTILE)
    )
    return msgspec.structs.replace(
        performance, currency=HOSTILE, notes=[HOSTILE], config=config,
        strategies={HOSTILE + name: one for name, one in performance.strategies.items()},
    )  # fmt: skip


def test_no_name_and_no_reason_can_break_the_page(run_dir: Path) -> None:
    plain = Tags(draw_page(performance_of(run_dir, parse_config(CONFIG))))
    page = draw_page(hostile(performance_of(run_dir, parse_config(CONFIG))))
    harmed = Tags(page)
    assert not [tag for tag, _ in harmed.tags if tag in ("img", "iframe", "object", "link", "base", "form")]
    assert len(harmed.scripts) == len(plain.scripts)
    assert harmed.scripts[-1] == plain.scripts[-1], "the one script is ours"
    assert not [name for _, attributes in harmed.tags for name in attributes if name.startswith("on")]
    assert "alert(1)" not in "".join(harmed.scripts)
    assert "".join(harmed.words).count(HOSTILE) > 10, "it stands there as it was written"


def test_the_page_loads_nothing_and_lets_nothing_be_loaded(run_dir: Path) -> None:
    page = draw_page(performance_of(run_dir, parse_config(CONFIG)))
    found = Tags(page)
    links = [value for _, attributes in found.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(link and link.startswith("#") for link in links)
    assert not re.search(r"url\(|@import|https?:", page)
    (policy,) = [attributes["content"] for tag, attributes in found.tags if attributes.get("http-equiv")]
    assert policy
    assert policy.startswith("default-src 'none'")


def test_the_page_has_all_that_it_promises(run_dir: Path) -> None:
    text = " ".join(Tags(draw_page(performance_of(run_dir, parse_config(CONFIG)))).words)
    promised = ("Net profit", "Drawdown", "Monthly returns", "Sharpe", "√365", "Strategies", "Trades", "Config",
                "tick_size", "00112233445566778899aabbccddeeff", "max_position", "closed positions only")  # fmt: skip
    assert [words for words in promised if words not in text] == []
    assert "nan" not in text
    assert "inf" not in re.sub(r'"level": "info"', "", text)


def test_a_run_without_a_fill_has_a_page_and_dashes(tmp_path: Path) -> None:
    from test_report_marks import history_of

    performance = measure_run(history_of(), None)
    found = json.loads(json.dumps(performance_to_json(performance), allow_nan=False))
    assert (found["start"], found["total"]["sharpe"], found["total"]["exposure"]) == (None, None, None)
    assert found["total"]["net_profit"] == 0.0
    page = draw_page(performance)
    assert "–" in page
    assert "<table" not in page.replace("<h2>Strategies</h2>", "")[: page.index("Figures")]


# Words and axes.


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"name": HOSTILE})
    assert not {"<", ">", "&", "\u2028"} & set(text)
    assert json.loads(text) == {"name": HOSTILE}
    assert escape('"<&\'') == "&quot;&lt;&amp;&#x27;"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (float("inf"), "–"), (1234.5, "1,234.50"), (-0.001, "0.00"), (-2.0, "−2.00")],
)
def test_numbers_are_shown_with_a_dash_for_what_is_undefined(value: float | None, text: str) -> None:
    assert show_number(value) == text


def test_percent_times_and_durations_are_shown() -> None:
    assert show_percent(0.1234, 1, signed=True) == "+12.3 %"
    assert show_time(0) == "1970-01-01 00:00:00"
    assert show_time(2**63) == str(2**63)
    assert [show_duration(us) for us in (None, 1500, 90_000_000, 7_200_000_000, 90_061_000_000)] == [
        "–", "1.5 ms", "1 min 30 s", "2 h", "1 d 1 h",
    ]  # fmt: skip
    assert [money_digits(values) for values in ([], [1500.0], [0.5, 0.6], [0.0001])] == [2, 2, 3, 6]


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [(0.0, 10.0, [0, 2, 4, 6, 8, 10]), (9961.0, 10_002.0, [9970, 9980, 9990, 10_000]), (1.1212, 1.1226, None)],
)
def test_axes_have_round_numbers(low: float, high: float, values: list[float] | None) -> None:
    found = nice_values(Span(low, high))
    assert values is None or found == values
    assert all(low <= value <= high + 1e-9 for value in found)
    assert 3 <= len(found) <= 7


@pytest.mark.parametrize("seconds", [1e-5, 0.5, 10, 3600, 86_400, 30 * 86_400, 400 * 86_400, 40 * 365 * 86_400])
def test_times_on_axes_are_round_few_and_inside(seconds: float) -> None:
    low = 1_577_916_123_456_789.0
    found = nice_times(Span(low, low + seconds * 1e6))
    assert 1 <= len(found) <= 10
    assert all(low <= time_us <= low + seconds * 1e6 for time_us, _ in found)
    assert len({words for _, words in found}) == len(found)
