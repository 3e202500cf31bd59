"""The tables of all checks in protocol/README.md are the code's own: `python tests/unit/test_checks_table.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.checks import CHECKS
from actors.limit_checks import LIMIT_CHECKS
from protocol.limits import LimitSettings
from protocol.settings import InstrumentSettings, RiskSettings, WalSettings

README = Path(__file__).parents[2] / "protocol" / "README.md"
BLOCK = re.compile(r"(?<=_checks_table\.py` -->\n).*?(?=^<!-- end of checks)", re.MULTILINE | re.DOTALL)
SECTIONS: dict[str, Any] = {"risk": RiskSettings, "wal": WalSettings, "instruments": InstrumentSettings}


def default_of(key: str) -> str:
    section, _, name = key.partition(".")
    fields = {field.name: field for field in msgspec.structs.fields(SECTIONS[section])}
    field = fields[name]
    has_factory = field.default_factory is not msgspec.NODEFAULT
    value = field.default_factory() if has_factory else field.default
    if value is msgspec.NODEFAULT:
        return "must be given"
    if value is None or value == []:
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def table() -> Iterator[str]:
    yield "| reason | key | default | lets through | why |\n|---|---|---|---|---|\n"
    for check in CHECKS:
        key, default = (f"`{check.config_key}`", default_of(check.config_key)) if check.config_key else ("", "")
        yield f"| `{check.reason}` | {key} | {default} | {check.spares} | {check.origin} |\n"
    yield "\n| reason | key | default | lets through | why |\n|---|---|---|---|---|\n"
    for limit in LIMIT_CHECKS:
        spares = "" if limit.spares.value == "nothing" else limit.spares.value
        default = default_of(f"risk.{limit.key}")
        yield f"| `{limit.reason}` | `{limit.key}` | {default} | {spares} | {limit.origin} |\n"


def test_the_readme_has_the_table_of_the_code() -> None:
    found = BLOCK.search(README.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == "".join(table()), "write it anew: python tests/unit/test_checks_table.py"


@pytest.mark.parametrize("limit", LIMIT_CHECKS, ids=lambda limit: limit.reason)
def test_every_limit_has_a_key_of_its_own_for_the_engine_and_for_strategies(limit: Any) -> None:
    keys = {field.name for field in msgspec.structs.fields(LimitSettings)}
    assert limit.key in keys or limit.key == "min_free_margin"
    assert limit.key in {field.name for field in msgspec.structs.fields(RiskSettings)}
    assert limit.reason in (limit.key, "restricted_symbol", "no_quote", "crossed_quote", "stale_quote")


def test_nothing_is_limited_unless_it_is_asked_for() -> None:
    assert {default_of(f"risk.{limit.key}") for limit in LIMIT_CHECKS} == {"none", "false"}


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda _: "".join(table()), text), encoding="utf-8")
