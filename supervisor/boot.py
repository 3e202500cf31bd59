"""The boot table and the stop table: which children there are, in which order they start and stop.

All children are spawned at once and released one by one, each after the READY of the one before. They stop in
ten documented steps. This table and protocol/pipeline.py are the map of the house.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.settings import Config


class OnLimit(StrEnum):
    """What follows when a child has died more often than `supervisor.restarts` in `supervisor.window_s`."""

    ESCALATE = "escalate"
    """HALT by the supervisor, ordered stop, exit code 10."""
    PARK = "park"
    """The child stays down and its orders are cancelled; the others go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRow:
    role: str
    """The child's name; for `strategy` one child per [[strategies]] entry, named strategy.NAME."""
    on_limit: OnLimit
    does: str


BOOT: Final = (
    BootRow(role="wal", on_limit=OnLimit.ESCALATE, does="sequences the journal and puts it on disk"),
    BootRow(role="risk", on_limit=OnLimit.ESCALATE, does="checks signals, keeps positions, decides"),
    BootRow(role="strategy", on_limit=OnLimit.PARK, does="runs one strategy's code"),
    BootRow(role="venue", on_limit=OnLimit.ESCALATE, does="is the market that orders go to; only a simulated one"),
    BootRow(role="order_routing", on_limit=OnLimit.ESCALATE, does="sends approved orders to the venue"),
    BootRow(role="gateway", on_limit=OnLimit.ESCALATE, does="serves dashboards and operators"),
    BootRow(role="market_data", on_limit=OnLimit.ESCALATE, does="brings ticks and bars"),
)


class StopAction(StrEnum):
    STOP = "stop"
    """STOP, drain, STOPPED, the process ends."""
    DETACH = "detach"
    """DETACH, drain, DETACHED; the process lives on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopStep:
    number: int
    text: str
    role: str
    action: StopAction
    part: str = ""
    then: str = ""
    """A role whose child stops within this step, behind it."""


_STOP, _DETACH = StopAction.STOP, StopAction.DETACH
STOP_STEPS: Final = (
    StopStep(number=1, text="market_data stops", role="market_data", action=_STOP),
    StopStep(number=2, text="gateway stops", role="gateway", action=_STOP),
    StopStep(number=3, text="risk engine detaches", role="risk", action=_DETACH, part="risk_engine"),
    StopStep(number=4, text="position engine detaches", role="risk", action=_DETACH, part="position_engine"),
    StopStep(number=5, text="order tracker detaches", role="risk", action=_DETACH, part="order_tracker"),
    StopStep(number=6, text="strategies detach", role="strategy", action=_DETACH, part="strategy"),
    StopStep(number=7, text="order_routing stops", role="order_routing", action=_STOP, then="venue"),
    StopStep(number=8, text="strategy processes end", role="strategy", action=_STOP),
    StopStep(number=9, text="risk process ends", role="risk", action=_STOP),
    StopStep(number=10, text="wal syncs, writes the watermark, ends", role="wal", action=_STOP),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopLimits:
    """What a stop waits for besides `supervisor.stop_timeout_s`."""

    term_wait_s: float = 1.0
    kill_wait_s: float = 5.0
    overdue_stop_s: float = 1.0
    """For each later step of a child that has let a step's deadline pass."""
    final_stop_s: float = 1.0
    """For each step of a stop after the journal has failed for good."""
    wal_tries: int = 3
    """H3: wal is restarted if it dies before the stop is durable."""


STOP_LIMITS: Final = StopLimits()


def child_names(config: Config, role: str) -> tuple[str, ...]:
    if not role or (role == "venue" and not config.order_routing.is_external):
        return ()
    if role != "strategy":
        return (role,)
    return tuple(f"strategy.{strategy.name}" for strategy in config.strategies)


def boot_order(config: Config) -> tuple[str, ...]:
    """Every child's name, in the order in which they are released."""
    return tuple(name for row in BOOT for name in child_names(config, row.role))


def end_order(config: Config) -> tuple[str, ...]:
    """Every child's name, in the order in which the processes end."""
    stops = [step for step in STOP_STEPS if step.action is StopAction.STOP]
    roles = [role for step in stops for role in (step.role, step.then) if role]
    return tuple(name for role in roles for name in child_names(config, role))


def boot_row(name: str) -> BootRow:
    role = name.partition(".")[0]
    return next(row for row in BOOT if row.role == role)
