"""A stop in which everybody hangs: each is waited for once, and how many there are makes it no longer."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.settings import parse_config
from supervisor import ordered_stop, supervision
from supervisor.boot import STOP_LIMITS, boot_order
from supervisor.child import Child, ChildPhase
from supervisor.restart import RestartPolicy
from supervisor.supervision import Supervisor

TIMEOUT_S = 10.0
ROLES, STEPS = 6, 10
BASE = """
[engine]
run_dir = "run"
[[instruments]]
symbol = "EURUSD"
tick_size = 0.00001
lot_size = 1.0
"""
STRATEGY = '[[strategies]]\nname = "s{}"\nclass = "actors.strategies.sma_cross:SmaCross"\nsymbols = ["EURUSD"]\n'


class HungLife:
    """As a process under SIGSTOP: it hears nothing but SIGKILL."""

    pid, pidfd = 1, None

    def __init__(self) -> None:
        self.code: int | None = None

    def exit_code(self) -> int | None:
        return self.code

    def send_signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.code = -number

    def close(self) -> None: ...


def stop_time_s(monkeypatch: pytest.MonkeyPatch, strategies: int) -> float:
    """By a clock that goes only while somebody is waited for."""
    clock = SimpleNamespace(now_s=0.0)
    for module in (supervision, ordered_stop):
        monkeypatch.setattr(module, "monotonic_s", lambda: clock.now_s)
    config = parse_config(BASE + "".join(STRATEGY.format(number) for number in range(strategies)))
    supervisor: Any = Supervisor(config)
    supervisor.is_ready = True
    supervisor.released.add("wal")
    supervisor.latch = SimpleNamespace(halt_token=0)
    supervisor.control = SimpleNamespace(tell=lambda child, message: None)

    def turn() -> None:
        clock.now_s += 0.05

    def spawn(child: Child) -> None:
        life: Any = HungLife()
        child.begin(life, child.incarnation + 1)

    supervisor.loop = SimpleNamespace(turn=turn)
    supervisor.spawn = spawn
    for name in boot_order(config):
        child = supervisor.children[name] = Child(name, RestartPolicy(10, 60.0))
        spawn(child)
        child.phase = ChildPhase.READY
    supervisor._stop()
    assert not any(child.is_alive for child in supervisor.children.values())
    return clock.now_s


def test_a_stop_in_which_everybody_hangs_is_over_by_the_documented_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_s = (ROLES + STOP_LIMITS.wal_tries) * TIMEOUT_S + 2 * STEPS
    assert stop_time_s(monkeypatch, 1) < bound_s


def test_how_many_hang_does_not_make_it_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop_time_s(monkeypatch, 8) < stop_time_s(monkeypatch, 1) + 1.0
