"""P13: a strategy that does not trade stands beside the ring, and nothing that it does or leaves is seen there."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_model import Case, Line, Ring
from ring_strategies import Busy, Vector
from test_ring import make_case


class Watcher(Busy):
    rate = 0.5
    timer = 0.001

    def act(self, *what: Any) -> None:
        self.saw = [*getattr(self, "saw", []), what]
        super().act(*what)


class VectorWatcher(Watcher, Vector):
    pass


def with_bystanders(case: Case) -> Case:
    return replace(case, bystanders=(Watcher, VectorWatcher))


def trading(journal: list[Line]) -> list[Line]:
    """All but ENGINE_RUN, which names the strategies."""
    return journal[1:]


def saw(ring: Ring) -> list[list[Any]]:
    return [core._strategy.saw for core in ring.bystanders]  # type: ignore[attr-defined]


def check(seed: int) -> list[list[Any]]:
    case = make_case(seed)
    journal = Ring(case, seed).run()
    watched = with_bystanders(case)
    rings = [Ring(watched, seed), Ring(watched, seed + 1), Ring(watched, seed, is_slow=True)]
    for ring in rings:
        assert trading(ring.run()) == trading(journal)
        assert saw(ring) == saw(rings[0]), "the market it follows is everybody's"
        assert not [key for key in ring._queues if key[0] in ring._beside], "it says nothing to anybody"
    return saw(rings[0])


@pytest.mark.parametrize("seed", range(25))
def test_the_journal_is_that_without_the_bystanders_however_slow_they_are(seed: int) -> None:
    check(seed)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_any_case_is_undisturbed_by_bystanders(seed: int) -> None:
    check(seed)


def test_a_bystander_sees_every_tick_and_the_end_and_all_it_asks_for_is_refused() -> None:
    case = make_case(3)
    plain, vector = check(3)
    ticks = [what for what in plain if what[0] == "tick"]
    own = [tick for tick in case.ticks if tick[0] in case.part(len(case.strategies)).own]
    assert len(ticks) == len(own)
    assert [what for what in vector if what[0] == "ticks"]
    assert plain[-1][0] in ("stop", "order")
    assert any(what[0] == "stop" for what in plain)
    orders = [what[1] for what in plain if what[0] == "order"]
    asked = [order for order in orders if order.reason != "unknown_order: 0"]  # a change of what never was one
    assert len(asked) > 5
    assert {(order.status, order.reason) for order in asked} == {
        ("Rejected", "does_not_trade: trades = false in the config")
    }


@pytest.mark.parametrize("seed", range(15))
def test_a_run_that_goes_on_from_a_checkpoint_has_bystanders_that_begin_again(seed: int) -> None:
    case, random = with_bystanders(make_case(seed)), Random(seed)
    whole = Ring(case, seed, checkpoint_ticks=case.quantum)
    journal = whole.run()
    ring = Ring(case, seed, checkpoint_ticks=case.quantum, messages_max=random.randrange(60 * len(case.ticks)))
    ring.run()
    if ring.saved is None:
        assert len(case.ticks) < case.quantum or ring.has_crashed
        return
    resumed = Ring(case, seed + 1, checkpoint_ticks=case.quantum)
    assert resumed.resume(*ring.saved) == journal
    assert saw(resumed) == saw(whole)
