"""The replay ring under random schedules: no deadlock, the same journal, and the fills of a plain loop."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_replay import Reference
from ring_cases import make_case
from ring_model import Line, Ring

from protocol.records import (
    Adjust,
    OrderPlace,
    OrderUpdate,
    PositionModify,
    Record,
    RiskViolation,
    SignalRefused,
    TradingState,
)


def fills(records: list[Record]) -> list[Record]:
    """What the venue said, and what risk decided, without what the reference does not know."""
    kept = [r for r in records if isinstance(r, OrderUpdate | OrderPlace | SignalRefused | Adjust)]
    return [msgspec.structs.replace(r, market_position=0) if isinstance(r, OrderPlace) else r for r in kept]


def heard(strategies: list[Any]) -> list[Any]:
    return [strategy.heard for strategy in strategies]


def split_halts(heard: list[str]) -> tuple[list[str], list[str]]:
    """With latency a halt crosses among the venue's words in the order in which they were appended, and that is the
    ring's own."""
    halts = [what for what in heard if what.startswith("('halt'")]
    return [what for what in heard if what not in halts], halts


def check(seed: int, schedules: int = 3) -> None:
    """All schedules and the reference are of one mind."""
    case = make_case(seed)
    rings = [Ring(case, seed * 1000 + schedule) for schedule in range(schedules)]
    journals: list[list[Line]] = [ring.run() for ring in rings]
    assert all(journal == journals[0] for journal in journals)
    reference = Reference(case)
    records = reference.run()
    said = [heard([core._strategy for core in ring.cores]) for ring in rings]
    assert all(one == said[0] for one in said)
    plain = heard([runner.strategy for runner in reference.runners])
    if not (case.latency_us and case.config.risk.on_halt == "flatten"):
        # What risk places itself crosses; with latency the plain loop, which writes in an order of its own, tells of it
        # and of the venue's answers in that order.
        assert list(map(split_halts, said[0])) == list(map(split_halts, plain))
    found = [record for *_, record in journals[0]]
    assert sorted(map(repr, fills(found))) == sorted(map(repr, fills(records)))


FOUND = (61, 62, 423, 668)
"""What crosses, told in the wrong place."""


@pytest.mark.parametrize("seed", [*range(40), *FOUND])
def test_every_schedule_gives_the_journal_that_a_plain_loop_gives(seed: int) -> None:
    check(seed)


def test_the_cases_have_everything() -> None:
    found: Counter[str] = Counter()
    for seed in range(90):
        case = make_case(seed)
        ring = Ring(case, seed)
        placed: dict[int, OrderPlace] = {}
        for _, _, _, record in ring.run():
            if isinstance(record, OrderPlace):
                placed[record.order_id] = record
                found.update([record.order_type.name, record.time_in_force.name])
                found.update(n for n in ("trail", "oco", "stop_loss", "take_profit") if getattr(record, n))
            elif isinstance(record, OrderUpdate):
                order = placed.get(record.order_id)
                is_part = order is not None and 0 < record.quantity < order.quantity
                found.update([record.report.name, record.reason, *["part"] * is_part])
                found.update(["commission"] * bool(record.commission))
                found.update(["converted"] * (record.conversion_base != record.conversion_rate))
            elif isinstance(record, Adjust | TradingState | PositionModify):
                found[type(record).__name__] += 1
            elif isinstance(record, SignalRefused | RiskViolation):
                found[record.reason] += 1
        for hooks in heard([core._strategy for core in ring.cores]):
            found.update(what.lstrip("('").partition("'")[0] for what in hooks)
    wanted = {
        *("MARKET", "LIMIT", "STOP", "STOP_LIMIT", "GTC", "IOC", "FOK", "DAY", "GTD"),
        *("trail", "oco", "stop_loss", "take_profit", "part", "commission", "converted", "Adjust", "TradingState"),
        *("FILL", "EXPIRE", "RESTATE", "TRIGGER", "oco", "bracket", "nothing_to_reduce", "fok", "end_of_data"),
        *("timer", "bar", "ticks", "halt", "stop", "REPLACE", "REPLACE_REJECT", "PositionModify"),
    }
    assert not [name for name in wanted if found[name] < 3], found
    assert found["FILL"] > 300


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_any_case_gives_what_a_plain_loop_gives(seed: int) -> None:
    check(seed, 2)


# P11: checkpoints, and going on from them.


def check_resumes(seed: int, crashes: int = 4) -> int:
    """How many crashes came behind a checkpoint: all ended with the journal and the hooks of the run that had none."""
    case = make_case(seed)
    random = Random(seed)
    every = random.choice((1, 2 * case.quantum, 3 * case.quantum))
    whole = Ring(case, seed, checkpoint_ticks=every)
    journal = whole.run()
    resumed = 0
    for crash in range(crashes):
        ring = Ring(case, seed + crash, checkpoint_ticks=every, messages_max=random.randrange(40 * len(case.ticks)))
        ring.run()
        while ring.saved is not None:
            resumed += 1
            saved = ring.saved
            ring = Ring(case, seed + crash, checkpoint_ticks=every, messages_max=random.choice((-1, 30, 300)))
            found = ring.resume(*saved)
            if not ring.has_crashed:
                assert found == journal
                assert heard([c._strategy for c in ring.cores]) == heard([c._strategy for c in whole.cores])
                break
            ring.saved = ring.saved or saved
    return resumed


@pytest.mark.parametrize("seed", range(40))
def test_a_run_that_goes_on_from_a_checkpoint_ends_like_one_that_never_crashed(seed: int) -> None:
    check_resumes(seed)


def test_the_crashes_come_behind_checkpoints() -> None:
    assert sum(check_resumes(seed) for seed in range(20)) > 20


@settings(max_examples=60)
@given(st.integers(0, 2**32))
@example(56730)  # whose doing an exit's end was, was not known any more
@example(5028207)  # HALT's closing orders were placed and rejected for ever, behind the end of the data
def test_any_case_goes_on_from_any_checkpoint(seed: int) -> None:
    check_resumes(seed, 2)
