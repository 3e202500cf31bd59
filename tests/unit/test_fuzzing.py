"""Whatever bytes come, a decoder raises nothing but what it says, and sets no memory aside for what is announced."""

from __future__ import annotations

import ast
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoders import DECODERS, ELSEWHERE, ENCODE, SAVED_CONFIG, SYMBOLS, Decoder, attempt, inputs
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from protocol.wal.format import EntryType, encode_entry

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"(decode|parse|read|load|iterate)_\w+")
EXAMPLES = 30
"""Of each; `python -m tests.faults.fuzz` tries as many as there is time for."""
ALLOCATED_MAX = 16 << 20
HUGE = b"\x7f\xff\xff\xff"
ANNOUNCED = [
    *(kind + HUGE for kind in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9")),  # MessagePack: array, map, bin, str, ext
    *(b"\x95\x01" + kind + HUGE for kind in (b"\xdd", b"\xc6")),
    (0x48515457).to_bytes(4, "little") + b"\x04" + HUGE[::-1] + bytes(4),
    b"\x00\x01" + HUGE[::-1],
]
"""Two thousand million of something, and then nothing."""


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_a_decoder_raises_nothing_but_what_it_says(decoder: Decoder) -> None:
    @settings(max_examples=EXAMPLES, database=None)
    @given(inputs(decoder))
    def tried(data: bytes) -> None:
        attempt(decoder, data)

    tried()


FINDS = [
    # A report of a kind that no books have: AttributeError.
    ("venue's books", encode_entry(EntryType.ENGINE_RUN, ENCODE((0, b"boot", SYMBOLS, b"j" * 16)))
     + encode_entry(EntryType.POSITION_CLOSE, ENCODE((1, 0, 0, 1, 1, 1, bytes(16), bytes(16))))),
    # A key that is no UTF-8: UnicodeDecodeError.
    ("saved config", SAVED_CONFIG.replace(b'"engine"', b'"\x80engine"')),
    # More digits than int() takes: ValueError.
    ("--lsn", b"9" * 5000),
    ("--since", b"9" * 5000 + b"d"),
    ("ending", b"9" * 5000),
]  # fmt: skip
"""What fuzzing has found: (decoder, bytes)."""


@pytest.mark.parametrize(("name", "data"), FINDS)
def test_what_was_found_is_not_found_again(name: str, data: bytes) -> None:
    attempt(next(decoder for decoder in DECODERS if decoder.name == name), data)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_a_length_alone_sets_no_memory_aside(decoder: Decoder) -> None:
    for data in ANNOUNCED:
        for prefix in (b"", b"\x04"):
            tracemalloc.start()
            attempt(decoder, prefix + data)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert most < ALLOCATED_MAX, data


def _readers() -> Iterator[str]:
    for package in ("protocol", "actors", "supervisor"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef) and NAMES.fullmatch(node.name):
                    yield f"{module}.{node.name}"


def test_every_decoder_is_in_the_table_or_has_a_reason_not_to_be() -> None:
    covered = {name for decoder in DECODERS for name in decoder.covers}
    found = set(_readers())
    assert found <= covered | set(ELSEWHERE), "new decoders"
    assert not covered & set(ELSEWHERE)


def test_a_planted_mistake_is_found() -> None:
    def read(data: bytes) -> int:
        return data[2] if data.startswith(b"\x93") else 0

    planted = Decoder("planted", (), read, (), st.just(b"\x93\x01\x02"))

    @settings(max_examples=1000, database=None, phases=[Phase.generate])
    @given(inputs(planted))
    def tried(data: bytes) -> None:
        attempt(planted, data)

    with pytest.raises(IndexError):
        tried()
