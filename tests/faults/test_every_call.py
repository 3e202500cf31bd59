"""Whatever a step was about when it was cut short, and wherever: the next start finds what was acknowledged."""

from __future__ import annotations

from typing import Final

import pytest
from every_call import FAULTS, SCENES, play_every_call
from planted import planted

from protocol.errors import WalError

SEEDS: Final = 3
"""How often each place is come to, with other records and other remains of what was not synced."""
FOUND_BY: Final = {
    "plain file gone before the packed one": ("journal", "tidy", "power loss"),
    "sealed files removed together": ("journal", "tidy", "power loss"),
    "sync forgotten": ("journal", "commit", "power loss"),
    "R5 second name kept": ("journal", "checkpoint", "kill"),
    "failure not final": ("journal", "write_watermark", "EIO"),
    "failed file not kept": ("journal", "start in a copy", "ENOSPC"),
    "log append not synced": ("log", "append", "power loss"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("scene", "step"), [(name, step) for name in SCENES for step in SCENES[name].steps])
def test_a_step_may_meet_a_fault_at_any_call_of_the_disk_and_nothing_promised_is_lost(
    scene: str, step: str, fault: str
) -> None:
    assert all(play_every_call(scene, step, fault, seed) for seed in range(SEEDS)), "no call met the fault"


@pytest.mark.parametrize("fault", ["kill", "power loss"])
@pytest.mark.parametrize(
    ("scene", "step"),
    [
        ("journal", "commit"), ("journal", "checkpoint"), ("journal", "start in a copy"),
        ("log", "append"), ("log", "truncate_to_checkpoint"),
    ],
)  # fmt: skip
def test_the_start_after_it_may_be_cut_short_at_any_call_too(scene: str, step: str, fault: str) -> None:
    alone = play_every_call(scene, step, fault, 0)
    assert play_every_call(scene, step, fault, 0, start_too=True) > 5 * alone


@pytest.mark.parametrize("name", FOUND_BY)
def test_a_step_breaks_a_promise_when_a_fault_is_planted(name: str) -> None:
    with planted(name), pytest.raises((AssertionError, WalError)):
        all(play_every_call(*FOUND_BY[name], seed) for seed in range(10 * SEEDS))
