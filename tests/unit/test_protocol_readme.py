"""protocol/README.md and the structs say the same: the contract with outsiders cannot drift."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from click.testing import CliRunner

from protocol import commands, messages
from protocol.errors import WalError
from protocol.keys import MAY_CONNECT, Domain, Role
from protocol.pipeline import PIPES
from protocol.records import RECORD_TYPES, EntryType, Producer
from protocol.telemetry import Telemetry
from protocol.topics import Topic
from supervisor.cli.main import main

TEXT = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")

REPLIES = {
    "PING": commands.TextReply,
    "STATUS": commands.StatusReply,
    "HALT": commands.HaltReply,
    "HEALTH": commands.HealthReply,
    "ORDERS": commands.OrdersReply,
    "SYMBOLS": commands.SymbolsReply,
    "ACCOUNT": commands.AccountReply,
    "LIMITS": commands.LimitsReply,
    **dict.fromkeys(("RESTART", "PARK", "UNPARK"), commands.TextReply),
    **{verb.name: commands.OperationReply for verb in commands.VERBS.values() if verb.is_operation},
}


def _section(title: str) -> str:
    """What stands between `## N. title...` and the next `## `."""
    match = re.search(rf"^## \d+\. {title}.*?$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def _rows(text: str) -> list[list[str]]:
    """The cells of every table row, heads and rulers left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rulers = [index for index, row in enumerate(rows) if all(set(cell) <= {"-"} for cell in row)]
    return [row for index, row in enumerate(rows) if index not in rulers and index + 1 not in rulers]


def _documented_records() -> dict[str, list[tuple[str, str]]]:
    parts = re.split(r"^### (\d+ \w+)$", _section("Records"), flags=re.MULTILINE)[1:]
    return {name: [(row[0], row[1]) for row in _rows(body)] for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _wire_type(annotation: Any) -> str:
    if get_origin(annotation) is tuple:
        return "array"
    if isinstance(annotation, type) and issubclass(annotation, bool):
        return "bool"
    for base, name in ((int, "int"), (str, "str"), (bytes, "bin")):
        if isinstance(annotation, type) and issubclass(annotation, base):
            return name
    raise AssertionError(annotation)


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.name)
def test_every_record_stands_in_the_readme_field_by_field(kind: EntryType) -> None:
    fields = msgspec.structs.fields(RECORD_TYPES[kind])
    assert _documented_records()[f"{int(kind)} {kind.name}"] == [(f.encode_name, _wire_type(f.type)) for f in fields]


def test_the_readme_has_no_record_that_is_not_written_and_lists_the_others_as_reserved() -> None:
    assert set(_documented_records()) == {f"{int(kind)} {kind.name}" for kind in RECORD_TYPES}
    reserved = re.search(r"Reserved types.*?:(.*?)\.", _section("Records"), re.DOTALL)
    assert reserved
    listed = [name.strip() for name in reserved[1].replace("\n", " ").split(",")]
    assert listed == [f"{int(kind)} {kind.name}" for kind in EntryType if kind not in RECORD_TYPES]


def test_the_producers_stand_in_the_readme() -> None:
    assert "Producers: " + ", ".join(f"{int(one)} {one.name.lower()}" for one in Producer) + ", 16 and up" in TEXT


def _reply_keys(reply: type[msgspec.Struct], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for field in msgspec.structs.fields(reply):
        inner, name = field.type, prefix + field.encode_name
        if get_origin(inner) is list:
            inner, name = get_args(inner)[0], name + "[]"
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            keys += _reply_keys(inner, name + ".")
        else:
            keys.append(name)
    return keys


def test_every_key_of_every_reply_stands_in_the_readme_in_order() -> None:
    documented: dict[str, list[str]] = {}
    verb = ""
    for row in _rows(_section("Commands")):
        verb = row[0] or verb
        documented.setdefault(verb, []).append(row[3])
    assert documented == {verb: _reply_keys(reply) for verb, reply in REPLIES.items()}
    assert set(documented) == set(commands.VERBS)


def test_arguments_and_effect_of_every_verb_stand_in_the_readme() -> None:
    heads = {row[0]: (row[1], row[2]) for row in _rows(_section("Commands")) if row[0]}
    assert heads == {verb.name: (verb.arguments, "yes" if verb.changes else "no") for verb in commands.VERBS.values()}


def test_every_telemetry_kind_stands_in_the_readme_with_its_keys() -> None:
    documented = {row[0]: row[1].split(", ") for row in _rows(_section("Telemetry"))}
    assert documented == {
        kind.__struct_config__.tag: [field.encode_name for field in msgspec.structs.fields(kind)]
        for kind in Telemetry.__subclasses__()
    }


def test_every_topic_stands_in_the_readme() -> None:
    assert [row[0] for row in _rows(_section("Binary broadcast"))] == [f"{int(one)} {one.name}" for one in Topic]


def _message_name(kind: type[messages.Message]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()


def test_every_message_of_every_pipe_stands_in_the_readme_by_tag_and_name() -> None:
    tags = {_message_name(kind): kind.__struct_config__.tag for kind in get_args(messages.type_union)}
    documented = {row[0]: row[1].split(", ") for row in _rows(_section("Inside"))}
    assert documented == {
        pipe.name: [f"{tags[message]} {message}" for message in pipe.messages] for pipe in PIPES.values()
    }
    assert {message for pipe in PIPES.values() for message in pipe.messages} == set(tags)


def test_every_role_stands_in_the_readme_with_what_it_may_do() -> None:
    roles = [row for row in _rows(_section("Keys")) if row[0] in set(Role)]
    commands_too = {role: role in MAY_CONNECT[Domain.COMMAND] for role in Role}
    assert [(row[0], "command" in row[1], row[2]) for row in roles] == [
        (role, may, "all" if may else "none") for role, may in commands_too.items()
    ]


def test_the_readmes_plain_log_remembers_what_a_crash_left_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", _section("The plain log"), re.DOTALL)
    for told in ("2 41\n", "undone: ORDER_PLACE buy 100 EURUSD\n2 41\n"):
        exec(compile(example, "protocol/README.md", "exec"), {})
        assert capsys.readouterr().out == told
    for words, shown in ((["inspect"], b"buy 100 EURUSD".hex()), (["verify"], "verdict    clean")):
        result = CliRunner().invoke(main, ["wal", *words, "todo.wal"])
        assert result.exit_code == 0
        assert shown in result.stdout


def test_the_readme_names_every_error_of_the_plain_log() -> None:
    documented = {row[0] for row in _rows(_section("The plain log"))}
    kinds = {"WalError", *(kind.__name__ for kind in WalError.__subclasses__())}
    assert documented == kinds - {"FoldError", "WalTornTailError", "NothingToRepairError"}, "those are the journal's"
