"""The house stays tidy: imports run one way, names that others install are avoided, files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "actors", "supervisor")
MAY_IMPORT = {"protocol": {"protocol"}, "actors": {"protocol", "actors"}, "supervisor": set(PACKAGES)}
"""protocol <- actors <- supervisor (design section 12)."""
ACTORS = {"market_data", "strategy", "risk", "order_routing", "wal", "gateway"}
"""Modules of which each is the code of one process."""
RESERVED = {
    "supervisor": "process options events http states dispatchers loggers rpcinterface socket_manager web xmlrpc "
    "supervisord supervisorctl",
    "protocol": "base config utils",
    "actors": "actor context system ref",
}
"""Module names of other distributions that install packages of the same name."""
TOP_LEVEL = {"pyproject.toml", "actors", "supervisor", "protocol", "tests", "deploy", "README.md", "LICENSE"}
LINES_MAX = 500
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FILES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py")])


def _imports(path: Path) -> Iterator[str]:
    """Every module that the file names in an import, wherever it stands; `from x import y` gives x and x.y."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _is_beside_actors(path: Path) -> bool:
    """Actors and the logic beside them; `python -m actors` begins their lives and is none."""
    return path.relative_to(ROOT).parts[0] == "actors" and path.name != "__main__.py"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name in _imports(path)} & set(PACKAGES)
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", [path for path in MODULES if _is_beside_actors(path)], ids=_name)
def test_no_actor_imports_another_actor(path: Path) -> None:
    named = {name.split(".")[1] for name in _imports(path) if name.startswith("actors.")} & ACTORS
    assert named <= {path.stem, path.stem.removeprefix("replay_")}, "what two actors share belongs to neither"


def test_the_supervisor_names_actors_as_strings() -> None:
    for path in (ROOT / "supervisor").rglob("*.py"):
        named = {name.split(".")[1] for name in _imports(path) if name.startswith("actors.")} & ACTORS
        assert not named, f"{path} imports {named}"


@pytest.mark.parametrize("package", PACKAGES)
def test_module_names_of_other_distributions_are_avoided(package: str) -> None:
    names = {path.stem for path in (ROOT / package).glob("*.py")}
    names |= {path.name for path in (ROOT / package).iterdir() if path.is_dir()}
    assert not names & set(RESERVED[package].split())


def test_supervisor_init_stays_empty() -> None:
    assert (ROOT / "supervisor" / "__init__.py").read_bytes() == b""


def test_the_top_level_holds_only_what_the_design_names() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    top = {name.partition("/")[0] for name in listed.stdout.decode().split("\0") if name}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_stay_small(path: Path) -> None:
    assert path.read_bytes().count(b"\n") < LINES_MAX


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_one_blank_line_stands_within_a_block_and_two_between_them(path: Path) -> None:
    """As pycodestyle's E303, which ruff has in preview only."""
    assert not re.search(r"\n\n\n[ \t]+\S|\n\n\n\n", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_bytes()], ids=_name)
def test_a_module_says_first_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_pickles(path: Path) -> None:
    assert not {name.partition(".")[0] for name in _imports(path)} & {"pickle", "marshal", "shelve", "dill"}
