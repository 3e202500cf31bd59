"""What the pages call a key of the config is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from protocol.settings import Config

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "actors/README.md", "deploy/README.md", "protocol/README.md")
SECTIONS = {field.encode_name: field.type for field in msgspec.structs.fields(Config)}
_NAMED = re.compile(rf"`(({'|'.join(SECTIONS)})\.[a-z_.]+)")


def structs_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in get_args(kind):
        yield from structs_in(inner)


def is_key(path: list[str], kind: Any) -> bool:
    if not path:
        return True
    if not (structs := list(structs_in(kind))):
        return bool(get_args(kind))  # a table by names of the operator's own
    return any(
        is_key(path[1:], field.type)
        for struct in structs
        for field in msgspec.structs.fields(struct)
        if field.encode_name == path[0]
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_key_that_a_page_names_is_in_the_config(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {match[1].rstrip(".") for match in _NAMED.finditer(text)}
    assert named, page
    wrong = {key for key in named if not is_key(key.split(".")[1:], SECTIONS[key.split(".")[0]])}
    assert not wrong


@pytest.mark.parametrize(("key", "found"), [("risk.none", False), ("wal.keep", True), ("gateway.curve.keys", True)])
def test_a_key_is_told_from_what_is_none(key: str, found: bool) -> None:
    section, *path = key.split(".")
    assert is_key(path, SECTIONS[section]) is found
