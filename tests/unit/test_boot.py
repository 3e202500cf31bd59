"""The two tables agree with the design, with the code of the children, and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.base import Actor
from actors.roles import ACTORS, actor_class
from protocol.pipeline import PIPES, Pipe
from protocol.settings import Config, parse_config
from supervisor.boot import BOOT, STOP_STEPS, OnLimit, StopAction, boot_order, boot_row, child_names, end_order
from supervisor.handed import make_spec

TEXT = """
[engine]
name = "two"
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
[[strategies]]
name = "b"
class = "m:B"
symbols = ["EURUSD"]
[[strategies]]
name = "a"
class = "m:A"
symbols = ["EURUSD"]
"""
CONFIG = parse_config(TEXT)
EXTERNAL = parse_config(TEXT + '[order_routing]\nvenue = "simulated"\n')
STEPS = """
1. market_data stops · 2. gateway stops · 3. risk engine detaches · 4. position engine detaches · 5. order
tracker detaches · 6. strategies detach · 7. order_routing stops · 8. strategy processes end · 9. risk process ends ·
10. wal syncs, writes the watermark, ends
"""
"""As design section 9 has them."""
ROLES = {row.role for row in BOOT}


def test_children_are_released_in_the_documented_order_and_strategies_in_the_configs() -> None:
    assert boot_order(CONFIG) == (
        "wal", "risk", "strategy.b", "strategy.a", "order_routing", "gateway", "market_data",
    )  # fmt: skip


def test_the_ten_stop_steps_are_the_documented_ones() -> None:
    documented = re.findall(r"(\d+)\. ([^·]+)", " ".join(STEPS.split()))
    assert [(str(step.number), step.text) for step in STOP_STEPS] == [(n, text.strip()) for n, text in documented]


def test_processes_end_in_the_order_of_the_steps_and_every_one_does() -> None:
    assert end_order(CONFIG) == (
        "market_data", "gateway", "order_routing", "strategy.b", "strategy.a", "risk", "wal",
    )  # fmt: skip
    assert sorted(end_order(CONFIG)) == sorted(boot_order(CONFIG))


def test_a_part_detaches_before_its_process_ends() -> None:
    for step in STOP_STEPS:
        if step.action is StopAction.DETACH:
            (end,) = [s for s in STOP_STEPS if s.role == step.role and s.action is StopAction.STOP]
            assert step.number < end.number
            assert step.part


def test_a_venue_outside_is_a_child_that_ends_behind_order_routing_within_its_step() -> None:
    order = boot_order(EXTERNAL)
    assert order.index("venue") == order.index("order_routing") - 1
    ends = end_order(EXTERNAL)
    assert ends.index("venue") == ends.index("order_routing") + 1
    assert "venue" not in boot_order(CONFIG)


def test_every_role_is_an_actor_and_every_actor_a_role() -> None:
    assert set(ACTORS) == ROLES


@pytest.mark.parametrize("config", [CONFIG, EXTERNAL], ids=["paper", "simulated"])
def test_every_child_has_a_row_and_a_class(config: Config) -> None:
    for name in boot_order(config):
        assert boot_row(name).role == name.partition(".")[0]
        assert name in child_names(config, boot_row(name).role)
        assert issubclass(actor_class(name, config), Actor)


def test_only_a_strategy_may_stay_down() -> None:
    assert {row.role for row in BOOT if row.on_limit is OnLimit.PARK} == {"strategy"}


@pytest.mark.parametrize("pipe", PIPES.values(), ids=PIPES.keys())
def test_pipes_join_known_roles(pipe: Pipe) -> None:
    assert {pipe.binds, *pipe.connects} <= ROLES | {"supervisor"}
    assert pipe.binds not in pipe.connects


def test_who_ends_later_knows_who_ends_before() -> None:
    for name in boot_order(CONFIG):
        spec = make_spec(CONFIG, name, 1, bytes(16), Path("ipc"), inproc=False)
        assert (*spec.ends_after, name) == end_order(CONFIG)[: len(spec.ends_after) + 1]
        assert bool(spec.control_endpoint) == (name == "gateway")
