"""Requests: what is a command, and what a request that is none is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import REQUEST_BYTES_MAX, VERBS, BadCommand, Command, parse_command


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        (b"PING", Command("PING", "")),
        (b"  STATUS\r\n", Command("STATUS", "")),
        (b"HALT", Command("HALT", "")),
        (b"HALT enough for today", Command("HALT", "enough for today")),
        (b"HALT   two  spaces ", Command("HALT", "two  spaces")),
        ("HALT für heute".encode(), Command("HALT", "für heute")),
        (b"HEALTH", Command("HEALTH", "")),
        (b"ORDERS", Command("ORDERS", "")),
        (b"SYMBOLS", Command("SYMBOLS", "")),
        (b"ACCOUNT", Command("ACCOUNT", "")),
        (b"HALT id=5", Command("HALT", "id=5")),
        (b"REDUCE", Command("REDUCE", "")),
        (b"REDUCE too  wild id=a.B-9_", Command("REDUCE", "too wild", "a.B-9_")),
        (b"CANCEL id=7 12", Command("CANCEL", "12", "7")),
        (b"CANCEL ALL", Command("CANCEL", "ALL")),
        (b"FLATTEN", Command("FLATTEN", "")),
        (b"DEPOSIT -20.5 a fee", Command("DEPOSIT", "-20.5 a fee")),
        (b"HALT " + b"x" * (REQUEST_BYTES_MAX - 5), Command("HALT", "x" * (REQUEST_BYTES_MAX - 5))),
    ],
)
def test_a_request_is_a_command_after_trimming(frame: bytes, command: Command) -> None:
    assert parse_command([frame]) == command


def _amount(wrong: str) -> str:
    return f"DEPOSIT amount [reason]: an amount such as 500 or -20.5, exact in 0.000001, not {wrong!r}"


@pytest.mark.parametrize(
    ("frames", "response"),
    [
        ([b"BUY 7"], "Unknown command: BUY 7"),
        ([b"halt"], "Unknown command: halt"),
        ([b"HALTED"], "Unknown command: HALTED"),
        ([b"PING twice"], "Unknown command: PING twice"),
        ([b"X" * 1000], "Unknown command: " + "X" * 200),
        ([b""], "Empty request"),
        ([b" \n\t "], "Empty request"),
        ([b"\xff\xfe"], "A request is UTF-8 text"),
        ([b"CANCEL"], "CANCEL id or ALL: an order's id, or ALL, not ''"),
        ([b"CANCEL 0"], "CANCEL id or ALL: an order's id, or ALL, not '0'"),
        ([b"CANCEL 1 2"], "CANCEL id or ALL: an order's id, or ALL, not '1 2'"),
        ([b"CANCEL all"], "CANCEL id or ALL: an order's id, or ALL, not 'all'"),
        ([b"FLATTEN A B"], "FLATTEN [symbol]: one symbol, or none for all, not 'A B'"),
        ([b"DEPOSIT"], _amount("")),
        ([b"DEPOSIT 1e-7"], _amount("1e-7")),
        ([b"DEPOSIT 1e900000"], _amount("1e900000")),
        ([b"DEPOSIT nan"], _amount("nan")),
        ([b"DEPOSIT 1_000"], _amount("1_000")),
        ([b"DEPOSIT 0.0000001"], _amount("0.0000001")),
        ([b"DEPOSIT 9999999999999"], _amount("9999999999999")),
        ([b"DEPOSIT 0 x"], "DEPOSIT amount [reason]: an amount that is not 0"),
        ([b"DEPOSIT -0.00"], "DEPOSIT amount [reason]: an amount that is not 0"),
        ([b"REDUCE id="], "REDUCE: one id=TOKEN of 1 to 64 letters, digits, '_', '.' and '-'"),
        ([b"REDUCE id=a id=b"], "REDUCE: one id=TOKEN of 1 to 64 letters, digits, '_', '.' and '-'"),
        ([], "A request is one frame, this one has 0"),
        ([b"PING", b""], "A request is one frame, this one has 2"),
        ([b"HALT" * 1025], "A request has at most 4096 bytes, this one has 4100"),
    ],
)
def test_a_request_that_is_no_command_is_told_why(frames: list[bytes], response: str) -> None:
    assert parse_command(frames) == BadCommand(response)


@given(st.lists(st.binary(max_size=64), max_size=3))
def test_no_request_raises(frames: list[bytes]) -> None:
    parsed = parse_command(frames)
    assert isinstance(parsed, BadCommand) or parsed.verb in VERBS
