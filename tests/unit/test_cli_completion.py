"""Completion, asked by the real shells: what `seawall completion` prints is read, and a word is completed by it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_engines import ORDER, engine, health, seawall

STARTER = """#!{python}
import sys
sys.argv[0] = "seawall"
from supervisor.cli.main import main
main()
"""
SCRIPTS: dict[str, Callable[[list[str]], str]] = {
    # What readline does at the key: it sets these and calls the function that `complete` has named.
    "bash": lambda words: f"""
        eval "$(seawall completion bash)"
        complete -p seawall | grep -q -- "-F _seawall_completion" || exit 9
        COMP_WORDS=({quoted(words)}) COMP_CWORD={len(words) - 1}
        compopt() {{ COMPREPLY=("shell: $*"); }}
        _seawall_completion seawall
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": lambda words: f"""
        autoload -U compinit && compinit -D
        eval "$(seawall completion zsh)"
        words=({quoted(words)}) CURRENT={len(words)}
        compadd() {{ printf '%s\\n' $completions }}
        _describe() {{ printf '%s\\n' ${{completions_with_descriptions%%:*}} }}
        _path_files() {{ print "shell: $*" }}
        _seawall_completion
    """,
    "fish": lambda words: f"""
        seawall completion fish | source
        complete --do-complete {quoted([" ".join(words)])} | string replace -r '\\t.*' ''
        true
    """,
}


def quoted(words: list[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


@pytest.fixture(params=SCRIPTS)
def complete(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., list[str]]:
    """What the shell offers for the last word, in a directory with two configs."""
    shell = request.param
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "bin").mkdir()
    starter = tmp_path / "bin" / "seawall"
    starter.write_text(STARTER.format(python=sys.executable))
    starter.chmod(0o755)
    (tmp_path / "project" / "configs").mkdir(parents=True)
    for name in ("one.toml", "two.toml", "ticks.csv", "configs/deep.toml"):
        (tmp_path / "project" / name).touch()

    def offered(*words: str, **variables: str) -> list[str]:
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), **variables}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        done = subprocess.run(
            [program, "-c", SCRIPTS[shell](["seawall", *words])], cwd=tmp_path / "project", env=environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return sorted(done.stdout.split())  # fish sorts

    return offered


def test_verbs_options_and_configs_are_completed(complete: Callable[..., list[str]]) -> None:
    assert complete("sta") == ["status"]
    assert complete("wal", "in") == ["inspect"]
    assert "--watch" in complete("status", "--w")
    assert complete("status", "-o", "wi") == ["wide"]
    assert complete("run", "") == ["one.toml", "two.toml"]
    assert complete("status", "--watch", "configs/") == ["configs/deep.toml"]
    assert complete("halt", "t") == ["two.toml"]
    assert complete("halt", "two.toml", "t") == []


def test_what_a_running_engine_knows_is_completed(complete: Callable[..., list[str]], tmp_path: Path) -> None:
    children = [{**health()["children"][0], "name": name} for name in ("risk", "strategy.sma", "strategy.other")]
    with engine(tmp_path / "run", HEALTH={**health(), "children": children}):
        here = {"SEAWALL_RUN_DIR": str(tmp_path / "run")}
        assert complete("restart", "", **here) == ["risk", "strategy.other", "strategy.sma"]
        assert complete("park", "", **here) == ["strategy.other", "strategy.sma"]
        assert complete("cancel", "", **here) == [str(ORDER["order_id"]), "ALL"]
        assert complete("flatten", "AA", **here) == ["AAPL[x]"]
        assert complete("restart", "--run-dir", here["SEAWALL_RUN_DIR"], "ri") == ["risk"]


def test_no_engine_and_a_silent_one_offer_nothing_and_are_no_error(
    complete: Callable[..., list[str]], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    assert complete("restart", "ri") == []
    assert complete("restart", "ri", SEAWALL_RUN_DIR=str(run_dir)) == []
    silence: dict[str, Any] = {"HEALTH": None}
    with engine(run_dir, **silence):
        assert complete("restart", "ri", SEAWALL_RUN_DIR=str(run_dir)) == []


def test_another_shell_is_a_usage_error() -> None:
    assert seawall("completion", "tcsh").exit_code == 2
