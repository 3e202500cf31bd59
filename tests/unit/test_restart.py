"""The restart policy as a table: deaths at these times, this pause after the last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.restart import JITTER, PAUSE_FIRST_S, PAUSE_MAX_S, RestartPolicy

WINDOW_S = 60.0
NEVER = None


def last_pause(deaths: list[float], *, restarts: int = 10, jitter: float | None = 0.5) -> float | None:
    policy = RestartPolicy(restarts, WINDOW_S)
    return [policy.pause_after_death(at, jitter) for at in deaths][-1]


@pytest.mark.parametrize(
    ("deaths", "pause"),
    [
        ([0.0], 0.0),
        ([0.0, 0.0], 0.0),
        ([0.0, 0.0, 0.0], PAUSE_FIRST_S),
        ([0.0, 1.0, 2.0, 3.0], 2 * PAUSE_FIRST_S),
        ([0.0] * 7, 16 * PAUSE_FIRST_S),
        ([0.0] * 10, PAUSE_MAX_S),
        ([0.0] * 11, NEVER),
        # A death leaves the window when it is as old as the window.
        ([0.0, 0.0, 59.9], PAUSE_FIRST_S),
        ([0.0, 0.0, 60.0], 0.0),
        ([0.0] * 10 + [60.0], 0.0),
        ([0.0] * 5 + [59.0] * 5 + [60.0], 8 * PAUSE_FIRST_S),
        ([0.0] * 5 + [59.0] * 5 + [59.5], NEVER),
    ],
)
def test_pauses_grow_from_the_third_death_in_the_window_until_the_limit(
    deaths: list[float], pause: float | None
) -> None:
    assert last_pause(deaths) == pause


@pytest.mark.parametrize(("restarts", "deaths", "pause"), [(0, 1, NEVER), (1, 1, 0.0), (1, 2, NEVER), (3, 3, 0.1)])
def test_the_limit_counts_restarts_not_deaths(restarts: int, deaths: int, pause: float | None) -> None:
    assert last_pause([0.0] * deaths, restarts=restarts) == pause


@given(st.integers(3, 10), st.one_of(st.none(), st.floats(0.0, 1.0)))
def test_jitter_varies_a_pause_by_its_share_and_no_more(deaths: int, jitter: float | None) -> None:
    plain = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** (deaths - 3))
    pause = last_pause([0.0] * deaths, jitter=jitter)
    assert pause is not None
    assert plain * (1 - JITTER) <= pause * (1 + 1e-12)
    assert pause <= plain * (1 + JITTER) * (1 + 1e-12)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40))
def test_no_child_gets_more_restarts_in_a_window_than_the_limit(gaps: list[float]) -> None:
    policy, now_s, restarted = RestartPolicy(5, WINDOW_S), 0.0, list[float]()
    for gap in gaps:
        now_s += gap
        if policy.pause_after_death(now_s) is not None:
            restarted.append(now_s)
        assert sum(at > now_s - WINDOW_S for at in restarted) <= 5
